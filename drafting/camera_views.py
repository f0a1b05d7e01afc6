"""Projections between the camera of a shot's last known picture, the reference, and those of the frames after it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..control.camera import CameraPath
from ..geometry.camera import focal_length
from ..geometry.linalg import norm
from ..geometry.reproject import reproject

DEFAULT_FOV_DEG = 40.0  # vertical field of view where no camera path gives one
MIN_DEPTH = 0.1  # metres: points nearer than this are projected from here
MIXED_RIM = 1  # pixels beside a disocclusion whose colours are mixed with those of what occluded it
VERTICAL_PENALTY = 1.5  # factor by which pixels above or below a hole must be farther away than those beside it

Cosines = Callable[[Tensor], Tensor]  # of the angles between surface normals and a direction [3]
Index = tuple[Tensor, ...]  # frames, rows, columns


class CameraViews:
    """Projections between the reference camera and those of the frames after it, which are numbered from 0, itself.

    Positions are in pixels, depths in metres. camera: the path from the reference on; None: it is still.
    """

    def __init__(self, camera: CameraPath | None, width: int, height: int):
        self.camera, self.centre = camera, torch.tensor([width / 2, height / 2])
        fov_deg = torch.tensor([DEFAULT_FOV_DEG]) if camera is None else camera.fov_deg
        self.focal = focal_length(fov_deg, height).float()  # [1 + F] pixels; [1] of a still camera
        c2w = torch.eye(4)[None] if camera is None else camera.c2w
        self._from_reference = (torch.inverse(c2w) @ c2w[0]).float()  # [1 + F, 4, 4]

    def to_frame(self, position: Tensor, depth: Tensor, frame: int | slice) -> tuple[Tensor, Tensor]:
        """Reference positions [N,2] and depths [N,1] as a frame's camera sees them.

        With a slice of F frames, [F,N,.] of each frame's own.
        """
        if self.camera is None:
            return position, depth
        pose = self._from_reference[frame]
        at = unproject(position, depth, self.centre, self.focal[0]) @ pose[..., :3, :3].mT + pose[..., None, :3, 3]
        z = at[..., 2:].clamp_min(MIN_DEPTH)
        return at[..., :2] / z * self.focal[frame, None, None] + self.centre, at[..., 2:]

    def zoom(self, frame: int | slice) -> Tensor | float:
        """Ratio of a frame's focal length to the reference's."""
        return 1.0 if self.camera is None else self.focal[frame, None, None] / self.focal[0]

    def to_reference(self, position: Tensor, depth: Tensor, frame: int) -> Tensor:
        """Reference positions [N,2] of positions [N,2] and depths [N,1] in a frame."""
        if self.camera is None:
            return position
        at = unproject(position, depth, self.centre, self.focal[frame])
        at = (at - self._from_reference[frame, :3, 3]) @ self._from_reference[frame, :3, :3]
        return at[..., :2] / at[..., 2:].clamp_min(MIN_DEPTH) * self.focal[0] + self.centre

    def spheres(self, tracks: Tensor) -> tuple[Tensor, Tensor]:
        """Centres [F,N,3] in reference camera axes and radii [F,N], metres, of balls at later tracks [F,N,4]."""
        if self.camera is None:
            return spheres_of(tracks, self.centre, self.focal)
        centres, radii = spheres_of(tracks, self.centre, self.focal[1:, None, None])
        return (centres - self._from_reference[1:, None, :3, 3]) @ self._from_reference[1:, :3, :3], radii

    def points_in_last_frame(self, points: Tensor) -> Tensor:
        """Points [...,3] in reference camera axes, metres, in the last camera's."""
        return points @ self._from_reference[-1, :3, :3].T + self._from_reference[-1, :3, 3]

    def inverse_depths(self, inverse_depth: Tensor) -> Tensor:
        """The reference's inverse depth [h,w] in it and the frames after it [1 + F,h,w]; [1,h,w] of a still camera."""
        if self.camera is None:
            return inverse_depth[None]
        later, _, _ = reproject(1 / inverse_depth, self.camera.c2w, self.camera.fov_deg)
        return torch.cat((inverse_depth[None], 1 / later))

    def planes(self, plane: Tensor) -> Tensor:
        """A plane [3] in reference camera axes (see fit_floor) in those of the frames after it [F,3]."""
        pose = self._from_reference[1:]
        rotated = pose[:, :3, :3] @ plane
        return rotated / (1 + (rotated * pose[:, :3, 3]).sum(-1, keepdim=True)).clamp_min(1e-3)

    def ball_cosines(self, tracks: Tensor, offsets: Tensor, later: bool) -> Cosines:
        """Cosines [F,h,w] of a ball's surface at offsets [h,w,2] from its centre, in radii; outside, of its rim.

        The ball is at tracks [F,4] in the reference, or with `later` in each frame after it. Directions are in
        reference camera axes.
        """
        moved = later and self.camera is not None
        focal = self.focal[1:, None] if moved else self.focal[:1]
        away = unproject(tracks[:, :2], torch.ones(len(tracks), 1), self.centre, focal)
        away = away / norm(away)[:, None]
        right = torch.tensor([1.0, 0.0, 0.0]) - away[:, :1] * away
        right = right / norm(right)[:, None]
        axes = torch.stack((right, torch.cross(away, right, dim=-1), away), 1)
        axes = axes @ self._from_reference[1:, :3, :3] if moved else axes
        offsets = offsets / norm(offsets)[..., None].clamp_min(1)
        normals = torch.cat((offsets, -(1 - offsets.square().sum(-1, keepdim=True)).clamp_min(0).sqrt()), -1)
        return lambda direction: torch.einsum("hwi,fi->fhw", normals, axes @ direction)


class Reprojection:
    """How the later cameras of a path see a scene of which the first one sees the inverse depth [H,W].

    inverse_depth [F,H,W]: theirs; visible [F,H,W]: whether the first camera's picture shows it, too.
    """

    def __init__(self, camera: CameraPath, inverse_depth: Tensor):
        height, width = inverse_depth.shape
        depth, source, unoccluded = reproject(1 / inverse_depth, camera.c2w, camera.fov_deg)
        self.inverse_depth, self._source = 1 / depth, source / torch.tensor([width / 2, height / 2]) - 1
        inside = (self._source.abs() < 1).all(-1)
        rim = F.max_pool2d((~unoccluded)[:, None].float(), 2 * MIXED_RIM + 1, 1, MIXED_RIM)[:, 0]
        self.visible = (rim == 0) & inside
        self._holes, self._fill = _hole_filling(self.inverse_depth, self.visible, inside & ~unoccluded)

    def warp(self, video: Tensor) -> Tensor:
        """A video [F,H,W,3] of the first camera as the later ones see it.

        Disocclusions are filled from beside them. Outside of the first camera's picture its content is mirrored:
        streaks of the border's colours would not show any motion.
        """
        video = F.grid_sample(video.permute(0, 3, 1, 2), self._source, padding_mode="reflection", align_corners=False)
        video = video.permute(0, 2, 3, 1)
        video[self._holes] = video[self._fill]
        return video


def _hole_filling(inverse_depth: Tensor, visible: Tensor, hole: Tensor) -> tuple[Index, Index]:
    """The pixels of holes [F,H,W], and for each the visible pixel that fills it.

    That is the farthest of the nearest visible pixels to the left and right, as most edges of a scene are horizontal;
    or above or below, where it is VERTICAL_PENALTY times as far away there.
    """
    frame, *at = hole.nonzero(as_tuple=True)
    least = torch.full(frame.shape, torch.inf)
    sources = list(at)  # a pixel without a visible neighbour in its row and column keeps its value
    for axis in (2, 1):
        size = hole.shape[axis]
        line = torch.arange(size).view(-1, *[1] * (2 - axis)).expand(hole.shape)
        before = line.where(visible, -1).cummax(axis).values
        behind = line.where(visible, size).flip(axis).cummin(axis).values.flip(axis)
        for nearest in (before, behind):
            source, along = list(at), nearest[(frame, *at)]
            source[axis - 1] = along.clamp(0, size - 1)
            distance = inverse_depth[(frame, *source)] * (1.0 if axis == 2 else VERTICAL_PENALTY)
            better = (along >= 0) & (along < size) & (distance < least)
            least = distance.where(better, least)
            sources = [new.where(better, old) for new, old in zip(source, sources, strict=True)]
    return (frame, *at), (frame, *sources)


def unproject(position: Tensor, depth: Tensor, centre: Tensor, focal: Tensor) -> Tensor:
    """Points [...,3] in camera axes, metres, of pixel positions [...,2] and depths [...,1]; focal in pixels."""
    return torch.cat(((position - centre) / focal * depth, depth), -1)


def spheres_of(tracks: Tensor, centre: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
    """Centres [...,3] in camera axes and radii [...], metres, of balls at tracks [...,4]; focal [...,1] in pixels."""
    position, radius, depth = torch.split(tracks, [2, 1, 1], -1)
    return unproject(position, depth, centre, focal), (radius * depth / focal)[..., 0]
