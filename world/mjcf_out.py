"""A scene as an MJCF file, for MuJoCo's own viewer and whatever else reads it."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from . import checks
from .acting import set_velocities
from .actions import Spin, Throw
from .dynamics import PREFIX, compile_world, warnings_of_mujoco, world_spec
from .scene import Colored, Mechanism, Scene
from .simulate import step_for

if TYPE_CHECKING:
    import mujoco

    from .arrays import Floats


@warnings_of_mujoco()
def to_mjcf(scene: Scene) -> Mechanism:
    """The scene as MJCF text and the files it names: bodies, planes, joints, contacts, velocities as a keyframe.

    Numbers of bodies have all digits; those of a mechanism beside bodies have MuJoCo's six. A mechanism alone is given
    as it is. Restitution, breaking and pictures are not MuJoCo's, and left out. Raises SceneError as simulate does.
    """
    checks.check(scene)
    if scene.mechanism is not None and not scene.bodies:
        return scene.mechanism
    step_s = step_for(scene.bodies)
    spec, _ = world_spec(scene, scene.bodies, (), step_s)
    exact = _exact(spec)
    colors = {b.name: b.appearance.rgb for b in scene.bodies if isinstance(b.appearance, Colored)}
    spec.compile()
    root = ElementTree.fromstring(spec.to_xml())
    for element in root.iter():
        for key, values in exact.get((element.tag, element.get("name", "")), {}).items():
            element.set(key, _numbers(values))
        for key in [k for k in element.attrib if k.startswith("file")]:
            element.set(key, element.attrib[key].removeprefix(PREFIX))  # MuJoCo puts it before names of files too
        owner = element.get("name", "").removeprefix("body/").rpartition("/")[0]
        if element.tag == "geom" and owner in colors:
            element.set("rgba", _numbers((*colors[owner], 1.0)))
    pairs = [e for contact in root.iter("contact") for e in contact.iter("pair")]
    for element, pair in zip(pairs, spec.pairs, strict=True):
        for key in ("friction", "solref", "solreffriction", "solimp"):
            element.set(key, _numbers(getattr(pair, key)))
    for option in root.iter("option"):
        option.set("timestep", _numbers([step_s]))
        option.set("gravity", _numbers(scene.gravity))
    _add_start(root, scene, step_s)
    ElementTree.indent(root)
    return Mechanism(ElementTree.tostring(root, "unicode"), dict(scene.mechanism.assets) if scene.mechanism else {})


def _exact(spec: mujoco.MjSpec) -> dict[tuple[str, str], dict[str, Floats]]:
    """Numbers by element and name, before compiling moves frames, and before the text rounds them."""
    found: dict[tuple[str, str], dict[str, Floats]] = {}
    for body in spec.bodies[1:]:
        found["body", body.name] = {"pos": np.array(body.pos), "quat": np.array(body.quat)}
    for geom in spec.geoms:
        numbers = {"pos": np.array(geom.pos), "quat": np.array(geom.quat), "density": np.array([geom.density])}
        if not geom.meshname:
            numbers["size"] = np.array(geom.size)
        found["geom", geom.name] = numbers
    for joint in spec.joints:
        found["joint", joint.name] = {"pos": np.array(joint.pos), "axis": np.array(joint.axis)}
    for mesh in spec.meshes:
        if len(mesh.uservert):
            found["mesh", mesh.name] = {"vertex": np.array(mesh.uservert)}
    return {key: numbers for key, numbers in found.items() if key[1].startswith(("body/", "plane/"))}


def _add_start(root: ElementTree.Element, scene: Scene, step_s: float) -> None:
    """A first keyframe with where everything is and how fast it moves at time 0."""
    world = compile_world(scene, scene.bodies, (), step_s)
    for b in scene.bodies:
        set_velocities(world, [Throw(body=b.name, velocity=b.velocity)] if any(b.velocity) else [])
        set_velocities(world, [Spin(body=b.name, spin=b.spin)] if any(b.spin) else [])
    frames = root.find("keyframe")
    frames = ElementTree.SubElement(root, "keyframe") if frames is None else frames
    start = ElementTree.Element("key", name="start", qpos=_numbers(world.data.qpos), qvel=_numbers(world.data.qvel))
    if len(world.data.ctrl):
        start.set("ctrl", _numbers(world.data.ctrl))
    frames.insert(0, start)


def _numbers(values: Iterable[float]) -> str:
    return " ".join(repr(float(v)) for v in values)
