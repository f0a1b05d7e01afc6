"""Scenes as Gymnasium environments: other checkers pass, steps are the simulation's bits, bad input is named."""

import math
import re
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import vdit.gym
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.seeding import np_random
from stable_baselines3.common.env_checker import check_env as check_env_of_stable_baselines
from test_simulation import SHAPES, body, made_of, scene
from vdit.geometry.camera_numpy import look_at
from vdit.gym.scene_env import SceneEnv
from vdit.world.actions import Actuate, Force
from vdit.world.drawing.film import film
from vdit.world.mjcf import read_mjcf
from vdit.world.scene import SceneError, View
from vdit.world.scene_file import dumps
from vdit.world.simulate import simulate

ROOT = Path(vdit.__path__[0])
ARM = ROOT / "workflows" / "inputs" / "vdit-robot-arm.xml"
KINDS = ("state", "rgb", "depth", "segmentation")
FPS = 50.0
VIEW = View(look_at(np.array((0.0, -4.0, 1.5)), np.array((0.0, 0.0, 0.7))), 60.0)


def two():
    """A ball above the ground beside a fixed box."""
    box = replace(body(SHAPES[1], (0.5, 0.0, 0.3), fixed=True), name="box")
    return replace(scene(body(SHAPES[0], (0.0, 0.0, 1.0), mass=2.0), box), view=VIEW)


def brittle():
    """A box that falls, breaks, and leaves shards."""
    falling = body(SHAPES[1], (0.0, 0.0, 1.5), material=made_of(density=2400.0, toughness=2.0))
    return replace(scene(falling), view=VIEW)


def played(env, seed, steps):
    """Every number of an episode under random actions."""
    first, _ = env.reset(seed=seed)
    env.action_space.seed(5)
    seen = [first]
    for _ in range(steps):
        seen.append(env.step(env.action_space.sample())[0])
    return [np.concatenate([np.ravel(v).astype(float) for v in s.values()]) for s in seen]


@pytest.mark.parametrize("made", [two, brittle, lambda: ARM], ids=["two", "brittle", "arm"])
@pytest.mark.parametrize("observations", ["state", "rgb", KINDS])
def test_gymnasiums_checker_passes(made, observations):
    env = gymnasium.make("vdit/Scene-v0", scene=made(), observations=observations, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it would rather have bounds of -1 and 1 than newtons
        check_env(env.unwrapped)


@pytest.mark.parametrize("made", [two, lambda: ARM], ids=["two", "arm"])
@pytest.mark.parametrize("observations", ["state", "rgb", KINDS])
def test_the_checker_of_stable_baselines_passes(made, observations):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        check_env_of_stable_baselines(gymnasium.make("vdit/Scene-v0", scene=made(), observations=observations))


def test_a_constant_force_gives_the_simulations_own_bits():
    steps, force = 40, (3.0, 1.0, 0.0)
    motion = simulate(two(), (Force(body="body", force=force, end=9.0),), seconds=(steps + 1) / FPS, fps=FPS)
    env = SceneEnv(two(), fps=FPS)
    env.reset(seed=0)
    for t in range(1, steps + 1):
        env.step(np.array(force, np.float32))
        assert np.array_equal(env.unwrapped.state[:3], motion.poses[t, 0, :3, 3]), t


@pytest.mark.parametrize("made", [two, brittle, lambda: read_mjcf(ARM)], ids=["two", "brittle", "arm"])
def test_pictures_are_those_of_a_film(made):
    steps = 45  # the brittle box has broken by then
    env = SceneEnv(made(), observations=KINDS, fps=FPS, render_mode="rgb_array")
    still = tuple(Actuate(actuator=name, targets=((0.0, 0.0),)) for name in env.commands.actuators)
    seed = int(np_random(0)[0].integers(2**31))
    motion = simulate(made(), still, seconds=(steps + 1) / FPS, fps=FPS, seed=seed)
    shot = film(motion, width=64, height=64)
    seen, _ = env.reset(seed=0)
    assert len(np.unique(seen["segmentation"])) > 1
    for t in range(steps + 1):
        assert np.array_equal(seen["depth"][..., 0], shot.depth[t].numpy()), t
        assert np.array_equal(seen["segmentation"][..., 0], shot.instance[t].numpy()), t
        assert np.array_equal(seen["rgb"], (shot.rgb[t].clamp(0, 1) * 255).round().byte().numpy()), t
        assert np.array_equal(env.render(), seen["rgb"])
        seen = env.step(np.zeros(env.action_space.shape))[0] if t < steps else seen
    assert made is not brittle or len(motion.parts) > 1


def test_one_seed_gives_the_same_bits_and_another_other_shards():
    env = SceneEnv(brittle(), observations=KINDS, fps=20.0)
    first, again, other = (played(env, seed, 20) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_what_falls_has_the_states_of_a_fall_and_what_has_broken_none():
    env = SceneEnv(two(), fps=FPS)
    env.reset(seed=0)
    for _ in range(10):
        env.step(np.zeros(3))
    ball = env.layout.body(env.state, "body")
    assert ball.velocity == pytest.approx((0, 0, -9.81 * 0.2), abs=1e-3) and ball.present
    assert ball.position[2] == pytest.approx(1 - 9.81 * 0.2**2 / 2, abs=0.03)
    assert len(env.layout.names) == 13  # the fixed box has no state
    env = SceneEnv(brittle(), fps=10.0)
    env.reset(seed=0)
    for _ in range(12):
        env.step(np.zeros(3))
    assert not env.layout.body(env.state, "body").present and not env.state.any()


def test_an_actuator_moves_its_joint_and_the_state_names_it():
    env = SceneEnv(ARM, fps=FPS)
    env.reset(seed=0)
    before = env.state.copy()
    for _ in range(25):
        env.step(env.commands.high)
    assert len(env.layout.names) == len(env.state) and any("position" in n for n in env.layout.names)
    assert np.abs(env.state - before).max() > 0.1


def test_reward_and_end_are_what_the_user_says_and_time_cuts_the_rest():
    height = []

    def low(step):
        height.append(step.body("body").position[2])
        return bool(height[-1] < 0.7)

    env = SceneEnv(two(), fps=20.0, reward=lambda step: step.state[2] - step.before[2], terminated=low)
    env.reset(seed=0)
    for n in range(1, 100):
        _, reward, terminated, truncated, info = env.step(np.zeros(3))
        assert reward < 0 and not truncated and info["time_s"] == n / 20
        if terminated:
            break
    assert terminated and height[-1] < 0.7 <= min(height[:-1])
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(3))
    env = SceneEnv(two(), fps=20.0, max_seconds=0.5)
    env.reset(seed=0)
    assert [env.step(np.zeros(3))[3] for _ in range(10)] == [False] * 9 + [True]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_several_are_played_at_once(mode):
    envs = gymnasium.make_vec("vdit/Scene-v0", num_envs=2, vectorization_mode=mode, scene=str(ARM), observations=KINDS)
    try:
        seen, _ = envs.reset(seed=1)
        assert seen["rgb"].shape == (2, 64, 64, 3)
        envs.action_space.seed(0)
        seen = envs.step(envs.action_space.sample())[0]
        assert not np.array_equal(seen["state"][0], seen["state"][1])
    finally:
        envs.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(scene="nowhere.json"), "nowhere.json: there is no such file"),
        (dict(scene="scene.png"), "expected a scene .*json.* or an MJCF"),
        (dict(observations="colour"), "observations is 'colour'; expected .*segmentation"),
        (dict(observations=("rgb", "rgb")), "each once"),
        (dict(observations=()), "one or more"),
        (dict(forces=("cup",)), "no body is named 'cup'"),
        (dict(forces=("box",)), "'box', which is fixed.* body"),
        (dict(forces="body"), "expected a list of names"),
        (dict(forces=("body", "body")), "'body' twice"),
        (dict(forces=()), "nothing to act on"),
        (dict(max_force=-1.0), "max_force is -1.0; expected newtons above 0"),
        (dict(max_force=math.nan), "max_force is nan"),
        (dict(actuators=("elbow",)), "no actuator is named 'elbow'; the mechanism has none"),
        (dict(render_mode="human"), "render_mode is 'human'"),
        (dict(reward=1.0), "reward is 1.0; expected a function"),
        (dict(fps=0.0), "0.0 frames a second"),
        (dict(max_seconds=math.inf), "inf s"),
        (dict(width=4), "4x64 cannot be drawn"),
    ],
)
def test_bad_settings_are_refused_with_names(settings, words):
    with pytest.raises(SceneError, match=words):
        SceneEnv(**{"scene": two()} | settings)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ((1.0, 2.0), r"shape \[2\]; expected \[3\]: body: force x"),
        ((0.0, math.nan, 0.0), r"number 1 \(body: force y\) is nan; expected -"),
        ((0.0, 0.0, 1e6), r"number 2 \(body: force z\) is 1e\+06"),
        ("push", "the action is 'push'; expected 3 numbers"),
    ],
)
def test_bad_actions_are_refused_with_names_and_change_nothing(action, words):
    env = SceneEnv(two())
    env.reset(seed=0)
    with pytest.raises(SceneError, match=words):
        env.step(action)
    assert env.step(np.zeros(3))[4]["time_s"] == 1 / 50


def test_a_reward_that_is_no_number_and_options_are_refused():
    env = SceneEnv(two(), reward=lambda step: math.nan)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(3))
    env.reset(seed=0)
    with pytest.raises(SceneError, match="reward is nan; expected a finite number"):
        env.step(np.zeros(3))
    with pytest.raises(SceneError, match="options 'speed'; there are none"):
        env.reset(options={"speed": 1})


def test_an_actuator_without_a_range_is_named(tmp_path):
    path = tmp_path / "slider.xml"
    path.write_text(
        "<mujoco><worldbody><body name='b'><joint name='j' type='slide'/><geom size='.1'/></body></worldbody>"
        "<actuator><motor name='push' joint='j'/></actuator></mujoco>"
    )
    with pytest.raises(SceneError, match="'push' has no ctrlrange"):
        SceneEnv(path)


def test_a_scene_file_is_played(tmp_path):
    path = tmp_path / "two.json"
    path.write_text(dumps(two()))
    env = gymnasium.make("vdit/Scene-v0", scene=path)
    assert env.reset(seed=0)[0].shape == (13,)


def test_the_readmes_example_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text("utf-8")
    example = next(code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "vdit.gym" in code)
    exec(example, {})
    assert "joint" in capsys.readouterr().out


def test_registering_imports_no_scene():
    code = "import sys, vdit.gym; print([m for m in sys.modules if m.startswith(('vdit.world', 'mujoco', 'torch'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_step_costs_little_more_than_its_simulation():
    """In processor seconds, so that what else runs counts little; python -m vdit.bench gym has steps a second."""
    seconds, made = 4.0, two()
    env = SceneEnv(made, max_seconds=seconds, fps=FPS)
    env.reset(seed=0)

    def cpu(of):
        before = time.process_time()
        of()
        return time.process_time() - before

    def steps():
        env.reset(seed=0)
        for _ in range(round(seconds * FPS)):
            env.step(np.zeros(3))

    alone = min(cpu(lambda: simulate(made, (), seconds=seconds, fps=FPS)) for _ in range(3))
    assert min(cpu(steps) for _ in range(3)) < 1.5 * alone
