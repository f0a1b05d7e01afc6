"""How often something is shown that takes time from the work which it shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

SHARE = 0.05  # of the time spent on everything else that previews may take


class PreviewBudget:
    """Keeps time spent on previews within `share` of the time spent on everything else since construction.

    Ask `affordable()`, then do the work inside `with budget.spending():`. The first preview goes ahead unmeasured; each
    later one waits until sampling has taken long enough for what the latest cost.
    """

    def __init__(self, share: float = SHARE, clock: Callable[[], float] = time.perf_counter):
        self.share, self.clock = share, clock
        self.start = clock()
        self.spent = 0.0
        self.latest = 0.0

    def affordable(self) -> bool:
        """Whether another preview as expensive as the latest keeps within the share."""
        sampling = self.clock() - self.start - self.spent
        return self.spent + self.latest <= self.share * sampling

    @contextmanager
    def spending(self) -> Generator[None, None, None]:
        """Measures the work of a preview."""
        begin = self.clock()
        try:
            yield
        finally:
            self.latest = self.clock() - begin
            self.spent += self.latest
