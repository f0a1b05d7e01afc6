"""Camera paths from keys, 3D viewers and the core's moves; WAN_CAMERA_EMBEDDING against formulas and a real core."""

import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from vdit.control import ControlError
from vdit.control.camera import CameraPath
from vdit.control.load3d import path_through, viewpoint
from vdit.control.moves import move
from vdit.control.walk import Pace, frames_of, read_walk, walk
from vdit.control.wan_camera import CORE_LENS, LENSES, MOVES, camera_embedding, core_move

F64 = torch.float64

# --- keys


@pytest.mark.parametrize(
    "text, frames",
    [
        ("w-31", 125),
        ("w-3, right-1", 17),
        ("w,a,s,d", 65),
        ("w+left 2s; l 8f\nd:0.5", 1 + 48 + 8 + 2),
        ("→-2", 9),
        ("W-1, Up-1", 9),
        ("stay-2", 9),
        ("wd-1", 5),
    ],
)
def test_keys_are_read_as_the_demos_write_them(text, frames):
    assert frames_of(read_walk(text, Pace())) == frames == walk(text, Pace()).frames


def test_a_walk_is_that_of_hy_worldplay():
    """For each latent frame: a turn about the camera's own axis, then a step along its own axes."""
    words = [("w", 3), ("right", 2), ("d", 1), ("up", 2), ("w", 2), ("left", 1), ("s", 1), ("a", 1), ("down", 1)]
    pose, expected = np.eye(4), [np.eye(4)]
    step, turn = 0.08, math.radians(3)

    def about(axis, angle):
        c, s = math.cos(angle), math.sin(angle)
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]] if axis == "y" else [[1, 0, 0], [0, c, -s], [0, s, c]])

    for key, count in words:
        for _ in range(count):
            yaw, pitch = {"right": (turn, 0), "left": (-turn, 0), "up": (0, turn), "down": (0, -turn)}.get(key, (0, 0))
            pose = pose.copy()
            pose[:3, :3] = pose[:3, :3] @ about("y", yaw) @ about("x", pitch)
            way = {"w": (0, 0, step), "s": (0, 0, -step), "d": (step, 0, 0), "a": (-step, 0, 0)}.get(key, (0, 0, 0))
            pose[:3, 3] += pose[:3, :3] @ np.array(way)
            expected.append(pose)
    path = walk(", ".join(f"{key}-{count}" for key, count in words), Pace())
    assert np.allclose(path.c2w[::4].numpy(), np.stack(expected), atol=1e-12)


def test_who_walks_level_stays_on_the_ground():
    path = walk("up-5, w-4, right-10, w-4", Pace(by="level with the ground"))
    assert path.c2w[:, 1, 3].abs().max() == 0
    assert torch.allclose(
        path.c2w[-1, 1, :3], torch.tensor([0.0, math.cos(math.radians(15)), -math.sin(math.radians(15))]).double()
    )
    assert walk("up-5, w-4", Pace()).c2w[-1, 1, 3] < -0.05


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "it is empty"),
        ("w-3, x-2", r"step 2 \('x-2'\): expected keys"),
        ("w--3", "expected keys"),
        ("w-", "expected keys"),
        ("-3", "expected keys"),
        ("w+s-1", "w and s cancel each other"),
        ("right+j-1", "left and right cancel"),
        ("w-0", "less than one frame"),
        ("w-9999", "at most 1,001"),
        ("w" * 20_001, "characters"),
        ("w-3 right-1", "expected keys"),
    ],
)
def test_what_is_no_walk_is_refused_by_the_step(text, words):
    with pytest.raises(ControlError, match=words):
        walk(text, Pace())


@pytest.mark.parametrize("pace", [{"metres": float("nan")}, {"degrees": 91.0}, {"unit": "miles"}, {"by": "car"}])
def test_a_pace_that_means_nothing_is_refused(pace):
    with pytest.raises(ControlError, match="walk: "):
        walk("w-1", Pace(**pace))


# --- 3D viewers


def info(yaw=0.0, pitch=0.0, distance=4.0, target=(0.0, 0.0, 0.0), **more):
    """What CreateCameraInfo gives in its mode "orbit": right-handed, y up, yaw from +z to +x."""
    y, p = math.radians(yaw), math.radians(pitch)
    at = (
        target[0] + distance * math.cos(p) * math.sin(y), target[1] + distance * math.sin(p),
        target[2] + distance * math.cos(p) * math.cos(y),
    )  # fmt: skip
    vector = lambda v: dict(zip("xyz", v, strict=True))  # noqa: E731
    return {"position": vector(at), "target": vector(target), "zoom": 1, "cameraType": "perspective", "fov": 35} | more


def through(*infos, **more):
    return path_through([viewpoint(one, f"view {i}", 35.0) for i, one in enumerate(infos)], 9, **more)


def test_a_turntable_goes_round_its_target_with_a_level_horizon():
    path = through(info(yaw=20, pitch=30), orbit_deg=360.0, easing="linear")
    target = torch.tensor([0.0, 0.0, 4.0, 1.0], dtype=F64)
    seen = torch.linalg.inv(path.c2w) @ target
    assert torch.allclose(seen, target.expand(9, 4), atol=1e-9), "the target stays where it is in the picture"
    assert torch.allclose(path.c2w[-1], torch.eye(4, dtype=F64), atol=1e-9)
    up = torch.tensor([0.0, -math.cos(math.radians(30)), -math.sin(math.radians(30))], dtype=F64)  # in the first camera
    assert torch.allclose((path.c2w[:, :3, 0] * up).sum(1), torch.zeros(9, dtype=F64), atol=1e-9)
    assert path.c2w[2, 0, 3] > 1, "to the right first"


def test_between_two_views_the_camera_keeps_its_distance():
    path = through(info(yaw=-60), info(yaw=60), easing="linear", metres=0.5)
    centre = torch.tensor([0.0, 0.0, 2.0], dtype=F64)
    assert torch.allclose((path.c2w[:, :3, 3] - centre).norm(dim=1), torch.full((9,), 2.0, dtype=F64))
    near, far = through(info(distance=1.0), info(distance=9.0)), through(info(yaw=170), info(yaw=-170), easing="linear")
    assert near.c2w[-1, 2, 3] == pytest.approx(-8.0)
    step = (far.c2w[1, :3, 3] - far.c2w[0, :3, 3]).norm()
    assert step == pytest.approx(2 * 4 * math.sin(math.radians(20 / 8 / 2))), "the shorter way round"


def test_a_quaternion_adds_its_roll_and_zoom_narrows_the_view():
    roll = math.radians(30)
    rolled = info(quaternion={"x": 0, "y": 0, "z": math.sin(roll / 2), "w": math.cos(roll / 2)}, zoom=2)
    path = through(info(), rolled)
    assert torch.allclose(path.c2w[-1, :3, 0], torch.tensor([math.cos(roll), -math.sin(roll), 0.0]).double())
    assert path.fov_deg[0] == pytest.approx(35) and path.fov_deg[-1] == pytest.approx(
        2 * math.degrees(math.atan(math.tan(math.radians(17.5)) / 2))
    )
    without = info()
    del without["fov"]
    assert viewpoint(without, "view", 50.0).fov_deg == pytest.approx(50)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"cameraType": "orthographic"}, "orthographic"),
        ({"position": {"x": 1, "y": 2}}, "position is"),
        ({"position": {"x": float("nan"), "y": 0, "z": 1}}, "position is"),
        ({"position": {"x": 0, "y": 0, "z": 0}}, "the same point"),
        ({"quaternion": {"x": 0, "y": 0, "z": 0, "w": 2}}, "length 2"),
        ({"zoom": 0}, "zoom is 0"),
        ({"fov": 180}, "fov is 180"),
    ],
)
def test_a_viewers_camera_that_cannot_be_is_refused_by_its_field(wrong, words):
    with pytest.raises(ControlError, match=words):
        viewpoint(info(**wrong), "camera_info", 35.0)
    with pytest.raises(ControlError, match="expected the camera_info"):
        viewpoint("text", "camera_info", 35.0)


# --- WAN_CAMERA_EMBEDDING


def by_formula(name, width, height, length, speed):
    """The nine moves from their definition: Pluecker rays (o x d, d), lens 0.5, 0.5 of a frame of 16:9."""
    turn, way = MOVES[name]
    focal = np.array([8 / 9, 0.5]) * max(height, width * 9 / 16)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = []
    for i in range(length):
        s = i / length * speed
        angle = math.pi / 3 * turn * s
        c, si = math.cos(angle), math.sin(angle)
        d = np.stack(((x - width / 2) / focal[0], (y - height / 2) / focal[1], np.ones_like(x)), -1)
        d = d / np.linalg.norm(d, axis=-1, keepdims=True) @ np.array([[c, -si, 0], [si, c, 0], [0, 0, 1]]).T
        o = np.broadcast_to(1.5 * s * np.array(way), d.shape)
        rays.append(np.concatenate((np.cross(o, d), d), -1))
    frames = np.stack([rays[0]] * 3 + rays).reshape(-1, 4, height, width, 6)
    return torch.from_numpy(frames.transpose(4, 1, 0, 2, 3).reshape(1, 24, -1, height, width)).float()


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("size", [(48, 32), (32, 64), (64, 32)])
@pytest.mark.parametrize("name", MOVES)
def test_the_nine_moves_follow_their_formulas(name, size):
    made = camera_embedding(core_move(name, 9, 1.3), *size, CORE_LENS)
    assert relative(made, by_formula(name, *size, 9, 1.3)) < 1e-6


CORE = """
import json, sys
sys.argv = sys.argv[:1] + ["--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import torch
from comfy_extras.nodes_camera_trajectory import WanCameraEmbedding
cases = json.loads({cases!r})
torch.save([WanCameraEmbedding.execute(*case).result[0] for case in cases], {path!r})
"""


@pytest.mark.skipif("COMFYUI_PATH" not in os.environ, reason="needs a real ComfyUI, named by COMFYUI_PATH")
def test_the_nine_moves_equal_the_cores_node(tmp_path):
    cases = [(name, *size, 17, speed) for name in MOVES for size, speed in (((80, 48), 1.0), ((48, 64), 2.5))]
    script = CORE.format(cases=json.dumps(cases), path=str(tmp_path / "core.pt"))
    python = os.environ.get("COMFYUI_PYTHON", "python")
    core = Path(os.environ["COMFYUI_PATH"])
    env = {**os.environ, "PYTHONPATH": str(core)}
    done = subprocess.run([python, "-c", script], cwd=core, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for case, expected in zip(cases, torch.load(tmp_path / "core.pt"), strict=True):
        name, width, height, length, speed = case
        made = camera_embedding(core_move(name, length, speed), width, height, CORE_LENS)
        assert made.shape == expected.shape and relative(made, expected) <= 1e-5


def test_a_path_has_the_rays_that_our_own_model_reads():
    from vdit.control.signals import plucker

    path = move("orbit", frames=9, fov_deg=50.0)
    made = camera_embedding(path, 64, 48)
    assert torch.allclose(made[0], plucker(path.c2w, path.fov_deg, 64, 48, 16, 16), atol=1e-6)


@pytest.mark.parametrize(
    "frames, size, lens, words",
    [
        (8, (64, 48), "the path's", "8 poses.*make it 5 or 9"),
        (9, (60, 48), "the path's", "60x48 pixels; expected multiples of 16"),
        (9, (64, 48), "fisheye", "no lens is named"),
    ],
)
def test_an_embedding_that_wan_does_not_take_is_refused(frames, size, lens, words):
    with pytest.raises(ControlError, match=words):
        camera_embedding(move("pan", frames=frames), *size, lens)
    with pytest.raises(ControlError, match="camera move 'Up'"):
        core_move("Up", 9)


# --- the nodes


def test_the_nodes_offer_what_the_library_knows():
    from vdit.control import render_targets, walk
    from vdit.nodes import camera_render, camera_sources

    assert (camera_render.TARGETS, camera_render.FILLS) == (tuple(render_targets.TARGETS), render_targets.FILLS)
    assert (camera_sources.UNITS, camera_sources.MOVES_BY) == (walk.UNITS, walk.MOVES_BY)
    assert (camera_sources.MOVES, camera_sources.LENSES) == (tuple(MOVES), LENSES)


def test_the_nodes_hand_paths_on():
    from vdit.host.api import call
    from vdit.nodes.camera_sources import VDiTCameraFrom3D, VDiTWalk, VDiTWanCameraEmbedding

    path, plot, text, frames = call(
        VDiTWalk, {"keys": "w-2, right-2", "unit": "latent frames", "each": 1.0, "metres": 0.1, "degrees": 5.0,
                   "moves": "as the camera looks", "fps": 24.0, "fov_deg": 40.0}
    ).result  # fmt: skip
    assert isinstance(path, CameraPath) and path.frames == frames == 17 and plot.ndim == 4 and '"c2w"' in text
    widgets = {"move": "the camera path", "width": 64, "height": 48, "length": 17, "speed": 1.0, "lens": "the path's"}
    made = call(VDiTWanCameraEmbedding, widgets | {"camera": path}).result
    assert tuple(made[0].shape) == (1, 24, 5, 48, 64) and made[1:] == (64, 48, 17)
    with pytest.raises(ControlError, match="camera path is for 17 frames"):
        call(VDiTWanCameraEmbedding, widgets | {"camera": path, "length": 21})
    with pytest.raises(ControlError, match="set move to"):
        call(VDiTWanCameraEmbedding, widgets | {"camera": path, "move": "Pan Up"})
    turned = call(
        VDiTCameraFrom3D, {"camera_info": info(), "camera_info_2": info(yaw=40), "frames": 17, "easing": "smooth",
                           "orbit_deg": 0.0, "metres": 1.0, "fov_deg": 35.0}
    ).result[0]  # fmt: skip
    assert turned.stretch and turned.frames == 17
    assert call(VDiTWanCameraEmbedding, widgets | {"camera": turned, "length": 21}).result[0].shape[2] == 6
