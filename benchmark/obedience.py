"""Score E, obedience: does a video do what camera, depth and flow asked?

Motion is estimated with OpenCV's DIS flow, on the simulator's own clip too: its errors there are the floor. No
estimator sees motion on a plain wall, so errors are taken where the simulator's clip has texture; those of the flow
only where the estimator finds the simulator's own.

On videos whose true error is known (27 clips of the simulator: as they are, three frames late, under a static camera)
the flow error is .22, 2.41 and .72 px where it is 0, 2.47 and .73. Estimated without a start and at every textured
pixel it is .69, 2.74 and .78 where it is 0, 2.72 and .76: DIS loses flying balls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry.camera_numpy import focal_length, project_sphere
from ..world.arrays import Bools, Floats
from ..world.families.clip import Clip
from ..world.families.render import FIRST_BALL_ID, FIRST_BOX_ID, FLOOR_ID, WALL_ID
from . import opencv
from .checks import Suite
from .labels import Labels, shades_of
from .tracking import Video, ball_mask, validated_frames

MEASURES = {  # name -> (unit, what it says)
    "flow_px": ("px/frame", "end-point error where the asked flow moves"),
    "camera_px": ("px/frame", "error of the background's rigid motion"),
    "camera_deg": ("degrees", "error of the camera's rotation at the end"),
    "camera_m": ("m", "error of the camera's position at the end"),
    "silhouette_iou": ("share", "overlap of the balls with the asked depth's silhouettes"),
}


@dataclass(frozen=True)
class ObedienceRules:
    """Where motion is measured."""

    in_view: float = 0.4  # share of frames that a clip's ball is in view
    enlarge: int = 2  # DIS compares patches of 8 px: on small pictures a ball would be one patch
    texture: float = 1e-3  # mean squared brightness gradient (Sobel, 0..1) over 7x7 px that DIS needs
    consistency_px: float = 0.5  # by which forward and backward flow may differ where the camera is fitted
    visible_px: float = 0.5  # error of the flow estimated on the simulator's clip up to which a pixel is judged
    moving_px: float = 0.5  # px/frame from which a pixel counts as moving
    min_flow_pixels: int = 20  # over the clip
    min_camera_pixels: int = 50  # a frame; in a plain room there is nothing to read the camera from
    max_camera_pixels: int = 800  # that one step is fitted to, for speed
    search_radius: float = 3.0  # ball radii: distance from the true centre within which a silhouette may match


RULES = ObedienceRules()


def unsuitable(labels: Labels, known: int) -> str | None:
    """Why obedience makes no sense on this clip, or None."""
    if labels.in_view.mean() < RULES.in_view:
        return f"the ball is in view for less than {RULES.in_view:.0%} of the clip"
    step = np.linalg.norm(np.diff(labels.center, axis=0), axis=-1)[known:]
    return None if not labels.static_camera or step.mean() > RULES.moving_px else "nothing moves"


def estimated_flow(frames: Floats, start: Floats | None = None) -> Floats:
    """Flow [T-1, H, W, 2] in px/frame of a video [T, H, W, 3]; start: a flow from which the search begins."""
    height, width = frames.shape[1:3]
    size = (width * RULES.enlarge, height * RULES.enlarge)
    large = (opencv.resized(frames, *size, opencv.CUBIC).clip(0, 1) * 255).astype(np.uint8)
    begin = None if start is None else opencv.resized(start, *size, opencv.NEAREST) * RULES.enlarge
    flow = opencv.dis_flow(opencv.grey(large), begin)
    return opencv.resized(flow, width, height, opencv.AREA) / RULES.enlarge


def obedience(frames: Video, clip: Clip, labels: Labels, known: int = 5) -> dict[str, float | None]:
    """The MEASURES of a video; None where one does not apply (a static camera, nothing moves). Raises FramesError."""
    frames = validated_frames(frames, labels)
    true_flow: Floats = clip.flow.numpy()[known - 1 :]
    textured = opencv.gradient_energy(opencv.grey(labels.truth[known - 1 : -1]), 7) > RULES.texture
    judged: Bools = clip.visible.numpy()[known - 1 :] & textured
    moving = judged & (np.linalg.norm(true_flow, axis=-1) > RULES.moving_px)

    def error(video: Floats) -> Floats:
        return np.linalg.norm(estimated_flow(video[known - 1 :], true_flow) - true_flow, axis=-1)

    out: dict[str, float | None] = dict.fromkeys(MEASURES)
    visible = moving & (error(labels.truth) < RULES.visible_px)
    if visible.sum() >= RULES.min_flow_pixels:
        out["flow_px"] = float(error(frames)[visible].mean())
    if not labels.static_camera:
        made = frames[known - 1 :]
        flow, backward = estimated_flow(made), estimated_flow(made[::-1])[::-1]
        mismatch = np.linalg.norm(flow + opencv.carried_back(flow, backward), axis=-1)
        out |= camera_error(flow, judged, mismatch < RULES.consistency_px, clip, known)
    out["silhouette_iou"] = silhouette_iou(frames, clip, labels, known)
    return {name: None if value is None else round(value, 4) for name, value in out.items()}


def camera_error(flow: Floats, judged: Bools, consistent: Bools, clip: Clip, known: int) -> dict[str, float | None]:
    """Error of the rigid motion that explains the background's flow, in px/frame and as the pose at the end."""
    scene, instance = clip.scene, clip.render.instance.numpy()
    depth, true_flow = clip.render.depth.numpy(), clip.flow.numpy()
    height, width = depth.shape[1:]
    fixed = [FLOOR_ID, WALL_ID, *(FIRST_BOX_ID + i for i, b in enumerate(scene.boxes) if b.mass is None)]
    v, u = np.mgrid[0:height, 0:width]
    errors: list[float] = []
    pose = np.eye(4)
    for i, t in enumerate(range(known - 1, len(depth) - 1)):
        focal = focal_length(scene.fov_deg[t], height)
        still = np.isin(instance[t], fixed) & judged[i]
        if still.sum() < RULES.min_camera_pixels:
            return {"camera_px": None, "camera_deg": None, "camera_m": None}
        x, y = (u[still] + 0.5 - width / 2) / focal, (v[still] + 0.5 - height / 2) / focal
        rows = motion_rows(x, y, depth[t][still]) * focal
        sure = consistent[i][still]
        use = np.nonzero(sure)[0] if sure.sum() >= RULES.min_camera_pixels else np.arange(len(x))
        use = use[:: max(1, len(use) // RULES.max_camera_pixels)]
        found = robust_fit(np.concatenate([rows[use], rows[len(x) + use]]), np.ravel(np.transpose(flow[i][still][use])))
        fitted = np.transpose(np.reshape(rows @ found, (2, -1)))
        errors.append(np.linalg.norm(fitted - true_flow[t][still], axis=-1).mean())
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = opencv.rotation(found[3:6]), found[:3]
        pose = pose @ step
    true = relative_pose(scene.c2w[known - 1], scene.c2w[-1])
    turn = (np.trace(np.matmul(np.transpose(pose[:3, :3]), true[:3, :3])) - 1) / 2
    return {
        "camera_px": float(np.mean(errors)),
        "camera_deg": float(np.degrees(np.arccos(min(max(turn, -1.0), 1.0)))),
        "camera_m": float(np.linalg.norm(pose[:3, 3] - true[:3, 3])),
    }


def relative_pose(first: Floats, last: Floats) -> Floats:
    """Pose [4, 4] of a camera in the axes of another, both c2w [4, 4]."""
    return np.matmul(np.linalg.inv(first), last)


def motion_rows(x: Floats, y: Floats, depth: Floats) -> Floats:
    """Flow [2n, 7] (all x, then all y; in focal lengths) by a small translation (m), rotation (rad) and zoom.

    x, y: image positions in focal lengths. Longuet-Higgins and Prazdny, Proc. R. Soc. B 208 (1980).
    """
    zero, inverse = np.zeros_like(x), 1 / depth
    horizontal = np.stack([-inverse, zero, x * inverse, x * y, -(1 + x * x), y, x], 1)
    vertical = np.stack([zero, -inverse, y * inverse, 1 + y * y, -x * y, -x, y], 1)
    return np.concatenate([horizontal, vertical])


def robust_fit(rows: Floats, values: Floats, rounds: int = 5) -> Floats:
    """Least squares with Huber weights, so that a ball's pixels or an invented object do not turn the camera."""
    weight: Floats = np.ones(len(values))
    found: Floats = np.zeros_like(rows[0])
    for _ in range(rounds):
        weighted = np.transpose(rows * weight[:, None])
        square: Floats = np.matmul(weighted, rows)
        ridge = 1e-6 * float(np.trace(square)) / len(square) * np.eye(len(square))
        target: Floats = np.matmul(weighted, values)
        found = np.linalg.solve(square + ridge, target)
        residual = np.abs(np.matmul(rows, found) - values)
        weight = np.minimum(1.0, max(1.5 * np.median(residual), 1e-3) / np.maximum(residual, 1e-9))
    return found


def silhouette_iou(frames: Floats, clip: Clip, labels: Labels, known: int) -> float | None:
    """Intersection over union of the balls found and the true ones over the frames made; None without balls.

    Balls are looked for only around their true position, occluded or not: elsewhere something else, such as a box that
    another camera moves into view, may have their colour.
    """
    made = slice(known, None)
    true = labels.balls[made]
    if not true.any():
        return None
    found = np.zeros_like(labels.balls)
    scene, instance = clip.scene, clip.render.instance.numpy()
    height, width = instance.shape[1:]
    y, x = np.mgrid[0:height, 0:width] + 0.5
    for i, ball in enumerate(scene.balls):
        shades = labels.shades if i == 0 else shades_of(labels.truth, instance == FIRST_BALL_ID + i)
        u, v, depth, radius = project_sphere(clip.centers[:, i], ball.radius, scene.c2w, scene.fov_deg, width, height)
        reach = np.where(depth > ball.radius, RULES.search_radius * radius, 0.0)
        u, v, reach = (n[:, None, None] for n in (u, v, reach))
        found |= ball_mask(frames, labels, shades, rivals=False) & ((x - u) ** 2 + (y - v) ** 2 < reach**2)
    found = found[made]
    return float((found & true).sum() / max(1, (found | true).sum()))


SUITE = Suite(
    "E",
    "obedience",
    ("fall", "throw", "arc", "look"),
    41,
    "it moves as camera, depth and flow say",
    unsuitable,
    None,
    5,
)
