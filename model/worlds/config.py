"""Configs of the world models: Wan's sizes, and by their class the modules that only one of them has."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import VDiTConfig

LINGBOT_RAYS = 8  # camera rays a side of a latent cell
LINGBOT_CHANNELS = 6  # of a ray: origin and direction


@dataclass(frozen=True)
class LingBotConfig(VDiTConfig):
    """LingBot-World: every block is scaled and shifted by camera rays."""

    @property
    def reads_camera(self) -> bool:
        """It does."""
        return True

    @property
    def branches(self) -> int:
        """The tokens of the camera."""
        return 1


@dataclass(frozen=True)
class DreamXConfig(VDiTConfig):
    """DreamX-World: every block has a second self-attention, whose positions are the cameras of the frames."""

    @property
    def reads_camera(self) -> bool:
        """It does."""
        return True

    @property
    def branches(self) -> int:
        """The result of the first attention, while the second is computed."""
        return 1


@dataclass(frozen=True)
class SkyReelsConfig(VDiTConfig):
    """SkyReels-V2 Diffusion Forcing: the modulation depends on the frame rate."""
