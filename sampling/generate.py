"""From a world model and a conditioning to a latent video: the whole run in one call, for nodes and scripts alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from .controls import Controls, controlled
from .flowmap import check_flow_map, toward
from .guidance import guided
from .lattice import Lattice
from .layouts import WanControls
from .sample import Step, noise_from_seed, sample
from .schedule import schedule, seen

if TYPE_CHECKING:
    from torch import Tensor


def lattice_of(model: Any) -> Lattice:
    """The lengths and sizes that this model's codec and patches can make."""
    return Lattice(model.space.temporal, model.space.spatial * model.config.patch[-1])


def outside_training(model: Any, frames: int, fps: float, width: int, height: int) -> list[str]:
    """What to tell a user who asks for a video unlike those the model was trained on; empty when it is like them."""
    known, remarks = model.defaults, []
    if fps != known["fps"]:
        remarks.append(
            f"the model knows motion at {known['fps']:g} frames per second; at {fps:g} it plays "
            f"{fps / known['fps']:.3g} times as fast"
        )
    if frames > known["frames"]:
        remarks.append(f"{frames} frames are more than the {known['frames']} it was trained on: expect drift")
    if is_wan(model):  # trained at several sizes
        apart = width * height / (known["width"] * known["height"])
        strange = not 0.3 <= apart <= 3
    else:
        strange = (width, height) != (known["width"], known["height"])
    if strange:
        remarks.append(f"{width}x{height} is not the {known['width']}x{known['height']} it was trained on")
    return remarks


def is_wan(model: Any) -> bool:
    """Whether it is one of the Wan family, or else one of VDiT's own."""
    return getattr(model, "variant", None) is not None


def controls_of(model: Any, conditioning: Any, frames: int, width: int, height: int, device: Any) -> Controls:
    """What the transformer is told besides words, laid out for a clip. Raises PictureError and ControlError."""
    return (WanControls if is_wan(model) else Controls)(model, conditioning, frames, width, height, device)


def settings_of(
    model: Any, steps: int | None = None, guidance: float | None = None, shift: float | None = None,
    solver: str | None = None, scheduler: str | None = None, guidance_low: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The settings that a run will have: the given ones, and the model's own where there is none.

    Of two experts each has its own guidance unless one is given: it then holds for both, or guidance_low for low noise.
    """
    own = model.defaults
    two = guidance is None and guidance_low is None and "guidance_low" in own
    high = own["guidance"] if guidance is None else guidance
    low = own["guidance_low"] if two else high if guidance_low is None else guidance_low
    # Wan's own solver comes with Wan's own rule; what was distilled for few steps learned the plain one.
    rule = "wan" if is_wan(model) and not model.config.flow_map else "simple"
    return {
        "steps": own["steps"] if steps is None else steps,
        "guidance": high,
        "guidance_low": low,
        "shift": own["shift"] if shift is None else shift,
        "solver": own["solver"] if solver is None else solver,
        "scheduler": own.get("scheduler", rule) if scheduler is None else scheduler,
    }


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
    device: Any = "cpu",
    on_step: Callable[[Step], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Tensor:
    """Sample a latent video [1,C,T',h,w] in the codec's raw scale, on the CPU.

    model: a WorldModel whose transformer and codec are on `device`; conditioning: control.Conditioning.
    Settings are by default the model's own (settings_of). A student (config.flow_map) needs no solver and ignores it.
    Step.x0 given to on_step is in raw scale too. The same arguments give the same bits on the same machine.
    Raises LatticeError, ValueError for unusable pictures, controls or settings: all before the first step.
    """
    import torch

    lattice_of(model).check_frames(frames)
    lattice_of(model).check_size(width, height)
    use = settings_of(model, steps, guidance, shift, solver, scheduler, guidance_low)
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
    if model.config.flow_map:
        transformer, solver = toward(transformer, sigmas), "euler"

    with torch.no_grad():
        controls = controls_of(model, conditioning, frames, width, height, device)
        count, before, behind = (frames - 1) // space.temporal + 1, controls.before, controls.extra
        shape = (1, space.channels, count, height // space.spatial, width // space.spatial)
        noise = noise_from_seed(seed, shape, extra_frames=before + behind, device=device)
        clip, more = noise[:, :, :count], noise[:, :, count:]
        noise = torch.cat((more[:, :, :before], controls.noise(clip), more[:, :, before:]), 2)
        transformer = controlled(transformer, controls, sigmas)
        words = (None if w is None else w.to(device) for w in (conditioning.positive, conditioning.negative))
        scale = use["guidance"]
        if boundary is not None and use["guidance_low"] != scale:
            scale = lambda sigma: use["guidance" if sigma >= boundary else "guidance_low"]  # noqa: E731
        denoise = guided(transformer, *words, scale)

        def of_clip(x: Tensor) -> Tensor:
            return space.denormalize(x[:, :, before : before + count])

        def report(step: Step) -> None:
            if on_step is not None:
                on_step(Step(step.done, step.total, step.sigma, of_clip(step.x0)))

        latent = sample(
            denoise, noise, sigmas, solver, controls.known, report, check,
            seen=lambda sigma: seen(sigma, use["scheduler"]), fresh=more_noise(seed, noise.shape),
        )  # fmt: skip
        return of_clip(latent).cpu()


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
