"""Optical flow as a control: the motion from each frame to the next, and where the model is free instead."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..geometry.pixels import pixel_grid, sample_bilinear
from .depth import all_finite, check_same_shape
from .signals import POOL
from .span import ControlError, check_span

HOW = ("branch", "warped noise", "both")


@dataclass(frozen=True, eq=False)
class FlowField:
    """flow [T-1,H,W,2] float32 in pixels a frame, x right and y down, at the pixels of the earlier frame.

    valid [T-1,H,W] in 0..1 (left out: 1): 0 where the model is free. how: by the model's control branch, by warped
    noise (sampling/warped_noise.py), or both. strength, start, end: see span.py. Raises ControlError for wrong shapes
    and NaN.
    """

    flow: Tensor
    valid: Tensor = field(default_factory=lambda: torch.ones(()))
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    how: str = "branch"

    def __post_init__(self) -> None:
        flow = torch.as_tensor(self.flow, dtype=torch.float32).detach().cpu()
        if flow.ndim != 4 or flow.shape[-1] != 2 or 0 in flow.shape:
            raise ControlError(
                f"flow is {list(flow.shape)}; expected [frames - 1, height, width, 2] in pixels a frame, x then y"
            )
        if min(flow.shape[1:3]) < POOL:
            raise ControlError(f"flow is {flow.shape[2]}x{flow.shape[1]} pixels; expected at least {POOL}x{POOL}")
        if not all_finite(flow):
            t = next(t for t, frame in enumerate(flow) if not all_finite(frame))
            raise ControlError(
                f"flow, frame {t}: {int((~torch.isfinite(flow[t])).sum()):,} values are NaN or infinite; give numbers, "
                "and 0 in `valid` where nothing is known"
            )
        valid = torch.as_tensor(self.valid).detach().cpu().float()
        if valid.ndim == 0:
            valid = valid.expand(flow.shape[:3]).clone()
        if valid.shape != flow.shape[:3]:
            raise ControlError(
                f"flow is {list(flow.shape)} but its `valid` {list(valid.shape)}; expected {list(flow.shape[:3])}"
            )
        low, high = valid.aminmax()
        if not (low >= 0 and high <= 1):
            raise ControlError(f"flow: `valid` runs from {low:.4g} to {high:.4g}; expected 0 (free) to 1 (given)")
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
        """Whether the model's control branch reads the flow."""
        return self.how != "warped noise"

    @property
    def by_noise(self) -> bool:
        """Whether the noise is warped along the flow."""
        return self.how != "branch"

    def resized(self, width: int, height: int) -> FlowField:
        """For a clip of another size: vectors scale with it. Raises ControlError for another shape."""
        h, w = self.flow.shape[1:3]
        if (w, h) == (width, height):
            return self
        check_same_shape("flow", w, h, width, height)
        # Weighted by validity, so that free pixels, which have no motion of their own, do not mix into others.
        maps = torch.cat((self.flow * self.valid[..., None], self.valid[..., None]), -1).permute(0, 3, 1, 2)
        maps = torch.nn.functional.interpolate(
            maps, size=(height, width), mode="bilinear", antialias=True, align_corners=False
        )
        flow, valid = maps[:, :2].permute(0, 2, 3, 1), maps[:, 2].clamp(0, 1)
        flow = torch.where(valid[..., None] > 1e-4, flow / valid[..., None].clamp_min(1e-4), 0.0)
        return replace(self, flow=flow * torch.tensor([width / w, height / h]), valid=valid)


def over(below: FlowField, above: FlowField) -> FlowField:
    """`above` where it is valid, `below` elsewhere; strength, start, end and how are above's."""
    below = _matched(below, above)
    share = above.valid[..., None]
    valid = above.valid + (1 - above.valid) * below.valid
    weight_below = (1 - above.valid)[..., None] * below.valid[..., None]
    flow = (share * above.flow + weight_below * below.flow) / (share + weight_below).clamp_min(1e-6)
    return replace(above, flow=flow, valid=valid)


def carried_by_camera(camera: FlowField, objects: FlowField) -> FlowField:
    """The camera's flow plus object motion that was drawn over the first frame, relative to the scene.

    Object motion moves along with the camera's flow to where the scene has gone, and is added there. strength, start,
    end and how are those of `objects`.
    """
    camera = _matched(camera, objects)
    steps, h, w = objects.flow.shape[:3]
    flow, valid = objects.flow.clone(), objects.valid.clone()
    source = pixel_grid(w, h)  # position in the first frame of what each pixel of frame t shows
    for t in range(steps):
        weighted = torch.cat((objects.flow[t] * objects.valid[t, ..., None], objects.valid[t, ..., None]), -1)
        moved = sample_bilinear(weighted, source)
        valid[t] = moved[..., 2].clamp(0, 1)
        flow[t] = moved[..., :2] / valid[t, ..., None].clamp_min(1e-4)
        source = sample_bilinear(source, pixel_grid(w, h) - _backward(camera.flow[t]))
    flow = camera.flow + flow * (valid > 1e-4)[..., None]
    return replace(objects, flow=flow, valid=torch.maximum(valid, camera.valid))


def _backward(flow: Tensor) -> Tensor:
    """Backward flow [H,W,2] of a smooth forward flow, by fixed-point iteration of b(x) = f(x - b(x))."""
    back, grid = flow, pixel_grid(flow.shape[1], flow.shape[0])
    for _ in range(5):
        back = sample_bilinear(flow, grid - back)
    return back


def _matched(below: FlowField, to: FlowField) -> FlowField:
    """The field in the other's size. Raises ControlError for another length."""
    if len(below.flow) != len(to.flow):
        raise ControlError(
            f"two flows disagree in length: {len(below.flow)} and {len(to.flow)} steps (for {below.frames} and "
            f"{to.frames} frames); make both for the same clip"
        )
    h, w = to.flow.shape[1:3]
    return below.resized(w, h)
