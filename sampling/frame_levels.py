"""Per-frame noise levels: early frames are denoised first and later ones follow (Diffusion Forcing, arXiv 2407.01392).

At lag 0 all frames share one noise level. At lag r each free frame begins r of a frame's own denoising time after the
frame before it; at lag 1 a frame begins when the one before it is done. A clip whose first frame is not held, or whose
last one is, has one level for all frames: there is nothing to go on from, or an end to arrive at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, cast

from .schedule import nearest_step

if TYPE_CHECKING:
    from torch import Tensor

    from .types import Transformer

# Finished latent frames that a flow map still sees before those that a step moves, where a draft shows all the rest.
CONTEXT_FRAMES = 1


def frame_levels(sigma: float | Tensor, held: Tensor, lag: float | Tensor) -> Tensor:
    """Noise levels [1 or B,T] of a clip's frames when the clip is at sigma, which goes from 1 to 0.

    Held frames (held [1 or B,T] bool) have sigma itself. sigma, lag: a number, or one for each clip [B,1].
    """
    order, count, lag = (~held).cumsum(1) - 1, (~held).sum(1, keepdim=True), (held[:, :1] & ~held[:, -1:]) * lag
    level = 1.0 - (1.0 - sigma) * (1.0 + (count - 1).clamp_min(0) * lag) + order * lag
    # A model recognises a finished frame by exactly 0, so rounding errors must not keep it above.
    return level.clamp(0.0, 1.0).round(decimals=6).where(~held, cast("Tensor", sigma))


def levels_of_sigma(held: Tensor, lag: float) -> Callable[[float], Tensor]:
    """frame_levels [1,T] of one clip as a function of sigma; the last four results are cached."""
    return lru_cache(maxsize=4)(partial(frame_levels, held=held, lag=lag))


def with_frame_levels(transformer: Transformer, held: Tensor, level: Callable[[float], Tensor]) -> Transformer:
    """A transformer that receives each frame's own level where its caller gives the whole clip's sigma [B,T].

    Held frames [1,T] keep the sigma they are given: 0, or the clip's once they are released. A flow map computes only
    the frames that its step needs, see moving_frames().
    """

    def own_level(sigma: Tensor) -> Tensor:
        return sigma.where(held, level(float(sigma.max())))

    def model(
        x: Tensor, sigma: Tensor, context: Tensor, *, target: Tensor | None = None, **conditionings: object
    ) -> Tensor:
        if target is None:
            return transformer(x, own_level(sigma), context, **conditionings)
        return moving_frames(transformer, x, own_level(sigma), context, own_level(target), **conditionings)

    return model


def moving_frames(
    transformer: Transformer, x: Tensor, sigma: Tensor, context: Tensor, target: Tensor, **conditionings: object
) -> Tensor:
    """A flow map's velocity from sigma to target [B,T], computed for the frames that the step moves and their context.

    Frames that have not begun say nothing about earlier ones. Finished frames are left out where a draft shows the
    same, except under a camera path, which is relative to the first frame. Frames left out get a velocity that no step
    uses but previews show: ahead of the moving ones it leads to the draft, or else to the last frame that has begun.
    """
    import torch

    moving, begun = (at.any(0).nonzero() for at in (target < sigma, (target < sigma) | (sigma < 1)))
    draft = cast("Tensor | None", conditionings.get("draft"))
    from_start = draft is None or "camera" in conditionings
    part = slice(0 if from_start else max(0, int(moving[0]) - CONTEXT_FRAMES), int(begun[-1]) + 1)
    for name in {"camera", "draft", "vace"} & conditionings.keys():
        conditionings[name] = cast("Tensor", conditionings[name])[:, :, part]
    v = transformer(x[:, :, part], sigma[:, part], context, target=target[:, part], **conditionings)
    ahead, last = x[:, :, part.stop :], slice(part.stop - 1, part.stop)
    if draft is None:
        goal = x[:, :, last] - sigma[:, None, last, None, None] * v[:, :, -1:]
    else:
        goal = draft[:, :-1, part.stop :]
    return torch.cat((torch.zeros_like(x[:, :, : part.start]), v, ahead - goal), 2)


def with_paced_levels(transformer: Transformer, sigmas: Sequence[float], held: Tensor, lag: float) -> Transformer:
    """As with_frame_levels, for a sampler that knows one level for all frames.

    Its velocities are scaled so that an Euler step of that sampler leads each frame to its own next level.
    """
    level = levels_of_sigma(held, lag)
    inner = with_frame_levels(transformer, held, level)

    def model(x: Tensor, sigma: Tensor, context: Tensor, **conditionings: object) -> Tensor:
        step = nearest_step(sigmas[:-1], float(sigma.max()))
        now, following = (level(s) for s in sigmas[step : step + 2])
        share = (now - following) / (sigmas[step] - sigmas[step + 1])  # of the clip's own step
        return share.to(x)[:, None, :, None, None] * inner(x, sigma, context, **conditionings)

    return model
