"""A camera path: the camera's pose and field of view in every frame.

Poses and angles follow the conventions of geometry/. Only the motion relative to the first frame reaches a model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..geometry.camera import FOV_RANGE_DEG, focal_length, fov_from_focal, relative_poses
from ..geometry.rotation import interpolate_poses
from .span import ControlError, check_span

MAX_ROTATION_ERROR = 1e-3  # largest |R R^T - 1| of a rotation: text files round to about five digits


@dataclass(frozen=True, eq=False)
class CameraPath:
    """c2w [T,4,4], fov_deg [T] or one number; kept as float64 on the CPU. Raises ControlError naming the frame.

    stretch: the path is a shape in time (a preset, key frames) and is resampled to any clip; else each pose is one
    frame's and the clip must have as many. strength, start, end: see span.py.
    """

    c2w: Tensor
    fov_deg: Tensor
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    stretch: bool = False

    def __post_init__(self) -> None:
        c2w = torch.as_tensor(self.c2w, dtype=torch.float64).detach().cpu()
        fov = torch.as_tensor(self.fov_deg, dtype=torch.float64).detach().cpu()
        if c2w.ndim != 3 or tuple(c2w.shape[1:]) != (4, 4) or not len(c2w):
            raise ControlError(f"camera path: poses are {list(c2w.shape)}; expected [frames, 4, 4] camera-to-world")
        if fov.ndim == 0:
            fov = fov.expand(len(c2w)).clone()
        if fov.shape != (len(c2w),):
            raise ControlError(f"camera path: {len(c2w)} poses but {list(fov.shape)} fields of view; expected one each")
        _check_poses(c2w)
        wrong = ~((fov >= FOV_RANGE_DEG[0]) & (fov <= FOV_RANGE_DEG[1]))
        if wrong.any():
            t = int(wrong.nonzero()[0])
            raise ControlError(
                f"camera path, frame {t}: the vertical field of view is {fov[t]:g} degrees; expected "
                f"{FOV_RANGE_DEG[0]:g} to {FOV_RANGE_DEG[1]:g}"
            )
        check_span("camera path", self.strength, self.start, self.end)
        object.__setattr__(self, "c2w", c2w)
        object.__setattr__(self, "fov_deg", fov)

    @property
    def moves(self) -> bool:
        """Whether the pose or the field of view ever changes."""
        return bool((self.c2w != self.c2w[:1]).any() or (self.fov_deg != self.fov_deg[:1]).any())

    @property
    def frames(self) -> int:
        """Poses of the path."""
        return len(self.c2w)

    def relative(self) -> CameraPath:
        """The same motion, with the first camera at the origin looking along z."""
        return replace(self, c2w=relative_poses(self.c2w))

    def since(self, frame: int) -> CameraPath:
        """The path from a frame on."""
        return replace(self, c2w=self.c2w[frame:], fov_deg=self.fov_deg[frame:])

    def reversed(self) -> CameraPath:
        """The same poses, the last one first."""
        return replace(self, c2w=self.c2w.flip(0), fov_deg=self.fov_deg.flip(0))

    def resampled(self, frames: int) -> CameraPath:
        """The same path in `frames` poses: linear positions and focal lengths, slerped rotations."""
        if frames < 1:
            raise ControlError(f"a camera path of {frames} frames was asked; expected at least 1")
        if frames == self.frames:
            return self
        c2w, focal = interpolate_poses(
            self.c2w, focal_length(self.fov_deg), torch.linspace(0, self.frames - 1, frames).double()
        )
        return replace(self, c2w=c2w, fov_deg=fov_from_focal(focal))

    def then(self, other: CameraPath) -> CameraPath:
        """This path and then the other, which starts in this one's last pose and at its zoom: T1 + T2 - 1 frames.

        Strength, start and end are the other's; the whole stretches if both do.
        """
        moved = self.c2w[-1] @ torch.inverse(other.c2w[0]) @ other.c2w
        focal = focal_length(other.fov_deg)
        focal = focal / focal[0] * focal_length(self.fov_deg[-1])
        return replace(
            other,
            c2w=torch.cat((self.c2w, moved[1:])),
            fov_deg=torch.cat((self.fov_deg, fov_from_focal(focal)[1:])),
            stretch=self.stretch and other.stretch,
        )


def _check_poses(c2w: Tensor) -> None:
    bad = ~torch.isfinite(c2w).flatten(1).all(1)
    if bad.any():
        raise ControlError(f"camera path, frame {int(bad.nonzero()[0])}: the pose holds NaN or infinity")
    last = (c2w[:, 3] - torch.tensor([0.0, 0.0, 0.0, 1.0])).abs().amax(1)
    if (last > 1e-6).any():
        t = int(last.argmax())
        row = ", ".join(f"{v:g}" for v in c2w[t, 3])
        raise ControlError(f"camera path, frame {t}: the pose's last row is {row}; expected 0, 0, 0, 1")
    r = c2w[:, :3, :3]
    off = (r @ r.transpose(1, 2) - torch.eye(3)).abs().amax((1, 2))
    det = torch.det(r)
    if (off > MAX_ROTATION_ERROR).any() or (det < 0).any():
        t = int(torch.where(det < 0, torch.inf, off).argmax())
        hint = "it mirrors: flip one axis" if off[t] <= MAX_ROTATION_ERROR else "remove scale and shear from the matrix"
        raise ControlError(
            f"camera path, frame {t}: the 3x3 part is no rotation (R R^T is off the identity by {off[t]:.3g}, expected "
            f"at most {MAX_ROTATION_ERROR:g}; determinant {det[t]:.3g}, expected 1): {hint}"
        )
