"""Trains the transformer and the word encoder on encoded clips: `vdit train teacher`.

The recipe: flow matching (arXiv 2210.02747) in the codec's latents, x_s = (1-s)*x0 + s*noise, of which the model
predicts the velocity noise - x0. Levels s are logit-normal (arXiv 2403.03206) and high: there it is decided what
happens. In most clips they rise from frame to frame (Diffusion Forcing, arXiv 2407.01392), and some clips go on from
frames of the model's own (Self Forcing, arXiv 2506.08009, here in one step). Conditions: see data.conditioning. AdamW,
or Muon for the blocks' matrices, a constant rate with a linear end, and a moving average of the weights, which is what
ships.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...control.signals import context_channels
from ...model.config import VDiTConfig
from ...model.precision import mixed
from ...model.text import WordEncoder
from ...model.vdit import VDiT, init_weights
from ...world.families.caption import vocabulary
from ..batches import Batches, Turn, moved
from ..data.clip_batches import Batch, EncodedClips
from ..data.conditioning import BatchKind, ConditionedClips, camera_rays, draw_conditioning, word_ids
from ..data.tracks import cells_with_balls
from ..launch import ALONE, Team
from ..learning_rate import constant_with_cooldown
from ..muon import block_optimizers
from ..parallel import shard
from ..random_streams import RandomStreams
from ..recipes import TeacherRecipe
from ..run import Run, load_state
from ..trainer import Loss, Progress, Schedule, Task, TrainedWeights, Trainer
from ..warm_start import warm_start

CONFIG = VDiTConfig(
    places=True, carry=True, draft=True, camera_rays=2, vace_channels=context_channels(), vace_layers=(0, 3)
)  # what ships


@dataclass(frozen=True)
class FlowMatchingSettings:
    """Numbers of the loss, chosen by hand where nothing else is said. Levels: mean and deviation of their log-odds."""

    levels: tuple[float, float] = (2.5, 1.8)  # half of all are above .9
    rising: float = 0.75  # share of clips whose levels rise from frame to frame
    rise: tuple[float, float] = (0.2, 1.0)  # by how much, from and to
    rising_levels: tuple[float, float] = (1.2, 1.8)  # of the frame that they rise from: the next ones are higher anyway
    waiting: float = 0.1  # weight of frames of pure noise after a frame of pure noise: a sampler does not make them yet
    moving: float = 0.5  # weight of what changes, see loss_weight
    drift: float = 0.15  # most noise in finished frames that are not known: a sampler's own are not quite right either
    self_forced: float = 0.25  # share of batches that go on from frames of the model's own
    own_frames: int = 3  # of those, at most
    average: float = 0.998  # decay of the moving average: it forgets in 500 steps


SETTINGS = FlowMatchingSettings()
HELD_OUT = replace(SETTINGS, levels=(0.5, 1.2), rising=0.0, moving=0.0)  # of the held-out loss, the same in every log
VALIDATED_EVERY, DIAGNOSED_EVERY = 7, 4  # clips of which one is taken
VALIDATION_BATCH = 16


def fresh(config: VDiTConfig, seed: int) -> tuple[VDiT, WordEncoder]:
    """Untrained transformer and words."""
    torch.manual_seed(seed)
    return init_weights(VDiT(config), seed), WordEncoder(vocabulary(), config.text_dim, config.text_len)


def named_parameters(model: VDiT, text: WordEncoder) -> dict[str, nn.Parameter]:
    """Of both, as a run's state names them."""
    parts = {"model": model, "text": text}
    return {f"{part}.{n}": p for part, module in parts.items() for n, p in module.named_parameters()}


def loss_weight(x0: Tensor, finished: Tensor, *, moving: float) -> Tensor:
    """Weight [B, T, h, w] of each latent cell in a loss: none where frames are finished, more near changes, by `moving`
    for each multiple of the clip's mean change, at most 6.

    A cell weighs the same in all of a clip's frames: weighed by its content, a ball that may be in either of two places
    would be drawn in both.
    """
    change = (x0 - x0.mean(2, keepdim=True)).square().mean(1)
    more = (change / change.mean((1, 2, 3), keepdim=True).clamp_min(1e-12)).amax(1, keepdim=True).clamp_max(6)
    return (~finished)[:, :, None, None] * (1 + moving * F.max_pool2d(more, 3, 1, 1))


def draw_levels(known: Tensor, settings: FlowMatchingSettings, generator: torch.Generator) -> Tensor:
    """Noise levels [B, T] of a batch: one for all frames of a clip that are not known, or rising from a random frame
    on, those before it cleaner or finished."""
    b, device = len(known), known.device
    random = lambda: torch.rand(b, 1, generator=generator, device=device)  # noqa: E731
    rises = random() < settings.rising
    mean, deviation = (torch.where(rises, *pair) for pair in zip(settings.rising_levels, settings.levels, strict=True))
    level = torch.sigmoid(torch.randn(b, 1, generator=generator, device=device) * deviation + mean)
    least, most = settings.rise
    rise = (least + (most - least) * random()) * rises
    order, count = (~known).cumsum(1) - 1, (~known).sum(1, keepdim=True)
    return (level + (order - (random() * count).floor()) * rise).clamp(0.0, 1.0).masked_fill(known, 0.0)


def _wide(level: Tensor) -> Tensor:
    """Levels [B, T] as they multiply latents [B, C, T, h, w]."""
    return level[:, None, :, None, None]


class Given(NamedTuple):
    """What a step's loss is taken of."""

    clips: ConditionedClips
    words: Tensor  # [B, L] ids of their captions, see word_ids
    kind: BatchKind


def given(text: WordEncoder, config: VDiTConfig, batch: Batch, random: RandomStreams, kind: BatchKind) -> Given:
    """A batch of clips with conditions that are drawn for it."""
    clips = draw_conditioning(batch, config, random, kind)
    return Given(clips, word_ids(text, clips.captions), kind)


class ClipSource:
    """Clips with their conditions; each part of a step's batch draws its own."""

    def __init__(self, recipe: TeacherRecipe, config: VDiTConfig):
        self.recipe, self.config, self.data = recipe, config, EncodedClips.load(recipe.latents)
        self.text, self.refresh = WordEncoder(vocabulary()), self.data.refresh

    def __call__(self, turn: Turn) -> Given:
        """Of one size and length."""
        seed = self.recipe.seed
        kind = BatchKind.draw(np.random.default_rng([seed, turn.step]), SETTINGS.self_forced)
        random = RandomStreams.of(seed, turn.step, turn.part)
        clips = self.data.draw(turn.portion(self.recipe.batch), random.rng)
        return given(self.text, self.config, clips, random, kind)


@torch.no_grad()
def with_own_frames(
    model: VDiT, clips: ConditionedClips, level: Tensor, context: Tensor, generator: torch.Generator
) -> Tensor:
    """x0 with its last finished frames as the model makes them, in one step from those before.

    Only in clips whose first two latent frames are known: from fewer, any other speed would be as right.
    """
    x0, known = clips.x0, clips.known
    finished = (level == 0) & ~known
    most = torch.randint(1, SETTINGS.own_frames + 1, (len(x0), 1), generator=generator, device=x0.device)
    last = finished & (finished.flip(1).cumsum(1).flip(1) <= most) & known[:, :2].all(1, keepdim=True)
    start = (last | (level > 0)).float()
    noise = torch.randn(x0.shape, generator=generator, device=x0.device)
    with mixed(x0.device):
        velocity = model(noise.where(_wide(start) > 0, x0), start, context, **clips.controls)
    return (noise - velocity.float()).where(_wide(last), x0)


def flow_loss(
    model: VDiT, text: WordEncoder, told: Given, generator: torch.Generator, settings: FlowMatchingSettings = SETTINGS
) -> Tensor:
    """Weighted mean squared error of the velocity over the frames that are not finished."""
    clips = told.clips
    x0, known, device = clips.x0, clips.known, clips.x0.device
    level = draw_levels(known, settings, generator)
    noise = torch.randn(x0.shape, generator=generator, device=device)
    finished = level == 0
    drift = settings.drift * torch.rand(len(x0), 1, generator=generator, device=device) * (finished & ~known)
    s = _wide(level + drift)
    with mixed(device):
        context = text(told.words)
        clean = with_own_frames(model, clips, level, context, generator) if told.kind.self_forced else x0
        velocity = model((1 - s) * clean + s * noise, level, context, **clips.controls)
    error = (velocity.float() - (noise - x0)).square().mean(1)
    waits = (level == 1) & (F.pad(level, (1, 0))[:, :-1] == 1)
    weight = loss_weight(x0, finished, moving=settings.moving)
    weight = weight * torch.where(waits, settings.waiting, 1.0)[:, :, None, None]
    return (error * weight).sum() / weight.sum()


@torch.no_grad()
def held_out_loss(model: VDiT, text: WordEncoder, data: EncodedClips, *, controlled: bool) -> float:
    """The unweighted loss on the same held-out clips, noise and conditions every time."""
    random, losses, device = RandomStreams.fixed(5), [], text.position.device
    for name in sorted(data.shards):
        rows = range(0, len(data.shards[name]["video"]), VALIDATED_EVERY)
        for a in range(0, len(rows), VALIDATION_BATCH):
            clips = data.batch([(name, i) for i in rows[a : a + VALIDATION_BATCH]])
            told = moved(given(text, model.config, clips, random, BatchKind(controlled)), device)
            losses.append(flow_loss(model, text, told, random.on(device), HELD_OUT).item())
    return float(np.mean(losses))


def _error_after(model: VDiT, x0: Tensor, noise: Tensor, context: Tensor, done: Tensor, **controls: Tensor) -> Tensor:
    """Velocity errors [B, T, h, w] at sigma 1 of clips of which so many frames are finished [1 or B, 1]."""
    level = (torch.arange(x0.shape[2], device=x0.device) >= done).float().expand(len(x0), -1)
    with mixed(x0.device):
        velocity = model(noise.where(_wide(level) > 0, x0), level, context, **controls)
    return (velocity.float() - (noise - x0)).square().mean(1)


@torch.no_grad()
def prediction_errors(
    model: VDiT, text: WordEncoder, data: EncodedClips, *, every: int = DIAGNOSED_EVERY
) -> dict[str, float]:
    """Mean squared velocity errors on held-out clips at sigma 1: `balls` in the latent cells where they are and `rest`
    elsewhere, two latent frames known; `next` where balls are in the first frame that is not finished, of any. Given a
    draft: `drawn` where balls are, still camera, and `followed` everywhere, moving camera whose path is given.

    Without a draft only the model's knowledge of motion says where the balls will be; one that draws no ball at all in
    the bundled codec's latents has 2.7 and .1 to .4.
    """
    random, device = RandomStreams.fixed(6), text.position.device
    found: dict[str, list[Tensor]] = {"balls": [], "rest": [], "next": [], "drawn": [], "followed": []}
    for name in sorted(data.shards):
        clips = data.batch([(name, i) for i in range(0, len(data.shards[name]["video"]), every)])
        camera = {"camera": camera_rays(clips, model.config.camera_rays)} if model.config.camera_rays else {}
        ids = word_ids(text, [texts[0] for texts in clips.captions])
        clips, camera, ids = moved((clips, camera, ids), device)
        x0, index, words = clips.video, torch.arange(clips.video.shape[2], device=device), text(ids)
        noise = torch.randn(x0.shape, generator=random.on(device), device=device)
        ball = cells_with_balls(clips.tracks, clips.size)  # [B, T, h, w]

        error_after = partial(_error_after, model, x0, noise, words)
        error = error_after(torch.tensor([[2]], device=device))
        found["balls"].append(error[:, 2:][ball[:, 2:]])
        found["rest"].append(error[:, 2:][~ball[:, 2:]])
        done = torch.from_numpy(random.rng.integers(2, x0.shape[2], (len(x0), 1))).to(device)
        found["next"].append(error_after(done)[ball & (index == done)[:, :, None, None]])
        if model.config.draft:
            error = error_after(clips.draft_known[:, None], draft=clips.draft, **camera)
            moves = (clips.c2w != clips.c2w[:, :1]).flatten(1).any(1)[:, None, None, None]
            later = (index >= 2)[:, None, None]
            found["drawn"].append(error[ball & ~moves & later])
            found["followed"].append(error[(moves & later).expand_as(error)])
    return {kind: float(torch.cat(errors).mean()) for kind, errors in found.items() if errors}


class _TeacherTask(Task):
    """The transformer and the word encoder."""

    name = "teacher"

    def __init__(self, recipe: TeacherRecipe, config: VDiTConfig, team: Team):
        self.recipe, self.config, self.team = recipe, config, team
        source, self.held_out = ClipSource(recipe, config), EncodedClips.load(recipe.held_out)
        self.device = team.computes_on(recipe.device)
        self.data, self.batches = source.data, Batches(source, self.device, team)
        model, text = fresh(config, recipe.seed)
        self.model, self.text = model.to(self.device), text.to(self.device)
        self.hours = 0.0  # of runs that this one goes on from
        if team.shards:
            shard(self.model, team)
            shard(self.text, team)
        params = named_parameters(self.model, self.text)
        optimizers = block_optimizers(params, recipe.peak, recipe.muon, team)
        self.trained = TrainedWeights.averaging(params, optimizers, SETTINGS.average)

    def begin(self) -> tuple[int, int]:
        """With a bundle's weights, or all that another run had learned."""
        source = self.recipe.start_from
        if source is None:
            return 0, 0
        if source.suffix == ".safetensors":
            model, text = fresh(self.config, self.recipe.seed)
            facts = warm_start(source, model, text)
            self.trained.begin_with(named_parameters(model, text))
            self.hours = facts.get("teacher_hours", 0.0)
            return 0, facts.get("teacher_clips_seen", 0)
        if (state := load_state(source)) is None:
            raise FileNotFoundError(f"no state.pt in {source}; nothing to start from")
        self._load(state, source)
        self.hours += state["seconds"] / 3600
        return state["step"], state["samples"]

    def learning_rate(self, now: Progress) -> float:
        recipe, warmup = self.recipe, 60.0 if now.step < 1000 else 0.1
        cooldown = recipe.cooldown_hours * 3600
        return constant_with_cooldown(now.seconds, recipe.hours * 3600, recipe.peak, cooldown, warmup)

    def loss(self, now: Progress) -> Loss:
        """Of clips that each part of the batch draws for itself."""
        told = self.batches.of(now.turn)
        noise = RandomStreams.of(self.recipe.seed, now.step, now.part, 1)  # of other draws than the clips
        return Loss(flow_loss(self.model, self.text, told, noise.on(self.device)), len(told.words))

    def validate(self) -> dict[str, float]:
        plain, controlled = (held_out_loss(self.model, self.text, self.held_out, controlled=c) for c in (False, True))
        errors = prediction_errors(self.model, self.text, self.held_out)
        losses = {"held_out_loss": round(plain, 4), "held_out_controlled": round(controlled, 4)}
        return losses | {f"held_out_{kind}": round(error, 3) for kind, error in errors.items()}

    def start_row(self) -> dict[str, object]:
        return {"config": asdict(self.config), "clips": len(self.data)}

    def log_row(self, now: Progress) -> dict[str, object]:
        return {"rate": round(self.learning_rate(now), 6), "clips": len(self.data)}

    def state(self, now: Progress) -> dict[str, object]:
        return {**self.trained.state(), "hours": self.hours, "config": asdict(self.config)}

    def load_state(self, state: dict) -> None:
        self._load(state, self.recipe.out)

    def _load(self, state: dict, folder: Path) -> None:
        config = VDiTConfig(**state["config"])
        if config != self.config:
            kind = "a student" if config.flow_map else "a transformer of other sizes"
            raise ValueError(f"{folder} holds {kind}; name the run of a teacher like this one")
        self.trained.load(state["weights"], state["average"], state["optimizers"])
        self.hours = state["hours"]


def train(recipe: TeacherRecipe, team: Team = ALONE, *, config: VDiTConfig = CONFIG, validate_every: int = 500) -> None:
    """Carry out a recipe, resuming where its folder holds a state; a fresh run begins at random, or with `start_from`:
    another run (its weights and optimizers) or a bundle (its weights, see warm_start).

    New latent shards are picked up as they appear. A team's members draw clips of their own.
    """
    schedule = Schedule(seconds=recipe.hours * 3600, validate_every=validate_every)
    task = _TeacherTask(recipe, config, team)
    Trainer(task, recipe, Run(recipe.out, silent=not team.leads), schedule, team).fit()
