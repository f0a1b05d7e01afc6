"""The callables that sampling passes around. Tensors: x [B,C,T,h,w], sigma [B,T] in 0..1, context [B,L,D]."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

# (x, sigma) -> velocity noise - x0 [B,C,T,h,w]; the text context is fixed.
Denoiser: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
# (x, sigma, context, **conditionings) -> velocity; conditionings by the names of the model's forward.
Transformer: TypeAlias = "Callable[..., Tensor]"
