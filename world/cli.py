"""`vdit simulate`: clips of the simulated world as video and arrays."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .scene import FAMILIES, SPLITS

LAYOUT = "per clip: NAME.mp4, NAME.npz (rgb uint8 [T,H,W,3], depth float16 m [T,H,W], instance uint8 [T,H,W]), NAME.json"


def write_clip(folder: Path, name: str, clip, fps: int) -> None:
    """Write one clip in the layout named by LAYOUT; the JSON holds caption, camera (c2w, fov) and ball tracks."""
    import av
    import numpy as np

    rgb = clip.render.rgb_uint8()
    np.savez_compressed(
        folder / f"{name}.npz",
        rgb=rgb,
        depth=clip.render.depth.numpy().astype(np.float16),
        instance=clip.render.instance.numpy(),
    )
    s = clip.scene
    labels = {
        "seed": s.seed, "split": s.split, "family": s.family, "caption": clip.caption, "fps": fps, "gravity_m_s2": s.gravity,
        "camera": {"move": s.camera_move, "fov_deg": s.fov_deg, "axes": "OpenCV", "c2w": s.c2w.round(6).tolist()},
        "balls": [
            {"color": b.color, "radius_m": b.radius, "restitution": b.restitution, "center_m": clip.centers[:, i].round(5).tolist()}
            for i, b in enumerate(s.balls)
        ],
        "boxes": [{"color": b.color, "center_m": b.center, "half_m": b.half, "yaw_deg": b.yaw_deg} for b in s.boxes],
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(labels))
    with av.open(str(folder / f"{name}.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"crf": "12"})
        stream.height, stream.width = rgb.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for image in rgb:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())


def main(argv: list[str] | None = None) -> int:
    """Simulate and write clips; returns the exit status."""
    p = argparse.ArgumentParser(prog="vdit simulate", description=__doc__ + " " + LAYOUT)
    p.add_argument("--family", choices=FAMILIES, help="kind of scene; left out, each seed draws its own")
    p.add_argument("--count", type=int, default=4)
    p.add_argument("--seed", type=int, default=0, help="seed of the first clip; the others count up")
    p.add_argument("--split", choices=SPLITS, default="test")
    p.add_argument("--size", type=int, default=128, help="pixels a side, even")
    p.add_argument("--frames", type=int, default=41)
    p.add_argument("--fps", type=int, default=8)
    p.add_argument("--out", type=Path, default=Path("output/world"))
    a = p.parse_args(argv)
    if a.count < 1 or a.seed < 0 or a.frames < 1 or a.fps < 1 or a.size < 8 or a.size % 2:
        p.error("count, frames and fps must be at least 1, seed at least 0, size an even number from 8")
    from tqdm import tqdm

    from .clip import make_clip

    a.out.mkdir(parents=True, exist_ok=True)
    for seed in tqdm(range(a.seed, a.seed + a.count), unit="clip"):
        clip = make_clip(seed, a.family, split=a.split, width=a.size, height=a.size, frames=a.frames, fps=a.fps)
        name = f"{a.split}-{clip.scene.family}-{seed:06d}"
        write_clip(a.out, name, clip, a.fps)
        print(a.out / f"{name}.mp4", "-", clip.caption)
    return 0
