"""Batches of starts for the perception of bodies: drawn from shards, mirrored, and seen through other cameras' eyes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...model.ways import KNOWN
from .bodies import Bodies
from .other_pictures import OtherPictures

TOGETHER = 16  # held-out starts in a batch
SINGLE = 0.35  # share of batches of one picture
EMPTY = 0.06  # share of pictures that are replaced by photographs, in which no body is to be found
NOISY, SOFT = 0.4, 0.25  # shares of pictures with noise, and without fine detail
RECOLORED = 0.5  # share of pictures whose red, green and blue change places
SOFT_PIXELS = (1.5, 4.0)  # detail finer than so many pixels is taken out
# Those whose x changes its sign in a mirror, and pseudovectors, whose y and z do.
FLIPPED = ("center", "velocity", "anchor", "axes", "ground", "light", "wall", "hinge")
TURNED = ("spin",)


@dataclass(frozen=True, eq=False)
class Batch:
    """Starts of one size. frames [B, K, H, W, 3] in 0..1; labels as data/body_labels.py has them, [B, ...]; empty [B]:
    photographs, without labels; told [N]: numbers of the others. picture, body [K]: the bodies to be found."""

    frames: Tensor
    labels: dict[str, Tensor]
    empty: Tensor
    told: Tensor
    picture: Tensor
    body: Tensor

    def of_bodies(self, name: str) -> Tensor:
        """A label of the K bodies [K, ...]."""
        return self.labels[name][self.picture, self.body]

    def masks(self) -> Tensor:
        """Masks [K, H, W] of the bodies, bool."""
        return self.labels["instance"][self.picture] == (self.body + 1)[:, None, None]


class BodyBatches:
    """Random batches of a folder of shards, all of one picture size each."""

    def __init__(self, folder: Path, photographs: Path | None):
        self.bodies = Bodies.load(folder)
        self.photographs = None if photographs is None else OtherPictures(photographs)

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """A batch with all that changes pictures on their way."""
        shards = list(self.bodies.shards.values())
        first = shards[int(rng.integers(len(shards)))]
        alike = [s for s in shards if s["rgb"].shape[2:4] == first["rgb"].shape[2:4]]
        picks = [alike[int(i)] for i in rng.integers(len(alike), size=count)]
        rows = [{k: v[r] for k, v in p.items()} for p in picks for r in (int(rng.integers(len(p["rgb"]))),)]
        labels = {k: torch.stack([row[k] for row in rows]) for k in first}
        flips = torch.from_numpy(rng.random(count) < 0.5)
        labels = mirrored(labels, flips)
        frames = labels.pop("rgb").float() / 255
        frames = seen_by_others(frames, rng)
        empty = torch.zeros(count, dtype=torch.bool)
        if self.photographs is not None:
            for i in np.flatnonzero(rng.random(count) < EMPTY):
                frames[i], labels["motion"][i] = _photograph(self.photographs, frames.shape[1:4], rng)
                empty[i] = True
        if rng.random() < SINGLE:
            frames, labels["motion"] = frames[:, -1:], torch.zeros_like(labels["motion"])
        return batch(frames, labels, empty)

    def held_out(self, count: int) -> list[Batch]:
        """About `count` starts from all shards as they are, TOGETHER in a batch."""
        out: list[Batch] = []
        for shard in self.bodies.shards.values():
            for at in range(0, len(shard["rgb"]), TOGETHER):
                labels = {k: v[at : at + TOGETHER].clone() for k, v in shard.items()}
                frames = labels.pop("rgb").float() / 255
                out.append(batch(frames, labels, torch.zeros(len(frames), dtype=torch.bool)))
        step = max(1, len(out) * TOGETHER // count)  # of all shards, so of all sizes
        return out[::step][: max(1, count // TOGETHER)]


def batch(frames: Tensor, labels: dict[str, Tensor], empty: Tensor) -> Batch:
    """A batch of these pictures and their labels [B, ...]."""
    labels = {k: v.float() if v.is_floating_point() else v for k, v in labels.items()}
    there = (labels["pixels"] > 0) & ~empty[:, None]
    picture, body = there.nonzero(as_tuple=True)
    return Batch(frames, labels, empty, (~empty).nonzero()[:, 0], picture, body)


def mirrored(labels: dict[str, Tensor], flips: Tensor) -> dict[str, Tensor]:
    """Starts [B, ...] of which some [B] are seen in a mirror. Axes then have a determinant of -1, which no moment of
    theirs tells."""
    out = dict(labels)
    at = flips.nonzero()[:, 0]
    for name, axis in (("rgb", 3), ("instance", 2), ("inverse_depth", 2), ("motion", 2)):
        out[name] = labels[name].clone()
        out[name][at] = labels[name][at].flip(axis)
    out["motion"][at] *= torch.tensor((-1.0, 1.0)).repeat(KNOWN - 1)
    sign = torch.tensor((-1.0, 1.0, 1.0))
    for name in FLIPPED:
        value = labels[name].clone()
        if name == "axes":
            value[at] *= sign[:, None]
        else:
            value[at, ..., :3] *= sign
        out[name] = value
    for name in TURNED:
        out[name] = labels[name].clone()
        out[name][at] *= -sign
    out["camera"] = labels["camera"].clone()
    out["camera"][at] *= torch.cat((sign, -sign))
    return out


def seen_by_others(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Frames [B, K, H, W, 3] as other cameras give them: exposure, contrast, tint, other colours, noise, softness."""
    count = len(frames)
    shape = (count, 1, 1, 1, 3)
    gain = np.exp(rng.normal(0, 0.15, (count, 1, 1, 1, 1)) + rng.normal(0, 0.06, shape))
    gamma, lift = np.exp(rng.normal(0, 0.2, (count, 1, 1, 1, 1))), rng.normal(0, 0.03, shape)
    out = (frames.clamp_min(1e-4) ** torch.from_numpy(gamma).float()) * torch.from_numpy(gain).float()
    out = out + torch.from_numpy(lift).float()
    for i in np.flatnonzero(rng.random(count) < RECOLORED):
        out[i] = out[i][..., torch.from_numpy(rng.permutation(3))]
    for i in np.flatnonzero(rng.random(count) < SOFT):
        out[i] = _softened(out[i], float(rng.uniform(*SOFT_PIXELS)))
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    for i in np.flatnonzero(rng.random(count) < NOISY):
        out[i] += torch.randn(out[i].shape, generator=generator) * float(rng.uniform(0, 0.04))
    return out.clamp(0, 1)


def _softened(frames: Tensor, pixels: float) -> Tensor:
    """Frames [K, H, W, 3] without what is finer than so many pixels."""
    x = frames.permute(0, 3, 1, 2)
    small = [round(n / pixels) for n in x.shape[2:]]
    x = F.interpolate(F.interpolate(x, small, mode="bilinear", antialias=True), x.shape[2:], mode="bicubic")
    return x.permute(0, 2, 3, 1)


def _photograph(photographs: OtherPictures, shape: torch.Size, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A part of a photograph [K, H, W, 3], still or drifting by a pixel a frame, and its motion [MOTION]."""
    known, height, width = shape
    square = torch.from_numpy(photographs.photograph(rng)).float()
    whole = F.interpolate(square.permute(2, 0, 1)[None], (height + 8, width + 8), mode="bilinear", antialias=True)[
        0
    ].permute(1, 2, 0)
    steps = rng.integers(-1, 2, 2) if rng.random() < 0.5 else (0, 0)
    corners = [(4 + int(steps[0]) * (t - 2), 4 + int(steps[1]) * (t - 2)) for t in range(known)]
    step = -torch.tensor((float(steps[1]), float(steps[0]))) / height
    moved = torch.arange(1, known)[:, None] * step
    return torch.stack([whole[y : y + height, x : x + width] for y, x in corners]), moved.flatten()
