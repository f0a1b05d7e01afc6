"""A body breaks into Voronoi shards of itself that keep its mass, momentum, outline and appearance."""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# NumPy's annotations leave products of arrays of any float type without a type.

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .clipping import clip, mesh_of, solid_of
from .meshes import body_mass, centroid, convex_hull, corners, joined, shape_mesh, shape_volume, transformed, volume
from .scene import Shape, vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from .arrays import Floats
    from .scene import Body, Mesh

SHARDS = 12  # of a body that just breaks; they grow with the speed of the impact, between FEWEST and MOST
FEWEST, MOST = 6, 64
CANDIDATES = 8  # places drawn for each seed that is taken
REACH = 0.35  # of the body's size: over this distance from the impact, seeds thin out by 1/e
BURST = 0.03  # share of the impact's energy that drives shards apart
COARSE = 24  # segments around a round body that is cut: its inertia is then within 0.5%, its shapes stay small
SMALLEST = 1e-6  # of the body's volume: what is smaller is not worth a shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Blow:
    """What breaks a body: the point in its axes [3], or None; energy in J/kg and toughness; impulse in Ns, by what."""

    at: Floats | None = None
    energy: float = 0.0
    toughness: float = 0.0
    impulse: float = 0.0
    other: str = ""

    @property
    def shards(self) -> int:
        """How many shards it makes."""
        faster = math.sqrt(self.energy / self.toughness) if self.toughness > 0 else 1.0
        return int(np.clip(round(SHARDS * faster), FEWEST, MOST))


@dataclass(frozen=True, eq=False, kw_only=True)
class Moving:
    """Where a body is and how it moves: pose [4, 4], velocity of its centre of mass [3], spin [3], in world axes."""

    pose: Floats
    velocity: Floats
    spin: Floats


def shatter(
    body: Body,
    surface: Mesh,
    moving: Moving,
    blow: Blow,
    random: np.random.Generator,
    check: Callable[[], None] = lambda: None,
) -> list[Body]:
    """Shards of a body (surface: what is drawn of it, in its axes) as bodies where it is now, moving as it moves.

    Masses and momenta sum to the body's. A shard's axes are the body's, moved to the shard's centre of mass. Shards do
    not break again, and do not rebound. check: called for each shard, may raise to cancel.
    """
    solids = [_solid(s) for s in body.shapes]
    size = sum(volume(s) for s in solids)
    seeds = _seeds(solids, blow, size ** (1 / 3), random)
    cells: list[tuple[list[Mesh], Mesh | None]] = []
    for i in range(len(seeds)):
        check()
        pieces = [p for s in solids if (p := _cell(s, seeds, i)) is not None and volume(p) > SMALLEST * size]
        if pieces:
            cells.append(([convex_hull(p.vertices) for p in pieces], _cell(surface, seeds, i)))
    volumes = [sum(volume(p) for p in pieces) for pieces, _ in cells]
    scale = body_mass(body) / sum(volumes)
    centers = [np.average([centroid(p) for p in ps], axis=0, weights=[volume(p) for p in ps]) for ps, _ in cells]
    middle = np.average(centers, axis=0, weights=volumes)
    rotation = moving.pose[:3, :3]
    arms = (np.array(centers) - middle) @ rotation.T  # [N, 3] from the centre of mass, in world axes
    burst = _burst(arms, np.array(volumes), blow)
    shards: list[Body] = []
    for k, ((pieces, drawn), v, center) in enumerate(zip(cells, volumes, centers, strict=True)):
        velocity = moving.velocity + np.cross(moving.spin, arms[k]) + burst * arms[k]
        shell = joined(pieces) if drawn is None else drawn
        shards.append(
            replace(
                body,
                name=f"{body.name}/{k + 1}",
                shapes=tuple(Shape(kind="hull", vertices=p.vertices - center) for p in pieces),
                position=vector(transformed(center[None], moving.pose)[0]),
                # Edges crush where they land: shards of what rebounds do not.
                material=replace(body.material, toughness=None, restitution=0.0),
                surface=replace(shell, vertices=shell.vertices - center),
                mass=scale * v,
                velocity=vector(velocity),
                spin=vector(moving.spin),
                fixed=False,
                joint=None,
            )
        )
    return shards


def _solid(shape: Shape) -> Mesh:
    """A shape as a convex mesh of the same volume, for cutting and for collisions."""
    mesh = convex_hull(shape_mesh(shape, COARSE).vertices)
    middle, larger = mesh.vertices.mean(0), (shape_volume(shape) / volume(mesh)) ** (1 / 3)
    return replace(mesh, vertices=middle + larger * (mesh.vertices - middle))


def _seeds(solids: list[Mesh], blow: Blow, size: float, random: np.random.Generator) -> Floats:
    """Places [N, 3] within the solids, denser near the blow."""
    count = blow.shards * CANDIDATES
    share = np.array([volume(s) for s in solids])
    which = random.choice(len(solids), count, p=share / share.sum())
    places = np.concatenate([_inside(s, int((which == k).sum()), random) for k, s in enumerate(solids)])
    weight = np.ones(count)
    if blow.at is not None:
        distance = np.linalg.norm(places - blow.at, axis=1)
        weight = np.exp(-(distance - distance.min()) / (REACH * size))
    return places[random.choice(count, blow.shards, replace=False, p=weight / weight.sum())]


def _inside(solid: Mesh, count: int, random: np.random.Generator) -> Floats:
    """Even random points [count, 3] in a convex mesh: in its tetrahedra about its centre, by volume."""
    middle = solid.vertices.mean(0)
    a, b, c = (v - middle for v in corners(solid.vertices, solid.faces))
    volumes = np.einsum("ij,ij->i", a, np.cross(b, c)).clip(0)
    which = random.choice(len(volumes), count, p=volumes / volumes.sum())
    share = random.dirichlet(np.ones(4), count)
    return middle + share[:, :1] * a[which] + share[:, 1:2] * b[which] + share[:, 2:3] * c[which]


def _cell(mesh: Mesh, seeds: Floats, i: int) -> Mesh | None:
    """The part of a closed mesh that is nearest to seed i."""
    way = seeds - seeds[i]
    distance = np.linalg.norm(way, axis=1)
    left, points = solid_of(mesh), mesh.vertices - seeds[i]
    for j in np.argsort(distance)[1:]:
        # A seed twice as far as the farthest point left cuts nothing, and those after it are farther.
        if not len(points) or distance[j] > 2 * math.sqrt((points**2).sum(1).max()):
            break
        normal = way[j] / distance[j]
        if (points @ normal).max() > distance[j] / 2:
            left = clip(left, normal, float(normal @ (seeds[i] + seeds[j]) / 2))
            points = left.points - seeds[i]
    return mesh_of(left)


def _burst(arms: Floats, volumes: Floats, blow: Blow) -> float:
    """1/s: outward speed for each metre from the centre of mass, at which shards carry their share of the energy."""
    spread = float(np.average((arms**2).sum(1), weights=volumes))
    return math.sqrt(2 * BURST * blow.energy / spread) if spread > 0 else 0.0
