"""Draft guidance: sampling begins from a draft that is noised part of the way, and may keep regions of it.

SDEdit (Meng et al., arXiv 2108.01073) begins at a noise level below 1, so that what the draft shows at a coarse scale
stays and the model draws the rest. Regions are released one after another, as in Differential Diffusion (Levin and
Fried, arXiv 2306.00950): a cell follows the draft's own path until the noise level at which the model may change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from .types import Denoiser


@dataclass(frozen=True, eq=False)
class DraftGuidance:
    """latent [1,C,T,h,w] of the draft, in the scale that is sampled; first: the share of the schedule that is sampled,
    0 (the draft itself) to 1 (the draft has no influence); hold [1,1,T,h,w]: for how much of the steps a cell follows
    the draft, 0 (free at once) to 1 (to the end). Raises ValueError on misfits.
    """

    latent: Tensor
    first: float
    hold: Tensor | None = None

    def __post_init__(self):
        if not 0.0 <= self.first <= 1.0:
            raise ValueError(f"first is {self.first:g}; expected 0 (the draft itself) to 1 (no influence of the draft)")
        if self.hold is not None and self.hold.shape[2:] != self.latent.shape[2:]:
            raise ValueError(f"hold {list(self.hold.shape)} does not fit the draft's latent {list(self.latent.shape)}")

    @property
    def kept(self) -> Tensor | None:
        """Cells [1,1,T,h,w] that follow the draft for a while; None where all are free at once."""
        return None if self.hold is None or self.first == 1 else self.hold > 0

    def begin(self, noise: Tensor, sigma: float) -> Tensor:
        """The draft noised to sigma, with which sampling begins."""
        return noise if self.first == 1 else (1.0 - sigma) * self.latent + sigma * noise

    def follow(self, denoise: Denoiser, noise: Tensor, sigmas: Sequence[float]) -> Denoiser:
        """A denoiser that leads cells which are still held to the draft: their velocity is noise - latent."""
        import torch

        if self.hold is None or self.kept is None:
            return denoise
        at, levels = self.hold * (len(sigmas) - 1), self.hold.new_tensor(sigmas)
        released = torch.lerp(levels[at.floor().long()], levels[at.ceil().long()], at.frac())
        exact = noise - self.latent

        def follow_draft(x: Tensor, sigma: Tensor) -> Tensor:
            return exact.where(sigma[0].max() > released, denoise(x, sigma))

        return follow_draft
