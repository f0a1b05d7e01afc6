"""Motion painted with a brush: strokes over the start picture become flow; the disc travels along its stroke."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..geometry.pixels import pixel_grid
from .flow import FlowField
from .span import ControlError

MAX_STROKES, MAX_POINTS = 200, 2000
BACKGROUNDS = ("free", "still")


@dataclass(frozen=True)
class Stroke:
    """points [(x, y), ...]: x in 0..1 of the video's width, y of its height; the way of the disc's centre.

    radius: share of the width. falloff: 0 a hard edge .. 1 soft from the centre on. It moves from `start` to `end`
    (0..1 of the clip), at even speed along the line; before and after the model is free.
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
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as e:
        raise ControlError(f"strokes are no JSON ({e}); clear the brush and paint again") from e
    if not isinstance(data, dict) or data.get("version") != 1 or not isinstance(data.get("strokes"), list):
        raise ControlError('strokes: expected {"version": 1, "strokes": [...]}; clear the brush and paint again')
    if len(data["strokes"]) > MAX_STROKES:
        raise ControlError(f"there are {len(data['strokes'])} strokes; expected at most {MAX_STROKES}")
    return [_stroke(i, stroke) for i, stroke in enumerate(data["strokes"])]


def _stroke(i: int, data: Any) -> Stroke:
    name = f"stroke {i}"
    if not isinstance(data, dict):
        raise ControlError(f"{name}: found {data!r:.60}; expected an object with points")

    def number(key: str, default: float, low: float, high: float) -> float:
        value = data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ControlError(f"{name}: {key} is {value!r:.40}; expected {low:g} to {high:g}")
        return float(value)

    points = data.get("points")
    if not isinstance(points, list) or not 1 <= len(points) <= MAX_POINTS:
        found = f"{len(points)} points" if isinstance(points, list) else f"{points!r:.40}"
        raise ControlError(f"{name}: found {found}; expected 1 to {MAX_POINTS:,} points [x, y]")
    for j, point in enumerate(points):
        good = (
            isinstance(point, list)
            and len(point) == 2
            and all(
                isinstance(c, (int, float)) and not isinstance(c, bool) and math.isfinite(c) and -1 <= c <= 2
                for c in point
            )
        )
        if not good:
            raise ControlError(
                f"{name}: point {j} is {point!r:.60}; expected [x, y], 0 to 1 in the picture, at most 1 outside"
            )
    start, end = number("start", 0.0, 0, 1), number("end", 1.0, 0, 1)
    if not start < end:
        raise ControlError(f"{name}: start is {start:g} and end {end:g}; expected start before end, 0 to 1 of the clip")
    return Stroke(
        tuple((float(x), float(y)) for x, y in points), number("radius", 0.08, 1e-3, 1), number("falloff", 0.3, 0, 1),
        start, end,
    )  # fmt: skip


def place_at(stroke: Stroke, time: Tensor, width: int, height: int) -> Tensor:
    """The disc's centre [N,2] in pixels at times [N] in 0..1 of the clip, by length along the line."""
    points = torch.tensor(stroke.points, dtype=torch.float64) * torch.tensor([width, height])
    lengths = (points[1:] - points[:-1]).norm(dim=-1)
    along = torch.cat((torch.zeros(1, dtype=torch.float64), lengths.cumsum(0)))
    share = ((time.double() - stroke.start) / (stroke.end - stroke.start)).clamp(0, 1)
    if len(points) == 1 or along[-1] == 0:
        return points[:1].expand(len(time), 2)
    goal = share * along[-1]
    i = (torch.searchsorted(along, goal, right=True) - 1).clamp(0, len(points) - 2)
    s = (goal - along[i]) / (along[i + 1] - along[i]).clamp_min(1e-12)
    return torch.lerp(points[i], points[i + 1], s[:, None])


def profile(distance: Tensor, falloff: float) -> Tensor:
    """How much a pixel at `distance` (in radii) belongs to the disc: 1 within, 0 from 1 on, between a cosine."""
    if falloff <= 0:
        return (distance <= 1).float()
    s = ((distance - (1 - falloff)) / falloff).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(math.pi * s)


def flow_from_strokes(
    strokes: list[Stroke], frames: int, width: int, height: int, background: str = "free", **span: float
) -> FlowField:
    """Flow [T-1,height,width,2]: at frame t each disc lies where its stroke is then, and moves as one piece.

    background "still" tells all the rest to rest, "free" leaves it to the model. A stroke of one point pins what it
    covers. Raises ControlError.
    """
    if not 2 <= frames <= 1001:
        raise ControlError(f"motion brush: frames is {frames}; expected 2 to 1001")
    if background not in BACKGROUNDS:
        raise ControlError(f"motion brush: background is {background!r}; expected one of {', '.join(BACKGROUNDS)}")
    time = torch.linspace(0, 1, frames).double()
    pixels = pixel_grid(width, height).double()
    total = torch.zeros(frames - 1, height, width, 2)
    weight = torch.zeros(frames - 1, height, width)
    valid = torch.zeros(frames - 1, height, width)
    for stroke in strokes:
        place = place_at(stroke, time, width, height)
        for t in range(frames - 1):
            if time[t + 1] <= stroke.start or time[t] >= stroke.end:
                continue
            reach = stroke.radius * width
            (left, top), (right, bottom) = ((place[t] + side * (reach + 1)).long().tolist() for side in (-1, 1))
            rows, columns = slice(max(0, top), max(0, bottom + 1)), slice(max(0, left), max(0, right + 1))
            distance = (pixels[rows, columns] - place[t]).norm(dim=-1) / reach
            share = profile(distance, stroke.falloff).float()
            total[t, rows, columns] += share[..., None] * (place[t + 1] - place[t]).float()
            weight[t, rows, columns] += share
            valid[t, rows, columns] = torch.maximum(valid[t, rows, columns], share)
    flow = total / weight.clamp_min(1e-6)[..., None]
    if background == "still":
        flow, valid = flow * valid[..., None], torch.ones_like(valid)
    return FlowField(flow, valid, **span)
