"""Statistics of features as LeRobot has them: min, max, mean, std and count, of episodes and of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

Stats: TypeAlias = "Mapping[str, Mapping[str, np.ndarray]]"  # feature -> statistic -> values


def stats_of(array: np.ndarray, pictures: bool = False) -> dict[str, np.ndarray]:
    """Of one feature [T, ...] over its frames; of pictures uint8 [T, H, W, 3] for each channel, [3, 1, 1] in 0..1."""
    values = array.astype(np.float64)
    if pictures:
        values = values.transpose(3, 0, 1, 2).reshape(3, -1).T / 255
    elif values.ndim == 1:
        values = values[:, None]
    found = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    if pictures:
        found = {name: value.reshape(3, 1, 1) for name, value in found.items()}
    return {**found, "count": np.array([len(array)])}


def aggregated(each: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, np.ndarray]]:
    """Of several episodes or shards together: means weighted by count, variances within and between them."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name in each[0]:
        of = {key: np.stack([np.asarray(stats[name][key]) for stats in each]) for key in each[0][name]}
        count = of["count"].reshape(len(each), *[1] * (of["mean"].ndim - 1))
        mean = (of["mean"] * count).sum(0) / count.sum()
        variance = ((of["std"] ** 2 + (of["mean"] - mean) ** 2) * count).sum(0) / count.sum()
        found[name] = {"min": of["min"].min(0), "max": of["max"].max(0), "mean": mean, "std": np.sqrt(variance)}
        found[name]["count"] = of["count"].sum(0)
    return found


def as_json(stats: Stats) -> dict[str, dict[str, Any]]:
    """Arrays as lists."""
    return {name: {key: value.tolist() for key, value in values.items()} for name, values in stats.items()}
