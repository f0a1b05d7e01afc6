"""What a camera sees of a motion: the picture at rest; exact depth, flow, masks and tracks; smooth edges."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from pictured import moved, picture_scene, still_view, translation, turned
from vdit.geometry.camera_numpy import focal_length, project
from vdit.world.drawing.film import film
from vdit.world.scene import Body, Colored, Mesh, Scene

SIZE = dict(width=208, height=120)
BODIES = ((75, 55, 24, 20), (140, 65, 20, 26))


def box(x, y, z):
    corners = np.array([(i, j, k) for i in (-x, x) for j in (-y, y) for k in (-z, z)])
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    return Mesh(corners, np.array([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))]))


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


def test_flow_leads_each_point_to_itself_in_the_next_frame():
    scene = picture_scene(width=416, height=240, bodies=((150, 110, 48, 40), (280, 130, 40, 52)))
    scene = replace(scene, light=replace(scene.light, shadow=0.0))
    shot = film(drift(scene, 6), width=416, height=240)
    errors = []
    for t in range(1, 5):
        v, u = np.mgrid[:240, :416].astype(np.float32)
        flow = shot.flow[t].numpy()
        there = cv2.remap(shot.rgb[t + 1].numpy(), u + flow[..., 0], v + flow[..., 1], cv2.INTER_CUBIC)
        body = (shot.instance[t] > 0).numpy() & shot.visible[t].numpy() & (shot.mask[t].numpy() > 0.999)
        assert body.sum() > 0.85 * (shot.instance[t] > 0).sum()
        errors.append(np.abs(there - shot.rgb[t].numpy()).max(-1)[body])
    assert np.median(np.concatenate(errors)) <= 1 / 255


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
