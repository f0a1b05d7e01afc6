"""What the codecs of Wan latents share: sizes, channel statistics, and refusals with the numbers.

Raw latents are the encoder's mean, before any scaling: what ComfyUI's VAE Encode gives and its VAE Decode takes.
`normalize` makes what the transformer sees, which ComfyUI's latent formats Wan21 and Wan22 do inside the model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STATISTICS = {  # of raw latents, `wan/modules/vae2_1.py`, `vae2_2.py`: mean, standard deviation
    "2.1": (
        (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
         -0.1922, -0.9497, 0.2503, -0.2921),
        (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
         1.1253, 2.8251, 1.9160),
    ),
    "2.2": (
        (-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891, 0.1570,
         -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502, -0.2055,
         -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723, -0.2839,
         -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667),
        (0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901, 0.6885,
         0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338,
         0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458,
         1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744),
    ),
}  # fmt: skip


class Latents(nn.Module):
    """kind: "2.1" (8x8 pixels and 4 frames a cell, 16 channels) or "2.2" (16x16, 48 channels)."""

    temporal = 4  # frames of a latent cell
    preview_map = None  # fitted at the first preview (sampling.preview), where there is no preview codec

    def __init__(self, kind: str):
        super().__init__()
        if kind not in STATISTICS:
            raise ValueError(f"Wan codec {kind!r}; expected one of {', '.join(STATISTICS)}")
        self.kind = kind
        self.preview: nn.Module | None = None  # a tiny codec of the same latents (codec.wan.with_preview)
        self.spatial = 8 if kind == "2.1" else 16  # pixels a side of a latent cell
        mean, std = (torch.tensor(figures, device="cpu") for figures in STATISTICS[kind])
        self.channels = len(mean)
        self.register_buffer("latent_mean", mean, persistent=False)
        self.register_buffer("latent_std", std, persistent=False)

    def latent_frames(self, frames: int) -> int:
        """Latents of a clip of 4k+1 frames. Raises ValueError for any other count, with the two nearest."""
        if frames < 1 or frames % self.temporal != 1:
            low = max(1, (frames - 1) // self.temporal * self.temporal + 1)
            raise ValueError(
                f"{frames} frames do not fit the Wan {self.kind} codec, which takes {self.temporal}k+1: "
                f"use {low} or {low + self.temporal}"
            )
        return frames // self.temporal + 1

    def normalize(self, latent: Tensor) -> Tensor:
        """Raw latents [B, C, ...] -> zero mean, unit variance a channel, as the transformer takes them."""
        shape = (1, -1) + (1,) * (latent.ndim - 2)
        return (latent - self.latent_mean.to(latent).view(shape)) / self.latent_std.to(latent).view(shape)

    def denormalize(self, latent: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        shape = (1, -1) + (1,) * (latent.ndim - 2)
        return latent * self.latent_std.to(latent).view(shape) + self.latent_mean.to(latent).view(shape)

    def check_frames(self, frames: Tensor) -> None:
        if frames.ndim != 5 or frames.shape[-1] != 3:
            raise ValueError(f"frames have shape {list(frames.shape)}; expected [B, T, H, W, 3], RGB in 0..1")
        self.latent_frames(frames.shape[1])
        step = 2 * self.spatial
        wrong = []
        for name, size in (("width", frames.shape[3]), ("height", frames.shape[2])):
            if size % step or not size:
                below = max(size // step, 1) * step
                wrong.append(f"{name} is {size}, the nearest that fit are {below} and {below + step}")
        if wrong:
            raise ValueError(
                f"{'; '.join(wrong)}: models with the Wan {self.kind} codec take sides in multiples of {step} pixels"
            )

    def check_latent(self, latent: Tensor) -> None:
        shape = list(latent.shape)
        if latent.ndim != 5 or 0 in shape:
            raise ValueError(f"latents have shape {shape}; expected [B, {self.channels}, T, h, w]")
        if shape[1] != self.channels:
            other = next((kind for kind, (mean, _) in STATISTICS.items() if len(mean) == shape[1]), None)
            raise ValueError(
                f"latents have {shape[1]} channels{f' (the Wan {other} codec makes these)' if other else ''}; "
                f"the Wan {self.kind} codec decodes {self.channels}: load the codec that belongs to the model"
            )
        if shape[3] % 2 or shape[4] % 2:
            raise ValueError(
                f"latents are {shape[4]}x{shape[3]} cells; Wan models make even numbers only: "
                f"pictures whose sides are multiples of {2 * self.spatial} pixels"
            )
