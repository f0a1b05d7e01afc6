"""LingBot-World: a Wan I2V transformer whose blocks are scaled and shifted by the camera's rays.

Robbyant/lingbot-world, wan/modules/model.py: WanModel, WanAttentionBlock. Tensor names are those of its files.
"""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from ..functional import Linear, add, layer_norm
from ..layers import Block, CameraSignal, Layout
from ..wan import WanTransformer
from .config import LINGBOT_CHANNELS, LINGBOT_RAYS, LingBotConfig


class LingBotBlock(Block):
    """A block that is modulated by the camera's tokens between self-attention and cross-attention."""

    def __init__(self, c: LingBotConfig):
        super().__init__(c)
        self.cam_injector_layer1, self.cam_injector_layer2 = Linear(c.dim, c.dim), Linear(c.dim, c.dim)
        self.cam_scale_layer, self.cam_shift_layer = Linear(c.dim, c.dim), Linear(c.dim, c.dim)

    def _attended(self, x: Tensor, y: Tensor, gate: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """x <- (1 + s) x + b behind the attention; s and b [B, T, S, D] are linear in an MLP of the camera's tokens."""
        camera = layout.camera
        if camera is None:
            return super()._attended(x, y, gate, layout)
        x = add(x, self.self_attn(y.flatten(1, 2), layout).unflatten(1, x.shape[1:3]), gate)
        tokens = camera.signal
        hidden = self.cam_injector_layer2(F.silu(self.cam_injector_layer1(tokens))) + tokens
        change = self.cam_scale_layer(hidden) * x + self.cam_shift_layer(hidden)
        x = add(x, change, camera.strength)
        return x, layer_norm(x, self.norm3)


class LingBotTransformer(WanTransformer):
    """`camera` is rays [B, 6, T, 8h, 8w], see control.world_cameras.lingbot_rays; without it the blocks are Wan's."""

    config: LingBotConfig
    patch_embedding_wancamctrl: Linear
    c2ws_hidden_states_layer1: Linear
    c2ws_hidden_states_layer2: Linear

    def _block(self) -> Block:
        return LingBotBlock(self.config)

    def _own_modules(self) -> dict[str, nn.Module]:
        c = self.config
        return {
            "patch_embedding_wancamctrl": Linear(LINGBOT_CHANNELS * LINGBOT_RAYS**2 * math.prod(c.patch), c.dim),
            "c2ws_hidden_states_layer1": Linear(c.dim, c.dim),
            "c2ws_hidden_states_layer2": Linear(c.dim, c.dim),
        }

    def _see(self, tokens: Tensor, camera: Tensor, strength: float) -> tuple[Tensor, CameraSignal]:
        """The rays of a token are one vector: by channel, then row and column in the cell, then the cell's place."""
        b, _, t, *_ = camera.shape
        cells = F.pixel_unshuffle(camera.transpose(1, 2).flatten(0, 1).to(tokens.dtype), LINGBOT_RAYS)
        rays = F.pixel_unshuffle(cells, self.config.patch[-1])
        rays = rays.flatten(2).transpose(1, 2).unflatten(0, (b, t))  # [B, T, S, 384 * patch]
        signal = self.patch_embedding_wancamctrl(rays)
        signal = signal + self.c2ws_hidden_states_layer2(F.silu(self.c2ws_hidden_states_layer1(signal)))
        return tokens, CameraSignal(signal, strength)

    def _input_shapes(self, x: Tensor, sigma: Tensor) -> dict[str, tuple[object, tuple[int, ...]]]:
        rays = (LINGBOT_CHANNELS, x.shape[2], *(n * LINGBOT_RAYS for n in x.shape[3:]))
        return super()._input_shapes(x, sigma) | {"camera": (True, rays)}

    def zero_optional_branches(self) -> None:
        """As WanTransformer's, and the camera changes nothing."""
        super().zero_optional_branches()
        for block in cast("list[LingBotBlock]", self.blocks):
            for layer in (block.cam_scale_layer, block.cam_shift_layer):
                nn.init.zeros_(layer.weight)
