"""A causal rollout: a video made block after block, each sampled while it sees those before it (arXiv 2506.08009).

A block that is done passes once more at sigma 0, so that later blocks see it clean. Students that were trained so add
fresh noise between their steps (solver lcm); flow maps go straight on (euler).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from .sample import SampleOptions, Step, sample

if TYPE_CHECKING:
    from torch import Tensor

    from .types import BlockDenoiser


def blocks_of(count: int, frames: int, known: int = 0) -> list[range]:
    """The latent frames of each block of a video of `count`: those that are known beforehand, then `frames` at a time.

    The last block may be shorter. Raises ValueError for blocks of no frames.
    """
    if frames < 1:
        raise ValueError(f"blocks of {frames} latent frames; expected at least 1")
    starts = [*[0] * (known > 0), *range(known, count, frames)]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True)]


def rollout(
    denoise: BlockDenoiser,
    blocks: Iterable[range],
    noise: Callable[[range], Tensor],
    sigmas: Sequence[float],
    solver: str = "lcm",
    *,
    known: Callable[[range], Tensor | None] = lambda block: None,
    options: Callable[[range], SampleOptions] = lambda block: SampleOptions(),
    on_step: Callable[[range, Step], None] = lambda block, step: None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[range, Tensor]]:
    """Each block with its clean latents [B,C,n,h,w], before the next one is begun; blocks may go on for ever.

    denoise(x, sigma [B,n], block) -> velocity, which sees the latest pass of each earlier block. noise(block): of its
    first step. known(block): latents that are given. options, on_step, check, errors: as those of sample().
    """
    before: tuple[range, Tensor] | None = None
    for block in blocks:
        if before is not None:  # the last block of all is seen by none
            check()
            denoise(before[1], before[1].new_zeros(len(before[1]), len(before[0])), block=before[0])
        x = known(block)
        if x is None:
            report = partial(on_step, block)
            field = partial(denoise, block=block)
            x = sample(field, noise(block), sigmas, solver, None, report, check, options(block))
        before = block, x
        yield before
