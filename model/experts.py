"""A pair of transformers as one: an expert for high noise and one for low noise (Wan 2.2 A14B)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .config import VDiTConfig
from .transformer import Transformer


class Experts(Transformer):
    """At sigma >= boundary (0..1) the expert `high` is called, below it `low`.

    Raises ValueError when the two are not of one kind or the boundary is no sigma.
    """

    def __init__(self, high: Transformer, low: Transformer, boundary: float):
        super().__init__()
        if high.config != low.config:
            raise ValueError(f"the experts differ: {_differences(high.config, low.config)}; give the two of one model")
        if not 0 < boundary < 1:
            raise ValueError(f"boundary is {boundary}; expected a sigma between 0 and 1 at which the experts change")
        self.high, self.low, self.boundary = high, low, boundary

    @property
    def config(self) -> VDiTConfig:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The sizes of both."""
        return self.high.config

    @property
    def attention(self) -> tuple[str, float]:
        """The attention pattern of both."""
        return self.high.attention

    @attention.setter
    def attention(self, value: tuple[str, float]) -> None:
        self.high.attention = self.low.attention = value

    def expert(self, sigma: float) -> Transformer:
        """The expert for a noise level (that of the noisiest frame, where frames differ)."""
        return self.high if sigma >= self.boundary else self.low

    def forward(self, x: Tensor, sigma: Tensor, *args: Any, **named: Any) -> Tensor:  # noqa: ANN401 (passed on)
        """As WanTransformer's."""
        return self.expert(float(sigma.max()))(x, sigma, *args, **named)


def _differences(a: VDiTConfig, b: VDiTConfig) -> str:
    pairs = ((name, getattr(a, name), getattr(b, name)) for name in vars(a))
    return ", ".join(f"{name} is {x} and {y}" for name, x, y in pairs if x != y)
