"""Policies from JSON: what an agent does in a scene, from its state and the time, without code from outside.

A file is {"vdit_policy": 1, "kind": ..., ...} with the fields of one of the three classes below, and those of `Setup`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol, cast

import numpy as np

from ..machine.fields import Between, OneOf, Unfit, at, nearest, reader, unmarked
from ..world.records import NAMES
from ..world.scene import SceneError

if TYPE_CHECKING:
    from ..world.arrays import Floats
    from .commands import Commands

VERSION = 1
SAME_TIME = 1e-9  # of an interval: a time that rounding put just before its end counts as the end
ACTIVATIONS = ("none", "tanh", "relu")


class Policy(Protocol):
    """What an agent does."""

    def act(self, commands: Commands, state: Floats, time_s: float, seed: int) -> Floats:
        """The commands [A] at a time for a state [S], before they are cut to their bounds. seed: of the episode."""
        ...

    def check(self, commands: Commands, state: Floats) -> None:
        """Raise SceneError where it does not fit the commands or the state."""
        ...


@dataclass(frozen=True)
class Random:
    """Uniform draws within `share` of each command's range about its middle, each held for `hold_s` seconds."""

    hold_s: float = 0.25
    share: float = 1.0

    def check(self, commands: Commands, state: Floats) -> None:
        """Raise SceneError for a time or a share that is none."""
        if not (self.hold_s > 0 and 0 <= self.share <= 1):
            raise SceneError(f"hold_s is {self.hold_s:g} and share {self.share:g}; expected above 0, and 0 to 1")

    def act(self, commands: Commands, state: Floats, time_s: float, seed: int) -> Floats:
        """Each interval has a generator of its own, which follows from the episode's seed."""
        interval = math.floor(time_s / self.hold_s + SAME_TIME)
        draw = np.random.default_rng([seed, interval]).uniform(-1, 1, len(commands.low))
        middle, half = (commands.low + commands.high) / 2, (commands.high - commands.low) / 2
        return middle + half * self.share * draw


@dataclass(frozen=True)
class Sequence:
    """Targets by command: {name: [[seconds, value], ...]}, linear in between; commands without one are 0."""

    targets: dict[str, tuple[tuple[float, float], ...]]

    def check(self, commands: Commands, state: Floats) -> None:
        """Raise SceneError for commands that are not there, and for times that do not grow."""
        for name, points in self.targets.items():
            if name not in commands.names:
                raise SceneError(f"targets: no command is named {name!r}; {nearest(name, commands.names)}")
            times = [t for t, _ in points]
            if not times or times != sorted(set(times)):
                raise SceneError(f"targets: the times of {name!r} are {times[:8]}; expected one or more that grow")

    def act(self, commands: Commands, state: Floats, time_s: float, seed: int) -> Floats:
        """Before the first time its value, after the last one that."""
        out = np.zeros(len(commands.low))
        for name, points in self.targets.items():
            times, values = zip(*points, strict=True)
            out[commands.names.index(name)] = np.interp(time_s, times, values)
        return out


@dataclass(frozen=True, eq=False)
class Layer:
    """activation(weight [out, in] @ x + bias [out]); activation: none, tanh or relu."""

    weight: Floats
    bias: Floats
    activation: str = "none"


@dataclass(frozen=True, eq=False)
class Network:
    """Fully connected layers from the state to the commands; one layer is linear feedback.

    normalised: the last layer gives -1..1, which stand for each command's range.
    """

    layers: tuple[Layer, ...]
    normalised: bool = False

    def check(self, commands: Commands, state: Floats) -> None:
        """Raise SceneError where the layers do not lead from this state to these commands."""
        size = len(state)
        for i, layer in enumerate(self.layers):
            if layer.weight.ndim != 2 or layer.weight.shape[1] != size or layer.bias.shape != layer.weight.shape[:1]:
                found = f"{list(layer.weight.shape)}, bias {list(layer.bias.shape)}"
                raise SceneError(f"layers[{i}]: weight {found}; expected [N, {size}], bias [N]")
            if layer.activation not in ACTIVATIONS:
                raise SceneError(f"layers[{i}].activation: {nearest(layer.activation, ACTIVATIONS)}")
            size = len(layer.bias)
        if size != len(commands.low) or not self.layers:
            raise SceneError(
                f"layers end with {size} numbers; expected {len(commands.low)}: {', '.join(commands.names)}"
            )

    def act(self, commands: Commands, state: Floats, time_s: float, seed: int) -> Floats:
        """The layers one after another."""
        x = state
        for layer in self.layers:
            x = layer.weight @ x + layer.bias
            x = np.tanh(x) if layer.activation == "tanh" else np.maximum(x, 0) if layer.activation == "relu" else x
        middle, half = (commands.low + commands.high) / 2, (commands.high - commands.low) / 2
        return middle + half * x if self.normalised else x


@dataclass(frozen=True)
class Setup:
    """What the policy acts on, as SceneEnv takes it; noise: deviation of what is added to each command, as a share of
    half its range; task: what it does, in words.
    """

    task: str = ""
    forces: tuple[str, ...] | None = None
    max_force: float | None = None
    actuators: tuple[str, ...] | None = None
    noise: Annotated[float, Between(0, 1)] = 0.0


KINDS: dict[str, type[Random] | type[Sequence] | type[Network]] = {
    "random": Random,
    "sequence": Sequence,
    "network": Network,
}


def read_policy(value: object, name: str = "policy") -> tuple[Policy, Setup]:
    """The policy of a JSON value, and what it acts on. Raises SceneError that names the place and what fits there."""
    try:
        fields = unmarked(value, "vdit_policy", VERSION)
        kind = KINDS[cast(str, at("field 'kind'", OneOf(KINDS), fields.pop("kind", None)))]
        shared = {key: fields.pop(key) for key in Setup.__dataclass_fields__ if key in fields}
        return reader(kind, NAMES)(fields), reader(Setup, {})(shared)
    except Unfit as reason:
        raise SceneError(f"{name}: {reason}") from reason
