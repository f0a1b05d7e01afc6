"""Moving dead-leaves pictures: overlapping random discs and boxes, whose statistics are close to photographs'.

The codec sees them beside simulated clips so that it also keeps a picture that the simulator did not draw.
"""

from __future__ import annotations

import numpy as np


def dead_leaves(rng: np.random.Generator, frames: int, size: int, leaves: int = 60) -> np.ndarray:
    """uint8 [frames, size, size, 3]: a picture drifting by up to two pixels a frame."""
    margin = 2 * frames + 2
    side = size + 2 * margin
    yy, xx = np.mgrid[0:side, 0:side].astype(np.float32)
    picture = np.broadcast_to(rng.uniform(0, 255, 3).astype(np.float32), (side, side, 3)).copy()
    for _ in range(leaves):
        radius = min(4.0 / rng.uniform(0.03, 1.0), side / 3)  # 1/r: many small, few large
        cx, cy = rng.uniform(0, side, 2)
        a, b = rng.normal(0, 0.7, 2)
        color = rng.uniform(0, 255, 3)
        if rng.random() < 0.6:
            inside = (xx - cx) ** 2 + (yy - cy) ** 2 < radius**2
        else:
            inside = (np.abs(xx - cx) < radius) & (np.abs(yy - cy) < radius * rng.uniform(0.3, 1.0))
        shade = (a * (xx[inside] - cx) + b * (yy[inside] - cy))[:, None]
        picture[inside] = color + shade
    picture += rng.normal(0, rng.uniform(0, 6), picture.shape)
    picture = picture.clip(0, 255).astype(np.uint8)
    vx, vy = rng.uniform(-2, 2, 2) * (rng.random() < 0.7)
    out = []
    for t in range(frames):
        x, y = margin + round(vx * t), margin + round(vy * t)
        out.append(picture[y : y + size, x : x + size])
    return np.stack(out)
