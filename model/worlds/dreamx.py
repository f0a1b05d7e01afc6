"""DreamX-World: a Wan transformer with a second self-attention in each block, whose positions are cameras.

AMAP-ML/DreamX-World, models/wan_transformer3d.py: PropeSelfAttention; the projective positions are those of PRoPE
(arXiv 2507.10496). Tensor names are those of its files.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ...kernels import dispatch
from ..config import HEAD_DIM
from ..functional import Linear, add, rms_norm
from ..layers import Block, CameraSignal, Layout, add_and_norm
from ..wan import WanTransformer
from .config import DreamXConfig


class CameraAttention(nn.Module):
    """Self-attention in which the channels of a token, four at a time, are a point seen by its frame's camera."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(dim, eps), nn.RMSNorm(dim, eps)

    def forward(self, x: Tensor, projections: Tensor, layout: Layout) -> Tensor:
        """x [B, L, D]; projections [B, 2, T, 4, 4]: of each frame's camera, image from world, and its inverse.

        Queries become P^T q, keys and values P^-1 k and P^-1 v, the result P y: what counts is P_i P_j^-1 alone.
        """
        onto, back = projections.unbind(1)
        q = projected(_heads(rms_norm(self.q_proj(x), self.norm_q)), onto.transpose(-1, -2))
        k = projected(_heads(rms_norm(self.k_proj(x), self.norm_k)), back)
        v = projected(_heads(self.v_proj(x)), back)
        y = dispatch.attention(q, k, v, layout.plan)
        return self.out_proj(projected(y, onto).flatten(-2))


def projected(x: Tensor, matrix: Tensor) -> Tensor:
    """Each four channels of x [B, T * S, heads, d] times their frame's matrix [B, T, 4, 4], in x's dtype."""
    frames = x.unflatten(1, (matrix.shape[1], -1)).unflatten(-1, (-1, 4))  # [B, T, S, heads, d / 4, 4]
    turned = torch.einsum("btij,btshdj->btshdi", matrix.float(), frames.float())
    return turned.flatten(-2).flatten(1, 2).to(x.dtype)


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, HEAD_DIM))


class DreamXBlock(Block):
    """A block that adds the cameras' attention to its own."""

    def __init__(self, c: DreamXConfig):
        super().__init__(c)
        self.cam_self_attn = CameraAttention(c.dim, c.eps)

    def _attended(self, x: Tensor, y: Tensor, gate: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        camera = layout.camera
        if camera is None:
            return super()._attended(x, y, gate, layout)
        if layout.past is not None:
            raise ValueError("DreamX-World-5B-Cam sees all cameras at once: it cannot make a video block by block")
        y = y.flatten(1, 2)
        both = add(self.self_attn(y, layout), self.cam_self_attn(y, camera.signal, layout), camera.strength)
        return add_and_norm(x, both.unflatten(1, x.shape[1:3]), gate, self.norm3)


class DreamXTransformer(WanTransformer):
    """`camera` is a projection [B, 16, T, 1, 1] for each latent frame, a 4x4 matrix by rows, image from world.

    See control.world_cameras.dreamx_projections; without it the blocks are Wan's.
    """

    config: DreamXConfig

    def _block(self) -> Block:
        return DreamXBlock(self.config)

    def _see(self, tokens: Tensor, camera: Tensor, strength: float) -> tuple[Tensor, CameraSignal]:
        onto = camera.flatten(2).transpose(1, 2).unflatten(-1, (4, 4)).double()
        return tokens, CameraSignal(torch.stack((onto, torch.linalg.inv(onto)), 1).float(), strength)

    def _input_shapes(self, x: Tensor, sigma: Tensor) -> dict[str, tuple[object, tuple[int, ...]]]:
        return super()._input_shapes(x, sigma) | {"camera": (True, (16, x.shape[2], 1, 1))}

    def zero_optional_branches(self) -> None:
        """As WanTransformer's, and the cameras' attention adds nothing."""
        super().zero_optional_branches()
        for block in cast("list[DreamXBlock]", self.blocks):
            nn.init.zeros_(block.cam_self_attn.out_proj.weight)
