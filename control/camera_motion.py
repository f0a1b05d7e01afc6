"""Camera paths, optical flow and depth of a still scene: what one says of the others."""

from __future__ import annotations

from torch import Tensor

from ..geometry.pose import poses_from_depth, poses_from_flow
from ..geometry.reproject import FARTHEST, plane_depth, rigid_flow, splat_depth
from .camera import CameraPath
from .depth import DepthMaps
from .flow import FlowField
from .span import ControlError


def flow_from_camera(
    camera: CameraPath, depth: DepthMaps | float, width: int | None = None, height: int | None = None
) -> FlowField:
    """Flow [T-1, H, W, 2] of a still scene seen from `camera`; strength, start and end are the camera's.

    depth: DepthMaps whose metres are known ([T] maps, or one for the first frame alone), or the distance in metres of
    a wall that faces the first camera; then width and height in pixels are needed. Raises ControlError.
    """
    path = camera.relative()
    if isinstance(depth, DepthMaps):
        metres = depth.metres().double()
        if camera.stretch and depth.frames > 1:
            path = path.resampled(depth.frames)
        if depth.frames not in (1, path.frames):
            raise ControlError(
                f"the depth has {depth.frames} frames and the camera path {path.frames}; expected as many, or 1 map"
            )
        if depth.frames == 1:
            metres = splat_depth(metres[0], path.c2w, path.fov_deg)
    else:
        if width is None or height is None:
            raise ValueError("flow_from_camera needs width and height when depth is a distance")
        if not 0 < depth <= FARTHEST:
            raise ControlError(f"distance is {depth:g} m; expected more than 0, up to {FARTHEST:g}")
        metres = plane_depth(path.c2w, path.fov_deg, float(depth), width, height)
    if path.frames < 2:
        raise ControlError("the camera path has 1 frame; expected at least 2, so that something can move")
    flow, valid = rigid_flow(path.c2w, path.fov_deg, metres)
    return FlowField(flow, valid, camera.strength, camera.start, camera.end)


def still_scene_flow(camera: CameraPath, metres: Tensor) -> FlowField:
    """Flow of a still scene at depth [T, H, W] in metres in each of a path's poses."""
    return FlowField(*rigid_flow(camera.c2w, camera.fov_deg, metres))


def camera_from_flow(
    flow: FlowField, inverse_depth: Tensor, first: int, fov_deg: float, discs: Tensor | None = None
) -> CameraPath | None:
    """The path from frame `first` on, at identity there; None where the scene is still or no camera explains the flow.

    inverse_depth [h, w]: 1 / metres of frame `first`; discs [N, 3]: x, y, radius in pixels of what moves by itself.
    """
    return _path(poses_from_flow(flow.flow[first:], flow.valid[first:], inverse_depth, fov_deg, discs))


def camera_from_depth(
    depth: DepthMaps, inverse_depth: Tensor, first: int, fov_deg: float, discs: Tensor | None = None
) -> CameraPath | None:
    """As camera_from_flow, from depth maps that need not be in metres: inverse_depth gives their scale."""
    return _path(poses_from_depth(depth.inverse[first:], inverse_depth, fov_deg, discs))


def _path(poses: tuple[Tensor, Tensor] | None) -> CameraPath | None:
    return None if poses is None else CameraPath(*poses)
