"""Nodes that open and keep scenes."""

import json
import os

import pytest
from vdit.host import folders
from vdit.nodes import examples
from vdit.nodes.scene_file import VDiTSaveScene, VDiTSceneFile
from vdit.world.scene import SceneError


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    examples.offer()
    return tmp_path / "input"


def test_the_arm_opens_with_its_joint_targets(inputs):
    scene, actions, remarks = VDiTSceneFile.execute("vdit-robot-arm.xml", "vdit-robot-arm.json").args
    assert scene.mechanism is not None and {a.actuator for a in actions} >= {"shoulder", "elbow", "left finger"}
    assert "elbow (-0.175 to 2.62)" in remarks and "grip position" in remarks


def test_a_changed_mesh_changes_the_fingerprint(inputs):
    (inputs / "robot").mkdir()
    (inputs / "robot" / "r.xml").write_text('<mujoco><asset><mesh file="m.obj"/></asset></mujoco>')
    (inputs / "robot" / "m.obj").write_text("v 0 0 0")
    before = VDiTSceneFile.fingerprint_inputs("robot/r.xml")
    assert VDiTSceneFile.fingerprint_inputs("robot/r.xml") == before
    (inputs / "robot" / "m.obj").write_text("v 0 0 0\n")
    assert VDiTSceneFile.fingerprint_inputs("robot/r.xml") != before
    os.remove(inputs / "robot" / "m.obj")
    assert VDiTSceneFile.fingerprint_inputs("robot/r.xml") == "missing"


@pytest.mark.parametrize(
    "file, error, message",
    [
        ("", SceneError, "file is empty"),
        ("gone.json", FileNotFoundError, "no such file"),
        ("../secret.json", ValueError, "secret.json"),
        ("note.txt", SceneError, "expected a scene"),
        ("vdit-robot-arm.json", SceneError, "vdit_scene"),
    ],
)
def test_what_is_no_scene_is_refused(inputs, file, error, message):
    (inputs / "note.txt").write_text("hello")
    (inputs.parent / "secret.json").write_text(json.dumps({"vdit_scene": 1}))
    with pytest.raises(error, match=message):
        VDiTSceneFile.execute(file, "")


def test_a_saved_scene_opens_again(inputs):
    from vdit.world.scene_file import dumps

    scene = VDiTSceneFile.execute("vdit-robot-arm.xml", "").args[0]
    for _ in range(2):
        VDiTSaveScene.execute(scene, "scenes/arm")
    saved = sorted((inputs.parent / "output" / "scenes").iterdir())
    assert [path.name for path in saved] == ["arm_00001_.json", "arm_00002_.json"]
    os.replace(saved[0], inputs / "arm.json")
    assert dumps(VDiTSceneFile.execute("arm.json", "").args[0]) == dumps(scene)
    with pytest.raises(ValueError, match="outside|leads|folder"):
        VDiTSaveScene.execute(scene, "../../scene")
