"""How long a stage goes on after Cancel, at fifty random moments of it."""

import random
import threading
import time
from fractions import Fraction

import pytest
import torch
from figures import keep
from vdit.control.brush import Stroke, flow_from_strokes
from vdit.control.flow_colors import over_picture
from vdit.host import folders, images, running, video
from vdit.host.api import ui

TRIES, MOST_S = 50, 0.5
STROKES = [Stroke(((0.1, 0.1 * n), (0.9, 0.9 - 0.05 * n)), radius=0.15) for n in range(8)]


def brush():
    field = flow_from_strokes(STROKES, 401, 512, 512, check=running.check_interrupted)
    over_picture(field, torch.full((1, 512, 512, 3), 0.5), running.check_interrupted)


def upscale(method):
    pictures = torch.rand(1, 512, 512, 3).expand(24, -1, -1, -1)
    return lambda: images.scaled(pictures, 2048, 2048, method, False)


def save_video():
    clip = video.VideoFromComponents(
        video.VideoComponents(torch.rand(1, 1536, 1536, 3).expand(24, -1, -1, -1), Fraction(8))
    )

    def save():
        with folders.save_slot("clip", "output", 1536, 1536) as slot:
            slot.save(".mp4", clip.save_to)

    return save


def save_pictures():
    pictures = torch.rand(1, 1024, 1024, 3).expand(8, -1, -1, -1)
    return lambda: ui.save_images(pictures, "p", ui.FolderType.output)


STAGES = {
    "brush 401x512x512": lambda: brush,
    "upscale lanczos to 2048": lambda: upscale("lanczos"),
    "upscale bilinear to 2048": lambda: upscale("bilinear"),
    "save video 24x1536x1536": save_video,
    "save pictures 8x1024x1024": save_pictures,
}


def cancelled(stage, after_s: float) -> float | None:
    """Seconds from Cancel to the end of the stage; None where it had ended before."""
    stop, ended = threading.Event(), []

    def work():
        running.current.set(running.Running("1", lambda *_: None, stop))
        try:
            stage()
        except running.Interrupted:
            ended.append(time.perf_counter())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(after_s)
    pressed = time.perf_counter()
    stop.set()
    thread.join()
    return ended[0] - pressed if ended else None


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_ends_within_half_a_second_of_cancel(name, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    stage, rng = STAGES[name](), random.Random(0)
    started = time.perf_counter()
    longest = cancelled(stage, 8.0)
    whole_s = min(8.0, time.perf_counter() - started)
    waits = [wait for _ in range(TRIES) if (wait := cancelled(stage, rng.uniform(0, whole_s * 0.9))) is not None]
    waits = sorted(waits + ([longest] if longest is not None else []))
    p99 = waits[min(len(waits) - 1, int(0.99 * len(waits)))]
    figures = {"tries": len(waits), "median_s": waits[len(waits) // 2], "p99_s": p99, "whole_s": whole_s}
    keep("cancel " + name, {key: round(value, 3) for key, value in figures.items()})
    assert p99 <= MOST_S
