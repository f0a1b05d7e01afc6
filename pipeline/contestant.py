"""A world model as a plain callable: first frames and words of a clip in, what happens next out. For benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Sequence

from .long_video import long_video
from .settings import settings_of

if TYPE_CHECKING:
    from torch import Tensor

CONTROLS = ("camera", "depth", "flow")


def predictor(
    model: Any,
    *,
    controls: Sequence[str] = (),
    ended: bool = False,
    whole: bool = False,
    device: Any = "cpu",
    check: Callable[[], None] | None = None,
    **settings: Any,
) -> Callable[[Any, Tensor, int], Tensor]:
    """predict(clip, known frames [k,H,W,3], seed) -> frames [T,H,W,3] of the clip's length and size.

    clip: a simulated one (caption, scene.c2w, scene.fov_deg, render.depth, flow, visible); of these only the caption
    and those named in `controls` are told, and if `ended` its last frame. Longer clips than the model was trained on are
    made in windows, or in one piece if `whole`. settings: as of settings_of; by default the model's own.
    """
    unknown = set(controls) - set(CONTROLS)
    if unknown:
        raise ValueError(f"controls {sorted(unknown)} are unknown; choose from {', '.join(CONTROLS)}")
    given = {name: value for name, value in settings.items() if value is not None}

    def predict(clip: Any, known: Tensor, seed: int) -> Tensor:
        from ..control import encode_conditioning

        frames, height, width = clip.render.depth.shape
        end = clip.render.rgb[-1:] if ended else None
        told = encode_conditioning(model, clip.caption, start=known, end=end, **_told(clip, controls))
        return long_video(
            model, told, seed=seed, frames=frames, width=width, height=height, window=frames if whole else None,
            device=device, check=check, **given,
        )  # fmt: skip

    return predict


def can_obey(model: Any) -> list[str]:
    """The controls that this checkpoint has modules for."""
    branch = bool(getattr(model.config, "vace_channels", 0))
    has = {"camera": bool(getattr(model.config, "camera_rays", 0)), "depth": branch, "flow": branch}
    return [name for name in CONTROLS if has[name]]


def _told(clip: Any, controls: Sequence[str]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    if "camera" in controls:
        from ..control.camera import CameraPath

        named["camera"] = CameraPath(clip.scene.c2w, clip.scene.fov_deg)
    if "depth" in controls:
        from ..control.depth import depth_from_metres

        named["depth"] = depth_from_metres(clip.render.depth)
    if "flow" in controls:
        from ..control.flow import FlowField

        named["flow"] = FlowField(clip.flow)
    return named


def contestant(
    model: Any,
    *,
    device: Any = "cpu",
    check: Callable[[], None] | None = None,
    whole: bool = False,
    ended: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """What a benchmark needs of a model: predict, obeying ({name: predict told that control}), roundtrip, settings."""
    import torch

    more = {"ended": ended, "whole": whole, "device": device, "check": check, **settings}
    takes = can_obey(model)
    told = {name: (name,) for name in takes} | ({"all": tuple(takes)} if len(takes) > 1 else {})

    def roundtrip(frames: Tensor) -> Tensor:
        with torch.no_grad():
            return model.codec.decode(model.codec.encode(frames[None].to(device)))[0].cpu()

    used = settings_of(model, **settings)
    return {
        "predict": predictor(model, **more),
        "obeying": {name: predictor(model, controls=controls, **more) for name, controls in told.items()},
        "roundtrip": roundtrip,
        "settings": {**used, "long": "whole" if whole else "extended"} | ({"ended": True} if ended else {}),
        "device": str(device),
    }  # fmt: skip
