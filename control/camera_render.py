"""A picture, or a video, with its depth as another camera sees it along a path, and the holes that this leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.camera import FOV_RANGE_DEG, focal_length
from ..geometry.pixels import from_nearest
from ..geometry.surfels import Surfels, colors_at, seen_from, surfels
from ..machine.limits import check_memory
from .camera import CameraPath
from .depth import DepthMaps, check_same_shape
from .pictures import as_pictures, cover
from .render_targets import AROUND, FILLS, TARGETS, check_target
from .span import ControlError

FLAT = {"mid-grey": 0.5, "black": 0.0, "white": 1.0}
STEP_OF_DEPTH = 0.02  # of inverse depth 0..1: beyond it, depth that is resized is not averaged over two surfaces
BYTES_PER_PIXEL = 4 * 4  # of a rendered frame: colour and hole, 32-bit floats


@dataclass(frozen=True, kw_only=True)
class RenderSpec:
    """width, height in pixels and frames; 0: the picture's (down to what the target takes), the path's.

    fov_deg: vertical field of view of the whole picture; 0: the path's first, over the video's height. near, far:
    metres, for depth that does not know them. edge: share of the range of inverse depth from which on a step between
    neighbouring pixels is a ramp between surfaces. grow: pixels by which holes are widened. fill: one of FILLS, "":
    the target's.
    """

    target: str = "VACE"
    width: int = 832
    height: int = 480
    frames: int = 0
    fov_deg: float = 0.0
    near: float = 2.0
    far: float = 20.0
    edge: float = 0.04
    grow: int = 0
    fill: str = ""


@dataclass(frozen=True, eq=False)
class Render:
    """images [T, H, W, 3] in 0..1; holes [T, H, W]: 1 where nothing is known. remarks: what was assumed or changed."""

    images: Tensor
    holes: Tensor
    remarks: tuple[str, ...]

    def mask(self, target: str) -> Tensor:
        """The mask as a model of TARGETS reads it."""
        return 1 - self.holes if TARGETS[target].seen_is_1 else self.holes


def camera_render(
    pictures: Tensor,
    depth: DepthMaps,
    path: CameraPath,
    spec: RenderSpec,
    on_frame: Callable[[int, Tensor], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Render:
    """pictures [1 or T, H, W, 3] as the camera of the path sees them, the first pose being where they were taken.

    on_frame is given each frame's number and colours; check is called between its parts, and may raise to cancel.
    Raises ControlError and PictureError for lengths, shapes and sizes that do not fit, before the work begins.
    """
    pictures, remarks = as_pictures(pictures, "images")
    frames = frames_of(len(pictures), depth, path, spec)
    width, height = fitted_size(spec, pictures.shape[2], pictures.shape[1])
    check_target(spec.target, frames, width, height)
    check_spec(spec)
    check_memory(f"{frames} frames of {width}x{height}", frames * width * height * BYTES_PER_PIXEL)
    check_same_shape("depth", depth.inverse.shape[2], depth.inverse.shape[1], pictures.shape[2], pictures.shape[1])
    if depth.near is None or depth.far is None:
        remarks.append(
            f"depth is relative: its nearest was taken as {spec.near:g} m, its farthest as {spec.far:g} m (near, far)"
        )
    near, far = depth.near or spec.near, depth.far or spec.far
    path = path.resampled(frames).relative()
    zoom = focal_length(path.fov_deg) / focal_length(path.fov_deg[0])
    focal = _focal(spec, path, pictures.shape[2], pictures.shape[1], width, height)
    w2c = torch.inverse(path.c2w)
    images, holes = torch.empty(frames, height, width, 3), torch.empty(frames, height, width)
    surface: Surfels | None = None
    picture = pictures[0]
    for t in range(frames):
        if surface is None or len(pictures) > 1:
            one = min(t, len(pictures) - 1)
            picture = cover(pictures[one : one + 1], width, height)[0]
            inverse = fitted_depth(depth.inverse[one], pictures.shape[2], pictures.shape[1], width, height)
            metres = 1 / (inverse * (1 / near - 1 / far) + 1 / far)
            surface = surfels(metres, focal, spec.edge)
        seen = seen_from(surface, w2c[t], focal * float(zoom[t]), check)
        hole = _grown(~seen.visible, spec.grow)
        holes[t] = hole
        images[t] = _filled(colors_at(surface, picture, seen), hole, spec.fill or TARGETS[spec.target].fill)
        if on_frame is not None:
            on_frame(t, images[t])
    return Render(images, holes, tuple(remarks))


def check_spec(spec: RenderSpec) -> None:
    """Raise ControlError for numbers that mean nothing."""
    if not 0 < spec.near < spec.far:
        raise ControlError(f"camera render: near is {spec.near:g} and far {spec.far:g} m; expected 0 < near < far")
    if spec.fov_deg and not FOV_RANGE_DEG[0] <= spec.fov_deg <= FOV_RANGE_DEG[1]:
        raise ControlError(
            f"camera render: fov_deg is {spec.fov_deg:g}; expected {FOV_RANGE_DEG[0]:g} to {FOV_RANGE_DEG[1]:g} "
            "degrees vertically, or 0 for the path's"
        )
    if spec.fill and spec.fill not in FILLS:
        raise ControlError(f"camera render: no fill is named {spec.fill!r}; expected one of {', '.join(FILLS)}")


def fitted_size(spec: RenderSpec, width: int, height: int) -> tuple[int, int]:
    """Width and height of the render of a picture of this size: as set, or the picture's own, whole cells of it."""
    cell = TARGETS[spec.target].cell if spec.target in TARGETS else 1
    return spec.width or max(1, width // cell) * cell, spec.height or max(1, height // cell) * cell


def frames_of(pictures: int, depth: DepthMaps, path: CameraPath, spec: RenderSpec) -> int:
    """The frames of the render. Raises ControlError where pictures, depth and path are of different length."""
    if depth.frames != pictures:
        raise ControlError(
            f"camera render: there are {pictures} pictures and depth of {depth.frames}; give one map for every picture"
        )
    if path.stretch:
        frames = spec.frames or (pictures if pictures > 1 else path.frames)
    else:
        frames = path.frames
        if spec.frames not in (0, frames):
            raise ControlError(
                f"camera render: the path has a pose for each of {frames} frames, and frames is {spec.frames}; set it "
                f"to {frames} or 0"
            )
    if pictures not in (1, frames):
        raise ControlError(
            f"camera render: there are {pictures} pictures for {frames} frames; give one picture, or one a frame"
        )
    return frames


def _focal(spec: RenderSpec, path: CameraPath, w: int, h: int, width: int, height: int) -> float:
    """Focal length in pixels of the picture of w x h, fitted to width x height."""
    if not spec.fov_deg:
        return float(focal_length(path.fov_deg[0], height))
    whole = float(focal_length(torch.tensor(spec.fov_deg, dtype=torch.float64), h))
    return whole * max(width / w, height / h)


def fitted_depth(inverse: Tensor, w: int, h: int, width: int, height: int) -> Tensor:
    """Inverse depth [h', w'] of a picture of w x h, fitted to width x height as pictures.cover fits that picture.

    Between two surfaces the nearer sample is taken: their mean would lie on neither.
    """
    scale = max(width / w, height / h)
    rows, columns = max(height, round(h * scale)), max(width, round(w * scale))
    if tuple(inverse.shape) == (rows, columns) == (height, width):
        return inverse
    top, left = (rows - height) // 2, (columns - width) // 2
    y = ((torch.arange(height) + 0.5 + top) / rows * 2 - 1)[:, None].expand(height, width)
    x = ((torch.arange(width) + 0.5 + left) / columns * 2 - 1)[None].expand(height, width)
    at = torch.stack((x, y), -1)[None]
    maps = inverse[None, None]
    most, least = F.max_pool2d(maps, 3, 1, 1), -F.max_pool2d(-maps, 3, 1, 1)

    def sampled(values: Tensor, mode: str) -> Tensor:
        return F.grid_sample(values, at, mode=mode, padding_mode="border", align_corners=False)[0, 0]

    step = sampled(most - least, "nearest") > STEP_OF_DEPTH
    return torch.where(step, sampled(maps, "nearest"), sampled(maps, "bilinear"))


def _grown(hole: Tensor, pixels: int) -> Tensor:
    if not pixels:
        return hole
    return F.max_pool2d(hole[None, None].float(), 2 * pixels + 1, 1, pixels)[0, 0] > 0


def _filled(image: Tensor, hole: Tensor, fill: str) -> Tensor:
    """image [H, W, 3] with its holes in one colour, or in that of the nearest pixel that is seen."""
    if fill != AROUND or not hole.any() or hole.all():
        image[hole] = FLAT.get(fill, 0.5)
        return image
    return from_nearest(image, hole)
