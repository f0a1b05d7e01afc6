"""The pinhole camera of one frame, and the still view of a scene at another size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...geometry.camera_numpy import focal_length
from ..scene import SceneError

if TYPE_CHECKING:
    from ..arrays import Floats
    from ..scene import Scene

CROP_SHARE = 0.004  # share of a picture's side that is cut off without a remark: sizes are rounded to whole pixels


@dataclass(frozen=True, eq=False)
class Camera:
    """c2w [4, 4]; focal length in pixels of a picture of width x height pixels."""

    c2w: Floats
    focal: float
    width: int
    height: int

    @property
    def w2c(self) -> Floats:
        """World to camera [4, 4]."""
        return inverse(self.c2w)

    @property
    def to_pixels(self) -> Floats:
        """[3, 3]: camera axes to homogeneous pixel positions (u z, v z, z)."""
        return np.array([[self.focal, 0, self.width / 2], [0, self.focal, self.height / 2], [0, 0, 1]])

    def same(self, other: Camera | None) -> bool:
        """Whether both see the same, to the bit."""
        return other is not None and self.focal == other.focal and bool(np.array_equal(self.c2w, other.c2w))


def inverse(pose: Floats) -> Floats:
    """Inverse [..., 4, 4] of rigid poses [..., 4, 4]."""
    out = np.zeros_like(pose)
    rotation = np.swapaxes(pose[..., :3, :3], -1, -2)
    out[..., :3, :3] = rotation
    out[..., :3, 3] = -(rotation @ pose[..., :3, 3:])[..., 0]
    out[..., 3, 3] = 1.0
    return out


def scene_camera(scene: Scene, width: int, height: int) -> tuple[Camera, str]:
    """The scene's own view at another size, and a remark where its aspect cuts a part off ("" where it does not)."""
    scale = max(width / scene.width, height / scene.height)
    focal = float(focal_length(scene.view.fov_deg, scene.height)) * scale
    cut = 1 - width / (scene.width * scale), 1 - height / (scene.height * scale)
    remark = ""
    if max(cut) > CROP_SHARE:
        side = "left and right" if cut[0] > cut[1] else "top and bottom"
        remark = (
            f"the scene is {scene.width}x{scene.height}, the video {width}x{height}: "
            f"{max(cut):.0%} is cut off at {side}"
        )
    return Camera(np.asarray(scene.view.c2w, np.float64), focal, width, height), remark


def cameras(
    scene: Scene, frames: int, width: int, height: int, c2w: Floats | None, fov_deg: Floats | None
) -> tuple[tuple[Camera, ...], str]:
    """One camera for each frame, and a remark on what is cut off or seen from below the ground ("": none).

    c2w [T, 4, 4] and fov_deg [T] or [1]; None: the scene's view. Raises SceneError where their number is not that
    of the frames, or a number is not finite.
    """
    still, remark = scene_camera(scene, width, height)
    if c2w is None and fov_deg is None:
        return (still,) * frames, remark
    poses = np.broadcast_to(still.c2w, (frames, 4, 4)) if c2w is None else np.asarray(c2w, np.float64)
    if fov_deg is None:
        focal = np.full(frames, still.focal)
    else:
        focal, remark = focal_length(np.asarray(fov_deg, np.float64), height), ""
        focal = np.broadcast_to(focal, (frames,)) if focal.size == 1 else focal
    if poses.shape != (frames, 4, 4) or focal.shape != (frames,):
        raise SceneError(
            f"the camera has poses {list(poses.shape)} and {focal.size} fields of view; "
            f"the motion has {frames} frames: give [{frames}, 4, 4] and [{frames}]"
        )
    if not (np.isfinite(poses).all() and np.isfinite(focal).all() and (focal > 0).all()):
        raise SceneError("the camera path has numbers that are not finite, or a field of view outside 0 to 180 degrees")
    if scene.ground is not None:
        below = int((poses[:, :3, 3] @ np.asarray(scene.ground.normal) < scene.ground.offset).sum())
        if below:
            remark += (
                f"{'; ' if remark else ''}the camera is below the ground in {below} of {frames} frames: raise its path"
            )
    return tuple(Camera(p, float(f), width, height) for p, f in zip(poses, focal, strict=True)), remark
