"""How far simulation gets from perfect perception, and how exact it must be: python bench/oracle.py --out oracle.json

Scenes of the varied families: five frames are labelled, the labels become a scene (lift/perceived.py), which moves for
two seconds beside the truth. Each row adds one kind of error to the labels; the row "network", with --run, asks a
trained perception instead, of which a body that it misses fails the clip. within: share of clips in which every body
is within its radius of its true place in four of five frames, as the last known camera sees them; posed: and its axes
within 30 degrees; iou: median overlap of the masks of moving bodies after two seconds.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from vdit.lift.perceived import GRAVITY, BodyEdit, scene_from_perception
from vdit.machine.writing import written
from vdit.model.perceived import Perceived
from vdit.model.perception import BodyPerception
from vdit.training.data.body_labels import FINE, KNOWN, perfect, principal, seen
from vdit.training.finished_runs import trained_perception
from vdit.training.tasks.body_scores import overlaps
from vdit.world.drawing.film import film
from vdit.world.families.varied import VARIED_FAMILIES, Varied, varied
from vdit.world.meshes import pose_matrix
from vdit.world.motion import Motion
from vdit.world.scene import SceneError
from vdit.world.simulate import simulate

SECONDS, START = 2.0, 1
SHARE, TILT_DEG, MOVES = 0.8, 30.0, 0.5  # frames that must be right; degrees; radii from which on a body moves
PICTURE = 128  # pixels
SHAPES_TOLD, MASSES_TOLD = "true shapes", "true shapes and masses"  # settings that a person's edits make
NETWORK = "network"
Noise = Callable[[Perceived, np.random.Generator], Perceived]


def normal(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.normal(size=shape)).float()


def speed(share: float = 0.0, pixels: float = 0.0) -> Noise:
    """Velocities and spins off by a share of themselves; velocities by pixels a frame, in depth by three times that."""

    def noisy(p: Perceived, rng: np.random.Generator) -> Perceived:
        n, focal = len(p.kind), 0.5 / np.tan(np.radians(p.fov_deg) / 2) * PICTURE
        own = share * normal(rng, n, 3) / 3**0.5
        moved = p.velocity + own * p.velocity.norm(dim=1, keepdim=True)
        moved = moved + pixels / focal * p.center[:, 2:] * normal(rng, n, 3) * torch.tensor((1.0, 1.0, 3.0))
        return replace(p, velocity=moved, spin=p.spin * (1 + share * normal(rng, n, 1)))

    return noisy


def distance(share: float) -> Noise:
    """Bodies nearer or farther by a share, and as much smaller or larger: the picture stays the same."""

    def noisy(p: Perceived, rng: np.random.Generator) -> Perceived:
        by = 1 + share * normal(rng, len(p.kind), 1)
        anchor = p.anchor * by
        return replace(p, center=p.center * by, half=p.half * by, velocity=p.velocity * by, anchor=anchor)

    return noisy


def size(share: float) -> Noise:
    """Each half extent off by a share."""
    return lambda p, rng: replace(p, half=p.half * (1 + share * normal(rng, len(p.kind), 3)).clamp_min(0.2))


def turn(degrees: float) -> Noise:
    """Rotations off by some degrees about any axis."""
    from vdit.geometry.rotation import rotation_about

    def noisy(p: Perceived, rng: np.random.Generator) -> Perceived:
        axis = torch.nn.functional.normalize(normal(rng, len(p.kind), 3), dim=1)
        angle = torch.deg2rad(degrees * normal(rng, len(p.kind)))
        return replace(p, rotation=rotation_about(axis, angle) @ p.rotation)

    return noisy


def camera(degrees: float) -> Noise:
    """The ground tilted, and the field of view off by four times as much."""

    def noisy(p: Perceived, rng: np.random.Generator) -> Perceived:
        off = torch.deg2rad(torch.tensor(degrees)) * normal(rng, 3)
        ground = torch.nn.functional.normalize(p.ground + off, dim=0)
        return replace(p, ground=ground, fov_deg=p.fov_deg + 4 * degrees * float(rng.normal()))

    return noisy


def foot(pixels: float) -> Noise:
    """The points of the ground beneath bodies off by so many pixels."""

    def noisy(p: Perceived, rng: np.random.Generator) -> Perceived:
        focal = 0.5 / np.tan(np.radians(p.fov_deg) / 2) * PICTURE
        return replace(p, foot=p.foot + pixels / focal * normal(rng, len(p.kind), 3) * torch.tensor((1.0, 1.0, 0.0)))

    return noisy


def together(*noises: Noise) -> Noise:
    def noisy(p: Perceived, rng: np.random.Generator) -> Perceived:
        for noise in noises:
            p = noise(p, rng)
        return p

    return noisy


SETTINGS: dict[str, Noise] = {
    "perfect": lambda p, rng: p,
    SHAPES_TOLD: lambda p, rng: p,
    MASSES_TOLD: lambda p, rng: p,
    "speed 10%": speed(0.1),
    "speed 0.3 px": speed(pixels=0.3),
    "distance 10%": distance(0.1),
    "foot 1 px": foot(1.0),
    "foot 3 px": foot(3.0),
    "distance 15%, foot 1 px": together(distance(0.15), foot(1.0)),
    "size 10%": size(0.1),
    "turn 6 deg": turn(6.0),
    "turn 12 deg": turn(12.0),
    "camera 3 deg": camera(3.0),
    "all small": together(speed(0.05, 0.05), distance(0.03), foot(0.3), size(0.03), turn(3.0), camera(0.5)),
    "all larger": together(speed(0.1, 0.2), distance(0.08), foot(1.0), size(0.08), turn(6.0), camera(2.0)),
    "no speeds": lambda p, rng: replace(p, velocity=0 * p.velocity, spin=0 * p.spin),
}


def true_motion(made: Varied) -> Motion:
    frames = (START + KNOWN - 1 + round(SECONDS * made.fps)) * FINE + 2
    return simulate(made.scene, seconds=frames / (made.fps * FINE), fps=made.fps * FINE)


def told(made: Varied, number: int, masses: bool) -> BodyEdit:
    """A body's true shapes, in the axes and metres in which it is perceived, and its material."""
    body, kind = made.scene.bodies[number], made.shapes[number]
    metres = GRAVITY / -made.scene.gravity[2]
    center, axes, _ = principal(body.shapes[:1] if body.joint else body.shapes, kind)
    shapes = []
    for shape in body.shapes:
        pose = pose_matrix(shape.position, shape.rotation)
        rotation = Rotation.from_matrix(axes.T @ pose[:3, :3]).as_quat()[[3, 0, 1, 2]]
        at = axes.T @ (pose[:3, 3] - center) * metres
        vertices = None if shape.vertices is None else shape.vertices * metres
        size = tuple(metres * v for v in shape.size)
        shapes.append(replace(shape, size=size, position=tuple(at), rotation=tuple(rotation), vertices=vertices))
    return BodyEdit(shapes=tuple(shapes), material=body.material if masses else None)


def compared(made: Varied, motion: Motion, labels: dict, guess: Perceived, edits: str = "") -> dict[str, float]:
    """within, posed (0 or 1) and iou of one clip."""
    ids, centers, radii, axes = true_bodies(made, motion, labels)
    known = {k: told(made, n, edits == MASSES_TOLD) for k, n in enumerate(ids)} if edits else {}
    scene = scene_from_perception(guess, fps=made.fps, width=PICTURE, height=PICTURE, edits=known)
    steps = round(SECONDS * made.fps)
    moved = simulate(scene, seconds=(steps + 1) / made.fps, fps=made.fps)
    last = (START + KNOWN - 1) * FINE
    rows = last + FINE * np.arange(steps + 1)
    c2w = made.c2w[START + KNOWN - 1]
    eye = scene.view.c2w[2, 3] / c2w[2, 3]  # metres may differ: gravity is told as a number
    away, tilt = np.zeros((steps + 1, len(ids))), np.zeros((steps + 1, len(ids)))
    for k in range(len(ids)):
        ours = moved.poses[:, k]
        back = c2w[:3, :3] @ scene.view.c2w[:3, :3].T
        place = (ours[:, :3, 3] - scene.view.c2w[:3, 3]) / eye @ back.T + c2w[:3, 3]
        ours_at, true_at = ((at - c2w[:3, 3]) @ c2w[:3, :3] for at in (place, centers[rows, k]))
        off = ours_at[:, :2] / np.maximum(ours_at[:, 2:], 1e-3) - true_at[:, :2] / true_at[:, 2:]
        away[:, k] = np.linalg.norm(off, axis=1) * true_at[:, 2] / radii[k]
        turned, true = back @ ours[:, :3, :3], axes[rows, k]
        cos = np.abs(np.swapaxes(turned, 1, 2) @ true)
        kind = guess.kind[k]
        if kind in ("cylinder", "capsule", "cone"):
            tilt[:, k] = np.degrees(np.arccos(np.clip(cos[:, 2, 2], 0, 1)))
        elif kind == "box":
            tilt[:, k] = np.degrees(np.arccos(np.clip(cos.max(1).min(1), 0, 1)))
    good = away < 1
    within = (good.mean(0) >= SHARE).all()
    posed = ((good & (tilt < TILT_DEG)).mean(0) >= SHARE).all()
    span = np.linalg.norm(np.ptp(centers[rows], axis=0), axis=1) / radii
    masks = [last_frame(motion, rows[-1], c2w, made.scene.view.fov_deg), last_frame(moved, steps, None, None)]
    ious = []
    for k in np.flatnonzero(span > MOVES):
        a, b = masks[0] == ids[k] + 1, masks[1] == k + 1
        if a.sum() >= 8:
            ious.append((a & b).sum() / (a | b).sum())
    return {"within": float(within), "posed": float(posed), **({"iou": float(np.mean(ious))} if ious else {})}


def asked(model: BodyPerception, labels: dict) -> Perceived | None:
    """What a network perceives, its bodies in the labels' order, false ones last; None where it misses one."""
    p = model.perceive(torch.from_numpy(labels["rgb"]).float() / 255, torch.from_numpy(labels["motion"]).float())
    found = overlaps(p.masks > 0.5, perfect(labels).masks > 0.5)
    order: list[int] = []
    for k in range(found.shape[1]):
        free = [n for n in found[:, k].argsort(descending=True).tolist() if n not in order]
        if not free or found[free[0], k] < 0.5:
            return None
        order.append(free[0])
    order += [n for n in range(len(p.kind)) if n not in order]
    rows = ("masks", "sure", "center", "rotation", "half", "velocity", "spin", "fixed", "hinged", "anchor", "hinge")
    rows += ("foot", "support", "density")
    return replace(p, kind=tuple(p.kind[n] for n in order), **{name: getattr(p, name)[order] for name in rows})


def true_bodies(made: Varied, motion: Motion, labels: dict) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
    """The scene's number of each labelled body, its centres [T, N, 3], radii [N] and axes [T, N, 3, 3] in the world."""
    last, c2w = (START + KNOWN - 1) * FINE, made.c2w[START + KNOWN - 1]
    all_of = []
    for body, kind in zip(made.scene.bodies, made.shapes, strict=True):
        all_of.append(principal(body.shapes[:1] if body.joint else body.shapes, kind))
    poses = motion.poses
    at = np.stack([poses[:, i, :3, :3] @ c + poses[:, i, :3, 3] for i, (c, _, _) in enumerate(all_of)], 1)
    axes = np.stack([poses[:, i, :3, :3] @ a for i, (_, a, _) in enumerate(all_of)], 1)
    radii = np.array([np.prod(h) ** (1 / 3) for _, _, h in all_of])
    there = labels["pixels"] > 0
    told = labels["center"][there] * c2w[2, 3] @ c2w[:3, :3].T + c2w[:3, 3]
    ids = [int(np.linalg.norm(at[last] - p, axis=1).argmin()) for p in told]
    return ids, at[:, ids], radii[ids], axes[:, ids]


def last_frame(motion: Motion, t: int, c2w: np.ndarray | None, fov_deg: float | None) -> np.ndarray:
    """Instances [H, W] of one frame."""
    shown = replace(motion, poses=motion.poses[t : t + 1], present=motion.present[t : t + 1])
    where = {} if c2w is None else {"c2w": c2w[None], "fov_deg": np.array([fov_deg])}
    return film(shown, width=PICTURE, height=PICTURE, **where).instance[0].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20, help="of each family")
    parser.add_argument("--seed", type=int, default=320000)
    parser.add_argument("--families", nargs="*", default=[f for f in VARIED_FAMILIES if f not in ("rest", "collide")])
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS))
    parser.add_argument("--run", type=Path, default=None, help="of a trained perception, for the row 'network'")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = None if options.run is None else trained_perception(options.run)[0]
    if model is not None:
        options.settings = [*options.settings, NETWORK]
    rows: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for family in options.families:
        seed, done = options.seed, 0
        while done < options.clips:
            seed += 1
            made = varied(seed, family=family, frames=START + KNOWN + 1, plain=True)
            motion = true_motion(made)
            labels = seen(made, motion, START)
            if labels is None:
                continue
            done += 1
            for number, name in enumerate(options.settings):
                if name == NETWORK and model is not None:
                    guess = asked(model, labels)
                else:
                    guess = SETTINGS[name](perfect(labels), np.random.default_rng([seed, number]))
                try:
                    if guess is None:
                        raise SceneError("a body is missed")
                    edits = name if name in (SHAPES_TOLD, MASSES_TOLD) else ""
                    found = compared(made, motion, labels, guess, edits)
                except SceneError:
                    found = {"within": 0.0, "posed": 0.0, "iou": 0.0}
                for key, value in found.items():
                    rows[name][family][key].append(value)
        line = {
            name: {
                "within": round(100 * float(np.mean(rows[name][family]["within"]))),
                "posed": round(100 * float(np.mean(rows[name][family]["posed"]))),
                "iou": round(float(np.median(rows[name][family]["iou"] or [0])), 2),
            }
            for name in options.settings
        }
        print(family, json.dumps(line), flush=True)
        if options.out is None:
            continue
        table = {
            name: {
                family: {key: round(float((np.median if key == "iou" else np.mean)(v)), 3) for key, v in found.items()}
                for family, found in by.items()
            }
            for name, by in rows.items()
        }
        with written(options.out) as partial:
            partial.write_text(json.dumps({"clips": options.clips, "seed": options.seed, "scores": table}, indent=1))


if __name__ == "__main__":
    main()
