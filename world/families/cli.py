"""`vdit simulate`: clips of the simulated world as video and arrays."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .scene import FAMILIES, SPLITS

if TYPE_CHECKING:
    from ..arrays import Floats
    from .clip import Clip

LAYOUT = (
    "per clip: NAME.mp4; NAME.npz (rgb uint8 [T,H,W,3], depth float16 m along the optical axis [T,H,W], instance uint8 "
    "[T,H,W], flow float16 px/frame forward x,y [T-1,H,W,2], visible bool [T-1,H,W]: the flow's point is seen in the "
    "next frame); NAME.json (caption, camera c2w and intrinsics a frame, tracks of balls and boxes)"
)


def write_clip(folder: Path, name: str, clip: Clip) -> None:
    """Write one clip in the layout named by LAYOUT."""
    from ...geometry.camera_numpy import focal_length
    from ...machine.writing import written
    from ..video import write_h264
    from .render import FIRST_BALL_ID, FIRST_BOX_ID, FLOOR_ID, WALL_ID

    rgb = clip.render.rgb_uint8()
    height, width = rgb.shape[1:3]
    with written(folder / f"{name}.npz") as part, open(part, "wb") as file:
        np.savez_compressed(
            file,
            rgb=rgb,
            depth=clip.render.depth.numpy().astype(np.float16),
            instance=clip.render.instance.numpy(),
            flow=clip.flow.numpy().astype(np.float16),
            visible=clip.visible.numpy(),
        )
    s = clip.scene
    focal_px = focal_length(s.fov_deg, height)
    camera = {
        "move": s.camera_move,
        "axes": "OpenCV: x right, y down, z forward; c2w in metres; pixel centres at +0.5",
        "c2w": _rounded(s.c2w, 6),
        "fov_deg": _rounded(s.fov_deg, 4),
        "fx_fy_cx_cy": [[round(f, 4), round(f, 4), width / 2, height / 2] for f in focal_px.tolist()],
    }
    centers, poses = clip.centers, clip.motion.box_poses
    balls = [
        {"color": b.color, "radius_m": b.radius, "center_m": _rounded(centers[:, i], 5)} for i, b in enumerate(s.balls)
    ]
    boxes = [
        {"color": b.color, "half_m": b.half, "movable": b.mass is not None, "box_to_world": _rounded(poses[:, i], 5)}
        for i, b in enumerate(s.boxes)
    ]
    labels = {
        **{"seed": s.seed, "split": s.split, "family": s.family, "caption": clip.caption, "fps": s.fps},
        **{"width": width, "height": height, "gravity_m_s2": s.gravity, "restitution": s.restitution},
        "camera": camera,
        "instances": {"floor": FLOOR_ID, "wall": WALL_ID, "first_ball": FIRST_BALL_ID, "first_box": FIRST_BOX_ID},
        "balls": balls,
        "boxes": boxes,
    }
    with written(folder / f"{name}.json") as part:
        part.write_text(json.dumps(labels))
    with written(folder / f"{name}.mp4") as part:
        write_h264(part, rgb, s.fps, crf=12)


def _rounded(x: Floats, digits: int) -> list[Any]:
    return np.round(x, digits).tolist()


def main(argv: list[str] | None = None) -> int:
    """Simulate and write clips; returns the exit status."""
    p = argparse.ArgumentParser(prog="vdit simulate", description=f"{__doc__} {LAYOUT}")
    p.add_argument("--family", choices=FAMILIES, help="kind of scene; left out, each seed draws its own")
    p.add_argument("--count", type=int, default=4)
    p.add_argument("--seed", type=int, default=0, help="seed of the first clip; the others count up")
    p.add_argument("--split", choices=SPLITS, default="test")
    p.add_argument("--width", type=int, default=128, help="pixels, even")
    p.add_argument("--height", type=int, default=128, help="pixels, even")
    p.add_argument("--frames", type=int, default=41)
    p.add_argument("--fps", type=int, default=8)
    p.add_argument("--out", type=Path, default=Path("output/world"))
    a = p.parse_args(argv)
    if a.count < 1 or a.seed < 0 or a.frames < 1 or a.fps < 1:
        p.error("count, frames and fps must be at least 1, seed at least 0")
    if min(a.width, a.height) < 8 or a.width % 2 or a.height % 2:
        p.error(f"size is {a.width}x{a.height}; both sides must be even and at least 8 pixels")
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
