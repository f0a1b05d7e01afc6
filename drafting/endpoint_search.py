"""Endpoint search: initial velocities for which balls end where an end picture shows them.

Random shooting: candidates are rolled out, and velocities ever closer around the best are sampled next.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.linalg import norm
from .layers import OCCLUDED

if TYPE_CHECKING:
    from ..model.object_dynamics import Balls, ObjectDynamics, Perception
    from .camera_views import CameraViews
    from .perception import PerceivedShot

SAMPLES, REFINED_SAMPLES = 64, 32  # velocities tried at first, and in each round after that
# Standard deviations of velocities around the best, in UNITS a frame: 0.64, 0.16 and 0.05 pixels, 128 pixels high.
DEVIATIONS = (0.04, 0.01, 0.003)
MAX_OBSERVED_DEVIATION = 0.01  # the largest of them where the velocities were observed
MATCH_RADIUS = 1.5  # radii from its target within which a ball has reached it
UNMATCHED_COST = 6.0  # radii that a ball or target without a counterpart costs; farther ones are not paired
COLOUR_COST = 8.0  # radii that a colour difference of 1 costs
BLOCKS = 16  # cells a side whose changes are compared
CHANGE = 0.01  # mean change of a cell (of 1) from which it shows something else
MIN_UNCHANGED = 0.75  # share of unchanged cells under a still camera; a moving one changes more in 19 cases of 20


class Targets(NamedTuple):
    """The balls [M] of an end picture."""

    position: Tensor  # [M,2] in UNITS
    radius: Tensor  # [M,1] in UNITS
    colour: Tensor  # [M,3]
    inverse_depth: Tensor  # [1,h,w] of all else in the end picture


class Assignment(NamedTuple):
    """Pairs of balls [N] and targets [M] for each of K rollouts."""

    cost: Tensor  # [K] in radii
    distance: Tensor  # [K,N,M] in radii, with the cost of colours; infinite for a ball out of view
    target: Tensor  # [K,N] number of a ball's target, -1 without one
    offset: Tensor  # [K,N,2] from a ball to its target in UNITS, in the first camera; 0 without one
    unmatched: Tensor  # [K] balls in view and targets without a counterpart


class Endpoints(NamedTuple):
    """A search for balls [1,N] that end at targets."""

    dynamics: ObjectDynamics
    perception: Perception  # of the start pictures
    frames: int  # from the last start picture to the end picture
    picture: Tensor  # [H,W,3] the last start picture
    balls: Balls  # [1,N] in it
    depth: Tensor  # [N,1] metres of the balls in it
    targets: Targets
    views: CameraViews  # from the start to the end picture


def same_view(first: Tensor, last: Tensor) -> bool:
    """Whether two pictures [H,W,3] show one scene from one camera."""
    change = F.adaptive_avg_pool2d((first - last).abs().mean(-1)[None, None], BLOCKS)
    return bool((change < CHANGE).float().mean() > MIN_UNCHANGED)


def targets_in(picture: Tensor, shot: PerceivedShot) -> Targets:
    """The balls of an end picture [H,W,3], as perceived in it."""
    balls, perception = shot.start.balls, shot.perception
    present = balls.radius[0, :, 0] > 0
    position, radius = balls.position[0, present], balls.radius[0, present]
    colour = ball_colours(picture, position, radius, perception.pixels_per_unit)
    return Targets(position, radius, colour, perception.inverse_depth)


def ball_colours(picture: Tensor, position: Tensor, radius: Tensor, pixels_per_unit: Tensor) -> Tensor:
    """Mean colours [N,3] of the middles of balls in a picture [H,W,3]; position [N,2] and radius [N,1] in UNITS."""
    half = torch.tensor([picture.shape[1], picture.shape[0]]) / 2
    row = torch.linspace(-0.5, 0.5, 5)
    offsets = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1).flatten(0, 1)  # in radii
    at = (position[:, None] + radius[:, None] * offsets) * pixels_per_unit / half
    colours = F.grid_sample(picture.permute(2, 0, 1)[None], at[None], padding_mode="border", align_corners=False)
    return colours[0].mean(-1).T


def rollout(search: Endpoints, balls: Balls) -> Balls:
    """Balls [K,N] in the end picture's frame."""
    scene = search.perception.scene_features.expand(len(balls.position), -1, -1, -1)
    for _ in range(search.frames):
        balls = search.dynamics.advance(balls, scene)
    return balls


def assign(search: Endpoints, start: Balls) -> Assignment:
    """Roll out balls [K,N] and pair them with targets greedily, the closest first."""
    (position, _, _, radius, _), targets, views = rollout(search, start), search.targets, search.views
    scale, frames, (count, balls) = search.perception.pixels_per_unit, search.frames, start.position.shape[:2]
    half = torch.tensor([search.picture.shape[1], search.picture.shape[0]]) / 2 / scale  # UNITS
    depth = search.depth * start.radius / radius.clamp_min(1e-3)
    at, away = views.to_frame((position * scale + views.centre).flatten(0, 1), depth.flatten(0, 1), frames)
    at, away = (at.view_as(position) - views.centre) / scale, away.view_as(depth)
    size = radius * depth / away.clamp_min(0.1) * views.zoom(frames)
    inside = ((at.abs() < half + size) & (away > 0)).all(-1)
    ground = search.perception.inverse_depth if views.camera is None else targets.inverse_depth
    ground = ground[None].expand(count, -1, -1, -1)
    ground = F.grid_sample(ground, (at / half)[:, None], padding_mode="border", align_corners=False)[:, 0, 0]
    in_view = inside & (ground * away[..., 0] < OCCLUDED)
    own = search.balls
    colour = ball_colours(search.picture, own.position[0], own.radius[0], scale)
    colour_cost = COLOUR_COST * norm(colour[:, None] - targets.colour)  # [N, M] radii
    distance = norm(targets.position - at[:, :, None]) / targets.radius[:, 0] + colour_cost  # [K, N, M]
    distance = torch.where(in_view[..., None], distance, torch.inf)

    free, every, offset = distance.clone(), torch.arange(count), torch.zeros_like(position)
    number = len(targets.position)
    cost, unmatched, target = torch.zeros(count), in_view.sum(1) + number, torch.full((count, balls), -1)
    for _ in range(min(balls, number)):
        least, pair = free.flatten(1).min(1)
        matched = least < UNMATCHED_COST
        k, ball, goal = (x[matched] for x in (every, pair // number, pair % number))
        pixels = targets.position[goal] * scale + views.centre
        aim = (views.to_reference(pixels, away[k, ball], frames) - views.centre) / scale
        offset[k, ball], target[k, ball] = aim - position[k, ball], goal
        cost[k], unmatched[k] = cost[k] + least[matched], unmatched[k] - 2
        free[k, ball] = torch.inf
        free[k, :, goal] = torch.inf
    return Assignment(cost + UNMATCHED_COST * unmatched, distance, target, offset, unmatched)


def search_velocities(search: Endpoints, candidates: Tensor | None, noise: Tensor) -> tuple[Balls, Tensor] | None:
    """Balls [1,N] whose velocities lead to their targets, and the offset [N,2] that is left, in UNITS; or None.

    candidates: velocities [K,N,2] to begin with, or None where those of the balls were observed; noise: the clip's.
    """
    balls, count = search.balls, search.balls.position.shape[1]
    if not count:
        return None if len(search.targets.position) else (balls, torch.zeros(0, 2))
    tried, deviations = balls, tuple(d for d in DEVIATIONS if d <= MAX_OBSERVED_DEVIATION)
    if candidates is not None:
        tried, deviations = search.dynamics.with_velocity(_repeat(balls, len(candidates)), candidates), DEVIATIONS
    for i, deviation in enumerate(deviations, start=1):
        best = _best(tried, assign(search, tried))
        change = deviation * cycled(noise, REFINED_SAMPLES, count, 2, skip=i * REFINED_SAMPLES * count)
        around = _repeat(best, REFINED_SAMPLES)
        velocity = around.velocity + F.pad(change, (0, 1))
        tried = around._replace(velocity=torch.cat((best.velocity, velocity[len(best.velocity) :])))
    tried = _best(tried, assign(search, tried))
    found = assign(search, tried)
    k = int(found.cost.argmin())
    balls, offset = tried._make(x[k : k + 1] for x in tried), found.offset[k]
    if found.unmatched[k] or bool((norm(offset) > MATCH_RADIUS * balls.radius[0, :, 0]).any()):
        return None
    return balls, offset


def cycled(noise: Tensor, *shape: int, skip: int = 0) -> Tensor:
    """Values of a clip's noise [1,C,T',h,w] in a shape, on the CPU, after the first `skip`; repeated as needed."""
    values = noise[0].flatten()
    at = (torch.arange(math.prod(shape), device=values.device) + skip) % len(values)
    return values[at].view(shape).float().cpu()


def _repeat(balls: Balls, count: int) -> Balls:
    """The first [1,N] of balls [K,N], repeated [count,N]."""
    return balls._make(x[:1].expand(count, *x.shape[1:]) for x in balls)


def _best(tried: Balls, found: Assignment) -> Balls:
    """Two candidates [2,N] from balls [K,N]: the best for each ball's own target, and the best as a whole.

    Balls rarely collide, so that the first mostly does what its parts did. Targets are those of the second.
    """
    k, every = found.cost.argmin(), torch.arange(tried.position.shape[1])
    target = found.target[k]
    closest = found.distance[:, every, target.clamp_min(0)].argmin(0) if found.distance.shape[2] else k
    rows = torch.stack((closest.where(target >= 0, k), k.expand(len(every))))
    return tried._make(x[rows, every] for x in tried)
