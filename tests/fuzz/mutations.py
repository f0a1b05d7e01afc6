"""JSON as it comes after a script, a full disk or an attacker: mutations of real texts, as hypothesis draws them."""

import copy
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

# Written as texts first: Python's json writes neither integers of 4,301 digits nor 1e400.
RAW = {"@huge": "1" * 4301, "@power": "1" + "0" * 400, "@overflow": "1e400", "@minus": "-1e999", "@deep": "[" * 3000}
RAW["@deep"] += "]" * 3000
HOSTILE = [
    *(None, True, False, 0, -1, 1, 5, 2**31, 2**63, -(2**63), 1.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "²", "x", "1", "-10", "true", "../../x", "\ud800", "e\u0301", "\0", "*", "a" * 10_000),
    *(
        [],
        {},
        [[]],
        [None],
        [1],
        {"__value__": ["1", 0]},
        ["1", 0],
        ["999", 0],
        ["1", 99],
        [None, None],
        [1, 0],
        {"": 0},
    ),
    *([{}], [[0, 0, 0, 0, 0, 0]], {"__value__": 5}, *RAW),
]


@dataclass(frozen=True)
class Case:
    """A text, or bytes, and how it was made."""

    name: str
    how: tuple
    content: str | bytes

    def __repr__(self) -> str:
        return f"{self.name}: {self.how} {self.content if len(self.content) < 300 else ''}"


Place = tuple[str | int, ...]


def places(value: object) -> list[list[Place]]:
    """The places in a JSON value, those of one kind ("nodes[].id") together."""
    found: dict[Place, list[Place]] = defaultdict(list)

    def walk(at: object, place: Place, kind: Place) -> None:
        found[kind].append(place)
        entries = at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ()
        for key, inner in entries:
            walk(inner, (*place, key), (*kind, "[]" if isinstance(key, int) else key))

    walk(value, (), ())
    return list(found.values())


def _at(root: list, place: Place) -> tuple[object, str | int]:
    """(what holds the place, its key); the root's own is in a list around it."""
    holder, key = root, 0
    for part in place:
        holder, key = holder[key], part
    return holder, key


def _replace(holder, key, value, other):
    holder[key] = value


def _delete(holder, key, value, other):
    del holder[key]


def _double(holder, key, value, other):
    if isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[f"{key}2"] = holder[key]


def _swap(holder, key, value, other):
    holder[key], other[0][other[1]] = other[0][other[1]], holder[key]


def _copy(holder, key, value, other):
    holder[key] = copy.deepcopy(other[0][other[1]])


def _add(holder, key, value, other):
    if isinstance(holder, list):
        holder.append(value)
    else:
        holder["another"] = value


def _wrap(holder, key, value, other):
    holder[key] = [holder[key]]


def _text(holder, key, value, other):
    holder[key] = str(holder[key])[:5000]


def _multiply(holder, key, value, other):
    if isinstance(holder[key], list) and holder[key]:
        holder[key] = (holder[key] * 100)[:3000]


CHANGES: dict[str, Callable] = {
    **{"replace": _replace, "replace again": _replace, "delete": _delete, "double": _double, "swap": _swap},
    **{"copy": _copy, "add": _add, "wrap": _wrap, "as text": _text, "multiply": _multiply},
}
ENDS: dict[str, Callable[[str], str | bytes]] = {
    "cut": lambda text: text[: len(text) * 2 // 3],
    "comma": lambda text: text.replace(",", ",,", 1),
    "bom": lambda text: "\ufeff" + text,
    "twice": lambda text: text.replace('{"', '{"a": 1, "a": 2, "', 1),
    "utf-16": lambda text: text.encode("utf-16", "surrogatepass"),
    "latin-1": lambda text: text.replace('"', '"é', 3).encode("latin-1", "replace"),
    "blank": lambda text: " \n ",
    "deep": lambda text: "[" * 100_000,
    "wide": lambda text: "[" + "[]," * 300_000 + "[]]",
    "twice over": lambda text: text + text,
}


def _made(name: str, seed: str, kinds: list[list[Place]], draws: list, end: str | None, as_text: bool) -> Case:
    root = [json.loads(seed)]
    how: list = []
    for change, kind, number, hostile, other in draws:
        of_kind = kinds[kind % len(kinds)]
        place, elsewhere = of_kind[number % len(of_kind)], kinds[other % len(kinds)][0]
        try:
            CHANGES[change](*_at(root, place), copy.deepcopy(hostile), _at(root, elsewhere))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError):
            continue  # an earlier change took the place away
        how.append((change, ".".join(map(str, place)), str(hostile)[:30], ".".join(map(str, elsewhere))))
    try:
        text = json.dumps(root[0] if root else None)
    except (ValueError, RecursionError):  # a swap put a value into itself
        text = "null"
    for mark, raw in RAW.items():
        text = text.replace(f'"{mark}"', raw)
    if end is not None:
        how.append(end)
    content = text if end is None else ENDS[end](text)
    if as_text and isinstance(content, bytes):
        content = content.decode("utf-8", "surrogateescape" if len(how) % 2 else "replace")
    return Case(name, tuple(how), content)


def mutated(seeds: dict[str, object], as_text: bool = False) -> st.SearchStrategy[Case]:
    """Texts of JSON values with up to four changes. as_text: never bytes, as a widget's value is."""
    known = [(name, json.dumps(value), places(value)) for name, value in seeds.items()]  # copied by reading: it is fast
    numbers = st.integers(0, 9999)
    change = st.tuples(st.sampled_from(list(CHANGES)), numbers, numbers, st.sampled_from(HOSTILE), numbers)
    ends = st.sampled_from([None] * (3 * len(ENDS)) + list(ENDS))
    return st.builds(
        lambda seed, draws, end: _made(*seed, draws, end, as_text),
        st.sampled_from(known),
        st.lists(change, max_size=4),
        ends,
    )
