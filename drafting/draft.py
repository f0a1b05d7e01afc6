"""A draft: what a video is expected to show, and where a generated video agrees with it.

A codec blurs: it keeps a 96th of the numbers. The start pictures, and a draft that moves them on, are sharp. So where
a video's latents show what the draft's own do, the draft stands for the video; elsewhere the decoded video does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..control.signals import fold
from .lighting import dilate

if TYPE_CHECKING:
    from ..model.codec.base import Codec

# Root mean square difference (of 1) of small frames: up to the first the video is the draft, from the second it is not.
AGREEMENT = 0.075, 0.15
WINDOW = 5  # small pixels a side over which the difference is averaged
MARGIN = 3  # small pixels around a difference that differ too, so that no rim of a ball stays behind
# A draft of more frames is not held: above the 105 of 13 s at 8 frames/s. Frames of it that are drawn at once.
HELD, AT_ONCE = 128, 32


class DrawnFrames:
    """Frames [T,...] that are drawn when a slice of them is taken: in place of a tensor of a long video.

    window(i): the frames from i * AT_ONCE on, AT_ONCE at most. The last window is kept.
    """

    def __init__(self, shape: tuple[int, ...], window: Callable[[int], Tensor]):
        self.shape, self.window = shape, lru_cache(maxsize=1)(window)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Tensor:
        first, stop, _ = part.indices(len(self))
        windows = range(first // AT_ONCE, -(-stop // AT_ONCE)) if first < stop else range(1)
        parts = [self.window(i)[max(0, first - i * AT_ONCE) : max(0, stop - i * AT_ONCE)] for i in windows]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def drawn(
    shape: tuple[int, int, int], draw: Callable[[int, int], tuple[Tensor, Tensor]]
) -> tuple[DrawnFrames, DrawnFrames]:
    """Frames [T,H,W,3] and coverage [T,H,W] of a draft that draw(first, stop) draws together."""

    @lru_cache(maxsize=1)
    def window(i: int) -> tuple[Tensor, Tensor]:
        return draw(i * AT_ONCE, min(shape[0], (i + 1) * AT_ONCE))

    return DrawnFrames((*shape, 3), lambda i: window(i)[0]), DrawnFrames(shape, lambda i: window(i)[1])


@dataclass(frozen=True, eq=False)
class Draft:
    """Draft of a video: frames [T,H,W,3] in 0..1.

    coverage [T,H,W]: how certain each pixel is, of a prediction the share that a ball covers (None: nowhere). latent
    [1,C,T',h,w]: raw latents of the frames, None until encoded(). camera_moves: whether the camera does. strength: a
    frame follows the draft while its noise level is above 1 - strength.
    """

    frames: Tensor | DrawnFrames
    coverage: Tensor | DrawnFrames | None = None
    latent: Tensor | None = None
    camera_moves: bool = False
    strength: float = 1.0

    def encoded(self, codec: Codec, device: torch.device | str) -> Draft:
        """The same draft with its latent on the device, in the codec's raw scale."""
        return replace(self, latent=self._encode(codec, device))

    def _encode(self, codec: Codec, device: torch.device | str) -> Tensor:
        if self.latent is not None:
            return self.latent.to(device)
        with torch.no_grad():
            return codec.encode_pieces(x[None].to(device) for x in _pieces(self.frames))

    def window(self, first: int, count: int) -> Draft:
        """`count` frames from number `first` on; beyond the end the last one is repeated. The window is not encoded."""

        def cut(x: Tensor | DrawnFrames) -> Tensor | DrawnFrames:
            if count <= max(HELD, len(x) - first):
                return _repeated(x, first, count)
            return DrawnFrames(
                (count, *x.shape[1:]), lambda i: _repeated(x, first + i * AT_ONCE, min(AT_ONCE, count - i * AT_ONCE))
            )

        coverage = None if self.coverage is None else cut(self.coverage)
        return replace(self, frames=cut(self.frames), coverage=coverage, latent=None)

    def condition(self, codec: Codec, device: torch.device | str) -> Tensor:
        """The transformer's `draft` input [1,C+1,T',h,w] (see VDiT.forward): normalised latents and a certainty.

        The certainty is 2 where a ball covers more than half of a pixel of a cell, else 1.
        """
        latent = codec.normalize(self._encode(codec, device))
        certainty = torch.ones_like(latent[:, :1])
        if self.coverage is not None:
            cells = torch.cat([_cells(x.to(device), codec.spatial) for x in _pieces(self.coverage)])
            certainty += fold(cells[None], 1).amax(1, keepdim=True) > 0.5
        return torch.cat((latent, certainty), 1)


def _repeated(x: Tensor | DrawnFrames, first: int, count: int) -> Tensor:
    """`count` frames from number `first` on; beyond the end the last one is repeated."""
    part = x[first : first + count]
    return torch.cat((part, x[-1:].expand(count - len(part), *x.shape[1:])))


def _pieces(x: Tensor | DrawnFrames) -> Iterator[Tensor]:
    """All frames: of a tensor in one piece, else AT_ONCE at a time and the first one with the first of them."""
    if isinstance(x, Tensor):
        yield x
        return
    for first in (0, *range(AT_ONCE + 1, len(x), AT_ONCE)):
        yield x[first : first + AT_ONCE + (first == 0)]


def _cells(coverage: Tensor, side: int) -> Tensor:
    """Most of a coverage [T,H,W] in each cell of a latent, [T,1,h,w]."""
    t, h, w = coverage.shape
    cells = coverage.view(t, h // side, side, w).amax(2)
    return cells.view(t, h // side, w // side, side).amax(3)[:, None]  # a fifth of the time of max_pool2d


def agreement(video: Tensor, draft: Tensor) -> Tensor:
    """How far small frames [T,h,w,3] of a video and of its draft agree: [T,h,w,1], 0 to 1."""
    red, green, blue = (video - draft).square().unbind(-1)
    error = F.pad(red + green + blue, (WINDOW // 2,) * 4, mode="replicate")
    error = _window_sums(_window_sums(error, 1), 2)  # a tenth of the time of avg_pool2d
    error = (error / (3 * WINDOW**2)).sqrt()
    if bool((error > AGREEMENT[0]).any()):  # else they agree everywhere
        error = dilate(error, MARGIN)
    return ((AGREEMENT[1] - error) / (AGREEMENT[1] - AGREEMENT[0])).clamp(0, 1)[..., None]


def _window_sums(x: Tensor, axis: int) -> Tensor:
    """Sums of WINDOW neighbours along an axis, which becomes WINDOW - 1 shorter."""
    size = x.shape[axis] - WINDOW + 1
    total = x.narrow(axis, 0, size)
    for i in range(1, WINDOW):
        total = total + x.narrow(axis, i, size)
    return total
