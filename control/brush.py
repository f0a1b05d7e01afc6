"""The motion brush: strokes over the start picture become flow; a disc travels along each stroke."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.linalg import norm
from ..geometry.pixels import pixel_grid
from .flow import FlowField
from .json_text import Json, is_number, number_in, parse_json
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

    points: tuple[tuple[float, float], ...]
    radius: float = 0.08
    falloff: float = 0.3
    start: float = 0.0
    end: float = 1.0


def read_strokes(text: str) -> list[Stroke]:
    """Strokes of a brush widget's JSON; none for an empty text. Raises ControlError naming the stroke."""
    if not text.strip():
        return []
    data = parse_json(text, "strokes: their text", REMEDY)
    strokes = data.get("strokes") if isinstance(data, dict) and data.get("version") == 1 else None
    if not isinstance(strokes, list):
        raise ControlError(f'strokes: expected {{"version": 1, "strokes": [...]}}; {REMEDY}')
    if len(strokes) > MAX_STROKES:
        raise ControlError(f"there are {len(strokes)} strokes; expected at most {MAX_STROKES}")
    return [_stroke(f"stroke {i}", stroke) for i, stroke in enumerate(strokes)]


def _stroke(name: str, data: Json) -> Stroke:
    if not isinstance(data, dict):
        raise ControlError(f"{name}: found {data!r:.60}; expected an object with points")
    points = data.get("points")
    if not isinstance(points, list) or not 1 <= len(points) <= MAX_POINTS:
        found = f"{len(points)} points" if isinstance(points, list) else f"{points!r:.40}"
        raise ControlError(f"{name}: found {found}; expected 1 to {MAX_POINTS:,} points [x, y]")
    start, end = number_in(data, "start", 0.0, 0, 1, name), number_in(data, "end", 1.0, 0, 1, name)
    if not start < end:
        raise ControlError(f"{name}: start is {start:g} and end {end:g}; expected start before end, 0 to 1 of the clip")
    radius, falloff = number_in(data, "radius", 0.08, 1e-3, 1, name), number_in(data, "falloff", 0.3, 0, 1, name)
    return Stroke(tuple(_point(name, j, point) for j, point in enumerate(points)), radius, falloff, start, end)


def _point(name: str, j: int, point: Json) -> tuple[float, float]:
    if isinstance(point, list) and len(point) == 2:
        x, y = point
        if is_number(x) and is_number(y) and -1 <= x <= 2 and -1 <= y <= 2:
            return float(x), float(y)
    raise ControlError(f"{name}: point {j} is {point!r:.60}; expected [x, y], 0 to 1 in the picture, at most 1 outside")


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
    strokes: list[Stroke],
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
