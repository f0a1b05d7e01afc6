"""Draft guidance for samplers that are not ours: noise that moves as the draft does, and where and when to begin.

The noise is that of sampling/warped_noise.py for latents of any video model; see also sampling/draft_guidance.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ..control.conditioning import Controls
from ..control.fit import fitted
from ..control.signals import by_latent_frame
from ..control.span import ControlError

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.flow import FlowField

SPATIAL = (4, 8, 16, 32, 64)  # pixels a side of a latent cell in the codecs that there are
TEMPORAL = (1, 4, 6, 8)  # frames of a latent frame


class Samples(TypedDict):
    """What every LATENT of ComfyUI has."""

    samples: Tensor


class Latent(Samples, total=False):
    """ComfyUI's LATENT, as far as it is read and written here."""

    noise_mask: Tensor


def draft_noise(samples: Tensor, seed: int, flow: FlowField | None, share: float) -> Tensor:
    """Standard normal noise of the shape of `samples`, the latents [B,C,T',h,w] of a video, or [T,C,h,w] of its frames.

    share, 0 to 1: of it how much moves along the flow; the rest, and all of it without a flow, is the noise that the
    seed gives in ComfyUI's own samplers. Raises ControlError where flow and latents are not of the same video.
    """
    import torch

    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    if flow is None or share == 0:
        return noise
    from ..sampling.warped_noise import warped_noise

    video = noise if noise.ndim == 5 else noise.movedim(0, 1)[None]
    count, height, width = video.shape[2:]
    temporal = _frames_of_cell(flow.frames, count)
    cell = min(SPATIAL, key=lambda side: abs(side * side * height * width - flow.flow[0, ..., 0].numel()))
    field = fitted(Controls(flow=flow), flow.frames, width * cell, height * cell).flow
    assert field is not None
    video = warped_noise(video, field.flow, field.valid, share * flow.strength, temporal, cell)
    return video if noise.ndim == 5 else video[0].movedim(1, 0)


def check_fits(samples: Tensor, flow: FlowField) -> None:
    """Raise ControlError where latents and flow are not of one video, by their lengths and shapes."""
    count = samples.shape[2] if samples.ndim == 5 else len(samples)
    _frames_of_cell(flow.frames, count)
    (rows, columns), (h, w) = samples.shape[-2:], flow.flow.shape[1:3]
    if abs(w * rows - h * columns) > max(w, h):
        raise ControlError(
            f"the flow is {w}x{h} pixels and the latent {columns}x{rows} cells, of another shape; encode the draft of "
            "that simulation"
        )


def free_cells(samples: Tensor, masks: Tensor) -> Tensor:
    """The noise_mask [1,1,T',h,w] or [T,1,h,w] of latents, from masks [T,H,W] or [1,H,W] of what may change.

    A cell is as free as the freest of its pixels and frames. Raises ControlError for another number of masks.
    """
    import torch

    count = samples.shape[2] if samples.ndim == 5 else len(samples)
    if len(masks) == 1:
        masks = masks.expand(count, -1, -1)
    cells = by_latent_frame(masks, _frames_of_cell(len(masks), count)).amax(1)[:, None].float()
    cells = torch.nn.functional.adaptive_max_pool2d(cells, samples.shape[-2:])
    return cells if samples.ndim == 4 else cells.movedim(0, 1)[None]


def _frames_of_cell(frames: int, count: int) -> int:
    """How many frames a latent frame stands for. Raises ControlError."""
    for temporal in TEMPORAL:
        if temporal * (count - 1) + 1 == frames:
            return temporal
    lengths = ", ".join(str(temporal * (count - 1) + 1) for temporal in TEMPORAL)
    raise ControlError(
        f"{frames} frames were simulated and the latent has {count}, which are {lengths} frames in the codecs that "
        "there are; encode the draft of that simulation, whole"
    )
