"""JSON as widgets and files hold it, with a type that isinstance narrows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Union, cast

from ..machine.parse import WIDGET, Unreadable, json_value
from .span import ControlError

if TYPE_CHECKING:
    from typing_extensions import TypeIs

LARGEST = sys.float_info.max

Json = Union[dict[str, "Json"], list["Json"], str, float, bool, None]  # noqa: UP007 (Python 3.10 evaluates it)


def parse_json(text: str, name: str, remedy: str) -> Json:
    """The value of a JSON text. Raises ControlError that names the text and says what to do."""
    try:
        return cast(Json, json_value(text, WIDGET))
    except Unreadable as e:
        raise ControlError(f"{name} {e}; {remedy}") from e


def is_number(value: Json) -> TypeIs[float]:
    """Whether a value is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -LARGEST <= value <= LARGEST  # a whole number may be larger than any float


def number_in(row: dict[str, Json], key: str, default: float, low: float, high: float, name: str) -> float:
    """The number of a key, or its default. Raises ControlError naming `name` unless it is low to high."""
    value = row.get(key, default)
    if not is_number(value) or not low <= value <= high:
        raise ControlError(f"{name}: {key} is {value!r:.40}; expected {low:g} to {high:g}")
    return float(value)
