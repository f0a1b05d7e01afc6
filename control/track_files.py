"""Point tracks as text: the lists of {"x", "y"} that KJNodes' spline editor and ATI share, and this pack's own JSON.

The lists know places alone. This pack's own also has what is hidden, the size of the frames and their rate.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, cast

import torch

from ..machine.fields import Between, is_number, read
from .json_text import Json, parse_json
from .span import ControlError
from .tracks import MAKERS, MAX_POINTS, PointTracks

MAX_FRAMES = 10_000
REMEDY = 'give [{"x": 12, "y": 34}, ...] for each track, or a list of such lists'
DECIMALS = 3  # of a pixel, in the lists

Place = tuple[float, float]
_HIDDEN = (math.nan, math.nan)


@dataclass(frozen=True)
class _Stored:
    """What to_json writes; a place may also be {"x", "y"}."""

    tracks: tuple[object, ...]
    width: Annotated[float, Between(1, 1e6, "pixels")] | None = None
    height: Annotated[float, Between(1, 1e6, "pixels")] | None = None
    fps: Annotated[float, Between(1e-6, 1e6)] | None = None


def from_text(text: str, name: str, size: tuple[int, int] | None = None) -> PointTracks:
    """Tracks of a JSON text: one track, a list of tracks, one a line, texts in a list, or what `to_json` writes.

    A track of one point stands still. One that is shorter than the others is not seen after its end, as ATI has it.
    size: (width, height) of the frames, where the text does not say it. Raises ControlError naming track and point.
    """
    if not text.strip():
        raise ControlError(f"{name} is empty: {MAKERS}")
    data, fps = _parsed(text, name), None
    if isinstance(data, dict):
        stored = read(_Stored, data, name, ControlError, REMEDY)
        rows, fps = cast("list[Json]", list(stored.tracks)), stored.fps
        size = (round(stored.width), round(stored.height)) if stored.width and stored.height else size
    else:
        rows = _rows(data, name)
    if not rows:
        raise ControlError(f"{name} holds no points: {MAKERS}")
    return _joined([_points(row, f"{name}, track {i + 1}") for i, row in enumerate(rows)], name, size, fps)


def is_strokes(text: str, name: str) -> bool:
    """Whether this is what VDiT Motion Brush keeps: {"version": 1, "strokes": [...]}."""
    data = _parsed(text, name)
    return isinstance(data, dict) and "strokes" in data


def to_points_text(tracks: PointTracks) -> str:
    """The places of every frame as KJNodes, ATI and ComfyUI's own track nodes read them; what is hidden is lost."""
    rows = cast("list[list[Place]]", tracks.at.transpose(0, 1).tolist())
    return json.dumps([[{"x": round(x, DECIMALS), "y": round(y, DECIMALS)} for x, y in row] for row in rows])


def to_json(tracks: PointTracks) -> str:
    """All of it: {"version": 1, "width", "height", "fps", "tracks": [[[x, y] or null where not seen, ...], ...]}."""
    at = cast("list[list[Place]]", tracks.at.transpose(0, 1).tolist())
    seen = cast("list[list[bool]]", tracks.visible.T.tolist())
    rows = [
        [place if shown else None for place, shown in zip(places, when, strict=True)]
        for places, when in zip(at, seen, strict=True)
    ]
    size = {} if tracks.size is None else {"width": tracks.size[0], "height": tracks.size[1]}
    fps = {} if tracks.fps is None else {"fps": tracks.fps}
    return json.dumps({"version": 1, **size, **fps, "tracks": rows})


def _parsed(text: str, name: str) -> Json:
    """One JSON text, or one a line; in single quotes too, as Python prints lists."""
    if "'" in text and '"' not in text:
        text = text.replace("'", '"')
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(line.lstrip().startswith("[") and line.rstrip().endswith("]") for line in lines):
        return [
            row
            for i, line in enumerate(lines)
            for row in _rows(parse_json(line, f"{name}, line {i + 1}", REMEDY), name)
        ]
    return parse_json(text, name, REMEDY)


def _rows(data: Json, name: str) -> list[Json]:
    """One entry a track, of a single track, a list of tracks, a list of texts, or one batch of any of these."""
    if not isinstance(data, list):
        raise ControlError(f"{name} is {data!r:.60}; {REMEDY}")
    if data and all(isinstance(row, dict) for row in data):
        return [data]
    if data and all(isinstance(row, str) for row in data):
        return [one for row in data for one in _rows(_parsed(str(row), name), name)]
    first = data[0] if data else None
    if isinstance(first, list) and first and isinstance(first[0], list) and not _is_pair(first[0]):
        if len(data) > 1:
            raise ControlError(f"{name} holds {len(data)} batches of tracks; one video has one: give one of them")
        return _rows(first, name)
    return data


def _is_pair(value: Json) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(is_number(each) for each in value)


def _points(row: Json, place: str) -> list[Place]:
    if not isinstance(row, list) or not row:
        raise ControlError(f"{place}: found {row!r:.60}; expected a list of its points, one a frame")
    return [_point(point, f"{place}, point {i + 1}") for i, point in enumerate(row)]


def _point(point: Json, place: str) -> Place:
    """{"x", "y"}, or [x, y]; null: not seen."""
    if point is None:
        return _HIDDEN
    x = y = None
    if isinstance(point, dict):
        x, y = point.get("x"), point.get("y")
    elif isinstance(point, list) and len(point) == 2:
        x, y = point
    if is_number(x) and is_number(y):
        return float(x), float(y)
    raise ControlError(f'{place} is {json.dumps(point)[:60]}; expected {{"x": number, "y": number}} in pixels')


def _joined(rows: list[list[Place]], name: str, size: tuple[int, int] | None, fps: float | None) -> PointTracks:
    """Tracks of different lengths as one value; all of one point: they stand still for two frames."""
    frames = max(2, *(len(row) for row in rows)) if rows else 2
    if len(rows) > MAX_POINTS:
        raise ControlError(f"{name} holds {len(rows):,} tracks; expected at most {MAX_POINTS:,}: leave some out")
    if frames > MAX_FRAMES:
        raise ControlError(f"{name} holds tracks of {frames:,} points; expected at most {MAX_FRAMES:,}")
    filled = [row * frames if len(row) == 1 else row + [_HIDDEN] * (frames - len(row)) for row in rows]
    at = torch.tensor(filled, dtype=torch.float32).transpose(0, 1)
    return PointTracks(at, ~torch.isnan(at).any(-1), size, fps)
