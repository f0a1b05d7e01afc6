"""What a run found, in pictures: score bars beside the controls, paths of the ball, film strips of the worst clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .report import LETTERS
from .select import SUITES

STRIP = 9  # frames of a film strip


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def pixels(figure) -> np.ndarray:
    """uint8 [H,W,3]."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def bars(summary: dict):
    """A group for each of A, B, C; a bar with its 95% interval for every video and split."""
    suites = [s for s in LETTERS if any(s in found for found in summary["scores"].values())]
    figure = _figure(10, 1.2 + 3.2 * max(1, len(suites)))
    for i, suite in enumerate(suites):
        axes = figure.add_subplot(len(suites), 1, i + 1)
        rows = [
            (who if split == "test" else f"{who}\n{split}", who, kinds["all"])
            for who, found in summary["scores"].items()
            for split, kinds in found.get(suite, {}).items()
        ]
        names, whos, shares = zip(*rows)
        values = [s["percent"] for s in shares]
        reach = [[s["percent"] - s["low"] for s in shares], [s["high"] - s["percent"] for s in shares]]
        colors = ["#3b6ea8" if w.startswith("model") else "#9aa7b4" for w in whos]
        axes.bar(range(len(values)), values, color=colors)
        axes.errorbar(
            range(len(values)), values, np.maximum(reach, 0), fmt="none", ecolor="#333333", capsize=3, linewidth=1
        )
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8)
        axes.set_ylim(0, 105)
        axes.set_ylabel("%")
        axes.set_title(f"{LETTERS[suite]}  {SUITES[suite].title}", loc="left")
    return figure


def paths(results: list[dict], who: str = "model", most: int = 6):
    """Height of the ball over the frames: true, and as the video shows it; the first clips of each suite."""
    suites = [s for s in LETTERS if any(r["suite"] == s and r["who"] == who for r in results)]
    figure = _figure(2.4 * most, 0.6 + 2.2 * max(1, len(suites)))
    for i, suite in enumerate(suites):
        mine = [r for r in results if r["suite"] == suite and r["who"] == who]
        for j, r in enumerate(mine[:: max(1, len(mine) // most)][:most]):
            axes = figure.add_subplot(len(suites), most, i * most + j + 1)
            axes.plot([p[1] for p in r["true_path_px"]], color="#9aa7b4", linewidth=2, label="simulator")
            axes.plot(
                [np.nan if p[1] is None else p[1] for p in r["path_px"]], ".-", color="#3b6ea8", linewidth=1, label=who
            )
            axes.invert_yaxis()
            axes.set_title(f"{r['family']} {r['seed']}: {r['value']:.2f}", fontsize=7)
            axes.tick_params(labelsize=6)
            if j == 0:
                axes.set_ylabel(f"{suite}, y px", fontsize=7)
                axes.legend(fontsize=6)
    return figure


def worst(results: list[dict], who: str = "model", most: int = 3) -> list[dict]:
    """The clips with the most failed checks, then the lowest score; at most so many a suite, none that pass."""
    found = []
    for suite in LETTERS:
        mine = [r for r in results if r["suite"] == suite and r["who"] == who and r["value"] < 0.9]
        mine.sort(key=lambda r: (r["value"], -sum(not c["ok"] for c in r["checks"]), r["seed"]))
        found += mine[:most]
    return found


def strips(rows: list[tuple[str, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Film strips uint8 [H,W,3]: for each (caption, truth, video; uint8 [T,h,w,3]) the truth above the video."""
    from PIL import Image, ImageDraw

    parts = []
    for caption, truth, video in rows:
        at = np.linspace(0, min(len(truth), len(video)) - 1, STRIP).round().astype(int)
        picture = np.concatenate([np.concatenate(list(x[at]), 1) for x in (truth, video)])
        head = Image.new("RGB", (picture.shape[1], 16), "white")
        ImageDraw.Draw(head).text((3, 2), caption, fill="black")
        parts.append(np.concatenate([np.asarray(head), picture]))
    if not parts:
        return np.full((32, 128, 3), 255, np.uint8)
    wide = max(p.shape[1] for p in parts)
    return np.concatenate([np.pad(p, ((0, 0), (0, wide - p.shape[1]), (0, 0)), constant_values=255) for p in parts])


def worst_strip(results: list[dict], folder: Path, who: str = "model") -> np.ndarray:
    """Film strips of the worst clips, read from the mp4s that a run left in its folder."""
    from .runner import _slug, read_video

    rows = []
    for r in worst(results, who):
        name = f"{r['suite']}-{r['split']}-{r['family']}-{r['seed']}.mp4"
        truth, video = folder / "results" / "truth" / name, folder / "results" / _slug(who) / name
        if truth.is_file() and video.is_file():
            wrong = ", ".join(c["name"] for c in r["checks"] if not c["ok"])
            rows.append(
                (f"{LETTERS[r['suite']]} {r['family']} {r['seed']}: {wrong}", read_video(truth), read_video(video))
            )
    return strips(rows)
