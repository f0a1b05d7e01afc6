"""From a world model and a conditioning to a latent video: the whole run in one call, for nodes and scripts alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable

from .inputs import Controls, controlled
from ..sampling.flow_map import check_flow_map, toward
from ..drafting.predict import foretold
from ..sampling.guidance import guided
from ..sampling.held import held_in
from .wan_inputs import WanControls
from .first_picture import STEPS, begun_with, opening_picture, opening_size, opens_with_a_picture
from ..sampling.frame_levels import rising, risen
from ..sampling.sample import noise_from_seed, sample
from ..sampling.schedule import schedule, seen
from .settings import is_wan, lattice_of, settings_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..sampling.sample import Step


def controls_of(model: Any, conditioning: Any, frames: int, width: int, height: int, device: Any) -> Controls:
    """What the transformer is told besides words, laid out for a clip. Raises PictureError and ControlError."""
    return (WanControls if is_wan(model) else Controls)(model, conditioning, frames, width, height, device)


def generate(
    model: Any,
    conditioning: Any,
    *,
    seed: int,
    frames: int,
    width: int,
    height: int,
    steps: int | None = None,
    guidance: float | None = None,
    shift: float | None = None,
    solver: str | None = None,
    scheduler: str | None = None,
    guidance_low: float | None = None,
    rise: float | None = None,
    device: Any = "cpu",
    on_told: Callable[[Any], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Tensor:
    """Sample a latent video [1,C,T',h,w] in the codec's raw scale, on the CPU.

    model: a WorldModel whose transformer and codec are on `device`; conditioning: control.Conditioning.
    Settings are by default the model's own (settings_of). A student (config.flow_map) needs no solver and ignores it.
    on_told(conditioning) hears what the shot is told in the end, foretold drafts and all. Of words alone a picture is made
    first, see sampling.opening: on_step then hears of both videos, half a step each.
    Step.x0 given to on_step is in raw scale too. The same arguments give the same bits on the same machine.
    Raises LatticeError, ValueError for unusable pictures, controls or settings: all before the first step.
    """
    import torch

    lattice_of(model).check_frames(frames)
    lattice_of(model).check_size(width, height)
    use = settings_of(model, steps, guidance, shift, solver, scheduler, guidance_low, rise)
    if model.config.flow_map:
        check_flow_map(use["steps"], use["guidance"], model.facts.get("guidance_baked"))
    if conditioning.negative is None and (use["guidance"], use["guidance_low"]) != (1.0, 1.0):
        raise ValueError(
            f"guidance is {use['guidance']:g}, which needs a negative prompt: wire CONDITIONING to `negative` on VDiT "
            "Encode Conditioning (an empty prompt will do), or set guidance to 1"
        )
    sigmas = schedule(use["steps"], use["shift"], use["scheduler"])
    transformer, solver, space = model.transformer, use["solver"], model.space
    boundary = getattr(transformer, "boundary", None)

    if opens_with_a_picture(model, conditioning):
        first, on_step = halves(on_step, use["steps"])
        conditioning = opened(
            model, conditioning, seed=seed, frames=frames, width=width, height=height, guidance=guidance, device=device,
            on_step=first, check=check,
        )  # fmt: skip
    conditioning = foretold(model, conditioning, frames, width, height, seed)
    if on_told is not None:
        on_told(conditioning)
    with torch.no_grad():
        controls = controls_of(model, conditioning, frames, width, height, device)
        count, before, behind = (frames - 1) // space.temporal + 1, controls.before, controls.extra
        shape = (1, space.channels, count, height // space.spatial, width // space.spatial)
        noise = noise_from_seed(seed, shape, extra_frames=before + behind, device=device)
        clip, more = noise[:, :, :count], noise[:, :, count:]
        noise = torch.cat((more[:, :, :before], controls.noise(clip), more[:, :, before:]), 2)
        level = None
        if use["rise"]:
            held = held_in(controls.known, noise.shape[2], device)
            level = rising(held, use["rise"])
            transformer = risen(transformer, held, level)
        if model.config.flow_map:
            transformer, solver = toward(transformer, sigmas), "euler"
        transformer = controlled(transformer, controls, sigmas)
        words = (None if w is None else w.to(device) for w in (conditioning.positive, conditioning.negative))
        scale = use["guidance"]
        if boundary is not None and use["guidance_low"] != scale:
            scale = lambda sigma: use["guidance" if sigma >= boundary else "guidance_low"]  # noqa: E731
        denoise = guided(transformer, *words, scale, keep=not is_wan(model))  # of Wan's many words it would be much

        def of_clip(x: Tensor) -> Tensor:
            return space.denormalize(x[:, :, before : before + count])

        def report(step: Step) -> None:
            if on_step is not None:
                on_step(replace(step, x0=of_clip(step.x0), draft=conditioning.draft))

        latent = sample(
            denoise, noise, sigmas, solver, controls.known, report, check,
            seen=lambda sigma: seen(sigma, use["scheduler"]), fresh=more_noise(seed, noise.shape), level=level,
        )  # fmt: skip
        return of_clip(latent).cpu()


def opened(
    model: Any, conditioning: Any, *, frames: int, width: int, height: int, guidance: float | None = None, **run: Any
) -> Any:  # fmt: skip
    """The conditioning with the picture that a shot of words alone opens with, of a video by the model or its teacher; others
    as they are.

    frames, width, height, seed, device, on_step, check: see generate(); guidance: the model's, its teacher has its own.
    """
    if not opens_with_a_picture(model, conditioning):
        return conditioning
    maker = model.teacher or model
    if all(control is None for control in (conditioning.camera, conditioning.depth, conditioning.flow)):
        frames = maker.defaults["frames"]  # of other lengths it knows less, too
    width, height = opening_size(maker, width, height)
    latent = generate(
        maker, replace(conditioning, unforeseen=True), frames=frames, width=width, height=height,
        steps=STEPS, guidance=guidance if maker is model else None, **run,
    )  # fmt: skip
    picture = opening_picture(maker, latent.to(run.get("device", "cpu")))
    return replace(conditioning, unforeseen=True) if picture is None else begun_with(conditioning, picture)


def halves(on_step: Callable[[Step], None] | None, steps: int) -> tuple[Callable | None, Callable | None]:
    """Two watchers of a run each, that let one hear of both as of one run of so many steps, as the second has."""
    if on_step is None:
        return None, None
    first = lambda step: on_step(replace(step, done=step.done * steps // (2 * step.total), total=steps))  # noqa: E731
    return first, lambda step: on_step(replace(step, done=(steps + step.done + 1) // 2))


def more_noise(seed: int, shape: tuple[int, ...]) -> Callable[[], Tensor]:
    """The noise that comes behind a seed's first: the same on every device."""
    drawn = []

    def fresh() -> Tensor:
        import torch

        if not drawn:
            drawn.append(torch.Generator("cpu").manual_seed(seed))
            torch.randn(tuple(shape), generator=drawn[0])
        return torch.randn(tuple(shape), generator=drawn[0])

    return fresh
