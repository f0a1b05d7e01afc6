"""Glass in a picture is seen through when it moves: tint, edges and highlights are its own, the rest lies behind it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from pictured import ellipse, moved, photograph, translation
from vdit.lift.objects import PictureObject
from vdit.lift.scene import scene_from_picture
from vdit.world import scene_file
from vdit.world.checks import check
from vdit.world.drawing.film import film
from vdit.world.scene import SceneError

SIZE = dict(width=416, height=240)
WAY = 60  # pixels to the right


def glass(x=150, y=140, rx=34, ry=52):
    """Cover, opacity and colour [H, W] of a vase of greenish glass: darker along its rim, with one white highlight."""
    cover = ellipse(416, 240, x, y, rx, ry, 1.5).astype(np.float32) / 255
    v, u = np.mgrid[:240, :416] + 0.5
    reach = np.hypot((u - x) / rx, (v - y) / ry)
    highlight = np.exp(-(((u - x + 0.35 * rx) / (0.12 * rx)) ** 2) - ((v - y + 0.4 * ry) / (0.2 * ry)) ** 2)
    opacity = np.maximum(0.1 + 0.55 * np.clip(5 * (reach - 0.8), 0, 1) ** 2, 0.95 * highlight)
    colour = (1 - 0.6 * np.clip((reach - 0.85) / 0.15, 0, 1))[..., None] * (0.75, 0.85, 0.8)
    return cover, opacity, colour + (1 - colour) * highlight[..., None]


def before(background, made, right=0):
    """The picture of glass before a background [H, W, 3], moved to the right, and the pixels that it covers."""
    cover, opacity, colour = (cv2.warpAffine(a, np.float32([[1, 0, right], [0, 1, 0]]), (416, 240)) for a in made)
    share = (cover * opacity)[..., None]
    return (background * (1 - share) + colour * share).astype(np.float32), cover > 0.5


def pushed(scene):
    """The scene without shadows, in which the first body moves WAY pixels to the right in the picture plane."""
    near = (np.linalg.inv(scene.view.c2w) @ np.append(scene.bodies[0].position, 1))[2]
    step = WAY * near / (scene.height / 2 / np.tan(np.radians(scene.view.fov_deg) / 2))
    rest = [np.eye(4)] * (len(scene.bodies) - 1)
    steps = [[np.eye(4), *rest], [translation(*scene.view.c2w[:3, 0] * step), *rest]]
    return film(moved(replace(scene, light=replace(scene.light, shadow=0.0)), steps), **SIZE)


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2) + 1e-12)


@pytest.mark.parametrize(
    ("name", "known", "least"), [("rocket.jpg", True, 22), ("coffee.png", True, 22), ("rocket.jpg", False, 20)]
)
def test_moved_glass_shows_what_is_behind_it_now(name, known, least):
    background = photograph(name, **SIZE).astype(np.float32) / 255
    picture, _ = before(background, glass())
    truth, there = before(background, glass(), WAY)
    found = {}
    for material in ("glass", "ceramic"):
        thing = PictureObject(name="vase", mask=glass()[0], material=material)
        shot = pushed(scene_from_picture(picture, [thing], plate=background if known else None).scene)
        assert psnr(shot.rgb[0].numpy(), picture) > 45
        assert (shot.instance[1].numpy() == 1)[there].mean() > 0.99 and (
            shot.mask[1].numpy()[there] > 0.9
        ).mean() > 0.98
        found[material] = psnr(shot.rgb[1].numpy()[there], truth[there])
    assert found["glass"] > least and found["glass"] > found["ceramic"] + 4


def test_edges_and_highlights_go_along_and_nothing_else_does():
    background = np.full((240, 416, 3), 0.8, np.float32)
    picture, _ = before(background, glass())
    look = scene_from_picture(
        picture, [PictureObject(name="vase", mask=glass()[0], material="glass")], plate=background
    )
    look = look.scene.bodies[0].appearance
    opacity, colour = look.opacity / 255, look.image[..., :3] / 255
    assert opacity[119, 138] > 0.8 and colour[119, 138].min() > 0.95  # the highlight
    assert opacity[140, 150] < 0.15  # the middle
    assert opacity[140, 117] > 0.15 and colour[140, 117].max() < 0.4  # the dark rim


def test_a_body_that_moves_behind_glass_is_seen_through_it_and_stays_behind():
    background = np.full((240, 416, 3), 0.5, np.float32)
    disc = ellipse(416, 240, 90, 150, 16, 16, 1.5).astype(np.float32)[..., None] / 255
    picture, _ = before(background * (1 - disc) + disc * (0.9, 0.1, 0.1), glass())
    things = [
        PictureObject(name="ball", mask=disc[..., 0]),
        PictureObject(name="vase", mask=glass()[0], material="glass", fixed=True),
    ]
    scene = scene_from_picture(picture, things, plate=background).scene
    bodies = sorted(scene.bodies, key=lambda b: b.name)  # the ball moves
    away = scene.view.c2w[:3, 2] * 0.3  # behind the glass
    ball = replace(bodies[0], position=tuple(np.asarray(bodies[0].position) + away))
    shot = pushed(replace(scene, bodies=(ball, bodies[1])))
    number = shot.names.index("vase") + 1
    assert (shot.instance[1, 135:160, 140:155] == number).all()
    seen = shot.rgb[1, 135:160, 140:150].reshape(-1, 3).numpy().mean(0)
    assert seen[0] > 0.7 and seen[1:].max() < 0.35
    assert (shot.depth[1, 140, 150] == shot.depth[0, 140, 150]).all()


def test_opacity_comes_back_from_a_file_and_must_have_the_picture_s_size():
    background = photograph("rocket.jpg", **SIZE).astype(np.float32) / 255
    picture, _ = before(background, glass())
    scene = scene_from_picture(picture, [PictureObject(name="vase", mask=glass()[0], material="glass")]).scene
    again = scene_file.loads(scene_file.dumps(scene))
    assert np.array_equal(again.bodies[0].appearance.opacity, scene.bodies[0].appearance.opacity)
    look = scene.bodies[0].appearance
    body = replace(scene.bodies[0], appearance=replace(look, opacity=look.opacity[:-1]))
    with pytest.raises(SceneError, match="opacity is 239 x 416; its image 240 x 416"):
        check(replace(scene, bodies=(body,)))
