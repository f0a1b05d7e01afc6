"""VDiT: the bundled transformer, a WanTransformer that is also conditioned on a draft of the video and on known frames.

What rests in a picture, and what a draft has already drawn, then need not pass through the attention of a small model.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.patterns import near_frames_plan
from ..kernels.plan import BlockPlan
from .config import VDiTConfig
from .functional import Linear, add, patchify
from .wan import TokenGrid, WanTransformer, init_weights

__all__ = ["PlaceEmbedding", "VDiT", "draft_change", "follow_draft", "init_weights", "latest_known_frame"]

MIN_SIGMA = 1e-3  # velocities (x - x0) / sigma are computed with at least this sigma
# Latent frames on either side that a token sees: a little more than the 11 of a training clip, so that clips up to 13 s
# are seen whole, and the cost of longer ones grows evenly (bench/long_videos.py).
REACH = 12
TRUST_BIAS = 2.0  # initial log-odds that a draft is right: trusted at 88% before training


class VDiT(WanTransformer):
    """Adds three inputs to the patch embedding, each if the config has it: `places`, `carry` and `draft`."""

    place_embedding: PlaceEmbedding
    carry_embedding: nn.Conv3d
    draft_embedding: nn.Conv3d
    draft_trust: Linear

    def _own_modules(self) -> dict[str, nn.Module]:
        c, modules = self.config, {}
        if c.places:
            modules["place_embedding"] = PlaceEmbedding(c)
        if c.carry:
            modules["carry_embedding"] = nn.Conv3d(c.in_channels + 1, c.dim, c.patch, c.patch, bias=False)
        if c.draft:
            modules["draft_embedding"] = nn.Conv3d(c.in_channels + 1, c.dim, c.patch, c.patch, bias=False)
            modules["draft_trust"] = Linear(c.dim, math.prod(c.patch))
        return modules

    def _embed(
        self,
        x: Tensor,
        sigma: Tensor,
        grid: TokenGrid,
        first: int = 0,
        draft: Tensor | None = None,
        carried: Tensor | None = None,
    ) -> Tensor:
        """As WanTransformer's. draft [B, C+1, T, h, w]: latents of a draft of the video and its mask.

        The mask is 1 where there is a draft, 2 where the draft is certain, else 0. carried [B, C, 1, h, w]: in a causal
        rollout, the clean frame before x.
        """
        tokens = super()._embed(x, sigma, grid, first)
        known = latest_known_frame(x, sigma, carried) if self.config.carry and sigma.ndim == 2 else None
        if self.config.places:
            tokens = add(tokens, self.place_embedding(grid, tokens, first))
        if known is not None:
            tokens = add(tokens, patchify(self.carry_embedding, known.to(tokens.dtype)))
        if draft is not None:
            change = draft_change(draft, known).to(tokens.dtype)
            tokens = add(tokens, patchify(self.draft_embedding, change))
        return tokens

    def _finish(
        self,
        velocity: Tensor,
        tokens: Tensor,
        grid: TokenGrid,
        x: Tensor,
        sigma: Tensor,
        draft: Tensor | None = None,
        carried: Tensor | None = None,
    ) -> Tensor:
        if draft is None:
            return velocity
        trust = self.draft_trust(F.layer_norm(tokens, tokens.shape[-1:]))  # log-odds [B, T, S, patch]
        return follow_draft(velocity, draft, self._unpatchify(trust, grid).to(x.dtype), x, sigma)

    def _plan(self, grid: TokenGrid, device: torch.device) -> BlockPlan | None:
        """As WanTransformer's; without a choice of the user, frames much farther away than in training are not seen."""
        if self.attention == self.config.attention == ("full", 1.0):
            return near_frames_plan(REACH, grid, device)
        return super()._plan(grid, device)

    def _input_shapes(self, x: Tensor, sigma: Tensor) -> dict[str, tuple[object, tuple[int, ...]]]:
        c = self.config
        return super()._input_shapes(x, sigma) | {
            "draft": (c.draft, (c.in_channels + 1, *x.shape[2:])),
            "carried": (c.carry, (c.in_channels, 1, *x.shape[3:])),
        }

    def zero_optional_branches(self) -> None:
        """As WanTransformer's, and a draft is trusted everywhere alike."""
        super().zero_optional_branches()
        if self.config.places:
            nn.init.zeros_(self.place_embedding.proj.weight)
        if self.config.carry:
            nn.init.zeros_(self.carry_embedding.weight)
        if self.config.draft:
            nn.init.zeros_(self.draft_embedding.weight)
            nn.init.zeros_(self.draft_trust.weight)
            nn.init.constant_(self.draft_trust.bias, TRUST_BIAS)


class PlaceEmbedding(nn.Module):
    """Absolute position of each token, counted from the first frame and the picture's centre.

    Rotary positions act on attention scores only. A model with few heads that finds an object by its appearance also
    has to know where that object was.
    """

    PERIODS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # of the sinusoids along each axis, in tokens
    SPAN = 5  # tokens a side seen in training; larger grids are interpolated to that range (arXiv 2306.15595)

    def __init__(self, c: VDiTConfig):
        super().__init__()
        self.proj = Linear(6 * len(self.PERIODS), c.dim, bias=False)

    def forward(self, grid: TokenGrid, like: Tensor, first: int = 0) -> Tensor:
        """Embeddings [T, S, D] of a grid (T, H, W) of tokens from frame `first` on, as like's dtype and device are."""
        return self.proj(self._sinusoids(tuple(grid), like.device, first).to(like.dtype))

    @classmethod
    @lru_cache(maxsize=16)
    def _sinusoids(cls, grid: TokenGrid, device: torch.device, first: int) -> Tensor:
        """[T, S, 6 * periods], the same for all steps of a run."""
        with torch.inference_mode(False), torch.no_grad():  # see rope_table
            step = min(1.0, cls.SPAN / max(grid[1:]))
            time, *sides = (torch.arange(n, device=device) for n in grid)
            axes = ((time + first).float(), *((side - (len(side) - 1) / 2) * step for side in sides))
            places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(grid[0], -1, 3, 1)
            angle = places * (2 * math.pi / torch.tensor(cls.PERIODS, device=device))
            return torch.cat((angle.sin(), angle.cos()), -1).flatten(2)


def latest_known_frame(x: Tensor, sigma: Tensor, before: Tensor | None = None) -> Tensor:
    """For each latent frame the latest known one (sigma [B, T] is 0) up to it, and a mask whether there is one.

    before [B, C, 1, h, w]: a known frame that precedes x. x [B, C, T, h, w] -> [B, C+1, T, h, w].
    """
    if before is not None:
        x, sigma = torch.cat((before.to(x.dtype), x), 2), torch.cat((sigma.new_zeros(len(x), 1), sigma), 1)
        return latest_known_frame(x, sigma)[:, :, 1:]
    frames = torch.arange(x.shape[2], device=x.device).expand(len(x), -1)
    latest = torch.where(sigma == 0, frames, -1).cummax(1).values[:, None, :, None, None]
    mask = (latest >= 0).to(x.dtype).expand(-1, 1, -1, *x.shape[3:])
    return torch.cat((x.gather(2, latest.clamp_min(0).expand_as(x)) * mask, mask), 1)


def draft_change(draft: Tensor, known: Tensor | None) -> Tensor:
    """A draft [B, C+1, T, h, w] minus the latest known frame: zero where nothing moves. The mask is clamped to 1."""
    latent, mask = draft[:, :-1], draft[:, -1:].clamp(max=1)
    return torch.cat(((latent if known is None else latent - known[:, :-1]) * mask, mask), 1)


def follow_draft(velocity: Tensor, draft: Tensor, trust: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """The velocity blended with the one that leads to the draft [B, C+1, T, h, w].

    trust: log-odds [B, 1, T, h, w] that the draft is right; the blend is full at sigma 1 and vanishes at sigma 0.
    Where the draft is certain (mask 2), the velocity leads straight to it.
    """
    mask, to_draft = draft[:, -1:], x - draft[:, :-1]
    sigma = sigma.view(len(x), 1, -1, 1, 1)
    weight = trust.sigmoid() * mask.clamp(max=1)
    blended = (1 - sigma * weight) * velocity + weight * to_draft
    return torch.where(mask > 1, to_draft / sigma.clamp_min(MIN_SIGMA), blended)
