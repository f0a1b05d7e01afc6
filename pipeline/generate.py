"""From a world model and a conditioning to a latent video: the whole run in one call, for nodes and scripts alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..machine.threads import Team, team
from ..sampling.flow_map import check_flow_map, towards_next_sigma
from ..sampling.frame_levels import levels_of_sigma, with_frame_levels
from ..sampling.guidance import guided
from ..sampling.held import held_mask
from ..sampling.sample import SampleOptions, Step, noise_after_seed, noise_from_seed, sample
from ..sampling.schedule import model_sigma, schedule
from .causal import check_causal, roll_out, work_of
from .devices import shared
from .drafts import begun, first_picture_clip, first_picture_of, predict, wants_first_picture
from .family import family_of
from .inputs import conditioned, until_released
from .settings import check_clip, resolve
from .values import Continuation, Progress, Result, Run, RunSettings, SamplerSettings

if TYPE_CHECKING:
    from torch import Tensor

    from ..drafting import Draft
    from ..model.world_model import WorldModel

# Steps in which a first picture is made: with 20 as many pictures show a ball, with 6 a tenth fewer (measured once).
FIRST_PICTURE_STEPS = 12


def generate(run: Run) -> Result:
    """Sample a latent video; the model's transformer and codec are on run.context.device.

    A student (config.flow_map) needs no solver and ignores it; a causal model makes one block after another. From words
    alone a first picture is made first, see drafts: on_step then hears of both videos, half the steps each. The same
    run gives the same bits on the same machine. Raises LatticeError, and ValueError for unusable pictures, controls or
    settings, before the first step.
    """
    import torch

    model, hooks = run.model, run.context.hooks
    check_clip(model, run.clip)
    use = resolve(model, run.settings)
    if model.config.flow_map:
        check_flow_map(use.steps, use.guidance, model.facts.get("guidance_baked"))
    if model.causal is not None:
        check_causal(run, use)
    if run.conditioning.negative is None and (use.guidance, use.guidance_low) != (1.0, 1.0):
        raise ValueError(
            f"guidance is {use.guidance:g}, which needs a negative prompt: wire CONDITIONING to `negative` on VDiT "
            "Encode Conditioning (an empty prompt will do), or set guidance to 1"
        )
    with team(family_of(model).small_products and torch.device(run.context.device).type == "cpu") as crew:
        if wants_first_picture(run):
            work = work_of(model, use.steps, run.clip.latent_shape(model.space)[2])
            first_half, second_half = _halves(hooks.on_step, work)
            run = replace(run, continuation=with_first_picture(_reporting_to(run, first_half)))
            run = _reporting_to(run, second_half)
        run = begun(run)
        draft, reason, remarks = predict(run)
        if draft is not None:
            hooks.on_draft(draft)
            draft = draft.encoded(model.require("codec", "a draft"), run.context.device)
        expected = family_of(model).expected(run.conditioning, draft, run.clip)
        run = replace(run, continuation=replace(run.continuation, draft=draft))
        latent = _sample(run, use, crew) if model.causal is None else _blocks(run, use, expected)
    start, end = run.conditioning.start, run.conditioning.end
    lagged = start is not None and end is None and run.conditioning.strength > 0
    return Result(
        latent,
        settings=use if lagged else replace(use, frame_lag=0.0),
        draft=draft,
        no_draft_reason=reason,
        expected=expected,
        first_picture=start if start is run.continuation.first_picture else None,
        draft_remarks=remarks,
    )


def with_first_picture(run: Run) -> Continuation:
    """A continuation with the picture that a shot of words alone begins with, made by the model or its teacher.

    Where no ball is to be seen in it there is none, and nothing is to be predicted. A teacher has its own guidance.
    """
    maker = run.model.teacher or run.model
    maker = maker if maker.causal is None else replace(maker, causal=None)
    settings = SamplerSettings(FIRST_PICTURE_STEPS, run.settings.guidance if maker is run.model else None)
    alone = Continuation(predict=False)
    clip = first_picture_clip(maker, run)
    made = generate(replace(run, model=maker, clip=clip, settings=settings, continuation=alone))
    picture = first_picture_of(maker, made.latent.to(run.context.device))
    return alone if picture is None else Continuation(first_picture=picture)


def _reporting_to(run: Run, on_step: Callable[[Progress], None]) -> Run:
    return replace(run, context=replace(run.context, hooks=replace(run.context.hooks, on_step=on_step)))


def _sample(run: Run, use: RunSettings, crew: Team | None) -> Tensor:
    """The latent [1,C,T',h,w] in raw scale, on the CPU; run.continuation.draft is encoded."""
    import torch

    assert run.seed is not None
    model, conditioning, seed, device, hooks = (
        run.model,
        run.conditioning,
        run.seed,
        run.context.device,
        run.context.hooks,
    )
    space, solver, levels = model.space, use.solver, None
    scale = guidance_of(model, use)
    prompts = 1 if conditioning.negative is None or scale == 1.0 else 2
    by = run.context.processes, run.context.devices
    with torch.no_grad(), shared(model.transformer, *by, prompts) as (transformer, in_pairs):
        inputs = family_of(model).inputs(run)
        draft, guidance = inputs.draft, inputs.guidance
        sigmas = schedule(use.steps, use.shift, use.scheduler, 1.0 if guidance is None else guidance.first)
        shape, before = run.clip.latent_shape(space), inputs.before
        count = shape[2]
        noise = noise_from_seed(seed, shape, before + inputs.extra, device)
        own, more = noise[:, :, :count], noise[:, :, count:]
        noise = torch.cat((more[:, :, :before], inputs.noise(own), more[:, :, before:]), 2)
        transformer = until_released(transformer, draft)
        if use.frame_lag and guidance is None:
            held = held_mask(inputs.held, noise.shape[2], device)
            levels = levels_of_sigma(held, use.frame_lag)
            transformer = with_frame_levels(transformer, held, levels)
        if model.config.flow_map:
            transformer, solver = towards_next_sigma(transformer, sigmas), "euler"
        transformer = conditioned(transformer, inputs, sigmas)
        positive, negative = conditioning.positive.to(device), conditioning.negative
        negative = None if negative is None else negative.to(device)
        denoise = guided(transformer, positive, negative, scale, family_of(model).caches_text, in_pairs)
        denoise = crew.watched(denoise) if crew else denoise

        def of_clip(x: Tensor) -> Tensor:
            return space.denormalize(x[:, :, before : before + count])

        def report(step: Step) -> None:
            hooks.on_step(Progress(step.done, step.total, of_clip(step.x0), draft))

        options = SampleOptions(
            model_sigma=lambda sigma: model_sigma(sigma, use.scheduler),
            frame_levels=levels,
            fresh_noise=noise_after_seed(seed, noise.shape),
            draft=guidance,
        )
        latent = sample(denoise, noise, sigmas, solver, inputs.held, report, hooks.check, options)
        return of_clip(latent).cpu()


def _blocks(run: Run, use: RunSettings, expected: Draft | None) -> Tensor:
    """As _sample, block by block; on_block hears of each before the next is begun."""
    import torch

    parts: list[Tensor] = []
    with torch.no_grad():
        for block in roll_out(run, use, family_of(run.model).inputs(run), expected):
            run.context.hooks.on_block(block)
            parts.append(block.latent.cpu())
    return torch.cat(parts, 2)


def guidance_of(model: WorldModel, use: RunSettings) -> float | Callable[[float], float]:
    """The guidance scale, or where two experts have different ones, a function of sigma."""
    boundary = model.boundary
    if boundary is None or use.guidance_low == use.guidance:
        return use.guidance
    return lambda sigma: use.guidance if sigma >= boundary else use.guidance_low


def _halves(
    on_step: Callable[[Progress], None], steps: int
) -> tuple[Callable[[Progress], None], Callable[[Progress], None]]:
    """Two hooks through which on_step hears of two runs as of one of `steps` steps, as many as the second run has."""

    def first(step: Progress) -> None:
        on_step(replace(step, done=step.done * steps // (2 * step.total), total=steps))

    def second(step: Progress) -> None:
        on_step(replace(step, done=(steps + step.done + 1) // 2))

    return first, second
