"""The studio's queue: prompts wait, one runs in a thread of its own, and the last results are kept for the history."""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .executor import Executor, Listener, NodeFailed, milliseconds
from .running import Interrupted
from .validation import Checked

log = logging.getLogger(__name__)

FINISHED_JOBS = 200  # finished jobs remembered for the front end's history


@dataclass
class Job:
    """One queued prompt, through its life: pending, in_progress, then completed, failed or cancelled."""

    id: str
    number: float
    checked: Checked
    extra_data: dict
    client_id: str | None
    create_time: int = field(default_factory=milliseconds)
    status: str = "pending"
    started: int | None = None
    ended: int | None = None
    outputs: dict[str, dict] = field(default_factory=dict)
    messages: list[tuple[str, dict]] = field(default_factory=list)
    error: dict | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def queue_entry(self) -> list:
        """As in ComfyUI's /queue."""
        return [self.number, self.id, self.checked.prompt, self.extra_data, self.checked.outputs]

    def history_entry(self) -> dict:
        """As in ComfyUI's /history."""
        status = {
            "status_str": "success" if self.status == "completed" else "error",
            "completed": self.status == "completed",
            "messages": self.messages,
        }
        return {"prompt": self.queue_entry(), "outputs": self.outputs, "status": status, "meta": {}}

    def summary(self) -> dict:
        """As in ComfyUI's /jobs."""
        shown = [
            {**item, "nodeId": node_id, "mediaType": kind}
            for node_id, output in self.outputs.items()
            for kind, items in output.items()
            if kind in ("images", "video", "audio")
            for item in items
            if isinstance(item, dict)
        ]
        saved = [item for item in shown if item.get("type") == "output"]
        entry = {
            "id": self.id,
            "status": self.status,
            "priority": self.number,
            "create_time": self.create_time,
            "execution_start_time": self.started,
            "execution_end_time": self.ended,
            "outputs_count": len(shown),
            "preview_output": (saved or shown or [None])[0],
            "execution_error": self.error,
            "workflow_id": ((self.extra_data.get("extra_pnginfo") or {}).get("workflow") or {}).get("id"),
        }
        return {key: value for key, value in entry.items() if value is not None}

    def details(self) -> dict:
        """As in ComfyUI's /jobs/{id}."""
        workflow = {"prompt": self.checked.prompt, "extra_data": self.extra_data}
        return {
            **self.summary(),
            "outputs": self.outputs,
            "workflow": workflow,
            "execution_status": self.history_entry()["status"],
        }


class JobQueue:
    """Runs jobs one after another. Calls `listener` with the executor's events and `changed` when the queue changes."""

    def __init__(self, executor: Executor, listener: Callable[[str, dict, Job], None], changed: Callable[[], None]):
        self.executor, self.listener, self.changed = executor, listener, changed
        self.pending: list[Job] = []
        self.running: Job | None = None
        self.finished: collections.OrderedDict[str, Job] = collections.OrderedDict()
        self.numbers = 0
        self.closing = False
        self.changes = threading.Condition()
        self.thread = threading.Thread(target=self._work, name="vdit-executor", daemon=True)
        self.thread.start()

    def put(
        self,
        job_id: str,
        checked: Checked,
        extra_data: dict,
        client_id: str | None,
        front: bool,
        number: float | None = None,
    ) -> Job:
        """Queues a checked prompt: at the end, in front, or before those of larger numbers."""
        with self.changes:
            self.numbers += 1
            if number is None:
                number = -self.numbers if front else self.numbers
            job = Job(job_id, number, checked, extra_data, client_id)
            self.pending.append(job)
            self.pending.sort(key=lambda waiting: waiting.number)
            self.changes.notify_all()
        self.changed()
        return job

    def cancel(self, job_id: str | None = None) -> bool:
        """Stops the running job, or takes a waiting one out. None: whatever runs. False: no such job."""
        with self.changes:
            return self.interrupt(job_id) or job_id is not None and self.remove(job_id)

    def interrupt(self, job_id: str | None = None) -> bool:
        """Stops the job that runs; with an id that one alone. False where it does not run."""
        with self.changes:
            if self.running is None or job_id not in (None, self.running.id):
                return False
            self.running.stop.set()
            return True

    def remove(self, job_id: str) -> bool:
        """Takes a waiting job out. False where it does not wait."""
        with self.changes:
            waiting = [job for job in self.pending if job.id == job_id]
            self.pending = [job for job in self.pending if job.id != job_id]
        self.changed()
        return bool(waiting)

    def clear_pending(self) -> None:
        """Drops all waiting jobs."""
        with self.changes:
            self.pending.clear()
        self.changed()

    def find(self, job_id: str) -> Job | None:
        """The job, waiting, running or finished."""
        return next((job for job in self.all() if job.id == job_id), None)

    def all(self) -> list[Job]:
        """Running, waiting, then finished, newest first."""
        with self.changes:
            running = [self.running] if self.running else []
            return running + list(self.pending) + list(reversed(self.finished.values()))

    def forget(self, job_id: str) -> None:
        """Drops a finished job from the history."""
        with self.changes:
            self.finished.pop(job_id, None)
        self.changed()

    def forget_all(self) -> None:
        """Empties the history."""
        with self.changes:
            self.finished.clear()
        self.changed()

    def remaining(self) -> int:
        """How many jobs wait or run."""
        return len(self.pending) + (self.running is not None)

    def close(self) -> None:
        """Cancels what runs and waits for the thread, at most two seconds."""
        with self.changes:
            self.closing = True
            self.pending.clear()
            if self.running is not None:
                self.running.stop.set()
            self.changes.notify_all()
        self.thread.join(timeout=2)

    def _work(self) -> None:
        while True:
            with self.changes:
                self.changes.wait_for(lambda: self.pending or self.closing)
                if self.closing:
                    return
                job = self.running = self.pending.pop(0)
                job.status, job.started = "in_progress", milliseconds()
            self.changed()
            status = self._run(job)
            with self.changes:
                job.status, job.ended, self.running = status, milliseconds(), None
                self.finished[job.id] = job
                while len(self.finished) > FINISHED_JOBS:
                    self.finished.popitem(last=False)
            self.changed()

    def _run(self, job: Job) -> str:
        started = time.perf_counter()
        try:
            self.executor.run(
                job.checked, prompt_id=job.id, extra_data=job.extra_data, stop=job.stop, listener=self._listener(job)
            )
            log.info("Prompt executed in %.2f seconds", time.perf_counter() - started)
            return "completed"
        except Interrupted:
            log.info("Prompt cancelled after %.2f seconds", time.perf_counter() - started)
            return "cancelled"
        except NodeFailed as failure:
            job.error = failure.report
            log.error("%s\n%s", failure, "".join(failure.report["traceback"]))
        except Exception:
            log.exception("The executor itself failed")
        return "failed"

    def _listener(self, job: Job) -> Listener:
        def on_event(event: str, data: dict[str, Any]) -> None:
            if event == "executed":
                job.outputs[data["node"]] = data["output"]
            elif event.startswith("execution_"):
                job.messages.append((event, data))
            self.listener(event, data, job)

        return on_event
