"""Bodies, planes and a mechanism as one MuJoCo model: compiled through MjSpec, with poses and velocities read back."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# MuJoCo's Python module has no type stubs.

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .actions import Drag
from .meshes import body_center, body_mass, body_volume, convex_hull, corners, pose_matrix, rotation_matrix, shape_mesh
from .scene import SceneError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import mujoco

    from .actions import Actions
    from .arrays import Floats, Ints
    from .scene import Body, Joint, Mechanism, Plane, Scene, Shape, Vector

PREFIX = "mechanism/"  # before all names of a mechanism's file, so that they never meet those of bodies
NOBODY, LINK = -1, -2  # owners of geoms: the scene's planes, a mechanism
# Contacts stop what comes in within one step (damping 1/step) and push overlaps out by this share a step.
PUSH_OUT = 0.05
IMPEDANCE = 0.999  # share of a contact's wanted acceleration that is reached; 1 would leave its equations singular
ROLLING = 0.002  # resistance of rolling bodies as a share of their radius: wood on wood, wheels on rails .0005 to .005
SPINNING = 0.02  # torque against spinning on the spot as a share of radius: two thirds of a contact patch of 3%
OWN_BIT = 1 << 30  # contact bit of bodies: they meet each other through explicit pairs, and a mechanism by this bit
DRAG_TIME_S = 0.02  # time constant of the weld that drags: a hand's reaction; a jerk of the path is smoothed by it
COARSE = 24  # segments around a round body whose cross-section the wind meets
ROUND = ("sphere", "ellipsoid", "cylinder", "capsule")
SPARSE = 24  # degrees of freedom, of four free bodies, from which on sparse contacts take less time than dense ones


# Name of a geom, number of its body or NOBODY, whether it stands still, its radius if it is round, whose it is.
Surface: TypeAlias = "tuple[str, int, bool, float, Body | Plane]"


@dataclass(frozen=True, eq=False, kw_only=True)
class World:
    """A compiled model, its state, and where the bodies are in it."""

    model: mujoco.MjModel
    data: mujoco.MjData
    step_s: float
    bodies: tuple[Body, ...]
    ids: Ints  # [B] MuJoCo's body of each
    masses: Floats  # [B] kilograms, infinite of fixed ones
    centers: Floats  # [B, 3] centre of mass in the body's axes: MuJoCo's origin of the body
    owner: Ints  # [G] body of each geom; NOBODY, LINK
    restitution: Floats  # [G]
    links: tuple[int, ...]  # MuJoCo's bodies of the mechanism, its world first where that carries geoms
    drags: tuple[tuple[int, int | None], ...]  # (mocap body, equality) of each drag; None: its body has broken
    actuators: tuple[str, ...]  # the mechanism's, by the names that its file gives them

    @cached_property
    def sides(self) -> tuple[Floats, ...]:
        """[F, 3] area vectors of the convex hull of each body, which wind asks for."""
        return tuple(_sides(b) for b in self.bodies)

    @cached_property
    def reach(self) -> float:
        """Metres from the middle of a geom to its farthest point, of all geoms that have an end."""
        return float(self.model.geom_rbound.max(initial=0.0))

    def refresh(self) -> None:
        """Work poses and velocities out from the state: a step leaves those before it."""
        import mujoco

        mujoco.mj_fwdPosition(self.model, self.data)
        mujoco.mj_fwdVelocity(self.model, self.data)

    def pose(self, i: int) -> Floats:
        """Body i's axes to the world [4, 4], as last worked out."""
        pose, number = np.eye(4), self.ids[i]
        pose[:3, :3] = turn = self.data.xmat[number].reshape(3, 3)
        pose[:3, 3] = self.data.xpos[number] - turn @ self.centers[i]
        return pose

    def velocity(self, i: int) -> tuple[Floats, Floats]:
        """Velocity [3] of body i's centre of mass, m/s, and its spin [3], rad/s, in world axes."""
        import mujoco

        out = np.zeros(6)
        mujoco.mj_objectVelocity(self.model, self.data, mujoco.mjtObj.mjOBJ_BODY, int(self.ids[i]), out, 0)
        return out[3:], out[:3]

    def state(self) -> Floats:
        """Time, positions, velocities and activations, to be restored."""
        return np.concatenate(([self.data.time], self.data.qpos, self.data.qvel, self.data.act))

    def restore(self, state: Floats) -> None:
        """Be as `state()` was."""
        ends = np.cumsum([1, self.model.nq, self.model.nv])
        self.data.time = state[0]
        self.data.qpos[:], self.data.qvel[:], self.data.act[:] = np.split(state, ends)[1:]

    @property
    def time(self) -> float:
        """Seconds from the start."""
        return float(self.data.time)

    def set_time(self, seconds: float) -> None:
        """Say what time it is, without moving anything."""
        self.data.time = seconds

    def set_gravity(self, gravity: Vector) -> None:
        """Gravity becomes this, m/s^2."""
        self.model.opt.gravity[:] = gravity

    def target(self, actuator: int) -> float:
        """What an actuator is set to now, in its unit."""
        return float(self.data.ctrl[actuator])

    def mass(self, i: int) -> float:
        """Kilograms of body i."""
        return float(self.model.body_mass[self.ids[i]])

    def number(self, name: str) -> int | None:
        """Which of the bodies has that name; None: none has it now."""
        return next((i for i, b in enumerate(self.bodies) if b.name == name), None)


def compile_world(scene: Scene, bodies: Sequence[Body], actions: Actions, step_s: float) -> World:
    """A model of these bodies and the scene's planes and mechanism, at time 0 of all of them, ready for the actions.

    Raises SceneError where MuJoCo refuses it.
    """
    import mujoco

    drags = [a for a in actions if isinstance(a, Drag)]
    centers = np.array([body_center(b) for b in bodies]).reshape(-1, 3)
    spec, surfaces = world_spec(scene, bodies, drags, step_s)
    try:
        model = spec.compile()
    except ValueError as e:
        raise SceneError(f"MuJoCo cannot compile the scene: {e}") from e
    # Of a mechanism too: steps end where something touches, and stiff actuators explode in MuJoCo's explicit ones.
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    if bodies and model.nv >= SPARSE:
        model.opt.jacobian = mujoco.mjtJacobian.mjJAC_SPARSE
    owners = {name: (owner, thing.material.restitution) for name, owner, _, _, thing in surfaces}
    owner = [owners.get(model.geom(g).name, (LINK, 0.0)) for g in range(model.ngeom)]
    ids = np.array([model.body(f"body/{b.name}").id for b in bodies], np.int64)
    welds = {model.equality(e).name: e for e in range(model.neq)}
    links = sorted({int(b) for b, (o, _) in zip(model.geom_bodyid, owner, strict=True) if o == LINK})
    return World(
        model=model,
        data=_start(model),
        step_s=float(model.opt.timestep),
        bodies=tuple(bodies),
        ids=ids,
        masses=np.where([b.fixed for b in bodies], np.inf, model.body_mass[ids]),
        centers=centers,
        owner=np.array([o for o, _ in owner], np.int64),
        restitution=np.array([r for _, r in owner]),
        links=tuple(links),
        drags=tuple((model.body(f"drag/{k}").id, welds.get(f"drag/{k}")) for k in range(len(drags))),
        actuators=tuple(model.actuator(i).name.removeprefix(PREFIX) for i in range(model.nu)),
    )


def world_spec(
    scene: Scene, bodies: Sequence[Body], drags: Sequence[Drag], step_s: float
) -> tuple[mujoco.MjSpec, list[Surface]]:
    """The model before it is compiled; and of each geom of bodies and planes its name, owner and so on."""
    import mujoco

    spec = mujoco.MjSpec()
    _set_options(spec, scene, step_s)
    surfaces: list[Surface] = []
    for name, plane in (("ground", scene.ground), ("backdrop", scene.backdrop)):
        if plane is not None and plane.solid:
            _add_plane(spec, f"plane/{name}", plane)
            surfaces.append((f"plane/{name}", NOBODY, True, 0.0, plane))
    for i, body in enumerate(bodies):
        names = _add_body(spec, body, body_center(body))
        for name, shape in zip(names, body.shapes, strict=True):
            radius = min(shape.size) if shape.kind in ROUND else 0.0
            surfaces.append((name, i, body.fixed, radius, body))
    for k, a in enumerate(surfaces):
        for b in surfaces[:k]:
            if a[1] != b[1] and not (a[2] and b[2]):
                _add_pair(spec, a[0], b[0], math.sqrt(a[4].material.friction * b[4].material.friction), max(a[3], b[3]))
    for k, drag in enumerate(drags):
        _add_drag(spec, f"drag/{k}", drag, welded=any(body.name == drag.body for body in bodies))
    if scene.mechanism is not None:
        _attach(spec, scene.mechanism, alone=not bodies)
    return spec, surfaces


@contextmanager
def warnings_of_mujoco() -> Generator[list[str], None, None]:
    """Gather what MuJoCo warns of, which it would print and write to a file in the current folder."""
    import mujoco

    found, before = list[str](), mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(found.append)
    try:
        yield found
    finally:
        mujoco.set_mju_user_warning(before)


def carry_over(old: World, new: World) -> None:
    """Give `new` the time, gravity, states of joints, controls and drags of `old`; new bodies keep their own start."""
    import mujoco

    new.data.time = old.data.time
    new.model.opt.gravity[:] = old.model.opt.gravity
    known = _joints(old.model)
    for name, j in _joints(new.model).items():
        if (k := known.get(name)) is None:
            continue
        for mine, theirs, to, of in (
            (new.model.jnt_qposadr[j], old.model.jnt_qposadr[k], new.data.qpos, old.data.qpos),
            (new.model.jnt_dofadr[j], old.model.jnt_dofadr[k], new.data.qvel, old.data.qvel),
        ):
            width = {0: (7, 6), 1: (4, 3), 2: (1, 1), 3: (1, 1)}[int(new.model.jnt_type[j])]
            count = width[0] if to is new.data.qpos else width[1]
            to[mine : mine + count] = of[theirs : theirs + count]
    new.data.ctrl[:], new.data.act[:] = old.data.ctrl, old.data.act
    new.data.mocap_pos[:], new.data.mocap_quat[:] = old.data.mocap_pos, old.data.mocap_quat
    for (mine, weld), (theirs, was) in zip(new.drags, old.drags, strict=True):
        new.model.body_pos[mine] = old.model.body_pos[theirs]
        if weld is not None:
            new.data.eq_active[weld] = old.data.eq_active[was]
    mujoco.mj_forward(new.model, new.data)


def _joints(model: mujoco.MjModel) -> dict[str, int]:
    """Joints by what is the same in a world compiled again: a body's by name, a mechanism's by its order."""
    names = [model.joint(j).name for j in range(model.njnt)]
    theirs = [j for j, name in enumerate(names) if not name.startswith("body/")]
    bodies = {name: j for j, name in enumerate(names) if name.startswith("body/")}
    return bodies | {f"{PREFIX}{k}": j for k, j in enumerate(theirs)}


def _sides(body: Body) -> Floats:
    """Area vectors [F, 3] of the convex hull of a body; those facing a direction sum to its cross-section there."""
    if not body.shapes:
        return np.zeros((0, 3))
    hull = convex_hull(np.concatenate([shape_mesh(s, COARSE).vertices for s in body.shapes]))
    a, b, c = corners(hull.vertices, hull.faces)
    return np.cross(b - a, c - a) / 2


def _set_options(spec: mujoco.MjSpec, scene: Scene, step_s: float) -> None:
    import mujoco

    option = spec.option
    option.timestep, option.gravity = step_s, scene.gravity
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # DIAGEXACT: a contact's softness is a share of the true inertia it feels, so that restitution is exact.
    if not hasattr(mujoco.mjtEnableBit, "mjENBL_DIAGEXACT"):
        raise SceneError(f"MuJoCo {mujoco.__version__} is installed; expected 3.12 or newer: pip install -U mujoco")
    option.enableflags |= mujoco.mjtEnableBit.mjENBL_DIAGEXACT
    # Without this flag MuJoCo silently starts again from time 0 when a state is not finite.
    option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET


def _add_plane(spec: mujoco.MjSpec, name: str, plane: Plane) -> None:
    import mujoco

    normal = np.asarray(plane.normal, float)
    turn = np.zeros(4)
    mujoco.mju_quatZ2Vec(turn, normal / np.linalg.norm(normal))
    spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0, 0, 1],
        pos=normal * plane.offset,
        quat=turn,
        contype=OWN_BIT,
        conaffinity=OWN_BIT - 1,
    )


def _add_body(spec: mujoco.MjSpec, body: Body, center: Floats) -> list[str]:
    """Adds a body with its joint and geoms; the names of the geoms."""
    import mujoco

    pose = pose_matrix(body.position, body.rotation)
    quat = np.asarray(body.rotation, float) / np.linalg.norm(body.rotation)
    added = spec.worldbody.add_body(name=f"body/{body.name}", pos=pose[:3, :3] @ center + pose[:3, 3], quat=quat)
    if body.joint is not None:
        _add_joint(added, body, body.joint)
    elif not body.fixed:
        added.add_freejoint(name=f"body/{body.name}")
    density = body_mass(body) / body_volume(body) if body.shapes else 0.0
    names = [f"body/{body.name}/{k}" for k in range(len(body.shapes))]
    for name, shape in zip(names, body.shapes, strict=True):
        geom = added.add_geom(name=name, density=density, contype=OWN_BIT, conaffinity=OWN_BIT - 1)
        kind = "mesh" if shape.kind == "hull" else shape.kind
        geom.type = getattr(mujoco.mjtGeom, f"mjGEOM_{kind.upper()}")
        if shape.kind == "hull":
            _add_hull(spec, name, shape, center)
            geom.meshname = name
        else:
            geom.size = [*shape.size, 0, 0][:3]
            geom.pos = np.asarray(shape.position, float) - center
            geom.quat = np.asarray(shape.rotation, float) / np.linalg.norm(shape.rotation)
    return names


def _add_hull(spec: mujoco.MjSpec, name: str, shape: Shape, center: Floats) -> None:
    import mujoco

    mesh = shape_mesh(shape)
    added = spec.add_mesh(name=name)
    added.uservert = (mesh.vertices - center).ravel().tolist()
    added.userface = mesh.faces.astype(np.int32).ravel().tolist()
    added.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_EXACT


def _add_joint(added: mujoco.MjsBody, body: Body, joint: Joint) -> None:
    import mujoco

    to_body = rotation_matrix(body.rotation).T
    made = added.add_joint(
        name=f"body/{body.name}",
        type=getattr(mujoco.mjtJoint, f"mjJNT_{joint.kind.upper()}"),
        pos=to_body @ (np.asarray(joint.anchor, float) - added.pos),
        axis=to_body @ np.asarray(joint.axis, float),
        damping=[joint.damping, 0.0, 0.0],
    )
    if joint.range is not None:
        in_degrees = joint.kind != "slide"  # as MjSpec has them unless told otherwise
        made.limited = mujoco.mjtLimited.mjLIMITED_TRUE
        made.range = np.rad2deg(joint.range) if in_degrees else np.asarray(joint.range)


def _add_pair(spec: mujoco.MjSpec, a: str, b: str, friction: float, radius: float) -> None:
    """An explicit pair: MuJoCo alone would take the larger friction of two geoms."""
    pair = spec.add_pair(geomname1=a, geomname2=b, condim=6 if radius else 3)
    pair.friction = [friction, friction, SPINNING * radius * friction, ROLLING * radius, ROLLING * radius]
    step = spec.option.timestep
    pair.solref = [-PUSH_OUT / step**2, -1.0 / step]
    pair.solreffriction = [0.0, -1.0 / step]
    pair.solimp = [IMPEDANCE, IMPEDANCE, 0.001, 0.5, 2.0]


def _add_drag(spec: mujoco.MjSpec, name: str, drag: Drag, welded: bool) -> None:
    import mujoco

    spec.worldbody.add_body(name=name, mocap=True)
    if not welded:
        return
    weld = spec.add_equality(name=name, type=mujoco.mjtEq.mjEQ_WELD, objtype=mujoco.mjtObj.mjOBJ_BODY)
    weld.name1, weld.name2, weld.active = name, f"body/{drag.body}", False
    weld.solref = [DRAG_TIME_S, 1.0]
    # Anchor 0, relative pose the identity, torque scale 1.
    weld.data[:11] = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]


def _attach(spec: mujoco.MjSpec, mechanism: Mechanism, alone: bool) -> None:
    """Add a mechanism. Alone it keeps its options but gravity and integrator; beside bodies the scene's count."""
    import mujoco

    try:
        child = mujoco.MjSpec.from_string(mechanism.xml, assets=mechanism.assets)
    except ValueError as e:
        raise SceneError(f"MuJoCo cannot read the mechanism: {e}") from e
    if alone:
        gravity, kept = spec.option.gravity.copy(), spec.option.disableflags
        _copy_options(child, spec)
        spec.option.gravity, spec.option.disableflags = gravity, spec.option.disableflags | kept
    _copy_options(spec, child)  # so that MuJoCo need not warn that they differ
    spec.attach(child, prefix=PREFIX, frame=spec.worldbody.add_frame())


def _copy_options(of: mujoco.MjSpec, to: mujoco.MjSpec) -> None:
    for name in (n for n in dir(of.option) if not n.startswith("_")):
        setattr(to.option, name, getattr(of.option, name))


def _start(model: mujoco.MjModel) -> mujoco.MjData:
    import mujoco

    data = mujoco.MjData(model)
    if model.nkey:
        mujoco.mj_resetDataKeyframe(model, data, 0)
        data.time = 0.0
    return data
