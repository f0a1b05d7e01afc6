"""A moving picture on a node: it plays while it forms, and stays as a small video file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .comfy import check_interrupted, io, temp_folder, ui

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..world.arrays import Floats

SIDE = 480  # pixels of the longer side: nodes are seldom wider
CRF = 20  # H.264 quality at which artefacts are not seen at this size


class Frame(Protocol):
    """A frame that is done: its number, from 0, and its colours [H, W, 3] in 0..1."""

    @property
    def index(self) -> int:
        """From 0."""
        ...

    @property
    def rgb(self) -> Floats:
        """Colours."""
        ...


class MovingPicture:
    """Called with each frame as it is done; shows those there are at most at the pace of `PreviewBudget`."""

    def __init__(self, frames: int, update: Callable[..., None]):
        from ..machine.pace import PreviewBudget

        self.frames, self.update, self.budget = frames, update, PreviewBudget()
        self.images: list[Image] = []

    def __call__(self, frame: Frame) -> None:
        from PIL.Image import Resampling, fromarray

        image = fromarray((frame.rgb * 255).clip(0, 255).round().astype("uint8"))
        scale = min(1.0, SIDE / max(image.size))
        width, height = (max(2, round(side * scale / 2) * 2) for side in image.size)  # H.264 wants even sides
        self.images.append(image.resize((width, height), Resampling.BILINEAR, reducing_gap=2.0))
        # The list goes along again only when the budget allows: the player keeps what it was last given. The first one
        # is not spent on a picture alone, which does not move.
        if len(self.images) > 1 and self.budget.affordable():
            with self.budget.spending():
                return self.update(frame.index + 1, list(self.images))
        self.update(frame.index + 1, None)

    def saved(self, fps: float) -> dict:
        """What the node shows when it is done: the frames as a video in the temp folder."""
        import uuid

        import numpy as np

        from ..machine.writing import written
        from ..world.video import write_h264

        name = f"vdit_draft_{uuid.uuid4().hex[:12]}.mp4"
        with written(temp_folder() / name) as part:
            write_h264(part, np.stack([np.asarray(image) for image in self.images]), fps, CRF, check=check_interrupted)
        return {"vdit_draft": [ui.SavedResult(name, "", io.FolderType.temp)]}  # shown by web/moving_draft.js
