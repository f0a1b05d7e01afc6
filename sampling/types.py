"""The callables that sampling passes around. Tensors: x [B,C,T,h,w], sigma [B,T] in 0..1, context [B,L,D]."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

# (x, sigma) -> velocity noise - x0 [B,C,T,h,w]; the text context is fixed.
Denoiser: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
# (x, sigma, context, **conditionings) -> velocity; conditionings by the names of the model's forward.
Transformer: TypeAlias = "Callable[..., Tensor]"


class BlockDenoiser(Protocol):
    """A denoiser of one block of latent frames, which sees the latest pass of each block before it."""

    def __call__(self, x: Tensor, sigma: Tensor, /, *, block: range) -> Tensor:
        """(x [B,C,n,h,w], sigma [B,n]) -> velocity; block: the numbers of x's frames in the video."""
        ...
