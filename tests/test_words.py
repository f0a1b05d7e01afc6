"""Words over a scene become actions: who, what, where to, how hard and when; what is not understood is said."""

import numpy as np
import pytest
from vdit.geometry.camera_numpy import look_at, project
from vdit.world.actions import Break, Drag, Push, Release, Spin, Throw, Wind
from vdit.world.extent import center_of_mass, size
from vdit.world.meshes import body_mass
from vdit.world.scene import MATERIALS, Body, Scene, SceneError, Shape, View
from vdit.world.simulate import simulate
from vdit.world.words import actions_from_words

VIEW = View(look_at(np.array([0.0, -0.8, 0.5]), np.array([0.0, 0.0, 0.05])), 40.0)
CUP = Body(name="cup", shapes=(Shape(kind="cylinder", size=(0.04, 0.05)),), position=(0.0, 0.0, 0.05))
RED = Body(name="red ball 1", shapes=(Shape(kind="sphere", size=(0.03,)),), position=(-0.2, 0.0, 0.03))
BLUE = Body(name="blue_ball", shapes=(Shape(kind="sphere", size=(0.03,)),), position=(-0.3, 0.0, 0.33))
BOTTLE = Body(
    name="bottle",
    shapes=(Shape(kind="cylinder", size=(0.03, 0.12)),),
    position=(0.2, 0.1, 0.12),
    material=MATERIALS["glass"],
)
WALL = Body(name="wall", shapes=(Shape(kind="box", size=(1.0, 0.05, 1.0)),), position=(0.0, 1.0, 1.0), fixed=True)
SCENE = Scene(bodies=(CUP, RED, BLUE, BOTTLE, WALL), view=VIEW)
ALONE = Scene(bodies=(CUP,), view=VIEW)


def understood(text, scene=SCENE, *said):
    """The actions of a text, on which these remarks are made, by their beginnings."""
    actions, remarks = actions_from_words(text, scene)
    assert len(remarks) == len(said) and all(r.startswith(s) for r, s in zip(remarks, said, strict=True)), remarks
    return actions


def of_kind(actions, kind):
    return [action for action in actions if isinstance(action, kind)]


def one(text, kind, scene=SCENE, *said):
    (action,) = of_kind(understood(text, scene, *said), kind)
    return action


@pytest.mark.parametrize(
    "word, toward",
    [
        ("to the left", (-1, 0, 0)),
        ("right", (1, 0, 0)),
        ("from the left", (1, 0, 0)),
        ("away", (0, 1, 0)),
        ("towards us", (0, -1, 0)),
        ("upwards", (0, 0, 1)),
    ],
)
def test_directions_are_the_picture_s(word, toward):
    push = one(f"the cup is pushed {word}", Push)
    assert push.body == "cup" and np.allclose(np.asarray(push.impulse) / np.linalg.norm(push.impulse), toward)


def test_directions_turn_with_the_camera():
    behind = Scene(bodies=(CUP,), view=View(look_at(np.array([0.0, 0.8, 0.5]), np.zeros(3)), 40.0))
    assert one("the cup is pushed left", Push, behind).impulse[0] > 0


def test_towards_is_along_the_ground_even_from_straight_above():
    above = View(np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2], [0, 0, 0, 1]]), 40.0)
    impulse = one("the cup is pushed towards us", Push, Scene(bodies=(CUP,), view=above)).impulse
    assert np.allclose(np.asarray(impulse) / np.linalg.norm(impulse), (0, -1, 0))


def test_a_push_is_as_strong_as_the_body_is_heavy_and_as_it_is_said():
    gently, plain, hard = (np.linalg.norm(one(f"the cup is pushed {w}", Push).impulse) for w in ("gently", "", "hard"))
    assert gently < plain < hard and hard == pytest.approx(1.6 / 0.6 * gently)
    way = (plain / body_mass(CUP)) ** 2 / (2 * 0.5 * 9.81)  # where friction .5 stops it
    assert way == pytest.approx(size(CUP))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_what_stands_falls_by_toppling_just_beyond_its_tipping_point(scale):
    half = (0.03 * scale, 0.03 * scale, 0.1 * scale)
    box = Body(name="box", shapes=(Shape(kind="box", size=half),), position=(0.0, 0.0, half[2]))
    actions = understood("the box falls to the left", Scene(bodies=(box,), view=VIEW))
    (throw,), (spin,) = of_kind(actions, Throw), of_kind(actions, Spin)
    arm = np.array([half[0], 0.0, half[2]])  # from the left edge to the centre
    assert np.allclose(np.cross(spin.spin, arm), throw.velocity), "the edge stays where it is"
    inertia = (half[0] ** 2 + half[2] ** 2) / 3 + arm @ arm
    needed = 9.81 * (np.linalg.norm(arm) - half[2])
    assert needed < inertia * (spin.spin[1] ** 2) / 2 < 2.2 * needed and spin.spin[1] < 0


def test_what_floats_falls_by_itself_and_is_held_until_then():
    assert understood("the blue ball falls") == ()
    drag = one("the blue ball drops after 2 seconds", Drag)
    assert drag.path == ((0, 0, 0),) and drag.relative and (drag.start, drag.end) == (0.0, 2.0)


def test_what_is_lifted_stays_in_the_picture_and_is_whole_until_it_is_dropped():
    """The origin of this body's axes is not its centre of mass, and its picture ends not far above it."""
    shape = Shape(kind="box", size=(0.1, 0.1, 0.1), position=(0.0, 0.0, 0.06))
    crate = Body(name="crate", shapes=(shape,), position=(0.0, 0.0, 0.04), material=MATERIALS["glass"])
    view = View(look_at(np.array([0.0, -1.5, 0.3]), np.array([0.0, 0.0, 0.2])), 25.0)
    scene = Scene(bodies=(crate,), view=view)
    actions = understood("the crate is pushed, after 1 second it is lifted", scene)
    motion = simulate(scene, actions, seconds=2.5, fps=25)
    lifted = motion.poses[:, 0, 2, 3] - 0.04
    assert 0.05 < lifted.max() and not any(e.time < 1.6 and e.kind == "break" for e in motion.events)
    top = project(motion.poses[:, 0, :3, 3] + (0, 0, 0.16), view.c2w, view.fov_deg, 832, 480)[1]
    assert -2 < top.min() < 40
    across = motion.poses[24:38, 0, 0, 3]
    assert np.ptp(across) < 0.02 < across[0], "it is lifted where the push has taken it"


def test_what_is_fixed_is_let_go_and_cannot_be_pushed():
    assert one("after one second the wall falls", Release).time == 1.0
    actions, (remark,) = actions_from_words("the wall is pushed", SCENE)
    assert actions == () and "fixed" in remark


def test_what_falls_and_breaks_breaks_where_it_hits():
    lowered = one("the cup falls to the left and breaks", Break)
    assert lowered.toughness is not None and 0 < lowered.toughness < 9.81 * size(CUP)
    assert one("the bottle shatters when it hits the ground", Break).toughness is not None
    assert one("after 1.5 seconds the cup breaks", Break) == Break(body="cup", time=1.5)
    assert one("Push the cup to the left and break it.", Break).toughness is not None


def test_then_comes_later_and_sentences_are_simultaneous():
    actions = understood("The cup is pushed right and then the bottle is pushed left. The red ball is pushed away.")
    assert [(a.body, a.time) for a in actions] == [("cup", 0.0), ("bottle", 1.0), ("red ball 1", 0.0)]
    assert [a.time for a in understood("The cup jumps, and half a second later it jumps")] == [0.0, 0.5]
    assert one("The cup is pushed left after 2 s", Push).time == 2.0
    assert [a.time for a in understood("After a second the cup jumps and the bottle jumps")] == [1.0, 1.0]


def test_a_direction_behind_then_repeats_the_verb():
    pushes = understood("the cup is pushed left, then right and then to the left")
    assert [(a.time, float(np.sign(a.impulse[0]))) for a in pushes] == [(0.0, -1.0), (1.0, 1.0), (2.0, -1.0)]


def test_one_thing_is_sent_at_another():
    throw = one("the red ball rolls into the bottle", Throw)
    way = center_of_mass(BOTTLE) - center_of_mass(RED)
    assert throw.velocity[0] * way[1] == pytest.approx(throw.velocity[1] * way[0]) and np.dot(throw.velocity, way) > 0
    away = one("the cup slides away from the bottle", Throw).velocity
    assert np.dot(away, way) < 0


@pytest.mark.parametrize("does", ["stays still", "does not move"])
def test_what_is_said_to_stay_does_not_do_what_its_neighbour_does(does):
    actions, _ = actions_from_words(f"the red ball {does} while the cup topples", SCENE)
    assert {a.body for a in actions} == {"cup"}


@pytest.mark.parametrize("text", ["the red ball melts and the cup jumps", "the red ball quickly melts, the cup jumps"])
def test_what_an_unknown_verb_is_said_of_does_not_do_what_its_neighbour_does(text):
    actions, remarks = actions_from_words(text, SCENE)
    assert {a.body for a in actions} == {"cup"} and any(r.startswith("nothing is said to happen") for r in remarks)


@pytest.mark.parametrize("way", ["rolls around", "flies past", "jumps over"])
def test_what_is_passed_is_not_hit(way):
    actions, remarks = actions_from_words(f"the red ball {way} the bottle", SCENE)
    assert {a.body for a in actions} == {"red ball 1"}
    assert any(r.startswith("“bottle” after “") for r in remarks)


def test_what_stands_near_another_moves_alone():
    actions, _ = actions_from_words("the red ball near the bottle is pushed left", SCENE)
    assert [a.body for a in actions] == ["red ball 1"]


@pytest.mark.parametrize("text", ["the red ball hits the bottle", "the bottle is hit by the red ball"])
def test_what_is_too_light_to_move_another_gets_a_stronger_blow_and_that_is_said(text):
    actions, (remark,) = actions_from_words(text, SCENE)
    (throw,), (push,) = of_kind(actions, Throw), of_kind(actions, Push)
    assert (throw.body, push.body) == ("red ball 1", "bottle") and "light" in remark
    way = np.linalg.norm(center_of_mass(BOTTLE)[:2] - center_of_mass(RED)[:2]) - 0.03 - 0.03
    assert push.time == pytest.approx(way / np.linalg.norm(throw.velocity), rel=1e-3), "when the ball arrives"


def test_one_thing_knocks_over_or_breaks_another_when_it_arrives():
    over = understood("the red ball knocks over the bottle", SCENE, "“bottle” topples when “red ball 1” arrives")
    toppled = [a for a in over if a.body == "bottle"]
    assert {type(a) for a in toppled} == {Throw, Spin} and toppled[0].time > 0
    broken = one("the red ball breaks the bottle", Break, SCENE, "“bottle” breaks when “red ball 1” arrives")
    assert broken.time == pytest.approx(toppled[0].time)


def test_what_is_thrown_at_a_thing_meets_it():
    throw = one("the blue ball is thrown at the cup", Throw)
    start, goal = center_of_mass(BLUE), center_of_mass(CUP)
    seconds = (goal[0] - start[0]) / throw.velocity[0]
    assert start[2] + throw.velocity[2] * seconds - 9.81 * seconds**2 / 2 == pytest.approx(goal[2])


def test_what_rolls_turns_as_its_radius_asks():
    actions = understood("the red ball rolls to the right")
    (throw,), (spin,) = of_kind(actions, Throw), of_kind(actions, Spin)
    assert np.allclose(np.cross(spin.spin, (0, 0, 0.03)), throw.velocity)


def test_names_in_the_plural_by_their_end_and_everything():
    assert {a.body for a in understood("the balls are pushed")} == {"red ball 1", "blue_ball"}
    assert {a.body for a in understood("everything is pushed left")} == {"cup", "red ball 1", "blue_ball", "bottle"}
    assert {a.body for a in understood("all the balls and the cup are pushed")} == {"red ball 1", "blue_ball", "cup"}
    actions, (remark,) = actions_from_words("the ball is pushed", SCENE)
    assert actions == () and "red ball 1" in remark and "blue_ball" in remark


def test_a_single_body_needs_no_name():
    assert one("push to the left", Push, ALONE).body == "cup"
    assert one("it spins clockwise", Spin, ALONE).spin[2] < 0 < one("it spins", Spin, ALONE).spin[2]


def test_wind_blows_over_everything():
    wind = one("the wind blows hard from the left for two seconds", Wind, SCENE, "a wind of 27.9 m/s blows")
    pressure = 1.2 / 2 * wind.velocity[0] ** 2 * size(RED) ** 2
    assert pressure > 0.5 * body_mass(RED) * 9.81, "it moves the lightest of them"
    assert (wind.start, wind.end) == (0.0, 2.0)


@pytest.mark.parametrize(
    "text, says",
    [
        ("the cup fals", "nearest known: fall"),
        ("the cupp falls", "nearest known: cup"),
        ("the teapot falls", "“teapot” is not known"),
        ("the cup falls sideways", "“sideways” is not known"),
        ("the cup, the bottle", "nothing is said to happen to “cup”, “bottle”"),
        ("falls", "“fall” is said of nothing"),
        ("the red ball hits", "nothing is said that “red ball 1” hits"),
        ("the cup slides in front of the bottle", "“bottle” after “front” is not understood"),
        ("the red ball topples", "is round"),
        ("of the", "say nothing that happens"),
    ],
)
def test_what_is_not_understood_is_said(text, says):
    assert any(says in remark for remark in actions_from_words(text, SCENE)[1])


def test_an_unknown_thing_does_not_hand_its_verb_to_another():
    assert actions_from_words("the teapot falls", ALONE)[0] == ()
    assert actions_from_words("the teapot falls and the cup jumps", SCENE)[0][0].body == "cup"


@pytest.mark.parametrize(
    "text",
    [
        "the cup does not fall",
        "don’t push the cup",
        "the cup never moves or breaks",
        "the cup isn't pushed and does not fall",
        "nothing falls",
        "nothing happens",
        "without breaking the cup",
    ],
)
def test_what_is_said_not_to_happen_is_not_done_and_said(text):
    actions, remarks = actions_from_words(text, ALONE)
    assert actions == () and remarks


@pytest.mark.parametrize(
    "text, same",
    [
        ("the cup slides but does not break", "the cup slides"),
        ("the cup slides without breaking", "the cup slides"),
        ("the cup does not fall but slides", "the cup slides"),
        ("the cup slides but the bottle does not", "the cup slides"),
        ("the bottle doesn't move. The cup slides", "the cup slides"),
        ("the bottle doesn't move and the cup slides", "the cup slides"),
    ],
)
def test_a_negation_reaches_to_the_end_of_its_clause(text, same):
    assert actions_from_words(text, SCENE)[0] == actions_from_words(same, SCENE)[0]


def test_words_beyond_measure_are_refused():
    with pytest.raises(SceneError, match="2,001 characters"):
        actions_from_words("a" * 2001, SCENE)
    with pytest.raises(SceneError, match="99999"):
        actions_from_words("the cup falls after 99999 seconds", SCENE)
    assert actions_from_words("", SCENE) == ((), ())


@pytest.mark.parametrize("said, seconds", [(".5", 0.5), ("0,5", 0.5), ("1.25", 1.25), ("half a", 0.5), ("2-", 2.0)])
def test_numbers_are_read_as_they_are_written(said, seconds):
    assert one(f"after {said} seconds the cup is pushed", Push).time == seconds


@pytest.mark.parametrize("sign", ["-", "−"])
def test_a_time_before_the_beginning_is_refused(sign):
    with pytest.raises(SceneError, match="-2 seconds; expected 0"):
        actions_from_words(f"after {sign}2 seconds the cup falls", SCENE)


def test_another_language_gets_one_remark():
    understood(
        "der Becher zerbricht links", SCENE, "“der”, “becher”, “zerbricht”, “links” are not known; write plain E"
    )
    understood("after ² seconds the cup falls", SCENE, "the word “²” is not", "the word “seconds” is not")
