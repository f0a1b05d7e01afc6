"""Where each visible point is in the next frame, and whether it is still seen there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .camera import inverse
from .layers import faces_at
from .shading import apply

if TYPE_CHECKING:
    from ..arrays import Bools, Floats, Ints
    from .shading import Stage

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
    of = flat[at]
    order = np.argsort(of, kind="stable")
    at, of = at[order], of[order]
    numbers, starts = np.unique(of, return_index=True)
    ends = np.append(starts, len(of))[1:]
    for p, a, b in zip(numbers.tolist(), starts.tolist(), ends.tolist(), strict=True):
        if p in parts:
            carried = then.stage.poses[p] @ inverse(poses[p])
        elif p == -1:
            carried = np.eye(4)
        else:
            continue  # what leaves the scene has no next place: its flow stays 0 and it is not visible
        _write(now, then, carried, p, at[a:b], out, visible)


def _write(now: Seen, then: Seen, carried: Floats, part: int, at: Ints, out: Floats, visible: Bools) -> None:
    """Flow and visibility of the pixels `at` of one part; carried [4, 4]: its motion in the world."""
    camera, after = now.stage.camera, then.stage.camera
    local = after.w2c @ carried @ camera.c2w
    matrix = np.concatenate((local[:3, :3] @ np.linalg.inv(camera.to_pixels), local[:3, 3:]), 1)
    matrix = after.to_pixels @ matrix
    width, height = camera.width, camera.height
    x, y = at % width + 0.5, at // width + 0.5
    q = apply(matrix, x, y, now.depth.ravel()[at])
    in_front = q[2] > 1e-3
    z = np.where(in_front, q[2], 1.0)
    u, v = q[0] / z, q[1] / z
    target = out.reshape(-1, 2)
    target[at, 0] = np.where(in_front, u - x, 0)
    target[at, 1] = np.where(in_front, v - y, 0)
    inside = in_front & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    lands = np.where(inside, v, 0).astype(np.int64) * width + np.where(inside, u, 0).astype(np.int64)
    seen = inside & (then.part.ravel()[lands] == part) & (then.depth.ravel()[lands] > z * (1 - SAME_DEPTH))
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
