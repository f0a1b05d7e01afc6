"""The forming video on its node: the latest preview is played as single frames, whatever the front end can draw.

A canvas shows only the first frame of an animated picture, so the frames are sent one after another.
"""

from __future__ import annotations

import io
import json
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

PREVIEW_WITH_METADATA = 4  # ComfyUI's binary websocket message: type, metadata length, metadata JSON, picture
FRAMES_PER_SECOND = 8  # each makes the browser draw the whole graph
SIDE = 384  # pixels, longest side: the front end shows a preview at its own size


class PreviewPlayer:
    """Plays what `show` was last given until `clear`. `send(message, data)` is called from the player's thread."""

    def __init__(self, send: Callable[[bytes, dict], None]):
        self.send = send
        self.data: dict[str, Any] | None = None
        self.frame = 0
        self.closing = False
        self.changes = threading.Condition()
        threading.Thread(target=self._work, name="vdit-previews", daemon=True).start()

    def show(self, data: dict[str, Any]) -> None:
        """data: the executor's preview event; its "image" is a PIL image or a list of them."""
        with self.changes:
            self.data = data
            self.changes.notify_all()

    def clear(self) -> None:
        """Shows nothing more of the last preview."""
        with self.changes:
            self.data, self.frame = None, 0

    def close(self) -> None:
        """Ends the player's thread."""
        with self.changes:
            self.closing = True
            self.changes.notify_all()

    def _work(self) -> None:
        data = None
        while (data := self._next(data)) is not None:
            images = data["image"] if isinstance(data["image"], list) else [data["image"]]
            if images:
                message = encode(images[self.frame % len(images)], data)
                if self.data is not None:
                    self.send(message, data)
            with self.changes:
                self.frame += 1
                self.changes.wait_for(lambda: self.closing, timeout=1 / FRAMES_PER_SECOND)

    def _next(self, last: dict[str, Any] | None) -> dict[str, Any] | None:
        """Waits for a preview with something new to send: a later one, or any moving one. None when closing."""
        with self.changes:
            while not self.closing:
                if self.data is not None and (self.data is not last or isinstance(self.data["image"], list)):
                    return self.data
                self.changes.wait()
        return None


def encode(image: Image, data: dict[str, Any]) -> bytes:
    """A PIL image and whose it is -> one binary websocket message."""
    scale = SIDE / max(image.size)
    picture = io.BytesIO()
    width, height = (max(1, round(side * scale)) for side in image.size)
    image.convert("RGB").resize((width, height)).save(picture, format="JPEG", quality=90)
    facts = {key: value for key, value in data.items() if key != "image"} | {"image_type": "image/jpeg"}
    metadata = json.dumps(facts).encode()
    return struct.pack(">II", PREVIEW_WITH_METADATA, len(metadata)) + metadata + picture.getvalue()
