"""Classifier-free guidance: steer from what the negative prompt would give towards what the prompt gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from torch import Tensor


def guided(model: Callable, positive: Tensor, negative: Tensor | None, guidance: float) -> Callable:
    """A denoiser (x [B,C,T,h,w], sigma [B,T]) -> v that asks the model once a step, for both prompts in one batch.

    v = v_negative + guidance * (v_positive - v_negative). positive, negative: [1 or B, L, D].
    Guidance 1 (or no negative) needs and costs only half of that batch.
    """
    if positive.shape[0] != 1 and negative is not None and negative.shape != positive.shape:
        raise ValueError(f"negative context is {list(negative.shape)}; expected the positive's {list(positive.shape)}")

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        import torch

        batch = x.shape[0]
        cond = positive.expand(batch, -1, -1)
        if guidance == 1.0 or negative is None:
            return model(x, sigma, cond)
        context = torch.cat([cond, negative.expand(batch, -1, -1)])
        v, v_negative = model(torch.cat([x, x]), torch.cat([sigma, sigma]), context).chunk(2)
        return v_negative + guidance * (v - v_negative)

    return denoise
