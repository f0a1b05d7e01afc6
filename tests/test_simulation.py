"""Scenes move as mechanics says: each claim is measured against its formula."""

import math

import numpy as np
import pytest
from vdit.world.actions import Push, Throw
from vdit.world.meshes import centroid, shape_mesh, shape_volume, volume
from vdit.world.scene import Body, Material, Scene, SceneError, Shape, View
from vdit.world.simulate import simulate

G = 9.81
SHAPES = (
    Shape(kind="sphere", size=(0.1,)),
    Shape(kind="box", size=(0.1, 0.12, 0.15)),
    Shape(kind="cylinder", size=(0.1, 0.12)),
    Shape(kind="capsule", size=(0.1, 0.1)),
    Shape(kind="ellipsoid", size=(0.1, 0.15, 0.12)),
    Shape(kind="hull", vertices=np.random.default_rng(0).normal(0, 0.1, (30, 3))),
)


def made_of(friction=0.5, restitution=0.0, density=700.0, toughness=None):
    return Material("test", density, friction, restitution, toughness)


def body(shape, position, **more):
    return Body(name=more.pop("name", "body"), shapes=(shape,), position=position, **more)


def scene(*bodies, material=None, **more):
    from vdit.world.scene import Plane

    ground = Plane(material=material or bodies[0].material)
    return Scene(bodies=bodies, view=View(np.eye(4), 40.0), ground=more.pop("ground", ground), **more)


def box(half, material, **more):
    return body(
        Shape(kind="box", size=(half, half, half)), more.pop("position", (0, 0, half)), material=material, **more
    )


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.kind)
def test_surfaces_are_closed_and_have_the_shapes_volume(shape):
    mesh = shape_mesh(shape)
    assert volume(mesh) == pytest.approx(shape_volume(shape), rel=0.01)
    edges = np.sort(np.round(mesh.vertices, 9)[mesh.faces][:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2, 3), axis=1)
    _, counts = np.unique(edges.reshape(-1, 6), axis=0, return_counts=True)
    assert (counts == 2).all(), "an edge of a closed surface has two faces"
    if shape.kind != "hull":
        assert np.abs(centroid(mesh)).max() < 1e-9


@pytest.mark.parametrize("height", [0.05, 1.0, 20.0])
def test_a_fall_takes_the_square_root_of_2h_over_g(height):
    radius, fps = height / 10, 120.0
    ball = body(Shape(kind="sphere", size=(radius,)), (0, 0, height + radius), material=made_of())
    takes = math.sqrt(2 * height / G)
    z = simulate(scene(ball), seconds=1.5 * takes + 2 / fps, fps=fps).poses[:, 0, 2, 3] - radius
    assert np.argmax(z < 1e-3 * height) == pytest.approx(takes * fps, abs=1.0)
    assert z.min() > -1e-3 * height, "it sank into the ground"


@pytest.mark.parametrize("shape", SHAPES[:3], ids=lambda s: s.kind)
@pytest.mark.parametrize(("body_e", "ground_e"), [(0.8, 0.45), (0.5, 0.5), (0.9, 0.9), (0.3, 0.1), (0.0, 0.0)])
def test_rebound_height_is_e_squared_h(shape, body_e, ground_e):
    e, h, fps = (body_e + ground_e) / 2, 0.5, 480.0
    low = shape.size[-1]
    falling = body(shape, (0, 0, h + low), material=made_of(restitution=body_e))
    takes = math.sqrt(2 * h / G)
    s = scene(falling, material=made_of(restitution=ground_e))
    z = simulate(s, seconds=takes * (1 + 1.2 * e) + 0.02, fps=fps).poses[:, 0, 2, 3] - low
    assert z[np.argmin(z) :].max() == pytest.approx(e * e * h, rel=0.05, abs=0.001 * h)


@pytest.mark.parametrize(("body_mu", "ground_mu"), [(0.5, 0.5), (0.9, 0.4), (0.05, 0.6)])
@pytest.mark.parametrize("restitution", [0.0, 0.8])
def test_a_box_slides_v_squared_over_2_mu_g(body_mu, ground_mu, restitution):
    mu, v = math.sqrt(body_mu * ground_mu), 1.0
    s = scene(box(0.1, made_of(body_mu, restitution)), material=made_of(ground_mu, restitution))
    motion = simulate(s, (Throw(body="body", velocity=(v, 0, 0)),), seconds=v / mu / G + 0.2, fps=24.0)
    assert motion.poses[-1, 0, 0, 3] == pytest.approx(v * v / (2 * mu * G), rel=0.05)


def test_a_push_is_an_impulse():
    s = scene(box(0.1, made_of(), position=(0, 0, 5)), gravity=(0.0, 0.0, 0.0))
    motion = simulate(s, (Push(body="body", impulse=(2.8, 0, 0), time=0.5),), seconds=1.5, fps=10.0)
    assert motion.poses[5, 0, 0, 3] == pytest.approx(0, abs=1e-9)
    assert motion.poses[-1, 0, 0, 3] == pytest.approx(2.8 / 5.6 * 0.9, rel=1e-6)


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(SceneError, match="'body'"):
        simulate(scene(box(0.1, made_of())), (Push(body="cup", impulse=(1, 0, 0)),), seconds=1, fps=10)
