"""Known frames: latents that are given (a start picture, an end picture) and that the video must agree with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class KnownFrames:
    """Frames to hold: latent [1 or B,C,T,h,w] (anything where not held), held [T] bool, strength 0..1.

    Strength 1 holds them to the end. Below 1 they are held while sigma > 1 - strength and then released,
    noised to the sigma of that moment, so that the model may bend them; 0 gives no influence at all.
    """

    latent: Tensor
    held: Tensor
    strength: float = 1.0

    def __post_init__(self):
        if self.held.ndim != 1 or self.latent.ndim != 5 or self.held.shape[0] != self.latent.shape[2]:
            raise ValueError(
                f"known frames: latent {list(self.latent.shape)} and held {list(self.held.shape)} "
                "do not fit; expected [B,C,T,h,w] and [T]"
            )
        if not 0.0 <= self.strength <= 1.0:
            raise ValueError(f"strength is {self.strength}; expected 0 (ignore the pictures) to 1 (hold them)")


def held_in(known: KnownFrames | None, frames: int, device: Any) -> Tensor:
    """Which of so many frames are held, [1,T] bool; none without known frames."""
    import torch

    held = torch.zeros(frames, dtype=torch.bool) if known is None else known.held
    return held[None].to(device)


def hold(denoise: Callable, known: KnownFrames, noise: Tensor) -> Callable:
    """Let the model see held frames clean, at sigma 0 of their own, and give them the exact velocity noise - known.

    With that velocity any solver carries a held frame along (1-s)*known + s*noise, so it arrives exactly,
    and a frame released on the way is already noised as it should be: no solver needs to know.
    """
    mask = known.held[None, None, :, None, None]
    velocity = noise - known.latent

    def pinned(x: Tensor, sigma: Tensor) -> Tensor:
        s = float(sigma[0, 0])
        if not s > 1.0 - known.strength:
            return denoise(x, sigma)
        seen = known.latent.where(mask, x)
        v = denoise(seen, sigma.masked_fill(known.held, 0.0))
        return velocity.where(mask, v)

    return pinned
