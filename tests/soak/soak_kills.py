"""Every writer is killed at random moments: nothing torn under a final name, and the next start removes what is left.

A killed process is a fork of this one, so that three hundred of them need no three hundred imports of torch.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
import torch
from fakes import random_world_model
from figures import keep
from PIL import Image
from vdit.benchmark import files as benchmark_files
from vdit.host import files, folders, overrides, video
from vdit.host.api import ui
from vdit.machine import writing
from vdit.model.files import bundle
from vdit.nodes import comfy
from vdit.training.run import save_atomic
from vdit.world.families.cli import write_clip
from vdit.world.families.clip import make_clip

KILLS = 300
LATEST_S = 0.2  # a kill comes at a random moment up to here; a write takes 2 to 150 ms

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Writer(NamedTuple):
    """write(folder, n) makes the nth file or files; every file in the folder must satisfy `whole`."""

    write: Callable[[Path, int], object]
    whole: Callable[[Path], bool]


def decodes(path: Path, frames: int) -> bool:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0)) == frames


def is_json(path: Path) -> bool:
    return bool(json.loads(path.read_text("utf-8")))


def any_whole(path: Path) -> bool:
    """By the ending, as `vdit simulate` and `vdit benchmark` leave several kinds."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return all(arrays[name].size for name in arrays)
    return is_json(path) if path.suffix == ".json" else decodes(path, 9)


def opens(path: Path) -> bool:
    with Image.open(path) as picture:
        picture.load()
    return True


def writers(source: Path) -> dict[str, Writer]:
    model = random_world_model(0)
    images = torch.rand(9, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    components = video.VideoComponents(images, Fraction(8))
    clip = make_clip(1, width=64, height=64, frames=9)
    state = {"weights": torch.rand(200_000), "step": 7}
    text = json.dumps(list(range(100_000)))
    source.write_bytes(os.urandom(3_000_000))

    def save_video(folder, n):
        with folders.save_slot("clip", "output", 64, 64) as slot:
            slot.save(".mp4", video.VideoFromComponents(components).save_to)

    def benchmark(folder, n):
        benchmark_files.write_json(folder / f"{n}.json", text)
        benchmark_files.write_video(folder / f"{n}.mp4", images, 8)

    def upload(folder, n):
        folders.kept(folder / "a.bin", lambda path: False, lambda part: part.write_bytes(source.read_bytes()))

    def same(path):
        return path.read_bytes() == source.read_bytes()

    def copy(folder, n):
        source.touch()
        (folder / source.name).unlink(missing_ok=True)
        overrides.copied_to_input(str(source), "Load.image=x")

    return {
        "save video": Writer(save_video, lambda path: decodes(path, 9)),
        "save pictures": Writer(lambda f, n: ui.save_images(images, "p", ui.FolderType.output), opens),
        "settings": Writer(lambda f, n: files.write_settings({"a": text}), is_json),
        "bundle": Writer(
            lambda f, n: bundle.save_world_model(model, f / "m.safetensors"),
            lambda path: bundle.load_world_model(path) is not None,
        ),
        "override copy": Writer(copy, same),
        "upload": Writer(upload, same),
        "simulate": Writer(lambda f, n: write_clip(f, f"{n % 3}", clip), any_whole),
        "benchmark": Writer(benchmark, any_whole),
        "training state": Writer(
            lambda f, n: save_atomic(state, f / "state.pt"),
            lambda path: torch.load(path, weights_only=True)["step"] == 7,
        ),
        "scene": Writer(lambda f, n: comfy.save_text(text, "scene", ".json"), is_json),
    }


def forked(work: Callable[[], object]) -> int:
    """The number of a new process that does `work` and ends."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        torch.set_num_threads(1)
        writing.sweep.cache_clear()  # a new process has swept nothing
        work()
        status = 0
    except BaseException as reason:
        print(repr(reason), file=sys.stderr)
    finally:
        os._exit(status)


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith((".part", writing.SLOT))]


COLUMNS = ("kills", "files", "torn", "parts left by kills", "parts after the next start", "failed")


def trial(writer: Writer, folder: Path, kills: int, rng: random.Random) -> dict[str, int]:
    """Kill a writer so often, start it again after each, and count."""
    row = dict.fromkeys(COLUMNS, 0)
    for kill in range(kills):
        pid = forked(lambda: [writer.write(folder, n) for n in count()])
        time.sleep(rng.uniform(0, LATEST_S))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        row["kills"] += os.WIFSIGNALED(status)
        row["parts left by kills"] += len(unfinished(folder))
        for path in [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]:
            row["files"] += 1
            try:
                row["torn"] += not writer.whole(path)
            except Exception:
                row["torn"] += 1
        _, status = os.waitpid(forked(lambda: writer.write(folder, 0)), 0)
        row["failed"] += status != 0
        row["parts after the next start"] += len(unfinished(folder))
        if kill % 3 == 2:  # the check of all files would grow with each kill
            for path in [path for path in folder.rglob("*") if path.is_file()]:
                path.unlink()
    return row


def test_300_kills_tear_nothing_and_the_next_start_removes_the_parts(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    every = writers(tmp_path / "source.png")
    rng, rows = random.Random(30), {}
    for name, writer in every.items():
        base = tmp_path / name
        folder = base / "user" / files.USER if name == "settings" else base / "output"
        folder.mkdir(parents=True)
        monkeypatch.setattr(folders, "current", folders.Folders(base, {"input": folder, "output": folder}))
        rows[name] = trial(writer, folder, KILLS // len(every), rng)
    total = {key: sum(row[key] for row in rows.values()) for key in COLUMNS}
    keep("kills", {"all": total, **rows})
    assert total["kills"] == KILLS and total["parts left by kills"] > 0
    assert (total["torn"], total["parts after the next start"], total["failed"]) == (0, 0, 0)
