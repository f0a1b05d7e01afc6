"""Configs of the world models: Wan's sizes, and by their class the modules that only one of them has."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import VDiTConfig

LINGBOT_RAYS = 8  # camera rays a side of a latent cell
LINGBOT_CHANNELS = 6  # of a ray: origin and direction


@dataclass(frozen=True)
class CameraConfig(VDiTConfig):
    """A world model whose every block reads the cameras of the frames."""

    @property
    def reads_camera(self) -> bool:
        """It does."""
        return True

    @property
    def branches(self) -> int:
        """Beside the block's own tensor: LingBot's tokens of the camera, or the result of DreamX's first attention."""
        return 1


@dataclass(frozen=True)
class LingBotConfig(CameraConfig):
    """LingBot-World: every block is scaled and shifted by camera rays."""


@dataclass(frozen=True)
class DreamXConfig(CameraConfig):
    """DreamX-World: every block has a second self-attention, whose positions are the cameras of the frames."""


@dataclass(frozen=True)
class SkyReelsConfig(VDiTConfig):
    """SkyReels-V2 Diffusion Forcing: the modulation depends on the frame rate."""
