"""A depth map of the picture, metric or relative, gives distances, the ground plane and the camera over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..geometry.camera_numpy import focal_length
from ..world.footage import FAR
from ..world.scene import SceneError, View
from .camera import FOV_DEG, Camera, guessed_height
from .images import dilated, resized
from .membrane import membrane
from .objects import GroundHint

if TYPE_CHECKING:
    from torch import Tensor

    from ..world.arrays import Bools, Floats

Reading = Literal["auto", "metres", "inverse"]
ASPECT = 0.02  # relative difference of shape up to which a depth map belongs to the picture
CONSTANT = 1e-4  # relative range of values below which a depth map shows nothing
EDGE = 0.05  # relative difference of neighbouring values from which they lie on two things
POINTS, TRIES = 3000, 400  # of the search for the ground
TOLERANCE = 0.03  # relative distance from the ground's inverse depth up to which a pixel lies on it
SUPPORT = 0.12  # share of the pixels around the objects that must lie on one plane for it to be the ground
STEEPEST_DEG = 75.0  # between the ground's normal and the picture's upright
NEAREST = 0.05  # metres
FARTHEST = 1e-3  # share of the largest inverse depth up to which a pixel tells nothing of where the ground is
BELIEVED = 0.1, 200.0  # metres over the ground at which pictures are taken; a drone's are the highest
BULGE = 0.3  # of half a body's width: a cylinder's middle is .6 nearer than its outer sixths on the mean, a box's 0


@dataclass(frozen=True, eq=False)
class Sounded:
    """A camera over the ground, and metres [H, W] along its optical axis; remarks on what was assumed."""

    camera: Camera
    metres: Floats
    remarks: tuple[str, ...]


def bulges(mask: Bools, metres: Floats, focal: float) -> bool:
    """Whether what a mask [H, W] shows is nearer in the middle than to its left and right, as round things are."""
    rows, columns = np.nonzero(mask)
    height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
    across = np.abs((columns - columns.min() + 0.5) / width - 0.5)
    belt = np.abs((rows - rows.min() + 0.5) / height - 0.5) < 0.25
    middle, outer = (metres[rows[part], columns[part]] for part in (belt & (across < 1 / 6), belt & (across > 5 / 12)))
    if not len(middle) or not len(outer):
        return False
    near = float(np.median(middle))
    return float(np.median(outer)) - near > BULGE * width / 2 * near / focal


def camera_over_depth(
    depth: Tensor | Floats,
    masks: list[Bools],
    hint: GroundHint | None,
    fov_deg: float | None,
    reading: Reading = "auto",
) -> Sounded:
    """The camera and distances that a depth map of the picture tells; masks [H, W] are of its objects.

    auto: values that all lie in 0..1 are inverse (nearer is larger), others are metres. Relative depth gets its scale
    from the camera's height. Raises SceneError for NaN, a constant, another shape, and where no ground is found.
    """
    hint = hint or GroundHint()
    height, width = masks[0].shape
    values, inverse, metric, holes = _inverse(depth, reading, width, height)
    fov = fov_deg or hint.fov_deg or FOV_DEG
    remarks = [holes] if holes else []
    if not (hint.fov_deg or fov_deg):
        remarks.append(f"the camera's field of view is not known: {FOV_DEG:g} degrees are assumed")
    focal = float(focal_length(fov, height))
    plane = _ground(inverse, ~np.isfinite(values), masks, focal)
    if not metric and hint.horizon is not None:
        # The inverse depth of the horizon is zero: what the map shows there is its unknown offset.
        offset = float(plane @ np.array([0.0, (hint.horizon - 0.5) * height / focal, 1.0]))
        inverse, plane = inverse - offset, plane - np.array([0.0, 0.0, offset])
    down = plane / np.linalg.norm(plane)
    pitch = float(np.arcsin(np.clip(down[2], -1, 1)))
    measured = 1 / float(np.linalg.norm(plane)) if metric else None
    metres_up = hint.camera_height or measured
    if metres_up is None:
        metres_up = guessed_height(pitch)
        remarks.append(f"sizes are guessed: the camera is taken to be {metres_up:.2g} m over the ground")
    elif not BELIEVED[0] <= metres_up <= BELIEVED[1]:
        remarks.append(
            f"the camera is {metres_up:.2g} m over the ground, by the depth and what is marked: if that cannot be, the "
            "depth has no metres; choose brighter is nearer, or give camera_height in objects"
        )
    scale = float(np.linalg.norm(plane)) * metres_up
    metres = np.clip(scale / np.maximum(inverse, 1e-9), NEAREST, FAR).astype(np.float32)
    up = -down
    away = np.array([0.0, 0.0, 1.0]) - up[2] * up
    away /= np.linalg.norm(away)
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack((np.cross(away, up), away, up))
    c2w[2, 3] = metres_up
    return Sounded(Camera(View(c2w, fov), width, height), metres, tuple(remarks))


def _inverse(depth: Tensor | Floats, reading: Reading, width: int, height: int) -> tuple[Floats, Floats, bool, str]:
    """The map at the picture's size (unknown: inf), inverse depth without gaps, whether 1 / metres, and a remark on
    metres without depth ("": none), which are those of the nearest pixel.
    """
    import torch

    from ..control.depth import grey
    from ..control.depth_holes import without_holes

    given = torch.as_tensor(depth).detach().cpu().float().squeeze()
    values = (grey(given[..., :3]) if given.ndim == 3 and given.shape[-1] in (3, 4) else given).numpy()
    if values.ndim != 2 or min(values.shape) < 2:
        raise SceneError(f"the depth is {list(values.shape)}; expected one map [height, width]")
    h, w = values.shape
    if abs(w / h * height / width - 1) > ASPECT:
        raise SceneError(f"the depth is {w}x{h}; expected the shape of the picture, {width}x{height}")
    known = values[np.isfinite(values)]
    metric = reading == "metres" or (reading == "auto" and float(known.max(initial=0)) > 1)
    holes = ""
    if metric and float(known.max(initial=0)) > 0:
        filled, holes = without_holes(torch.from_numpy(values)[None])
        values = filled[0].numpy()
    if np.isnan(values).any():
        raise SceneError(f"the depth has {int(np.isnan(values).sum())} NaN of {values.size} values; expected none")
    known = values[np.isfinite(values)]
    if not len(known) or float(np.ptp(known)) <= CONSTANT * float(np.abs(known).max()):
        found = f"{known[0]:.4g} everywhere" if len(known) else "infinite everywhere"
        raise SceneError(f"the depth is {found}; expected one that varies over the picture")
    if float(known.min()) < -1e-6:
        raise SceneError(f"the depth has values down to {known.min():.4g}; expected none below 0")
    values = _resized(values, width, height)
    with np.errstate(divide="ignore"):
        inverse = 1 / np.maximum(values, 1e-6) if metric else np.where(np.isfinite(values), values, 0)
    if not metric and not np.isfinite(values).all():
        inverse = membrane(inverse[..., None], ~np.isfinite(values))[..., 0]
    return values, inverse.astype(np.float64), metric, holes


def _resized(values: Floats, width: int, height: int) -> Floats:
    """Another size; at edges the nearest value is taken, so that nothing lies between two things."""
    h, w = values.shape
    if (w, h) == (width, height):
        return values
    rows = np.minimum(((np.arange(height) + 0.5) * h / height).astype(int), h - 1)
    columns = np.minimum(((np.arange(width) + 0.5) * w / width).astype(int), w - 1)
    nearest = values[rows][:, columns]
    finite = np.where(np.isfinite(values), values, 0).astype(np.float32)
    smooth = resized(finite, width, height)
    apart = np.abs(smooth - nearest) > EDGE * np.abs(nearest)
    return np.where(apart | ~np.isfinite(nearest), nearest, smooth)


def _ground(inverse: Floats, unknown: Bools, masks: list[Bools], focal: float) -> Floats:
    """The plane m [3] with inverse depth = m . ray on the ground, ray = (x, y, 1) of a pixel: its direction is down.

    RANSAC, with pixels around the objects' feet counted more, then least squares over those that agree.
    """
    height, width = inverse.shape
    generator = np.random.default_rng(0)
    hidden = dilated(np.any(masks, axis=0), 2) | unknown
    # What lies on a plane agrees with it to a share of its inverse depth: of 0, as of a sky, that is nothing.
    hidden |= inverse <= FARTHEST * float(inverse[~hidden].max(initial=0))
    rows, columns = np.nonzero(~hidden)
    if len(rows) < 50:
        raise SceneError(
            f"{len(rows)} pixels are outside the masks and have a depth; expected ground around the objects"
        )
    pick = generator.integers(len(rows), size=POINTS)
    rows, columns = rows[pick], columns[pick]
    rays = np.stack(((columns + 0.5 - width / 2) / focal, (rows + 0.5 - height / 2) / focal, np.ones(POINTS)), -1)
    depth = inverse[rows, columns]
    feet = np.array([_foot(mask) for mask in masks])
    near = np.exp(-(((np.stack((columns, rows), -1)[:, None] - feet) / (0.2 * width)) ** 2).sum(-1)).max(1)
    weight = 0.05 + near
    trio = generator.choice(POINTS, size=(TRIES, 3), p=weight / weight.sum())
    planes = _solved(rays[trio], depth[trio])
    floor = _is_floor(planes)
    agrees = (
        np.abs(np.einsum("ni,ki->nk", rays, planes) - depth[:, None]) < TOLERANCE * np.maximum(depth, 1e-9)[:, None]
    )
    votes = np.where(floor, (agrees * weight[:, None]).sum(0), -1)
    for best in np.argsort(-votes):
        if votes[best] < SUPPORT * weight.sum():
            break
        plane = np.asarray(planes[best])
        for _ in range(3):
            plane = _refined(plane, rays, depth, weight)
        if _is_floor(plane):  # a steep one that holds a part of a wall becomes that wall
            return plane
    share = max(0.0, float(votes.max())) / float(weight.sum())
    raise SceneError(
        f"the depth shows no ground: the best plane holds {share:.0%} of what is around the objects; expected "
        f"{SUPPORT:.0%}. Check that larger values are farther (metres) or nearer (inverse), or leave the depth out"
    )


def _is_floor(planes: Floats) -> Bools:
    """Which planes [..., 3] are not too steep to stand on."""
    length = np.maximum(np.linalg.norm(planes, axis=-1), 1e-12)
    return np.asarray(planes[..., 1] > np.cos(np.radians(STEEPEST_DEG)) * length)


def _refined(plane: Floats, rays: Floats, depth: Floats, weight: Floats) -> Floats:
    """The plane of least squares, in relative inverse depth, over the pixels that lie on a plane [3]."""
    inside = np.abs(np.einsum("ni,i->n", rays, plane) - depth) < TOLERANCE * np.maximum(depth, 1e-9)
    share = (weight[inside] / np.maximum(depth[inside], 1e-9) ** 2)[:, None]
    normal: Floats = np.einsum("ni,nj->ij", rays[inside] * share, rays[inside])
    right: Floats = np.einsum("ni,n->i", rays[inside] * share, depth[inside])
    return np.linalg.solve(normal, right)


def _solved(rays: Floats, depth: Floats) -> Floats:
    """Planes [N, 3] through three rays [N, 3, 3] with inverse depths [N, 3]; NaN where they are in line."""
    good = np.abs(np.linalg.det(rays)) > 1e-6
    out = np.full((len(rays), 3), np.nan)
    out[good] = np.linalg.solve(rays[good], depth[good][..., None])[..., 0]
    return out


def _foot(mask: Bools) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns[rows == rows.max()].mean()), float(rows.max())
