"""The transformer's parts, with Wan's tensor names (Wan-Video/Wan2.1, wan/modules/model.py)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import dispatch
from ..kernels.grid import Grid
from ..kernels.plan import BlockPlan
from ..kernels.shared import SharedPlan
from .config import HEAD_DIM, VDiTConfig
from .functional import Linear, add, feed_forward, layer_norm, rms_norm
from .kv_cache import Place
from .rope import apply_rope


class CameraSignal(NamedTuple):
    """What a world model's blocks read of the camera."""

    signal: Tensor  # as its transformer's blocks expect it
    strength: float  # 1: as trained


class Layout(NamedTuple):
    """The token grid of a video, its rotary positions and its attention pattern."""

    grid: Grid
    rope: Tensor  # rope_table
    plan: BlockPlan | SharedPlan | None = None  # None: full attention
    axes: tuple[Tensor, Tensor, int] | None = None  # axis_tables, where the fused kernels run
    past: Place | None = None  # of a causal rollout: the cache that this block reads and writes
    camera: CameraSignal | None = None  # for blocks of world models that read it


class Context(NamedTuple):
    """The keys of cross-attention, and how they are counted."""

    text: Tensor  # [B, M, D]
    repeats: int = 1  # how many times the last text token counts: Wan pads with zeros and masks nothing
    image: Tensor | None = None  # [B, N, D]
    keys: dict[nn.Module, tuple[Tensor, Tensor]] | None = None  # cached keys and values of the text, by attention


def sinusoid(t: Tensor, size: int) -> Tensor:
    """Embedding [..., size] of times t [...] in thousandths: cosines, then sines."""
    angle = t.double()[..., None] * _frequencies(size // 2, t.device)
    return torch.cat((angle.cos(), angle.sin()), -1).float()


@lru_cache(maxsize=16)
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
        """Self-attention of x [B, L, D] under the layout's positions and pattern."""
        q, k, v = self.q(x), self.k(x), self.v(x)
        if layout.axes is not None:
            norms = self.norm_q.weight, self.norm_k.weight, cast(float, self.norm_q.eps)
            y = dispatch.norm_rope_attention(q, k, v, *norms, layout.axes, layout.grid, layout.plan)
        else:
            q = apply_rope(_heads(rms_norm(q, self.norm_q)), layout.rope)
            k, v = apply_rope(_heads(rms_norm(k, self.norm_k)), layout.rope), _heads(v)
            k, v = (k, v) if layout.past is None else layout.past.extend(self, k, v)
            y = dispatch.attention(q, k, v, layout.plan)
        del q, k, v  # before the projection needs room
        return self.o(y.flatten(-2))


class CrossAttention(Attention):
    """Attention of video tokens to text and, with separate keys and values, to CLIP features (Wan2.1, model.py)."""

    def __init__(self, dim: int, eps: float, image: bool):
        super().__init__(dim, eps)
        if image:
            self.k_img, self.v_img, self.norm_k_img = Linear(dim, dim), Linear(dim, dim), nn.RMSNorm(dim, eps)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x [B, L, D] -> [B, L, D]."""
        q = _heads(rms_norm(self.q(x), self.norm_q))
        y = _attend(q, *self._text(context), context.repeats)
        if context.image is not None:
            k, v = rms_norm(self.k_img(context.image), self.norm_k_img), self.v_img(context.image)
            y = add(y, _attend(q, k, v))
        return self.o(y)

    def _text(self, context: Context) -> tuple[Tensor, Tensor]:
        cache = {} if context.keys is None else context.keys
        if self not in cache:
            cache[self] = rms_norm(self.k(context.text), self.norm_k), self.v(context.text)
        return cache[self]


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, HEAD_DIM))


def _attend(q: Tensor, k: Tensor, v: Tensor, repeats: int = 1) -> Tensor:
    """Dense attention of queries [B, L, heads, D] to keys [B, M, heads * D], the last key counted `repeats` times.

    n equal keys weigh n * exp(score) = exp(score + log n), so a bias of log n on one key replaces n copies of it.
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
        # In place: a division on meta imports torch._dynamo.
        self.modulation = nn.Parameter(torch.randn(1, 6, c.dim).div_(c.dim**0.5))

    def forward(self, x: Tensor, time: Tensor, context: Context, layout: Layout) -> Tensor:
        """x [B, T, S, D] tokens by latent frame; time [B, T or 1, 6, D]. Without gradients x is overwritten."""
        frames = x.shape[1:3]
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (self.modulation + time).unsqueeze(2).unbind(3)
        y = layer_norm(x, self.norm1, scale_a, shift_a)
        x, y = self._attended(x, y, gate_a, layout)
        y = self.cross_attn(y.flatten(1, 2), context).unflatten(1, frames)
        x, y = add_and_norm(x, y, None, self.norm2, scale_f, shift_f)
        return add(x, feed_forward(y, self.ffn), gate_f)

    def _attended(self, x: Tensor, y: Tensor, gate: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """x with the self-attention of y added, both [B, T, S, D], and the norm of that for cross-attention."""
        y = self.self_attn(y.flatten(1, 2), layout).unflatten(1, x.shape[1:3])
        return add_and_norm(x, y, gate, self.norm3)


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
    gate = gate if gate is None else gate[:, :, 0]
    if scale is None or shift is None:
        mul, plus = norm.weight[None, None], cast(Tensor, norm.bias)[None, None]
    else:
        mul, plus = 1 + scale[:, :, 0], shift[:, :, 0]
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
    """Two 3x3 convolutions with a skip connection, over [N, C, H, W]."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(dim, dim, 3, padding=1), nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return x + self.conv2(F.relu(self.conv1(x)))


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
    """CLIP image features to tokens for cross-attention (Wan2.1, wan/modules/model.py: MLPProj)."""

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
        self.modulation = nn.Parameter(torch.randn(1, 2, c.dim).div_(c.dim**0.5))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x [B, T, S, D], time [B, T or 1, D] -> [B, T, S, patch * channels]."""
        shift, scale = (self.modulation + time[:, :, None]).unsqueeze(2).unbind(3)
        return self.head(layer_norm(x, self.norm, scale, shift))
