"""The camera over the ground that a picture was taken with: from hints, vanishing lines, or a guess; rays from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ..geometry.camera_numpy import focal_length, look_at
from ..world.scene import View
from .images import convex_hull, dilated, eroded
from .objects import GroundHint

if TYPE_CHECKING:
    from ..world.arrays import Bools, Bytes, Floats

FOV_DEG = 35.0  # vertical: a 38 mm lens on full frame, between a phone's and a portrait's
HORIZON = 0.35  # share of the height: looking down a little (5 degrees at 35 degrees of field of view)
HEAD_ROOM = 0.05  # share of the height between the tops of objects and the horizon above them: most are seen from above
LOW_GROUND = 0.75  # share of the height at which ground is expected where no object stands
LOWEST_HORIZON_GAP = 0.08  # share of the height by which an object's foot must lie below the horizon to stand
EYE_HEIGHT, TABLE_HEIGHT = 1.5, 0.5  # metres over the ground: looking level; looking 30 degrees down, as over a table
TABLE_PITCH_DEG = 30.0
MIN_DISC = 60  # pixels of an edge that may be an ellipse
DISC_FIT = 0.02  # mean distance of an edge from its ellipse, in radii
DISC_TURNS = 20  # of the 36 directions around the centre, those in which the edge must be seen
DISC_RATIO, DISC_TILT_DEG = (0.15, 0.85), 8.0  # its short axis / its long one; the long one's angle to the level
MAX_PITCH_DEG = 70.0
MIN_SEGMENT = 0.05  # picture widths: shorter segments point nowhere
OBLIQUE_DEG = 12.0  # segments nearer to level or upright do not tell a vanishing point on the horizon
AIM_DEG = 1.2  # a segment belongs to a vanishing point to which it points within this angle
CLEAR_SHARE, CLEAR_COUNT, CLEAR_SPREAD_DEG = 0.4, 8, 15.0  # of the oblique segments' length; segments; directions


@dataclass(frozen=True)
class Camera:
    """A level camera at (0, 0, height) that looks towards +y, and what was guessed for it."""

    view: View
    width: int
    height: int
    remarks: tuple[str, ...] = ()

    @property
    def eye(self) -> Floats:
        """Position [3] in metres."""
        return self.view.c2w[:3, 3]

    @property
    def horizon(self) -> float:
        """Its row as a share of the picture's height; below 0 or above 1 where it is outside."""
        forward = self.view.c2w[:3, 2]
        slope = -float(forward[2] / np.hypot(forward[0], forward[1]))
        return 0.5 - slope * float(focal_length(self.view.fov_deg, self.height)) / self.height

    def rays(self, at: Floats) -> Floats:
        """World directions [..., 3] through pixels [..., 2] (x, y), one metre deep along the optical axis."""
        focal = float(focal_length(self.view.fov_deg, self.height))
        x, y = (at[..., 0] - self.width / 2) / focal, (at[..., 1] - self.height / 2) / focal
        local = np.stack((x, y, np.ones_like(x)), -1)
        return np.einsum("ij,...j->...i", self.view.c2w[:3, :3], local)

    def on_ground(self, at: Floats, level: float = 0.0) -> Floats:
        """Depth [...] in metres at which rays through pixels [..., 2] meet the plane z = level; inf: never."""
        fall: Floats = -self.rays(at)[..., 2]
        reached: Floats = np.maximum(fall, 1e-6)
        depth: Floats = np.where(fall > 1e-6, (float(self.eye[2]) - level) / reached, np.inf)
        return depth


def camera_over_ground(
    picture: Bytes, masks: list[Bools], hint: GroundHint | None, fov_deg: float | None = None
) -> Camera:
    """The camera of a picture uint8 [H, W, 3]; what the hint leaves open is guessed, and a remark says so."""
    hint = hint or GroundHint()
    height, width = picture.shape[:2]
    fov = fov_deg or hint.fov_deg or FOV_DEG
    remarks: list[str] = []
    if not (hint.fov_deg or fov_deg):
        remarks.append(f"the camera's field of view is not known: {FOV_DEG:g} degrees are assumed")
    horizon = hint.horizon
    if horizon is None:
        horizon, how = _guessed_horizon(picture, masks, float(focal_length(fov, height)))
        remarks.append(f"the horizon is guessed from {how}: at {round(100 * horizon)}% of the picture's height")
    focal = float(focal_length(fov, height))
    pitch = float(np.arctan((0.5 - horizon) * height / focal))
    metres = hint.camera_height
    if metres is None:
        metres = guessed_height(pitch)
        remarks.append(f"sizes are guessed: the camera is taken to be {metres:.2g} m over the ground")
    eye = np.array([0.0, 0.0, metres])
    forward = np.array([0.0, np.cos(pitch), -np.sin(pitch)])
    return Camera(View(look_at(eye, eye + forward), fov), width, height, tuple(remarks))


def guessed_height(pitch: float) -> float:
    """Metres over the ground of a camera that looks down by `pitch` radians: eye height, less over tables."""
    share = min(1.0, max(0.0, float(np.degrees(pitch)) / TABLE_PITCH_DEG))
    return float(EYE_HEIGHT * (TABLE_HEIGHT / EYE_HEIGHT) ** share)


def vanishing_horizon(picture: Bytes, hidden: Bools | None = None) -> float | None:
    """Row, as a share of the height, of the clearest vanishing point of oblique straight lines; None: none is clear.

    For a camera without roll, lines that are level in the world meet on the horizon. Source: Hough segments, and a
    vote over their crossings.
    """
    import cv2

    height, width = picture.shape[:2]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    edges = cv2.Canny(grey, 60, 160)
    if hidden is not None:
        edges[hidden] = 0
    # OpenCV returns None where there is no segment, whatever its stubs say.
    segments = cv2.HoughLinesP(edges, 1, np.pi / 360, 40, minLineLength=MIN_SEGMENT * width, maxLineGap=3)
    found = cast("Floats | None", segments)
    if found is None:
        return None
    ends = np.asarray(found, np.float64).reshape(-1, 2, 2)
    ends = ends[np.argsort(-np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1))][:150]
    way = ends[:, 1] - ends[:, 0]
    slope = np.degrees(np.arctan2(np.abs(way[:, 1]), np.abs(way[:, 0])))
    ends, way = (x[(slope > OBLIQUE_DEG) & (slope < 90 - OBLIQUE_DEG)] for x in (ends, way))
    if len(ends) < CLEAR_COUNT:
        return None
    length = np.linalg.norm(way, axis=1)
    way, middle = way / length[:, None], ends.mean(1)
    i, j = np.triu_indices(len(ends), 1)
    cross = way[i, 0] * way[j, 1] - way[i, 1] * way[j, 0]
    gap = middle[j] - middle[i]
    apart = np.abs(cross) > np.sin(np.radians(5))
    i, cross, reach = i[apart], cross[apart], (gap[:, 0] * way[j, 1] - gap[:, 1] * way[j, 0])[apart]
    points = middle[i] + (reach / cross)[:, None] * way[i]
    points = points[(np.abs(points[:, 1] / height - 0.5) < 1.5) & (np.abs(points[:, 0] / width - 0.5) < 2)]
    points = points[:: max(1, len(points) // 1500)]
    if not len(points):
        return None
    to = points[:, None] - middle[None]
    far = np.linalg.norm(to, axis=-1)
    off = np.abs(to[..., 0] * way[None, :, 1] - to[..., 1] * way[None, :, 0]) / np.maximum(far, 1e-6)
    aims = (off < np.sin(np.radians(AIM_DEG))) & (far > length / 2)
    votes = (aims * length).sum(1)
    best = int(votes.argmax())
    chosen = way[aims[best]]
    angles = np.degrees(np.arctan2(chosen[:, 1], chosen[:, 0])) % 180
    spread = min(np.ptp(angles), np.ptp((angles + 90) % 180)) if len(angles) else 0.0
    if votes[best] < CLEAR_SHARE * length.sum() or len(chosen) < CLEAR_COUNT or spread < CLEAR_SPREAD_DEG:
        return None
    return float(points[best, 1] / height)


def disc_horizon(mask: Bools, others: Bools, focal: float) -> float | None:
    """The horizon, as a share of the height, if a mask is a round flat thing lying level; None: it is no wide ellipse.

    A level disc seen from above by an angle is an ellipse whose axes have that angle's sine as their ratio. Edges
    shared with other objects or with the picture's border are not looked at.
    """
    import cv2

    height = mask.shape[0]
    edge = mask & ~eroded(mask, 1) & ~dilated(others, 4)
    edge[[0, -1]], edge[:, [0, -1]] = False, False
    rows, columns = np.nonzero(edge)
    points = np.stack((columns, rows), -1) + 0.5
    if len(points) < MIN_DISC or mask[0].any() or mask[-1].any():
        return None
    hull = convex_hull(points)
    points = points[_from_polygon(points, hull) < 2.0]
    if len(points) < MIN_DISC:
        return None
    (x, y), (a, b), turn = cv2.fitEllipse(points.astype(np.float32))
    wide, tall, tilt = (a, b, turn) if a > b else (b, a, turn - 90)
    tilt = (tilt + 90) % 180 - 90
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    across, down = (points - (x, y)) @ (c, s) / (wide / 2), (points - (x, y)) @ (-s, c) / (tall / 2)
    off = float(np.abs(np.hypot(across, down) - 1).mean())
    turns = len(np.unique(np.floor(np.degrees(np.arctan2(down, across)) / 10)))
    ratio = tall / wide
    if off > DISC_FIT or not DISC_RATIO[0] < ratio < DISC_RATIO[1] or abs(tilt) > DISC_TILT_DEG or turns < DISC_TURNS:
        return None
    below = float(np.arctan((y - height / 2) / focal))
    pitch = min(float(np.arcsin(ratio)) - below, np.radians(MAX_PITCH_DEG))
    return float(0.5 - np.tan(pitch) * focal / height)


def _from_polygon(points: Floats, corners: Floats) -> Floats:
    """Distance [N] of points [N, 2] from the edges of a polygon [K, 2]."""
    way = np.roll(corners, -1, axis=0) - corners
    to = points[:, None] - corners
    share = np.clip((to * way).sum(-1) / np.maximum((way**2).sum(-1), 1e-9), 0, 1)
    return np.linalg.norm(to - share[..., None] * way, axis=-1).min(1)


def _guessed_horizon(picture: Bytes, masks: list[Bools], focal: float) -> tuple[float, str]:
    """A share of the height, and what it was guessed from."""
    height = picture.shape[0]
    rows = [np.flatnonzero(mask.any(1)) for mask in masks]
    tops, feet = [int(r[0]) / height for r in rows], [(int(r[-1]) + 1) / height for r in rows]
    standing = [foot for foot in feet if foot > HORIZON] or [LOW_GROUND]
    limit = min(standing) - LOWEST_HORIZON_GAP
    for i, mask in enumerate(masks):
        others = np.any([np.zeros_like(mask), *masks[:i], *masks[i + 1 :]], axis=0)
        found = disc_horizon(mask, others, focal)
        if found is not None and found < limit:
            return found, "a round thing that lies flat"
    found = vanishing_horizon(picture, np.any(masks, axis=0))
    if found is not None and found < limit:
        return found, "straight lines that meet"
    seen = [top for top, foot in zip(tops, feet, strict=True) if top > 0 and foot > HORIZON]
    return min([HORIZON, limit, *(top - HEAD_ROOM for top in seen)]), "where the objects are"
