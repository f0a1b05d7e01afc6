"""What a run is asked for: settings that are given, and the model's own for those that are not."""

from __future__ import annotations

from typing import Any

from .lattice import Lattice


def is_wan(model: Any) -> bool:
    """Whether it is one of the Wan family, or else one of VDiT's own."""
    return getattr(model, "variant", None) is not None


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


def clip_of(model: Any, seconds: float, fps: float, width: int, height: int) -> tuple[int, float, int, int]:
    """(frames, fps, width, height) of a video; 0 for any of them is the model's own. Raises LatticeError."""
    own, lattice = model.defaults, lattice_of(model)
    fps, width, height = fps or own["fps"], width or own["width"], height or own["height"]
    frames = lattice.frames(seconds, fps) if seconds else own["frames"]
    lattice.check_frames(frames, fps)
    lattice.check_size(width, height)
    return frames, fps, width, height


def settings_of(
    model: Any, steps: int | None = None, guidance: float | None = None, shift: float | None = None,
    solver: str | None = None, scheduler: str | None = None, guidance_low: float | None = None,
    rise: float | None = None,
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
        "rise": own.get("rise", 0.0) if rise is None else rise,
    }


def said(use: dict[str, Any], frames: int, fps: float, width: int, height: int) -> str:
    """The settings of a run, for its user."""
    low = "" if use["guidance_low"] == use["guidance"] else f" ({use['guidance_low']:g} in low noise)"
    rise = f", noise rising by {use['rise']:g} a latent frame" if use["rise"] else ""
    return (
        f"{use['steps']} steps of {use['solver']}, schedule {use['scheduler']}, shift {use['shift']:g}, guidance "
        f"{use['guidance']:g}{low}{rise}; {frames} frames of {width}x{height} at {fps:g} fps"
    )
