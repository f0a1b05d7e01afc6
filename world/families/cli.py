"""`vdit simulate`: clips of the simulated world as video and arrays."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .scene import FAMILIES, SPLITS

if TYPE_CHECKING:
    from .clip import Clip

CRF = 12  # of x264: chosen by eye, edges of balls stay sharp
LAYOUT = (
    "per clip: NAME.mp4; NAME.npz (rgb uint8 [T,H,W,3], depth float16 m along the optical axis [T,H,W], instance uint8 "
    "[T,H,W], flow float16 px/frame forward x,y [T-1,H,W,2], visible bool [T-1,H,W]: the flow's point is seen in the "
    "next frame); NAME.json (caption, camera c2w and intrinsics a frame, tracks of balls and boxes)"
)


def write_clip(folder: Path, name: str, clip: Clip) -> None:
    """Write one clip in the layout named by LAYOUT."""
    from ...machine.writing import written
    from ..video import write_h264
    from .labels import arrays_of, labels_of

    rgb = clip.render.rgb_uint8()
    with written(folder / f"{name}.npz") as part, open(part, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, rgb=rgb, **arrays_of(clip))
    with written(folder / f"{name}.json") as part:
        part.write_text(json.dumps(labels_of(clip)))
    with written(folder / f"{name}.mp4") as part:
        write_h264(part, rgb, clip.scene.fps, crf=CRF)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="vdit simulate",
        description=f"{__doc__} {LAYOUT}",
        epilog="Many clips, on all cores or on Ray, as Parquet and mp4: add --workers, see vdit simulate --workers 2 "
        "--help. Episodes of a scene under a policy: --scene and --policy.",
    )
    p.add_argument("--family", choices=FAMILIES, help="kind of scene; left out, each seed draws its own")
    p.add_argument("--count", type=int, default=4)
    p.add_argument("--seed", type=int, default=0, help="seed of the first clip; the others count up")
    p.add_argument("--split", choices=SPLITS, default="test")
    p.add_argument("--width", type=int, default=128, help="pixels, even")
    p.add_argument("--height", type=int, default=128, help="pixels, even")
    p.add_argument("--frames", type=int, default=41)
    p.add_argument("--fps", type=int, default=8)
    p.add_argument("--out", type=Path, default=Path("output/world"))
    return p


def check(p: argparse.ArgumentParser, a: argparse.Namespace) -> None:
    """Leave with the parser's error for counts and sizes that no clip can have."""
    if a.count < 1 or a.seed < 0 or a.frames < 1 or a.fps < 1:
        p.error("count, frames and fps must be at least 1, seed at least 0")
    if min(a.width, a.height) < 8 or a.width % 2 or a.height % 2:
        p.error(f"size is {a.width}x{a.height}; both sides must be even and at least 8 pixels")


def main(argv: list[str] | None = None) -> int:
    """Simulate and write clips; returns the exit status."""
    p = parser()
    a = p.parse_args(argv)
    check(p, a)
    from tqdm import tqdm

    from ...machine.importing import ended_by_ctrl_c

    with ended_by_ctrl_c():
        for package in ("av", "mujoco"):
            importlib.import_module(package)
        from .clip import make_clip

    a.out.mkdir(parents=True, exist_ok=True)
    for seed in tqdm(range(a.seed, a.seed + a.count), unit="clip"):
        clip = make_clip(seed, a.family, split=a.split, width=a.width, height=a.height, frames=a.frames, fps=a.fps)
        name = f"{a.split}-{clip.scene.family}-{seed:06d}"
        write_clip(a.out, name, clip)
        print(a.out / f"{name}.mp4", "-", clip.caption)
    return 0
