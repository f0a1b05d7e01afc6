"""A run of a causal model: block after block, with a cache of keys and values that does not grow.

CausalField is the model with its cache and knows nothing of a clip's length; live sessions can drive it through
sampling.rollout with blocks that never end and conditions that are known only when a block is begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from ..model.kv_cache import CausalWindow, KVCache
from ..model.wan import Past
from ..sampling.flow_map import towards_next_sigma
from ..sampling.rollout import blocks_of, rollout
from ..sampling.sample import SampleOptions, noise_from_seed
from ..sampling.schedule import model_sigma, nearest_step, schedule
from .inputs import ModelInputs, for_batch, until_released
from .values import Block, Progress, Run, RunSettings

if TYPE_CHECKING:
    from torch import Tensor

    from ..drafting import Draft
    from ..model.world_model import WorldModel
    from ..sampling.draft_guidance import DraftGuidance
    from ..sampling.sample import Step

# Inputs of a transformer that have a latent frame's number on their third axis, as x has.
IN_TIME = ("camera", "vace", "draft", "beside")
Conditions = Callable[[range, float], Mapping[str, object]]  # (block, progress of the steps 0..1) -> keyword arguments


def check_guidance(title: str, *scales: float) -> None:
    """Raise ValueError unless all scales are 1: students have their teacher's guidance built in."""
    for scale in scales:
        if scale != 1.0:
            raise ValueError(
                f"guidance is {scale:g}, but {title} is sampled block by block, and has its guidance built in: set "
                "guidance to 1, or to 0 for the model's own"
            )


def check_causal(run: Run, use: RunSettings) -> None:
    """Raise ValueError for what a causal model cannot be given: guidance, an end picture, pictures held in part."""
    shot, title = run.conditioning, run.model.title
    check_guidance(title, use.guidance, use.guidance_low)
    if shot.end is not None and shot.strength > 0:
        raise ValueError(
            f"end_image lies in the future of every block, which {title} cannot see: remove it, or set causal to off "
            "on VDiT Load Model"
        )
    if shot.start is not None and 0 < shot.strength < 1:
        raise ValueError(
            f"strength is {shot.strength:g}, but in a video that is made block by block the start picture is finished "
            "when the first block begins: set it to 1"
        )


class CausalField:
    """(x, sigma, block=...) -> velocity of one block, see sampling.types.BlockDenoiser; the state of one rollout.

    positive: text [1,L,D]. conditions: the transformer's other inputs for a block.
    """

    def __init__(
        self, model: WorldModel, window: CausalWindow, positive: Tensor, sigmas: Sequence[float], conditions: Conditions
    ):
        self.positive, self.sigmas, self.conditions = positive, sigmas, conditions
        self.cache = KVCache(window)
        self._carries = model.config.carry
        self._carried: tuple[int, Tensor] | None = None  # the latest clean frame, and the number of the one behind it
        self._text: dict[object, object] = {}
        flow_map = model.config.flow_map
        self.transformer = towards_next_sigma(model.transformer, sigmas) if flow_map else model.transformer

    def __call__(self, x: Tensor, sigma: Tensor, /, *, block: range) -> Tensor:
        """The velocity [B,C,n,h,w] of x at sigma [B,n], one level for the whole block; at 0 it is clean."""
        import torch

        steps, level = len(self.sigmas) - 1, float(sigma.max())
        step = min(nearest_step(self.sigmas, level), steps - 1)
        named = {name: for_batch(value, x) for name, value in self.conditions(block, step / steps).items()}
        if self._carries and self._carried is not None and self._carried[0] == block.start:
            named["carried"] = self._carried[1]
        if self._carries and level == 0:
            self._carried = block.stop, x[:, :, -1:].clone()
        beside = named.pop("beside", None)
        if isinstance(beside, torch.Tensor):
            x = torch.cat((x, beside), 1)
        return self.transformer(
            x,
            sigma if self._carries else sigma[:, 0],
            self.positive.expand(len(x), -1, -1),
            past=Past(self.cache, block.start),
            text_cache=self._text,
            **named,
        )


def roll_out(run: Run, use: RunSettings, inputs: ModelInputs, expected: Draft | None) -> Iterator[Block]:
    """The blocks of a run, each before the next one is begun. inputs: the run's, laid out for the transformer.

    on_step hears of every step, counted as work_of does, with the block's predicted frames alone. Raises ValueError.
    """
    import torch

    model, seed, device, hooks = run.model, run.seed, run.context.device, run.context.hooks
    assert model.causal is not None and seed is not None
    space, guidance, held = model.space, inputs.guidance, inputs.held
    if inputs.before:
        raise ValueError(f"a reference picture stands before the video, where {model.title} has no place for it")
    sigmas = schedule(use.steps, use.shift, use.scheduler, 1.0 if guidance is None else guidance.first)
    shape = run.clip.latent_shape(space)
    blocks = blocks_of(shape[2], model.causal.block, 0 if held is None else int(held.held.sum()))
    noise = inputs.noise(noise_from_seed(seed, shape, device=device))
    generator = torch.Generator("cpu").manual_seed(seed)
    torch.randn(shape, generator=generator)  # which the noise is

    def fresh(block: range) -> Tensor:
        return torch.randn((*shape[:2], len(block), *shape[3:]), generator=generator).to(device)

    def known(block: range) -> Tensor | None:
        if held is None or not bool(held.held[block.start]):
            return None
        return held.latent[:, :, block.start : block.stop].float()

    def options(block: range) -> SampleOptions:
        return SampleOptions(
            model_sigma=lambda sigma: model_sigma(sigma, use.scheduler),
            fresh_noise=lambda: fresh(block),
            draft=None if guidance is None else _part(guidance, block),
        )

    def conditions(block: range, progress: float) -> Mapping[str, object]:
        return {name: _cut(value, block) if name in IN_TIME else value for name, value in at(progress).items()}

    def at(progress: float) -> Mapping[str, object]:
        return inputs.at(progress, device)

    def report(block: range, step: Step) -> None:
        done = block.start * step.total + len(block) * step.done
        hooks.on_step(Progress(done, work_of(model, step.total, shape[2]), space.denormalize(step.x0)))

    window = model.causal.window if shape[2] > model.causal.window.frames else CausalWindow(shape[2])
    field = CausalField(model, window, run.conditioning.positive.to(device), sigmas, conditions)
    field.transformer = until_released(field.transformer, inputs.draft)
    solver = "euler" if model.config.flow_map else use.solver
    rolled = rollout(
        field, blocks, lambda block: noise[:, :, block.start : block.stop], sigmas, solver,
        known=known, options=options, on_step=report, check=hooks.check,
    )  # fmt: skip
    for block, x in rolled:
        yield Block(block, shape[2], space.denormalize(x), expected)


def work_of(model: WorldModel, steps: int, latent_frames: int) -> int:
    """The total of Progress: the steps, and of a causal model those of every latent frame."""
    return steps if model.causal is None else steps * latent_frames


def _cut(value: object, block: range) -> object:
    import torch

    if isinstance(value, tuple):
        return tuple(_cut(one, block) for one in cast("tuple[object, ...]", value))
    return value[:, :, block.start : block.stop] if isinstance(value, torch.Tensor) else value


def _part(guidance: DraftGuidance, block: range) -> DraftGuidance:
    at = slice(block.start, block.stop)
    hold = None if guidance.hold is None else guidance.hold[:, :, at]
    return replace(guidance, latent=guidance.latent[:, :, at], hold=hold)
