"""Errors about model files that a user can act on."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A model file that cannot be used; the message names the file, what was found, what is expected and what to do."""


class UnknownVariantError(ValueError):
    """Tensors that belong to no released transformer; the message says what they look like."""


class UnknownCodecError(ValueError):
    """Tensors that belong to no released video codec; the message says what they look like."""
