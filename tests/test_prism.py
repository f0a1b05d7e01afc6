"""Bodies with straight sides become boxes; round ones stay round."""

import numpy as np
import pytest
from vdit.lift.depth import bulges
from vdit.lift.objects import GroundHint, PictureObject
from vdit.lift.prism import has_straight_sides
from vdit.lift.scene import scene_from_picture
from vdit.world.drawing.surfaces import is_closed

WIDTH, HEIGHT = 320, 200
Y, X = np.mgrid[:HEIGHT, :WIDTH] + 0.5
CRATE = (np.abs(X - 160) < 40) & (np.abs(Y - 105) < 45)


def body_of(mask, **known):
    """The body of a mask in a picture of noise, seen from above; the picture is its own plate."""
    picture = np.random.default_rng(0).uniform(0, 1, (HEIGHT, WIDTH, 3)).astype(np.float32)
    thing = PictureObject(mask=mask.astype(np.float32), name="thing", **known)
    return scene_from_picture(picture, [thing], plate=picture, ground=GroundHint(horizon=0.1)).scene.bodies[0]


def test_a_box_has_a_flat_front_top_and_back_and_collides_as_one():
    body = body_of(CRATE, thickness=0.4)
    y, z = body.surface.vertices[:, 1], body.surface.vertices[:, 2]
    front, back = y.min(), y.max()
    assert back - front == pytest.approx(0.4, rel=0.05)
    flat = (y < front + 0.004) | (y > back - 0.004) | (z > z.max() - 0.05 * np.ptp(z))
    assert flat.mean() > 0.95
    assert is_closed(body.surface)
    shape = np.concatenate([shape.vertices for shape in body.shapes])
    assert np.ptp(shape, axis=0) == pytest.approx(np.ptp(body.surface.vertices, axis=0), rel=0.15)


@pytest.mark.parametrize(
    ("mask", "straight"),
    [
        (CRATE, True),
        (np.abs(X - 160) + 1.7 * np.abs(Y - 100) < 80, True),
        (np.hypot(X - 160, Y - 100) < 50, False),
        (((X - 160) / 90) ** 2 + ((Y - 100) / 40) ** 2 < 1, False),
        (CRATE & ~((np.abs(X - 160) < 20) & (np.abs(Y - 105) < 20)), False),
        ((np.abs(X - 160) < 40) & (np.abs(Y - 100) < 60) & ((np.abs(X - 160) > 30) | (np.abs(Y - 100) < 8)), False),
        ((np.abs(X - 160) < 6) & (np.abs(Y - 100) < 50), False),
    ],
    ids=["crate", "rhombus", "disc", "ellipse", "frame", "chair", "post"],
)
def test_straight_sides_are_told_from_round_and_hollow_ones(mask, straight):
    assert has_straight_sides(mask) is straight


def test_depth_tells_a_can_from_a_box():
    can = 2 - np.sqrt(np.clip(0.4**2 - ((X - 160) * 0.01) ** 2, 0, None))
    assert bulges(CRATE, can, focal=200)
    assert not bulges(CRATE, 2 + 0.002 * (X - 160), focal=200)


def test_a_box_is_not_so_deep_that_it_reaches_into_what_it_hides():
    """The front box is as wide as it is far from the other, which stands right behind it."""
    picture = np.full((200, 320, 3), 0.5)
    front, back = np.zeros((200, 320)), np.zeros((200, 320))
    front[90:180, 120:220], back[60:90, 60:200], back[90:160, 60:115] = 1, 1, 1
    objects = [PictureObject(mask=front, name="front"), PictureObject(mask=back, name="back")]
    scene = scene_from_picture(picture, objects, ground=GroundHint(horizon=0.2, camera_height=1.0, fov_deg=40)).scene
    deep = [b.surface.vertices[:, 1] + b.position[1] for b in (scene.body("front"), scene.body("back"))]
    assert deep[0].max() < deep[1].min() + 0.05  # both are turned a little, to face the viewer
