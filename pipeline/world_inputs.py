"""Inputs of world models where they are not those of Wan: cameras of latent frames, a frame rate, held pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..control.world_cameras import dreamx_projections, lingbot_rays
from .wan_inputs import WanInputs

if TYPE_CHECKING:
    from torch import Tensor

    from .values import Run

SLOW_FPS = 16  # the lower of the two frame rates that SkyReels-V2 knows; everything else is its 24


class LingBotInputs(WanInputs):
    """A Wan I2V model's, and rays of the camera."""

    def _camera(self, rays: int) -> Tensor:
        assert self.camera is not None
        return lingbot_rays(self.camera.c2w, self.camera.fov_deg, *self.size, self.space.temporal)[None]


class DreamXInputs(WanInputs):
    """TI2V-5B's, and a projection for each latent frame."""

    def _camera(self, rays: int) -> Tensor:
        assert self.camera is not None
        return dreamx_projections(self.camera.c2w, self.camera.fov_deg, *self.size, self.space.temporal)[None]


class SkyReelsInputs(WanInputs):
    """Start pictures are known frames among the others, as TI2V-5B has them, and the frame rate is one of two.

    SkyworkAI/SkyReels-V2, skyreels_v2_infer/pipelines/diffusion_forcing_pipeline.py.
    """

    def __init__(self, run: Run):
        import torch

        super().__init__(run)
        rate = 0.0 if run.clip.fps == SLOW_FPS else 1.0
        self.constant["fps"] = torch.tensor([rate], device=self.device)

    def _holds(self) -> bool:
        return True
