"""How well bodies are perceived in held-out starts: masks, centres, sizes, axes, speeds, by shape."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...model.perceived import KINDS, ROUND, Perceived
from ...model.perception import SURE, BodyPerception
from ..data.body_batches import Batch
from .body_losses import plumb

MATCHED = 0.5  # overlap (IoU) from which a mask is a body's
MOVES = 0.02  # half extents a frame from which on a body moves
LISTED = 0.05  # probability from which a body counts for the average precision


def scores(model: BodyPerception, batches: Sequence[Batch]) -> dict[str, float]:
    """Over batches of five frames, as they are and by their last alone (names that end in _single).

    iou: mean over bodies of the mask matched with each, 0 where none is. ap50, recall: at an overlap of one half.
    center, depth, size: median errors in half extents, of the distance, of the size; across, foot: of the centre and of
    the point of the ground beneath it, as they are seen, in half extents; axes: degrees; speed: in half extents a
    frame, moving: of those that move; kind: share right. All but the first three of matched bodies.
    iou_KIND and so on: of one.
    """
    out: dict[str, float] = {}
    for ending, count in (("", None), ("_single", 1)):
        rows: dict[str, list[float]] = defaultdict(list)
        ranked: list[tuple[float, bool]] = []
        for batch in batches:
            for i in range(len(batch.frames)):
                frames, motion = batch.frames[i], batch.labels["motion"][i]
                if count is not None:
                    frames, motion = frames[-count:], torch.zeros_like(motion)
                _one(model.perceive(frames, motion, LISTED), batch, i, rows, ranked)
        means = ("iou", "recall", "kind")
        values = {
            name: float(torch.tensor(v).mean() if name.split("_")[0] in means else torch.tensor(v).median())
            for name, v in rows.items()
        }
        values["ap50"] = average_precision(ranked, len(rows["iou"]))
        out |= {name + ending: v for name, v in values.items() if not ending or "_" not in name}
    return out


def average_precision(ranked: Sequence[tuple[float, bool]], there: int) -> float:
    """Area under precision over recall of detections (sureness, right) when `there` bodies are to be found."""
    right = torch.tensor([hit for _, hit in sorted(ranked, key=lambda r: -r[0])], dtype=torch.float)
    if not len(right) or not there:
        return 0.0
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
    best = precision.flip(0).cummax(0).values.flip(0)
    return float((best * right).sum() / there)


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """IoU [N, M] of masks [N, H, W] and [M, H, W], bool."""
    a, b = a.flatten(1).float(), b.flatten(1).float()
    both = a @ b.T
    return both / (a.sum(1)[:, None] + b.sum(1) - both).clamp_min(1)


def _one(seen: Perceived, batch: Batch, i: int, rows: dict[str, list[float]], ranked: list[tuple[float, bool]]) -> None:
    numbers = batch.body[batch.picture == i]
    truth = {name: batch.labels[name][i, numbers] for name in ("kind", "center", "half", "axes", "velocity")}
    label = batch.labels
    around = {"ground": label["ground"][i], "focal": label["focal"][i]}
    masks = batch.labels["instance"][i] == (numbers + 1)[:, None, None]
    found = overlaps(seen.masks > 0.5, masks)
    match: dict[int, int] = {}
    for n in range(len(found)):
        free = found[n].clone()
        free[list(match)] = 0
        best = int(free.argmax()) if free.numel() else 0
        hit = bool(free.numel()) and float(free[best]) >= MATCHED
        ranked.append((float(seen.sure[n]), hit))
        if hit and seen.sure[n] > SURE:
            match[best] = n
    for k in range(len(numbers)):
        kind = KINDS[int(truth["kind"][k])]
        row = {"iou": float(found[match[k], k]) if k in match else 0.0, "recall": float(k in match)}
        if k in match:
            row |= _errors(seen, match[k], kind, {name: value[k] for name, value in truth.items()} | around)
        for name, value in row.items():
            rows[name].append(value)
            rows[f"{name}_{kind}"].append(value)
    cos = float((seen.ground * label["ground"][i]).sum().clamp(-1, 1))
    rows["ground"].append(float(torch.rad2deg(torch.arccos(torch.tensor(cos)))))
    fov = float(torch.rad2deg(2 * torch.atan(0.5 / label["focal"][i])))
    rows["fov"].append(abs(seen.fov_deg - fov))
    light = float((seen.light * label["light"][i]).sum().clamp(-1, 1))
    rows["light"].append(float(torch.rad2deg(torch.arccos(torch.tensor(light)))))
    depth = F.interpolate(label["inverse_depth"][None, i : i + 1], seen.inverse_depth.shape)[0, 0]
    off = (seen.inverse_depth / depth.clamp_min(0.02)).log().abs()[depth > 0.02]
    rows["map"].append(float(off.median()) if off.numel() else 0.0)


def _errors(seen: Perceived, n: int, kind: str, truth: dict[str, Tensor]) -> dict[str, float]:
    """Of one body that was found."""
    size = truth["half"].log().mean().exp()
    focal, own = truth["focal"], 0.5 / math.tan(math.radians(seen.fov_deg) / 2)
    wide = size / truth["center"][2] * focal
    foot = plumb(truth["center"][None], truth["ground"][None])[0]
    row = {
        "center": float((seen.center[n] - truth["center"]).norm() / size),
        "depth": float((seen.center[n, 2] / truth["center"][2]).log().abs()),
        "size": float((seen.half[n].log().mean().exp() / size).log().abs()),
        "speed": float((seen.velocity[n] - truth["velocity"]).norm() / size),
        "kind": float(seen.kind[n] == kind),
        "across": float((own * _on_plane(seen.center[n]) - focal * _on_plane(truth["center"])).norm() / wide),
        "foot": float((own * _on_plane(seen.foot[n]) - focal * _on_plane(foot)).norm() / wide),
    }
    if float(truth["velocity"].norm() / size) > MOVES:
        row["moving"] = row["speed"]
    if seen.kind[n] == kind and (kind == "box" or kind in ROUND):
        cos = (seen.rotation[n].T @ truth["axes"]).abs()
        cos = cos.max(0).values if kind == "box" else cos[2, 2]
        row["axes"] = float(torch.rad2deg(torch.arccos(cos.clamp(max=1.0))).max())
    return row


def _on_plane(point: Tensor) -> Tensor:
    """Where a point [3] is seen [2] at depth one."""
    return point[:2] / point[2].clamp_min(1e-3)
