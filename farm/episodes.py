"""Episodes of a scene under a policy as rows of a farm: states, actions and what the camera sees."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .jobs import Block, FarmError, Json, Made, Row, address_of
from .shards import Column, ShardWriter

if TYPE_CHECKING:
    from ..gym.policies import Policy, Setup
    from ..gym.scene_env import SceneEnv

ROWS = 16  # episodes of a shard
PICTURES = {  # name -> what it holds
    "depth": "float16 [T, H, W], metres along the optical axis; 1000 where nothing is",
    "instance": "uint8 [T, H, W]: 0 the backdrop, 1 + i the i-th of the labels' instances",
}
MISSING = "episodes are played by gymnasium: pip install 'vdit[gym]'"


@dataclass(frozen=True)
class EpisodesJob:
    """Episodes of a scene: the row {"seed": s} becomes one of the length of all others.

    scene: its JSON text; policy: the text of a JSON policy (gym/policies.py).
    """

    scene: str
    policy: str
    seconds: float = 5.0
    fps: int = 10
    width: int = 128
    height: int = 128
    arrays: tuple[str, ...] = ("depth", "instance")
    rows_per_block: int = ROWS
    name: str = "episodes"
    version: int = 1

    def settings(self) -> dict[str, Json]:
        """All fields but how many rows share a file; the scene, which may have pictures, by its digest."""
        fields = dataclasses.asdict(self)
        del fields["name"], fields["rows_per_block"]
        return {**fields, "scene": address_of(self.scene), "policy": json.loads(self.policy)}

    def identity(self, row: Row) -> Json:
        """The whole row."""
        return row

    def opened(self) -> Callable[[Block, Path], Made]:
        """The function of a block, with one environment for all its episodes. Raises FarmError, SceneError."""
        env, policy, setup = stage(self)
        return partial(_make, self, env, policy, setup)


def stage(job: EpisodesJob) -> tuple[SceneEnv, Policy, Setup]:
    """The environment, the policy and what it acts on, checked together. Raises FarmError, SceneError."""
    try:
        from ..gym.scene_env import SceneEnv
    except ImportError as reason:
        raise FarmError(MISSING) from reason
    from ..gym.policies import read_policy
    from ..world.scene_file import loads

    policy, setup = read_policy(json.loads(job.policy))
    env = SceneEnv(
        loads(job.scene),
        observations=("state", "rgb", "depth", "segmentation"),
        forces=setup.forces,
        max_force=setup.max_force,
        actuators=setup.actuators,
        max_seconds=job.seconds,
        fps=job.fps,
        width=job.width,
        height=job.height,
    )
    seen, _ = env.reset(seed=0)
    assert isinstance(seen, dict)
    policy.check(env.commands, seen["state"])
    return env, policy, setup


@dataclass(frozen=True, eq=False)
class Episode:
    """T steps: what was seen before each, and what was done. state [T, S], action [T, A], frames uint8 [T, H, W, 3],
    depth float16 [T, H, W], instance uint8 [T, H, W]."""

    state: np.ndarray
    action: np.ndarray
    frames: np.ndarray
    depth: np.ndarray
    instance: np.ndarray


def play(env: SceneEnv, policy: Policy, setup: Setup, seed: int) -> Episode:
    """One episode to its end. The same seed gives the same bits."""
    low, high = env.commands.low, env.commands.high
    seen, info = env.reset(seed=seed)
    states, actions, frames, depths, instances = [], [], [], [], []
    over = False
    while not over:
        assert isinstance(seen, dict)
        step = len(actions)
        command = policy.act(env.commands, seen["state"], info["time_s"], seed)  # pyright: ignore[reportArgumentType]
        if setup.noise:
            rng = np.random.default_rng([seed, step, 1])
            command = command + setup.noise * (high - low) / 2 * rng.standard_normal(len(low))
        command = np.clip(command, low, high).astype(np.float32)
        states.append(seen["state"])
        actions.append(command)
        frames.append(seen["rgb"])
        depths.append(seen["depth"][..., 0].astype(np.float16))
        instances.append(seen["segmentation"][..., 0])
        seen, _, terminated, truncated, info = env.step(command)
        over = terminated or truncated
    return Episode(*(np.stack(each) for each in (states, actions, frames, depths, instances)))


def _make(job: EpisodesJob, env: SceneEnv, policy: Policy, setup: Setup, block: Block, folder: Path) -> Made:
    from ..world.drawing.camera import scene_camera

    made, failed = dict[str, Json](), dict[str, str]()
    about: dict[str, Json] = {
        **{"job": job.name, "task": setup.task, "fps": job.fps, "width": job.width, "height": job.height},
        **{"state_names": env.layout.names, "action_names": env.commands.names},
    }
    camera = scene_camera(env.scene, job.width, job.height)[0]
    instances = [body.name for body in env.scene.bodies]
    constant = {
        "task": setup.task,
        "c2w": np.asarray(camera.c2w, float).ravel(),
        "intrinsics": np.array([camera.focal, camera.focal, job.width / 2, job.height / 2]),
        "labels": json.dumps({"instances": instances, "gravity": env.scene.gravity}),
    }
    columns = {
        "seed": Column("whole", "of the episode"),
        "task": Column("text", "what the policy does, in words"),
        "state": Column("numbers", "float64, T x S: before each step; names: the file's metadata, state_names"),
        "action": Column("numbers", "float32, T x A: of each step; names: the file's metadata, action_names"),
        "c2w": Column("numbers", "camera to world, 4 x 4 by rows: metres, OpenCV axes (x right, y down, z forward)"),
        "intrinsics": Column("numbers", "fx, fy, cx, cy in pixels; pixel centres are at +0.5"),
        "labels": Column("text", "JSON: names of instances 1, 2, ... and gravity in m/s^2"),
        **{name: Column("array", PICTURES[name]) for name in job.arrays},
    }
    with ShardWriter(folder, f"episodes-{block.name}", columns, Fraction(job.fps), about) as shard:
        for row, key in zip(block.rows, block.keys, strict=True):
            seed = row["seed"]
            assert isinstance(seed, int)
            try:
                episode = play(env, policy, setup, seed)
            except Exception as reason:  # a simulation that explodes leaves the others as they are
                failed[key] = f"seed {seed}: {type(reason).__name__}: {reason}"
                continue
            values = {"seed": seed, "state": episode.state.ravel(), "action": episode.action.ravel(), **constant}
            values |= {name: getattr(episode, name) for name in job.arrays}
            shard.add(key, episode.frames, values)
            made[key] = seed
    return Made(made, failed)
