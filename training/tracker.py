"""A reader of the teacher's tokens that must say where every ball is, seen or hidden; in training only.

The velocity alone says little of a ball behind a box: no pixel shows it until it is out again. This loss asks for it in
every frame, from tokens in the middle of the transformer, so that the blocks behind them draw from a known place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..control.signals import POOL, SUBFRAMES, fold
from ..model.vdit import VDiT

RARE = 4.0  # log-odds against a ball in a cell that an untrained reader begins with


def occupancy(tracks: Tensor, size: tuple[int, int], cells: int) -> Tensor:
    """Share in 0..1 of cells of POOL x POOL pixels that balls cover, folded into tokens: [B, 4*cells^2, T', h, w].

    tracks [B, 4k+1, N, 3]: centre u, v and radius in pixels (0: no ball); size: width, height; cells a side of a token.
    """
    width, height = size
    v, u = ((torch.arange(n // POOL, device=tracks.device) + 0.5) * POOL for n in (height, width))
    du, dv = tracks[..., 0, None, None] - u, tracks[..., 1, None, None] - v[:, None]
    away = (du.square() + dv.square()).sqrt()  # [B, T, N, H/4, W/4]
    radius = tracks[..., 2, None, None]
    covered = ((radius - away) / POOL + 0.5).clamp(0, 1) * (radius > 0)
    return fold(covered.amax(2)[:, :, None], cells)


class Tracker(nn.Module):
    """Listens to a transformer's block (the last of its first two thirds) and reads occupancy from its tokens."""

    def __init__(self, model: VDiT, spatial: int = 16):
        super().__init__()
        self.cells = spatial * model.config.patch[1] // POOL
        self.norm = nn.LayerNorm(model.config.dim)
        self.read = nn.Linear(model.config.dim, SUBFRAMES * self.cells**2)
        nn.init.zeros_(self.read.weight)
        nn.init.constant_(self.read.bias, -RARE)
        self.missed = 0.0  # the last loss
        self._tokens: Tensor | None = None
        model.blocks[2 * model.config.layers // 3 - 1].register_forward_hook(self._keep)

    def _keep(self, block: nn.Module, given: tuple, tokens: Tensor) -> None:
        self._tokens = tokens

    def loss(self, tracks: Tensor, size: tuple[int, int]) -> Tensor:
        """Cross-entropy of the occupancy that the model's last call knew of, for each cell that a ball covers.

        tracks as for `occupancy`; latent frames beyond them are left out.
        """
        tokens, self._tokens = self._tokens, None
        wanted = occupancy(tracks, size, self.cells).permute(0, 2, 3, 4, 1).flatten(2, 3)  # [B, T', S, 4*cells^2]
        read = self.read(self.norm(tokens[:, : wanted.shape[1]].float()))
        missed = F.binary_cross_entropy_with_logits(read.float(), wanted, reduction="none")
        loss = missed.sum() / wanted.sum().clamp_min(1.0)
        self.missed = loss.item()
        return loss
