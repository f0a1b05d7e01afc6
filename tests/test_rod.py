"""A rod that a body swings on is found in pictures, tells how it swings, and moves with it."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from vdit.geometry.camera_numpy import focal_length
from vdit.lift import seen
from vdit.lift.pendulum import hung, swing_of
from vdit.lift.rod import Rod, rod_of
from vdit.world.meshes import rotation_matrix
from vdit.world.scene import Body, Colored, Joint, Material, Plane, Scene, Shape, View
from vdit.world.simulate import simulate

KNOWN, FPS = 5, 8.0
END, LENGTH = np.array([70.0, 20.0]), 50.0  # pixels of pictures of 128 rows
ANGLES = (0.5, 0.58, 0.62, 0.63, 0.61)  # of the line to the vertical, the last picture first


def pictures(scale=1.0, line=True, turns=True, noise=0.01):
    """Five pictures, the last one last, of a disc on a line over a grey wall with an edge; its mask and its ways."""
    rng = np.random.default_rng(0)
    side = round(128 * scale)
    places = [END + LENGTH * np.array([math.sin(a), math.cos(a)]) for a in ANGLES]
    out = []
    for place in places:
        image = np.full((side, side, 3), 150, np.uint8)
        image[round(90 * scale) :] = (90, 110, 90)
        fixed = lambda x: tuple(int(round(16 * scale * v - 8)) for v in x)  # noqa: E731
        if line:
            first = place if turns else places[0]
            cv2.line(image, fixed(END), fixed(first), (160, 30, 40), max(1, round(1.5 * scale)), cv2.LINE_AA, 4)
        cv2.circle(image, fixed(place), round(16 * 7 * scale), (40, 60, 160), -1, cv2.LINE_AA, 4)
        out.append(np.clip(image + rng.normal(0, 255 * noise, image.shape), 0, 255).astype(np.uint8))
    rows, columns = np.mgrid[0:side, 0:side] + 0.5
    mask = (np.hypot(columns - scale * places[0][0], rows - scale * places[0][1]) < 7 * scale).astype(np.float32)
    came = np.stack([places[0] - place for place in places[1:]]) / 128
    return np.stack(out[::-1]), mask, came


@pytest.mark.parametrize("scale", [1.0, 0.75, 3.0])
def test_the_end_and_the_angles_of_a_rod_are_seen(scale):
    shown, mask, came = pictures(scale)
    aside = np.array([[0.6, -0.5], [-0.4, 0.5], [0.5, 0.6], [-0.6, -0.4]]) / 128  # flow and masks err by so much
    rod = rod_of(shown, mask, came + aside)
    assert rod is not None and np.abs(rod.end / scale - END).max() < 0.6
    ways = (rod.bodies - rod.end) / scale
    assert np.abs(np.arctan2(ways[:, 0], ways[:, 1]) - ANGLES).max() < 0.01
    assert 0.5 < rod.width / scale < 3 and 5 < rod.begin / scale < 10
    assert np.abs(rod.color - (160, 30, 40)).max() < 40
    line = rod.mask(*mask.shape)
    x, y = (scale * (END + 0.3 * LENGTH * np.array([math.sin(ANGLES[0]), math.cos(ANGLES[0])]))).astype(int)
    assert line[y, x] and line.mean() < 0.03


def test_a_mask_may_show_the_line_too():
    shown, mask, came = pictures()
    rod = rod_of(shown, mask, came)
    again = rod_of(shown, np.maximum(mask, rod.mask(*mask.shape)), came)
    assert again is not None and np.abs(again.end - rod.end).max() < 1
    assert again.begin == pytest.approx(rod.begin, abs=1.5)


@pytest.mark.parametrize("changes", [{"line": False}, {"turns": False}])
def test_what_does_not_turn_with_the_body_is_no_rod(changes):
    assert rod_of(*pictures(**changes)) is None


def test_without_a_way_there_is_no_rod():
    shown, mask, came = pictures()
    assert rod_of(shown, mask, 0.1 * came) is None
    assert rod_of(shown, mask, np.full_like(came, np.nan)) is None
    assert rod_of(shown, 0 * mask, came) is None


def test_what_a_mask_shows_of_a_rod_is_the_rod():
    """Masks are perceived coarsely: along the rod they come and go, and hold what lies beside it."""
    rod = Rod(end=END, bodies=np.array([[70.0, 70.0]] * KNOWN), begin=8.0, width=2.0, color=np.array([160.0, 30, 40]))
    image = np.zeros((128, 128, 4), np.uint8)
    image[60:80, 58:82] = 40, 60, 160, 255
    image[40:50, 68:71] = image[52:60, 69:73] = 150, 150, 150, 220
    made = seen._with_rod(image, rod, np.full((128, 128), 0.5))
    shown = made[22:58, 60:80]
    assert (shown[..., 3] > 0).sum(1).max() <= 4 and (shown[:, 10, 3] == 255).all(), "one line, and nothing beside it"
    assert np.array_equal(np.unique(shown[shown[..., 3] > 0][:, :3], axis=0), [[255, 60, 80]]), "in a white light"
    assert np.array_equal(made[62:80, 58:82], image[62:80, 58:82])


def pendulum(distance=1.0, length=1.8, angle=0.6, spin=-0.5):
    """A ball on a hinge, all at this share of its true distance from the camera; spin about +y in radians a second."""
    eye, axis = np.array([0.0, -5.0, 1.6]), (0.0, 1.0, 0.0)
    anchor = np.array([0.1, 0.3, 2.6])
    center = anchor + length * np.array([-math.sin(angle), 0.0, -math.cos(angle)])
    moved = lambda x: tuple(float(v) for v in eye + distance * (x - eye))  # noqa: E731
    ball = Body(
        name="ball",
        shapes=(Shape(kind="sphere", size=(0.2 * distance,)),),
        position=moved(center),
        rotation=(1.0, 0.0, 0.0, 0.0),
        material=Material("wood", 700.0, 0.5, 0.4),
        appearance=Colored((0.5, 0.5, 0.5)),
        joint=Joint(kind="hinge", anchor=moved(anchor), axis=axis),
        velocity=tuple(np.cross((0.0, spin, 0.0), distance * (center - anchor))),
        spin=(0.0, spin, 0.0),
    )
    c2w = np.eye(4)
    c2w[:3, :3] = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    c2w[:3, 3] = eye
    return Scene(bodies=(ball,), view=View(c2w, 40.0), width=128, height=128, ground=Plane())


def seen_at(scene, points):
    """Pixels [N, 2] of world points [N, 3]."""
    local = (np.asarray(points) - scene.view.c2w[:3, 3]) @ scene.view.c2w[:3, :3]
    return local[:, :2] / local[:, 2:] * float(focal_length(scene.view.fov_deg, 128)) + 64


def watched():
    """The rod that pictures of the true pendulum show, and where its ball is seen from the last of them on."""
    true = pendulum()
    motion = simulate(true, seconds=36 / FPS, fps=FPS)
    ways = seen_at(true, motion.poses[:, 0, :3, 3])
    end = seen_at(true, [true.bodies[0].joint.anchor])[0]
    rod = Rod(end=end, bodies=ways[KNOWN - 1 :: -1], begin=6.0, width=1.0, color=np.array([90.0, 60.0, 30.0]))
    return rod, ways[KNOWN - 1 :]


@pytest.mark.parametrize("distance", [0.88, 1.0, 1.15])
def test_a_swing_tells_how_far_away_it_is_and_goes_on(distance):
    """What is perceived may be nearer or farther than the truth, and moves at another speed."""
    rod, ways = watched()
    angle = float(math.atan2(*(rod.bodies[0] - rod.end)))
    scene = hung(pendulum(distance, angle=-angle, spin=0.7), {0: rod}, FPS)
    body = scene.bodies[0]
    depth = 0.3 + 5.0
    assert body.position[1] + 5.0 == pytest.approx(depth, rel=0.03)
    motion = simulate(scene, seconds=len(ways) / FPS, fps=FPS)
    off = np.linalg.norm(seen_at(scene, motion.poses[: len(ways), 0, :3, 3]) - ways, axis=1)
    assert off.max() < 2.5, off  # pixels; it swings 70 pixels far
    assert body.shapes[-1].kind == "capsule"
    axis = rotation_matrix(body.shapes[-1].rotation)[:, 2] * body.shapes[-1].size[1]
    tip = np.array(body.position) + body.shapes[-1].position + axis  # in the axes of a body that is not turned
    assert np.allclose(tip, body.joint.anchor, atol=1e-6)


def test_a_scene_without_rods_or_hinges_stays_as_it_is():
    rod, _ = watched()
    scene = pendulum()
    free = replace(scene, bodies=(replace(scene.bodies[0], joint=None),))
    assert hung(scene, {}, FPS).bodies == scene.bodies and hung(free, {0: rod}, FPS).bodies == free.bodies


def test_what_swings_clears_the_ground():
    rod, _ = watched()
    low = pendulum(length=2.55)
    end, body = (seen_at(low, [p])[0] for p in (low.bodies[0].joint.anchor, low.bodies[0].position))
    body = hung(low, {0: replace(rod, end=end, bodies=np.repeat(body[None], KNOWN, 0))}, FPS).bodies[0]
    reach = np.linalg.norm(np.subtract(body.joint.anchor, body.position)) + body.shapes[0].size[0]
    assert body.joint.anchor[2] - reach > 0


def test_what_is_driven_or_seen_along_its_axis_tells_no_swing():
    rays = np.array([[0.0, -0.3, 1.0], [0.2, 0.1, 1.0], [0.2, 0.1, 1.0], [0.2, 0.1, 1.0], [0.2, 0.1, 1.0]])
    rays = rays[:, [0, 2, 1]] * (1, 1, -1)  # z upwards
    center, away = 5 * rays[1], np.array([0.0, 1.0, 0.0])
    assert swing_of(rays, away, center, 0.15, 0.02) is None  # it stands still aside of where it hangs
    assert swing_of(rays, np.array([1.0, 0.0, 0.0]), center, 0.15, 0.02) is None
