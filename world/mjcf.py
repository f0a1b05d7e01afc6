"""MuJoCo models as scenes: any MJCF file in, with its ground, camera and light; and what it has to command."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..geometry.camera_numpy import look_at
from .dynamics import warnings_of_mujoco
from .mjcf_files import check_closed, read_mechanism
from .scene import Light, Material, Mechanism, Plane, Scene, SceneError, View, vector

if TYPE_CHECKING:
    import mujoco

    from .arrays import Floats

FOV_DEG = 40.0  # vertical, of a view that is fitted
AZIMUTH_DEG, DOWN_DEG = 125.0, 22.0  # of a fitted view: from the front right and above, as MuJoCo's viewer starts
AROUND = 1.25  # room around the model in a fitted view
UNTEXTURED = (0.5, 0.5, 0.5)


def read_mjcf(path: Path, width: int = 832, height: int = 480) -> Scene:
    """A scene with the model of an MJCF file as its mechanism, before its own camera or one that sees all of it.

    Its plane becomes the scene's ground (drawn only: the mechanism has it to collide with), its gravity the scene's.
    Raises SceneError: see read_mechanism; and where MuJoCo cannot compile it, with MuJoCo's words.
    """
    return scene_of(read_mechanism(path), Path(path).name, width, height)


@warnings_of_mujoco()  # a simulation says them again, as remarks
def scene_of(mechanism: Mechanism, name: str = "mechanism", width: int = 832, height: int = 480) -> Scene:
    """As read_mjcf, of a mechanism in memory."""
    import mujoco

    model = compiled(mechanism, name)
    data = mujoco.MjData(model)
    if model.nkey:  # as a simulation starts
        mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    return Scene(
        bodies=(),
        view=_view(model, data, width / height),
        width=width,
        height=height,
        ground=_ground(model),
        light=_light(model),
        gravity=vector(model.opt.gravity),
        mechanism=mechanism,
    )


@warnings_of_mujoco()
def compiled(mechanism: Mechanism, name: str = "mechanism") -> mujoco.MjModel:
    """The mechanism alone as MuJoCo's model. Raises SceneError with MuJoCo's reason."""
    import mujoco

    check_closed(mechanism, name)
    try:
        return mujoco.MjSpec.from_string(mechanism.xml, assets=mechanism.assets).compile()
    except (ValueError, RuntimeError, MemoryError) as reason:
        raise SceneError(f"{name}: MuJoCo cannot compile the model: {reason}") from reason


def described(mechanism: Mechanism) -> tuple[str, ...]:
    """Lines on what the model has: joints, actuators with the range and unit of their targets, sensors, keyframes."""
    model = compiled(mechanism)
    joints = [_joint(model, j) for j in range(model.njnt)]
    actuators = [_actuator(model, a) for a in range(model.nu)]
    sensors = [model.sensor(s).name or f"number {s}" for s in range(model.nsensor)]
    keys = [model.key(k).name or f"number {k}" for k in range(model.nkey)]
    moving = sum(int(model.body_dofnum[b]) > 0 for b in range(model.nbody))
    lines = [f"mechanism: {model.nbody - 1} links, {moving} with joints; {model.ngeom} geoms; {model.nmesh} meshes"]
    for title, found in (("joints", joints), ("actuators", actuators), ("sensors", sensors), ("keyframes", keys)):
        if found:
            lines.append(f"{title}: {', '.join(found)}")
    if any(not model.actuator(a).name for a in range(model.nu)):
        lines.append("actuators without a name cannot be commanded")
    return tuple(lines)


def actuator_ranges(mechanism: Mechanism) -> dict[str, tuple[float, float] | None]:
    """The named actuators, with the range of their targets; None: they have none."""
    model = compiled(mechanism)
    return {
        model.actuator(a).name: tuple(model.actuator_ctrlrange[a].tolist()) if model.actuator_ctrllimited[a] else None
        for a in range(model.nu)
        if model.actuator(a).name
    }


def _joint(model: mujoco.MjModel, j: int) -> str:
    kind = ("free", "ball", "slide", "hinge")[int(model.jnt_type[j])]
    name = model.joint(j).name or f"number {j}"
    if not model.jnt_limited[j]:
        return f"{name} ({kind})"
    low, high = model.jnt_range[j]
    return f"{name} ({kind}, {low:.3g} to {high:.3g} {'m' if kind == 'slide' else 'rad'})"


def _actuator(model: mujoco.MjModel, a: int) -> str:
    name = model.actuator(a).name or f"number {a}"
    if not model.actuator_ctrllimited[a]:
        return name
    low, high = model.actuator_ctrlrange[a]
    return f"{name} ({low:.3g} to {high:.3g})"


def _view(model: mujoco.MjModel, data: mujoco.MjData, aspect: float) -> View:
    """The model's first camera, or one from which its bounding sphere fills the picture."""
    c2w = np.eye(4)
    if model.ncam and not model.cam_projection[0]:
        c2w[:3, :3] = data.cam_xmat[0].reshape(3, 3) * (1.0, -1.0, -1.0)  # OpenGL's axes to OpenCV's
        c2w[:3, 3] = data.cam_xpos[0]
        return View(c2w, float(np.clip(model.cam_fovy[0], 1.0, 170.0)))
    solid = [g for g in range(model.ngeom) if model.geom_type[g] not in (0, 1)]  # neither planes nor height fields
    centers, radii = data.geom_xpos[solid], model.geom_rbound[solid]
    low = (centers - radii[:, None]).min(0) if solid else model.stat.center - model.stat.extent / 2
    high = (centers + radii[:, None]).max(0) if solid else model.stat.center + model.stat.extent / 2
    center, radius = (low + high) / 2, max(1e-3, float(np.linalg.norm(high - low)) / 2)
    half = math.atan(math.tan(math.radians(FOV_DEG) / 2) * min(1.0, aspect))
    azimuth, down = math.radians(AZIMUTH_DEG), math.radians(DOWN_DEG)
    towards = np.array([-math.cos(azimuth) * math.cos(down), -math.sin(azimuth) * math.cos(down), math.sin(down)])
    eye = center + towards * AROUND * radius / math.sin(half) * 0.8
    return View(look_at(eye, center), FOV_DEG)


def _ground(model: mujoco.MjModel) -> Plane | None:
    """The first plane of the model that stands still, with the colours of its checker."""
    planes = [g for g in range(model.ngeom) if model.geom_type[g] == 0 and model.geom_bodyid[g] == 0]
    if not planes:
        return None
    g = planes[0]
    rotation = np.zeros(9)
    import mujoco

    mujoco.mju_quat2Mat(rotation, model.geom_quat[g])
    normal = rotation.reshape(3, 3)[:, 2]
    material = int(model.geom_matid[g])
    rgba = model.mat_rgba[material] if material >= 0 else model.geom_rgba[g]
    first, tile = np.asarray(rgba[:3], float), 0.5
    second = first
    texture = int(model.mat_texid[material].max()) if material >= 0 else -1
    if texture >= 0:
        first, second = (first * c for c in _two_colors(model, texture))
        repeat = float(model.mat_texrepeat[material][0])
        span = 1.0 if model.mat_texuniform[material] else 2 * float(model.geom_size[g][0]) or 1.0
        tile = float(np.clip(span / max(repeat, 1e-6) / 2, 1e-2, 100.0))
    friction = Material("ground", 1000.0, float(np.clip(model.geom_friction[g][0], 0, 100)), 0.0)
    return Plane(
        normal=vector(normal),
        offset=float(model.geom_pos[g] @ normal),
        material=friction,
        colors=(vector(np.clip(first, 0, 1)), vector(np.clip(second, 0, 1))),
        tile=tile,
        solid=False,
    )


def _two_colors(model: mujoco.MjModel, texture: int) -> tuple[Floats, Floats]:
    """The colours 0..1 of a texture a quarter and three quarters along its first row: both of a checker."""
    width, height, channels = (int(a[texture]) for a in (model.tex_width, model.tex_height, model.tex_nchannel))
    start = int(model.tex_adr[texture])
    image = model.tex_data[start : start + width * height * channels].reshape(height, width, channels)[..., :3] / 255.0
    return image[height // 4, width // 4], image[height // 4, 3 * width // 4]


def _light(model: mujoco.MjModel) -> Light:
    """The model's first light, as one far away; the scene's own where there is none, or one from below."""
    if model.nlight:
        direction = -np.asarray(model.light_dir[0], float)
        length = float(np.linalg.norm(direction))
        if length > 0 and direction[2] / length > 0.1:
            return Light(direction=vector(direction / length))
    return Light()
