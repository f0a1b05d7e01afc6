"""Classifier-free guidance: away from the negative prompt's velocity, towards the prompt's (arXiv 2207.12598)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from .types import Denoiser, Transformer

# Latent cells up to which both prompts share a batch; in larger videos a batch is no faster and takes twice the memory.
MAX_CELLS_IN_ONE_BATCH = 8192


def guided(
    model: Transformer,
    positive: Tensor,
    negative: Tensor | None,
    guidance: float | Callable[[float], float],
    cache_text: bool = False,
    in_pairs: Callable[[Callable[[], Tensor], Callable[[], Tensor]], tuple[Tensor, Tensor]] | None = None,
) -> Denoiser:
    """A denoiser (x [B,C,T,h,w], sigma [B,T]) -> v_negative + guidance * (v_positive - v_negative).

    positive, negative: text context [1 or B, L, D]. guidance: a number, or a function of sigma; at 1, or without a
    negative, the model is called once, for half the cost. cache_text: hand the model a dict per prompt in which it may
    keep what it computes of the text (see WanTransformer.forward). in_pairs: takes a call for each prompt and
    gives both velocities, where not one after another here. Raises ValueError for contexts of two shapes.
    """
    if positive.shape[0] != 1 and negative is not None and negative.shape != positive.shape:
        raise ValueError(f"negative context is {list(negative.shape)}; expected the positive's {list(positive.shape)}")
    both, first, second = ({"text_cache": dict[object, object]()} if cache_text else {} for _ in range(3))

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        import torch

        batch = x.shape[0]
        scale = guidance(float(sigma.max())) if callable(guidance) else guidance
        cond = positive.expand(batch, -1, -1)
        if scale == 1.0 or negative is None:
            return model(x, sigma, cond, **first)
        uncond = negative.expand(batch, -1, -1)
        if in_pairs is not None:
            v, v_negative = in_pairs(lambda: model(x, sigma, cond, **first), lambda: model(x, sigma, uncond, **second))
        elif x.shape[2:].numel() <= MAX_CELLS_IN_ONE_BATCH:
            doubled = (torch.cat(pair) for pair in ((x, x), (sigma, sigma), (cond, uncond)))
            v, v_negative = model(*doubled, **both).chunk(2)
        else:
            v, v_negative = model(x, sigma, cond, **first), model(x, sigma, uncond, **second)
        return v_negative + scale * (v - v_negative)

    return denoise
