"""Held frames: latents that are given (a start picture, an end picture) and that the video must keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .types import Denoiser


@dataclass(frozen=True, eq=False)
class HeldFrames:
    """latent [1 or B,C,T,h,w] (any value where a frame is not held), held [T] bool, strength 0..1.

    At strength 1 frames are held to the end. Below 1 they are held while sigma > 1 - strength and then released, noised
    to the sigma of that moment, so that the model may change them; 0 has no influence. Raises ValueError on misfits.
    """

    latent: Tensor
    held: Tensor
    strength: float = 1.0

    def __post_init__(self):
        if self.held.ndim != 1 or self.latent.ndim != 5 or self.held.shape[0] != self.latent.shape[2]:
            raise ValueError(
                f"held frames: latent {list(self.latent.shape)} and held {list(self.held.shape)} do not fit; "
                "expected [B,C,T,h,w] and [T]"
            )
        if not 0.0 <= self.strength <= 1.0:
            raise ValueError(f"strength is {self.strength}; expected 0 (ignore the pictures) to 1 (hold them)")

    @property
    def mask(self) -> Tensor:
        """held as [1,1,T,1,1], to broadcast over latents."""
        return self.held[None, None, :, None, None]


def held_mask(frames: HeldFrames | None, count: int, device: torch.device | str) -> Tensor:
    """Which of `count` frames are held: [1,T] bool, all False where nothing is held."""
    import torch

    return (torch.zeros(count, dtype=torch.bool) if frames is None else frames.held)[None].to(device)


def hold(denoise: Denoiser, frames: HeldFrames, noise: Tensor) -> Denoiser:
    """A denoiser that shows the model held frames clean, at sigma 0, and gives them the exact velocity noise - latent.

    With that velocity every solver carries a held frame along (1-s)*latent + s*noise: it arrives exactly, and a frame
    released on the way already has the right noise, so no solver needs to know of held frames.
    """
    mask = frames.mask
    exact = noise - frames.latent

    def denoise_held(x: Tensor, sigma: Tensor) -> Tensor:
        if not float(sigma[0, 0]) > 1.0 - frames.strength:
            return denoise(x, sigma)
        velocity = denoise(frames.latent.where(mask, x), sigma.masked_fill(frames.held, 0.0))
        return exact.where(mask, velocity)

    return denoise_held
