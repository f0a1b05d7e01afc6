"""What a run found, in pictures: score bars, paths of the ball, film strips, fidelity of previews by steps."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# Matplotlib's plotting methods are typed only in part.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from ..machine.writing import written
from ..world.arrays import Bytes
from ..world.video import read_video
from .report import Scores, Share
from .runner import ClipResult, kept_videos
from .scores import ALL_SCORED, ALL_SUITES

MODEL, REFERENCE, ERROR = "#3b6ea8", "#9aa7b4", "#333333"  # bars and lines
CURVES = (MODEL, "#d1603d", "#4a9a5b", "#8a6fb0")
STRIP = 9  # frames of a film strip
PASSED = 0.9  # score from which a clip is not among the worst
PREVIEW_PANELS = (  # measure, title, unit
    ("retrieval", "finds its own seed", "%"),
    ("ssim", "SSIM", ""),
    ("events", "same events", "%"),
    ("best_of_4", "same pick of four", "%"),
    ("path_radii", "ball's path apart", "radii"),
    ("seconds", "sampled and decoded", "s"),
)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def pixels(figure: Figure) -> Bytes:
    """uint8 [H, W, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save(picture: Bytes, path: Path) -> None:
    """Write uint8 [H, W, 3] as an image."""
    with written(path) as beside:
        Image.fromarray(picture).save(beside, "PNG")


def bars(scores: Scores) -> Figure:
    """A group for each of A, B, C; a bar with its 95% interval for every video and split."""
    suites = [s for s in ALL_SCORED if any(s in found for found in scores.values())]
    figure = _figure(10, 1.2 + 3.2 * max(1, len(suites)))
    for i, suite in enumerate(suites):
        axes = figure.add_subplot(len(suites), 1, i + 1)
        rows = [
            (who, split, families["all"])
            for who, found in scores.items()
            for split, families in found.get(suite, {}).items()
        ]
        names = [who if split == "test" else f"{who}\n{split}" for who, split, _ in rows]
        values, low, high = (np.array([share[key] for *_, share in rows]) for key in ("percent", "low", "high"))
        colors = [MODEL if who.startswith("model") else REFERENCE for who, *_ in rows]
        axes.bar(range(len(values)), values, color=colors)
        reach = np.maximum([values - low, high - values], 0)
        axes.errorbar(range(len(values)), values, reach, fmt="none", ecolor=ERROR, capsize=3, linewidth=1)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8)
        axes.set_ylim(0, 105)
        axes.set_ylabel("%")
        axes.set_title(f"{ALL_SUITES[suite].letter}  {ALL_SUITES[suite].title}", loc="left")
    return figure


def _of(results: Sequence[ClipResult], suite: str, who: str) -> list[ClipResult]:
    return [r for r in results if r["suite"] == suite and r["who"] == who]


def paths(results: Sequence[ClipResult], who: str = "model", most: int = 6) -> Figure:
    """Height of the ball over the frames: true, and as the video shows it; some clips of each suite."""
    suites = [s for s in ALL_SCORED if _of(results, s, who)]
    figure = _figure(2.4 * most, 0.6 + 2.2 * max(1, len(suites)))
    for i, suite in enumerate(suites):
        rows = _of(results, suite, who)
        for j, r in enumerate(rows[:: max(1, len(rows) // most)][:most]):
            axes = figure.add_subplot(len(suites), most, i * most + j + 1)
            found = [np.nan if y is None else y for _, y in r.get("path_px", [])]
            axes.plot([y for _, y in r.get("true_path_px", [])], color=REFERENCE, linewidth=2, label="simulator")
            axes.plot(found, ".-", color=MODEL, linewidth=1, label=who)
            axes.invert_yaxis()
            axes.set_title(f"{r['family']} {r['seed']}: {r.get('value', 0):.2f}", fontsize=7)
            axes.tick_params(labelsize=6)
            if j == 0:
                axes.set_ylabel(f"{suite}, y px", fontsize=7)
                axes.legend(fontsize=6)
    return figure


def worst_strip(results: Sequence[ClipResult], folder: Path, who: str = "model", most: int = 3) -> Bytes:
    """Film strips, the truth above the video, of each suite's clips with the lowest score, then most failed checks.

    Frames are read from the mp4s that a run left in its folder; clips that pass are left out.
    """
    strips: list[Bytes] = []
    for suite in ALL_SCORED:
        failed = [r for r in _of(results, suite, who) if r.get("value", 0) < PASSED]
        failed.sort(key=lambda r: (r.get("value", 0), -len(_failed_checks(r)), r["seed"]))
        for r in failed[:most]:
            videos = kept_videos(folder, r)
            if all(path.is_file() for path in videos):
                caption = f"{ALL_SUITES[suite].letter} {r['family']} {r['seed']}: {', '.join(_failed_checks(r))}"
                strips.append(_strip(caption, *map(read_video, videos)))
    if not strips:
        return np.full((32, 128, 3), 255, np.uint8)
    width = max(s.shape[1] for s in strips)
    return np.concatenate([np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips])


def _failed_checks(result: ClipResult) -> list[str]:
    return [c["name"] for c in result.get("checks", []) if not c["ok"]]


def _strip(caption: str, truth: Bytes, video: Bytes) -> Bytes:
    """uint8 [H, W, 3] of two videos uint8 [T, h, w, 3] under a caption."""
    at = np.linspace(0, min(len(truth), len(video)) - 1, STRIP).round().astype(int)
    picture = np.concatenate([np.concatenate(list(x[at]), 1) for x in (truth, video)])
    head = Image.new("RGB", (picture.shape[1], 16), "white")
    ImageDraw.Draw(head).text((3, 2), caption, fill="black")
    return np.concatenate([np.asarray(head), picture])


def previews(systems: dict[str, dict[str, Any]], targets: dict[str, float], reference_steps: int) -> Figure:
    """One panel a measure, one line a model by steps, a mark for the target at 4 steps, dotted lines for controls."""
    curves: dict[str, dict[int, dict[str, Any]]] = {}
    controls: dict[str, dict[str, Any]] = {}
    for name, found in systems.items():
        model, _, steps = name.rpartition("@")
        if model and not model.startswith("other solver"):
            curves.setdefault(model, {})[int(steps)] = found
        elif name != "reference":
            controls[name] = found
    figure = _figure(12, 6.5)
    ticks = sorted({steps for points in curves.values() for steps in points})
    for i, (key, title, unit) in enumerate(PREVIEW_PANELS):
        axes = figure.add_subplot(2, 3, i + 1)
        for color, (model, points) in zip(CURVES, curves.items(), strict=False):
            _curve(axes, model, color, {steps: points[steps][key] for steps in sorted(points)})
        for name, found in controls.items() if key != "seconds" else ():
            at = _number(found[key])
            axes.axhline(at, color="#888888", linestyle=":", linewidth=1)
            axes.annotate(name, (1.0, at), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
        if key in targets:
            axes.plot([4], [targets[key]], marker="_", markersize=22, color="#222222", markeredgewidth=2)
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.set_xlabel("steps")
        axes.set_ylabel(unit)
        axes.set_title(title, loc="left", fontsize=11)
        axes.grid(alpha=0.25)
        if not i:
            axes.legend(fontsize=8)
    pairs = next(iter(systems.values()))["pairs"]
    title = f"Previews against the teacher's render at {reference_steps} steps, same seed: {pairs} pairs"
    figure.suptitle(title, fontsize=11)
    return figure


def _curve(axes: Axes, model: str, color: str, points: dict[int, Any]) -> None:
    """A line over the steps; shares with their interval."""
    steps, values = list(points), list(points.values())
    axes.plot(steps, [_number(v) for v in values], marker="o", color=color, label=model, linewidth=1.6, markersize=4)
    if isinstance(values[0], dict):
        low, high = ([v[end] or 0.0 for v in values] for end in ("low", "high"))
        axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)


def _number(found: Share | float) -> float:
    number = found["percent"] if isinstance(found, dict) else found
    return float("nan") if number is None else number
