"""Open world models: Wan transformers with modules of their own. A config becomes its transformer here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import DreamXConfig, LingBotConfig, SkyReelsConfig

if TYPE_CHECKING:
    from ..config import VDiTConfig
    from ..wan import WanTransformer


def transformer_of(config: VDiTConfig) -> WanTransformer:
    """The transformer of a config: Wan's own, or that of a world model."""
    if isinstance(config, LingBotConfig):
        from .lingbot import LingBotTransformer

        return LingBotTransformer(config)
    if isinstance(config, DreamXConfig):
        from .dreamx import DreamXTransformer

        return DreamXTransformer(config)
    if isinstance(config, SkyReelsConfig):
        from .skyreels import SkyReelsTransformer

        return SkyReelsTransformer(config)
    from ..wan import WanTransformer

    return WanTransformer(config)
