"""Fidelity of previews against their number of steps: the teacher's own few steps, the students, and the controls."""

from __future__ import annotations

PANELS = (
    ("retrieval", "finds its own seed", "%"),
    ("ssim", "SSIM", ""),
    ("events", "same events", "%"),
    ("best_of_4", "same pick of four", "%"),
    ("path_radii", "ball's path apart", "radii"),
    ("seconds", "sampled and decoded", "s"),
)
COLORS = ("#3b6ea8", "#d1603d", "#4a9a5b", "#8a6fb0")


def against_steps(report: dict):
    """A matplotlib figure: one panel a measure, one line a model, a bar for the target, dotted lines for controls."""
    from .plots import _figure

    curves: dict[str, list[tuple[int, dict]]] = {}
    controls = {}
    for name, found in report["systems"].items():
        model, _, steps = name.rpartition("@")
        if model and not model.startswith("other solver"):
            curves.setdefault(model, []).append((int(steps), found))
        elif name != "reference":
            controls[name] = found
    figure = _figure(12, 6.5)
    for i, (key, title, unit) in enumerate(PANELS):
        axes = figure.add_subplot(2, 3, i + 1)
        for color, (model, points) in zip(COLORS, curves.items()):
            steps, values = zip(*((k, value(found, key)) for k, found in sorted(points, key=lambda p: p[0])))
            axes.plot(steps, values, marker="o", color=color, label=model, linewidth=1.6, markersize=4)
            if isinstance(points[0][1][key], dict):
                order = sorted(points, key=lambda p: p[0])
                low, high = ([found[key][end] or 0.0 for _, found in order] for end in ("low", "high"))
                axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
        if key != "seconds":
            for name, found in controls.items():
                axes.axhline(value(found, key), color="#888888", linestyle=":", linewidth=1)
                place = dict(xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
                axes.annotate(name, (1.0, value(found, key)), **place)
        target = report.get("targets_at_4_steps", {}).get(key)
        if target is not None:
            axes.plot([4], [target], marker="_", markersize=22, color="#222222", markeredgewidth=2)
        axes.set_xscale("log", base=2)
        ticks = sorted({k for points in curves.values() for k, _ in points})
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.set_xlabel("steps")
        axes.set_ylabel(unit)
        axes.set_title(title, loc="left", fontsize=11)
        axes.grid(alpha=0.25)
        if not i:
            axes.legend(fontsize=8)
    pairs = next(iter(report["systems"].values()))["pairs"]
    figure.suptitle(
        f"Previews against the teacher's render at {report['plan']['reference_steps']} steps, same seed: {pairs} pairs",
        fontsize=11,
    )
    return figure


def value(found: dict, key: str) -> float:
    number = found[key]["percent"] if isinstance(found[key], dict) else found[key]
    return float("nan") if number is None else number
