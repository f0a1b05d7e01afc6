"""VDiT: a diffusion transformer over space-time patches, in the Wan architecture with its native tensor names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import HEAD_DIM, VDiTConfig
from .layers import Block, Head, sinusoid
from .rope import rope_table


class VDiT(nn.Module):
    def __init__(self, config: VDiTConfig = VDiTConfig()):
        super().__init__()
        c = self.config = config
        self.patch_embedding = nn.Conv3d(c.in_channels, c.dim, c.patch, c.patch)
        self.text_embedding = nn.Sequential(nn.Linear(c.text_dim, c.dim), nn.GELU("tanh"), nn.Linear(c.dim, c.dim))
        self.time_embedding = nn.Sequential(nn.Linear(c.freq_dim, c.dim), nn.SiLU(), nn.Linear(c.dim, c.dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(c.dim, 6 * c.dim))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.head = Head(c)

    def forward(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        """Velocity (noise - x0) [B, C, T, h, w] of normalised latents x at noise level sigma.

        sigma [B], or [B, T] per latent frame (known frames at 0), in 0..1; context [B, M, text_dim], M <= text_len.
        Raises ValueError when shapes do not fit.
        """
        self._check(x, sigma, context)
        c = self.config
        grid = tuple(n // p for n, p in zip(x.shape[2:], c.patch))
        x = self.patch_embedding(x).flatten(3).permute(0, 2, 3, 1)  # [B, T, S, D]
        context = nn.functional.pad(context, (0, 0, 0, c.text_len - context.shape[1]))
        context = self.text_embedding(context)
        time = self.time_embedding(sinusoid(1000 * sigma.reshape(len(sigma), -1), c.freq_dim))  # [B, T or 1, D]
        modulation = self.time_projection(time).unflatten(-1, (6, c.dim))
        rope = rope_table(grid, HEAD_DIM, x.device)
        for block in self.blocks:
            x = block(x, modulation, context, rope)
        return self._unpatchify(self.head(x, time), grid)

    def _unpatchify(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """[B, T, S, pt*ph*pw*C] -> [B, C, T*pt, H*ph, W*pw]."""
        b, (t, h, w), (pt, ph, pw) = len(x), grid, self.config.patch
        x = x.reshape(b, t, h, w, pt, ph, pw, -1).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.reshape(b, -1, t * pt, h * ph, w * pw)

    def _check(self, x: Tensor, sigma: Tensor, context: Tensor) -> None:
        c = self.config
        if x.ndim != 5 or x.shape[1] != c.in_channels:
            raise ValueError(f"latents have shape {tuple(x.shape)}; expected [B, {c.in_channels}, T, h, w]")
        if any(n % p for n, p in zip(x.shape[2:], c.patch)):
            raise ValueError(f"a latent grid of {tuple(x.shape[2:])} does not divide into patches of {c.patch}")
        if sigma.shape not in ((len(x),), (len(x), x.shape[2] // c.patch[0])):
            raise ValueError(f"sigma has shape {tuple(sigma.shape)}; expected [{len(x)}] or one for each latent frame")
        if context.ndim != 3 or context.shape[2] != c.text_dim or context.shape[1] > c.text_len:
            raise ValueError(
                f"text tokens have shape {tuple(context.shape)}; expected [B, at most {c.text_len}, {c.text_dim}]"
            )


def init_weights(model: VDiT, seed: int) -> VDiT:
    """Fresh weights for training: Xavier for matrices, a head that starts at zero. Returns the model."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if p.ndim >= 2 and "modulation" not in name:
            nn.init.xavier_uniform_(p.data.view(len(p), -1), generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(p)
        elif "modulation" in name:
            p.data.normal_(0, model.config.dim**-0.5, generator=generator)
    nn.init.zeros_(model.head.head.weight)
    return model
