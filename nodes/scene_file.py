"""Scene File and Save Scene: a scene kept as JSON, or a robot as MuJoCo's MJCF, and what it is told to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .comfy import file_marks, input_file, io, save_text, verdict
from .types import VDiTActionList, VDiTScene, node_schema, reported

if TYPE_CHECKING:
    from ..world.actions import Actions
    from ..world.families.clip import Clip
    from ..world.scene import Scene

SAVE_TOOLTIPS = {
    "scene": "From VDiT Scene From Picture, VDiT Simulate Scene or VDiT Scene File.",
    "filename_prefix": "Name in the output folder, with folders before slashes; numbers are put behind it.",
}
TOOLTIPS = {
    "file": "In ComfyUI's input folder, or a folder in it: a scene as VDiT Save Scene writes it (.json), or a model of "
    "MuJoCo (MJCF, .xml) with the meshes, textures and other files that it names beside or below it.",
    "actions_file": 'What happens, as JSON in the input folder: {"vdit_actions": 1, "actions": [{"type": "actuate", '
    '"actuator": a name, "targets": [[seconds, value], ...]}, {"type": "push", "body", "impulse", "time"}, ...]}. '
    "Empty: nothing.",
    "-> scene": "For VDiT Actions and VDiT Simulate.",
    "-> actions": "Of actions_file, for VDiT Simulate.",
    "-> remarks": "What is in the scene, a line each: bodies, joints, actuators with the range of their targets, "
    "sensors.",
}


class VDiTSceneFile(io.ComfyNode):
    """Opens a scene from a file: bodies as JSON, or a robot as an MJCF file of MuJoCo, with its joint targets."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.String.Input("file", default="vdit-robot-arm.xml"), io.String.Input("actions_file", default="")]
        outputs = {"scene": VDiTScene, "actions": VDiTActionList, "remarks": io.String}
        return node_schema(cls, "VDiT Scene File", inputs, outputs, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return verdict(cls, file=file)

    @classmethod
    def execute(cls, file: str, actions_file: str) -> io.NodeOutput:
        from ..world.mjcf import described

        scene, actions = _scene(file.strip()), _actions(actions_file.strip())
        bodies = [f"{b.name}: {b.material.name}{', fixed' if b.fixed else ''}" for b in scene.bodies]
        lines = [*bodies, *(described(scene.mechanism) if scene.mechanism else ())]
        return io.NodeOutput(scene, actions, "\n".join(lines), ui=reported(lines))

    @classmethod
    def fingerprint_inputs(cls, file: str = "", actions_file: str = "", **other: object):
        return file_marks(lambda: [path for name in (file, actions_file) for path in _files(name.strip())])


class VDiTSaveScene(io.ComfyNode):
    """Keeps a scene as one JSON file, with its pictures inside. VDiT Scene File opens it from the input folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [VDiTScene.Input("scene"), io.String.Input("filename_prefix", default="scenes/VDiT")]
        return node_schema(cls, "VDiT Save Scene", inputs, {}, SAVE_TOOLTIPS, is_output_node=True)

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None) -> bool | str:
        return verdict(cls, filename_prefix=filename_prefix)

    @classmethod
    def execute(cls, scene: Scene | Clip, filename_prefix: str) -> io.NodeOutput:
        from ..world.scene_file import dumps
        from .scenes import as_scene

        path = save_text(dumps(as_scene(scene)), filename_prefix, ".json")
        return io.NodeOutput(ui=reported([f"saved as {path.name} in {path.parent}"]))


def _files(name: str) -> list[Path]:
    """The input file and, of an MJCF file, all that it names."""
    if not name:
        return []
    path = input_file(name)
    if path.suffix.lower() != ".xml":
        return [path]
    from ..world.mjcf_files import files_of

    return files_of(path)


def check_files(name: str, actions: str) -> None:
    """Raise SceneError or OSError for files that are missing, of another kind or damaged; MuJoCo is not asked."""
    if _path(name).suffix.lower() == ".xml":
        _files(name)
    else:
        _scene(name)
    _actions(actions)


def _path(name: str) -> Path:
    from ..world.opening import check_ending
    from ..world.scene import SceneError

    if not name:
        raise SceneError("file is empty; name a scene (.json) or an MJCF file (.xml) in ComfyUI's input folder")
    path = input_file(name)
    check_ending(path, name)
    return path


def _scene(name: str) -> Scene:
    from ..world.opening import read_scene

    return read_scene(_path(name), name)


def _actions(name: str) -> Actions:
    from ..world.opening import read_text
    from ..world.scene_file import loads_actions

    return loads_actions(read_text(input_file(name)), name) if name else ()
