"""From a picture to a scene: what a person marks, masks without a network, bodies, plates."""

import json

import numpy as np
import pytest
from vdit.control.span import ControlError
from vdit.geometry.camera_numpy import project
from vdit.lift.objects import (
    GroundHint,
    LightHint,
    Marked,
    PictureObject,
    Selection,
    Stroke,
    read_selection,
    write_selection,
)
from vdit.lift.scene import scene_from_picture
from vdit.lift.select import NothingFound, select
from vdit.world.scene import SceneError

SELECTION = Selection(
    (
        Marked(name="cup", material="ceramic", thickness=0.1, box=(0.2, 0.1, 0.6, 0.8)),
        Marked(
            name="spoon",
            fixed=True,
            strokes=(Stroke(((0.5, 0.5), (0.6, 0.5)), 0.03), Stroke(((0.1, 0.1),), erase=True)),
        ),
    ),
    GroundHint(horizon=0.3, camera_height=1.2),
    LightHint(azimuth_deg=120.0, height_deg=50.0),
)


def test_a_selection_comes_back_from_its_text():
    assert read_selection(write_selection(SELECTION)) == SELECTION
    assert read_selection(" ") == Selection()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"objects": [{"name": "cup", "box": [0.5, 0, 0.1, 1]}]}, "object 1 .cup.: box"),
        ({"objects": [{"name": "cup", "box": [0, 0, float("nan"), 1]}]}, "box"),
        ({"objects": [{"name": ""}]}, "object 1: name"),
        ({"objects": [{"name": "cup", "material": "cheese"}]}, "material is 'cheese'"),
        ({"objects": [{"name": "cup"}, {"name": "cup"}]}, "two are named 'cup'"),
        ({"objects": [{"name": "cup", "strokes": [{"points": []}]}]}, "stroke 1"),
        ({"objects": [{"name": "cup", "strokes": [{"points": [[0, "a"]]}]}]}, "stroke 1: point 1"),
        ({"objects": [{"name": "cup", "color": 1}]}, "'color' is not known"),
        ({"ground": {"camera_height": 0}}, "camera_height"),
        ({"light": {"height_deg": True}}, "height_deg"),
        ({"version": 2}, "version"),
    ],
)
def test_a_selection_that_cannot_be_read_names_the_field(change, named):
    with pytest.raises(ControlError, match=named):
        read_selection(json.dumps({"version": 1, **change}))


def disc(width=320, height=200, centre=(150, 90), radius=50):
    """A picture of a red disc on a grey gradient with noise, and the disc's share of each pixel."""
    y, x = np.mgrid[:height, :width] + 0.5
    alpha = np.clip(radius + 0.5 - np.hypot(x - centre[0], y - centre[1]), 0, 1)
    noise = np.random.default_rng(0).normal(0, 3, (height, width, 3))
    back = np.stack([120 + 0.2 * x, 130 + 0.1 * y, 140 - 0.1 * x], -1) + noise
    front = np.array([200.0, 40.0, 30.0]) + noise
    picture = back + alpha[..., None] * (front - back)
    return np.clip(picture, 0, 255).astype(np.uint8), alpha


@pytest.mark.parametrize(
    ("box", "strokes"),
    [
        ((0.28, 0.15, 0.66, 0.75), ()),
        (None, (Stroke(((0.4, 0.4), (0.55, 0.5)), 0.04),)),
        (None, (Stroke(((0.47, 0.45),), 0.02),)),
        ((0.28, 0.15, 0.66, 0.75), (Stroke(((0.47, 0.45),), 0.02),)),
    ],
    ids=["box", "stroke", "click", "box and click"],
)
def test_a_disc_is_selected_to_its_edge(box, strokes):
    picture, alpha = disc()
    mask = select(picture, box, strokes)
    assert mask.dtype == np.float32 and mask.shape == alpha.shape
    assert np.minimum(mask, alpha).sum() / np.maximum(mask, alpha).sum() > 0.97


def test_erasing_takes_away():
    picture, alpha = disc()
    mask = select(picture, (0.28, 0.15, 0.66, 0.75), [Stroke(((0.3, 0.45), (0.45, 0.45)), 0.08, erase=True)])
    assert mask[90, 110:140].max() == 0
    assert mask[60, 150] > 0.9


def test_where_nothing_stands_out_it_says_so():
    flat = np.full((100, 120, 3), 90, np.uint8)
    with pytest.raises(NothingFound, match="paint over the object"):
        select(flat, (0.2, 0.2, 0.8, 0.8), [])
    with pytest.raises(ControlError, match="nothing is marked"):
        select(flat, None, [Stroke(((0.5, 0.5),), erase=True)])


def marked(mask, name="disc", **known):
    return PictureObject(mask=mask.astype(np.float32), name=name, **known)


def boxes(*corners, width=320, height=200):
    """A mask of rectangles (left, top, right, bottom) in pixels."""
    mask = np.zeros((height, width), np.float32)
    for left, top, right, bottom in corners:
        mask[top:bottom, left:right] = 1
    return mask


def lowest(body):
    points = [np.array([s.position]) - [0, 0, s.size[0]] if s.vertices is None else s.vertices for s in body.shapes]
    return np.concatenate(points)[:, 2].min() + body.position[2]


SHAPES = {
    "ball": disc()[1],
    "box": boxes((100, 60, 180, 150)),
    "chair": boxes((100, 40, 112, 170), (100, 100, 190, 114), (178, 100, 190, 170)),
    "two pieces": boxes((60, 90, 100, 150), (130, 110, 150, 150)),
    "frame": boxes((80, 60, 200, 160)) - boxes((100, 80, 180, 140)),
    "tiny": boxes((150, 140, 154, 144)),
    "line": boxes((150, 40, 151, 160)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_body_stands_on_the_ground_and_its_surface_lies_on_the_rays_of_its_mask(name):
    mask = SHAPES[name]
    lifted = scene_from_picture(disc()[0] / 255, [marked(mask)])
    scene, mask = lifted.scene, lifted.masks[0] > 0
    (body,) = scene.bodies
    assert lowest(body) == pytest.approx(0, abs=1e-6)
    surface = body.surface.vertices + body.position
    u, v, depth = project(surface, scene.view.c2w, scene.view.fov_deg, scene.width, scene.height)
    assert (depth > 0).all()
    rows, columns = np.nonzero(mask)
    assert u.min() == pytest.approx(columns.min(), abs=14) and u.max() == pytest.approx(columns.max() + 1, abs=14)
    front = body.surface.faces[: len(body.surface.faces) // 2]
    at = np.stack((columns, rows), -1) + 0.5
    corners = np.stack((u, v), -1)[front]
    a, b, c = corners[:, 0, None], corners[:, 1, None], corners[:, 2, None]
    sides = [
        np.cross(np.pad(q - p, ((0, 0), (0, 0), (0, 1))), np.pad(at - p, ((0, 0), (0, 0), (0, 1))))[..., 2]
        for p, q in ((a, b), (b, c), (c, a))
    ]
    covered = (np.max(sides, axis=0) <= 0.5).any(0) | (np.min(sides, axis=0) >= -0.5).any(0)
    assert covered.all()


@pytest.mark.parametrize("name", SHAPES)
def test_the_surface_is_closed_and_its_faces_look_outwards(name):
    (body,) = scene_from_picture(disc()[0] / 255, [marked(SHAPES[name])]).scene.bodies
    faces = body.surface.faces
    edges = np.concatenate((faces[:, :2], faces[:, 1:], faces[:, [2, 0]]))
    there, back = np.unique(edges, axis=0, return_counts=True), np.unique(edges[:, ::-1], axis=0, return_counts=True)
    assert np.array_equal(there[0], back[0]) and np.array_equal(there[1], back[1])
    a, b, c = (body.surface.vertices[faces[:, i]] for i in range(3))
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 > (0 if name != "line" else -1e-9)
    assert len(faces) <= 900


def test_cut_outs_over_the_plate_give_the_picture_back():
    picture, alpha = disc()
    scene = scene_from_picture(picture / 255, [marked(alpha)]).scene
    image = scene.bodies[0].appearance.image.astype(float)
    share = image[..., 3:] / 255
    shown = share * image[..., :3] + (1 - share) * scene.plate.image
    error = (shown - picture)[~scene.plate.filled | (alpha > 0.5)]
    assert 20 * np.log10(255 / np.sqrt((error**2).mean())) > 45
    assert np.array_equal(scene.plate.picture, picture)
    assert np.array_equal(scene.plate.image[~scene.plate.filled], picture[~scene.plate.filled])


def test_no_background_is_left_in_the_colours_of_the_rim():
    picture, alpha = disc()
    mask = select(picture, (0.28, 0.15, 0.66, 0.75), [])
    image = scene_from_picture(picture / 255, [marked(mask)]).scene.bodies[0].appearance.image
    rim = (alpha > 0.05) & (alpha < 0.95)
    assert np.abs(image[rim][:, :3] - np.array([200.0, 40.0, 30.0])).mean() < 12


def test_a_disc_becomes_a_ball_and_a_chair_a_few_convex_parts():
    picture = disc()[0] / 255
    (ball,) = scene_from_picture(picture, [marked(SHAPES["ball"])]).scene.bodies
    assert [s.kind for s in ball.shapes] == ["sphere"]
    (chair,) = scene_from_picture(picture, [marked(SHAPES["chair"])]).scene.bodies
    assert 3 <= len(chair.shapes) <= 6 and {s.kind for s in chair.shapes} == {"hull"}


def test_sizes_are_metres_at_the_scale_of_the_camera():
    picture = disc()[0] / 255
    for metres in (0.3, 3.0):
        hint = GroundHint(horizon=0.3, camera_height=metres, fov_deg=40)
        scene = scene_from_picture(picture, [marked(boxes((140, 60, 180, 120)))], ground=hint).scene
        # The top of this box is on the horizon, so the box is as high as the camera.
        assert np.ptp(scene.bodies[0].surface.vertices[:, 2]) == pytest.approx(metres, rel=0.15)
        assert scene.view.c2w[2, 3] == metres


def test_an_object_on_another_stands_on_it_and_is_in_front():
    table, cup = boxes((60, 100, 260, 180)), boxes((140, 60, 180, 110))
    lifted = scene_from_picture(disc()[0] / 255, [marked(table, "table"), marked(cup, "cup")])
    scene = lifted.scene
    assert lowest(scene.body("table")) == pytest.approx(0, abs=1e-6)
    assert lowest(scene.body("cup")) > 0.01
    assert any("'cup' stands on 'table'" in remark for remark in lifted.remarks)
    assert any("overlap" in remark for remark in lifted.remarks)
    assert scene.body("cup").appearance.image[105, 160, 3] == 255


def test_what_floats_touches_the_border_or_is_tiny_is_named():
    objects = [
        marked(boxes((100, 10, 140, 40)), "bird"),
        marked(boxes((0, 120, 40, 200)), "post"),
        marked(boxes((200, 150, 203, 153)), "crumb"),
    ]
    lifted = scene_from_picture(disc()[0] / 255, objects, ground=GroundHint(horizon=0.4))
    remarks = " | ".join(lifted.remarks)
    assert "'bird' stands on nothing" in remarks
    assert "'post' touches the picture's bottom and left edge" in remarks
    assert "'crumb' covers 9 pixels" in remarks
    assert [b.name for b in lifted.scene.bodies] == ["post", "bird"] and len(lifted.masks) == 2


@pytest.mark.parametrize(
    ("objects", "named"),
    [
        ([], "nothing is masked"),
        ([marked(boxes())], "nothing is masked"),
        ([marked(boxes((0, 0, 320, 200)))], "100.0% of the picture"),
        ([marked(np.ones((20, 30)))], r"\[20, 30\]; expected \[200, 320\]"),
        ([marked(np.full((200, 320), np.nan))], "nan"),
        ([marked(boxes((1, 1, 20, 20))), marked(boxes((50, 50, 90, 90)))], "two objects are named 'disc'"),
        ([marked(boxes((1, 1, 20, 20)), thickness=0.0)], "0 m thick"),
        ([marked(boxes((1, 1, 20, 20)), material="cheese")], "'cheese'"),
    ],
)
def test_what_cannot_be_lifted_is_refused_with_the_numbers(objects, named):
    with pytest.raises(SceneError, match=named):
        scene_from_picture(disc()[0] / 255, objects)


def test_light_comes_from_the_brighter_side_unless_it_is_given():
    picture, alpha = disc()
    x = np.arange(320)[None, :, None]
    shaded = np.where(alpha[..., None] > 0, picture * (0.4 + 0.6 * (x - 100) / 100), picture) / 255
    assert scene_from_picture(shaded.clip(0, 1), [marked(alpha)]).scene.light.direction[0] > 0.3
    given = scene_from_picture(shaded.clip(0, 1), [marked(alpha)], light=LightHint(180.0, 30.0, 0.2)).scene.light
    assert given.direction == pytest.approx((-np.cos(np.radians(30)), 0, 0.5)) and given.shadow == 0.2
