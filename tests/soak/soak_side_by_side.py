"""Eight `vdit run` save 25 clips each into one folder at the same time."""

import hashlib
import json
import os
import subprocess
import sys
import time

import av
import numpy as np
from figures import keep
from PIL import Image

RUNS, CLIPS, FRAMES_PER_CLIP = 8, 25, 1


def prompt(picture: str) -> dict:
    nodes = {"picture": {"class_type": "LoadImage", "inputs": {"image": picture}}}
    for i in range(CLIPS):
        size = {"width": 32 + 2 * i, "height": 32, "upscale_method": "bilinear", "crop": "disabled"}
        nodes[f"scaled{i}"] = {"class_type": "ImageScale", "inputs": {"image": ["picture", 0], **size}}
        nodes[f"clip{i}"] = {"class_type": "CreateVideo", "inputs": {"images": [f"scaled{i}", 0], "fps": 8.0}}
        save = {"video": [f"clip{i}", 0], "filename_prefix": "video/clip", "format": "auto", "codec": "auto"}
        nodes[f"save{i}"] = {"class_type": "SaveVideo", "inputs": save}
    return nodes


def frames_of(path) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def test_eight_runs_of_25_clips_leave_200_distinct_whole_files(tmp_path):
    for who in range(RUNS):
        pixels = np.random.default_rng(who).integers(0, 256, (32, 32, 3), np.uint8)
        (tmp_path / "input").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "input" / f"{who}.png")
        (tmp_path / f"{who}.json").write_text(json.dumps(prompt(f"{who}.png")))
    started = time.perf_counter()
    command = [sys.executable, "-P", "-m", "vdit.host", "run", "--base", str(tmp_path)]
    runs = [
        subprocess.Popen(
            [*command, str(tmp_path / f"{who}.json")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for who in range(RUNS)
    ]
    answers = [run.communicate() for run in runs]
    seconds = time.perf_counter() - started
    printed = [line for out, _ in answers for line in out.split()]
    folder = tmp_path / "output" / "video"
    files = sorted(folder.glob("*.mp4"))
    figures = {
        "runs": RUNS,
        "clips a run": CLIPS,
        "errors": sum(run.returncode != 0 for run in runs),
        "files": len(files),
        "distinct names printed": len(set(printed)),
        "distinct contents": len({hashlib.sha256(path.read_bytes()).digest() for path in files}),
        "whole": sum(frames_of(path) == FRAMES_PER_CLIP for path in files),
        "other files left": len(os.listdir(folder)) - len(files),
        "seconds": round(seconds, 1),
    }
    keep("side_by_side", figures)
    assert figures["errors"] == 0, [err[-500:] for _, err in answers]
    wanted = RUNS * CLIPS
    assert [figures[k] for k in ("files", "distinct names printed", "distinct contents", "whole")] == [wanted] * 4
    assert figures["other files left"] == 0
