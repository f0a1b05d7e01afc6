"""Whether the values that a node stores can be its own: how many there are, and what the editor's own slots hold.

Values are stored by position. One that was dropped or doubled by a script gives all later ones to other widgets, and
where those take the same kind of value nothing else tells.
"""

from __future__ import annotations

from ..nodes.stored import STORED
from .widgets import stored_widgets

AFTER_A_RUN = ("fixed", "increment", "decrement", "randomize", "increment-wrap")  # what becomes of a seed or combo
CONTROL = "control_after_generate"
REMEDY = "set the node's widgets again in the graph editor"


def fault_of(kind: str, info: dict, values: list) -> str | None:
    """Why stored values cannot be those of a node of this type, or None. Only nodes of this pack are judged."""
    if kind not in STORED or not values:
        return None
    now = sum(1 for _ in stored_widgets(info, values))
    earlier = [count for count in STORED[kind] if count != now]
    if len(values) not in (now, *earlier):
        before = f" ({' or '.join(map(str, earlier))} in earlier versions)" if earlier else ""
        return (
            f"stores {len(values)} values; it has {now} widgets{before}. One was taken out or put in, and those after "
            f"it would go to other widgets; {REMEDY}, or update the pack if a newer version saved it"
        )
    for (name, spec), value in zip(stored_widgets(info, values), values, strict=False):
        if name == CONTROL and spec is None and value not in (None, *AFTER_A_RUN):
            return (
                f"stores {value!r:.40} where {', '.join(AFTER_A_RUN[:4])} is expected: its values are shifted; {REMEDY}"
            )
    return None
