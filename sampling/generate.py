"""From a world model and a conditioning to a latent video: the whole run in one call, for nodes and scripts alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from .controls import Controls, controlled
from .flowmap import check_flow_map, toward
from .guidance import guided
from .known import KnownFrames
from .lattice import Lattice
from .sample import Step, noise_from_seed, sample
from .schedule import schedule

if TYPE_CHECKING:
    from torch import Tensor


def lattice_of(model: Any) -> Lattice:
    """The lengths and sizes that this model's codec and patches can make."""
    return Lattice(model.codec.temporal, model.codec.spatial * model.config.patch[-1])


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
    if (width, height) != (known["width"], known["height"]):
        remarks.append(f"{width}x{height} is not the {known['width']}x{known['height']} it was trained on")
    return remarks


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
    shift: float = 1.0,
    solver: str = "unipc",
    device: Any = "cpu",
    on_step: Callable[[Step], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Tensor:
    """Sample a latent video [1,C,T',h,w] in the codec's raw scale, on the CPU.

    model: a WorldModel whose transformer and codec are on `device`; conditioning: control.Conditioning.
    steps and guidance are by default the model's own. A student (config.flow_map) needs no solver and ignores it.
    Step.x0 given to on_step is in raw scale too. The same arguments give the same bits on the same machine.
    Raises LatticeError, ValueError for unusable pictures, controls or settings: all before the first step.
    """
    import torch

    lattice_of(model).check_frames(frames)
    lattice_of(model).check_size(width, height)
    steps = model.defaults["steps"] if steps is None else steps
    guidance = model.defaults["guidance"] if guidance is None else guidance
    if model.config.flow_map:
        check_flow_map(steps, guidance, model.facts.get("guidance_baked"))
    sigmas = schedule(steps, shift)
    transformer = model.transformer
    if model.config.flow_map:
        transformer, solver = toward(transformer, sigmas), "euler"
    codec = model.codec
    count = (frames - 1) // codec.temporal + 1
    grid = (height // codec.spatial, width // codec.spatial)

    with torch.no_grad():
        # An end picture is one more latent frame behind the last, seen while sampling and dropped after it.
        raw, held = conditioning.known_latents(codec, count, width, height, device)
        extra = raw.shape[2] - count
        controls = Controls(model, conditioning, frames, width, height, extra)
        noise = noise_from_seed(seed, (1, codec.channels, count, *grid), extra_frames=extra, device=device)
        noise = torch.cat((controls.noise(noise[:, :, :count]), noise[:, :, count:]), 2)
        known = None
        if bool(held.any()) and conditioning.strength > 0:
            known = KnownFrames(codec.normalize(raw), held, conditioning.strength)
        transformer = controlled(transformer, controls, sigmas)
        denoise = guided(transformer, conditioning.positive.to(device), conditioning.negative.to(device), guidance)

        def report(step: Step) -> None:
            if on_step is not None:
                on_step(Step(step.done, step.total, step.sigma, codec.denormalize(step.x0[:, :, :count])))

        latent = sample(denoise, noise, sigmas, solver, known, report, check)
        return codec.denormalize(latent[:, :, :count]).cpu()
