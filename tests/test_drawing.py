"""What a camera sees of a motion: the picture at rest; exact depth, flow, masks and tracks; smooth edges."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from pictured import box, moved, orbit, picture_scene, shattered, still_view, translation, turned
from scipy.ndimage import map_coordinates
from vdit.geometry.camera_numpy import focal_length, look_at, project
from vdit.geometry.reproject import rigid_flow
from vdit.world.drawing.background import plane_depths
from vdit.world.drawing.camera import scene_camera
from vdit.world.drawing.film import film, stream
from vdit.world.scene import Body, Colored, Mesh, Plane, Plate, Scene, SceneError, Textured, View

SIZE = dict(width=208, height=120)
BODIES = ((75, 55, 24, 20), (140, 65, 20, 26))


def boxes(*positions, color=(0.8, 0.2, 0.1), half=0.25, **changes):
    made = tuple(
        Body(name=f"box {i}", shapes=(), position=p, appearance=Colored(color), surface=box(half, half, half))
        for i, p in enumerate(positions)
    )
    return Scene(bodies=made, view=still_view(), **{**SIZE, **changes})


def psnr(a, b):
    return -10 * np.log10(np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2) + 1e-20)


def drift(scene, frames, speed=0.02, spin=0.04):
    """Bodies that move and turn, each its own way."""
    axes = ((0, 1, 0), (0.3, 0.2, 1), (1, 0, 0.4))
    return moved(
        scene,
        [
            [
                translation(speed * t * (1 - i), 0.3 * speed * t, speed * t) @ turned(axes[i % 3], spin * t, b.position)
                for i, b in enumerate(scene.bodies)
            ]
            for t in range(frames)
        ],
    )


@pytest.mark.parametrize("bodies", [BODIES, ()])
def test_a_scene_at_rest_is_the_picture(bodies):
    scene = picture_scene(**SIZE, bodies=bodies)
    shot = film(moved(scene, [[np.eye(4)] * len(bodies)] * 2), **SIZE)
    for frame in shot.rgb.numpy():
        assert np.abs(frame * 255 - scene.plate.picture).max() < 0.01


def test_a_body_at_rest_stays_the_picture_while_another_moves():
    scene = picture_scene(**SIZE, bodies=BODIES)
    shot = film(moved(scene, [[np.eye(4), translation(0.02 * t)] for t in range(6)]), **SIZE)
    left = np.s_[30:80, 48:102]
    assert np.abs(shot.rgb.numpy()[5][left] * 255 - scene.plate.picture[left]).max() < 0.01


def test_a_body_moved_and_turned_in_the_picture_plane_is_the_warped_cut_out():
    width, height = 416, 240
    scene = picture_scene(width=width, height=height, bodies=((170, 120, 60, 50),), thickness=0.0)
    body, focal = scene.bodies[0], float(focal_length(scene.view.fov_deg, height))
    c2w = scene.view.c2w
    # 40 pixels to the right and 30 degrees clockwise about the ellipse's centre, in the plane square to the axis.
    metres = 40 * 3.0 / focal
    centre = c2w[:3, 3] + c2w[:3, :3] @ np.array([(170 - width / 2) / focal, 0, 1]) * 3.0
    step = translation(*(c2w[:3, 0] * metres)) @ turned(c2w[:3, 2], np.radians(30), centre)
    shot = film(moved(scene, [[np.eye(4)], [step]]), width=width, height=height).rgb.numpy()[1]
    angle = np.radians(30)
    v, u = np.mgrid[:height, :width] + 0.5
    x, y = u - 210, v - 120
    from_x, from_y = x * np.cos(angle) + y * np.sin(angle) + 170, -x * np.sin(angle) + y * np.cos(angle) + 120
    maps = (from_x - 0.5).astype(np.float32), (from_y - 0.5).astype(np.float32)
    ideal = cv2.remap(body.appearance.image.astype(np.float32), *maps, cv2.INTER_CUBIC) / 255
    inside = ideal[..., 3] > 0.99
    assert inside.sum() > 8000
    assert psnr(shot[inside], ideal[inside][:, :3].clip(0, 1)) >= 35
    # The soft edge is the cut-out laid over the plate.
    rim = (ideal[..., 3] > 0.02) & ~inside
    over = ideal[..., :3] * ideal[..., 3:] + scene.plate.image / 255 * (1 - ideal[..., 3:])
    shadowless = film(
        replace(m := moved(scene, [[step]]), scene=replace(m.scene, light=replace(m.scene.light, shadow=0.0))),
        width=width,
        height=height,
    )
    assert psnr(shadowless.rgb.numpy()[0][rim], over[rim].clip(0, 1)) >= 35


@pytest.mark.parametrize("name", ["coffee.png", "rocket.jpg", "chelsea.png"])
def test_flow_leads_each_point_to_itself_in_the_next_frame(name):
    """By its colour, warped by a cubic as sharp as the drawing's own; and by its place on the body, which is exact."""
    scene = picture_scene(name, width=416, height=240, bodies=((150, 110, 48, 40), (280, 130, 40, 52)))
    scene = replace(scene, light=replace(scene.light, shadow=0.0))
    motion = drift(scene, 6)
    shot = film(motion, width=416, height=240)
    errors, apart = [], []
    v, u = np.mgrid[:240, :416].astype(np.float32)
    for t in range(1, 5):
        flow = shot.flow[t].numpy()
        x, y = u + flow[..., 0], v + flow[..., 1]
        there = cv2.remap(shot.rgb[t + 1].numpy(), x, y, cv2.INTER_CUBIC)
        body = (shot.instance[t] > 0).numpy() & shot.visible[t].numpy() & (shot.mask[t].numpy() > 0.999)
        assert body.sum() > 0.85 * (shot.instance[t] > 0).sum()
        errors.append(np.abs(there - shot.rgb[t].numpy()).max(-1)[body])
        depth = 1 / map_coordinates(1 / shot.depth[t + 1].numpy(), (y, x), order=1)
        for p in (0, 1):
            mine = body & (shot.instance[t] == p + 1).numpy()
            now = local_points(shot, motion, t, p, u[mine] + 0.5, v[mine] + 0.5, shot.depth[t].numpy()[mine])
            then = local_points(shot, motion, t + 1, p, x[mine] + 0.5, y[mine] + 0.5, depth[mine])
            apart.append(np.linalg.norm(now - then, axis=1))
    assert np.median(np.concatenate(errors)) <= 1 / 255
    pixel = 3.0 * 2 * np.tan(np.radians(20)) / 240  # metres, at the bodies' distance
    assert np.median(np.concatenate(apart)) <= 1e-3 * pixel


def test_far_textures_do_not_flicker():
    """A fine board on a floor that runs away: as its 6 times finer picture, and the same in the next frame."""
    y, x = np.mgrid[:512, :512]
    board = np.where(((x // 8 + y // 8) % 2)[..., None], (230, 220, 200), (40, 60, 90)).astype(np.uint8)
    corners = np.array([[-4, -5, 0], [4, -5, 0], [4, 21, 0], [-4, 21, 0]], float)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    floor = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), uv)
    body = Body(name="floor", shapes=(), position=(0, 0, 0), appearance=Textured(board), surface=floor)
    view = View(look_at(np.array([0.0, -6, 1.2]), np.array([0, 0, 0.2])), 40.0)
    still = moved(Scene(bodies=(body,), view=view, ground=None, **SIZE), [[np.eye(4)]] * 2)
    c2w = np.stack([view.c2w, view.c2w])
    c2w[1, 0, 3] += 0.01
    shot = film(still, **SIZE, c2w=c2w)
    fine = film(still, width=6 * SIZE["width"], height=6 * SIZE["height"], c2w=c2w).rgb[0].numpy()
    on = (shot.mask[0] > 0.999).numpy()
    ideal = cv2.resize(fine, (SIZE["width"], SIZE["height"]), interpolation=cv2.INTER_AREA)
    assert np.sqrt(np.mean((shot.rgb[0].numpy() - ideal)[on] ** 2)) < 7 / 255, "11 without filtering"
    v, u = np.mgrid[: SIZE["height"], : SIZE["width"]].astype(np.float32)
    flow = shot.flow[0].numpy()
    there = cv2.remap(shot.rgb[1].numpy(), u + flow[..., 0], v + flow[..., 1], cv2.INTER_LINEAR)
    seen = on & shot.visible[0].numpy()
    assert np.sqrt(np.mean((there - shot.rgb[0].numpy())[seen] ** 2)) < 10 / 255, "12 without filtering"
    # A cut-out that has gone far away is filtered alike.
    far = picture_scene(width=416, height=240, bodies=((208, 120, 90, 80),), soft=1.0)
    noise = np.random.default_rng(0).integers(0, 256, (240, 416, 3), np.uint8)
    look = far.bodies[0].appearance
    noisy = replace(look, image=np.concatenate((noise, look.image[..., 3:]), -1))
    away = [translation(*(far.view.c2w[:3, 2] * 9.0))]  # three times as far again: four pixels in one
    shot = film(moved(replace(far, bodies=(replace(far.bodies[0], appearance=noisy),)), [away]), width=416, height=240)
    assert shot.rgb[0][shot.mask[0] > 0.999].std() < 0.15, "noise of 0.29, averaged"


def test_a_plate_that_a_wide_view_shrinks_does_not_flicker():
    scene = picture_scene(width=416, height=240, bodies=())
    noise = np.random.default_rng(0).integers(0, 256, (240, 416, 3), np.uint8)
    scene = replace(scene, plate=replace(scene.plate, image=noise, picture=noise))
    wide = np.degrees(2 * np.arctan(4 * np.tan(np.radians(20))))  # a quarter of the size
    shot = film(moved(scene, [[]]), width=416, height=240, fov_deg=np.array([wide]))
    assert shot.rgb[0, 95:145, 165:250].std() < 0.15, "noise of 0.29, averaged"


def local_points(shot, motion, t, p, x, y, z):
    """Points [N, 3] in part p's axes that are seen in frame t at pixel positions x, y and depths z [N]."""
    focal = float(focal_length(float(shot.fov_deg[t]), 240))
    seen = np.stack(((x - 208) / focal * z, (y - 120) / focal * z, z, np.ones_like(z)))
    return (np.linalg.inv(motion.poses[t, p]) @ shot.c2w[t] @ seen)[:3].T


def test_depth_masks_and_tracks_agree_with_the_poses():
    scene = boxes((-0.4, 0, 0.25), (0.3, 0.4, 0.4), width=416, height=240)
    motion = drift(scene, 5)
    shot = film(motion, width=416, height=240)
    at, seen, part = (a.numpy() for a in (shot.tracks.at, shot.tracks.visible, shot.tracks.part))
    assert set(part) == {-1, 0, 1} and seen[0].all()
    for p in (0, 1):
        # Tracked points lie on the box's faces in its own axes, in each frame where they are seen.
        for t in range(5):
            for x, y in at[t][(part == p) & seen[t]]:
                j, i = int(y), int(x)
                assert shot.instance[t, j, i] == p + 1
                world = world_point(shot, t, i + 0.5, j + 0.5, float(shot.depth[t, j, i]))
                local = np.linalg.inv(motion.poses[t, p]) @ np.append(world, 1)
                assert np.abs(local[:3]).max() == pytest.approx(0.25, abs=1e-3)
        # Points fixed on the box project to the tracks.
        start = [
            np.linalg.inv(motion.poses[0, p]) @ np.append(world_point(shot, 0, *xy, track_depth(shot, xy)), 1)
            for xy in at[0][part == p]
        ]
        for t in range(5):
            world = np.array(start) @ motion.poses[t, p].T
            u, v, _ = project(world[:, :3], shot.c2w[t], float(shot.fov_deg[t]), 416, 240)
            assert np.abs(np.stack((u, v), 1) - at[t][part == p]).max() < 1e-3
    hard = shot.instance.numpy() > 0
    assert np.abs(shot.mask.numpy() - hard).mean() < 0.01
    assert (shot.mask.numpy()[hard] >= 0.2).all()


def world_point(shot, t, u, v, depth):
    height, width = shot.depth.shape[1:]
    focal = float(focal_length(float(shot.fov_deg[t]), height))
    local = np.array([(u - width / 2) / focal, (v - height / 2) / focal, 1.0]) * depth
    return shot.c2w[t][:3, :3] @ local + shot.c2w[t][:3, 3]


def track_depth(shot, xy):
    return float(shot.depth[0, int(xy[1]), int(xy[0])])


def test_a_still_scene_under_a_moving_camera_flows_as_its_geometry_says():
    scene = boxes((0.0, 0.0, 0.25), width=208, height=120)
    c2w = orbit(scene, 4, 6.0)
    shot = film(moved(scene, [[np.eye(4)]] * 4), **SIZE, c2w=c2w)
    rigid, valid = rigid_flow(torch.from_numpy(shot.c2w), torch.from_numpy(shot.fov_deg), shot.depth.double())
    assert valid.all() and rigid.norm(dim=-1).median() > 1
    assert (rigid - shot.flow)[shot.depth[:-1] < 900].abs().max() < 0.01
    assert shot.visible.float().mean() > 0.9


def test_a_plate_with_depth_moves_with_parallax_and_is_itself_at_home():
    flat = picture_scene(**SIZE, bodies=())
    depth = np.full((120, 208), 4.0, np.float32)
    depth[40:80, 80:120] = 2.0
    scene = replace(flat, plate=replace(flat.plate, depth=depth))
    right = scene.view.c2w @ translation(0.1)
    shot = film(moved(scene, [[], []]), **SIZE, c2w=np.stack((scene.view.c2w, right)))
    assert np.abs(shot.rgb[0].numpy() * 255 - scene.plate.picture).max() < 0.01
    focal = float(focal_length(scene.view.fov_deg, 120))
    shift = {z: 0.1 / z * focal for z in (2.0, 4.0)}  # pixels to the left
    assert float(shot.depth[1, 60, 100 - round(shift[2.0])]) == pytest.approx(2.0, rel=0.02)
    for z, place in ((2.0, np.s_[46:74, 90:110]), (4.0, np.s_[90:110, 60:150])):
        v, u = np.mgrid[place].astype(np.float32) + 0.5
        there = cv2.remap(shot.rgb[1].numpy(), u - 0.5 - shift[z], v - 0.5, cv2.INTER_CUBIC)
        assert np.median(np.abs(there - shot.rgb[0].numpy()[place])) < 2 / 255
    assert torch.isfinite(shot.rgb).all()


@pytest.mark.parametrize(("height", "darkened"), [(0.1, True), (0.6, False)])
def test_a_shadow_falls_on_what_the_plate_shows_below_a_body_and_not_above_it(height, darkened):
    grey = np.full((120, 208, 3), 170, np.uint8)
    scene = boxes((0.4, 0.0, 0.4), half=0.1, ground=Plane(offset=-0.3), backdrop=None)
    camera, _ = scene_camera(scene, **SIZE)
    depth, _ = plane_depths(replace(scene, ground=Plane(offset=height)), camera)
    shown = np.zeros((120, 208), bool)
    scene = replace(scene, plate=Plate(grey, grey, shown, np.minimum(depth, 50.0)))
    shot = film(moved(scene, [[np.eye(4)]]), **SIZE)
    darkest = shot.rgb[0].numpy()[(shot.mask[0] == 0).numpy()].min()
    assert (darkest < 0.5) == darkened


def test_outlines_are_smooth():
    scene = boxes((0.0, 0.0, 0.4), **SIZE)
    turn = turned((0.2, 1, 0.1), 0.5, (0.0, 0.0, 0.4))
    small = film(moved(scene, [[turn]]), width=208, height=120)
    large = film(moved(scene, [[turn]]), width=208 * 4, height=120 * 4)
    coverage = large.mask[0].numpy().reshape(120, 4, 208, 4).mean((1, 3))
    error = np.abs(small.mask[0].numpy() - coverage)
    assert error.max() <= 0.36  # four samples see a cover to within a quarter, and a corner to a little more
    edge = (coverage > 0) & (coverage < 1)
    assert error[edge].mean() < 0.12  # hard edges: 0.25


def test_what_is_hidden_by_another_body_is_not_seen():
    scene = boxes((0.0, -0.8, 0.25), (0.0, 0.8, 0.2), width=208, height=120)
    scene = replace(scene, view=still_view(pitch_deg=2.0))
    shot = film(moved(scene, [[translation(0.6), np.eye(4)], [np.eye(4), np.eye(4)]]), **SIZE)
    behind = shot.tracks.part == 1
    assert shot.tracks.visible[0, behind].all() and not shot.tracks.visible[1, behind].any()
    assert not shot.visible[0][shot.instance[0] == 2].any()


def test_shards_take_over_the_tracks_and_the_flow_of_what_broke():
    scene = picture_scene(**SIZE, bodies=((104, 60, 90, 50),))
    block = replace(scene.bodies[0], position=(0.0, 0.0, 0.0), surface=box(0.4, 0.2, 0.3))
    motion = shattered(replace(scene, bodies=(block,)), 9, 5)
    shot = film(motion, **SIZE)
    assert (shot.instance[1:] == 1).any(-1).any(-1).all() and shot.names == ("body 0",)
    on = shot.tracks.part == 0
    assert shot.tracks.visible[2, on].float().mean() > 0.7
    # A tracked point moves from frame 1, whole, to frame 2, in shards, as the flow at its pixel says.
    for point, after, seen in zip(
        shot.tracks.at[1][on], shot.tracks.at[2][on], shot.tracks.visible[2][on], strict=True
    ):
        if seen:
            i, j = (int(c) for c in point)
            assert (shot.flow[1, j, i] - (after - point)).abs().max() < 0.5


def test_a_part_that_reaches_behind_the_camera_is_cut_at_the_camera():
    long = Body(name="beam", shapes=(), position=(0.0, -2.0, 0.3), surface=box(0.1, 4.0, 0.1))
    scene = Scene(bodies=(long,), view=still_view(pitch_deg=20.0), **SIZE)
    shot = film(moved(scene, [[np.eye(4)]]), **SIZE)
    on = shot.instance[0] == 1
    assert on[-1].any() and 0.05 < on.float().mean() < 0.5
    rows, columns = on.nonzero(as_tuple=True)
    for j, i in list(zip(rows.tolist(), columns.tolist(), strict=True))[::97]:
        at = world_point(shot, 0, i + 0.5, j + 0.5, float(shot.depth[0, j, i])) - np.array(long.position)
        assert np.max(np.abs(at) / (0.1, 4.0, 0.1)) == pytest.approx(1.0, abs=5e-3)


def test_a_video_of_another_size_shows_the_same_and_says_what_it_cuts_off():
    scene = picture_scene(width=416, height=240, bodies=((208, 120, 60, 50),))
    whole = film(moved(scene, [[np.eye(4)]]), width=208, height=120)
    small = cv2.resize(scene.plate.picture, (208, 120), interpolation=cv2.INTER_AREA) / 255
    assert whole.remarks == () and psnr(whole.rgb[0], small) > 45
    cut = film(moved(scene, [[np.eye(4)]]), width=240, height=240)
    assert psnr(cut.rgb[0], scene.plate.picture[:, 88:-88] / 255) > 35
    assert "42% is cut off at left and right" in cut.remarks[0]


def test_a_body_that_is_not_drawn_hides_and_lends_its_depth():
    scene = picture_scene(**SIZE, bodies=BODIES[:1])
    table = Body(
        name="table", shapes=(), position=(0.3, -0.6, 0.3), surface=box(0.4, 0.05, 0.5), appearance=None, fixed=True
    )
    scene = replace(scene, bodies=(*scene.bodies, table))
    shot = film(moved(scene, [[np.eye(4)] * 2, [translation(0.55), np.eye(4)]]), **SIZE)
    bare = film(moved(replace(scene, bodies=scene.bodies[:1]), [[np.eye(4)], [translation(0.55)]]), **SIZE)
    assert shot.mask[1].sum() < 0.9 * bare.mask[1].sum()
    assert (shot.depth[0] < bare.depth[0] - 0.1).any() and not (shot.instance == 2).any()


def test_frames_come_one_by_one_as_film_has_them():
    scene = picture_scene(**SIZE, bodies=BODIES)
    motion = drift(scene, 6)
    shot, seen = film(motion, **SIZE), 0
    for frame in stream(motion, **SIZE):
        assert np.array_equal(frame.rgb, shot.rgb[frame.index].numpy())
        assert np.array_equal(frame.mask, shot.mask[frame.index].numpy())
        if frame.flow is not None:
            assert np.array_equal(frame.flow, shot.flow[frame.index].numpy())
        seen += 1
    assert seen == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(width=4), "4x120 cannot be drawn"),
        (dict(c2w=np.zeros((3, 4, 4))), r"poses \[3, 4, 4\].*2 frames"),
        (dict(c2w=np.full((2, 4, 4), np.nan)), "not finite"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_numbers(change, words):
    scene = boxes((0.0, 0.0, 0.25))
    with pytest.raises(SceneError, match=words):
        film(moved(scene, [[np.eye(4)]] * 2), **{**SIZE, **change})
    motion = moved(scene, [[np.full((4, 4), np.nan)]] * 2)
    with pytest.raises(SceneError, match="come apart"):
        film(motion, **SIZE)
