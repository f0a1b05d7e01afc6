"""The motion brush: strokes over the start picture become flow; a disc travels along each stroke."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from ..geometry.linalg import norm
from ..geometry.pixels import pixel_grid
from ..machine.fields import Between, Items, Place, Unfit, read_text
from .flow import FlowField
from .span import ControlError

MAX_STROKES, MAX_POINTS = 200, 2000
BACKGROUNDS = ("free", "still")
REMEDY = "clear the brush and paint again"


@dataclass(frozen=True)
class Stroke:
    """points [(x, y), ...]: the path of the disc's centre, x in 0..1 of the video's width, y of its height.

    radius: as a share of the width. falloff: 0 a hard edge .. 1 soft from the centre on. The disc moves from `start` to
    `end` (0..1 of the clip) at constant speed; before and after, the model is free.
    """

    points: Annotated[tuple[Place, ...], Items(1, MAX_POINTS)]
    radius: Annotated[float, Between(1e-3, 1)] = 0.08
    falloff: Annotated[float, Between(0, 1)] = 0.3
    start: Annotated[float, Between(0, 1)] = 0.0
    end: Annotated[float, Between(0, 1)] = 1.0

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise Unfit(f"start is {self.start:g} and end {self.end:g}; expected start before end")


@dataclass(frozen=True)
class _Drawing:
    """What the widget stores."""

    strokes: Annotated[tuple[Stroke, ...], Items(0, MAX_STROKES)]


def read_strokes(text: str) -> tuple[Stroke, ...]:
    """Strokes of a brush widget's JSON; none for an empty text. Raises ControlError naming the stroke."""
    return read_text(_Drawing, text, "brush strokes", ControlError, REMEDY).strokes if text.strip() else ()


def place_at(stroke: Stroke, time: Tensor, width: int, height: int) -> Tensor:
    """Centres [N, 2] of the disc in pixels at times [N] in 0..1 of the clip, by length along the stroke."""
    points = torch.tensor(stroke.points, dtype=torch.float64) * torch.tensor([width, height])
    lengths = norm(points[1:] - points[:-1])
    along = torch.cat((torch.zeros(1, dtype=torch.float64), lengths.cumsum(0)))
    share = ((time.double() - stroke.start) / (stroke.end - stroke.start)).clamp(0, 1)
    if len(points) == 1 or along[-1] == 0:
        return points[:1].expand(len(time), 2)
    goal = share * along[-1]
    i = (torch.searchsorted(along, goal, right=True) - 1).clamp(0, len(points) - 2)
    s = (goal - along[i]) / (along[i + 1] - along[i]).clamp_min(1e-12)
    return torch.lerp(points[i], points[i + 1], s[:, None])


def profile(distance: Tensor, falloff: float) -> Tensor:
    """The disc's weight in 0..1 at a distance in radii: 1 inside, 0 from one radius on, with a cosine in between."""
    if falloff <= 0:
        return (distance <= 1).float()
    s = ((distance - (1 - falloff)) / falloff).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(math.pi * s)


def flow_from_strokes(
    strokes: Sequence[Stroke],
    frames: int,
    width: int,
    height: int,
    background: str = "free",
    check: Callable[[], None] = lambda: None,
) -> FlowField:
    """Flow [T-1, height, width, 2]: at frame t each disc lies at its place on the stroke, and moves as a whole.

    background: "still" sets the rest to zero motion, "free" leaves it to the model. A stroke of one point pins what it
    covers. Overlapping discs are averaged by weight. check: called for each frame, may raise to cancel. Raises
    ControlError.
    """
    if not 2 <= frames <= 1001:
        raise ControlError(f"motion brush: frames is {frames}; expected 2 to 1001")
    if background not in BACKGROUNDS:
        raise ControlError(f"motion brush: background is {background!r}; expected one of {', '.join(BACKGROUNDS)}")
    time = torch.linspace(0, 1, frames).double()
    pixels = pixel_grid(width, height).double()
    # NumPy's zeros take no time until they are written: Cancel need not wait for a gigabyte of them.
    total = torch.from_numpy(np.zeros((frames - 1, height, width, 2), np.float32))
    weight, valid = (torch.from_numpy(np.zeros((frames - 1, height, width), np.float32)) for _ in range(2))
    for stroke in strokes:
        place = place_at(stroke, time, width, height)
        for t in range(frames - 1):
            if time[t + 1] <= stroke.start or time[t] >= stroke.end:
                continue
            check()
            reach = stroke.radius * width
            corners = torch.cat((place[t] - (reach + 1), place[t] + (reach + 1)))
            left, top, right, bottom = (int(edge) for edge in corners)
            rows, columns = slice(max(0, top), max(0, bottom + 1)), slice(max(0, left), max(0, right + 1))
            distance = norm(pixels[rows, columns] - place[t]) / reach
            share = profile(distance, stroke.falloff).float()
            total[t, rows, columns] += share[..., None] * (place[t + 1] - place[t]).float()
            weight[t, rows, columns] += share
            valid[t, rows, columns] = torch.maximum(valid[t, rows, columns], share)
    for t in range(frames - 1):
        check()
        total[t] /= weight[t].clamp_min(1e-6)[..., None]
        if background == "still":
            total[t] *= valid[t][..., None]
    return FlowField(total, torch.ones_like(valid) if background == "still" else valid)
