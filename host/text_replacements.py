"""What the front end replaces in texts before it sends them: %date:yyyy% and %Node.widget% in file names, {a|b}."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

SAVE_NODES = {"SaveImage", "SaveVideo", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveWEBM"}
UNSAFE = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def filled(text: str, value_of: Callable[[str, str], object], now: time.struct_time | None = None) -> str:
    """value_of(node name, widget name) -> its value, or None where there is no such widget: then the text stays."""
    now = now or time.localtime()

    def replace(match: re.Match) -> str:
        inner = match[1]
        if inner.startswith("date:"):
            return date(inner[len("date:") :], now)
        node, dot, widget = inner.partition(".")
        value = value_of(node, widget) if dot else None
        return match[0] if value is None else UNSAFE.sub("_", str(value))

    return re.sub(r"%([^%]+)%", replace, text)


def date(pattern: str, now: time.struct_time) -> str:
    """d, M, h, m, s alone or doubled, yy or yyyy; everything else stays."""
    parts = {"d": now.tm_mday, "M": now.tm_mon, "h": now.tm_hour, "m": now.tm_min, "s": now.tm_sec}

    def replace(match: re.Match) -> str:
        token = match[0]
        return f"{now.tm_year}"[4 - len(token) :] if token[0] == "y" else f"{parts[token[0]]:0{len(token)}}"

    return re.sub(r"dd?|MM?|hh?|mm?|ss?|yyy?y?", replace, pattern)


COMMENT = re.compile(r"/\*[\s\S]*?\*/|//.*")
INNERMOST_CHOICE = re.compile(r"(?<!\\)\{((?:\\.|[^{}\\])*)(?<!\\)\}")


def chosen(text: object) -> object:
    """A prompt without comments and with the first of {one|other}, where the front end draws one at random: the same
    graph gives the same video. Braces behind a backslash stay braces."""
    if not isinstance(text, str):
        return text
    text, count = COMMENT.sub("", text), 1
    while count:
        text, count = INNERMOST_CHOICE.subn(lambda match: re.split(r"(?<!\\)\|", match[1])[0], text)
    return re.sub(r"\\([{}|])", r"\1", text)
