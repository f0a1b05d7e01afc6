"""The interface of everything that is called as a video transformer."""

from __future__ import annotations

import torch
from torch import nn

from .config import VDiTConfig


class Transformer(nn.Module):
    """A velocity model; `forward` has the arguments of wan.WanTransformer.forward.

    Implemented by WanTransformer and VDiT, by the pair in experts.Experts, and by ComfyUI's own Wan models in nodes/.
    """

    config: VDiTConfig
    attention: tuple[str, float]  # pattern of kernels.patterns and its share; no weight depends on it
    dtype: torch.dtype  # of activations
