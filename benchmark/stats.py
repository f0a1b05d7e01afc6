"""Shares with their uncertainty."""

from __future__ import annotations

import math
from typing import Sequence

Z95 = 1.959963984540054


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


def share(values: Sequence[float]) -> dict:
    """Per cent, its 95% interval and the number of clips; None where there are none."""
    if not values:
        return {"clips": 0, "percent": None, "low": None, "high": None}
    low, high = wilson(math.fsum(values), len(values))
    return {
        "clips": len(values), "percent": round(100 * math.fsum(values) / len(values), 2),
        "low": round(100 * low, 2), "high": round(100 * high, 2),
    }  # fmt: skip
