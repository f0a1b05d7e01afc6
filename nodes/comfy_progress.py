"""The progress bar of ComfyUI's running node, with the frames of a forming video playing on it.

Imported through nodes/comfy.py only, where ComfyUI is.
"""

# pyright: reportMissingImports=false
# ComfyUI is not installed where types are checked: its API is checked by the types of host/api.
from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence

import comfy.model_management
import comfy.utils
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL.Image import Image


def progress(total: int) -> Callable[..., None]:
    """As nodes/comfy.py says."""
    bar = comfy.utils.ProgressBar(total)

    frames: list[Image] = []
    film = _Film()

    def update(step: int, preview: Image | Sequence[Image] | None = None) -> None:
        film.progress = (step, total)
        if isinstance(preview, (list, tuple)):
            frames[:] = preview
            preview = None
            film.show(list(frames))
        if preview is None and frames:
            preview = frames[min(len(frames) - 1, step * len(frames) // max(1, total))]
        # the front end shows a preview at its own size and never enlarges it, so ComfyUI is asked for 512 pixels
        bar.update_absolute(step, total, preview=("JPEG", preview, 512) if preview is not None else None)
        comfy.model_management.throw_exception_if_processing_interrupted()

    weakref.finalize(update, film.end)  # the node is done with it, or has failed
    comfy.model_management.throw_exception_if_processing_interrupted()
    return update


class _Film:
    """Plays the newest frames on the running node of ComfyUI, which by itself shows one picture a step."""

    FRAMES_PER_SECOND = 8

    def __init__(self):
        self.context = get_executing_context()
        self.frames, self.next, self.progress, self.over = [], 0, (0, 1), self.context is None
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def show(self, frames: list) -> None:
        with self.changed:
            self.frames = frames
            if self.thread is None and not self.over:
                self.thread = threading.Thread(target=self._play, name="vdit-film", daemon=True)
                self.thread.start()

    def end(self) -> None:
        with self.changed:  # not while a frame is being sent: it would mark the finished node as running
            self.over = True
            self.changed.notify_all()

    def _play(self) -> None:
        with self.changed:
            while not self.changed.wait_for(lambda: self.over, timeout=1 / self.FRAMES_PER_SECOND):
                picture = ("JPEG", self.frames[self.next % len(self.frames)], 512)
                # not by the bar's hook: that would take a cancellation away from the node
                get_progress_state().update_progress(self.context.node_id, *self.progress, picture)
                self.next += 1
