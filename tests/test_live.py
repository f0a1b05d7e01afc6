"""Live play: what a hand does, what is recorded and how it plays again, sizes that keep the rate."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import vdit
from live_play import FPS, HEIGHT, WIDTH, live, own_folders, room  # noqa: F401 (a fixture)
from test_simulation import SHAPES, body, made_of, scene
from vdit.machine.parse import Unreadable
from vdit.nodes.live_routes import offers
from vdit.pipeline.live import Play, Session, camera_path, dumps, loads, read_message
from vdit.pipeline.live.camera import around, led, start
from vdit.pipeline.live.events import Control, Drop, Keys, Look, Move, SetGravity, SetSlow, SetWind, Stroke, Take
from vdit.pipeline.live.pacing import SCALES, Budget
from vdit.pipeline.live.pictures import Easel
from vdit.pipeline.live.recorder import Recorder
from vdit.world.actions import Force, Grab, Gravity, SetMaterial, Throw
from vdit.world.ending import scene_after
from vdit.world.mjcf import read_mjcf
from vdit.world.scene import MATERIALS, SceneError
from vdit.world.scene_file import dumps as scene_text
from vdit.world.scene_file import dumps_actions, loads_actions
from vdit.world.simulate import simulate

ARM = Path(vdit.__path__[0]) / "workflows" / "inputs" / "vdit-robot-arm.xml"


class Stage:
    """A session with a clock of its own, whose frames are drawn at once."""

    def __init__(self, given=None, **play):
        self.session = Session(given or room(), Play(**{"fps": FPS, "width": WIDTH, "height": HEIGHT} | play))
        self.easel = Easel(self.session.scene)
        self.now, self.shots = 100.0, []
        self.run(0.0)

    def run(self, seconds):
        """Let time pass."""
        end = self.now + seconds
        while True:
            shot, wait = self.session.tick(self.now)
            if shot is not None:
                self.drawn = self.easel.draw(shot)
                self.session.looked = self.drawn.looked
                self.shots.append(shot)
            if self.now + wait > end + 1e-9:
                self.now = end
                return self
            self.now += max(wait, 1e-3)

    def do(self, *events):
        for event in events:
            self.session.put(event)
        return self

    def play(self, seconds, *events):
        return self.do(*events, Control("play")).run(seconds)

    def place(self, name):
        """Where a body is seen: the middle of its pixels."""
        looked = self.session.looked
        parts = [i for i, part in enumerate(looked.moment.parts) if part.body == name]
        rows, columns = np.nonzero(np.isin(looked.part, parts))
        return (columns.mean() + 0.5) / WIDTH, (rows.mean() + 0.5) / HEIGHT

    def at(self, name):
        """Where a body is in the world."""
        moment = self.session.moment
        return moment.poses[[part.name for part in moment.parts].index(name), :3, 3]


# Actions


def test_a_grabbed_point_is_where_the_hand_is_and_the_body_flies_when_it_is_let_go():
    grab = Grab(body="body", at=(0.0, 0.0, 0.0), hand=((0.0, 0.0, 0.0, 0.1), (1.0, 1.0, 0.0, 1.1)), start=0.0, end=1.0)
    motion = simulate(scene(body(SHAPES[0], (0.0, 0.0, 0.1))), (grab,), seconds=1.5, fps=100.0)
    assert np.abs(motion.poses[99, 0, :3, 3] - (1.0, 0.0, 1.1)).max() < 0.12, (
        "a spring of 20 rad/s follows a moving hand within 0.1 s"
    )
    speed = (motion.poses[105, 0, :3, 3] - motion.poses[101, 0, :3, 3]) / 0.04
    assert speed[0] == pytest.approx(1.0, abs=0.15)
    resting = replace(grab, at=(0.0, 0.0, 0.1), hand=((0.0, 0.0, 0.0, 0.8),), end=5.0)
    still = simulate(scene(body(SHAPES[1], (0.0, 0.0, 0.15))), (resting,), seconds=4.0, fps=10.0).poses[-1, 0]
    assert (still @ (0.0, 0.0, 0.1, 1.0))[2] == pytest.approx(0.8, abs=1e-3), "the hand carries the weight"


def test_two_bodies_of_different_mass_follow_the_hand_alike():
    ways = []
    for mass in (0.1, 10.0):
        hand = ((0.0, 0.0, 0.0, 1.0), (0.5, 0.5, 0.0, 1.0))
        grab = Grab(body="body", at=(0.0, 0.0, 0.0), hand=hand, start=0.0, end=1.0)
        given = scene(body(SHAPES[0], (0.0, 0.0, 1.0), mass=mass), ground=None)
        ways.append(simulate(given, (grab,), seconds=0.5, fps=20.0).poses[:, 0, 0, 3])
    assert np.allclose(*ways, atol=1e-6)


def test_a_link_of_a_robot_is_grabbed_and_shards_too():
    arm = read_mjcf(ARM)
    free = simulate(arm, (), seconds=0.5, fps=20.0)
    name = [part.body for part in free.parts if part.movable][-1]
    grab = Grab(body=name, at=(0.0, 0.0, 0.0), hand=((0.0, 0.3, 0.3, 0.6),), start=0.0, end=1.0)
    held = simulate(arm, (grab,), seconds=0.5, fps=20.0)
    part = [p.body for p in free.parts].index(name)
    goal = np.array((0.3, 0.3, 0.6))
    assert np.linalg.norm(held.poses[-1, part, :3, 3] - goal) < np.linalg.norm(free.poses[-1, part, :3, 3] - goal)
    glass = body(SHAPES[1], (0.0, 0.0, 1.0), name="cup", material=made_of(density=2400.0, toughness=1.0))
    lift = Grab(body="cup/1", at=(0.0, 0.0, 0.0), hand=((1.0, 0.0, 0.0, 0.8),), start=1.0, end=3.0)
    motion = simulate(scene(glass), (lift,), seconds=1.6, fps=10.0)
    shard = [p.name for p in motion.parts].index("cup/1")
    assert motion.poses[-1, shard, 2, 3] == pytest.approx(0.8, abs=0.02), "debris that rests is let go for a hand"


def test_grabs_of_nothing_are_refused():
    for name in ("nobody", "body/x", "other/2"):
        grab = Grab(body=name, at=(0.0, 0.0, 0.0), hand=((0.0, 0.0, 0.0, 1.0),), start=0.0, end=1.0)
        with pytest.raises(SceneError, match="no body is named"):
            simulate(scene(body(SHAPES[0], (0.0, 0.0, 0.1))), (grab,), seconds=0.1, fps=10.0)
    backwards = Grab(
        body="body", at=(0.0, 0.0, 0.0), hand=((1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0)), start=0.0, end=1.0
    )
    with pytest.raises(SceneError, match="expected rising times"):
        simulate(scene(body(SHAPES[0], (0.0, 0.0, 0.1))), (backwards,), seconds=0.1, fps=10.0)


def test_another_material_slides_and_weighs_otherwise_from_its_time_on():
    def slid(*more):
        box = body(SHAPES[1], (0.0, 0.0, 0.15), mass=2.0, velocity=(2.0, 0.0, 0.0), material=MATERIALS["rubber"])
        return simulate(scene(box, material=MATERIALS["ice"]), more, seconds=2.0, fps=10.0)

    ice = SetMaterial(body="body", material=MATERIALS["ice"], time=0.2)
    before, after = slid(), slid(ice)
    assert np.array_equal(before.poses[:3], after.poses[:3])
    assert after.poses[-1, 0, 0, 3] > before.poses[-1, 0, 0, 3] + 0.3
    made = after.ending.bodies[0]
    assert made.material is MATERIALS["ice"]
    assert made.mass == pytest.approx(2.0 * MATERIALS["ice"].density / MATERIALS["rubber"].density)


def test_both_actions_come_back_from_json_to_the_last_bit():
    given = (
        Grab(body="a", at=(1 / 3, 0.0, 0.0), hand=((0.1, 1 / 7, 0.0, 2.0), (0.2, 0.0, 0.0, 1.0)), start=0.1, end=0.3),
        SetMaterial(body="a", material=MATERIALS["ice"], time=0.5),
    )
    assert loads_actions(dumps_actions(given)) == given


# How a scene ends


def test_a_scene_goes_on_from_how_it_ended():
    throw = Throw(body="ball", velocity=(0.5, 0.0, 3.0))
    whole = simulate(room(), (throw,), seconds=1.0, fps=20.0)
    half = simulate(room(), (throw,), seconds=0.55, fps=20.0)
    rest = simulate(scene_after(half), (), seconds=0.5, fps=20.0)
    assert np.abs(rest.poses[:9, 0] - whole.poses[10:19, 0]).max() < 2e-3


def test_shards_are_bodies_of_the_scene_that_is_left():
    glass = body(SHAPES[1], (0.0, 0.0, 1.0), name="cup", material=made_of(density=2400.0, toughness=1.0))
    motion = simulate(scene(glass), (Gravity(gravity=(0.0, 0.0, -5.0)),), seconds=0.9, fps=10.0)
    left = scene_after(motion)
    assert left.gravity == (0.0, 0.0, -5.0)
    assert {b.name for b in left.bodies} == {p.name for p in motion.parts} - {"cup"} and len(left.bodies) > 3
    again = simulate(left, (), seconds=0.2, fps=10.0)
    assert again.poses[0, 0] == pytest.approx(motion.poses[-1, 1], abs=1e-9)


# Playing


def test_a_body_is_dragged_to_the_mouse_and_let_go():
    stage = Stage().play(0.2)
    x, y = stage.place("ball")
    stage.do(Take((x, y))).run(0.1)
    assert stage.session.state.holding == "ball"
    stage.do(Move((x + 0.2, y - 0.3))).run(0.6)
    seen = stage.place("ball")
    assert seen == pytest.approx((x + 0.2, y - 0.3), abs=0.06), "the ball hangs from the point that was taken"
    assert stage.at("ball")[2] > 0.4
    stage.do(Drop()).run(1.5)
    assert stage.session.state.holding is None and stage.at("ball")[2] == pytest.approx(0.1, abs=0.01)
    (grab,) = stage.session.recording.actions
    assert grab.body == "ball" and grab.hand[0][0] == grab.start < grab.end


def test_what_stands_is_led_over_the_ground_and_not_into_it():
    stage = Stage().play(0.2)
    x, y = stage.place("box")
    stage.do(Take((x, y)), Move((x, min(0.95, y + 0.3)))).run(1.0)
    assert stage.at("box")[1] < -0.2 and 0.1 < stage.at("box")[2] < 0.25


def test_a_stroke_pushes_the_body_under_its_beginning():
    stage = Stage().play(0.2)
    x, y = stage.place("ball")
    before = stage.at("ball").copy()
    stage.do(Stroke((x, y), (x + 0.1, y))).run(0.5)
    assert stage.at("ball")[0] > before[0] + 0.1
    assert abs(stage.at("can")[0] - 0.7) < 1e-3
    stage.do(Stroke((0.5, 0.02), (0.6, 0.02))).run(0.2)
    assert len(stage.session.recording.actions) == 1, "a stroke over nothing is none"


def test_a_click_shorter_than_a_frame_holds_for_one():
    stage = Stage().play(0.2)
    there = stage.place("can")
    stage.do(Take(there), Drop(), Take(there), Drop()).run(0.5)
    grabs = stage.session.recording.actions
    assert [round((g.end - g.start) * FPS) for g in grabs] == [1, 1]


def test_a_session_opens_paused_and_time_goes_frame_by_frame_when_it_is_told():
    stage = Stage().run(1.0)
    assert stage.session.frame == 0 and len(stage.shots) == 1
    stage.do(Control("step"), Control("step")).run(1.0)
    assert stage.session.frame == 2 and stage.session.paused
    stage.play(1.0)
    assert stage.session.frame == 18
    stage.do(Control("pause")).run(1.0)
    assert stage.session.frame in (18, 19)


def test_slow_motion_shows_the_way_between_frames():
    given = room()
    thrown = replace(given, bodies=(replace(given.bodies[0], velocity=(1.0, 0.0, 0.0)), *given.bodies[1:]))
    stage = Stage(thrown).do(SetSlow(0.25)).play(1.0)
    assert stage.session.frame == 4
    moving = np.array([shot.moment.poses[0, 0, 3] for shot in stage.shots[1:]])
    assert len(moving) >= 16 and (np.diff(moving) > 0).all()


def test_reset_begins_again_with_nothing_recorded():
    stage = Stage().play(0.3, SetGravity(1.0), Keys(("w",)))
    stage.do(Control("reset"), Keys(())).run(0.2)
    recording = stage.session.recording
    assert not recording.actions and stage.session.running.world.model.opt.gravity[2] == pytest.approx(-9.81)
    assert np.array_equal(stage.session.rig.relative, np.eye(4)) and stage.session.seconds < 0.3


def test_what_is_done_while_time_stands_still_counts_when_it_goes_on():
    stage = Stage()
    stage.do(Take(stage.place("ball")), SetWind((3.0, 0.0, 0.0))).run(0.2)
    assert stage.session.state.holding == "ball"
    stage.do(Drop(), SetWind((4.0, 0.0, 0.0)), SetWind((0.0, 0.0, 0.0))).play(0.3)
    assert stage.session.recording.actions == ()


def test_every_view_shows_something_of_its_own():
    stage = Stage().play(0.3, Stroke((0.2, 0.6), (0.4, 0.5)))
    kinds = {}
    for show in ("draft", "depth", "masks", "flow", "painted"):
        stage.do(Take(stage.place("box")), Move((0.3, 0.2)), Look(show)).run(0.2)
        kinds[show] = stage.drawn.pixels
        stage.do(Drop())
    assert kinds["depth"].shape == (HEIGHT, WIDTH) and kinds["depth"].std() > 5
    assert len(np.unique(kinds["masks"].reshape(-1, 3), axis=0)) == 4
    assert (kinds["flow"] < 250).any() and (kinds["flow"] > 250).any()
    assert kinds["painted"].shape == kinds["draft"].shape == (HEIGHT, WIDTH, 3)


def test_the_newest_message_that_a_frame_shows_is_known():
    stage = Stage().play(0.2)
    stage.session.put(*read_message('{"type": "set", "gravity": 2, "n": 7}'))
    stage.run(0.2)
    assert stage.shots[-1].seen == 7


def test_an_actuator_is_driven_and_its_recording_drives_it_again():
    arm = read_mjcf(ARM)
    stage = Stage(arm)
    name = next(iter(stage.session.running.world.actuators))
    text = json.dumps({"type": "set", "actuator": name, "value": 0.5})
    stage.play(0.4).do(read_message(text)[0]).run(0.6)
    replayed = simulated_again(stage)
    assert np.array_equal(replayed.poses[-1], stage.session.moment.poses)
    with pytest.raises(SceneError, match="no actuator is named"):
        stage.do(read_message('{"type": "set", "actuator": "none", "value": 1}')[0])


# Recordings


def simulated_again(stage):
    recording = loads(dumps(stage.session.recording))
    seconds = recording.frames / recording.fps
    return simulate(stage.session.scene, recording.actions, seconds=seconds, fps=recording.fps, seed=recording.seed)


def played(seconds, every, brittle):
    """A session of throws, pushes, wind, gravity, materials and flights, and the poses that were seen at each frame."""
    given, names = room(), ("ball", "box", "can", "vase")[: 4 if brittle else 3]
    vase = body(SHAPES[1], (0.3, 0.5, 0.15), name="vase", material=made_of(density=2400.0, toughness=0.5))
    stage = Stage(replace(given, bodies=(*given.bodies, vase)) if brittle else given)
    random, count = np.random.default_rng(5), 0
    stage.play(0.1)
    if brittle:
        x, y = stage.place("vase")
        stage.do(Take((x, y)), Move((x, y - 0.4))).run(0.7)
        stage.do(Drop()).run(0.7)
    while stage.session.seconds < seconds:
        kind = count % 6
        name = names[int(random.integers(len(names)))]
        looked = stage.session.looked
        shown = {looked.moment.parts[i].body for i in np.unique(looked.part) if i >= 0}
        there = stage.place(name) if name in shown else (0.5, 0.5)
        to = tuple(np.clip(np.array(there) + random.normal(0, 0.15, 2), 0.05, 0.95).tolist())
        if kind in (0, 3):
            stage.do(Take(there)).run(every)
            stage.do(Move(to)).run(every)
            stage.do(Drop())
            count += 2
        elif kind == 1:
            stage.do(Stroke(there, to))
        elif kind == 2:
            stage.do(SetWind((float(random.normal()), 0.0, 0.0) if random.random() < 0.6 else (0.0, 0.0, 0.0)))
        elif kind == 4:
            stage.do(SetGravity(float(random.uniform(4, 12))))
        else:
            stage.do(read_message(json.dumps({"type": "set", "material": [names[count % 3], "rubber"]}))[0])
        stage.do(Keys(((), ("right",), (), ("left",))[count // 2 % 4]))
        count += 2
        stage.run(every)
    return stage, count


REPLAY = """
import sys, numpy as np
from vdit.pipeline.live import loads
from vdit.world.scene_file import loads as scene_of
from vdit.world.simulate import simulate
scene, recording = scene_of(open(sys.argv[1]).read()), loads(open(sys.argv[2]).read())
motion = simulate(scene, recording.actions, seconds=recording.frames / recording.fps, fps=recording.fps)
np.save(sys.argv[3], motion.poses[-1])
"""


@pytest.mark.parametrize(
    ("seconds", "every", "brittle", "least"),
    [(1.6, 0.0625, False, 15), pytest.param(60.0, 0.4, True, 200, marks=pytest.mark.slow)],
)
def test_a_recording_plays_again_to_the_same_bits_in_another_process(tmp_path, seconds, every, brittle, least):
    stage, count = played(seconds, every, brittle)
    assert count >= least
    assert not brittle or any(part.name.startswith("vase/") for part in stage.session.moment.parts)
    (tmp_path / "scene.json").write_text(scene_text(stage.session.scene))
    (tmp_path / "take.json").write_text(dumps(stage.session.recording))
    files = [str(tmp_path / name) for name in ("scene.json", "take.json", "poses.npy")]
    subprocess.run([sys.executable, "-c", REPLAY, *files], check=True, timeout=300)
    assert np.array_equal(np.load(files[2]), stage.session.moment.poses)


def test_the_camera_flies_the_same_way_again_also_where_it_moved_while_time_stood_still():
    stage = Stage().play(0.5, Keys(("w", "right")))
    stage.do(Keys(("a", "up", "+"))).run(0.5)
    stage.do(Control("pause")).run(0.4)
    stage.do(Keys(())).run(0.2)
    stage.play(0.5)
    relative, zoom = camera_path(stage.session.scene, loads(dumps(stage.session.recording)))
    assert len(relative) == stage.session.frame + 1
    assert np.array_equal(relative[0], np.eye(4)) and zoom[0] == 1.0
    assert np.array_equal(relative[-1], stage.session.rig.relative) and zoom[-1] == stage.session.rig.zoom > 1
    shown = {round(s.seconds * FPS): s.rig.relative for s in stage.shots}
    assert np.array_equal(relative[5], shown[5])


def test_arrows_turn_around_the_bodies_and_stop_before_the_camera_turns_over():
    given = room()
    about, rig = around(given), start()
    turned = led(rig, ("right",), 1.0, about)
    middle = np.array((0.0, 0.0, about.depth))
    assert np.linalg.norm(turned.relative[:3, 3] - middle) == pytest.approx(about.depth)
    assert (turned.relative[:3, :3].T @ (middle - turned.relative[:3, 3]))[:2] == pytest.approx((0, 0), abs=1e-9)
    world = np.asarray(given.view.c2w) @ turned.relative
    assert world[0, 3] > 1, "to the right is to the right"
    for _ in range(200):
        rig = led(rig, ("up",), 0.1, about)
    world = np.asarray(given.view.c2w) @ rig.relative
    assert world[2, 3] > 1.2 and 0.9 < -world[2, 2] < 0.99
    assert led(rig, ("left", "right", "w", "s"), 1.0, about).relative == pytest.approx(rig.relative)


def test_a_recording_ends_after_two_minutes_and_nothing_grows_after_it():
    recorder = Recorder(2.0, 0)
    recorder.grab("ball", np.zeros(3), np.zeros(3), 1.0)
    for frame in range(2, 300):
        recorder.move(np.array((0.01 * frame, 0.0, 0.0)), (frame + 1) / 2)
        (held,) = recorder.acting(frame / 2)
        assert isinstance(held, Grab) and len(held.hand) == 2
    recorder.drop(150.0)
    recorder.gravity((0.0, 0.0, -3.0), 150.0)
    recorder.camera(("w",), None, 150.0)
    assert len(recorder.acting(150.0)) == 2 and len(recorder.acting(150.5)) == 0
    recording = recorder.recording(151.0)
    assert recording.seconds == 120.0
    assert [type(a).__name__ for a in recording.actions] == ["Grab"] and recording.camera == ()
    assert recording.actions[0].hand[-1][0] <= 120.0 and len(recording.actions[0].hand) == 239


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ('{"fps": 16}', "seconds"),
        ('{"fps": 16, "seconds": 1e9, "seed": 0, "actions": []}', "expected seconds from 0 to 120"),
        ('{"fps": 16, "seconds": 1, "seed": 0, "actions": [{"type": "grap"}]}', "did you mean 'grab'"),
        ('{"fps": 16, "seconds": 1, "seed": 0, "actions": [], "more": 1}', "no field is named 'more'"),
        (
            '{"fps": 16, "seconds": 1, "seed": 0, "actions": [], "camera": [{"time": 0, "held": ["x"]}]}',
            'found "x"; known: w, a',
        ),
        ('{"fps": 16, "seconds": 1, "seed": 0, "actions": [], "camera": [{"time": 0, "held": [], "pose": [1]}]}', "12"),
    ],
)
def test_a_recording_that_is_none_is_refused_with_what_to_do(text, says):
    with pytest.raises(SceneError, match=r"recorded") as found:
        loads(text)
    assert says in str(found.value)


# Pace


def test_size_gives_way_before_rate_and_comes_back():
    budget = Budget(1 / 16, 416, 240)
    sizes = [budget.size]
    for _ in range(60):
        pixels = budget.size[0] * budget.size[1]
        budget.took(0.2 * pixels / (416 * 240))
        sizes.append(budget.size)
    assert budget.size == (208, 120) and budget.scale == 0.5 and sizes[0] == (416, 240)
    for _ in range(200):
        pixels = budget.size[0] * budget.size[1]
        budget.took(0.02 * pixels / (416 * 240))
    assert budget.scale == 1.0
    for _ in range(100):
        budget.took(1.0)
    assert budget.scale == SCALES[-1]
    tiny = Budget(1 / 16, 80, 64)
    for _ in range(100):
        tiny.took(1.0)
    assert tiny.size == (80, 64), "a small frame stays as it is"


def test_one_slow_frame_changes_nothing():
    budget = Budget(1 / 16, 416, 240)
    for _ in range(20):
        budget.took(0.02)
    budget.took(0.09)
    budget.took(0.02)
    assert budget.scale == 1.0


def test_time_that_is_lost_is_not_caught_up_with():
    stage = Stage().play(0.5)
    frames = stage.session.frame
    stage.now += 5.0
    stage.run(0.25)
    assert stage.session.frame - frames <= 6


def test_a_session_stands_still_while_a_prompt_runs():
    busy = [False]
    stage = Stage()
    stage.session.busy = lambda: busy[0]
    stage.play(0.3)
    busy[0] = True
    frames = stage.session.frame
    stage.run(1.0)
    assert stage.session.state.yielding and stage.session.frame == frames
    busy[0] = False
    stage.run(0.5)
    assert stage.session.frame > frames and not stage.session.state.yielding


# Messages


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "must be an object"),
        ('{"type": "jump"}', "expected one of grab"),
        ('{"type": "grab", "x": 1}', "y must be a number"),
        ('{"type": "grab", "x": 9, "y": 0}', "expected 2 numbers"),
        ('{"type": "push", "from": [0], "to": [1, 1]}', "from"),
        ('{"type": "set"}', "nothing is set"),
        ('{"type": "set", "slow": 0}', "slow"),
        ('{"type": "set", "material": ["cup", "gold"]}', "material"),
        ('{"type": "view", "show": "x-ray"}', "expected one of draft"),
        ('{"type": "drop", "n": -1}', "n is -1"),
        ('{"type": "keys", "held": "w"}', "held must be a list"),
    ],
)
def test_messages_that_are_none_are_refused(text, says):
    with pytest.raises(Unreadable) as found:
        read_message(text)
    assert says in str(found.value)


def test_messages_say_what_was_done():
    assert read_message('{"type": "grab", "x": 0.25, "y": 1, "n": 3}') == (Take((0.25, 1.0)), 3)
    assert read_message('{"type": "keys", "held": ["d", "w", "F5"]}') == (Keys(("w", "d")), 0)
    assert read_message('{"type": "push", "from": [0, 0], "to": [1, 1]}')[0] == Stroke((0.0, 0.0), (1.0, 1.0))


# The node


def test_without_a_recording_the_node_offers_its_scene_and_gives_the_first_frame(own_folders):  # noqa: F811
    output = live(height=0)
    actions, camera, images, after, seconds, fps = output.args
    assert actions == () and camera is None and images.shape == (1, 128, WIDTH, 3) and (seconds, fps) == (3.0, FPS)
    ((shown,),) = [output.ui["vdit_live"]]
    assert offers.get(shown["session"]).scene is after


def test_a_recording_comes_out_as_what_was_seen(own_folders):  # noqa: F811
    stage = Stage().play(0.2)
    x, y = stage.place("ball")
    stage.do(Take((x, y)), Move((x + 0.1, y - 0.2)), Keys(("d",))).run(0.5)
    seen = {round(stage.drawn.shot.seconds * FPS): stage.drawn.pixels}
    stage.do(Drop()).run(0.3)
    text = dumps(stage.session.recording)
    actions, camera, images, after, seconds, fps = live(recorded=text).args
    assert actions == stage.session.recording.actions and (seconds, fps) == (stage.session.seconds, FPS)
    assert camera.frames == len(images) == stage.session.frame + 1
    for number, pixels in seen.items():
        error = images[number].numpy() - pixels / 255
        assert 10 * math.log10(1 / (error**2).mean()) > 40
    ball = after.body("ball")
    assert ball.position == pytest.approx(tuple(stage.at("ball")), abs=1e-9)


def test_a_recording_of_another_scene_is_refused(own_folders):  # noqa: F811
    stage = Stage().play(0.2)
    stage.do(Take(stage.place("ball"))).run(0.2)
    with pytest.raises(SceneError, match="of another scene"):
        live(scene=scene(body(SHAPES[0], (0.0, 0.0, 0.1))), recorded=dumps(stage.session.recording))


def test_play_has_bounds():
    for play in (Play(fps=0.5), Play(fps=math.nan), Play(width=8), Play(height=5000)):
        with pytest.raises(SceneError, match="expected"):
            Session(room(), play)


def test_a_force_known_from_elsewhere_still_acts_beside_what_was_recorded():
    stage = Stage().play(0.5, SetGravity(5.0))
    push = Force(body="can", force=(5.0, 0.0, 0.0), start=0.1, end=0.3)
    recording = stage.session.recording
    motion = simulate(room(), (*recording.actions, push), seconds=0.5, fps=FPS)
    assert motion.poses[-1, 2, 0, 3] > 0.7
