"""Pictures opened after what their first bytes promise was checked: Pillow takes the memory of a WebP at once."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from .limits import check_pixels

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

HEAD = 32  # bytes of a file in which its WebP header tells the size


def open_picture(source: Path | bytes) -> ImageFile:
    """PIL.Image.open of a file, or of what one holds. Raises TooLarge for a WebP of more pixels than are read, and what
    Pillow raises."""
    from PIL import Image

    if isinstance(source, bytes):
        _check_head(source[:HEAD], "the picture")
        return Image.open(BytesIO(source))
    with source.open("rb") as file:
        _check_head(file.read(HEAD), str(source))
    return Image.open(source)


def _check_head(head: bytes, name: str) -> None:
    """Raise TooLarge where the first bytes of a file are a WebP's of more pixels than are read."""
    if len(head) < HEAD or (head[:4], head[8:12]) != (b"RIFF", b"WEBP"):
        return
    size = {b"VP8X": _extended, b"VP8L": _lossless, b"VP8 ": _lossy}.get(head[12:16])
    if size is not None:
        check_pixels(name, *size(head))


def _extended(head: bytes) -> tuple[int, int]:
    """Canvas of a file with an extended header (RFC 9649, section 2.7)."""
    return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")


def _lossless(head: bytes) -> tuple[int, int]:
    """Size of a lossless bitstream (RFC 9649, section 3.4): 14 bits each after the signature."""
    bits = int.from_bytes(head[21:25], "little")
    return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)


def _lossy(head: bytes) -> tuple[int, int]:
    """Size of a key frame of VP8 (RFC 6386, section 9.1)."""
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
