"""Fine-tunes a Wan model, whole or in few ranks, on encoded videos: `vdit train wan`, in one process or many.

Flow matching as Wan was trained (arXiv 2503.20314): logit-normal levels, shifted as the model's schedule is. With
drafts the path that is learned is the one that sampling takes when it begins from a draft (sampling/draft_guidance.py):
straight from the noised draft to the video. What is drawn follows from the seed, the step and the clip's place in the
batch, so the same run is the same curve in any number of processes.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from ...machine.writing import written
from ...model.files.fill import check_names
from ...model.files.load import on_meta, shapes_of
from ...model.files.weights import WeightFile, open_weights
from ...model.layers import Block
from ...model.variants import VARIANTS, Variant, detect
from ...sampling.schedule import shift_sigma
from ..data.wan_videos import WanClip, WanVideos
from ..launch import Team
from ..lowrank import lora_names, with_low_rank
from ..parallel import Sharding, full, shard
from ..random_streams import RandomStreams
from ..recipes import WanRecipe
from ..run import Run
from ..trainer import Loss, Progress, Schedule, Task, TrainedWeights, Trainer

NO_WORDS = 0.1  # share of clips without their caption, for guidance
DRAFT_FROM = (0.2, 1.0)  # of the schedule, from and to: how much of it is left where sampling begins from a draft
DECAY = 0.01  # of weights, in AdamW
_BASE = re.compile(r"\.base\.(weight|bias)$")


def flow_loss(
    model: nn.Module, clip: WanClip, context: Tensor, levels: tuple[float, float], random: RandomStreams
) -> Tensor:
    """Mean squared error of the velocity at sigma `levels[0]` of a path that begins at sigma `levels[1]`.

    It begins at pure noise, or where the clip has a draft, at that with noise of its level.
    """
    sigma, first = levels
    x0 = clip.video[None].to(context.device)
    noise = torch.randn(clip.video.shape, generator=random.generator)[None].to(context.device)
    start = noise if clip.draft is None else first * noise + (1 - first) * clip.draft[None].to(context.device)
    velocity = (start - x0) / first
    x = x0 + sigma * velocity
    found = model(x, torch.tensor([sigma], dtype=torch.float32, device=x.device), context[None])
    return (found.float() - velocity).square().mean()


class _WanTask(Task):
    """A Wan transformer, or the factors of a LoRA over one."""

    name, bundled = "wan", False

    def __init__(self, recipe: WanRecipe, team: Team):
        if recipe.model is None:
            raise ValueError("name the model's file with --model")
        self.recipe, self.team = recipe, team
        self.data = WanVideos(recipe.videos, recipe.seed)
        self.weights = open_weights(recipe.model)
        self.variant = variant_of(self.weights)
        if recipe.drafts and self.data.clip(0).draft is None:
            raise ValueError(f"the clips in {recipe.videos} have no drafts: put NAME.draft.mp4 beside each NAME.mp4")
        self.levels = levels_of(self.variant, recipe.expert)
        self.model = on_meta(self.variant)
        if recipe.rank is not None:
            with torch.device("meta"):
                with_low_rank(self.model, recipe.rank)
        else:
            self.model.requires_grad_(True)
        shard(self.model, team, Sharding(recipe.bfloat16, recipe.recompute, recipe.compile), self._fill)
        params = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(params.values(), lr=recipe.peak, betas=(0.9, 0.99), weight_decay=DECAY)
        self.trained = TrainedWeights(params, [optimizer], [list(params.values())])

    def _fill(self, prefix: str, module: nn.Module) -> None:
        """Give the parameters of a module that are on meta the file's values, or begin those of a LoRA.

        What is trained is in float32; frozen matrices of blocks are in bfloat16 where they are multiplied so.
        """
        for name, owner in module.named_modules():
            for leaf, p in list(owner.named_parameters(recurse=False)):
                if not p.is_meta:
                    continue
                path = ".".join(filter(None, (prefix, name, leaf)))
                matrix = isinstance(owner, nn.Linear) and isinstance(module, Block)
                narrow = self.recipe.bfloat16 and matrix and not p.requires_grad
                value = self._value(path, p, torch.bfloat16 if narrow else torch.float32)
                owner.register_parameter(leaf, nn.Parameter(value, requires_grad=p.requires_grad))

    def _value(self, path: str, p: Tensor, dtype: torch.dtype) -> Tensor:
        stored = _BASE.sub(r".\1", path)
        if stored in self.weights.shapes:
            return self.weights.tensor(stored, dtype).clone()
        if path.endswith(".up.weight"):
            return torch.zeros(p.shape, dtype=dtype)
        generator = torch.Generator().manual_seed(self.recipe.seed + zlib.crc32(path.encode()))
        return torch.randn(p.shape, generator=generator, dtype=dtype) / p.shape[1] ** 0.5

    def learning_rate(self, now: Progress) -> float:
        return self.recipe.peak * min(1.0, (now.step + 1) / max(1, self.recipe.warmup))

    def loss(self, now: Progress) -> Loss:
        """Of one clip: the part's."""
        random = RandomStreams.of(self.recipe.seed, now.step, now.part)
        clip = self.data.clip(now.step * now.parts + now.part)
        context = self.data.no_words if random.rng.random() < NO_WORDS else clip.context
        clip = clip if self.recipe.drafts else WanClip(clip.video, clip.context)
        levels = self.draw_levels(random, drafted=clip.draft is not None)
        return Loss(flow_loss(self.model, clip, context.to(self.team.device), levels, random), 1)

    def draw_levels(self, random: RandomStreams, *, drafted: bool) -> tuple[float, float]:
        """Sigma, and the sigma at which its path begins."""
        shift, (low, high) = self.variant.defaults["shift"], self.levels
        if drafted:
            first = float(random.rng.uniform(*DRAFT_FROM))
            share = float(random.rng.uniform(0.01, first))
            first, sigma = shift_sigma(first, shift), shift_sigma(share, shift)
        else:
            first, sigma = 1.0, shift_sigma(float(1 / (1 + torch.e ** -random.rng.normal())), shift)
        return min(low + (high - low) * sigma, first), first

    def validate(self) -> dict[str, float]:
        """Nothing: a fine-tuned model is judged by what it makes."""
        return {}

    def start_row(self) -> dict[str, object]:
        return {"variant": self.variant.name, "clips": len(self.data), "processes": self.team.size}

    def log_row(self, now: Progress) -> dict[str, object]:
        return {"rate": round(self.learning_rate(now), 8), "held_mb": round(self.trained.held_bytes() / 1e6, 3)}

    def state(self, now: Progress) -> dict[str, object]:
        return {**self.trained.state(), "config": asdict(self.variant.config), "rank": self.recipe.rank}

    def load_state(self, state: dict) -> None:
        if state["rank"] != self.recipe.rank:
            raise ValueError(
                f"{self.recipe.out} holds a run with --rank {state['rank']}; name another folder with --out"
            )
        self.trained.load(state["weights"], state["average"], state["optimizers"])

    def write(self) -> Path:
        """The trained weights as a file that ComfyUI and VDiT Load Model read; all members must call it together."""
        from safetensors.torch import save_file

        lora = self.recipe.rank is not None
        dtype = torch.bfloat16 if self.recipe.bfloat16 else torch.float32
        tensors = {}
        for name, p in self.trained.weights.items():
            value = full(p.detach())
            if self.team.leads:
                tensors[lora_names(name) if lora else name] = value.to("cpu", dtype).contiguous()
        path = self.recipe.out / ("lora.safetensors" if lora else "wan.safetensors")
        if self.team.leads:
            with written(path) as part:
                save_file(tensors, part, {"format": "pt"})
        self.team.wait()
        return path


def variant_of(weights: WeightFile) -> Variant:
    """The variant of a file, whose tensors are all there. Raises ValueError for one that needs more than text."""
    weights.check_readable()
    variant = detect(weights.shapes)
    check_names(weights.path, weights.shapes, shapes_of(on_meta(variant)), variant.title)
    if variant.config.in_channels != variant.config.out_channels or variant.family != "wan":
        raise ValueError(
            f"{weights.path} is {variant.title}, which reads more than text and noise; models that are fine-tuned here "
            "read these alone: T2V and TI2V"
        )
    return variant


def levels_of(variant: Variant, expert: str | None) -> tuple[float, float]:
    """Sigmas from and to that one of two experts is called at; 0 to 1 where there is one. Raises ValueError."""
    if not expert:
        return 0.0, 1.0
    pairs = [v for v in VARIANTS.values() if v.experts and v.config.in_channels == variant.config.in_channels]
    if not pairs:
        raise ValueError(f"{variant.title} has no two experts; leave --expert out")
    boundary = float(pairs[0].defaults["boundary"])
    return (boundary, 1.0) if expert == "high" else (0.0, boundary)


def train(recipe: WanRecipe, team: Team) -> Path:
    """Carry out a recipe, resuming where its folder holds a state, and write the file of what was trained."""
    task = _WanTask(recipe, team)
    schedule = Schedule(steps=recipe.steps, log_every=10, validate_every=recipe.steps, save_every=recipe.save_every)
    Trainer(task, recipe, Run(recipe.out, silent=not team.leads), schedule, team).fit()
    return task.write()
