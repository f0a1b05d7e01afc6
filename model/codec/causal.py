"""Blocks of the Wan video autoencoders: convolutions over space and time that are causal in time.

Frames are [B, T, H, W, C] throughout, so that one frame, one row and one pixel are each contiguous. For inference only:
blocks write in place. Structure and tensor names: Wan-Video/Wan2.2 `wan/modules/vae2_1.py`, `vae2_2.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import CausalLayer, Memory, conv2d, run

# Winograd's minimal filters (Lavin & Gray, arXiv:1509.09308): m places of a 3-tap convolution along one axis from m+2
# products instead of 3m. `taps` make the products' weights; `ends` the inputs of the first and last product, each in
# one result only; `pairs` those of the others: a point, and the even and odd parts of the inputs at plus and minus it.
# Four places over time and two over rows take a third of the products; more would cost digits.
WINOGRAD = {
    4: dict(
        taps=((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
              (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1)),
        ends=((4, 0, -5, 0, 1, 0), (0, 4, 0, -5, 0, 1)),
        pairs=((1, (0, 0, -4, 0, 1, 0), (0, -4, 0, 1, 0, 0)), (2, (0, 0, -1, 0, 1, 0), (0, -1, 0, 1, 0, 0))),
    ),
    2: dict(
        taps=((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
        ends=((1, 0, -1, 0), (0, -1, 0, 1)),
        pairs=((1, (0, 0, 1, 0), (0, 1, 0, 0)),),
    ),
}  # fmt: skip
# Below these sizes the transforms take longer than the products save: pixels of a product, pixels times channels in and
# out, and pixels where rows are transformed too.
WORTH_IT, WORTH_WIDTH, WORTH_ROWS = 128, 2_000_000, 512


def _remember(memory: Memory, layer: nn.Module, frames: Tensor) -> None:
    """Keep frames for the layer's next chunk, in the place where the ones before them were kept.

    A fresh place for every chunk would lie between what layers allocate and free, and the process would grow with the
    video: by 3 MB a frame of 128x96 in the VAE 2.2 (python -m vdit.bench wan_codec).
    """
    kept = memory.get(layer)
    if kept is None:
        memory[layer] = frames.clone()
    else:
        kept.copy_(frames)


class Pointwise(nn.Module):
    """A 1x1 convolution; its weight is [out, in] and `dims` axes of size one, as in the files."""

    def __init__(self, width: int, out: int, dims: int = 3):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, width, *[1] * dims))
        self.bias = nn.Parameter(torch.zeros(out))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C']."""
        return F.linear(x, self.weight.flatten(1), self.bias)


class Norm(nn.Module):
    """x / rms(x) over channels, times gamma."""

    def __init__(self, width: int, dims: int = 3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width, *[1] * dims))

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """[..., C] -> [..., C], into `out` where it is given."""
        out = torch.empty_like(x) if out is None else out
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).clamp_min_(1e-12)
        torch.mul(x, x.shape[-1] ** 0.5 / length, out=out)
        return out.mul_(self.gamma.flatten())


class CausalConv(nn.Conv3d):
    """3x3x3 over a frame and the two before it, zero-padded before the first frame and around each."""

    def __init__(self, width: int, out: int):
        super().__init__(width, out, 3)

    def forward(self, x: Tensor, memory: Memory, norm: Norm | None = None) -> Tensor:
        """[B, T, H, W, C] -> [B, T, H, W, C']; with `norm`, of silu(norm(x))."""
        (b, count, h, w, c), past = x.shape, memory.get(self)
        room = x.new_empty(b, 2 + count, h + 2, w, c)
        room[:, :, 0] = room[:, :, -1] = 0
        inner = room[:, :, 1:-1]
        inner[:, :2] = 0 if past is None else past
        if norm is None:
            inner[:, 2:] = x
        else:
            F.silu(norm(x, out=inner[:, 2:]), inplace=True)
        _remember(memory, self, inner[:, -2:])
        if past is not None or b * h * w < WORTH_IT:
            return self._convolve(room)
        # The first frame's past is zeros: one tap of three.
        first = conv2d(room[:, 2:3], self.weight[:, :, 2], self.bias, padding=(0, 1))
        return first if count == 1 else torch.cat((first, self._convolve(room[:, 1:])), 1)

    def _convolve(self, x: Tensor) -> Tensor:
        """[B, 2+T, 2+H, W, C], two frames before and zeros above and below -> [B, T, H, W, C']."""
        if x.device.type != "cpu":
            y = F.conv3d(x.permute(0, 4, 1, 2, 3), self.weight, self.bias, padding=(0, 0, 1))
            return y.permute(0, 2, 3, 4, 1)
        b, count, h, w, c = x.shape
        h, frames, done, parts = h - 2, count - 2, 0, []
        if b * h * w < WORTH_IT:  # in this layout, of all, the weights are laid out for the products fastest
            y = F.conv3d(x.permute(0, 4, 1, 2, 3).contiguous(), self.weight, self.bias, padding=(0, 0, 1))
            return y.permute(0, 2, 3, 4, 1).contiguous()
        for size in WINOGRAD if x.dtype == torch.float32 else ():
            groups = (frames - done) // size
            pixels = groups * b * h * w
            if pixels >= WORTH_IT and pixels * c * self.out_channels >= WORTH_WIDTH:
                split_rows = h % 2 == 0 and pixels >= WORTH_ROWS and c >= 64
                parts.append(self._winograd(x[:, done : done + groups * size + 2], size, split_rows))
                done += groups * size
        if done < frames:
            three = torch.cat([x[:, done + i : frames + i] for i in range(3)], -1)
            parts.append(conv2d(three, self.weight.transpose(1, 2).flatten(1, 2), self.bias, padding=(0, 1)))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _winograd(self, x: Tensor, size: int, split_rows: bool) -> Tensor:
        """_convolve in products of `size` frames, with `split_rows` of two rows too.

        The weights of one product are made at a time: those of all are up to eight times the layer's own.
        """
        frames = self.weight.permute(2, 0, 3, 4, 1).contiguous().unbind(0)  # three of [O, 3, 3, C]

        def product(x: Tensor, i: int, biased: bool) -> Tensor:
            weight = _combine(frames, WINOGRAD[size]["taps"][i])

            def row_product(x: Tensor, j: int, biased: bool) -> Tensor:
                return convolve(x, _combine(weight.unbind(1), WINOGRAD[2]["taps"][j])[:, None], biased)

            return _minimal(x, 2, 2, row_product, biased) if split_rows else convolve(x, weight, biased)

        def convolve(x: Tensor, weight: Tensor, biased: bool) -> Tensor:
            return conv2d(x, weight.permute(0, 3, 1, 2), self.bias if biased else None, padding=(0, 1))

        return _minimal(x, 1, size, product, True)


def _minimal(x: Tensor, axis: int, size: int, convolve: Callable[[Tensor, int, bool], Tensor], biased: bool) -> Tensor:
    """Three taps along `axis` of x, which has two places more than the result.

    convolve(x, number of the product, whether it brings the bias) does the other axes.
    """
    table, stop = WINOGRAD[size], x.shape[axis] - 1 - size  # one more than the last group's first place
    places = [x.movedim(axis, 0)[i : stop + i : size].movedim(0, axis) for i in range(size + 2)]
    sums = []
    for k, (point, even, odd) in enumerate(table["pairs"]):
        even, odd = _combine(places, even), _combine(places, odd)
        # The first of these is in every result once, so it brings the bias.
        plus = convolve(torch.add(even, odd, alpha=point), 2 * k + 1, biased and k == 0)
        minus = convolve(torch.sub(even, odd, alpha=point), 2 * k + 2, False)
        sums.append((plus + minus, plus.sub_(minus)))
    shape = sums[0][0].shape
    y = x.new_empty(*shape[: axis + 1], size, *shape[axis + 1 :])
    results = y.unbind(axis + 1)
    for i, result in enumerate(results):
        result.copy_(sums[0][i % 2])
        for (point, _, _), parts in zip(table["pairs"][1:], sums[1:], strict=False):
            result.add_(parts[i % 2], alpha=point**i)
    del sums
    results[0].add_(convolve(_combine(places, table["ends"][0]), 0, False))
    results[-1].add_(convolve(_combine(places, table["ends"][1]), size + 1, False))
    return y.flatten(axis, axis + 1)


def _combine(places: Sequence[Tensor], factors: Sequence[float]) -> Tensor:
    """Sum of factor * place; a place itself where it is all."""
    terms = sorted(((x, f) for x, f in zip(places, factors, strict=True) if f), key=lambda term: term[1] != 1)
    (x, first), *rest = terms
    if not rest and first == 1:
        return x
    if first != 1:
        y = x * first
    else:
        (second, factor), *rest = rest
        y = torch.add(x, second, alpha=factor)
    for x, factor in rest:
        y.add_(x, alpha=factor)
    return y


class TimeConv(nn.Conv3d):
    """Three taps over time, 1x1 over space; `step` 2 halves the frames and needs one earlier frame instead of two."""

    def __init__(self, width: int, out: int, step: int):
        super().__init__(width, out, (3, 1, 1))
        self.step = step

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """[B, T, H, W, C] -> [B, T', H, W, C']."""
        x = torch.cat((memory[self].to(x.device), x), 1)
        _remember(memory, self, x[:, self.step - 3 :])
        last = x.shape[1] - 2
        three = torch.cat([x[:, i : last + i : self.step] for i in range(3)], -1)
        return F.linear(three, self.weight.transpose(1, 2).flatten(1), self.bias)


class ResidualBlock(CausalLayer):
    """Two causal convolutions with a skip connection."""

    def __init__(self, width: int, out: int):
        super().__init__()
        self.residual = nn.ModuleDict(
            {"0": Norm(width), "2": CausalConv(width, out), "3": Norm(out), "6": CausalConv(out, out)}
        )
        self.shortcut = Pointwise(width, out) if width != out else nn.Identity()

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """[B, T, H, W, C] -> [B, T, H, W, C']."""
        y = self.residual["2"](x, memory, self.residual["0"])
        return self.residual["6"](y, memory, self.residual["3"]).add_(self.shortcut(x))


class Attention(nn.Module):
    """One head over the pixels of each frame."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = Norm(width, 2)
        self.to_qkv = Pointwise(width, 3 * width, 2)
        self.proj = Pointwise(width, width, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] -> [B, T, H, W, C]."""
        q, k, v = self.to_qkv(self.norm(x)).flatten(2, 3).chunk(3, -1)  # [B, T, H*W, C], T stands for heads
        return self.proj(F.scaled_dot_product_attention(q, k, v).view(x.shape)).add_(x)


class Downsample(CausalLayer):
    """Halves both sides; with `time` also the number of frames, except the first, which stays single."""

    def __init__(self, width: int, time: bool):
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(width, width, 3)})
        self.time_conv = TimeConv(width, width, 2) if time else None

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """[B, T, H, W, C] -> [B, T', H/2, W/2, C]."""
        conv = cast(nn.Conv2d, self.resample["1"])
        x = conv2d(F.pad(x, (0, 0, 0, 1, 0, 1)), conv.weight, conv.bias, stride=2)
        if self.time_conv is None:
            return x
        if self.time_conv in memory:
            return self.time_conv(x, memory)
        first = x[:, :1]
        memory[self.time_conv] = first.clone()
        return first if x.shape[1] == 1 else torch.cat((first, self.time_conv(x[:, 1:], memory)), 1)


class Upsample(CausalLayer):
    """Doubles both sides; with `time` also the number of frames, except the first, which stays single."""

    def __init__(self, width: int, out: int, time: bool):
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(width, out, 3)})
        self.time_conv = TimeConv(width, 2 * width, 1) if time else None

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """[B, T, H, W, C] -> [B, T', 2H, 2W, C']."""
        return self._double_sides(x if self.time_conv is None else self._double_frames(x, self.time_conv, memory))

    def _double_frames(self, x: Tensor, time_conv: TimeConv, memory: Memory) -> Tensor:
        if time_conv in memory:
            pairs = time_conv(x, memory).unflatten(-1, (2, -1))  # [B, T, H, W, 2, C]
            return pairs.permute(0, 1, 4, 2, 3, 5).flatten(1, 2)
        memory[time_conv] = x.new_zeros(x.shape[0], 2, *x.shape[2:])
        return x if x.shape[1] == 1 else torch.cat((x[:, :1], self._double_frames(x[:, 1:], time_conv, memory)), 1)

    def _double_sides(self, x: Tensor) -> Tensor:
        """3x3 over pixels repeated 2x2: each of the four pixels sees 2x2 different ones, so 4 products replace 9.

        One of the four at a time: the weights and results of all would be three times the frames that are made.
        """
        conv, (b, t, h, w, _) = cast(nn.Conv2d, self.resample["1"]), x.shape
        y = x.new_empty(b, t, 2 * h, 2 * w, conv.out_channels)
        left, middle, right = conv.weight.float().unbind(3)
        for column, columns in enumerate(((left, middle + right), (left + middle, right))):
            top, center, bottom = torch.stack(columns, 3).unbind(2)
            for row, rows in enumerate(((top, center + bottom), (top + center, bottom))):
                part = conv2d(x, torch.stack(rows, 2).to(x.dtype), conv.bias, padding=1)  # [B, T, h+1, w+1, C]
                y[:, :, row::2, column::2] = part[:, :, row : row + h, column : column + w]
        return y


class DownBlock(CausalLayer):
    """Wan 2.2: residual blocks and a halving, with a shortcut of means over the folded positions."""

    def __init__(self, width: int, out: int, blocks: int, halve: bool, time: bool):
        super().__init__()
        layers = [ResidualBlock(width if i == 0 else out, out) for i in range(blocks)]
        self.downsamples = nn.ModuleList(layers + [Downsample(out, time)] * halve)
        self.frames, self.side, self.out = 1 + time, 1 + halve, out

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """[B, T, H, W, C] -> [B, T', H', W', C']."""
        means = self._means(x)
        return run(self.downsamples, x, memory).add_(means)

    def _means(self, x: Tensor) -> Tensor:
        t, s = self.frames, self.side
        if x.shape[1] % t:  # the first frame of all: zeros fill its pair
            x = F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0))
        x = x.unflatten(3, (-1, s)).unflatten(2, (-1, s)).unflatten(1, (-1, t))  # [B, T, t, H, s, W, s, C]
        x = x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(4)  # [B, T, H, W, C*t*s*s]
        return x.unflatten(4, (self.out, -1)).mean(-1)


class UpBlock(CausalLayer):
    """Wan 2.2: residual blocks and a doubling, with a shortcut of copies to the unfolded positions."""

    def __init__(self, width: int, out: int, blocks: int, double: bool, time: bool):
        super().__init__()
        layers = [ResidualBlock(width if i == 0 else out, out) for i in range(blocks)]
        self.upsamples = nn.ModuleList(layers + [Upsample(out, out, time)] * double)
        self.frames, self.side, self.out = 1 + time, 1 + double, out

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """[B, T, H, W, C] -> [B, T', H', W', C']."""
        first = self.frames == 2 and self.upsamples[-1].time_conv not in memory
        y = run(self.upsamples, x, memory)
        if self.side == 1:
            return y
        return y.add_(self._copies(x)[:, int(first) :])  # the first frame of all makes one, not two

    def _copies(self, x: Tensor) -> Tensor:
        t, s = self.frames, self.side
        x = x.repeat_interleave(self.out * t * s * s // x.shape[-1], -1).unflatten(-1, (self.out, t, s, s))
        return x.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(1, 2).flatten(2, 3).flatten(3, 4)  # [B, T*t, H*s, W*s, C]
