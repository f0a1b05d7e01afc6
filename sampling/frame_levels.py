"""Noise that rises along a clip: what comes first is settled first, and what follows is made from it.

At rise 0 all frames have one noise level. At rise r each unknown frame lags the one before it by r of a frame's own way
from noise to picture; at 1 a frame begins when the one before it is done. A clip whose first frame is not known, or whose
last one is, has one level all the same: there is nothing to go on from, or a place to arrive at. Models are trained for
it with levels of each frame's own (Diffusion Forcing, arXiv 2407.01392).
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Callable, Sequence

from .schedule import step_of

if TYPE_CHECKING:
    from torch import Tensor

BEFORE = (
    1  # latent frames that a flow map sees of what is done before those that a step moves, where a draft tells the rest
)


def levels(sigma: float | Tensor, held: Tensor, rise: float | Tensor) -> Tensor:
    """Noise levels [1 or B,T] of frames when their clip is at sigma, which goes from 1 to 0; frames that are held
    [1 or B,T], as sampling.known holds them, have sigma itself. sigma, rise: a number, or one for each clip [B,1]."""
    order, count, rise = (~held).cumsum(1) - 1, (~held).sum(1, keepdim=True), (held[:, :1] & ~held[:, -1:]) * rise
    level = 1.0 - (1.0 - sigma) * (1.0 + (count - 1).clamp_min(0) * rise) + order * rise
    # Models tell a finished frame by exactly 0, which rounding must not miss.
    return level.clamp(0.0, 1.0).round(decimals=6).where(~held, sigma)


def goes_on(conditioning: Any) -> bool:
    """Whether noise can rise along this shot: it has a first frame to go on from, and no last one to arrive at."""
    return conditioning.start is not None and conditioning.end is None and conditioning.strength > 0


def rising(held: Tensor, rise: float) -> Callable[[float], Tensor]:
    """The levels() [1,T] of a clip by its sigma; the last of them are kept, for each is asked for several times."""
    return lru_cache(maxsize=4)(partial(levels, held=held, rise=rise))


def risen(transformer: Callable, held: Tensor, level: Callable[[float], Tensor]) -> Callable:
    """A transformer (x, sigma [B,T], ...) -> v that is told each frame's own level (see rising) where sigma is the whole clip's.
    A flow map computes what its step needs, see needed().

    Held frames [1,T] have the sigma they are given: 0, or the clip's once they are released.
    """

    def own(sigma: Tensor) -> Tensor:
        return sigma.where(held, level(float(sigma.max())))

    def model(x: Tensor, sigma: Tensor, *rest: Any, target: Tensor | None = None, **named: Any) -> Tensor:
        if target is None:
            return transformer(x, own(sigma), *rest, **named)
        return needed(transformer, x, own(sigma), own(target), *rest, **named)

    return model


def needed(transformer: Callable, x: Tensor, sigma: Tensor, target: Tensor, *rest: Any, **named: Any) -> Tensor:
    """The velocity of a flow map from sigma to target [B,T] where that moves frames, computed of those that it needs.

    What has not begun says nothing of what comes before it; of what is done, a draft tells as much, but where a camera's
    path, which is told from the first frame on, places it. Frames left out get a velocity that no step uses and watchers
    see: ahead of what moves, to the draft or else to the last frame that has begun.
    """
    import torch

    moves, begun = (at.any(0).nonzero() for at in (target < sigma, (target < sigma) | (sigma < 1)))
    draft = named.get("draft")
    placed = draft is None or "camera" in named
    part = slice(0 if placed else max(0, int(moves[0]) - BEFORE), int(begun[-1]) + 1)
    for name in {"camera", "draft", "vace"} & named.keys():
        named[name] = named[name][:, :, part]
    v = transformer(x[:, :, part], sigma[:, part], *rest, target=target[:, part], **named)
    ahead, last = x[:, :, part.stop :], slice(part.stop - 1, part.stop)
    goal = (
        x[:, :, last] - sigma[:, None, last, None, None] * v[:, :, -1:] if draft is None else draft[:, :-1, part.stop :]
    )
    return torch.cat((torch.zeros_like(x[:, :, : part.start]), v, ahead - goal), 2)


def paced(transformer: Callable, sigmas: Sequence[float], held: Tensor, rise: float) -> Callable:
    """As risen, for a sampler that knows one level for all frames: a step of Euler's along a schedule, with the velocities
    of this, leads each frame to its own next level."""
    level = rising(held, rise)
    inner = risen(transformer, held, level)

    def model(x: Tensor, sigma: Tensor, *rest: Any, **named: Any) -> Tensor:
        step = step_of(sigmas[:-1], float(sigma.max()))
        here, there = (level(s) for s in sigmas[step : step + 2])
        share = (here - there) / (sigmas[step] - sigmas[step + 1])  # of the clip's own way
        return share.to(x)[:, None, :, None, None] * inner(x, sigma, *rest, **named)

    return model
