"""Where each visible point is in the next frame, and whether it is still seen there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .camera import inverse
from .layers import faces_at
from .raster import NEAR
from .stage import coordinates, transform

if TYPE_CHECKING:
    from ..arrays import Bools, Floats, Ints
    from .stage import Stage

SAME_DEPTH = 0.02  # relative depth by which a point may lie behind what the next frame sees there, and still be seen


class Seen(NamedTuple):
    """One frame: its parts, the number of the part that each pixel shows int16 [H, W] (-1: the background), depth."""

    stage: Stage
    part: Ints
    depth: Floats


def flow(now: Seen, then: Seen, out: Floats, visible: Bools) -> None:
    """Write the flow [H, W, 2] in pixels from one frame to the next, and where the point is seen there, [H, W].

    out is expected to be zero: a still camera leaves the background's as it is.
    """
    label: Ints = now.part
    poses: Floats = now.stage.poses
    parts = set(then.stage.present)
    gone = [p for p in now.stage.present if p not in parts]
    if gone:
        label, poses = _successors(now, then, gone)
    still = now.stage.camera.same(then.stage.camera)
    flat = label.ravel()
    if still:
        np.equal(then.part, -1, out=visible)
        visible &= label == -1
        at = np.flatnonzero(flat != -1)
    else:
        visible[...] = False
        at = np.arange(flat.size)
    # What leaves the scene has no next place: its flow stays 0 and it is not visible.
    stays = np.zeros(len(poses) + 1, bool)
    stays[[*parts, -1]] = True
    at = at[stays[flat[at]]]
    at = at[np.argsort(flat[at], kind="stable")]
    numbers, counts = np.unique(flat[at], return_counts=True)
    moved = np.concatenate((then.stage.poses @ inverse(poses), np.eye(4)[None]))  # the last one is the background's
    camera, after = now.stage.camera, then.stage.camera
    local = after.w2c @ moved[numbers] @ camera.c2w
    matrix = after.to_pixels @ np.concatenate((local[:, :3, :3] @ np.linalg.inv(camera.to_pixels), local[:, :3, 3:]), 2)
    width, height = camera.width, camera.height
    x, y = (c + np.float32(0.5) for c in coordinates(at, width))
    u, v, z = transform(matrix, counts, x, y, now.depth.ravel()[at])
    in_front = z > NEAR
    z = np.where(in_front, z, 1)
    u, v = u / z, v / z
    target = out.reshape(-1, 2)
    target[at, 0], target[at, 1] = np.where(in_front, u - x, 0), np.where(in_front, v - y, 0)
    inside = in_front & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    lands = np.where(inside, v, 0).astype(np.int64) * width + np.where(inside, u, 0).astype(np.int64)
    seen = inside & (then.part.ravel()[lands] == flat[at]) & (then.depth.ravel()[lands] > z * (1 - SAME_DEPTH))
    visible.ravel()[at] = seen


def _successors(now: Seen, then: Seen, gone: list[int]) -> tuple[Ints, Floats]:
    """Labels [H, W] in which pixels of a part that breaks show the shard they will be, and the shards' poses now."""
    stage = now.stage
    parts = stage.surfaces.parts
    label: Ints = np.array(now.part)
    poses: Floats = np.array(stage.poses)
    before = set(stage.present)
    shards: list[int] = []
    for p in gone:
        for s in then.stage.present:
            if s not in before and parts[s].part.body == parts[p].part.body:
                rest = inverse(np.asarray(parts[p].part.rest, np.float64)) @ np.asarray(parts[s].part.rest, np.float64)
                poses[s] = stage.poses[p] @ rest
                shards.append(s)
    if shards:
        face = faces_at(stage, poses, tuple(shards))
        here = np.isin(label, gone) & (face >= 0)
        label[here] = stage.surfaces.part[face[here]]
    return label, poses
