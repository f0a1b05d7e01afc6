"""Two transformers for one way from noise to video: an expert for high noise, another for the rest (Wan 2.2, A14B)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .config import VDiTConfig
from .vdit import VDiT


class Experts(nn.Module):
    """Is called like a VDiT. At boundary (a sigma in 0..1) and above `high` answers, below it `low`.

    Raises ValueError when the two are not of one kind or the boundary is no sigma.
    """

    def __init__(self, high: VDiT, low: VDiT, boundary: float):
        super().__init__()
        if high.config != low.config:
            raise ValueError(f"the experts differ: {_differences(high.config, low.config)}; give the two of one model")
        if not 0 < boundary < 1:
            raise ValueError(f"boundary is {boundary}; expected a sigma between 0 and 1 at which the experts change")
        self.high, self.low, self.boundary = high, low, boundary

    @property
    def config(self) -> VDiTConfig:
        return self.high.config

    @property
    def attention(self) -> tuple[str, float]:
        return self.high.attention

    @attention.setter
    def attention(self, value: tuple[str, float]) -> None:
        self.high.attention = self.low.attention = value

    def expert(self, sigma: float) -> VDiT:
        """Who answers at a noise level (of the noisiest frame, where frames differ)."""
        return self.high if sigma >= self.boundary else self.low

    def forward(self, x: Tensor, sigma: Tensor, *args: Any, **named: Any) -> Tensor:
        return self.expert(float(sigma.max()))(x, sigma, *args, **named)


def _differences(a: VDiTConfig, b: VDiTConfig) -> str:
    pairs = ((name, getattr(a, name), getattr(b, name)) for name in vars(a))
    return ", ".join(f"{name} is {x} and {y}" for name, x, y in pairs if x != y)
