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
        ({"objects": [{"name": "cup", "box": [0.5, 0, 0.1, 1]}]}, "item 1 .'cup'.: found a box from"),
        ({"objects": [{"name": "cup", "box": [0, 0, float("nan"), 1]}]}, "line 1, column 58, NaN"),
        ({"objects": [{"name": ""}]}, "item 1, field 'name': found \"\"; expected 1 to 60 letters"),
        (
            {"objects": [{"name": "cup", "material": "cheese"}]},
            "field 'material': found \"cheese\"; known: wood, rubber",
        ),
        ({"objects": [{"name": "cup"}, {"name": "cup"}]}, "two are named 'cup'"),
        ({"objects": [{"name": "cup", "strokes": [{"points": []}]}]}, "field 'strokes', item 1, field 'points'"),
        (
            {"objects": [{"name": "cup", "strokes": [{"points": [[0, "a"]]}]}]},
            "field 'strokes', item 1, field 'points', item 1, item 2",
        ),
        ({"objects": [{"name": "cup", "color": 1}]}, "no field is named 'color'"),
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


def lift(picture, objects, **known):
    """The scene of a picture; the picture itself is its plate, which saves the time of filling one."""
    return scene_from_picture(picture, objects, plate=picture, **known)


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
    lifted = lift(disc()[0] / 255, [marked(mask)])
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
    (body,) = lift(disc()[0] / 255, [marked(SHAPES[name])]).scene.bodies
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
    (ball,) = lift(picture, [marked(SHAPES["ball"])]).scene.bodies
    assert [s.kind for s in ball.shapes] == ["sphere"]
    (chair,) = lift(picture, [marked(SHAPES["chair"])]).scene.bodies
    assert 3 <= len(chair.shapes) <= 6 and {s.kind for s in chair.shapes} == {"hull"}


def test_sizes_are_metres_at_the_scale_of_the_camera():
    picture = disc()[0] / 255
    for metres in (0.3, 3.0):
        hint = GroundHint(horizon=0.3, camera_height=metres, fov_deg=40)
        scene = lift(picture, [marked(boxes((140, 60, 180, 120)))], ground=hint).scene
        # The top of this box is on the horizon, so the box is as high as the camera.
        assert np.ptp(scene.bodies[0].surface.vertices[:, 2]) == pytest.approx(metres, rel=0.15)
        assert scene.view.c2w[2, 3] == metres


def test_an_object_on_another_stands_on_it_and_is_in_front():
    table, cup = boxes((60, 100, 260, 180)), boxes((140, 60, 180, 110))
    lifted = lift(disc()[0] / 255, [marked(table, "table"), marked(cup, "cup")])
    scene = lifted.scene
    assert lowest(scene.body("table")) == pytest.approx(0, abs=1e-6)
    assert lowest(scene.body("cup")) > 0.01
    assert any("'cup' stands on 'table'" in remark for remark in lifted.remarks)
    assert any("overlap" in remark for remark in lifted.remarks)
    assert scene.body("cup").appearance.image[105, 160, 3] == 255


def test_a_box_is_whole_behind_a_pile_that_hides_its_corner():
    """What stands on a nearer thing is as near; a disc's bounding box is not filled."""
    book, tin, lid = boxes((60, 60, 160, 150)), boxes((130, 110, 220, 180)), boxes((140, 80, 210, 110))
    book = book * (1 - np.maximum(tin, lid))
    round_one = disc()[1] * (1 - np.maximum(tin, lid))
    scene = lift(disc()[0] / 255, [marked(book, "book"), marked(tin, "tin"), marked(lid, "lid")]).scene
    assert (scene.body("book").appearance.image[105:150, 125:160, 3] > 127).mean() > 0.97
    scene = lift(disc()[0] / 255, [marked(round_one, "ball"), marked(tin, "tin"), marked(lid, "lid")]).scene
    alpha = scene.body("ball").appearance.image[..., 3]
    rows, columns = np.nonzero(alpha > 127)
    assert (alpha[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] > 127).mean() < 0.85


def test_what_floats_touches_the_border_or_is_tiny_is_named():
    objects = [
        marked(boxes((100, 10, 140, 40)), "bird"),
        marked(boxes((0, 120, 40, 200)), "post"),
        marked(boxes((200, 150, 203, 153)), "crumb"),
    ]
    lifted = lift(disc()[0] / 255, objects, ground=GroundHint(horizon=0.4))
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
        lift(disc()[0] / 255, objects)


def test_light_comes_from_the_brighter_side_unless_it_is_given():
    picture, alpha = disc()
    x = np.arange(320)[None, :, None]
    shaded = np.where(alpha[..., None] > 0, picture * (0.4 + 0.6 * (x - 100) / 100), picture) / 255
    assert lift(shaded.clip(0, 1), [marked(alpha)]).scene.light.direction[0] > 0.3
    given = lift(shaded.clip(0, 1), [marked(alpha)], light=LightHint(180.0, 30.0, 0.2)).scene.light
    assert given.direction == pytest.approx((-np.cos(np.radians(30)), 0, 0.5)) and given.shadow == 0.2


def test_a_mask_of_what_surrounds_an_object_is_refused():
    for inside in (SHAPES["box"], SHAPES["tiny"]):
        with pytest.raises(SceneError, match="of what is around an object; invert it"):
            lift(disc()[0] / 255, [marked(1 - inside, "box")])
    wide = boxes((0, 60, 320, 200))  # a table before the viewer touches three edges
    assert lift(disc()[0] / 255, [marked(wide, "table")]).scene.bodies


@pytest.mark.parametrize(("shape", "apart"), [("two pieces", True), ("chair", False)])
def test_things_apart_under_one_mask_are_remarked(shape, apart):
    remarks = lift(disc()[0] / 255, [marked(SHAPES[shape], "thing")]).remarks
    assert any("'thing' is 2 things apart, which move as one body" in remark for remark in remarks) is apart


def test_a_thing_behind_another_is_one_thing():
    pole, bar = boxes((150, 20, 170, 190)), boxes((80, 100, 150, 140), (170, 100, 240, 140))
    remarks = lift(disc()[0] / 255, [marked(pole, "pole"), marked(bar, "bar")]).remarks
    assert not any("things apart" in remark for remark in remarks)


def tilted_room(height=1.3, pitch_deg=25.0, roll_deg=4.0, fov_deg=50.0, box=(140, 70, 190, 140)):
    """Metric depth [200, 320] of a ground plane with an upright box on it, and the box's mask."""
    pitch, roll = np.radians(pitch_deg), np.radians(roll_deg)
    down = np.array([np.sin(roll) * np.cos(pitch), np.cos(roll) * np.cos(pitch), np.sin(pitch)])
    y, x = np.mgrid[:200, :320] + 0.5
    focal = 100 / np.tan(np.radians(fov_deg) / 2)
    fall = ((x - 160) * down[0] + (y - 100) * down[1]) / focal + down[2]
    depth = np.where(fall > 0, height / np.maximum(fall, 1e-9), np.inf).clip(max=50)
    mask = boxes(box)
    depth[mask > 0] = height / fall[box[3], (box[0] + box[2]) // 2]
    return depth, mask, down


@pytest.mark.parametrize("larger", [1, 2])
def test_metric_depth_gives_the_camera_and_a_plate_of_the_ground(larger):
    depth, mask, down = tilted_room()
    given = np.kron(depth, np.ones((larger, larger)))
    scene = lift(disc()[0] / 255, [marked(mask, "box")], depth=given, fov_deg=50.0).scene
    assert scene.view.fov_deg == 50.0
    assert scene.view.c2w[2, 3] == pytest.approx(1.3, rel=0.01)
    assert scene.view.c2w[2, :3] == pytest.approx(-down, abs=0.01)
    assert np.linalg.det(scene.view.c2w[:3, :3]) == pytest.approx(1)
    assert lowest(scene.bodies[0]) == pytest.approx(0, abs=1e-6)
    y, x = np.nonzero(mask)
    focal = 100 / np.tan(np.radians(25))
    fall = ((x + 0.5 - 160) * down[0] + (y + 0.5 - 100) * down[1]) / focal + down[2]
    assert np.median(np.abs(scene.plate.depth[y, x] * fall / 1.3 - 1)) < 0.03


def test_relative_depth_gives_the_same_directions_and_the_camera_height_the_scale():
    depth, mask, down = tilted_room()
    relative = 1 / depth / (1 / depth).max()
    hint = GroundHint(camera_height=2.6)
    lifted = lift(disc()[0] / 255, [marked(mask, "box")], depth=relative, fov_deg=50.0, ground=hint)
    scene = lifted.scene
    assert scene.view.c2w[2, 3] == pytest.approx(2.6)
    assert scene.view.c2w[2, :3] == pytest.approx(-down, abs=0.01)
    assert np.median(scene.plate.depth[mask == 0] / depth[mask == 0]) == pytest.approx(2, rel=0.01)


def test_a_ground_whose_farthest_row_has_no_inverse_depth_is_found():
    depth, mask, down = tilted_room(pitch_deg=30.0, roll_deg=0.0)
    relative = (1 / depth - (1 / depth).min()) / np.ptp(1 / depth)  # as depth nodes draw it
    assert (relative[0] == 0).all()
    scene = lift(disc()[0] / 255, [marked(mask, "box")], depth=relative, reading="inverse", fov_deg=50.0).scene
    assert scene.view.c2w[2, :3] == pytest.approx(-down, abs=0.1)


def test_metres_of_zero_are_no_distance_and_a_scale_that_no_camera_has_is_remarked():
    depth, mask, _ = tilted_room(pitch_deg=5.0)
    known = depth < 50
    holes = lift(disc()[0] / 255, [marked(mask, "box")], depth=depth * known, reading="metres", fov_deg=50.0)
    assert holes.scene.plate.depth[0].min() > 4, "a sky of 0 is not before the camera's lens"
    assert any("have no depth (0 or NaN)" in remark for remark in holes.remarks)
    small = lift(disc()[0] / 255, [marked(mask, "box")], depth=depth / 50, reading="metres", fov_deg=50.0)
    assert any("0.026 m over the ground, by the depth" in remark for remark in small.remarks)


def test_what_the_depth_puts_below_the_ground_stands_on_it():
    depth, mask, _ = tilted_room()
    depth[mask > 0] *= 1.5
    lifted = lift(disc()[0] / 255, [marked(mask, "box")], depth=depth, fov_deg=50.0)
    assert lowest(lifted.scene.bodies[0]) == pytest.approx(0, abs=1e-6)
    assert any("it is taken to stand there" in remark for remark in lifted.remarks)


def test_what_the_depth_holds_over_the_ground_floats():
    depth, mask, _ = tilted_room(box=(140, 20, 190, 60))
    depth[mask > 0] = 1.5
    lifted = lift(disc()[0] / 255, [marked(mask, "drone")], depth=depth, fov_deg=50.0)
    assert lowest(lifted.scene.bodies[0]) > 0.2
    assert any("'drone' stands on nothing" in remark for remark in lifted.remarks)


@pytest.mark.parametrize(
    ("depth", "named"),
    [
        (np.full((200, 320), np.nan), "64000 NaN"),
        (np.full((200, 320), 2.0), "2 everywhere"),
        (np.full((200, 320), np.inf), "infinite everywhere"),
        (np.random.default_rng(0).uniform(1, 9, (200, 200)), "200x200; expected the shape of the picture, 320x200"),
        (np.random.default_rng(0).uniform(1, 9, (200, 320)), "no ground"),
        (-np.random.default_rng(0).uniform(1, 9, (200, 320)), "below 0"),
        (np.ones((3, 4, 5, 6)), "one map"),
        (np.random.default_rng(0).uniform(0, 1, (200, 320, 3)), "coloured"),
    ],
)
def test_depth_that_cannot_be_used_is_refused_with_the_numbers(depth, named):
    with pytest.raises((SceneError, ControlError), match=named):
        lift(disc()[0] / 255, [marked(SHAPES["box"])], depth=depth)


def test_a_flat_round_thing_tells_how_far_the_camera_looks_down():
    y, x = np.mgrid[:200, :320] + 0.5
    dish = (((x - 160) / 80) ** 2 + ((y - 100) / 40) ** 2 < 1).astype(np.float32)
    lifted = lift(disc()[0] / 255, [marked(dish, "dish")])
    forward = lifted.scene.view.c2w[:3, 2]
    assert np.degrees(np.arcsin(-forward[2])) == pytest.approx(30, abs=2)
    size = np.ptp(lifted.scene.bodies[0].surface.vertices, axis=0)
    assert size[1] == pytest.approx(size[0], rel=0.35) and size[2] < 0.31 * size[0]


def test_a_ball_is_as_round_from_every_side_and_a_neck_as_thin_as_it_is_wide():
    y, x = np.mgrid[:200, :320] + 0.5
    ball = np.clip(41 - np.hypot(x - 160, y - 110), 0, 1).astype(np.float32)
    body = lift(disc()[0] / 255, [marked(ball, "ball")]).scene.bodies[0]
    far = np.linalg.norm(body.surface.vertices, axis=1)
    radius = body.shapes[0].size[0]
    assert body.shapes[0].kind == "sphere" and np.abs(far / radius - 1).max() < 0.12  # the rim is beyond the soft edge
    assert np.abs(np.median(far) / radius - 1) < 0.02

    bottle = np.maximum(np.hypot(x - 160, y - 140) < 40, (np.abs(x - 160) < 10) & (y > 40) & (y < 140))
    body = lift(disc()[0] / 255, [marked(bottle.astype(np.float32), "bottle")]).scene.bodies[0]
    at = body.surface.vertices
    neck = at[:, 2] > at[:, 2].min() + 0.7 * np.ptp(at[:, 2])
    assert np.ptp(at[neck, 1]) < 0.45 * np.ptp(at[:, 1])


def test_straight_lines_that_meet_give_the_horizon():
    picture = np.full((240, 360, 3), 128, np.uint8)
    for x in range(-700, 1100, 90):
        end = np.array([x, 240])
        for t in np.linspace(0.15, 1, 3000):
            px, py = (np.array([180, 60]) + t * (end - (180, 60))).astype(int)
            if 0 <= px < 359 and 0 <= py < 239:
                picture[py : py + 2, px : px + 2] = 20
    lifted = lift(picture / 255, [marked(boxes((150, 150, 190, 190), width=360, height=240))])
    assert any("straight lines" in remark and "25%" in remark for remark in lifted.remarks)
    # Upside down they meet below, and no ground would be left to see below the one object.
    lifted = lift(picture[::-1] / 255, [marked(boxes((150, 30, 190, 70), width=360, height=240))])
    assert not any("straight lines" in remark for remark in lifted.remarks)
    assert any("if it stands, draw the horizon above its foot" in remark for remark in lifted.remarks)


@pytest.mark.parametrize("wide", [320, 832])
def test_a_fill_of_a_texture_is_as_sharp_as_the_texture_and_leaves_the_rest(wide):
    from vdit.lift.plate import filled

    y, x = np.mgrid[: wide // 2, :wide]
    stripes = 120 + 60 * np.sin(2 * np.pi * (x + y) / 16) + 0.05 * x
    picture = np.clip(np.repeat(stripes[..., None], 3, -1), 0, 255).astype(np.uint8)
    hole = np.hypot(x - wide / 2, y - wide / 4) < wide / 12
    done = filled(np.where(hole[..., None], 0, picture).astype(np.uint8), hole)
    assert np.array_equal(done[~hole], picture[~hole])
    contrast = done[hole].std() / picture[hole].std()
    assert 0.8 < contrast < 1.2
    assert np.abs(done[hole].astype(float) - picture[hole]).mean() < 20


def test_a_membrane_continues_a_plane_exactly():
    from vdit.lift.membrane import membrane

    y, x = np.mgrid[:120, :150]
    plane = (0.3 + 0.002 * x + 0.004 * y).astype(np.float32)[..., None]
    hole = np.hypot(x - 70, y - 60) < 35
    done = membrane(np.where(hole[..., None], 9, plane), hole)
    assert np.abs(done - plane).max() < 0.01


def test_the_shadow_at_a_foot_is_filled_too_and_dark_ground_is_not():
    picture = np.full((200, 320, 3), 150.0)
    picture += np.arange(200)[:, None, None] * 0.2
    y, x = np.mgrid[:200, :320] + 0.5
    shade = np.hypot((x - 170) / 32, (y - 140) / 10) < 1
    picture[shade] *= 0.5
    mask = boxes((140, 60, 180, 140))
    picture[mask > 0] = (200, 60, 40)
    filled = scene_from_picture(picture / 255, [marked(mask)]).scene.plate
    assert (filled.filled & shade & (mask == 0)).sum() > 0.9 * (shade & (mask == 0)).sum()
    assert np.abs(filled.image[shade] - (150 + 0.2 * 140)).mean() < 8
    assert filled.filled[:50].sum() == 0 and filled.filled.mean() < 0.15


def test_a_dish_is_a_flat_plate_on_which_a_cup_stands():
    y, x = np.mgrid[:200, :320] + 0.5
    dish = (((x - 160) / 90) ** 2 + ((y - 120) / 50) ** 2 < 1).astype(np.float32)
    scene = lift(disc()[0] / 255, [marked(dish, "dish"), marked(boxes((130, 40, 190, 120)), "cup")]).scene
    points = np.concatenate([shape.vertices for shape in scene.body("dish").shapes])
    assert len(np.unique(points[:, 2].round(6))) == 2
    top = points[:, 2].max() + scene.body("dish").position[2]
    assert lowest(scene.body("cup")) == pytest.approx(top, abs=0.005)
