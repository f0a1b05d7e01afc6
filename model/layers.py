"""The transformer's parts, with Wan's tensor names (Wan-Video/Wan2.1, wan/modules/model.py)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import dispatch
from ..kernels.grid import Grid
from ..kernels.plan import BlockPlan
from .config import HEAD_DIM, VDiTConfig
from .lean import Linear, add, feed_forward, layer_norm, rms_norm
from .rope import apply_rope


class Layout(NamedTuple):
    """Where the tokens of a video lie, how their places turn queries and keys, and which of them see each other."""

    grid: Grid
    rope: Tensor  # rope_table
    plan: BlockPlan | None = None  # None: every token sees every token
    axes: tuple[Tensor, Tensor, int] | None = None  # axis_tables, where the fused kernels run


class Context(NamedTuple):
    """What cross-attention looks at."""

    text: Tensor  # [B, M, D]
    repeats: int = 1  # how many times the last text token counts: Wan pads with zeros and masks nothing
    image: Tensor | None = None  # [B, N, D]
    kept: dict | None = None  # keys and values of the text in each block, where it is looked at again


def sinusoid(t: Tensor, size: int) -> Tensor:
    """Embedding [..., size] of times t [...] in thousandths: cosines, then sines."""
    angle = t.double()[..., None] * _frequencies(size // 2, t.device)
    return torch.cat((angle.cos(), angle.sin()), -1).float()


@lru_cache(maxsize=4)
def _frequencies(count: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():  # see rope_table
        return 10000 ** (-torch.arange(count, dtype=torch.float64, device=device) / count)


class Attention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys; normalised over all heads together, as in Wan."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.q, self.k, self.v, self.o = (Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(dim, eps), nn.RMSNorm(dim, eps)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """x [B, L, D] attends to itself as its layout says."""
        q, k, v = self.q(x), self.k(x), self.v(x)
        if layout.axes is not None:
            norms = self.norm_q.weight, self.norm_k.weight, self.norm_q.eps
            y = dispatch.norm_rope_attention(q, k, v, *norms, layout.axes, layout.grid, layout.plan)
        else:
            q = apply_rope(_heads(rms_norm(q, self.norm_q)), layout.rope)
            k = apply_rope(_heads(rms_norm(k, self.norm_k)), layout.rope)
            y = dispatch.attention(q, k, _heads(v), layout.plan)
        del q, k, v  # before the projection needs room
        return self.o(y.flatten(-2))


class CrossAttention(Attention):
    """Video looks at text and, through keys and values of its own, at a picture (Wan2.1, wan/modules/model.py)."""

    def __init__(self, dim: int, eps: float, image: bool):
        super().__init__(dim, eps)
        if image:
            self.k_img, self.v_img, self.norm_k_img = Linear(dim, dim), Linear(dim, dim), nn.RMSNorm(dim, eps)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x [B, L, D] attends to its context."""
        q = _heads(rms_norm(self.q(x), self.norm_q))
        y = _attend(q, *self._text(context), context.repeats)
        if context.image is not None:
            k, v = rms_norm(self.k_img(context.image), self.norm_k_img), self.v_img(context.image)
            y = add(y, _attend(q, k, v))
        return self.o(y)

    def _text(self, context: Context) -> tuple[Tensor, Tensor]:
        kept = {} if context.kept is None else context.kept
        if self not in kept:
            kept[self] = rms_norm(self.k(context.text), self.norm_k), self.v(context.text)
        return kept[self]


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, HEAD_DIM))


def _attend(q: Tensor, k: Tensor, v: Tensor, repeats: int = 1) -> Tensor:
    """Every query [B, L, heads, D] on every key [B, M, heads * D], of which the last counts several times: [B, L, ...].

    A key that is there n times weighs exp(score + log n): one row with log n added does the work of all of them.
    """
    bias = None
    if repeats > 1:
        bias = q.new_zeros(1, 1, 1, k.shape[1])
        bias[..., -1] = math.log(repeats)
    q, k, v = q.transpose(1, 2), _heads(k).transpose(1, 2), _heads(v).transpose(1, 2)
    return dispatch.dense(q, k, v, bias).transpose(1, 2).flatten(-2)


class Block(nn.Module):
    """Self-attention over space and time, cross-attention to text, feed-forward; adaLN-single from the time."""

    def __init__(self, c: VDiTConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(c.dim, c.eps, elementwise_affine=False)
        self.self_attn = Attention(c.dim, c.eps)
        self.norm3 = nn.LayerNorm(c.dim, c.eps)
        self.cross_attn = CrossAttention(c.dim, c.eps, image=c.image_dim > 0)
        self.norm2 = nn.LayerNorm(c.dim, c.eps, elementwise_affine=False)
        self.ffn = nn.Sequential(Linear(c.dim, c.ffn_dim), nn.GELU("tanh"), Linear(c.ffn_dim, c.dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, c.dim) / c.dim**0.5)

    def forward(self, x: Tensor, time: Tensor, context: Context, layout: Layout) -> Tensor:
        """x [B, T, S, D] tokens by latent frame; time [B, T or 1, 6, D]. Without gradients x is overwritten."""
        frames = x.shape[1:3]
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (self.modulation + time).unsqueeze(2).unbind(3)
        y = layer_norm(x, self.norm1, scale_a, shift_a)
        y = self.self_attn(y.flatten(1, 2), layout).unflatten(1, frames)
        x, y = add_and_norm(x, y, gate_a, self.norm3)
        y = self.cross_attn(y.flatten(1, 2), context).unflatten(1, frames)
        x, y = add_and_norm(x, y, None, self.norm2, scale_f, shift_f)
        return add(x, feed_forward(y, self.ffn), gate_f)


def add_and_norm(
    x: Tensor, y: Tensor, gate: Tensor | None, norm: nn.LayerNorm,
    scale: Tensor | None = None, shift: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(x + gate y, its norm modulated), x and y [B, T, S, D], the rest [B, T or 1, 1, D]; one pass on a capable GPU.

    gate None is 1; without scale and shift the norm's own weight and bias apply.
    """
    if not dispatch.fuses(x, HEAD_DIM):
        x = add(x, y, gate)
        return x, layer_norm(x, norm, scale, shift)
    gate, scale, shift = (t if t is None else t[:, :, 0] for t in (gate, scale, shift))
    mul, plus = (norm.weight[None, None], norm.bias[None, None]) if scale is None else (1 + scale, shift)
    parts = dispatch.residual_norm(x.flatten(1, 2), y.flatten(1, 2), gate, mul, plus, norm.eps)
    x, y = (t.unflatten(1, x.shape[1:3]) for t in parts)
    return x, y


class VaceBlock(Block):
    """A block of the control branch; its hint is added behind a block of the main path (ali-vilab/VACE)."""

    def __init__(self, c: VDiTConfig, first: bool):
        super().__init__(c)
        if first:
            self.before_proj = Linear(c.dim, c.dim)
        self.after_proj = Linear(c.dim, c.dim)


class ResidualBlock(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(dim, dim, 3, padding=1), nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class PlaceEmbedding(nn.Module):
    """Where each token is, counted from the first frame and the picture's centre, for its patch embedding.

    Rotary positions show only in what a head attends to, and a small model has few heads: a token that finds the ball
    by its looks must be told where that was.
    """

    PERIODS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # of the waves along each axis, in tokens
    SPAN = 5  # tokens a side, over which a larger picture's places are spread: no others are known (arXiv 2306.15595)

    def __init__(self, c: VDiTConfig):
        super().__init__()
        self.proj = Linear(6 * len(self.PERIODS), c.dim, bias=False)

    def forward(self, grid: tuple[int, int, int], like: Tensor) -> Tensor:
        """Embeddings [T, S, D] of a grid (T, H, W) of tokens, in like's dtype and on its device."""
        return self.proj(self._waves(tuple(grid), like.device).to(like.dtype))

    @classmethod
    @lru_cache(maxsize=4)
    def _waves(cls, grid: tuple[int, int, int], device: torch.device) -> Tensor:
        """[T, S, waves], kept for the next step."""
        with torch.inference_mode(False), torch.no_grad():  # see rope_table
            step = min(1.0, cls.SPAN / max(grid[1:]))
            time, *sides = (torch.arange(n, device=device) for n in grid)
            axes = (time.float(), *((side - (len(side) - 1) / 2) * step for side in sides))
            places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(grid[0], -1, 3, 1)
            angle = places * (2 * math.pi / torch.tensor(cls.PERIODS, device=device))
            return torch.cat((angle.sin(), angle.cos()), -1).flatten(2)


class CameraAdapter(nn.Module):
    """Plücker rays to tokens, added to the patch embedding (aigc-apps/VideoX-Fun, wan_camera_adapter.py)."""

    def __init__(self, c: VDiTConfig, ray_channels: int = 24):
        super().__init__()
        patch = c.patch[1:]
        self.rays = c.camera_rays
        self.conv = nn.Conv2d(ray_channels * self.rays**2, c.dim, patch, patch)
        self.residual_blocks = nn.Sequential(ResidualBlock(c.dim))

    def forward(self, rays: Tensor) -> Tensor:
        """rays [B, 24, T, h*rays, w*rays] -> tokens [B, T, S, D]."""
        x = F.pixel_unshuffle(rays.transpose(1, 2).flatten(0, 1), self.rays)
        x = self.residual_blocks(self.conv(x))
        return x.flatten(2).transpose(1, 2).unflatten(0, (len(rays), -1))


class ImageEmbedding(nn.Module):
    """CLIP's image features to tokens beside the text (Wan2.1, wan/modules/model.py: MLPProj)."""

    def __init__(self, c: VDiTConfig):
        super().__init__()
        d = c.image_dim
        self.proj = nn.Sequential(nn.LayerNorm(d), Linear(d, d), nn.GELU(), Linear(d, c.dim), nn.LayerNorm(c.dim))
        if c.image_tokens:
            self.emb_pos = nn.Parameter(torch.zeros(1, c.image_tokens, d))

    def forward(self, image: Tensor) -> Tensor:
        """image [B, N, image_dim]: one picture's tokens, or the first's and the last's -> [B, N, D]."""
        return self.proj(image + self.emb_pos if hasattr(self, "emb_pos") else image)


class Head(nn.Module):
    """Last modulation and the projection of each token to its patch."""

    def __init__(self, c: VDiTConfig):
        super().__init__()
        self.norm = nn.LayerNorm(c.dim, c.eps, elementwise_affine=False)
        pt, ph, pw = c.patch
        self.head = Linear(c.dim, c.out_channels * pt * ph * pw)
        self.modulation = nn.Parameter(torch.randn(1, 2, c.dim) / c.dim**0.5)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x [B, T, S, D], time [B, T or 1, D] -> [B, T, S, patch * channels]."""
        shift, scale = (self.modulation + time[:, :, None]).unsqueeze(2).unbind(3)
        return self.head(layer_norm(x, self.norm, scale, shift))
