"""Whether the weights of VDiT's own files are those that were saved: one changed bit makes another model, silently."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ...machine.writing import written
from ..errors import CheckpointError

DIGITS = 16  # hex digits of SHA-256 that a header keeps for each tensor
PIECE = 1 << 20  # bytes read at a time
KEY, HEADER = "checksums", "vdit header"  # where a header keeps them; under which name, beside tensors, its own
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


def checksum(tensor: Tensor) -> str:
    """Of its bytes as stored."""
    return hashlib.sha256(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data).hexdigest()[:DIGITS]


def checksums(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """What a header keeps: one checksum a tensor."""
    return {name: checksum(tensor) for name, tensor in tensors.items()}


def header_checksum(header: Mapping[str, object]) -> str:
    """Of all that a header says but for its checksums."""
    said = json.dumps({key: value for key, value in header.items() if key != KEY}, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:DIGITS]


def check_tensors(
    path: Path, header: Mapping[str, object], tensors: Mapping[str, Tensor], check: Callable[[], None] = lambda: None
) -> None:
    """Compare tensors and header with the checksums that it keeps; older files keep none, or none of the header.

    check: called for each tensor, may raise to cancel. Raises CheckpointError.
    """
    kept = header.get(KEY)
    if kept is None:
        return
    if not isinstance(kept, dict):
        raise CheckpointError(f"{path}: its checksums cannot be used; get the file again")
    if kept.get(HEADER, header_checksum(header)) != header_checksum(header):
        raise CheckpointError(
            f"{path}: its VDiT header is not the one that was saved: the file is damaged, get it again"
        )
    changed: list[str] = []
    for name, tensor in tensors.items():
        check()
        changed += [name] * (kept.get(name) != checksum(tensor))
    if changed:
        raise CheckpointError(
            f"{path}: {len(changed)} of {len(tensors)} tensors are not those that were saved, first {changed[0]}: the "
            "file is damaged, get it again"
        )


def check_card(path: Path) -> None:
    """Compare a file with the SHA-256 that the model card beside it gives, if there is one. Raises CheckpointError."""
    card = path.with_suffix(".md")
    if card.is_file():
        digests = DIGEST.findall(card.read_text("utf-8", "replace"))
        if digests and _digest(path) not in digests:
            raise CheckpointError(
                f"{path}: its SHA-256 is not the one that {card.name} gives: the file is damaged or of another "
                "release, get both again"
            )


@contextmanager
def card_renewed(path: Path) -> Iterator[None]:
    """While a file is replaced: a card that gives the old file's SHA-256 then gives the new one's; its text stays."""
    before, card = _digest(path) if path.is_file() else None, path.with_suffix(".md")
    yield
    if before and card.is_file() and before in (text := card.read_text("utf-8")):
        with written(card) as partial:
            partial.write_text(text.replace(before, _digest(path)), "utf-8")


def _digest(path: Path) -> str:
    found = path.stat()
    return _digest_then(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=32)
def _digest_then(path: Path, size: int, changed_ns: int) -> str:
    """Worked out once for a file of this size and time."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
