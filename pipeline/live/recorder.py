"""Writes down what is done in a session while it is done, and says what acts on the scene now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from ...world.actions import Actuate, Grab, Gravity, Push, SetMaterial, Wind
from ...world.running import SAME_TIME_S
from ...world.scene import vector
from .recording import LONGEST_S, CameraKeys, Recording

if TYPE_CHECKING:
    from ...world.actions import Action, Actions
    from ...world.arrays import Floats
    from ...world.scene import Material, Vector
    from .camera import Rig

LATER_S = 1e9  # when what has not ended yet ends
Kind = TypeVar("Kind", Gravity, Wind, SetMaterial)
Hand = tuple[float, float, float, float]  # seconds, and a place in the world


class Recorder:
    """Actions are numbered as they begin: the recording has them in this order, in which their forces are summed.

    Recorded is up to LONGEST_S; what acts later is forgotten once it has ended, so that memory does not grow.
    """

    def __init__(self, fps: float, seed: int):
        self.fps, self.seed = fps, seed
        self._count = 0
        self._now: dict[int, Action] = {}  # that act, or ended just now; of a Grab the last two places of the hand
        self._ended: dict[int, Action] = {}
        self._hand: list[Hand] = []
        self._holding: int | None = None
        self._actuators: dict[str, list[tuple[float, float]]] = {}
        self._targets: dict[str, float] = {}
        self._camera: list[CameraKeys] = []

    def grab(self, body: str, at: Floats, taken: Floats, now: float) -> None:
        """A hand takes a point `at` of a body, which is at `taken` [3] in the world."""
        self._hand = [(now, *vector(taken))]
        self._holding = self._add(Grab(body=body, at=vector(at), hand=tuple(self._hand), start=now, end=LATER_S))

    def move(self, place: Floats, then: float) -> None:
        """The hand will be at a place [3] at the time of the next frame."""
        if self._holding is None:
            return
        held = self._now[self._holding]
        assert isinstance(held, Grab)
        hand: Hand = (then, *vector(place))
        self._now[self._holding] = replace(held, hand=(held.hand[-1], hand))
        if then <= LONGEST_S:
            self._hand.append(hand)

    def drop(self, now: float) -> None:
        """The hand lets go."""
        if self._holding is None:
            return
        number, self._holding = self._holding, None
        held = self._now[number]
        assert isinstance(held, Grab)
        self._now[number] = ended = replace(held, end=now)
        if held.start < LONGEST_S:
            self._ended[number] = replace(ended, hand=tuple(self._hand))
        self._hand = []

    def leave(self) -> None:
        """The hand lets go before it has done anything: it has never been there."""
        if self._holding is not None:
            del self._now[self._holding]
            self._holding, self._hand = None, []

    def push(self, body: str, impulse: Vector, at: Vector, now: float) -> None:
        """A push."""
        self._add(Push(body=body, impulse=impulse, at=at, time=now))

    def gravity(self, gravity: Vector, now: float) -> None:
        """Gravity changes."""
        self._set(Gravity(gravity=gravity, time=now))

    def wind(self, velocity: Vector, now: float) -> None:
        """Wind changes; without speed it ends."""
        blowing = next((n for n, a in self._now.items() if isinstance(a, Wind) and a.end == LATER_S), None)
        if blowing is not None:
            was = self._now[blowing]
            assert isinstance(was, Wind)
            del self._now[blowing]
            if was.start < now:
                self._now[blowing] = replace(was, end=now)
                self._keep(blowing)
        if any(velocity):
            self._add(Wind(velocity=velocity, start=now, end=LATER_S))

    def material(self, body: str, material: Material, now: float) -> None:
        """A body is of another material."""
        self._set(SetMaterial(body=body, material=material, time=now))

    def actuate(self, name: str, value: float, before: float, now: float) -> None:
        """The target of an actuator changes from `before`."""
        self._targets[name] = value
        steps = self._actuators.setdefault(name, [(0.0, before)])
        if now < LONGEST_S:
            if steps[-1][0] == now:
                steps[-1] = (now, value)
            else:
                # Up to now it was the one before: targets are linear in between.
                self._actuators[name] = [*steps, (now, steps[-1][1]), (now, value)]

    def camera(self, held: tuple[str, ...], rig: Rig | None, now: float) -> None:
        """Keys of the camera change; rig: where it was put before."""
        if now < LONGEST_S:
            self._camera.append(CameraKeys(now, held, rig))

    def acting(self, now: float) -> Actions:
        """What acts from now on, or ends now, in the order of the recording."""
        over = [n for n, a in self._now.items() if _end(a) < now - SAME_TIME_S]
        for number in over:
            self._keep(number)
            del self._now[number]
        targets = [Actuate(actuator=name, targets=((now, value),)) for name, value in self._targets.items()]
        return (*(self._now[n] for n in sorted(self._now)), *targets)

    def recording(self, seconds: float) -> Recording:
        """What was done in the first so many seconds."""
        seconds = min(seconds, int(LONGEST_S * self.fps) / self.fps)
        found = {**self._now, **self._ended}
        if self._holding is not None:
            held = found[self._holding]
            assert isinstance(held, Grab)
            found[self._holding] = replace(held, hand=tuple(self._hand), end=max(seconds, held.start))
        actions = [found[n] for n in sorted(found) if _begin(found[n]) < seconds]
        steps = {name: tuple(s for s in each if s[0] < seconds) for name, each in self._actuators.items()}
        actions += [Actuate(actuator=name, targets=each) for name, each in steps.items() if each]
        camera = tuple(keys for keys in self._camera if keys.time < seconds)
        return Recording(fps=self.fps, seconds=seconds, seed=self.seed, actions=tuple(actions), camera=camera)

    def _add(self, action: Action) -> int:
        self._count += 1
        self._now[self._count] = action
        return self._count

    def _set(self, action: Kind) -> None:
        """Add what changes at once, in place of an earlier change of the same in this frame: a slider gives many."""
        for number, other in list(self._now.items()):
            same = type(other) is type(action) and getattr(other, "body", "") == getattr(action, "body", "")
            if same and _begin(other) == _begin(action):
                del self._now[number]
        self._add(action)

    def _keep(self, number: int) -> None:
        action = self._now[number]
        if number not in self._ended and _begin(action) < LONGEST_S:
            self._ended[number] = action


def _begin(action: Action) -> float:
    if isinstance(action, Actuate):
        return action.targets[0][0]
    return action.start if isinstance(action, Grab | Wind) else getattr(action, "time", 0.0)


def _end(action: Action) -> float:
    return action.end if isinstance(action, Grab | Wind) else _begin(action)
