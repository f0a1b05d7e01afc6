"""One scene as a Gymnasium environment: an agent pushes bodies or drives actuators, and sees what comes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
from gymnasium import spaces

from ..world.budget import frames_of
from ..world.checks import check
from ..world.drawing.camera import scene_camera
from ..world.drawing.drawer import Drawer, as_bytes, buffers_of
from ..world.dynamics import warnings_of_mujoco
from ..world.opening import read_scene
from ..world.running import Running
from ..world.scene import Scene, SceneError
from ..world.simulate import step_for, step_of
from ..world.state import layout_of, state_of
from .commands import commands_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from ..world.arrays import Bytes, Floats
    from ..world.motion import Event, Moment
    from ..world.state import BodyState, StateLayout

    Observation = np.ndarray | dict[str, np.ndarray]

PICTURES = ("rgb", "depth", "segmentation")
KINDS = ("state", *PICTURES)


@dataclass(frozen=True, eq=False, kw_only=True)
class Transition:
    """One step, as reward and end conditions see it. before, state [S]: laid out as the environment's `layout`.

    action [A]: in newtons and the actuators' units. events: impacts and breaks since the episode began. time_s: seconds
    of the episode after the step.
    """

    layout: StateLayout
    before: Floats
    action: Floats
    state: Floats
    events: tuple[Event, ...]
    time_s: float

    def body(self, name: str) -> BodyState:
        """A body after the step. Raises SceneError where none that moves has the name."""
        return self.layout.body(self.state, name)


class SceneEnv(gymnasium.Env):
    """A scene (a .json or .xml file, or a Scene) of which each step simulates 1 / fps seconds.

    observations: "state" (float64 [S], SI units; `layout.names` says what each number is), "rgb" (uint8 [H, W, 3]),
    "depth" (float32 [H, W, 1], metres along the optical axis, 1000 where nothing is), "segmentation" (uint8 [H, W, 1]:
    0 the backdrop, 1 + i the scene's body i, then the mechanism's links). One name gives that array, several a dict.
    Actions: float32 [A], see commands.Commands; `commands.names` says what each number is.
    reward, terminated: called with each Transition (None: 0, never). An episode is cut after max_seconds.
    Raises SceneError for a scene or settings that cannot be used, and in steps where the simulation explodes.
    """

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        scene: Scene | str | PathLike[str],
        *,
        observations: str | Sequence[str] = "state",
        forces: Sequence[str] | None = None,
        max_force: float | None = None,
        actuators: Sequence[str] | None = None,
        reward: Callable[[Transition], float] | None = None,
        terminated: Callable[[Transition], bool] | None = None,
        max_seconds: float = 5.0,
        fps: float = 50.0,
        width: int = 64,
        height: int = 64,
        render_mode: str | None = None,
    ):
        self.scene = scene if isinstance(scene, Scene) else read_scene(Path(scene))
        check(self.scene)
        kinds = (observations,) if isinstance(observations, str) else tuple(observations)
        if not kinds or len(set(kinds)) < len(kinds) or not set(kinds) <= set(KINDS):
            raise SceneError(f"observations is {observations!r}; expected one or more of {', '.join(KINDS)}, each once")
        if render_mode not in (None, "rgb_array"):
            raise SceneError(f"render_mode is {render_mode!r}; expected None or 'rgb_array'")
        for name, given in (("reward", reward), ("terminated", terminated)):
            if given is not None and not callable(given):
                raise SceneError(f"{name} is {given!r}; expected a function of a Transition, or None")
        self.fps, self.render_mode = fps, render_mode
        # The last frame of an episode is the one after max_seconds.
        self._steps = frames_of(self.scene, (), max_seconds, fps, step_of(self.scene))
        self.commands = commands_of(self.scene, forces, max_force, actuators)
        self._kinds, self._alone = kinds, isinstance(observations, str)
        self._reward, self._terminated = reward, terminated
        self._buffers = buffers_of(1, width, height)
        self._camera = scene_camera(self.scene, width, height)[0]
        self.metadata = {**self.metadata, "render_fps": fps}
        self._running: Running | None = None
        self._begin(0)
        self.action_space = spaces.Box(self.commands.low, self.commands.high, dtype=np.float32)
        of: dict[str, spaces.Space] = {kind: self._space(kind, width, height) for kind in kinds}
        self.observation_space = of[kinds[0]] if self._alone else spaces.Dict(of)
        self._running = None  # an episode begins with reset

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Observation, dict[str, object]]:
        """Begin an episode with the scene as given. One seed gives the same episodes, to the bit. There are no options.

        Raises SceneError for options.
        """
        super().reset(seed=seed)
        if options:
            raise SceneError(f"reset was given the options {', '.join(map(repr, options))}; there are none")
        self._begin(int(self.np_random.integers(2**31)))
        return self._observation(), self._info()

    def step(self, action: object) -> tuple[Observation, float, bool, bool, dict[str, object]]:
        """Simulate 1 / fps seconds under an action: observation, reward, terminated, truncated and info.

        info: "time_s", the episode's seconds, and "remarks" of the simulation. Forces on what has broken do nothing.
        Raises SceneError for an action out of its space, and gymnasium's ResetNeeded where no episode runs.
        """
        running = self._running
        if running is None:
            raise gymnasium.error.ResetNeeded("no episode runs; call reset before the first step, and after the last")
        values = self.commands.checked(action)
        before, begin, end = self.state, running.world.time, (self._count + 1) / self.fps
        with warnings_of_mujoco() as warnings:
            running.advance(end, self.commands.actions(values, begin, end))
            self._see(running.moment())
        self._count += 1
        running.remarks += [w for w in warnings if w not in running.remarks]
        events = tuple(running.events)
        done = Transition(layout=self.layout, before=before, action=values, state=self.state, events=events, time_s=end)
        reward = 0.0 if self._reward is None else _number(self._reward(done))
        terminated = self._terminated is not None and bool(self._terminated(done))
        truncated = self._count >= self._steps
        out = self._observation(), reward, terminated, truncated, self._info()
        if terminated or truncated:
            self._running = None
        return out

    def render(self) -> Bytes | None:
        """What the scene's camera sees now, uint8 [H, W, 3]; None without a render mode."""
        return None if self.render_mode is None else self._picture("rgb").copy()

    def _begin(self, seed: int) -> None:
        with warnings_of_mujoco() as warnings:
            # All that forces may act on is simulated always, also where shards that rest are held.
            running = Running(
                self.scene, (), step_for(self.scene.bodies), seed=seed, pushed=frozenset(self.commands.bodies)
            )
            self.layout = layout_of(self.scene, running.world)
            self._running, self._count, self._drawer = running, 0, None
            self._first = running.moment(at_rest=True)
            self._see(self._first)
        running.remarks += list(dict.fromkeys(warnings))
        self._remarks = running.remarks

    def _see(self, moment: Moment) -> None:
        assert self._running is not None
        self._moment, self._drawn = moment, False
        self.state = state_of(self._running, self.layout, moment)

    def _info(self) -> dict[str, object]:
        return {"time_s": self._count / self.fps, "remarks": tuple(self._remarks)}

    def _observation(self) -> Observation:
        each = {kind: self.state.copy() if kind == "state" else self._picture(kind).copy() for kind in self._kinds}
        return each[self._kinds[0]] if self._alone else each

    def _picture(self, kind: str) -> np.ndarray:
        """One of PICTURES of the moment, which is drawn once, when it is first asked for."""
        b = self._buffers
        if not self._drawn:
            if self._drawer is None:
                self._drawer = Drawer(self.scene, self._first, (self._camera,))
            self._drawer.draw(self._moment, self._drawer.prepared(self._moment), self._camera, b, 0, used=True)
            self._drawn = True
        if kind == "rgb":
            return as_bytes(b.rgb[0])
        return (b.depth if kind == "depth" else b.instance)[0, ..., None]

    def _space(self, kind: str, width: int, height: int) -> spaces.Box:
        if kind == "state":
            return spaces.Box(-np.inf, np.inf, (len(self.layout.names),), np.float64)
        if kind == "depth":
            return spaces.Box(0.0, np.inf, (height, width, 1), np.float32)
        return spaces.Box(0, 255, (height, width, 3 if kind == "rgb" else 1), np.uint8)


def _number(reward: object) -> float:
    """A finite reward. Raises SceneError for anything else."""
    try:
        value = float(reward)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise SceneError(f"the reward is {reward!r:.100}; expected a finite number")
    return value
