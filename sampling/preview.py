"""How often a forming video may be shown: as often as a fixed share of the sampling time pays for."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import Callable


class PreviewBudget:
    """Keeps time spent on previews within `share` of the time spent on everything else since construction.

    Ask `affordable()`, then do the work inside `with budget.spending():`. The first preview goes ahead
    unmeasured; each later one waits until what the dearest so far cost has been earned.
    """

    def __init__(self, share: float = 0.05, clock: Callable[[], float] = time.perf_counter):
        self.share, self.clock = share, clock
        self.start = clock()
        self.spent = 0.0
        self.dearest = 0.0

    def affordable(self) -> bool:
        sampling = self.clock() - self.start - self.spent
        return self.spent + self.dearest <= self.share * sampling

    @contextmanager
    def spending(self):
        begin = self.clock()
        try:
            yield
        finally:
            cost = self.clock() - begin
            self.spent += cost
            self.dearest = max(self.dearest, cost)
