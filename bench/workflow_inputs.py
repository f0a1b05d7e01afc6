"""Makes the example pictures and videos of the control workflows from the simulator.

python bench/workflow_inputs.py [--out workflows/inputs]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from vdit.control.depth import depth_from_metres
from vdit.world.families.clip import make_clip
from vdit.world.families.render import render

SIDE, FRAMES = 128, 41


def picture(path: Path, rgb) -> None:
    from PIL import Image

    Image.fromarray((rgb.numpy() * 255).round().astype(np.uint8)).save(path, optimize=True)


def video(path: Path, frames) -> None:
    """Frames [T,H,W,3] in 0..1 as H.264 at 8 fps, nearly lossless: the arrays are read back from it."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(8), options={"crf": "14", "preset": "veryslow"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for frame in (frames.numpy() * 255).round().astype(np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def recolored(clip, ball: str, floor: str, wall: str):
    """The clip's first frame with other colours."""
    scene = clip.scene
    balls = (replace(scene.balls[0], color=ball), *scene.balls[1:])
    scene = replace(scene, balls=balls, floor=replace(scene.floor, color=floor, wall_color=wall))
    return render(scene, clip.motion, SIDE, SIDE).rgb[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "workflows" / "inputs")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    clip = lambda seed, family: make_clip(seed, family, width=SIDE, height=SIDE, frames=FRAMES)  # noqa: E731

    picture(out / "vdit-still-life.png", clip(2, "look").render.rgb[0])
    rolling = clip(3, "roll")
    video(out / "vdit-driving.mp4", rolling.render.rgb)
    picture(out / "vdit-red-ball.png", recolored(rolling, "red", "green", "gray"))
    picture(out / "vdit-blue-ball.png", clip(4, "roll").render.rgb[0])
    thrown = clip(1, "arc")
    picture(out / "vdit-red-ball-and-box.png", recolored(thrown, "red", "green", "blue"))
    depth = depth_from_metres(thrown.render.depth)
    video(out / "vdit-depth.mp4", depth.inverse[..., None].expand(-1, -1, -1, 3))


if __name__ == "__main__":
    main()
