"""What is known of a clip beside its pictures: arrays a pixel, camera and bodies, as files and tables keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Floats
    from .clip import Clip

ARRAYS = {  # name -> what it holds
    "depth": "float16 [T, H, W], metres along the optical axis",
    "instance": "uint8 [T, H, W], which body a pixel shows; the labels say whose number is which",
    "flow": "float16 [T-1, H, W, 2], forward optical flow x, y in pixels a frame",
    "visible": "bool [T-1, H, W], whether the flow's point is seen in the next frame",
}


def arrays_of(clip: Clip, names: tuple[str, ...] = tuple(ARRAYS)) -> dict[str, np.ndarray[Any, Any]]:
    """Those of ARRAYS that are named. Flow is computed only where it or `visible` is."""
    made = {
        "depth": lambda: clip.depth.numpy().astype(np.float16),
        "instance": lambda: clip.render.instance.numpy(),
        "flow": lambda: clip.flow.numpy().astype(np.float16),
        "visible": lambda: clip.visible.numpy(),
    }
    return {name: made[name]() for name in names}


def intrinsics_of(clip: Clip) -> Floats:
    """fx, fy, cx, cy [T, 4] of the clip's camera in pixels, whose centres are at +0.5."""
    from ...geometry.camera_numpy import focal_length

    height, width = clip.depth.shape[1:]
    focal = focal_length(clip.fov_deg, height)
    return np.stack((focal, focal, np.full_like(focal, width / 2), np.full_like(focal, height / 2)), 1)


def labels_of(clip: Clip) -> dict[str, Any]:
    """Scene, camera and bodies as values of JSON: names and units as the keys say, rows are frames."""
    from .render import FIRST_BALL_ID, FIRST_BOX_ID, FLOOR_ID, WALL_ID

    s = clip.scene
    height, width = clip.depth.shape[1:]
    camera = {
        "move": s.camera_move,
        "axes": "OpenCV: x right, y down, z forward; c2w in metres; pixel centres at +0.5",
        "c2w": _rounded(s.c2w, 6),
        "fov_deg": _rounded(s.fov_deg, 4),
        "fx_fy_cx_cy": _rounded(intrinsics_of(clip), 4),
    }
    centers, poses = clip.centers, clip.motion.box_poses
    balls = [
        {"color": b.color, "radius_m": b.radius, "center_m": _rounded(centers[:, i], 5)} for i, b in enumerate(s.balls)
    ]
    boxes = [
        {"color": b.color, "half_m": b.half, "movable": b.mass is not None, "box_to_world": _rounded(poses[:, i], 5)}
        for i, b in enumerate(s.boxes)
    ]
    return {
        **{"seed": s.seed, "split": s.split, "family": s.family, "caption": clip.caption, "fps": s.fps},
        **{"width": width, "height": height, "gravity_m_s2": s.gravity, "restitution": s.restitution},
        "camera": camera,
        "instances": {"floor": FLOOR_ID, "wall": WALL_ID, "first_ball": FIRST_BALL_ID, "first_box": FIRST_BOX_ID},
        "balls": balls,
        "boxes": boxes,
    }


def _rounded(x: Floats, digits: int) -> list[Any]:
    return np.round(x, digits).tolist()
