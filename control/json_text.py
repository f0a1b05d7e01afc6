"""JSON as widgets and files hold it, with a type that isinstance narrows."""

from __future__ import annotations

from typing import Union, cast

from ..machine.parse import WIDGET, Unreadable, json_value
from .span import ControlError

Json = Union[dict[str, "Json"], list["Json"], str, float, bool, None]  # noqa: UP007 (Python 3.10 evaluates it)


def parse_json(text: str, name: str, remedy: str) -> Json:
    """The value of a JSON text. Raises ControlError that names the text and says what to do."""
    try:
        return cast(Json, json_value(text, WIDGET))
    except Unreadable as e:
        raise ControlError(f"{name} {e}; {remedy}") from e
