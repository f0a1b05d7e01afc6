"""What is perceived of bodies, ground, camera and light: the value, and how it is read off a network's numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.level import farther_over, foot_of
from ..geometry.linalg import norm
from ..geometry.moments import line_of, rotation_of, symmetric
from ..geometry.rotation import rotation_about
from .ways import SPEED_UNIT

KINDS = ("sphere", "box", "cylinder", "capsule", "cone", "ellipsoid", "hull", "compound")
ROUND = ("cylinder", "capsule", "cone")  # bodies of revolution about their last axis
# What flies, by probability, and bends its way downwards, tells gravity; its way may miss a parabola by such shares of
# a frame's bend, and the network be off by such a factor.
FLIES, ACROSS, BEND_ERROR, MOST_OFF = 0.6, 0.2, 0.4, 4.0
TRUST = 0.5  # in the ground beneath what flies; what is left is trusted in the network's gravity
# What moves over the ground shows whether it is braked, if its way is so far (picture heights a frame) and so nearly
# that of a constant acceleration (share of its speed). Between the two shares of gravity, neither is sure. Braked
# slides of 18 clips had .41 to .58, of rolls -.05 to .04; what topples gains speed, .05 to .2.
SHOWN, SHOWN_ERROR = 0.012, 0.1
UNBRAKED, BRAKED = 0.1, 0.25
MAY_ROLL = 0.15  # probability of the kinds that can roll, from which on what is not braked is one of them
ROLLING = ("sphere", "cylinder", "capsule")
STANDS = 0.004  # heights of the eye a frame, or radians: a camera that moves more bends all ways
SPIN_UNIT, CAMERA_UNIT = 0.2, 0.02  # of a frame: what a one of the network's answer means


@dataclass(frozen=True, eq=False, kw_only=True)
class Perceived:
    """What is seen in the last picture, in its camera's axes; lengths in heights of the eye over the ground, times in
    frames. N bodies, the surest first.

    masks [N, H, W] in 0..1; covered [K, H, W]: how much bodies cover of each of K pictures, 0..1; sure [N]; kind: of
    KINDS; sphere [N]: probability of that kind; center, half (extents along the axes), velocity, spin [N, 3]; rotation
    [N, 3, 3], columns are the axes; fixed, hinged [N] probabilities; anchor, hinge [N, 3]: point and axis; foot [N, 3]:
    way to the point of the ground beneath its centre; support [N, 3]: how sure that air, ground or another body holds
    it up; density [N], of wood's; came [N, K - 1, 2]: how far it came since each picture before, the latest first, in
    picture heights; braking [N]: how fast it loses speed over the ground, in multiples of gravity, NaN where
    that is not seen.
    inverse_depth [H/4, W/4]; ground [3]: its normal, at distance 1; light [3]; gravity; camera [6]: how it moves in a
    frame, way and turn; wall [4]: unit normal and inverse distance, None: none is seen.
    """

    masks: Tensor
    covered: Tensor
    sure: Tensor
    kind: tuple[str, ...]
    sphere: Tensor
    center: Tensor
    rotation: Tensor
    half: Tensor
    velocity: Tensor
    spin: Tensor
    fixed: Tensor
    hinged: Tensor
    anchor: Tensor
    hinge: Tensor
    foot: Tensor
    support: Tensor
    density: Tensor
    came: Tensor
    braking: Tensor
    inverse_depth: Tensor
    ground: Tensor
    fov_deg: float
    light: Tensor
    gravity: float
    camera: Tensor
    wall: Tensor | None


def answer(
    scene: dict[str, Tensor],
    inverse_depth: Tensor,
    bodies: dict[str, Tensor],
    place: Tensor,
    sure: Tensor,
    masks: Tensor,
    covered: Tensor,
) -> Perceived:
    """The network's numbers for one picture as a value on the CPU: SCENE_FIELDS [n], inverse depth [H/4, W/4], and of
    bodies [N] FIELDS [N, n], places of their cells [N, 2], probabilities and masks; covered [K, H, W]."""
    scene, bodies = ({n: x.cpu() for n, x in part.items()} for part in (scene, bodies))
    place, sure, masks, covered, inverse_depth = (x.cpu() for x in (place, sure, masks, covered, inverse_depth))
    focal = float(scene["focal"].exp())
    depth = (-bodies["distance"]).exp()
    at = place + bodies["offset"]
    center = torch.cat((at / focal * depth, depth), 1)
    ground = F.normalize(scene["ground"], dim=0)
    foot = torch.cat(((place + bodies["foot"]) / focal, torch.ones_like(depth)), 1)
    gravity, farther = gravity_of(scene, bodies, sure, center, foot)
    center, depth = center * farther[:, None], depth * farther[:, None]
    foot = torch.where((farther != 1)[:, None], foot_of(center, ground), foot)
    braking = braking_of(scene, bodies, at / focal, gravity / depth)
    kinds = tuple(KINDS[i] for i in kinds_of(bodies["kind"], braking).tolist())
    rotation, half = shapes_of(kinds, bodies)
    hinge = torch.linalg.eigh(symmetric(bodies["hinge"]))[1][..., 2] if len(kinds) else bodies["apex"]
    wall = torch.cat((F.normalize(scene["wall"], dim=0), scene["wall_near"].exp()))
    return Perceived(
        masks=masks,
        covered=covered,
        sure=sure,
        kind=kinds,
        sphere=bodies["kind"].softmax(1)[:, KINDS.index("sphere")],
        center=center,
        rotation=rotation,
        half=half * depth,
        velocity=bodies["velocity"] * SPEED_UNIT * depth,
        spin=bodies["spin"] * SPIN_UNIT,
        fixed=bodies["fixed"][:, 0].sigmoid(),
        hinged=bodies["hinged"][:, 0].sigmoid(),
        anchor=center + bodies["anchor"] * depth,
        hinge=hinge,
        foot=foot,
        support=bodies["support"].softmax(1),
        density=bodies["density"][:, 0].exp(),
        came=bodies["came"] * SPEED_UNIT,
        braking=braking,
        inverse_depth=inverse_depth,
        ground=ground,
        fov_deg=float(torch.rad2deg(2 * torch.atan(torch.tensor(0.5 / focal)))),
        light=F.normalize(scene["light"], dim=0),
        gravity=gravity,
        camera=scene["camera"] * CAMERA_UNIT,
        wall=wall if float(scene["walled"]) > 0 else None,
    )


def gravity_of(
    scene: dict[str, Tensor], bodies: dict[str, Tensor], sure: Tensor, center: Tensor, foot: Tensor
) -> tuple[float, Tensor]:
    """Gravity in heights of the eye a squared frame, and by how much farther than perceived each body is [N]: one but
    for those that are seen to fly.

    How strongly the way of what flies bends in the picture tells gravity as a multiple of its distance. The network's
    gravity and the distance of the ground beneath a body both err in worlds that it does not know, and rarely together:
    their mean counts, and what flies is as far away as it then must be. scene: SCENE_FIELDS [n]; bodies: FIELDS [N, n];
    center, foot [N, 3].
    """
    told, ground = float(scene["gravity"].exp()), F.normalize(scene["ground"], dim=0)
    flies = (bodies["support"].softmax(1)[:, 0] > FLIES) & (sure > FLIES)
    flies &= (bodies["hinged"][:, 0] < 0) & (bodies["fixed"][:, 0] < 0)
    farther = farther_over(center, foot, ground).nan_to_num(1.0)
    depth = center[:, 2:] * farther[:, None]
    fall = center[:, :2] / center[:, 2:] * ground[2] - ground[:2]
    pull = fall / depth * scene["focal"].exp()  # [N, 2] in the picture, of a gravity of one
    bend, error = (bodies["bend"] * SPEED_UNIT).split((2, 1), 1)
    along = (bend * pull).sum(1) / norm(pull).square()
    across = norm(bend - along[:, None] * pull)
    flies &= (torch.maximum(across / ACROSS, error[:, 0] / BEND_ERROR) < norm(bend)) & (along > told / MOST_OFF)
    flies &= along < told * MOST_OFF
    none = torch.ones_like(farther)
    if not flies.any() or float(scene["camera"].abs().max()) > STANDS / CAMERA_UNIT:
        return told, none
    gravity = told * math.exp(TRUST * (float(along[flies].log().median()) - math.log(told)))
    size = bodies["size"][:, 0].exp() * center[:, 2]
    lies = 1 / (size - center @ ground).clamp_min(1e-3)  # so many times as far away, the body lies on the ground
    return gravity, torch.where(flies, torch.minimum(farther * gravity / along, lies), none)


def braking_of(scene: dict[str, Tensor], bodies: dict[str, Tensor], ray: Tensor, gravity: Tensor) -> Tensor:
    """Deceleration [N] along their ways of bodies that the ground holds up, in multiples of gravity; NaN where it is
    not seen. scene: SCENE_FIELDS [n]; bodies: FIELDS [N, n]; ray [N, 2]: ways to them, at depth one; gravity [N, 1]: in
    their depths a squared frame."""
    focal = scene["focal"].exp()
    speed = bodies["velocity"][:, :2] - ray * bodies["velocity"][:, 2:]  # as the picture shows it
    bend, error = (bodies["bend"] / focal).split((2, 1), 1)
    length = norm(speed)
    seen = (bodies["support"].argmax(1) == 1) & (bodies["hinged"][:, 0] < 0) & (bodies["fixed"][:, 0] < 0)
    seen &= (length * focal * SPEED_UNIT > SHOWN) & (error[:, 0] < SHOWN_ERROR * length)
    seen &= scene["camera"].abs().max() <= STANDS / CAMERA_UNIT
    along = -(bend * speed).sum(1) / length.clamp_min(1e-6)
    return torch.where(seen, along * SPEED_UNIT / gravity[:, 0], torch.nan)


def kinds_of(odds: Tensor, braking: Tensor) -> Tensor:
    """The likeliest of KINDS [N] by log-odds [N, kinds]: what is not braked rolls, if it may, and no ball is braked."""
    rolling = torch.tensor([kind in ROLLING for kind in KINDS])
    rolls = (braking.abs() < UNBRAKED) & (odds.softmax(1)[:, rolling].sum(1) > MAY_ROLL)
    slides = braking > BRAKED
    ruled_out = rolls[:, None] & ~rolling | slides[:, None] & torch.tensor([kind == "sphere" for kind in KINDS])
    return odds.masked_fill(ruled_out, -torch.inf).argmax(1)


def shapes_of(kinds: tuple[str, ...], bodies: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Rotations [N, 3, 3] and half extents [N, 3], as shares of the depth, of bodies of these kinds."""
    if not kinds:
        return torch.zeros(0, 3, 3), torch.zeros(0, 3)
    second = symmetric(bodies["second"])
    values, rotation = torch.linalg.eigh(second)
    rotation = rotation * torch.linalg.det(rotation)[:, None, None].sign()
    boxes = torch.tensor([k == "box" for k in kinds])
    if boxes.any():
        rotation[boxes] = rotation_of(bodies["second"][boxes], bodies["fourth"][boxes])
    lathe = torch.tensor([k in ROUND for k in kinds])
    if lathe.any():
        axis = line_of(bodies["fourth"][lathe])
        apex = (axis * bodies["apex"][lathe]).sum(1, keepdim=True)
        axis = torch.where(apex < 0, -axis, axis)
        rotation[lathe] = _towards(axis)
    values = (rotation.transpose(1, 2) @ second @ rotation).diagonal(dim1=1, dim2=2).clamp_min(0.05)
    values[lathe, :2] = values[lathe, :2].mean(1, keepdim=True)
    sphere = torch.tensor([k == "sphere" for k in kinds])
    values[sphere] = 1.0
    return rotation, values / values.log().mean(1, keepdim=True).exp() * bodies["size"].exp()


def _towards(axis: Tensor) -> Tensor:
    """Rotations [N, 3, 3] whose last columns are these unit vectors [N, 3]."""
    up = torch.tensor([0.0, 0.0, 1.0]).expand_as(axis)
    across = torch.linalg.cross(up, axis)
    sin = across.norm(dim=1)
    across = torch.where(sin[:, None] > 1e-6, across, torch.tensor([1.0, 0.0, 0.0]))
    return rotation_about(F.normalize(across, dim=1), torch.atan2(sin, axis[:, 2]))
