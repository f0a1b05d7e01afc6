"""The loss of the perception of bodies: centres, masks, what each body is like, the scene around them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ...geometry.moments import fourth_moments, second_moments
from ...model.cells import CELL, MASK_CELL, cell_places
from ...model.perceived import CAMERA_UNIT, KINDS, ROUND, SPIN_UNIT
from ...model.perception import BodyPerception
from ...model.ways import SPEED_UNIT
from ..data.body_batches import Batch

WEIGHTS = {  # of each part in the sum; chosen by hand so that no part's gradient stands alone
    **{"center": 1.0, "mask": 1.0, "dice": 1.0, "depth": 0.5, "kind": 0.3, "offset": 2.0, "distance": 1.0},
    **{"size": 1.0, "second": 0.5, "fourth": 0.5, "apex": 0.1, "velocity": 2.0, "spin": 0.1, "fixed": 0.05},
    **{"hinged": 0.05, "anchor": 0.2, "hinge": 0.1, "quality": 0.1, "ground": 2.0, "focal": 1.0, "light": 0.4},
    **{"gravity": 0.1, "camera": 0.3, "walled": 0.05, "wall": 0.1, "wall_near": 0.05},
    **{"foot": 2.0, "support": 0.3, "density": 0.4},
}
SMALL = 0.1  # differences from which on they count by their size, not its square
AXES_KNOWN = tuple(KINDS.index(k) for k in ("box", *ROUND))  # kinds whose fourth moments are told
BOX, CONE, SPHERE = KINDS.index("box"), KINDS.index("cone"), KINDS.index("sphere")


def cells_of(batch: Batch) -> Tensor:
    """The cell [K] (flat) of each body's centre: the middle of its mask, or the mask's pixel next to that."""
    height, width = batch.frames.shape[2:4]
    masks = batch.masks()
    y, x = (torch.arange(n, device=masks.device).float() for n in (height, width))
    share = masks.float() / masks.sum((1, 2), keepdim=True).clamp_min(1)
    row, column = (share.sum(2) * y).sum(1), (share.sum(1) * x).sum(1)
    away = (y[None, :, None] - row[:, None, None]) ** 2 + (x - column[:, None, None]) ** 2
    pixel = away.masked_fill(~masks, torch.inf).flatten(1).argmin(1)
    return pixel // width // CELL * (width // CELL) + pixel % width // CELL


def losses(model: BodyPerception, batch: Batch) -> dict[str, Tensor]:
    """Each part of the loss, before WEIGHTS."""
    features = model(batch.frames, batch.labels["motion"])
    cell = cells_of(batch)
    out = {"center": center_loss(features.centers, batch, cell)}
    known = batch.told
    depth = batch.labels["inverse_depth"][known]
    out["depth"] = _smooth((features.inverse_depth[known] + 0.02).log() - (depth + 0.02).log()).mean()
    out |= scene_losses(features.scene, batch)
    if not len(cell):
        return out
    odds = model.masks_of(features, batch.picture, cell)
    target = F.avg_pool2d(batch.masks().float()[:, None], MASK_CELL)[:, 0]
    share = odds.sigmoid()
    # As many pixels around a body count as it has itself, so that small ones are not drowned.
    weight = 0.5 * target / target.mean((1, 2), keepdim=True) + 0.5
    out["mask"] = (F.binary_cross_entropy_with_logits(odds, target, reduction="none") * weight).mean()
    both, sizes = (share * target).sum((1, 2)), share.square().sum((1, 2)) + target.square().sum((1, 2))
    out["dice"] = (1 - 2 * both / sizes.clamp_min(1e-3)).mean()
    bodies = model.bodies_of(features, batch.picture, cell, share.detach())
    overlap = ((share > 0.5) & (target > 0.5)).sum((1, 2)) / ((share > 0.5) | (target > 0.5)).sum((1, 2)).clamp_min(1)
    out["quality"] = F.binary_cross_entropy_with_logits(bodies["quality"][:, 0], overlap.detach())
    return out | body_losses(bodies, batch, cell)


def center_loss(odds: Tensor, batch: Batch, cell: Tensor) -> Tensor:
    """Focal loss of centres (arXiv 1904.07850): one in the cell of a body, less than certain beside it."""
    b, rows, columns = odds.shape
    device = odds.device
    y, x = torch.arange(rows, device=device)[:, None], torch.arange(columns, device=device)
    area = batch.of_bodies("pixels") / CELL**2
    spread = (area.sqrt() / 6).clamp(0.5, 3.0)[:, None, None]
    away = (y - (cell // columns)[:, None, None]) ** 2 + (x - (cell % columns)[:, None, None]) ** 2
    blobs = (-away / (2 * spread**2)).exp()
    index = batch.picture[:, None, None].expand_as(blobs)
    wanted = torch.zeros(b, rows, columns, device=device).scatter_reduce(0, index, blobs, "amax")
    certain = torch.zeros_like(wanted)
    certain.flatten(1)[batch.picture, cell] = 1.0
    p = odds.sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = -((1 - p) ** 2) * p.log() * certain
    miss = -((1 - wanted) ** 4) * p**2 * (1 - p).log() * (1 - certain)
    return (hit.sum() + miss.sum()) / max(1, len(cell))


def targets(batch: Batch, cell: Tensor) -> dict[str, Tensor]:
    """What bodies_of should say of each body [K, n], where that is told."""
    height, width = batch.frames.shape[2:4]
    center, half, axes = (batch.of_bodies(n) for n in ("center", "half", "axes"))
    depth = center[:, 2:]
    focal = batch.labels["focal"][batch.picture][:, None]
    place = cell_places(height, width, CELL, cell.device).flatten(0, 1)[cell]
    size = half.clamp_min(1e-4).log().mean(1, keepdim=True)
    kind = batch.of_bodies("kind").long()
    # A body of revolution has one axis; where no axis is told, the numbers are not used.
    single = axes * axes.new_tensor((0.0, 0.0, 1.0))
    lathe = torch.tensor([k in ROUND for k in KINDS], device=kind.device)[kind]
    ground = batch.labels["ground"][batch.picture]
    foot = plumb(center, ground)
    return {
        "offset": center[:, :2] / depth * focal - place,
        "distance": -depth.log(),
        "size": size - depth.log(),
        "second": second_moments(axes, half / size.exp()),
        "fourth": fourth_moments(torch.where(lathe[:, None, None], single, axes)),
        "apex": axes[..., 2],
        "velocity": batch.of_bodies("velocity") / depth / SPEED_UNIT,
        "spin": batch.of_bodies("spin") / SPIN_UNIT,
        "anchor": (batch.of_bodies("anchor") - center) / depth,
        "foot": (foot[:, :2] / foot[:, 2:].clamp_min(0.05) * focal - place).clamp(-2, 2),
        "density": batch.of_bodies("density")[:, None],
        "hinge": second_moments(batch.of_bodies("hinge")[..., None], axes.new_ones(len(cell), 1)),
    }


def plumb(center: Tensor, ground: Tensor) -> Tensor:
    """The points [K, 3] of the ground beneath centres [K, 3]; ground [K, 3]: its normals, up, one eye height below."""
    return center - ground * ((center * ground).sum(1, keepdim=True) + 1)


def body_losses(bodies: dict[str, Tensor], batch: Batch, cell: Tensor) -> dict[str, Tensor]:
    """Of FIELDS, each where it means something."""
    wanted = targets(batch, cell)
    kind = batch.of_bodies("kind").long()
    hinged = batch.of_bodies("hinged") > 0
    moving = torch.full_like(hinged, batch.frames.shape[1] > 1)
    axes_told = torch.isin(kind, kind.new_tensor(AXES_KNOWN))
    where = {"second": kind != SPHERE, "fourth": axes_told, "apex": kind == CONE, "velocity": moving, "spin": moving}
    where |= {"anchor": hinged, "hinge": hinged}
    out = {"kind": F.cross_entropy(bodies["kind"], kind)}
    out["support"] = F.cross_entropy(bodies["support"], batch.of_bodies("support").long())
    size = wanted["size"].exp()
    radius = size * batch.labels["focal"][batch.picture][:, None]  # picture heights
    units = {"offset": radius, "foot": radius, "velocity": size / SPEED_UNIT, "anchor": size}
    for name, target in wanted.items():
        each = _smooth((bodies[name] - target.clamp(-20, 20)) / units.get(name, 1.0)).sum(1)
        used = where.get(name)
        out[name] = each.mean() if used is None else (each * used).sum() / used.sum().clamp_min(1)
    for name in ("fixed", "hinged"):
        out[name] = F.binary_cross_entropy_with_logits(bodies[name][:, 0], batch.of_bodies(name))
    return out


def scene_losses(scene: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Of SCENE_FIELDS, in all pictures but photographs."""
    known, label = batch.told, batch.labels
    several = batch.frames.shape[1] > 1
    wanted = {
        "ground": label["ground"],
        "focal": label["focal"][:, None].log(),
        "light": label["light"],
        "camera": label["camera"] / CAMERA_UNIT,
        "gravity": label["gravity"][:, None].log(),
    }
    out = {n: _smooth(scene[n] - v)[known].sum(1).mean() for n, v in wanted.items() if several or n != "camera"}
    walled = label["wall"][:, 3] > 0
    out["walled"] = F.binary_cross_entropy_with_logits(scene["walled"][known, 0], walled[known].float())
    seen = ~batch.empty & walled
    count = seen.sum().clamp_min(1)
    out["wall"] = (_smooth(scene["wall"] - label["wall"][:, :3]).sum(1) * seen).sum() / count
    near = label["wall"][:, 3:].clamp_min(math.exp(-5)).log()
    out["wall_near"] = (_smooth(scene["wall_near"] - near).sum(1) * seen).sum() / count
    return out


def total(parts: dict[str, Tensor]) -> Tensor:
    """The weighted sum."""
    return torch.stack([WEIGHTS[name] * value for name, value in parts.items()]).sum()


def _smooth(x: Tensor) -> Tensor:
    return F.smooth_l1_loss(x, torch.zeros_like(x), beta=SMALL, reduction="none")
