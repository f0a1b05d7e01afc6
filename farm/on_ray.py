"""The same blocks by Ray Data: workers on all machines of a cluster, with progress on Ray's dashboard.

Ray restarts a worker that dies and gives its block out again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ..machine.threads import processors
from .jobs import Block, FarmError
from .processes import MOST_DEATHS, Broken, given_up, reason_of
from .work import Report, Setup, Worker


class Attempts:
    """An actor that counts how often each block was begun: Ray itself would give a deadly one out for ever."""

    def __init__(self) -> None:
        self.counts = Counter[str]()

    def begun(self, block: str) -> int:
        """How often, this time among them."""
        self.counts[block] += 1
        return self.counts[block]


class RayWorker:
    """A worker as Ray Data calls it: a dictionary in, a dictionary out. attempts: a handle of Attempts."""

    def __init__(self, setup: Setup, attempts: Any):  # noqa: ANN401  Ray's handles have no types
        self.attempts = attempts
        self.worker: Worker | Broken
        try:
            self.worker = Worker(setup)
        except Exception as reason:  # said once, by whoever drives the farm
            self.worker = Broken(reason_of(reason))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """{"rows", "keys"}, both JSON -> {"report"}, JSON, or {"broken"}."""
        import ray  # pyright: ignore[reportMissingImports]

        if isinstance(self.worker, Broken):
            return {"report": "", "broken": self.worker.reason}
        block = Block(tuple(json.loads(row["rows"])), tuple(json.loads(row["keys"])))
        try:
            begun = ray.get(self.attempts.begun.remote(block.name))
            report = self.worker(block) if begun <= MOST_DEATHS else given_up(block)
        except Exception as reason:
            return {"report": "", "broken": reason_of(reason)}
        return {"report": json.dumps(dataclasses.asdict(report)), "broken": ""}


def on_ray(setup: Setup, blocks: Sequence[Block], workers: int, gpus: float, address: str) -> Iterator[Report]:
    """Reports of all blocks, as they are done. workers 0: as many as the cluster has cores; gpus: of each worker.

    address: of a cluster; "": that of RAY_ADDRESS, or a cluster of this machine that lives as long as this farm.
    Raises FarmError where Ray does not begin, and where a worker cannot begin or save.
    """
    import ray  # pyright: ignore[reportMissingImports]

    ours = not ray.is_initialized()
    if ours:
        _begin(address, workers)
    try:
        count = min(len(blocks), workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
        yield from _made(setup, blocks, count, gpus)
    finally:
        if ours:
            ray.shutdown()


def _begin(address: str, workers: int) -> None:
    import ray  # pyright: ignore[reportMissingImports]

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing here reports to anybody
    local = not address and not os.environ.get("RAY_ADDRESS")
    try:
        cores = max(workers, processors()) if local else None
        context = ray.init(address=address or None, num_cpus=cores, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as reason:
        raise FarmError(
            f"Ray does not begin ({reason}); start a cluster with `ray start --head`, or leave --ray out"
        ) from None
    if context.dashboard_url:
        print(f"Ray's dashboard: http://{context.dashboard_url} (its token: ray get-auth-token)", file=sys.stderr)


def _made(setup: Setup, blocks: Sequence[Block], workers: int, gpus: float) -> Iterator[Report]:
    import ray.data  # pyright: ignore[reportMissingImports]

    settings = ray.data.DataContext.get_current()
    settings.enable_progress_bars = False  # the farm has one of its own; the dashboard has Ray's
    rows = [{"rows": json.dumps(block.rows), "keys": json.dumps(block.keys)} for block in blocks]
    made = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        RayWorker,
        fn_constructor_args=(setup, ray.remote(num_cpus=0)(Attempts).remote()),
        # One block at a time: one that waits for a worker that dies would count its death too.
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
        num_gpus=gpus or None,
    )
    for row in made.iter_rows():
        if row["broken"]:
            raise FarmError(row["broken"])
        yield Report(**json.loads(row["report"]))
