"""A prompt before it runs: what its widgets hold, and which node feeds which input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Outputs that give a widget's value as it is, by the type of their node and their number.
REPEATED = {"VDiTBenchmarkClips": {4: "width", 5: "height"}}

Prompt = Mapping[str, object]  # node id -> {"class_type", "inputs": {name: value, or a link [node id, output]}}


@dataclass(frozen=True)
class Wired:
    """One node of a prompt. What is not known before a run, or is of another type than it must be, is None."""

    prompt: Prompt
    id: str

    @property
    def node(self) -> Mapping[str, object]:
        """The prompt's own entry."""
        found = self.prompt.get(self.id)
        return found if isinstance(found, dict) else {}

    @property
    def kind(self) -> str:
        """The node's type."""
        return str(self.node.get("class_type"))

    @property
    def title(self) -> str:
        """What a person calls it."""
        meta = self.node.get("_meta")
        return str((meta.get("title") if isinstance(meta, dict) else None) or self.kind)

    @property
    def inputs(self) -> Mapping[str, object]:
        """Values and links by name."""
        found = self.node.get("inputs")
        return found if isinstance(found, dict) else {}

    def source(self, name: str) -> Wired | None:
        """The node that an input is linked to."""
        link = self.inputs.get(name)
        if isinstance(link, list) and len(link) == 2 and isinstance(link[0], str) and link[0] in self.prompt:
            return Wired(self.prompt, link[0])
        return None

    def has(self, *names: str) -> bool:
        """Whether one of these inputs is linked."""
        return any(isinstance(self.inputs.get(name), list) for name in names)

    def number(self, name: str, default: float | None = None) -> float | None:
        """A widget's number, or that of a node linked to it which passes one on."""
        value = self._value(name, default)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def text(self, name: str, default: str | None = None) -> str | None:
        """A widget's text, or that of a node linked to it which passes one on."""
        value = self._value(name, default)
        return value if isinstance(value, str) else None

    def _value(self, name: str, default: object) -> object:
        value = self.inputs.get(name, default)
        source = self.source(name)
        if source is None:
            return value
        if source.kind.startswith("Primitive"):
            return source.inputs.get("value")
        repeated = REPEATED.get(source.kind, {}).get(value[1]) if isinstance(value, list) else None
        return None if repeated is None else source._value(repeated, None)

    def upstream(self) -> Iterator[Wired]:
        """All nodes that this one needs, the nearest first."""
        seen, waiting = {self.id}, list[Wired]([self])
        while waiting:
            node = waiting.pop(0)
            for name in node.inputs:
                source = node.source(name)
                if source is not None and source.id not in seen:
                    seen.add(source.id)
                    waiting.append(source)
                    yield source


def wired(prompt: Prompt) -> list[Wired]:
    """The nodes of a prompt."""
    return [Wired(prompt, one) for one in prompt]
