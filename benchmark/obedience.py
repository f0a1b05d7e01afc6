"""Does a video do what camera, depth and flow asked? Errors against the simulator's own motion and silhouettes.

Motion is estimated with OpenCV's DIS flow, on the simulator's own clip too: what it scores there is the floor. No
estimator sees motion on a plain wall: errors are taken where the simulator's clip has texture, for every video alike; an asked
flow's, too, only where the estimator finds the simulator's own to SEEN pixels.

On videos whose true error is known (27 clips of the simulator as they are, three frames late, and under a camera that rests) the
flow's error so measured is .22, 2.41 and .72 px where it is 0, 2.47 and .73. Estimated without a start and at every pixel with
texture it was .69, 2.74 and .78, where it is 0, 2.72 and .76: on balls that fly DIS loses its way.
"""

from __future__ import annotations

import numpy as np

from ..geometry.camera_numpy import focal_length, project_sphere
from ..world.clip import Clip
from ..world.render import FIRST_BALL_ID, FIRST_BOX_ID, FLOOR_ID, WALL_ID
from .labels import Labels, shades_of
from .track import ball_mask, fitted

ENLARGE = 2  # DIS works on patches of 8 pixels: on small pictures a ball would be one patch
TEXTURE = 1e-3  # squared gradient of brightness (Sobel, 0..1), mean over 7x7 pixels, that DIS needs to be right
AGREE = 0.5  # px by which flow forth and back may differ where the camera's motion is read from
MOST_POINTS = 800  # that one camera step is fitted to
SEEN = 0.5  # px by which flow estimated on the simulator's own clip may be off where an asked flow's error is taken
MOVES = 0.5  # px/frame from which a pixel counts as asked to move
BESIDE = 3.0  # radii around a ball's true centre within which its silhouette is looked for
MEASURES = {  # name -> (unit, what it says)
    "flow_px": ("px/frame", "end-point error where the asked flow moves"),
    "camera_px": ("px/frame", "error of the background's rigid motion"),
    "camera_deg": ("degrees", "error of the camera's turn at the end"),
    "camera_m": ("m", "error of the camera's place at the end"),
    "silhouette_iou": ("share", "overlap of the balls with the asked depth's silhouettes"),
}


def unfit_for_obedience(labels: Labels, known: int) -> str | None:
    if labels.in_view.mean() < 0.4:
        return "the ball is in view for less than 40% of the clip"
    step = np.linalg.norm(np.diff(labels.center, axis=0), axis=-1)[known:]
    return None if not labels.still or step.mean() > MOVES else "nothing moves"


def estimated_flow(frames: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
    """Flow [T-1,H,W,2] in px/frame of a video [T,H,W,3], by DIS; near: a flow from which the search begins.

    The preset "fast" strays least on plain surfaces: mean error .2 to .9 px where there is texture; "medium" .2 to 1.8.
    """
    import cv2

    size = (frames.shape[2] * ENLARGE, frames.shape[1] * ENLARGE)
    big = [(cv2.resize(f, size, interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8) for f in frames]
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in big]
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def between(a: np.ndarray, b: np.ndarray, begin: np.ndarray | None) -> np.ndarray:
        if begin is not None:
            begin = cv2.resize(begin, size, interpolation=cv2.INTER_NEAREST) * ENLARGE
        return cv2.resize(dis.calc(a, b, begin), frames.shape[2:0:-1], interpolation=cv2.INTER_AREA) / ENLARGE

    begins = [None] * (len(grey) - 1) if near is None else near
    return np.stack([between(a, b, begin) for a, b, begin in zip(grey, grey[1:], begins)])


def textured(frames: np.ndarray) -> np.ndarray:
    """[T,H,W] bool: where motion can be seen at all."""
    import cv2

    out = []
    for frame in frames:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        energy = cv2.Sobel(grey, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(grey, cv2.CV_32F, 0, 1) ** 2
        out.append(cv2.boxFilter(energy, -1, (7, 7)) > TEXTURE)
    return np.stack(out)


def _agreeing(forth: np.ndarray, back: np.ndarray) -> np.ndarray:
    import cv2

    v, u = np.mgrid[0 : forth.shape[1], 0 : forth.shape[2]].astype(np.float32)
    there = [cv2.remap(b, u + f[..., 0], v + f[..., 1], cv2.INTER_LINEAR) for f, b in zip(forth, back)]
    return np.linalg.norm(forth + np.stack(there), axis=-1) < AGREE


def obedience(frames, clip: Clip, labels: Labels, known: int = 5) -> dict[str, float | None]:
    """The MEASURES of a video; None where one does not apply (a still camera, nothing moves). Raises FramesError."""
    frames = fitted(frames, labels)
    made = slice(known - 1, -1)  # steps into frames that the model made
    asked = clip.flow.numpy()[known - 1 :]
    told = clip.visible.numpy()[known - 1 :] & textured(labels.truth[made])
    moving = told & (np.linalg.norm(asked, axis=-1) > MOVES)
    out: dict[str, float | None] = dict.fromkeys(MEASURES)
    off = lambda video: np.linalg.norm(estimated_flow(video[known - 1 :], asked) - asked, axis=-1)  # noqa: E731
    seen = moving & (off(labels.truth) < SEEN)
    if seen.sum() >= 20:
        out["flow_px"] = float(off(frames)[seen].mean())
    if not labels.still:
        after = frames[known - 1 :]
        flow, back = estimated_flow(after), estimated_flow(after[::-1])[::-1]
        out |= camera_error(flow, told, _agreeing(flow, back), clip, known)
    out["silhouette_iou"] = silhouette_iou(frames, clip, labels, known)
    return {name: None if value is None else round(value, 4) for name, value in out.items()}


def camera_error(
    flow: np.ndarray, told: np.ndarray, sure: np.ndarray, clip: Clip, known: int
) -> dict[str, float | None]:
    """Error of the rigid motion that explains the background's flow, as px/frame and as the pose at the end."""
    scene, instance = clip.scene, clip.render.instance.numpy()
    depth, asked = clip.render.depth.numpy(), clip.flow.numpy()
    height, width = depth.shape[1:]
    fixed = [FLOOR_ID, WALL_ID, *(FIRST_BOX_ID + i for i, b in enumerate(scene.boxes) if b.mass is None)]
    v, u = np.mgrid[0:height, 0:width]
    errors, pose = [], np.eye(4)
    for i, t in enumerate(range(known - 1, len(depth) - 1)):
        focal = focal_length(scene.fov_deg[t], height)
        still = np.isin(instance[t], fixed) & told[i]
        if still.sum() < 50:
            return {"camera_px": None, "camera_deg": None, "camera_m": None}  # a plain room: nothing to read it from
        x, y = (u[still] + 0.5 - width / 2) / focal, (v[still] + 0.5 - height / 2) / focal
        rows = motion_rows(x, y, depth[t][still]) * focal
        use = np.nonzero(sure[i][still])[0] if sure[i][still].sum() >= 50 else np.arange(len(x))
        use = use[:: max(1, len(use) // MOST_POINTS)]
        found = robust_fit(np.concatenate([rows[use], rows[len(x) + use]]), flow[i][still][use].T.ravel())
        errors.append(np.linalg.norm((rows @ found).reshape(2, -1).T - asked[t][still], axis=-1).mean())
        pose = pose @ _pose(found[:3], found[3:6])
    true = np.linalg.inv(scene.c2w[known - 1]) @ scene.c2w[-1]
    turn = (np.trace(pose[:3, :3].T @ true[:3, :3]) - 1) / 2
    return {
        "camera_px": float(np.mean(errors)),
        "camera_deg": float(np.degrees(np.arccos(np.clip(turn, -1, 1)))),
        "camera_m": float(np.linalg.norm(pose[:3, 3] - true[:3, 3])),
    }


def motion_rows(x: np.ndarray, y: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Flow [2n, 7] (all x, then all y; in focal lengths) by a small step (x y z, m), turn (x y z, rad) and zoom.

    x, y: image positions in focal lengths. Longuet-Higgins and Prazdny, Proc. R. Soc. B 208 (1980).
    """
    zero, near = np.zeros_like(x), 1 / depth
    horizontal = np.stack([-near, zero, x * near, x * y, -(1 + x * x), y, x], 1)
    vertical = np.stack([zero, -near, y * near, 1 + y * y, -x * y, -x, y], 1)
    return np.concatenate([horizontal, vertical])


def robust_fit(rows: np.ndarray, values: np.ndarray, rounds: int = 5) -> np.ndarray:
    """Least squares with Huber weights: a ball's pixels or an invented object do not turn the camera."""
    weight = np.ones(len(values))
    for _ in range(rounds):
        weighted = rows * weight[:, None]
        square = weighted.T @ rows
        found = np.linalg.solve(
            square + 1e-6 * np.trace(square) / len(square) * np.eye(len(square)), weighted.T @ values
        )
        rest = np.abs(rows @ found - values)
        weight = np.minimum(1.0, max(1.5 * np.median(rest), 1e-3) / np.maximum(rest, 1e-9))
    return found


def _pose(step: np.ndarray, turn: np.ndarray) -> np.ndarray:
    import cv2

    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], step
    return pose


def silhouette_iou(frames: np.ndarray, clip: Clip, labels: Labels, known: int) -> float | None:
    """Intersection over union of the balls seen and the true ones, summed over the frames made; None without balls.

    Balls are looked for within BESIDE radii of where they are, hidden or not: what else has their colour is none, as a box that
    another camera shows elsewhere.
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
        mine = labels.shades if i == 0 else shades_of(labels.truth, instance == FIRST_BALL_ID + i)
        u, v, depth, radius = project_sphere(clip.centers[:, i], ball.radius, scene.c2w, scene.fov_deg, width, height)
        u, v, near = (n[:, None, None] for n in (u, v, np.where(depth > ball.radius, BESIDE * radius, 0.0)))
        found |= ball_mask(frames, labels, mine, rivals=False) & ((x - u) ** 2 + (y - v) ** 2 < near**2)
    found = found[made]
    return float((found & true).sum() / max(1, (found | true).sum()))
