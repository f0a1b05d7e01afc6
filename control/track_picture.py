"""Tracks drawn over a picture: a dot for each point that is seen, and behind it the way it has come, fading."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .pictures import cover
from .tracks import PointTracks

TAIL = 24  # frames that a way is shown for, as ComfyUI's own picture of tracks has it
GOLDEN = 0.618034  # of the circle of hues from one track to the next: neighbours are never alike
STILL_PIXELS = 1.0  # a track that never leaves its beginning by more is drawn grey
SMOOTH = 2  # drawn this many times larger, then reduced


def over_picture(tracks: PointTracks, pictures: Tensor, check: Callable[[], None] = lambda: None) -> Tensor:
    """IMAGE [T,H,W,3] of tracks, whose size must be known, over pictures [1 or T,h,w,3], grey where they hold still.

    check: called for each track of each frame, may raise to cancel.
    """
    from PIL import Image, ImageDraw

    assert tracks.size is not None, "the size of what is drawn"
    width, height = tracks.size
    backdrop = cover(pictures, width, height)
    places = tracks.at.numpy() * SMOOTH - 0.5  # Pillow counts from the first pixel's centre
    moved = np.linalg.norm(places - places[:1], axis=-1).max(0, initial=0) > STILL_PIXELS * SMOOTH
    colours = [_colour(n) if moves else (190, 190, 190) for n, moves in enumerate(moved)]
    radius = max(2.5, min(width, height) / 120) * SMOOTH
    shown = torch.empty(tracks.frames, height, width, 3)
    for t in range(tracks.frames):
        check()
        # Four plain channels: those of RGBA would be multiplied by their opacity a second time.
        layer = Image.new("CMYK", (width * SMOOTH, height * SMOOTH))
        draw = ImageDraw.Draw(layer)
        for n in np.flatnonzero(moved):
            check()
            for s in range(max(1, t - TAIL + 1), t + 1):
                if tracks.visible[s, n] and tracks.visible[s - 1, n]:
                    age = (t - s) / TAIL
                    ends = (*places[s - 1, n], *places[s, n])
                    draw.line(ends, _ink(colours[n], 0.85 * (1 - age)), max(1, round(radius * (1 - age))))
        for n in np.flatnonzero(tracks.visible[t].numpy()):
            x, y = places[t, n]
            r = radius if moved[n] else radius * 0.7
            rim = round(r / 4)
            draw.ellipse((x - r, y - r, x + r, y + r), _ink(colours[n], 0.95), _ink((20, 20, 20), 0.95), rim)
        small = torch.from_numpy(np.asarray(layer.reduce(SMOOTH), np.float32)).mul_(1 / 255)
        torch.mul(backdrop[min(t, len(backdrop) - 1)], 1 - small[..., 3:], out=shown[t]).add_(small[..., :3])
    return shown


def _ink(colour: tuple[int, int, int], opacity: float) -> tuple[int, int, int, int]:
    """A colour times its opacity, so that pixels may be averaged."""
    r, g, b = (round(channel * opacity) for channel in colour)
    return r, g, b, round(255 * opacity)


def _colour(n: int) -> tuple[int, int, int]:
    r, g, b = colorsys.hsv_to_rgb(n * GOLDEN % 1.0, 0.75, 1.0)
    return round(255 * r), round(255 * g), round(255 * b)
