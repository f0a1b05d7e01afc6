"""MuJoCo models as scenes: everything a file names comes along, and nothing else is ever opened."""

import os
import struct
from pathlib import Path

import mujoco
import numpy as np
import pytest
from vdit.world.mjcf import compiled, described, read_mjcf, scene_of
from vdit.world.mjcf_files import MOST_GEOMS, read_mechanism
from vdit.world.mjcf_out import to_mjcf
from vdit.world.scene import Mechanism, SceneError
from vdit.world.scene_file import dumps, loads, loads_actions
from vdit.world.simulate import simulate

INPUTS = Path(__file__).parent.parent / "workflows" / "inputs"
CUBE = "".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1)) + "f 1 2 4\nf 5 7 8\nf 1 5 6\n"


def png(*size: int) -> bytes:
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.new("RGB", size or (4, 4), (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


def stl(triangles: int = 4) -> bytes:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
    body = b"".join(struct.pack("<3f", 0, 0, 1) + corners[list(f)].tobytes() + b"\0\0" for f in faces)
    return b"\0" * 80 + struct.pack("<I", triangles) + body


def robot(folder: Path) -> Path:
    """A model in several files: includes in a folder, meshes and textures in theirs."""
    (folder / "parts").mkdir(parents=True)
    (folder / "assets" / "pictures").mkdir(parents=True)
    (folder / "assets" / "cube.obj").write_text(CUBE)
    (folder / "assets" / "wedge.stl").write_bytes(stl())
    (folder / "assets" / "pictures" / "wood.png").write_bytes(png())
    (folder / "parts" / "arm.xml").write_text(
        '<mujocoinclude><body name="arm" pos="0 0 1"><joint name="swing" axis="0 1 0"/>'
        '<geom type="mesh" mesh="cube" material="wood"/><include file="hand.xml"/></body></mujocoinclude>'
    )
    (folder / "parts" / "hand.xml").write_text(
        '<mujocoinclude><body name="hand" pos="0 0 1"><joint type="slide" name="reach"/>'
        '<geom type="mesh" mesh="wedge"/></body></mujocoinclude>'
    )
    path = folder / "robot.xml"
    path.write_text(
        '<mujoco><compiler meshdir="assets" texturedir="assets/pictures"/><option gravity="0 0 -1.6"/>'
        '<asset><mesh file="cube.obj"/><mesh file="wedge.stl" scale=".5 .5 .5"/><hfield name="hills" nrow="4" ncol="4" '
        'size="1 1 1 1"/><texture type="2d" name="t" file="wood.png"/><material name="wood" texture="t"/></asset>'
        '<worldbody><geom type="plane" size="3 3 .1" pos="0 0 -.5" friction=".3"/><include file="parts/arm.xml"/>'
        '</worldbody><actuator><motor name="push" joint="swing" ctrlrange="-1 1" ctrllimited="true"/>'
        '<motor joint="reach"/></actuator><sensor><jointpos name="angle" joint="swing"/></sensor></mujoco>'
    )
    return path


def stepped(model: mujoco.MjModel, steps: int = 200) -> np.ndarray:
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, nstep=steps)
    return data.qpos.copy()


def test_a_model_of_many_files_moves_as_mujoco_moves_it(tmp_path, monkeypatch):
    path = robot(tmp_path / "robot")
    truth = stepped(mujoco.MjModel.from_xml_path(str(path)))
    scene = read_mjcf(path)
    monkeypatch.chdir(os.path.realpath("/"))
    for file in (tmp_path / "robot").rglob("*.*"):
        file.unlink()  # the mechanism has all it needs
    np.testing.assert_array_equal(stepped(compiled(scene.mechanism)), truth)
    assert set(scene.mechanism.assets) == {"cube.obj", "wedge.stl", "wood.png"}
    np.testing.assert_array_equal(stepped(compiled(loads(dumps(scene)).mechanism)), truth)


def test_ground_gravity_and_what_can_be_commanded_are_told(tmp_path):
    scene = read_mjcf(robot(tmp_path))
    assert scene.gravity == (0.0, 0.0, -1.6)
    assert scene.ground.offset == -0.5 and scene.ground.material.friction == 0.3 and not scene.ground.solid
    text = "\n".join(described(scene.mechanism))
    for part in ("swing (hinge)", "reach (slide)", "push (-1 to 1)", "sensors: angle", "cannot be commanded"):
        assert part in text


def test_the_fitted_view_sees_the_whole_model(tmp_path):
    from vdit.geometry.camera_numpy import project

    scene = read_mjcf(robot(tmp_path))
    model = compiled(scene.mechanism)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    corners = data.geom_xpos[1:, None] + model.geom_rbound[1:, None, None] * np.array([[0, 0, 1], [0, 0, -1]]) * 0.99
    u, v, depth = project(corners.reshape(-1, 3), scene.view.c2w, scene.view.fov_deg, scene.width, scene.height)
    assert (
        (depth > 0).all() and (0 < u).all() and (u < scene.width).all() and (0 < v).all() and (v < scene.height).all()
    )
    assert np.ptp(v) > scene.height / 3


def test_the_models_own_camera_is_taken():
    xml = (
        '<mujoco><worldbody><camera pos="0 -3 1" xyaxes="1 0 0 0 0 1" fovy="50"/><geom size="1"/></worldbody></mujoco>'
    )
    view = scene_of(Mechanism(xml)).view
    np.testing.assert_allclose(view.c2w, [[1, 0, 0, 0], [0, 0, 1, -3], [0, -1, 0, 1], [0, 0, 0, 1]], atol=1e-12)
    assert view.fov_deg == 50


def outside(folder: Path) -> None:
    (folder.parent / "secret.obj").write_text(CUBE)
    (folder.parent / "secret.xml").write_text('<mujocoinclude><geom size="1"/></mujocoinclude>')
    (folder.parent / "secret.png").write_bytes(png())
    (folder / "link.obj").symlink_to(folder.parent / "secret.obj")
    (folder / "linked").symlink_to(folder.parent, target_is_directory=True)


@pytest.mark.parametrize(
    "inner",
    [
        '<asset><mesh file="../secret.obj"/></asset>',
        '<asset><mesh file="{parent}/secret.obj"/></asset>',
        '<asset><mesh file="link.obj"/></asset>',
        '<asset><mesh file="linked/secret.obj"/></asset>',
        '<compiler meshdir=".."/><asset><mesh file="secret.obj"/></asset>',
        '<compiler assetdir="{parent}"/><asset><mesh file="secret.obj"/></asset>',
        '<compiler texturedir=".."/><asset><texture name="t" type="cube" fileup="secret.png"/></asset>',
        '<asset><hfield name="h" file="../secret.png" size="1 1 1 1"/></asset>',
        '<deformable><skin file="../secret.skn"/></deformable>',
        '<worldbody><flexcomp name="f" type="mesh" file="../secret.obj"/></worldbody>',
        '<worldbody><include file="../secret.xml"/></worldbody>',
        '<worldbody><include file="linked/secret.xml"/></worldbody>',
    ],
)
def test_no_file_outside_of_the_models_folder_is_opened(tmp_path, inner, monkeypatch):
    folder = tmp_path / "robot"
    folder.mkdir()
    outside(folder)
    (folder / "r.xml").write_text(f"<mujoco>{inner.format(parent=tmp_path)}</mujoco>")
    opened = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path) or read(path))
    with pytest.raises(SceneError, match="outside of the model's folder"):
        read_mjcf(folder / "r.xml")
    assert opened == [folder / "r.xml"]


@pytest.mark.parametrize(
    "inner, message",
    [
        ('<asset><mesh file="gone.obj"/></asset>', "no such file as .*gone.obj"),
        ('<worldbody><include file="gone.xml"/></worldbody>', "no such file"),
        ('<extension><plugin plugin="mujoco.sdf.torus"/></extension>', r"plugin \(mujoco.sdf.torus\)"),
        ('<worldbody><geom size="1"/><body><plugin plugin="x"/></body></worldbody>', "plugin"),
        ('<worldbody>' + 2 * '<replicate count="1000">' + '<geom size="1"/></replicate></replicate></worldbody>',
         "1,000,000 geoms with all copies"),
        ('<worldbody><flexcomp name="f" count="900 900 1" type="grid"/></worldbody>', "810,000 geoms"),
        ('<asset><texture name="t" builtin="flat" width="100000" height="100000"/></asset>', "100,000 x 100,000"),
        ('<asset><hfield name="h" nrow="100000" ncol="100000" size="1 1 1 1"/></asset>', "100,000 x 100,000"),
        ('<size memory="900G"/>', "size memory"),
        ('<size nuserdata="2000000000"/>', "size nuserdata"),
        ('<worldbody><geom type="ball" size="1"/></worldbody>', "MuJoCo cannot compile the model: .*ball"),
        ('<asset><model name="m" file="r.xml"/></asset>', "made of other models"),
        ("<worldbody>", "no XML"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_before_it_is_compiled(tmp_path, inner, message):
    (tmp_path / "r.xml").write_text(f"<mujoco>{inner}</mujoco>")
    with pytest.raises(SceneError, match=message):
        read_mjcf(tmp_path / "r.xml")


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no XML"),
        ('<robot name="r"><link name="l"/></robot>', "URDF"),
        ("<scene/>", "expected an MJCF file"),
        ('<!DOCTYPE m [<!ENTITY a "aaaa">]><mujoco model="&a;"/>', "DOCTYPE"),
    ],
)
def test_what_is_no_mjcf_is_refused(tmp_path, text, message):
    (tmp_path / "r.xml").write_text(text)
    with pytest.raises(SceneError, match=message):
        read_mjcf(tmp_path / "r.xml")


@pytest.mark.parametrize("inner", ['<mesh file="/etc/hostname" content_type="model/obj"/>', '<mesh file="a.obj"/>'])
def test_a_mechanism_inside_a_scene_file_opens_no_files(inner):
    scene = scene_of(Mechanism('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>'))
    text = dumps(scene).replace("<mujoco>", f"<mujoco><asset>{inner}</asset>".replace('"', '\\"'))
    with pytest.raises(SceneError, match="not among the mechanism's assets"):
        loads(text)


def test_files_of_one_name_stay_two(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.obj").write_text(CUBE.replace("v 1", "v 2") if folder == "a" else CUBE)
    (tmp_path / "r.xml").write_text(
        '<mujoco><asset><mesh name="x" file="a/part.obj"/><mesh name="y" file="b/part.obj"/></asset><worldbody>'
        '<geom type="mesh" mesh="x"/><geom type="mesh" mesh="y"/></worldbody></mujoco>'
    )
    model = compiled(read_mechanism(tmp_path / "r.xml"))
    truth = mujoco.MjModel.from_xml_path(str(tmp_path / "r.xml"))
    np.testing.assert_array_equal(model.geom_size, truth.geom_size)
    assert not np.allclose(model.geom_size[0], model.geom_size[1])


def test_many_geoms_are_read_up_to_the_limit(tmp_path):
    (tmp_path / "r.xml").write_text(
        f'<mujoco><worldbody><replicate count="{MOST_GEOMS}"><geom size=".1"/></replicate></worldbody></mujoco>'
    )
    read_mechanism(tmp_path / "r.xml")


def test_the_arm_lifts_the_box_and_knocks_the_can_over():
    scene = read_mjcf(INPUTS / "vdit-robot-arm.xml")
    actions = loads_actions((INPUTS / "vdit-robot-arm.json").read_text())
    model = compiled(scene.mechanism)
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    highest = 0.0
    while data.time < 5:
        for a in actions:
            data.ctrl[model.actuator(a.actuator).id] = np.interp(data.time, *zip(*a.targets, strict=True))
        mujoco.mj_step(model, data)
        highest = max(highest, float(data.body("box").xpos[2]))
    assert highest > 0.2, "the box was not lifted"
    assert abs(data.body("can").xmat[8]) < 0.2, "the can still stands"
    assert not data.warning.number.any()


def scene_of_bodies(**changes):
    from vdit.world.scene import MATERIALS, Body, Colored, Joint, Scene, Shape, View

    c2w = np.array([[1, 0, 0, 0], [0, 0, 1, -4], [0, -1, 0, 1], [0, 0, 0, 1.0]])
    gem = np.random.default_rng(2).normal(size=(14, 3)) * 0.1
    head = Shape(kind="box", size=(0.1, 0.05, 0.04), position=(0.0, 0.0, 0.2))
    turned = (np.cos(1 / 3), 0.0, np.sin(1 / 3), 0.0)
    bodies = (
        Body(name="gem", shapes=(Shape(kind="hull", vertices=gem),), position=(0.01, 0.0, 0.7), rotation=turned),
        Body(
            **dict(name="hammer", position=(0.6, 0.0, 1 / 3), velocity=(1.0, 0.2, 0.0), spin=(0.0, 2.0, 1.0)),
            shapes=(Shape(kind="capsule", size=(0.03, 0.2)), head),
            appearance=Colored((1.0, 0.5, 0.0)),
            material=MATERIALS["steel"],
        ),
        Body(
            **dict(name="door", position=(-0.6, 0.0, 0.5), shapes=(Shape(kind="box", size=(0.2, 0.02, 0.3)),)),
            joint=Joint(kind="hinge", anchor=(-0.8, 0.0, 0.5), axis=(0.0, 0.1, 1.0), range=(-1.0, 1.0)),
            spin=(0.0, 0.0, 1.0),
        ),
    )
    return Scene(**{"bodies": bodies, "view": View(c2w, 40.0), "gravity": (0.0, 0.0, -9.81), **changes})


def test_a_scene_moves_in_mujoco_as_it_does_here():
    from vdit.world.acting import set_velocities
    from vdit.world.actions import Spin, Throw
    from vdit.world.dynamics import compile_world
    from vdit.world.mjcf_out import to_mjcf
    from vdit.world.simulate import step_for

    scene = scene_of_bodies()
    world = compile_world(scene, scene.bodies, (), step_for(scene.bodies))
    for b in scene.bodies:
        set_velocities(world, [Throw(body=b.name, velocity=b.velocity)] if any(b.velocity) else [])
        set_velocities(world, [Spin(body=b.name, spin=b.spin)] if any(b.spin) else [])
    out = to_mjcf(scene)
    model = compiled(out)
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    for steps in (50, 100):
        mujoco.mj_step(model, data, nstep=steps)
        mujoco.mj_step(world.model, world.data, nstep=steps)
        np.testing.assert_allclose(data.qpos, world.data.qpos, atol=1e-9)
    assert read_back(out) == {"body/gem", "body/hammer", "body/door"}


def read_back(mechanism):
    from vdit.world.simulate import simulate

    motion = simulate(scene_of(mechanism), seconds=0.3, fps=10)
    return {p.body for p in motion.parts}


def test_a_mechanism_alone_is_given_as_it_is_and_beside_bodies_it_keeps_its_names(tmp_path):
    from vdit.world.mjcf_out import to_mjcf

    scene = read_mjcf(robot(tmp_path))
    assert to_mjcf(scene) is scene.mechanism
    both = to_mjcf(scene_of_bodies(mechanism=scene.mechanism))
    model = compiled(both)
    assert model.actuator(0).name == "mechanism/push" and model.body("body/gem").id > 0


def test_a_robots_pictures_depth_segmentation_and_flow_agree_with_its_joints():
    from vdit.geometry.camera_numpy import project
    from vdit.world.filming import Filming, filmed

    scene = read_mjcf(INPUTS / "vdit-robot-arm.xml")
    actions = loads_actions((INPUTS / "vdit-robot-arm.json").read_text())
    motion, seen = filmed(scene, actions, Filming(seconds=1.0, fps=8.0, width=208, height=120))
    assert {"upper arm", "hand", "left finger", "box", "can"} <= set(seen.names)
    assert seen.rgb.shape == (9, 120, 208, 3) and seen.rgb.std() > 0.05
    # The centre of the wrist's capsule, half its radius under what is seen of it.
    wrist = next(i for i, p in enumerate(motion.parts) if p.body == "wrist")
    u, v, z = project(motion.poses[:, wrist, :3, 3], seen.c2w, seen.fov_deg, 208, 120)
    number = seen.names.index("wrist") + 1
    at = (np.arange(9), v.astype(int), u.astype(int))
    assert (seen.instance.numpy()[at] == number).all()
    assert np.abs(seen.depth.numpy()[at] - z + 0.03).max() < 0.03
    flow = seen.flow.numpy()[at[0][:-1], at[1][:-1], at[2][:-1]]
    way = np.stack((np.diff(u), np.diff(v)), 1)
    assert np.abs(flow - way).max() < 1.5 and np.abs(way).max() > 3
    assert not (seen.instance.numpy()[0] == 0).all() and (seen.flow.numpy()[seen.instance.numpy()[:-1] == 0] == 0).all()


def test_warnings_of_mujoco_are_written_nowhere(tmp_path, monkeypatch):
    """MuJoCo's own handler writes MUJOCO_LOG.TXT into the current folder; a simulation says them as values."""
    monkeypatch.chdir(tmp_path)
    body = '<body pos="0 0 1"><freejoint/><geom size=".1" mass="1"/></body>'
    nan = Mechanism(f'<mujoco><option wind="NaN 0 0" density="1"/><worldbody>{body}</worldbody></mujoco>')
    made = scene_of(nan)
    to_mjcf(made)
    with pytest.raises(SceneError, match="explodes|fails"):
        simulate(made, seconds=0.5, fps=10)
    start = '<keyframe><key qvel="1e12 0 0 0 0 0"/></keyframe>'
    with pytest.raises(SceneError, match="explodes|fails"):
        simulate(scene_of(Mechanism(f"<mujoco><worldbody>{body}</worldbody>{start}</mujoco>")), seconds=0.5, fps=10)
    assert not list(tmp_path.iterdir())
