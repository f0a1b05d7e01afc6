"""Small models of random weights, and stand-ins for what a test has to control or to count."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from vdit.model.codec.tiny import TinyCodec, TinyCodecConfig
from vdit.model.config import VDiTConfig
from vdit.model.defaults import DEFAULTS, STUDENT_DEFAULTS
from vdit.model.text import WordEncoder
from vdit.model.vdit import VDiT, init_weights
from vdit.model.wan import WanTransformer
from vdit.model.world_model import WorldModel
from vdit.model.worlds import transformer_of

if TYPE_CHECKING:
    from vdit.world.families.clip import Clip


def small_config(**more) -> VDiTConfig:
    """Two blocks over a latent of 8 channels; `more` adds to it or changes it."""
    return VDiTConfig(**dict(ffn_dim=256, layers=2, in_channels=8, out_channels=8, text_dim=32) | more)


def random_world_model(
    seed: int = 0, config: VDiTConfig | None = None, *, controls: bool = False, student: bool = False
) -> WorldModel:
    """An untrained model of small size: the same seed gives the same weights. `controls`: all of them."""
    branches = dict(camera_rays=2, vace_channels=257, vace_layers=(0,)) if controls else {}
    config = config or small_config(flow_map=student, **branches)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        drawn = dict(width=16, deep=32, blocks=(1, 1), seen=(16, 32), looks=(1, 1))
        codec = TinyCodec(TinyCodecConfig(channels=config.out_channels, **drawn))
        text = WordEncoder(
            ["a", "red", "blue", "ball", "box", "falls", "rolls", "left", "right", "to", "the"], config.text_dim
        )
        transformer = init_weights(VDiT(config), seed)
        torch.nn.init.normal_(transformer.head.head.weight, std=0.02)
        if controls:
            torch.nn.init.normal_(transformer.control_adapter.conv.weight, std=0.02)
            torch.nn.init.normal_(transformer.vace_blocks[0].after_proj.weight, std=0.02)
    model = WorldModel(config, transformer, codec, text, dict(STUDENT_DEFAULTS if config.flow_map else DEFAULTS))
    for module in model.parts.values():
        module.requires_grad_(False).eval()
    return model


def random_transformer(config: VDiTConfig) -> WanTransformer:
    """No weight is zero: in a fresh transformer many are, and a wrong name or shape would not show."""
    model = init_weights(VDiT(config) if type(config) is VDiTConfig else transformer_of(config), 0)
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data.add_(torch.randn(p.shape, generator=generator) * 0.05)
    return model.requires_grad_(False).eval()


def model_calls(monkeypatch, on_call: Callable[[int], None] = lambda number: None) -> list[tuple[tuple, dict]]:
    """The arguments of each call of a transformer from now on. `on_call` runs inside each; the first has number 1."""
    calls, forward = [], VDiT.forward

    def recorded(self, *args, **named):
        calls.append((args, named))
        on_call(len(calls))
        return forward(self, *args, **named)

    monkeypatch.setattr(VDiT, "forward", recorded)
    return calls


class Permits:
    """Holds a thread at each numbered piece of its work until another thread allows it."""

    PATIENCE_S = 60  # a thread that waits longer has been forgotten: the test fails in place of hanging

    def __init__(self):
        self.asked = self.allowed = 0
        self.changed = threading.Condition()

    def wait_for(self, number: int) -> None:
        """Called by the thread that works, before the piece of this number; the first has number 1."""
        with self.changed:
            self.asked = number
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: number <= self.allowed, self.PATIENCE_S), f"{number} was never allowed"

    def allow(self, number: int) -> None:
        """All pieces up to this one."""
        with self.changed:
            self.allowed = number
            self.changed.notify_all()

    def wait_until_asked(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.asked >= number, self.PATIENCE_S), f"{number} was never asked for"


def hide_package(monkeypatch, name: str, *importers: str) -> None:
    """Imports of the package fail as where it is not installed. importers: modules of ours to be imported anew."""
    for module in importers:
        parent, _, child = module.rpartition(".")
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.delattr(importlib.import_module(parent), child, raising=False)
    for module in [name, *(loaded for loaded in sys.modules if loaded.startswith(f"{name}."))]:
        monkeypatch.setitem(sys.modules, module, None)


def clip_under_a_moving_camera() -> Clip:
    """A still scene, 9 frames of 64x64 pixels."""
    from vdit.world.families.clip import make_clip

    clips = (make_clip(seed, "look", width=64, height=64, frames=9) for seed in range(20))
    return next(clip for clip in clips if abs(clip.scene.c2w[-1] - clip.scene.c2w[0]).max() > 0.2)


def decimals(values) -> str:
    """Numbers as a text file of poses has them."""
    return " ".join(f"{float(v):.9f}" for v in values)
