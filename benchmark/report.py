"""What a run found, in numbers: shares with intervals per suite, split and family; bands of the controls; a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypedDict

from ..world.families.scene import OUT_OF_DISTRIBUTION
from .body_controls import BODY_CONTROLS, FOREIGN_BANDS
from .body_controls import GOOD as BODIES_GOOD
from .controls import CODEC, CONTROLS, GOOD
from .obedience import MEASURES
from .runner import ClipResult
from .scores import ALL_SCORED, ALL_SUITES

Z95 = 1.959963984540054  # standard normal quantile of a two-sided 95% interval


class Share(TypedDict):
    """A share in per cent with its 95% interval; None where there are no clips."""

    clips: int
    percent: float | None
    low: float | None
    high: float | None


class Mean(TypedDict):
    """A mean over clips."""

    mean: float
    standard_error: float
    clips: int


Scores = dict[str, dict[str, dict[str, dict[str, Share]]]]  # by video, suite, split or "ood", and family or "all"


class Report(TypedDict, total=False):
    """report.json."""

    suite_version: int  # scores.SUITE_VERSION
    scores: Scores
    failed_checks: dict[str, dict[str, dict[str, float]]]  # by video, suite (A and B) and check: share of clips
    obedience: dict[str, dict[str, Mean]]  # by video and measure
    plan: dict[str, Any]
    settings: dict[str, Any]
    drawn: dict[str, dict[str, Any]]
    out_of_band: list[str]
    hardware: dict[str, Any]
    speed: dict[str, Any]


def wilson(passed: float, count: int, z: float = Z95) -> tuple[float, float]:
    """The interval, 0..1, that holds the true share with 95% when `passed` of `count` trials succeeded.

    Wilson, J. Am. Stat. Assoc. 22 (1927). A mean of scores in 0..1 may stand for the share (passed = their sum): its
    spread is never larger than that of passes and fails with the same mean, so the interval is then a cautious one.
    """
    if not 0 <= passed <= count:
        raise ValueError(f"{passed} of {count} cannot have passed; expected 0 to {count}")
    if count == 0:
        return 0.0, 1.0
    p, n = passed / count, count
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(values: Sequence[float]) -> Share:
    """The mean of passes (1), fails (0) and scores between as a share of clips."""
    if not values:
        return {"clips": 0, "percent": None, "low": None, "high": None}
    total, count = math.fsum(values), len(values)
    low, high = wilson(total, count)
    percent = [round(100 * x, 2) for x in (low, high)]
    return {"clips": count, "percent": round(100 * total / count, 2), "low": percent[0], "high": percent[1]}


def _mean(values: Sequence[float]) -> Mean:
    mean, n = math.fsum(values) / len(values), len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, n - 1) / n)
    return {"mean": round(mean, 4), "standard_error": round(spread, 4), "clips": n}


def _grouped(rows: Iterable[tuple[tuple[str, ...], float]], reduce: Callable[[list[float]], Any]) -> dict[str, Any]:
    """Values of equal keys reduced to one, in nested dicts by the words of the keys."""
    values: dict[tuple[str, ...], list[float]] = {}
    for key, value in rows:
        values.setdefault(key, []).append(value)
    tree: dict[str, Any] = {}
    for (*groups, last), of_key in values.items():
        at = tree
        for group in groups:
            at = at.setdefault(group, {})
        at[last] = reduce(of_key)
    return tree


def summary(results: Sequence[ClipResult]) -> Report:
    """Scores, shares of failed checks and, where they were measured, means of the obedience measures."""
    scored = [r for r in results if r["suite"] != "obedience"]
    scores = _grouped(
        (
            ((r["who"], r["suite"], split, family), r.get("value", 0.0))
            for r in scored
            for split in (r["split"], *(["ood"] if r["split"] in OUT_OF_DISTRIBUTION else []))
            for family in ("all", r["family"])
        ),
        share,
    )
    passing = [r for r in scored if not r["suite"].endswith("coherence")]  # A, B: pass or fail; F: against a line
    failed = _grouped(
        (((r["who"], r["suite"], c["name"]), not c["ok"]) for r in passing for c in r.get("checks", [])),
        lambda fails: round(sum(fails) / len(fails), 4),
    )
    measures = ((r["who"], name, v) for r in results for name, v in r.get("measures", {}).items())
    obedience = _grouped((((who, name), value) for who, name, value in measures if value is not None), _mean)
    report: Report = {"scores": scores, "failed_checks": failed}
    if obedience:
        report["obedience"] = obedience
    return report


def out_of_band(scores: Scores) -> list[str]:
    """One line for each control that scores outside its band on one of its splits."""
    lines: list[str] = []
    bands = {name: c.bands for name, c in CONTROLS.items()} | {CODEC: GOOD | BODIES_GOOD}
    for name, control in BODY_CONTROLS.items():
        bands[name] = bands.get(name, {}) | control.bands | FOREIGN_BANDS.get(name, {})
    for who, suites in scores.items():
        for key, (least, most) in bands.get(who, {}).items():
            suite, _, family = key.partition("/")
            for split, families in suites.get(suite, {}).items():
                found = families.get(family or "all")
                if split == "ood" or not found or found["percent"] is None:  # "ood" is the sum of those before
                    continue
                if not least <= found["percent"] <= most:
                    lines.append(
                        f"{who}, {key}, {split}: {found['percent']:g}% of {found['clips']} clips, "
                        f"outside {least:g} to {most:g}%"
                    )
    return lines


def table(report: Report) -> str:
    """Scores as text, a line for each video and split; then obedience and speed."""
    lines: list[str] = []
    scores = report.get("scores", {})
    for name in ALL_SCORED:
        suite = ALL_SUITES[name]
        rows = [(who, *row) for who, suites in scores.items() for row in suites.get(name, {}).items()]
        if rows:
            lines += ["", f"{suite.letter}  {suite.title} %, with its 95% interval: {suite.question}"]
        for who, split, families in rows:
            whole = families["all"]
            each = "  ".join(f"{family} {s['percent']:.0f}" for family, s in families.items() if family != "all")
            lines.append(
                f"  {who:17s} {split:12s} {whole['percent']:6.1f}  [{whole['low']:5.1f}, {whole['high']:5.1f}]  "
                f"{whole['clips']:4d} clips   {each}"
            )
    if obedience := report.get("obedience"):
        names = [n for n in MEASURES if any(n in m for m in obedience.values())]
        lines += ["", "E  obedience: mean (lower is better; silhouette_iou: higher)"]
        lines.append(" " * 20 + "  ".join(f"{n:>15s}" for n in names))
        for who, means in obedience.items():
            cells = [f"{means[n]['mean']:.3f} ± {means[n]['standard_error']:.3f}" if n in means else "-" for n in names]
            lines.append(f"  {who:17s} " + "  ".join(f"{c:>15s}" for c in cells))
    if speed := report.get("speed"):
        where = report.get("hardware", {})
        size = f"{speed['frames']} frames of {speed['width']}x{speed['height']}"
        on = f"{where['processor']}, {where['threads']} threads, torch {where['torch']}"
        lines += ["", f"D  {size} in {speed['seconds']:.2f} s, from first frames and words to pictures, on {on}"]
    return "\n".join(lines).strip("\n")
