"""Scores on clips of the second world, for test only: balls by place, bodies by their pixels two seconds on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..geometry.camera_numpy import focal_length
from ..world.arrays import Bools, Floats
from .bodies import BodySuite, judged
from .body_labels import BodiesLabels, Places, looks_of, places
from .checks import Score, at_least
from .foreign_drawing import ForeignFootage, draw_foreign
from .foreign_world import ForeignScene, foreign_motion, foreign_scene
from .tracking import Track, ball_mask

if TYPE_CHECKING:
    from torch import Tensor

SECONDS = 2.0  # after the known frames, at which the pixels of bodies are compared
LINES = {"foreign-fall": 0.92, "foreign-roll": 0.90, "foreign-throw": 0.80}  # shares of frames that are asked for
OVERLAP = 0.6  # asked of bodies
LEAST_JUDGED = 0.35  # share of frames after the known ones in which a thing is in the picture
AREA = (0.4, 2.5)  # of its true area, that a ball must have to be found
CLEAR = 0.8  # of the truth's own pixels that are found
STILL = 0.5  # more than this a video that stands still may not score: such clips are left out


@dataclass(frozen=True, eq=False)
class ForeignClip:
    """A scene of the second world, its motion and what its camera sees, as models are given it."""

    scene: ForeignScene
    poses: Floats  # [T, N, 4, 4]
    footage: ForeignFootage

    @property
    def caption(self) -> str:
        """What happens, in words."""
        return self.scene.caption

    @property
    def rgb(self) -> Tensor:
        """Its pictures [T, H, W, 3], 0..1."""
        import torch

        return torch.from_numpy(self.footage.rgb)

    @property
    def depth(self) -> Tensor:
        """Metres along the optical axis [T, H, W]."""
        import torch

        return torch.from_numpy(self.footage.depth.astype(np.float32))

    @property
    def c2w(self) -> Floats:
        """The camera's poses [T, 4, 4]: it stands."""
        return np.repeat(self.scene.c2w[None], len(self.poses), 0)

    @property
    def fov_deg(self) -> Floats:
        """Its vertical fields of view [T]."""
        return np.full(len(self.poses), self.scene.fov_deg)

    @property
    def flow(self) -> Tensor:
        """Forward optical flow [T-1, H, W, 2], pixels a frame: of things as they move, zero elsewhere."""
        import torch

        frames, height, width = self.footage.depth.shape
        focal = float(focal_length(self.scene.fov_deg, height))
        y, x = np.mgrid[0:height, 0:width] + 0.5
        out = np.zeros((frames - 1, height, width, 2), np.float32)
        back: Floats = np.asarray(np.linalg.inv(self.poses), float)
        w2c: Floats = np.asarray(np.linalg.inv(self.scene.c2w), float)
        for t in range(frames - 1):
            for i in range(self.poses.shape[1]):
                own = self.footage.instance[t] == 1 + i
                depth = self.footage.depth[t][own]
                local = np.stack(((x[own] - width / 2) / focal, (y[own] - height / 2) / focal, np.ones(own.sum())), 1)
                step: Floats = np.asarray(w2c @ self.poses[t + 1, i] @ back[t, i] @ self.scene.c2w, float)
                moved: Floats = np.asarray((local * depth[:, None]) @ step[:3, :3].T + step[:3, 3], float)
                at: Floats = np.asarray(moved[:, :2] / moved[:, 2:] * focal + (width / 2, height / 2), float)
                out[t][own] = at - np.stack((x[own], y[own]), 1)
        return torch.from_numpy(out)


def foreign_clip(
    seed: int, family: str, *, width: int, height: int, frames: int, fps: float, check: Callable[[], None]
) -> tuple[ForeignClip, BodiesLabels]:
    """One clip with its truth; check may raise to cancel. Raises ValueError without Drake, trimesh and Embree."""
    scene = foreign_scene(seed, family)
    poses = foreign_motion(scene, frames, fps, check)
    seen = draw_foreign(scene, poses, width, height, check)
    empty = draw_foreign(scene, poses[:1, :0], width, height, check)
    labels = looks_of(
        family=family,
        seed=seed,
        split="test",
        fps=fps,
        truth=seen.rgb,
        background=empty.rgb,
        instance=seen.instance,
        alone=seen.instance,
        groups=[np.array([i]) for i in range(len(scene.things))],
        movable=np.ones(len(scene.things), bool),
        static=True,
    )
    return ForeignClip(scene, poses, seen), labels


def _balls(masks: list[Bools], labels: BodiesLabels, known: int) -> Score:
    """The share of frames in which each thing's middle is within its radius of the truth."""
    shares: list[float] = []
    found = [places(mask) for mask in masks]
    for i, at in enumerate(found):
        now, true = judged(labels, i, known), labels.places[i]
        error = np.nan_to_num(np.linalg.norm(at.center - true.center, axis=1), nan=np.inf)
        like = (at.area >= AREA[0] * true.area) & (at.area <= AREA[1] * true.area)  # a picture all grey is no ball
        shares.append(float((like & (error <= np.sqrt(true.area / np.pi)))[now].mean()))
    value = min(shares)
    return Score("foreign-balls", value, (at_least("within a radius", value, LINES[labels.family]),), _track(found[0]))


def _bodies(masks: list[Bools], labels: BodiesLabels, known: int) -> Score:
    """The overlap (IoU) of each thing's pixels with the true ones two seconds after the known frames, or when it is
    last in the picture before."""
    overlaps: list[float] = []
    for i, (mask, look) in enumerate(zip(masks, labels.looks, strict=True)):
        last = min(labels.frames - 1, known - 1 + round(SECONDS * labels.fps))
        t = int(np.flatnonzero(judged(labels, i, known)[: last + 1])[-1])
        overlaps.append(float((mask[t] & look.ball[t]).sum() / max(1, (mask[t] | look.ball[t]).sum())))
    value = min(overlaps)
    return Score("foreign-bodies", value, (at_least("overlap", value, OVERLAP),), _track(places(masks[0])))


def _track(at: Places) -> Track:
    return Track(at.center, at.area, (at.area > 0).astype(int), np.full((len(at.area), 3), np.nan))


Judge = Callable[[list[Bools], BodiesLabels, int], Score]


def _unsuitable(judge: Judge) -> Callable[[BodiesLabels, int], str | None]:
    def why(labels: BodiesLabels, known: int) -> str | None:
        last = known + round(SECONDS * labels.fps)
        for i in range(len(labels.looks)):
            now = judged(labels, i, known)
            if not now[:last].any() or now.sum() < LEAST_JUDGED * (labels.frames - known):
                return "a thing is in view for too short a time"
        if judge([ball_mask(labels.truth, look) for look in labels.looks], labels, known).value < CLEAR:
            return "a thing is too like what is around it"
        stands = [np.repeat(look.ball[known - 1 : known], labels.frames, 0) for look in labels.looks]
        return "a video that stands still is right" if judge(stands, labels, known).value > STILL else None

    return why


def _found(judge: Judge) -> Callable[[Floats, BodiesLabels, int, Callable[[], None]], Score]:
    def score(frames: Floats, labels: BodiesLabels, known: int, check: Callable[[], None] = lambda: None) -> Score:
        return judge([ball_mask(frames, look, check=check) for look in labels.looks], labels, known)

    return score


FOREIGN_SUITES = {
    "foreign-balls": BodySuite(
        "F",
        "balls of a foreign world",
        ("foreign-fall", "foreign-roll", "foreign-throw"),
        41,
        "share of frames in which a ball of another engine and renderer is within its radius of the truth",
        _unsuitable(_balls),
        _found(_balls),
    ),
    "foreign-bodies": BodySuite(
        "F'",
        "bodies of a foreign world",
        ("foreign-topple", "foreign-slide", "foreign-barrel"),
        41,
        "overlap with the true pixels two seconds on",
        _unsuitable(_bodies),
        _found(_bodies),
    ),
}
