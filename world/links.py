"""Links of a mechanism as parts that are drawn: their visual geoms, one part for each colour of a link."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .dynamics import LINK, PREFIX, World
from .meshes import SEGMENTS, joined, pose_matrix, shape_mesh, transformed
from .motion import Part
from .scene import Colored, Mesh, Shape

if TYPE_CHECKING:
    import mujoco

    from .arrays import Floats

FULL, COARSEST = 40, 8  # geoms up to which all are as round as a body; segments around each of very many
SHOWN_GROUPS = 3  # MuJoCo's viewers show geoms of groups 0, 1, 2; higher ones are what collides


def link_parts(world: World) -> list[tuple[int, Part]]:
    """The link's place in `world.links` and a part, for each colour of each link, as they stand now.

    Planes and height fields are left out.
    """
    model = world.model
    # Faces grow with the square of the segments: of many geoms together they stay as many.
    segments = max(COARSEST, min(SEGMENTS, round(SEGMENTS * math.sqrt(FULL / max(1, model.ngeom)))))
    parts: list[tuple[int, Part]] = []
    for number, link in enumerate(world.links):
        name = model.body(link).name.removeprefix(PREFIX) or f"link {number}"
        name = "static" if link == 0 else name
        colors: dict[tuple[float, ...], list[Mesh]] = {}
        for g in _shown(world, link):
            mesh = _geom_mesh(model, g, segments)
            if mesh is not None:
                colors.setdefault(_color(model, g), []).append(mesh)
        pose = link_pose(world, number)
        fixed = int(model.body_weldid[link]) == 0
        for k, (rgb, meshes) in enumerate(colors.items()):
            part = Part(
                name=name if k == 0 else f"{name}/{k + 1}",
                body=name,
                surface=joined([Mesh(m.vertices, m.faces) for m in meshes]),
                appearance=Colored((rgb[0], rgb[1], rgb[2])),
                rest=pose,
                movable=not fixed,
            )
            parts.append((number, part))
    return parts


def undrawn(world: World) -> list[str]:
    """Remarks on what a mechanism has that moves or carries, and is not drawn."""
    import mujoco

    fields = int((np.asarray(world.model.geom_type) == mujoco.mjtGeom.mjGEOM_HFIELD).sum())
    kinds = {"height field": fields, "soft body": int(world.model.nflex), "skin": int(world.model.nskin)}
    return [f"{n} {kind}{'s' * (n > 1)} of the mechanism acts, but is not drawn" for kind, n in kinds.items() if n]


def link_pose(world: World, number: int) -> Floats:
    """The axes to the world [4, 4] of the link at that place in `world.links`, as last worked out."""
    link = world.links[number]
    return pose_matrix(world.data.xpos[link], world.data.xquat[link])


def _shown(world: World, link: int) -> list[int]:
    """The geoms of a link that are drawn; where none is meant to be, all of them."""
    model = world.model
    geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] == link and world.owner[g] == LINK]
    shown = [g for g in geoms if model.geom_group[g] < SHOWN_GROUPS and _alpha(model, g) > 0]
    return shown or geoms


def _rgba(model: mujoco.MjModel, g: int) -> Floats:
    material = int(model.geom_matid[g])
    return np.asarray(model.geom_rgba[g] if material < 0 else model.mat_rgba[material])


def _alpha(model: mujoco.MjModel, g: int) -> float:
    return float(_rgba(model, g)[3])


def _color(model: mujoco.MjModel, g: int) -> tuple[float, ...]:
    return tuple(float(c) for c in _rgba(model, g)[:3])


def _geom_mesh(model: mujoco.MjModel, g: int, segments: int) -> Mesh | None:
    """A geom's surface in its link's axes."""
    import mujoco

    kind, size = mujoco.mjtGeom(int(model.geom_type[g])), [float(s) for s in model.geom_size[g]]
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        m = int(model.geom_dataid[g])
        first, count = int(model.mesh_vertadr[m]), int(model.mesh_vertnum[m])
        face, faces = int(model.mesh_faceadr[m]), int(model.mesh_facenum[m])
        vertices = np.array(model.mesh_vert[first : first + count], float)
        mesh = Mesh(vertices, np.array(model.mesh_face[face : face + faces], np.int64))
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        mesh = shape_mesh(Shape(kind="sphere", size=(size[0],)), segments)
    elif kind == mujoco.mjtGeom.mjGEOM_BOX:
        mesh = shape_mesh(Shape(kind="box", size=(size[0], size[1], size[2])), segments)
    elif kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        mesh = shape_mesh(Shape(kind="ellipsoid", size=(size[0], size[1], size[2])), segments)
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        mesh = shape_mesh(Shape(kind="cylinder", size=(size[0], size[1])), segments)
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        mesh = shape_mesh(Shape(kind="capsule", size=(size[0], size[1])), segments)
    else:
        return None
    return Mesh(transformed(mesh.vertices, pose_matrix(model.geom_pos[g], model.geom_quat[g])), mesh.faces)
