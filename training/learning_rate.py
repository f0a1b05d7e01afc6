"""Learning rates over a run's steps or seconds."""

from __future__ import annotations

import math


def cosine(step: int, steps: int, peak: float, *, warmup: int, floor: float = 0.05) -> float:
    """Linear warm-up, then a cosine down to floor*peak at the last step."""
    if step < warmup:
        return peak * (step + 1) / warmup
    x = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * x)))


def constant_with_cooldown(seconds: float, total: float, peak: float, cooldown: float, warmup: float = 60.0) -> float:
    """Linear warm-up, constant, then linear to zero over the last `cooldown` seconds of `total`."""
    down = min(1.0, max(0.0, (total - seconds) / cooldown)) if cooldown else 1.0
    return peak * min(1.0, (seconds + 1) / warmup) * down
