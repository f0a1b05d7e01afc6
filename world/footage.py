"""What a camera sees of a motion: the values that drawing returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from .arrays import Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class Tracks:
    """N points fixed on parts: pixel positions [T, N, 2] and whether each is seen [T, N]; parts [N]: their numbers."""

    at: Tensor
    visible: Tensor
    part: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Footage:
    """T frames of a motion under a moving camera, one pass.

    instance: 0 is the backdrop, 1 + i the scene's body number i, then the mechanism's links; shards have their body's.
    flow: forward, in pixels a frame at frame t's pixels; visible: the same point is still seen in the next frame.
    Where nothing is hit, depth is `footage.FAR`.
    """

    rgb: Tensor  # [T, H, W, 3] float32, 0..1
    depth: Tensor  # [T, H, W] float32, metres along the optical axis
    instance: Tensor  # [T, H, W] uint8
    mask: Tensor  # [T, H, W] float32: share of the pixel that movable bodies cover
    flow: Tensor  # [T-1, H, W, 2] float32
    visible: Tensor  # [T-1, H, W] bool
    tracks: Tracks
    names: tuple[str, ...]  # of instances 1, 2, ...
    c2w: Floats  # [T, 4, 4]
    fov_deg: Floats  # [T]
    remarks: tuple[str, ...] = ()


FAR = 1000.0  # metres
