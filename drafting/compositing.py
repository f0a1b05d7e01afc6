"""Compositing: a draft drawn from the layers of its pictures, with balls and their shadows where they will be.

The background is reprojected along the camera path (as in GEN3C, arXiv 2503.03751), balls are shaded as they turn, and
nearer surfaces occlude them. What no picture has shown is not invented.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from ..control.camera import CameraPath
from ..geometry.linalg import norm
from .camera_views import CameraViews, Reprojection
from .draft import Draft
from .ground_plane import plane_inverse_depth, without_floor
from .layers import (
    OCCLUSION,
    SPRITE_RADII,
    Layers,
    SceneGeometry,
    ball_shading,
    disc_coverage,
    extract_layers,
    scene_geometry,
)
from .perception import Memo

MAX_FLOOR_CORRECTION = 1.1  # factor by which a ball is moved nearer, at most, so that it does not sink into the floor
FLOOR_CORRECTION_STEPS = 50  # steps from 1 to 2 to which the factor is rounded: drafts of a shot then share layers
INVISIBLE_WEIGHT = 1e-3  # of a pixel that the start or end picture does not show, against one that it shows


@dataclass(frozen=True, eq=False)
class EndFrame:
    """An end picture [H,W,3] with balls at tracks [N,4]; the other fields are those of Composition, for it."""

    picture: Tensor
    tracks: Tensor
    inverse_depth: Tensor
    light: Tensor
    memo: Memo


@dataclass(frozen=True, eq=False)
class Composition:
    """What a draft of T frames is composited from.

    tracks: balls as each frame's camera sees them, centre u, v and radius in pixels, depth in metres; radius 0: none.
    light: a rough estimate, see ShadowReceiver. camera: the path from the last picture on, None: it is still. end: what
    is seen where the path ends. soft: edges in the pictures are soft. memo: results that drafts of the shot share.
    """

    pictures: Tensor  # [k,H,W,3] the first frames
    tracks: Tensor  # [T,N,4]
    inverse_depth: Tensor  # [H/4,W/4] 1 / metres of all but the balls in the last picture
    light: Tensor  # [3]
    camera: CameraPath | None = None
    end: EndFrame | None = None
    soft: bool = False
    memo: Memo = field(default_factory=lambda: Memo(0))


def composite(composition: Composition) -> Draft:
    """Draw the draft of a composition; it begins with the composition's pictures."""
    c = composition
    count, height, width = c.pictures.shape[:3]
    last = c.tracks[count - 1]
    present = last[:, 2] > 0
    tracks = c.tracks[:, present][:, torch.argsort(last[present, 3], descending=True)]  # far ones first
    views = CameraViews(c.camera, width, height)
    geometry = _geometry(c.memo, c.inverse_depth, c.pictures[-1], views)
    if geometry.floor is not None and tracks.shape[1]:
        tracks = _above_floor(tracks, count, views, geometry.floor)
    known, later = tracks[:count], tracks[count:]
    layers = c.memo.get(
        "layers",
        lambda: extract_layers(geometry, c.pictures, known, c.light, views, c.soft),
        *(views.focal[0], known, c.camera is None, c.soft),
    )
    video = torch.cat((c.pictures, layers.plate.expand(len(later), -1, -1, -1)))
    future = video[count:]
    if layers.receiver is not None:
        layers.receiver.add_shadows(future, layers.receiver.shadows(*views.spheres(later)))
    occluders = layers.occluders.expand(len(later), -1, -1)
    if c.camera is not None:
        view = _reprojection(c.memo, c.camera, geometry)
        future[:], occluders = view.warp(future), view.inverse_depth
        if c.end is not None:
            occluders = _blend(future, occluders, view.visible, _seen_from_end(c.end, c.camera, views, later))
        if geometry.floor is not None:
            floor = plane_inverse_depth(views.planes(geometry.floor), views.focal[1:], (width, height))
            occluders = without_floor(occluders, floor)
    coverage = torch.zeros(len(tracks), height, width)
    for sprite, track in zip(layers.sprites, later.unbind(1), strict=True):
        shade = ball_shading(track, views, layers.light, geometry.floor, later=True)
        _draw_ball((sprite * shade[:, None]).clamp_max(1), track, future, occluders, coverage[count:])
    return Draft(video, coverage, camera_moves=c.camera is not None)


def _geometry(memo: Memo, inverse_depth: Tensor, picture: Tensor, views: CameraViews) -> SceneGeometry:
    focal = views.focal[0]
    return memo.get("geometry", lambda: scene_geometry(inverse_depth, picture, focal), focal)


def _reprojection(memo: Memo, camera: CameraPath, geometry: SceneGeometry) -> Reprojection:
    make, size = lambda: Reprojection(camera, geometry.sharp), len(camera.c2w)
    return memo.get("reprojection", make, camera.c2w, camera.fov_deg, pictures=size)


@dataclass(frozen=True, eq=False)
class _View:
    """A video [F,H,W,3] with inverse depth [F,H,W], and whether a picture shows each pixel [F,H,W]."""

    video: Tensor
    inverse_depth: Tensor
    visible: Tensor


def _seen_from_end(end: EndFrame, camera: CameraPath, views: CameraViews, later: Tensor) -> _View:
    """The end picture as the path's cameras see it in the frames after the first, with shadows of balls [F,N,4]."""
    backwards = camera.reversed()
    back = CameraViews(backwards, end.picture.shape[1], end.picture.shape[0])
    geometry = _geometry(end.memo, end.inverse_depth, end.picture, back)
    tracks = end.tracks[torch.argsort(end.tracks[:, 3], descending=True)]
    layers: Layers = end.memo.get(
        "layers",
        lambda: extract_layers(geometry, end.picture[None], tracks[None], end.light, back, soft=False),
        *(back.focal[0], tracks),
    )
    video = layers.plate.repeat(len(later), 1, 1, 1)
    if layers.receiver is not None:
        centres, radii = views.spheres(later)
        layers.receiver.add_shadows(video, layers.receiver.shadows(views.points_in_last_frame(centres), radii))
    view = _reprojection(end.memo, backwards, geometry)
    last, before = video[-1:], video[:-1].flip(0)  # in the order of the reversed path, which ends in the first frame
    warped = view.warp(torch.cat((before, video[:1])))[:-1].flip(0)
    inverse_depth, visible = (x[:-1].flip(0) for x in (view.inverse_depth, view.visible))
    return _View(
        torch.cat((warped, last)),
        torch.cat((inverse_depth, geometry.sharp[None])),
        torch.cat((visible, torch.ones_like(view.visible[:1]))),
    )


def _blend(video: Tensor, inverse_depth: Tensor, visible: Tensor, other: _View) -> Tensor:
    """Cross-fade, in place, from a video [F,H,W,3] to another, each where its picture shows the pixel [F,H,W].

    Returns the inverse depth [F,H,W] of the one with more weight.
    """
    time = torch.linspace(0, 1, len(video) + 1)[1:, None, None]
    own, others = (1 - time) * (visible + INVISIBLE_WEIGHT), time * (other.visible + INVISIBLE_WEIGHT)
    share = others / (own + others)
    video.lerp_(other.video, share[..., None])
    return torch.where(share > 0.5, other.inverse_depth, inverse_depth)


def _above_floor(tracks: Tensor, count: int, views: CameraViews, floor: Tensor) -> Tensor:
    """Tracks [T,N,4] with depths scaled so that no ball sinks into the floor in the picture of a frame from `count` on.

    Predicted depths are rougher than predicted positions.
    """
    centres, radii = views.spheres(tracks[count:])
    sunk = centres @ floor + radii * norm(floor)  # 1 where a ball touches the floor
    position = tracks[count:, :, :2]
    inside = (tracks[count:, :, 2] > 0) & (position > 0).all(-1) & (position < 2 * views.centre).all(-1)
    factor = sunk.where(inside, torch.zeros(())).amax(0).clamp_min(1)
    factor = ((factor * FLOOR_CORRECTION_STEPS).ceil() / FLOOR_CORRECTION_STEPS).clamp_max(MAX_FLOOR_CORRECTION)
    return torch.cat((tracks[..., :3], tracks[..., 3:] / factor[:, None]), -1)


def _draw_ball(sprite: Tensor, track: Tensor, video: Tensor, occluders: Tensor, coverage: Tensor) -> None:
    """Draw, in place, a ball's sprite [F,3,.,.] at track [F,4] into a video [F,H,W,3], behind occluders [F,H,W].

    coverage [F,H,W] becomes at least the share of each pixel that is drawn.
    """
    height, width = video.shape[1:3]
    reach = int(track[:, 2].max()) + 2  # only pixels near the ball are visited
    row = torch.arange(-reach, reach + 1) + 0.5
    corner = track[:, :2].floor()
    off = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1) + (corner - track[:, :2])[:, None, None]
    radius = track[:, 2, None, None]
    at = off / radius[..., None].clamp_min(1e-3) / SPRITE_RADII
    colours = F.grid_sample(sprite, at, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
    covered = disc_coverage(off[..., 0], off[..., 1], radius)
    x, y = (corner.long()[:, i, None] + row.floor().long() for i in (0, 1))  # [F, 2 reach + 1]
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None] & (covered > 0)
    frame, i, j = inside.nonzero(as_tuple=True)
    pixels = frame, y[frame, i], x[frame, j]
    ratio = occluders[pixels] * track[frame, 3]
    unoccluded = ((OCCLUSION[1] - ratio) / (OCCLUSION[1] - OCCLUSION[0])).clamp(0, 1)
    share = covered[inside] * unoccluded
    video[pixels] = video[pixels].lerp(colours[inside], share[:, None])
    coverage[pixels] = coverage[pixels].maximum(share)
