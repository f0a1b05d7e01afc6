"""What a run found, in numbers: shares with intervals per suite, split and family; bands of the controls; a table."""

from __future__ import annotations

import math

from ..world.scene import OUT_OF_DISTRIBUTION
from .controls import CODEC, CODEC_BANDS, CONTROLS
from .obedience import MEASURES
from .select import SUITES
from .stats import share

LETTERS = {"permanence": "A", "physics": "B", "coherence": "C"}


def summary(run: dict) -> dict:
    """Of what runner.run gave: {who: {suite: {split or "ood": {"all": share, family: share}}}}, obedience's means."""
    scores: dict = {}
    for r in run["results"]:
        if r["suite"] == "obedience":
            continue
        groups = [r["split"]] + (["ood"] if r["split"] in OUT_OF_DISTRIBUTION else [])
        for group in groups:
            kinds = scores.setdefault(r["who"], {}).setdefault(r["suite"], {}).setdefault(group, {})
            for kind in ("all", r["family"]):
                kinds.setdefault(kind, []).append(r["value"])
    for suites in scores.values():
        for splits in suites.values():
            for kinds in splits.values():
                for kind, values in kinds.items():
                    kinds[kind] = share(values)
    out = {"scores": scores, "failed_checks": _failed(run["results"])}
    if measures := _obedience(run["results"]):
        out["obedience"] = measures
    return out


def _failed(results: list[dict]) -> dict:
    """{who: {suite: {check: share of clips that fail it}}}, for A and B."""
    found: dict = {}
    for r in results:
        if r["suite"] in ("permanence", "physics"):
            for c in r["checks"]:
                found.setdefault(r["who"], {}).setdefault(r["suite"], {}).setdefault(c["name"], []).append(not c["ok"])
    return {
        who: {suite: {n: round(sum(v) / len(v), 4) for n, v in checks.items()} for suite, checks in suites.items()}
        for who, suites in found.items()
    }


def _obedience(results: list[dict]) -> dict:
    """{who: {measure: {"mean", "standard_error", "clips"}}}."""
    found: dict = {}
    for r in results:
        if r["suite"] == "obedience":
            for name, value in r["measures"].items():
                if value is not None:
                    found.setdefault(r["who"], {}).setdefault(name, []).append(value)
    out: dict = {}
    for who, measures in found.items():
        for name, values in measures.items():
            mean, n = math.fsum(values) / len(values), len(values)
            spread = math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, n - 1) / n)
            out.setdefault(who, {})[name] = {"mean": round(mean, 4), "standard_error": round(spread, 4), "clips": n}
    return out


def out_of_band(scores: dict) -> list[str]:
    """One line for each control that scores outside its band, over all its splits."""
    lines = []
    bands = {name: c.bands for name, c in CONTROLS.items()} | {CODEC: CODEC_BANDS}
    for who, suites in scores.items():
        for key, (least, most) in bands.get(who, {}).items():
            suite, _, family = key.partition("/")
            for split, kinds in suites.get(suite, {}).items():
                if split == "ood":  # the sum of those before
                    continue
                found = kinds.get(family or "all")
                if found and found["clips"] and not least <= found["percent"] <= most:
                    lines.append(
                        f"{who}, {key}, {split}: {found['percent']:g}% of {found['clips']} clips, "
                        f"outside {least:g} to {most:g}%"
                    )
    return lines


def table(summary: dict) -> str:
    """Scores as text, a line for each video and split; then obedience."""
    lines = []
    for suite in ("permanence", "physics", "coherence"):
        rows = [
            (who, split, kinds)
            for who, suites in summary["scores"].items()
            for split, kinds in suites.get(suite, {}).items()
        ]
        if not rows:
            continue
        lines += ["", f"{LETTERS[suite]}  {SUITES[suite].title} %, with its 95% interval: {SUITES[suite].asks}"]
        for who, split, kinds in rows:
            whole = kinds["all"]
            families = "  ".join(f"{f} {s['percent']:.0f}" for f, s in kinds.items() if f != "all")
            lines.append(
                f"  {who:17s} {split:12s} {whole['percent']:6.1f}  [{whole['low']:5.1f}, {whole['high']:5.1f}]  "
                f"{whole['clips']:4d} clips   {families}"
            )
    if "obedience" in summary:
        names = [n for n in MEASURES if any(n in m for m in summary["obedience"].values())]
        lines += ["", "E  obedience: mean (lower is better; silhouette_iou: higher)"]
        lines.append(" " * 20 + "  ".join(f"{n:>15s}" for n in names))
        for who, measures in summary["obedience"].items():
            cells = [
                f"{measures[n]['mean']:.3f} ± {measures[n]['standard_error']:.3f}" if n in measures else "-"
                for n in names
            ]
            lines.append(f"  {who:17s} " + "  ".join(f"{c:>15s}" for c in cells))
    if speed := summary.get("speed"):
        where = summary["hardware"]
        size = f"{speed['frames']} frames of {speed['width']}x{speed['height']}"
        lines += ["", f"D  {size} in {speed['seconds']:.2f} s, from first frames and words to pictures, on {where['processor']}, "
                  f"{where['threads']} threads, torch {where['torch']}"]  # fmt: skip
    return "\n".join(lines).strip("\n")
