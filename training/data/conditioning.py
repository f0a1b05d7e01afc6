"""What the transformer is conditioned on in training, drawn for each clip or batch.

One model learns every combination by dropping conditions at random, as classifier-free guidance (arXiv 2207.12598) does
with text: captions or none, 0, 1 or 2 known latent frames, a last frame or none, a camera path or none, depth and flow
or either or none, and a draft of the predicted video, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...control.signals import plucker, vace_context
from ...model.config import VDiTConfig
from ...model.text import WordEncoder
from ..random_streams import RandomStreams
from .clip_batches import Batch


@dataclass(frozen=True)
class ConditioningShares:
    """How often each condition is given; chosen by hand."""

    no_caption: float = 0.12  # of clips, for guidance
    known_frames: tuple[float, float, float] = (0.06, 0.30, 0.64)  # of clips with 0, 1 and 2 known latent frames
    end_frame: float = 0.12  # of batches, where they are 11 latent frames long
    camera: float = 0.7  # of batches (the adapter costs a tenth of a step)
    draft: float = 0.85  # of clips where nothing else says how things move
    controlled: float = 0.3  # of batches: depth, flow or both
    kinds: tuple[float, ...] = (0.32, 0.32, 0.30, 0.06)  # of clips in those: depth, flow, both, none
    partial_flow: float = 0.4  # of flows, which are given in a region only
    less_trusted: float = 0.3  # of controls, which are noisy and given with less than full confidence
    short: float = 0.30  # of batches, cut to 6 latent frames: they take half the time
    medium: float = 0.5  # of the longer ones, cut to 11


SHARES = ConditioningShares()
SHORT, MEDIUM = 6, 11  # latent frames
DEPTH_NOISE, FLOW_NOISE = 0.3, 4.0  # deviation of a control without confidence: inverse depth in 0..1, pixels a frame
MOVING_PIXELS = 0.6  # a frame, beside the median flow, from which a pixel counts as moving


class BatchKind(NamedTuple):
    """What holds for a whole batch, the same for all processes that wait for each other: these make steps longer."""

    controlled: bool = False  # with depth or flow
    short: bool = False
    self_forced: bool = False  # clips go on from frames that the model made itself

    @classmethod
    def draw(cls, rng: np.random.Generator, *more: float) -> BatchKind:
        """By SHARES, and by the share of self_forced where that is given."""
        shares = (SHARES.controlled, SHARES.short, *more)
        return cls(*(bool(x) for x in rng.random(len(shares)) < shares))


@dataclass(frozen=True)
class ConditionedClips:
    """Clips and what the transformer is given of them."""

    x0: Tensor  # [B, C, T, h, w]
    known: Tensor  # [B, T] bool: finished frames, given as they are
    captions: list[str]  # "": none
    camera: Tensor | None  # Plücker rays
    vace: Tensor | None  # depth and flow
    draft: Tensor | None

    @property
    def controls(self) -> dict[str, Tensor]:
        """The transformer's inputs by name, beside text."""
        named = {"camera": self.camera, "vace": self.vace, "draft": self.draft}
        return {name: value for name, value in named.items() if value is not None}


def camera_rays(batch: Batch, rays: int) -> Tensor:
    """Plücker rays [B, 24, T', h*rays, w*rays] of each clip's camera path."""
    return torch.stack([plucker(c, f, *batch.size, rays) for c, f in zip(batch.c2w, batch.fov_deg, strict=True)])


def flow_region(flow: Tensor, rng: np.random.Generator) -> Tensor:
    """Mask [T-1, 1, H, W] of where a flow [T-1, 2, H, W] is given: everywhere, at what moves, or in a rectangle."""
    if rng.random() > SHARES.partial_flow:
        return torch.ones_like(flow[:, :1])
    if rng.random() < 0.6:
        background = flow.flatten(2).median(-1).values[:, :, None, None]
        moving = ((flow - background).norm(dim=1, keepdim=True) > MOVING_PIXELS).float()
        return F.max_pool2d(moving, 3, 1, 1)
    mask = torch.zeros_like(flow[:, :1])
    (top, bottom), (left, right) = (sorted(rng.integers(0, n + 1, size=2)) for n in flow.shape[2:])
    mask[:, :, top : bottom + 1, left : right + 1] = 1
    return mask


def _confidence(count: int, rng: np.random.Generator) -> Tensor:
    """Of each clip's control, [B]: mostly 1."""
    less = rng.random(count) < SHARES.less_trusted
    return torch.tensor(np.where(less, rng.uniform(0.15, 1.0, count), 1.0), dtype=torch.float32)


def draw_controls(batch: Batch, random: RandomStreams) -> Tensor:
    """The VACE input of a batch: depth, flow, both or neither, for each clip; noisier with less confidence."""
    rng, b = random.rng, len(batch.video)
    kind = rng.choice(4, size=b, p=SHARES.kinds)
    with_depth, with_flow = (torch.tensor(np.isin(kind, kinds)).float() for kinds in ((0, 2), (1, 2)))
    depth_confidence, flow_confidence = _confidence(b, rng) * with_depth, _confidence(b, rng) * with_flow

    def noisy(control: Tensor, confidence: Tensor, deviation: float) -> Tensor:
        noise = torch.randn(control.shape, generator=random.generator)
        return control + deviation * (1 - confidence).view(b, 1, 1, 1, 1) * noise

    depth = noisy(batch.depth, depth_confidence, DEPTH_NOISE)
    flow = noisy(batch.flow, flow_confidence, FLOW_NOISE)
    region = torch.stack([flow_region(f, rng) for f in batch.flow]) * flow_confidence.view(b, 1, 1, 1, 1)
    return vace_context(depth, depth_confidence, flow, region)


def draw_conditioning(
    batch: Batch, config: VDiTConfig, random: RandomStreams, kind: BatchKind, draft_share: float = SHARES.draft
) -> ConditionedClips:
    """Cut a batch to some length and draw its conditions."""
    rng = random.rng
    if kind.short and batch.video.shape[2] > SHORT:
        batch = batch.first(SHORT)
    elif batch.video.shape[2] > MEDIUM and rng.random() < SHARES.medium:
        batch = batch.first(MEDIUM)
    x0, b = batch.video, len(batch.video)
    camera = camera_rays(batch, config.camera_rays) if config.camera_rays and rng.random() < SHARES.camera else None
    vace = draw_controls(batch, random) if kind.controlled and config.vace_channels else None
    whole = x0.shape[2] == (len(batch.c2w[0]) + 3) // 4  # every frame has its latent
    ended = rng.random() < SHARES.end_frame and whole and x0.shape[2] == MEDIUM
    if ended:  # one latent frame more, about which the controls say nothing
        x0 = torch.cat((x0, batch.last), 2)
        camera, vace = (x if x is None else F.pad(x, (0, 0, 0, 0, 0, 1)) for x in (camera, vace))
    captions = [str(rng.choice(texts)) if rng.random() > SHARES.no_caption else "" for texts in batch.captions]
    starts = torch.from_numpy(rng.choice(len(SHARES.known_frames), size=b, p=SHARES.known_frames))
    draft = None
    if config.draft and vace is None and not ended:
        with_draft = torch.from_numpy(rng.random(b) < draft_share)
        starts = torch.where(with_draft, batch.draft_known, starts)
        draft = batch.drafts_of(with_draft)
    known = torch.arange(x0.shape[2]) < starts[:, None]
    if ended:
        known[:, -1] = True
    return ConditionedClips(x0, known, captions, camera, vace, draft)


def word_ids(text: WordEncoder, captions: list[str]) -> Tensor:
    """Ids [B, longest] of captions of known words, -1 behind them."""
    return text.batch_ids([text.token_ids(caption)[0] for caption in captions])
