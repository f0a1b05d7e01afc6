"""A draft of the video: where the balls of the start pictures will be, drawn as the video's camera will see it.

The door: predict_draft(dynamics, DraftRequest, PerceptionCache) -> Draft, or NoPrediction with the reason.
"""

from .draft import Draft, agreement
from .perception import PerceptionCache
from .predict import DraftRequest, NoPrediction, predict_draft, shows_ball

__all__ = ["Draft", "DraftRequest", "NoPrediction", "PerceptionCache", "agreement", "predict_draft", "shows_ball"]
