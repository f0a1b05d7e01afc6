"""Settings that a person left open are filled with the model's own, and checked against what it can make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .family import family_of
from .lattice import Lattice
from .values import ClipSpec, RunSettings, SamplerSettings

if TYPE_CHECKING:
    from ..model.config import VDiTConfig
    from ..model.kv_cache import CausalTraining
    from ..model.world_model import WorldModel


class Cells(Protocol):
    """How large the cells of a latent are."""

    @property
    def spatial(self) -> int:
        """Pixels a side."""
        ...

    @property
    def temporal(self) -> int:
        """Frames."""
        ...


class Sized(Protocol):
    """What says which clips a model makes: a loaded model, or the facts that headers give of one."""

    @property
    def config(self) -> VDiTConfig:
        """Of its transformer."""
        ...

    @property
    def space(self) -> Cells:
        """Of its latents."""
        ...

    @property
    def defaults(self) -> dict[str, Any]:
        """Of sampling."""
        ...

    @property
    def causal(self) -> CausalTraining | None:
        """How it makes a video block by block; None: it makes all frames at once."""
        ...


def lattice_of(model: Sized) -> Lattice:
    """The lengths and sizes that this model's codec and patches can make."""
    return Lattice(model.space.temporal, model.space.spatial * model.config.patch[-1])


def check_clip(model: Sized, clip: ClipSpec) -> None:
    """Raise LatticeError, with the nearest that fit, for a length or a size that the model cannot make."""
    lattice = lattice_of(model)
    lattice.check_frames(clip.frames, clip.fps)
    lattice.check_size(clip.width, clip.height)


def clip_of(model: Sized, seconds: float = 0, fps: float = 0, width: int = 0, height: int = 0) -> ClipSpec:
    """The clip of these numbers; 0 for any of them is the model's own. Raises LatticeError."""
    own = model.defaults
    fps, width, height = fps or own["fps"], width or own["width"], height or own["height"]
    frames = lattice_of(model).frames(seconds, fps) if seconds else own["frames"]
    clip = ClipSpec(frames, width, height, fps)
    check_clip(model, clip)
    return clip


def outside_training(model: WorldModel, clip: ClipSpec) -> list[str]:
    """Remarks for a user who asks for a video unlike those the model was trained on; empty when it is like them."""
    own, remarks = model.defaults, list[str]()
    if clip.fps and clip.fps != own["fps"]:
        remarks.append(
            f"the model knows motion at {own['fps']:g} frames per second; at {clip.fps:g} it plays "
            f"{clip.fps / own['fps']:.3g} times as fast"
        )
    if clip.frames > own["frames"]:
        remarks.append(f"{clip.frames} frames are more than the {own['frames']} it was trained on: expect drift")
    if not family_of(model).trained_on_size(own, clip.width, clip.height):
        remarks.append(f"{clip.width}x{clip.height} is not the {own['width']}x{own['height']} it was trained on")
    return remarks


def resolve(model: WorldModel, asked: SamplerSettings) -> RunSettings:
    """The settings of a run: those asked for, and the model's own for the rest.

    Of two experts each has its own guidance unless one is given: it then holds for both, or guidance_low for low noise.
    """
    own = model.defaults
    experts_own = asked.guidance is None and asked.guidance_low is None and "guidance_low" in own
    high = own["guidance"] if asked.guidance is None else asked.guidance
    low = own["guidance_low"] if experts_own else high if asked.guidance_low is None else asked.guidance_low
    scheduler = own.get("scheduler", family_of(model).scheduler(model.config))
    return RunSettings(
        steps=own["steps"] if asked.steps is None else asked.steps,
        guidance=high,
        guidance_low=low,
        shift=own["shift"] if asked.shift is None else asked.shift,
        solver=own["solver"] if asked.solver is None else asked.solver,
        scheduler=scheduler if asked.scheduler is None else asked.scheduler,
        frame_lag=own.get("rise", 0.0) if asked.frame_lag is None else asked.frame_lag,
    )


def described(use: RunSettings, clip: ClipSpec) -> str:
    """The settings of a run in one line, for its user."""
    low = "" if use.guidance_low == use.guidance else f" ({use.guidance_low:g} in low noise)"
    lag = f", each latent frame's noise {use.frame_lag:g} behind the one before" if use.frame_lag else ""
    return (
        f"{use.steps} steps of {use.solver}, schedule {use.scheduler}, shift {use.shift:g}, guidance "
        f"{use.guidance:g}{low}{lag}; {clip.frames} frames of {clip.width}x{clip.height} at {clip.fps:g} fps"
    )
