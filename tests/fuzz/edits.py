"""Bytes as they come after a bad disk, a cut download or an attacker: edits of real files, as hypothesis draws them."""

import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

NUMBERS = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**48,
    2**63 - 1,
    2**64 - 1,
)
VALUES = (
    None,
    True,
    0,
    1,
    -1,
    2**31,
    2**63,
    10**20,
    0.5,
    1e308,
    "",
    "x",
    "F32",
    "I8",
    "\ud800",
    [],
    {},
    [0],
    [[]],
    [1, 2],
)
HEADS = (64, 1024, None)  # an edit falls into so many first bytes, or anywhere


@dataclass(frozen=True)
class Case:
    """A file by its seed and what is done to it: bytes, and before them what the seed's kind of header says."""

    seed: str
    header: tuple
    edits: tuple
    content: bytes

    def __repr__(self) -> str:
        return f"{self.seed} {self.header} {self.edits}"


def _flip(data: bytearray, at: int, number: int) -> None:
    data[at] ^= 1 << number % 8


def _byte(data: bytearray, at: int, number: int) -> None:
    data[at] = number % 256


def _word(data: bytearray, at: int, number: int) -> None:
    form = "<>"[number % 2] + "BHIQ"[number // 2 % 4]
    word = struct.pack(form, NUMBERS[number // 8 % len(NUMBERS)] % (1 << 8 * struct.calcsize(form)))
    data[at : at + len(word)] = word[: len(data) - at]


def _cut(data: bytearray, at: int, number: int) -> None:
    del data[at:]


def _drop(data: bytearray, at: int, number: int) -> None:
    del data[at : at + 1 + number % 64]


def _repeat(data: bytearray, at: int, number: int) -> None:
    data[at:at] = data[at : at + 1 + number % 512]


def _zeros(data: bytearray, at: int, number: int) -> None:
    data[at : at + 1 + number % 256] = bytes(len(data[at : at + 1 + number % 256]))


def _move(data: bytearray, at: int, number: int) -> None:
    to = number % len(data)
    span = data[at : at + 32]
    data[to : to + len(span)] = span


EDITS: dict[str, Callable[[bytearray, int, int], None]] = {
    "flip": _flip, "byte": _byte, "word": _word, "cut": _cut, "drop": _drop, "repeat": _repeat, "zeros": _zeros,
    "move": _move,
}  # fmt: skip


def edited(data: bytes, edits: tuple) -> bytes:
    """Each edit: (name, which of HEADS, place, number)."""
    changed = bytearray(data)
    for name, head, place, number in edits:
        if changed:
            EDITS[name](changed, place % min(len(changed), HEADS[head] or len(changed)), number)
    return bytes(changed)


def _entries(value: object) -> list[tuple]:
    """(holder, key) of every entry in a JSON value."""
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [(value, key) for key, _ in pairs] + [entry for _, inner in pairs for entry in _entries(inner)]


def changed_json(value: object, changes: tuple) -> object:
    """A copy with changes: (name, place, number). A text that is JSON itself is changed inside."""
    value = json.loads(json.dumps(value))
    for name, place, number in changes:
        entries = _entries(value)
        if not entries:
            break
        holder, key = entries[place % len(entries)]
        inside = holder[key] if isinstance(holder[key], str) and holder[key].startswith("{") else ""
        if inside and number % 4:
            holder[key] = json.dumps(changed_json(json.loads(inside), ((name, place // 7, number // 4),)))
        elif name == "set":
            holder[key] = json.loads(json.dumps(VALUES[number % len(VALUES)]))  # a list in itself would have no end
        elif name == "number" and isinstance(holder[key], int):
            holder[key] = (holder[key] + 1, holder[key] * 2, -holder[key], NUMBERS[number % len(NUMBERS)])[number % 4]
        elif name == "delete":
            del holder[key]
        elif name == "swap":
            other, theirs = entries[number % len(entries)]
            holder[key], other[theirs] = json.loads(json.dumps([other[theirs], holder[key]]))
        elif name == "rename" and isinstance(holder, dict):
            holder[str(number)] = holder.pop(key)
    return value


def safetensors_changed(data: bytes, changes: tuple) -> bytes:
    """A safetensors file whose JSON header is changed, and whole otherwise."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(changed_json(json.loads(data[8 : 8 + length]), changes)).encode("ascii")
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def png_changed(data: bytes, changes: tuple) -> bytes:
    """A PNG whose chunks are changed, with right check sums."""
    chunks, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append([data[at + 4 : at + 8], data[at + 8 : at + 8 + length]])
        at += 12 + length
    for name, place, number in changes:
        chunk = chunks[place % len(chunks)]
        if name == "delete":
            chunks.remove(chunk)
        elif name == "swap":
            chunks.insert(number % len(chunks), list(chunk))
        else:
            chunk[1] = edited(chunk[1], ((list(EDITS)[number % len(EDITS)], 2, place // 7, number // 9),))
        if not chunks:
            break
    framed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return data[:8] + b"".join(framed)


CHANGES = ("set", "number", "delete", "swap", "rename")
HEADERS: dict[str, Callable[[bytes, tuple], bytes]] = {"safetensors": safetensors_changed, "png": png_changed}


def _made(name: str, data: bytes, header: tuple, edits: tuple) -> Case:
    kind = "safetensors" if data[8:10] == b'{"' else "png" if data[:4] == b"\x89PNG" else ""
    header = header if kind else ()
    return Case(name, header, edits, edited(HEADERS[kind](data, header) if header else data, edits))


def files(seeds: Mapping[str, bytes]) -> st.SearchStrategy[Case]:
    """These files, each with up to three changes of its header and up to four edits of its bytes."""
    big = st.integers(0, 2**32 - 1)
    changes = st.lists(st.tuples(st.sampled_from(CHANGES), big, big), max_size=3)
    edits = st.lists(st.tuples(st.sampled_from(list(EDITS)), st.integers(0, len(HEADS) - 1), big, big), max_size=4)
    either = st.one_of(st.tuples(changes, st.just([])), st.tuples(st.just([]), edits), st.tuples(changes, edits))
    return st.builds(
        lambda name, drawn: _made(name, seeds[name], tuple(drawn[0]), tuple(drawn[1])),
        st.sampled_from(list(seeds)),
        either,
    )
