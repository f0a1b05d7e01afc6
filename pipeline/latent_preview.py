"""Latents as small pictures at once, by a linear map of each cell: about 50 times cheaper than the codec's decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..model.codec.base import Codec

LONG_SIDE = 128  # pixels of a preview, at most


def resized(frames: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """Frames [T,H,W,C] as [T,*size,C]; mode as torch's interpolate has it."""
    from torch.nn import functional as F

    return F.interpolate(frames.permute(0, 3, 1, 2), size=tuple(size), mode=mode).permute(0, 2, 3, 1)


def reduced(frames: Tensor) -> Tensor:
    """Frames [T,H,W,3], their long side at most LONG_SIDE pixels."""
    scale = min(1.0, LONG_SIDE / max(frames.shape[1:3]))
    return frames if scale == 1 else resized(frames, [round(side * scale) for side in frames.shape[1:3]], "area")


class LatentPreview:
    """Raw-scale latents [1,C,T,h,w] -> small frames [4T-3,H,W,3] in 0..1, their long side at most LONG_SIDE pixels.

    By the codec's tiny `preview` codec where it has one. Else linearly, by its own `preview_map`, which was fitted
    where the codec was trained; a codec without one gets a map fitted to synthetic clips at the first call, and keeps
    it here.
    """

    def __init__(self, codec: Codec):
        self.codec, self._map = codec, codec.preview_map

    def __call__(self, latent: Tensor) -> Tensor:
        """The frames of a latent, on its device."""
        import torch

        codec = self.codec
        if codec.preview is not None:
            return codec.preview.small_frames(latent, LONG_SIDE)[0]
        if self._map is None:
            self._map = fit_preview_map(codec, synthetic_clips(codec.temporal, codec.spatial), latent.device)
        fitted = self._map.to(latent.device)
        _, _, count, h, w = latent.shape
        detail = codec.spatial // 2
        cells = torch.addmm(fitted[0], latent[0].flatten(1).T.float(), fitted[1:])  # [T*h*w, temporal*d*d*3]
        cells = cells.reshape(count, h, w, codec.temporal, detail, detail, 3)
        every = 1
        while detail // every * max(h, w) > LONG_SIDE and every < detail:
            every *= 2
        cells = cells[..., ::every, ::every, :]
        detail //= every
        frames = cells.permute(0, 3, 1, 4, 2, 5, 6).reshape(count * codec.temporal, h * detail, w * detail, 3)
        return frames[codec.temporal - 1 :].clamp(0.0, 1.0)


def fit_preview_map(codec: Codec, clips: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Least squares from latent cells to pixels at half size: [1 + C, temporal*d*d*3], d = spatial/2; row 0 is the
    bias.

    clips [B,T,H,W,3] in 0..1, T = temporal*k + 1 with k >= 1.
    """
    import torch

    from ..geometry.linalg import solve

    detail, spans = codec.spatial // 2, codec.temporal
    with torch.no_grad():
        latent = codec.encode(clips.to(device)).float().cpu()[:, :, 1:]  # latent frame 0 stands for one frame only
        b, _, count, h, w = latent.shape
        small = torch.nn.functional.avg_pool2d(clips[:, 1:].flatten(0, 1).permute(0, 3, 1, 2), 2)
        target = small.reshape(b, count, spans, 3, h, detail, w, detail).permute(0, 1, 4, 6, 2, 5, 7, 3)
        target = target.reshape(b * count * h * w, -1)
        cells = latent.permute(0, 2, 3, 4, 1).reshape(len(target), -1)
        mean, middle = cells.mean(0), target.mean(0)
        cells = cells - mean
        ridge = 1e-4 * len(cells) * cells.var() * torch.eye(cells.shape[1])
        weight = solve(cells.T @ cells + ridge, cells.T @ (target - middle))
    return torch.cat([(middle - mean @ weight)[None], weight])


def synthetic_clips(temporal: int, spatial: int, count: int = 2) -> Tensor:
    """Clips [count, 2*temporal+1, 8*spatial, 8*spatial, 3] of soft colours and moving discs, always the same."""
    import torch

    generator = torch.Generator("cpu").manual_seed(0)
    frames, side = 2 * temporal + 1, 8 * spatial

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    ground = torch.nn.functional.interpolate(uniform(count, 3, 5, 5), size=(side, side), mode="bilinear")
    clips = ground.permute(0, 2, 3, 1)[:, None].repeat(1, frames, 1, 1, 1)
    moment = torch.linspace(0.0, 1.0, frames)[None, :, None, None]
    rows, columns = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    for _ in range(6):
        start, move = uniform(2, count, 1, 1, 1), (uniform(2, count, 1, 1, 1) - 0.5) * 0.6
        row, column = start[0] + move[0] * moment, start[1] + move[1] * moment
        distance = ((rows - row) ** 2 + (columns - column) ** 2).sqrt()
        inside = ((0.05 + 0.12 * uniform(count, 1, 1, 1) - distance) * side / 2).clamp(0, 1)[..., None]
        clips = clips + inside * (uniform(count, 1, 1, 1, 3) - clips)
    return clips
