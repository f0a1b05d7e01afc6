"""A draft of the video: where the balls of the start pictures will be, drawn as the video's camera will see it."""

from .predict import foretold, why_unforeseen

__all__ = ["foretold", "why_unforeseen"]
