"""Compositing: a draft drawn from the layers of its pictures, with balls and their shadows where they will be.

The background is reprojected along the camera path (as in GEN3C, arXiv 2503.03751), balls are shaded as they turn, and
nearer surfaces occlude them. What no picture has shown is not invented.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..control.camera import CameraPath
from ..geometry.linalg import norm
from .camera_views import CameraViews, Reprojection
from .draft import HELD, Draft, drawn
from .ground_plane import plane_inverse_depth, without_floor
from .layers import Layers, SceneGeometry, ball_shading, draw_ball, extract_layers, scene_geometry
from .perception import Memo

MAX_FLOOR_CORRECTION = 1.1  # factor by which a ball is moved nearer, at most, so that it does not sink into the floor
FLOOR_CORRECTION_STEPS = 50  # steps from 1 to 2 to which the factor is rounded: drafts of a shot then share layers
INVISIBLE_WEIGHT = 1e-3  # of a pixel that the start or end picture does not show, against one that it shows


@dataclass(frozen=True, eq=False)
class Composition:
    """What a draft of T frames is composited from.

    tracks: balls as each frame's camera sees them, centre u, v and radius in pixels, depth in metres; radius 0: none.
    light: a rough estimate, see ShadowReceiver. camera: the path from the last picture on, None: it is still. end: the
    end picture alone, where the path ends. soft: edges in the pictures are soft. memo: what drafts of a shot share.
    """

    pictures: Tensor  # [k,H,W,3] the first frames
    tracks: Tensor  # [T,N,4]
    inverse_depth: Tensor  # [H/4,W/4] 1 / metres of all but the balls in the last picture
    light: Tensor  # [3]
    camera: CameraPath | None = None
    end: Composition | None = None
    soft: bool = False
    memo: Memo = field(default_factory=lambda: Memo(0))


class _View(NamedTuple):
    """A video [F,H,W,3] with inverse depth [F,H,W], and whether a picture shows each pixel [F,H,W]."""

    video: Tensor
    inverse_depth: Tensor
    visible: Tensor


def composite(composition: Composition, check: Callable[[], None] = lambda: None) -> Draft:
    """The draft of a composition; it begins with the composition's pictures. check: may raise to cancel.

    A long one of a still camera is drawn piece by piece, when it is looked at, and takes no memory.
    """
    c = composition
    count, height, width = c.pictures.shape[:3]
    tracks, views = _far_to_near(c.tracks, count - 1), CameraViews(c.camera, width, height)
    check()
    geometry = _geometry(c, views)
    check()
    if geometry.floor is not None and tracks.shape[1]:
        tracks = _above_floor(tracks, count, views, geometry.floor)
    layers = _layers(c, geometry, tracks[:count], views, check)
    check()

    def draw(first: int, stop: int, check: Callable[[], None] = lambda: None) -> tuple[Tensor, Tensor]:
        later = tracks[max(first, count) : max(stop, count)]
        return _draw(c, c.pictures[first:stop], later, layers, geometry, views, check)

    if c.camera is None and len(tracks) > HELD:  # no check: it is drawn in later runs, too
        frames, coverage = drawn((len(tracks), height, width), draw)
    else:
        frames, coverage = draw(0, len(tracks), check)
    return Draft(frames, coverage, camera_moves=c.camera is not None)


def _draw(
    c: Composition, pictures: Tensor, later: Tensor, layers: Layers, geometry: SceneGeometry, views: CameraViews,
    check: Callable[[], None],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Frames [F,H,W,3] and coverage [F,H,W] of pictures and of balls at tracks `later` [.,N,4] after them.

    Under a camera path `later` are all that there are.
    """
    count, height, width = pictures.shape[:3]
    video = torch.cat((pictures, layers.plate.expand(len(later), -1, -1, -1)))
    future = video[count:]
    check()
    if layers.receiver is not None:
        shadows = layers.receiver.shadows(*views.spheres(later), check=check)
        check()
        layers.receiver.add_shadows(future, shadows)
    occluders = layers.occluders.expand(len(later), -1, -1)
    check()
    if c.camera is not None:
        view = _reprojection(c, c.camera, geometry)
        future[:], occluders = view.warp(future), view.inverse_depth
        if c.end is not None:
            occluders = _blend(
                _View(future, occluders, view.visible), _seen_from_end(c.end, c.camera, views, later, check)
            )
        if geometry.floor is not None:
            floor = plane_inverse_depth(views.planes(geometry.floor), views.focal[1:], (width, height))
            occluders = without_floor(occluders, floor)
    coverage = torch.zeros(len(video), height, width)
    for sprite, track in zip(layers.sprites, later.unbind(1), strict=True):
        check()
        shade = ball_shading(track, views, layers.light, geometry.floor, later=True)
        draw_ball((sprite * shade[:, None]).clamp_max(1), track, future, occluders, coverage[count:])
    return video, coverage


def _far_to_near(tracks: Tensor, frame: int) -> Tensor:
    """Tracks [T,N,4] of the balls that are present in a frame, far ones first."""
    _, _, radius, depth = tracks[frame].unbind(-1)
    present = radius > 0
    return tracks[:, present][:, torch.argsort(depth[present], descending=True)]


def _geometry(c: Composition, views: CameraViews) -> SceneGeometry:
    focal = views.focal[0]
    return c.memo.get("geometry", lambda: scene_geometry(c.inverse_depth, c.pictures[-1], focal), focal)


def _layers(
    c: Composition, geometry: SceneGeometry, known: Tensor, views: CameraViews, check: Callable[[], None]
) -> Layers:
    make = lambda: extract_layers(geometry, c.pictures, known, c.light, views, c.soft, check)  # noqa: E731
    return c.memo.get("layers", make, views.focal[0], known, views.camera is None, c.soft)


def _reprojection(c: Composition, camera: CameraPath, geometry: SceneGeometry) -> Reprojection:
    make = lambda: Reprojection(camera, geometry.sharp)  # noqa: E731
    return c.memo.get("reprojection", make, camera.c2w, camera.fov_deg, pictures=camera.frames)


def _seen_from_end(
    end: Composition, camera: CameraPath, views: CameraViews, later: Tensor, check: Callable[[], None]
) -> _View:
    """The end picture as the path's cameras see it in the frames after the first, with shadows of balls [F,N,4]."""
    backwards = camera.reversed()
    back = CameraViews(backwards, end.pictures.shape[2], end.pictures.shape[1])
    geometry = _geometry(end, back)
    layers = _layers(end, geometry, _far_to_near(end.tracks, 0), back, check)
    video = layers.plate.repeat(len(later), 1, 1, 1)
    if layers.receiver is not None:
        centres, radii = views.spheres(later)
        layers.receiver.add_shadows(
            video, layers.receiver.shadows(views.points_in_last_frame(centres), radii, check=check)
        )
    view = _reprojection(end, backwards, geometry)
    last, before = video[-1:], video[:-1].flip(0)  # in the order of the reversed path, which ends in the first frame
    warped = view.warp(torch.cat((before, video[:1])))
    shown = (
        (warped, last),
        (view.inverse_depth, geometry.sharp[None]),
        (view.visible, torch.ones_like(view.visible[:1])),
    )
    return _View(*(torch.cat((x[:-1].flip(0), end_picture)) for x, end_picture in shown))


def _blend(own: _View, other: _View) -> Tensor:
    """Cross-fade, in place, from one's video to the other's, each where its picture shows the pixel.

    Returns the inverse depth [F,H,W] of the one with more weight.
    """
    time = torch.linspace(0, 1, len(own.video) + 1)[1:, None, None]
    weight, others = (1 - time) * (own.visible + INVISIBLE_WEIGHT), time * (other.visible + INVISIBLE_WEIGHT)
    share = others / (weight + others)
    own.video.lerp_(other.video, share[..., None])
    return torch.where(share > 0.5, other.inverse_depth, own.inverse_depth)


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
