"""What is perceived becomes a scene that looks like its picture and moves on as the truth does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from vdit.lift.perceived import GRAVITY, STUFF, TIPS, BodyEdit, scene_from_perception
from vdit.lift.seen import looks_like
from vdit.training.data.body_labels import FINE, KNOWN, perfect, seen
from vdit.world import scene_file
from vdit.world.checks import check
from vdit.world.drawing.film import film
from vdit.world.extent import farthest
from vdit.world.families.objects import stage
from vdit.world.families.varied import as_varied, varied
from vdit.world.meshes import rotation_matrix
from vdit.world.scene import SceneError
from vdit.world.simulate import simulate

SIDE = 128


def clip(family, seed, start=1, seconds=0.0):
    """A scene, its true motion at FINE times its frame rate, and its labels."""
    made = varied(seed, family=family, frames=start + KNOWN + 1, plain=True)
    frames = (start + KNOWN - 1 + round(seconds * made.fps)) * FINE + 2
    motion = simulate(made.scene, seconds=frames / (made.fps * FINE), fps=made.fps * FINE)
    return made, motion, seen(made, motion, start)


def lifted(made, labels, answer=None, **changes):
    return scene_from_perception(
        perfect(labels) if answer is None else answer, fps=made.fps, width=SIDE, height=SIDE, **changes
    )


def first_frame(scene):
    motion = simulate(scene, seconds=1.5 / 8, fps=8)
    still = replace(motion, poses=motion.poses[:1], present=motion.present[:1])
    return film(still, width=SIDE, height=SIDE)


@pytest.mark.parametrize("family, seed", [("roll", 2), ("topple", 2), ("dominoes", 3), ("stack", 4), ("throw", 1)])
def test_a_perceived_scene_is_seen_where_its_picture_shows_it(family, seed):
    made, _, labels = clip(family, seed)
    drawn = first_frame(lifted(made, labels)).instance[0].numpy()
    for i in np.flatnonzero(labels["pixels"] > 60):
        if labels["kind"][i] < 5:  # hulls and compounds become boxes
            a, b = labels["instance"] == i + 1, drawn == i + 1
            assert (a & b).sum() > 0.8 * (a | b).sum(), (family, i)


def test_a_roll_ends_where_it_truly_ends():
    made, motion, labels = clip("roll", 320006, seconds=1.5)
    scene = lifted(made, labels)
    steps = round(1.5 * made.fps)
    moved = simulate(scene, seconds=(steps + 1) / made.fps, fps=made.fps)
    metres = GRAVITY / -made.scene.gravity[2]
    last = KNOWN * FINE
    for k, body in enumerate(scene.bodies):
        # Metres are other ones here, and the axes are turned about the upright: ways are compared, not places.
        ours = np.linalg.norm(moved.poses[steps, k, :2, 3] - moved.poses[0, k, :2, 3])
        ways = np.linalg.norm(motion.poses[last + steps * FINE, :, :2, 3] - motion.poses[last, :, :2, 3], axis=1)
        assert np.abs(ways * metres - ours).min() < 0.05 * ours + 0.02, body.name


def test_gravity_tells_metres_and_a_given_height_of_the_eye_wins():
    made, _, labels = clip("fall", 3)
    told, given = lifted(made, labels), lifted(made, labels, eye_m=2.0)
    assert told.gravity[2] == pytest.approx(-GRAVITY)
    assert given.view.c2w[2, 3] == 2.0
    ratio = 2.0 / told.view.c2w[2, 3]
    assert given.gravity[2] == pytest.approx(-GRAVITY * ratio)
    assert np.allclose(np.array(given.bodies[0].velocity), np.array(told.bodies[0].velocity) * ratio)


def test_a_persons_edits_win_field_by_field():
    made, _, labels = clip("fall", 3)
    plain = lifted(made, labels)
    edited = lifted(made, labels, edits={0: BodyEdit(velocity=(1.0, 2.0, 3.0))})
    assert edited.bodies[0].velocity == (1.0, 2.0, 3.0)
    assert edited.bodies[0].position == plain.bodies[0].position
    assert [b.velocity for b in edited.bodies[1:]] == [b.velocity for b in plain.bodies[1:]]


@pytest.mark.parametrize("share", [0.95, 1.04])
def test_what_nearly_stands_is_put_on_the_ground_without_moving_in_the_picture(share):
    made, _, labels = clip("rest", 7)
    seen_ = perfect(labels)
    size = float(seen_.half[0].prod()) ** (1 / 3)
    off = (seen_.center[0] * (share - 1)).norm()
    near = replace(seen_, center=seen_.center * (1 + (share - 1) * 0.05 * size / off))
    scene = scene_from_perception(near, fps=made.fps, width=SIDE, height=SIDE)
    lows = [float(farthest(b, np.array([[0.0, 0.0, -1.0]]))[0, 2]) for b in scene.bodies]
    standing = [low for low in lows if abs(low) < 1e-6]
    assert standing
    for body, center in zip(scene.bodies, near.center.numpy(), strict=True):
        local = scene.view.c2w[:3, :3].T @ (np.array(body.position) - scene.view.c2w[:3, 3])
        assert np.allclose(local[:2] / local[2], center[:2] / center[2], atol=1e-5)


def test_an_axis_that_is_nearly_upright_is_upright():
    made, _, labels = clip("rest", 7)
    seen_ = perfect(labels)
    a = np.radians(8.0)
    tilt = torch.tensor([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]], dtype=torch.float32)
    tilted = replace(seen_, rotation=tilt @ seen_.rotation)
    for kind, body in zip(seen_.kind, lifted(made, labels).bodies, strict=True):
        assert kind in body.name
    scene = scene_from_perception(tilted, fps=made.fps, width=SIDE, height=SIDE)
    for kind, body in zip(seen_.kind, scene.bodies, strict=True):
        if kind in ("box", "cylinder", "cone"):
            motion = simulate(replace(scene, bodies=(body,)), seconds=1.0, fps=8)
            assert np.allclose(motion.poses[0, 0, :3, :3], motion.poses[-1, 0, :3, :3], atol=0.02)


def test_a_wall_behind_stops_what_comes():
    made, _, labels = clip("throw", 2)
    assert made.scene.backdrop is not None
    scene = lifted(made, labels)
    distance = np.asarray(scene.backdrop.normal) @ scene.view.c2w[:3, 3] - scene.backdrop.offset
    c2w = made.c2w[KNOWN]
    true = np.asarray(made.scene.backdrop.normal) @ c2w[:3, 3] - made.scene.backdrop.offset
    assert distance / scene.view.c2w[2, 3] == pytest.approx(true / c2w[2, 3], rel=1e-3)


def test_a_pendulum_hangs_on_its_pivot():
    made, _, labels = clip("pendulum", 1)
    scene = lifted(made, labels)
    hung = [b for b in scene.bodies if b.joint is not None]
    assert len(hung) == 1
    metres = GRAVITY / -made.scene.gravity[2]
    assert hung[0].joint.anchor[2] == pytest.approx(made.scene.bodies[0].joint.anchor[2] * metres, rel=1e-3)


def test_nothing_that_falls_without_gravity_is_refused_with_what_to_do():
    made, _, labels = clip("fall", 3)
    with pytest.raises(SceneError, match="give eye_m"):
        scene_from_perception(replace(perfect(labels), gravity=0.0), fps=8, width=SIDE, height=SIDE)


def test_a_scene_that_looks_like_its_picture_is_its_picture_at_first():
    made, _, labels = clip("roll", 2)
    picture, answer = labels["rgb"][-1], perfect(labels)
    scene = looks_like(lifted(made, labels), picture, answer.masks.numpy())
    drawn = first_frame(scene).rgb[0].numpy()
    assert np.abs(drawn - picture / 255).mean() < 0.01
    with pytest.raises(SceneError, match="one mask a body"):
        looks_like(scene, picture, answer.masks.numpy()[:0])
    lit = [body.appearance.lit for body in scene.bodies]
    assert max(lit) > 0 and [body.appearance.lit for body in scene_file.loads(scene_file.dumps(scene)).bodies] == lit
    body = replace(scene.bodies[0], appearance=replace(scene.bodies[0].appearance, lit=1.5))
    with pytest.raises(SceneError, match="share of light on its projected picture: .1.5,.; expected 0 to 1"):
        check(replace(scene, bodies=(body,)))


def test_a_body_of_glass_is_seen_through():
    made, _, labels = clip("roll", 2)
    glass = {0: BodyEdit(material=replace(made.scene.bodies[0].material, name="glass"))}
    scene = looks_like(lifted(made, labels, edits=glass), labels["rgb"][-1], perfect(labels).masks.numpy())
    assert [body.appearance.opacity is not None for body in scene.bodies] == [i == 0 for i in range(len(scene.bodies))]


@pytest.mark.parametrize("braking, friction", [(np.nan, STUFF.friction), (0.3, 0.3), (0.0, 0.0), (9.0, 1.2)])
def test_what_slides_rubs_as_it_is_seen_to(braking, friction):
    made, _, labels = clip("topple", 2)
    answer = perfect(labels)
    answer = replace(answer, kind=tuple("box" for _ in answer.kind), braking=torch.full((len(answer.kind),), braking))
    assert [b.material.friction for b in lifted(made, labels, answer=answer).bodies] == pytest.approx(
        [friction] * len(answer.kind)
    )


def test_what_can_roll_and_is_not_braked_rolls_on():
    made, _, labels = clip("roll", 2)
    answer = perfect(labels)
    for braking, friction in ((0.0, STUFF.friction), (0.4, 0.4)):
        seen = replace(
            answer, kind=tuple("cylinder" for _ in answer.kind), braking=torch.full_like(answer.sure, braking)
        )
        assert [b.material.friction for b in lifted(made, labels, answer=seen).bodies] == pytest.approx(
            [friction] * len(seen.kind)
        )


@pytest.mark.parametrize("share", [0.0, 0.6, 1.4, 3.0, -1.0])
def test_what_is_round_and_lies_rolls_where_it_is_not_seen_to_skid(share):
    made, _, labels = clip("roll", 320002)
    answer = perfect(labels)

    def barrel(spin):
        scene = scene_from_perception(replace(answer, spin=spin), fps=made.fps, width=SIDE, height=SIDE)
        return max(scene.bodies[:2], key=lambda body: np.linalg.norm(body.velocity))

    def slips(body):
        """The share of its speed at which the line on which it lies moves over the ground."""
        contact = np.asarray(body.velocity) + np.cross(body.spin, (0.0, 0.0, -body.shapes[0].size[0]))
        across = np.cross(rotation_matrix(body.rotation)[:, 2], (0.0, 0.0, 1.0))
        return abs(contact @ across) / np.linalg.norm(body.velocity)

    rolls = np.asarray(barrel(0 * answer.spin).spin)
    camera = lifted(made, labels).view.c2w[:3, :3].T
    seen_so = torch.from_numpy(camera @ rolls / made.fps).float() * share
    body = barrel(seen_so.expand_as(answer.spin))
    if 0 <= share < 1.5:
        assert slips(body) < 0.1
    else:  # backspin, and wheels that spin, are believed
        assert np.allclose(body.spin, share * rolls, atol=1e-3) and slips(body) > 0.5


def test_a_pendulum_begins_with_the_speed_that_its_hinge_allows():
    made, _, labels = clip("pendulum", 1)
    answer, scene = perfect(labels), lifted(made, labels)
    wrong = replace(answer, spin=0 * answer.spin)
    again = scene_from_perception(wrong, fps=made.fps, width=SIDE, height=SIDE)
    for body, true in zip(again.bodies, scene.bodies, strict=True):
        if body.joint is not None:
            arm = np.subtract(body.position, body.joint.anchor)
            assert np.allclose(np.cross(body.spin, arm), body.velocity, atol=1e-6)
            assert np.allclose(body.velocity, true.velocity, atol=1e-6) and np.linalg.norm(body.velocity) > 0.1


@pytest.mark.parametrize("closing", [0.05, -0.05])
def test_what_keeps_to_the_ground_goes_along_it_whatever_is_seen_of_its_closing_speed(closing):
    """closing: error of the speed along the way from the eye, in heights of the eye a frame."""
    made, _, labels = clip("slide", 320001, start=0)
    answer = perfect(labels)
    away = torch.nn.functional.normalize(answer.center, dim=1)
    right, given = lifted(made, labels), replace(answer, velocity=answer.velocity + away * closing)
    found = scene_from_perception(given, fps=made.fps, width=SIDE, height=SIDE)
    wrong_by = abs(closing) * made.fps * float(right.view.c2w[2, 3])
    slides = [i for i, body in enumerate(right.bodies) if np.linalg.norm(body.velocity) > wrong_by]
    assert slides
    for i in slides:
        assert np.linalg.norm(np.subtract(found.bodies[i].velocity, right.bodies[i].velocity)) < 0.3 * wrong_by


def test_the_way_of_a_barrel_is_half_way_between_its_axis_and_its_place():
    """Its spin is level, as that of what tips over: it keeps to the ground all the same."""
    made = as_varied(stage(8001, "barrel", split="validation"))
    labels = seen(made, simulate(made.scene, seconds=6 / 8, fps=8 * FINE), 0)
    answer, right = perfect(labels), lifted(made, labels).bodies[0]
    angle, up = np.radians(10), answer.ground
    cross = torch.tensor([[0, -up[2], up[1]], [up[2], 0, -up[0]], [-up[1], up[0], 0]])
    turn = torch.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    away = torch.nn.functional.normalize(answer.center, dim=1)
    wrong = replace(answer, rotation=turn @ answer.rotation, velocity=answer.velocity + 0.02 * away)
    body = scene_from_perception(wrong, fps=made.fps, width=SIDE, height=SIDE).bodies[0]
    assert np.linalg.norm(body.spin[:2]) / made.fps > TIPS  # else this would show nothing
    ways = [np.arctan2(v[1], v[0]) for v in (right.velocity, body.velocity)]
    assert abs(np.degrees(ways[1] - ways[0])) == pytest.approx(5, abs=1.5)
    assert abs(rotation_matrix(body.rotation)[:, 2] @ body.velocity) < 1e-6 and abs(body.velocity[2]) < 1e-6


def test_a_cylinder_rolls_across_its_axis():
    made, _, labels = clip("roll", 320002)
    answer = perfect(labels)
    away = torch.nn.functional.normalize(answer.center, dim=1)
    wrong = replace(answer, velocity=answer.velocity + 0.05 * away, spin=0 * answer.spin)
    scene = scene_from_perception(wrong, fps=made.fps, width=SIDE, height=SIDE)
    body = max(scene.bodies[:2], key=lambda body: np.linalg.norm(body.velocity))
    axis = rotation_matrix(body.rotation)[:, 2]
    assert abs(axis @ body.velocity) < 1e-6 * np.linalg.norm(body.velocity)
    assert np.allclose(np.cross(body.spin, (0, 0, body.shapes[0].size[0])), body.velocity, atol=1e-6)
