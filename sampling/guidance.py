"""Classifier-free guidance: steer from what the negative prompt would give towards what the prompt gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from torch import Tensor


TOGETHER = 8192  # latent cells; in larger videos a batch is no quicker than its parts, and takes twice the memory


def guided(
    model: Callable, positive: Tensor, negative: Tensor | None, guidance: float | Callable[[float], float],
    keep: bool = False,
) -> Callable:  # fmt: skip
    """A denoiser (x [B,C,T,h,w], sigma [B,T]) -> v that asks the model for both prompts, small videos in one batch.

    v = v_negative + guidance * (v_positive - v_negative). positive, negative: [1 or B, L, D]; guidance: a number, or
    one for each sigma. Guidance 1 (or no negative) needs and costs only half of that. keep: the model may cache what it
    computes from each prompt (`text_cache`, see WanTransformer.forward).
    """
    if positive.shape[0] != 1 and negative is not None and negative.shape != positive.shape:
        raise ValueError(f"negative context is {list(negative.shape)}; expected the positive's {list(positive.shape)}")

    kept = [{"text_cache": {}} if keep else {} for _ in range(3)]  # of both prompts, the one, the other

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        import torch

        batch = x.shape[0]
        scale = guidance(float(sigma.max())) if callable(guidance) else guidance
        cond = positive.expand(batch, -1, -1)
        if scale == 1.0 or negative is None:
            return model(x, sigma, cond, **kept[1])
        uncond = negative.expand(batch, -1, -1)
        if x.shape[2:].numel() <= TOGETHER:
            both = (torch.cat(pair) for pair in ((x, x), (sigma, sigma), (cond, uncond)))
            v, v_negative = model(*both, **kept[0]).chunk(2)
        else:
            v, v_negative = model(x, sigma, cond, **kept[1]), model(x, sigma, uncond, **kept[2])
        return v_negative + scale * (v - v_negative)

    return denoise
