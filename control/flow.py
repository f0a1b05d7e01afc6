"""Optical flow as a control: where the picture moves from each frame to the next, and where the model is free."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..geometry.pixels import pixel_grid, sample_bilinear
from .depth import check_same_shape
from .signals import POOL
from .span import ControlError, check_span

HOW = ("branch", "warped noise", "both")


@dataclass(frozen=True, eq=False)
class FlowField:
    """flow [T-1,H,W,2] float32, pixels a frame, x right and y down, at the pixels of the frame that it leaves.

    valid [T-1,H,W] in 0..1 (None: 1 everywhere): 0 where the model is free. how: by the model's branch, by noise that
    moves (warp.py), or both. strength, start, end: see span.py. Raises ControlError for wrong shapes and NaN.
    """

    flow: Tensor
    valid: Tensor | None = None
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    how: str = "branch"

    def __post_init__(self):
        flow = torch.as_tensor(self.flow, dtype=torch.float32).detach().cpu()
        if flow.ndim != 4 or flow.shape[-1] != 2 or 0 in flow.shape:
            raise ControlError(
                f"flow is {list(flow.shape)}; expected [frames - 1, height, width, 2] in pixels a frame, x then y"
            )
        if min(flow.shape[1:3]) < POOL:
            raise ControlError(f"flow is {flow.shape[2]}x{flow.shape[1]} pixels; expected at least {POOL}x{POOL}")
        bad = ~torch.isfinite(flow).flatten(1).all(1)
        if bad.any():
            t = int(bad.nonzero()[0])
            raise ControlError(
                f"flow, frame {t}: {int((~torch.isfinite(flow[t])).sum()):,} values are NaN or infinite; give numbers, "
                "and 0 in `valid` where nothing is known"
            )
        valid = torch.ones(flow.shape[:3]) if self.valid is None else torch.as_tensor(self.valid).detach().cpu().float()
        if valid.shape != flow.shape[:3]:
            raise ControlError(
                f"flow is {list(flow.shape)} but its `valid` {list(valid.shape)}; expected {list(flow.shape[:3])}"
            )
        if not (valid >= 0).all() or not (valid <= 1).all():
            raise ControlError(
                f"flow: `valid` runs from {valid.min():.4g} to {valid.max():.4g}; expected 0 (free) to 1 (told)"
            )
        if self.how not in HOW:
            raise ControlError(f"flow: how is {self.how!r}; expected one of {', '.join(HOW)}")
        check_span("flow", self.strength, self.start, self.end)
        object.__setattr__(self, "flow", flow)
        object.__setattr__(self, "valid", valid)

    @property
    def frames(self) -> int:
        """Frames of the clip that the field is for: one more than it has steps."""
        return len(self.flow) + 1

    @property
    def by_branch(self) -> bool:
        return self.how != "warped noise"

    @property
    def by_noise(self) -> bool:
        return self.how != "branch"

    def resized(self, width: int, height: int) -> FlowField:
        """For a clip of another size: vectors scale with it. Raises ControlError for another shape."""
        h, w = self.flow.shape[1:3]
        if (w, h) == (width, height):
            return self
        check_same_shape("flow", w, h, width, height)
        # Vectors of free pixels say nothing, so they do not mix into their neighbours.
        maps = torch.cat((self.flow * self.valid[..., None], self.valid[..., None]), -1).permute(0, 3, 1, 2)
        maps = torch.nn.functional.interpolate(
            maps, size=(height, width), mode="bilinear", antialias=True, align_corners=False
        )
        flow, valid = maps[:, :2].permute(0, 2, 3, 1), maps[:, 2].clamp(0, 1)
        flow = torch.where(valid[..., None] > 1e-4, flow / valid[..., None].clamp_min(1e-4), 0.0)
        return replace(self, flow=flow * torch.tensor([width / w, height / h]), valid=valid)


def over(below: FlowField, above: FlowField) -> FlowField:
    """`above` where it is told, `below` elsewhere; strength, start, end and how are above's."""
    below = _fitted(below, above)
    share = above.valid[..., None]
    valid = above.valid + (1 - above.valid) * below.valid
    weight_below = (1 - above.valid)[..., None] * below.valid[..., None]
    flow = (share * above.flow + weight_below * below.flow) / (share + weight_below).clamp_min(1e-6)
    return replace(above, flow=flow, valid=valid)


def carried(camera: FlowField, objects: FlowField) -> FlowField:
    """Object motion on top of the camera's: `objects` is relative to the scene and its places move with the camera.

    What was stated at a place of the first frame is moved to where the camera's flow takes that place, and there adds
    to the camera's flow. strength, start, end and how are those of `objects`.
    """
    camera = _fitted(camera, objects)
    steps, h, w = objects.flow.shape[:3]
    flow, valid = objects.flow.clone(), objects.valid.clone()
    source = pixel_grid(w, h)  # where in the first frame each pixel of frame t came from
    for t in range(steps):
        told = torch.cat((objects.flow[t] * objects.valid[t, ..., None], objects.valid[t, ..., None]), -1)
        moved = sample_bilinear(told, source)
        valid[t] = moved[..., 2].clamp(0, 1)
        flow[t] = moved[..., :2] / valid[t, ..., None].clamp_min(1e-4)
        source = sample_bilinear(source, pixel_grid(w, h) - _backward(camera.flow[t]))
    flow = camera.flow + flow * (valid > 1e-4)[..., None]
    return replace(objects, flow=flow, valid=torch.maximum(valid, camera.valid))


def _backward(flow: Tensor) -> Tensor:
    """The motion that led to each pixel of the next frame, [H,W,2]: b(x) = f(x - b(x)), iterated: smooth fields."""
    back, here = flow, pixel_grid(flow.shape[1], flow.shape[0])
    for _ in range(5):
        back = sample_bilinear(flow, here - back)
    return back


def _fitted(field: FlowField, to: FlowField) -> FlowField:
    if len(field.flow) != len(to.flow):
        raise ControlError(
            f"two flows disagree in length: {len(field.flow)} and {len(to.flow)} steps (for {field.frames} and "
            f"{to.frames} frames); make both for the same clip"
        )
    h, w = to.flow.shape[1:3]
    return field.resized(w, h)
