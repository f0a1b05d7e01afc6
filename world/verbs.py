"""What a verb does to a body: actions whose magnitudes follow from the body's size, mass, friction and gravity."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .actions import Actions, Break, Drag, Push, Release, Spin, Throw, Wind
from .arrays import Floats
from .extent import center_of_mass, farthest, size
from .meshes import body_mass
from .scene import Body, Scene, SceneError, vector

# How far things go at ordinary strength, in sizes of the body. `strength` multiplies speeds: way grows by its square.
SLIDE = 1.0
THROW = 6.0
JUMP = 1.5
LIFT = 1.5
LEAST_LIFT = 0.4  # also out of the picture
MOVE = 2.0
BREEZE = 10.0  # m/s: a fresh breeze, Beaufort 5
AIR = 1.2  # kg/m^3
MOVES = 1.3  # times the wind that friction just withstands
RAISING = 0.6  # seconds in which a standing body is raised before it is dropped
TILT = 0.2  # how obliquely the foot of a body is sought: its edge, where the walls above lean out less than this
# Impact energy per kilogram, as a share of gravity times size, from which a body breaks that is said to break. A body
# that tips over hits the ground with about a third of it.
BRITTLE = 0.05
SETTLED = 0.15  # seconds after which the start of a motion is over and an impact is one


@dataclass(frozen=True, kw_only=True)
class Doing:
    """A verb as it is said of a body. direction: unit vector in the world, None where nothing is said; target: the body
    that it goes at, and outcome what a blow does to it; strength: 1 ordinary, .6 gently, 1.6 hard; time and duration in
    seconds.
    """

    scene: Scene
    body: Body
    direction: Floats | None = None
    target: Body | None = None
    strength: float = 1.0
    time: float = 0.0
    duration: float | None = None
    outcome: Literal["", "topple", "break"] = ""


Done = tuple[Actions, tuple[str, ...]]  # actions, and remarks


def up(scene: Scene) -> Floats:
    """The unit vector against gravity; the z axis where there is none."""
    gravity = np.asarray(scene.gravity, float)
    strength = float(np.linalg.norm(gravity))
    return -gravity / strength if strength > 1e-9 else np.array([0.0, 0.0, 1.0])


def gravity_of(scene: Scene) -> float:
    """Its strength in m/s^2; at least 1, so that speeds scaled by it stay speeds."""
    return max(1.0, float(np.linalg.norm(scene.gravity)))


def stands(scene: Scene, body: Body) -> bool:
    """Whether something carries the body: its lowest point is on the ground or on another body's top."""
    above = up(scene)
    lowest = farthest(body, -above[None])[0]
    near = 0.03 * size(body) + 1e-3
    ground = scene.ground
    if ground is not None and float(lowest @ np.asarray(ground.normal)) - ground.offset < near:
        return True
    sides = _level_axes(above)
    middle = sides @ center_of_mass(body)
    for other in scene.bodies:
        top = farthest(other, above[None])[0]
        if other is body or abs(float((lowest - top) @ above)) > near:
            continue
        high, low = (farthest(other, s * sides) for s in (1.0, -1.0))
        if all(low[i] @ sides[i] <= middle[i] <= high[i] @ sides[i] for i in range(2)):
            return True
    return False


def _level_axes(above: Floats) -> Floats:
    """Two unit vectors [2, 3] across `above`."""
    first = np.cross(above, (0.0, 1.0, 0.0) if abs(above[1]) < 0.9 else (1.0, 0.0, 0.0))
    first = first / np.linalg.norm(first)
    return np.stack((first, np.cross(above, first)))


def along(scene: Scene, vector: Floats) -> Floats:
    """The unit vector of the horizontal part; of the picture's right where there is none."""
    above = up(scene)
    for candidate in (vector, np.asarray(scene.view.c2w, float)[:3, 0], _level_axes(above)[0]):
        level = candidate - (candidate @ above) * above
        if np.linalg.norm(level) > 1e-6 * max(1.0, float(np.linalg.norm(candidate))):
            return level / np.linalg.norm(level)
    raise SceneError("gravity is no vector of three numbers")


def toward_viewer(scene: Scene) -> Floats:
    """The horizontal unit vector towards the viewer; seen from straight above, to the picture's lower edge."""
    axes = np.asarray(scene.view.c2w, float)
    down, forward = axes[:3, 1], axes[:3, 2]
    level = forward - (forward @ up(scene)) * up(scene)
    return along(scene, -forward if np.linalg.norm(level) > 0.1 else down)


def _heading(do: Doing) -> Floats:
    """The horizontal unit vector in which it goes: to the target, as said, or to the picture's right."""
    if do.target is not None:
        return along(do.scene, center_of_mass(do.target) - center_of_mass(do.body))
    return along(do.scene, np.zeros(3) if do.direction is None else do.direction)


def _said(do: Doing) -> Floats:
    """The unit vector as said, which may rise; without one, the heading."""
    return _heading(do) if do.direction is None or do.target is not None else do.direction


def _friction(do: Doing) -> float:
    ground = do.scene.ground
    return math.sqrt(do.body.material.friction * (ground or do.body).material.friction)


def _slide_speed(do: Doing, way: float) -> float:
    """The speed from which friction stops a sliding body after `way` metres."""
    return math.sqrt(2 * max(0.05, _friction(do)) * gravity_of(do.scene) * way)


def _foot(do: Doing, heading: Floats) -> tuple[float, float, bool]:
    """Way in metres from the centre of mass to the edge over which it tips, height above it; whether it is round."""
    above, center = up(do.scene), center_of_mass(do.body)
    edges = farthest(do.body, np.stack([tilt * heading - above for tilt in (TILT, TILT / 4, 0.0)]))
    ahead, nearer = ((edge - center) @ heading for edge in edges[:2])
    return max(0.0, float(ahead)), float((center - edges[2]) @ above), bool(nearer < ahead / 2)


def topple(do: Doing) -> Done:
    """It tips over its edge: turned about it somewhat faster than it takes to lift the centre of mass over it."""
    heading, above = _heading(do), up(do.scene)
    base, height, is_round = _foot(do, heading)
    if is_round:
        done, _ = roll(do)
        return done, (f"“{do.body.name}” is round and has no side to topple over: it rolls",)
    axes = np.stack((heading, above))
    extents = ((farthest(do.body, axes) - farthest(do.body, -axes)) * axes).sum(1)
    arm = math.hypot(base, height)
    inertia = float((extents**2).sum()) / 12 + arm**2  # of a box about the edge, per kilogram
    lift = gravity_of(do.scene) * (arm - height)
    # 35% more speed than needed to reach the tipping point, so that a friction lower than thought does not stop it.
    speed = (1 + 0.35 * do.strength) * math.sqrt(2 * lift / inertia)
    turn, velocity = speed * np.cross(above, heading), speed * (height * heading + base * above)
    return _moving(do, velocity, turn), ()


def _moving(do: Doing, velocity: Floats, turn: Floats | None = None) -> Actions:
    throw = Throw(body=do.body.name, velocity=vector(velocity), time=do.time)
    return (throw,) if turn is None else (throw, Spin(body=do.body.name, spin=vector(turn), time=do.time))


def fall(do: Doing) -> Done:
    """What stands topples; what is fixed is let go; what floats falls by itself, later if it is held till then."""
    release: Actions = (Release(body=do.body.name, time=do.time),) if do.body.fixed else ()
    if stands(do.scene, do.body):
        done, remarks = topple(do)
        return (*release, *done), remarks
    held: Actions = ()
    if not do.body.fixed and do.time > 0:
        held = (Drag(body=do.body.name, path=((0.0, 0.0, 0.0),), start=0.0, end=do.time, relative=True),)
    aside: Actions = ()
    if do.direction is not None or do.target is not None:
        aside = _moving(do, do.strength * 0.5 * math.sqrt(gravity_of(do.scene) * size(do.body)) * _heading(do))
    return (*release, *held, *aside), ()


def drop(do: Doing) -> Done:
    """What floats or is fixed is let go; what stands is raised first."""
    if do.body.fixed or not stands(do.scene, do.body):
        return fall(do)
    raised = lift(do)[0]
    return raised, (f"“{do.body.name}” stands already: it is lifted first, and then dropped",)


def lift(do: Doing) -> Done:
    """It is carried up, as far as the picture shows it, and let go there."""
    least, most = (share * do.strength * size(do.body) for share in (LEAST_LIFT, LIFT))
    return _dragged(do, min(most, max(least, _room_above(do))) * up(do.scene), RAISING), ()


def _room_above(do: Doing) -> float:
    """Metres by which the body can rise before its top leaves the scene's picture; infinite where it is not in it."""
    view, above = do.scene.view, up(do.scene)
    top = farthest(do.body, above[None])[0]
    c2w = np.asarray(view.c2w, float)
    down, forward = c2w[:3, 1], c2w[:3, 2]
    y, z = float(down @ (top - c2w[:3, 3])), float(forward @ (top - c2w[:3, 3]))
    dy, dz = float(down @ above), float(forward @ above)
    edge = math.tan(math.radians(view.fov_deg) / 2)
    # The picture's upper edge is the plane y + edge * z = 0 of camera axes.
    over, loss = y + edge * z, -(dy + edge * dz)
    return over / loss if z > 0 and over > 0 and loss > 1e-9 else math.inf


def move(do: Doing) -> Done:
    """It is drawn along, at even speed, in a straight line."""
    way = MOVE * do.strength * size(do.body)
    if do.target is not None:
        way = float(np.linalg.norm(center_of_mass(do.target) - center_of_mass(do.body)))
    return _dragged(do, way * _said(do), 1.0), ()


def _dragged(do: Doing, way: Floats, seconds: float) -> Actions:
    end = do.time + (do.duration or seconds)
    return (Drag(body=do.body.name, path=(vector(way),), start=do.time, end=end, relative=True),)


def push(do: Doing) -> Done:
    """An impulse that makes it slide by its size, or topple, if friction holds its foot."""
    way = SLIDE * size(do.body) + _gap(do)
    speed = do.strength * _slide_speed(do, way)
    return (Push(body=do.body.name, impulse=vector(body_mass(do.body) * speed * _said(do)), time=do.time),), ()


def _gap(do: Doing) -> float:
    """Metres to the target's centre; 0 without one."""
    if do.target is None:
        return 0.0
    return float(np.linalg.norm(center_of_mass(do.target) - center_of_mass(do.body)))


def slide(do: Doing) -> Done:
    """It sets off all at once; what would topple is drawn along instead."""
    way = SLIDE * do.strength**2 * size(do.body) + _gap(do)
    heading = _heading(do)
    base, height, _ = _foot(do, heading)
    if _friction(do) * height < 0.9 * base:
        return _moving(do, _slide_speed(do, way) * heading), ()
    return _dragged(do, way * heading, 1.0 / do.strength), ()


def roll(do: Doing) -> Done:
    """It moves and turns at once, as a wheel of its height does; what has no round side tumbles."""
    heading = _heading(do)
    _, height, is_round = _foot(do, heading)
    speed = do.strength * math.sqrt(2 * gravity_of(do.scene) * size(do.body))
    turn = speed / max(height, 1e-6) * np.cross(up(do.scene), heading)
    flat = () if is_round else (f"“{do.body.name}” stands on a flat side: it tumbles rather than rolls",)
    return _moving(do, speed * heading, turn), flat


def spin(do: Doing) -> Done:
    """It turns about the upright axis: counter-clockwise seen from above, or clockwise where "right" is said."""
    right = np.asarray(do.scene.view.c2w, float)[:3, 0]
    sense = -1.0 if do.direction is not None and do.direction @ right > 0.5 else 1.0
    speed = 2 * do.strength * math.sqrt(gravity_of(do.scene) / size(do.body))
    return (Spin(body=do.body.name, spin=vector(sense * speed * up(do.scene)), time=do.time),), ()


def bounce(do: Doing) -> Done:
    """What stands jumps; what floats falls and bounces by itself."""
    if not stands(do.scene, do.body) or do.body.fixed:
        return fall(do)
    speed = do.strength * math.sqrt(2 * gravity_of(do.scene) * JUMP * size(do.body))
    aside = np.zeros(3) if do.direction is None and do.target is None else 0.5 * _heading(do)
    return _moving(do, speed * (up(do.scene) + aside)), ()


def throw(do: Doing) -> Done:
    """It flies off at 45 degrees, straight up, or at the target, which it meets if nothing is in between."""
    above, gravity = up(do.scene), gravity_of(do.scene)
    if do.target is not None:
        way = center_of_mass(do.target) - center_of_mass(do.body)
        rise = float(way @ above)
        level = way - rise * above
        seconds = math.sqrt(2 * max(float(np.linalg.norm(way)), 1e-6) / gravity) / do.strength
        return _moving(do, level / seconds + (rise / seconds + gravity * seconds / 2) * above), ()
    speed = do.strength * math.sqrt(gravity * THROW * size(do.body))
    said = _said(do)
    if abs(float(said @ above)) < 0.1:
        said = said + above
    return _moving(do, speed * said / np.linalg.norm(said)), ()


def strike(do: Doing) -> Done:
    """It goes at the target along the ground, or through the air if it floats, and the target slides, topples or breaks
    as said: where it is too light for that, the blow is made stronger.
    """
    if do.target is None:
        return push(do)
    heading, target = _heading(do), do.target
    arriving = 1.5 * do.strength * math.sqrt(gravity_of(do.scene) * size(target))
    near, front = farthest(target, -heading[None])[0], farthest(do.body, heading[None])[0]
    gap = max(0.0, float((near - front) @ heading))
    if not stands(do.scene, do.body):
        (throwing,) = throw(do)[0]
        assert isinstance(throwing, Throw)
        moving, seconds = (throwing,), gap / max(float(np.dot(throwing.velocity, heading)), 1e-6)
    else:
        _, height, is_round = _foot(do, heading)
        start = arriving if is_round else math.hypot(arriving, _slide_speed(do, gap))
        turn = start / max(height, 1e-6) * np.cross(up(do.scene), heading) if is_round else None
        moving, seconds = _moving(do, start * heading, turn), 2 * gap / (start + arriving)
    hit = replace(do, body=target, target=None, direction=heading, time=do.time + seconds)
    arrival = f"“{target.name}” {{}} when “{do.body.name}” arrives, as the words say, however hard it is hit"
    if do.outcome == "topple":
        done, remarks = topple(hit)
        return (*moving, *done), (*remarks, arrival.format("topples"))
    if do.outcome == "break":
        return (*moving, Break(body=target.name, time=hit.time)), (arrival.format("breaks"),)
    masses = body_mass(do.body), body_mass(target)
    bounce = 1 + (do.body.material.restitution + target.material.restitution) / 2
    given = bounce * masses[0] * masses[1] / sum(masses) * arriving
    missing = masses[1] * do.strength * _slide_speed(hit, SLIDE * size(target)) - given
    if missing <= 0:
        return moving, ()
    more = Push(body=target.name, impulse=vector(missing * heading), time=hit.time)
    return (*moving, more), (f"“{do.body.name}” is light beside “{target.name}”: its blow is made stronger",)


def break_now(do: Doing) -> Done:
    """It breaks where it is."""
    return (Break(body=do.body.name, time=do.time),), ()


def break_at_impact(do: Doing) -> Done:
    """From then on it is so brittle that the next fall or blow breaks it."""
    toughness = BRITTLE * gravity_of(do.scene) * size(do.body)
    return (Break(body=do.body.name, time=do.time + SETTLED, toughness=toughness),), ()


def blow(scene: Scene, direction: Floats | None, strength: float, time: float, duration: float | None) -> Done:
    """Wind over the whole scene: a fresh breeze, or as much as it takes to move the body that moves most easily."""
    heading = along(scene, np.zeros(3)) if direction is None else direction
    needed = [
        math.sqrt(2 * _friction(Doing(scene=scene, body=b)) * gravity_of(scene) * body_mass(b) / (AIR * size(b) ** 2))
        for b in scene.bodies
        if not b.fixed
    ]
    speed = strength * max(BREEZE, MOVES * min(needed, default=0.0))
    end = 1e9 if duration is None else time + duration
    stronger = speed > strength * BREEZE
    remarks = (f"a wind of {speed:.3g} m/s blows: a weaker one would move nothing here",) if stronger else ()
    return (Wind(velocity=vector(speed * heading), start=time, end=end),), remarks


_DOES: dict[str, Callable[[Doing], Done]] = {
    "fall": fall,
    "topple": topple,
    "drop": drop,
    "push": push,
    "throw": throw,
    "roll": roll,
    "slide": slide,
    "spin": spin,
    "bounce": bounce,
    "lift": lift,
    "move": move,
    "strike": strike,
    "break": break_now,
    "break at impact": break_at_impact,
}
NEEDS_FREEDOM = set(_DOES) - {"fall", "drop", "break", "break at impact", "bounce"}  # what a fixed body cannot do


def do_verb(verb: str, doing: Doing) -> Done:
    """The actions of a verb of the vocabulary, or of "break at impact", and remarks."""
    return _DOES[verb](doing)
