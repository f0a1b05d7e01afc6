"""Bodies of requests: which fields a JSON object may have, checked before anything is done with it."""

from __future__ import annotations

import json
from collections.abc import Mapping

Kinds = type | tuple[type, ...]
NAMES: dict[Kinds, str] = {str: "a string", bool: "true or false", dict: "an object", list: "a list"}
NAMES |= {(int, float): "a number"}

# Fields by their path; "[]" stands for every entry of a list. Absent and null are the same to all of them.
PROMPT: dict[str, Kinds] = {
    "prompt": dict,
    "prompt_id": str,
    "client_id": str,
    "front": bool,
    "number": (int, float),
    "partial_execution_targets": list,
    "partial_execution_targets[]": str,
    "extra_data": dict,
    "extra_data.extra_pnginfo": dict,
    "extra_data.extra_pnginfo.workflow": dict,
}
NODE: dict[str, Kinds] = {"class_type": str, "inputs": dict, "_meta": dict, "_meta.title": str}
INTERRUPT: dict[str, Kinds] = {"prompt_id": str}
CANCEL: dict[str, Kinds] = {"job_ids": list, "job_ids[]": str}
REMOVE: dict[str, Kinds] = {"clear": bool, "delete": list, "delete[]": str}


class BadBody(ValueError):  # noqa: N818
    """A field of a request has the wrong type; names it, what was found and what it must be."""


def check(body: dict, fields: Mapping[str, Kinds]) -> None:
    """Raises BadBody for the first field that is there and of another type than `fields` says."""
    for path, kinds in fields.items():
        for value in _values(body, path):
            good = isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))
            if value is not None and not good:
                found = json.dumps(value)
                found = found if len(found) <= 60 else f"{found[:60]}..."
                raise BadBody(f"{path.replace('[]', '')} must be {NAMES[kinds]}, found {found}")


def _values(body: dict, path: str) -> list:
    values: list = [body]
    for name in path.split("."):
        values = [value.get(name.removesuffix("[]")) for value in values if isinstance(value, dict)]
        if name.endswith("[]"):
            values = [entry for value in values if isinstance(value, list) for entry in value]
    return values
