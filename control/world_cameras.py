"""Camera paths as world models read them: one pose for each latent frame, as rays or as projections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .span import ControlError

if TYPE_CHECKING:
    from torch import Tensor

    from .camera import CameraPath


def check_one_lens(title: str, camera: CameraPath) -> None:
    """Raise ControlError for a path that zooms: the released code gives the model one lens for all frames."""
    low, high = float(camera.fov_deg.min()), float(camera.fov_deg.max())
    if high - low > 1e-3:
        raise ControlError(
            f"the camera path zooms, from {low:.3g} to {high:.3g} degrees of view: {title} knows one lens for all "
            "frames. Take another move on VDiT Camera Path (dolly in its place), or load a Fun-Camera model"
        )


def lingbot_rays(c2w: Tensor, fov_deg: Tensor, width: int, height: int, temporal: int = 4) -> Tensor:
    """Rays (origin, direction) [6, k+1, height, width] of a path [temporal * k + 1, 4, 4]; fov_deg [T], vertical.

    The pose of a latent frame is that of its last video frame, relative to the latent frame before it; the longest of
    their translations is 1, whatever the unit (Robbyant/lingbot-world, wan/utils/cam_utils.py, wan/image2video.py).
    """
    import torch

    from ..geometry.camera import focal_length, pixel_rays
    from ..geometry.linalg import norm

    pose = c2w.double()[::temporal]
    step = torch.cat((torch.eye(4, dtype=torch.float64)[None], torch.inverse(pose[:-1]) @ pose[1:]))
    longest = norm(step[:, :3, 3]).max()
    origin = step[:, :3, 3] / (longest if longest > 0 else 1.0)
    local = pixel_rays(width, height, focal_length(fov_deg[:1].double(), height))[0]
    local = (local / norm(local)[..., None]).float()  # [H, W, 3]; float32 from here on, as it is large
    direction = torch.einsum("tij,yxj->ityx", step[:, :3, :3].float(), local)
    return torch.cat((origin.T[:, :, None, None].float().expand_as(direction), direction))


def dreamx_projections(c2w: Tensor, fov_deg: Tensor, width: int, height: int, temporal: int = 4) -> Tensor:
    """Projections [16, k+1, 1, 1] of a path [temporal * k + 1, 4, 4], image from world; fov_deg [T], vertical.

    A 4x4 matrix by rows for each latent frame: focal lengths in picture widths and heights, no principal point, the
    world in the axes of the first camera (AMAP-ML/DreamX-World, utils/inference_utils.py, models/prope_utils.py).
    """
    import torch

    from ..geometry.camera import focal_length, relative_poses

    view = torch.inverse(relative_poses(c2w.double()[::temporal]))
    focal = focal_length(fov_deg[0].double(), 1.0)  # in picture heights
    lens = torch.diag(torch.stack((focal * height / width, focal, focal.new_tensor(1.0), focal.new_tensor(1.0))))
    return (lens @ view).flatten(1).T[:, :, None, None].float()
