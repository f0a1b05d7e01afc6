"""World models as the benchmark takes them: the one place where pipeline/ and benchmark/ meet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, Sequence

from ..benchmark.contestant import Contestant, Predictor, PreviewModel, PreviewVideo

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..control.conditioning import Conditioning
    from ..model.world_model import WorldModel
    from ..world.clip import Clip

CONTROLS = ("camera", "depth", "flow")

Check = Callable[[], None]


def contestant(
    model: WorldModel,
    name: str = "model",
    *,
    device: str | torch.device = "cpu",
    check: Check | None = None,
    whole: bool = False,
    ended: bool = False,
    **settings: Any,
) -> Contestant:
    """The model, and the model given each control it has modules for; settings as of settings_of.

    Clips longer than the model was trained on are made in windows, or in one piece if `whole`; `ended` gives it their
    last frame, too.
    """
    from ..pipeline.settings import settings_of

    def given(*controls: str) -> Predictor:
        return predictor(model, controls, ended=ended, whole=whole, device=device, check=check, **settings)

    def roundtrip(frames: Tensor) -> Tensor:
        import torch

        with torch.no_grad():
            return model.codec.decode(model.codec.encode(frames[None].to(device)))[0].cpu()

    controls = supported_controls(model)
    used = {**settings_of(model, **settings), "long": "whole" if whole else "extended"}
    return Contestant(
        name,
        given(),
        {control: given(control) for control in controls} | ({"all": given(*controls)} if len(controls) > 1 else {}),
        roundtrip,
        used | ({"ended": True} if ended else {}),
        str(device),
    )


def supported_controls(model: WorldModel) -> list[str]:
    """Those of CONTROLS that this checkpoint has modules for."""
    branch = bool(getattr(model.config, "vace_channels", 0))
    has = {"camera": bool(getattr(model.config, "camera_rays", 0)), "depth": branch, "flow": branch}
    return [name for name in CONTROLS if has[name]]


def predictor(
    model: WorldModel,
    controls: Sequence[str] = (),
    *,
    ended: bool = False,
    whole: bool = False,
    device: str | torch.device = "cpu",
    check: Check | None = None,
    **settings: Any,
) -> Predictor:
    """Continues clips, conditioned on their caption, first frames, the named controls and, if `ended`, the last frame."""
    from ..control import encode_conditioning
    from ..pipeline.long_video import long_video

    set_ones = {name: value for name, value in settings.items() if value is not None}

    def predict(clip: Clip, known_frames: Tensor, seed: int) -> Tensor:
        frames, height, width = clip.render.depth.shape
        end = clip.render.rgb[-1:] if ended else None
        conditioning = encode_conditioning(
            model, clip.caption, start=known_frames, end=end, **_controls(clip, controls)
        )
        return long_video(
            model,
            conditioning,
            seed=seed,
            frames=frames,
            width=width,
            height=height,
            window=frames if whole else None,
            device=device,
            check=check,
            **set_ones,
        )

    return predict


def _controls(clip: Clip, names: Sequence[str]) -> dict[str, Any]:
    from ..control.camera import CameraPath
    from ..control.depth import depth_from_metres
    from ..control.flow import FlowField

    made = {
        "camera": lambda: CameraPath(clip.scene.c2w, clip.scene.fov_deg),
        "depth": lambda: depth_from_metres(clip.render.depth),
        "flow": lambda: FlowField(clip.flow),
    }
    return {name: made[name]() for name in names}


def preview_model(
    model: WorldModel,
    name: str,
    known: int = 1,
    drafts: bool = True,
    device: str | torch.device = "cpu",
    check: Check | None = None,
) -> PreviewModel:
    """The model given a clip's caption and its first `known` frames (0: none); without `drafts` it predicts no motion."""
    import torch

    from ..control import encode_conditioning
    from ..drafting.predict import foretold
    from ..pipeline.decode import decode_frames, expected
    from ..pipeline.first_picture import begun_with
    from ..pipeline.takes import take

    codec = model.codec
    encoded: list[tuple[Clip, Conditioning]] = []  # of the clip asked for last: its takes come one after another

    def shot(clip: Clip) -> tuple[Conditioning, dict[str, int]]:
        if not encoded or encoded[0][0] is not clip:
            conditioning = encode_conditioning(model, clip.caption, start=clip.render.rgb[:known] if known else None)
            encoded[:] = [(clip, replace(conditioning, unforeseen=not drafts))]
        return encoded[0][1], dict(zip(("frames", "height", "width"), clip.render.depth.shape))

    def render(clip: Clip, seed: int, steps: int, solver: str | None) -> PreviewVideo:
        conditioning, shape = shot(clip)
        made = take(
            model,
            conditioning,
            seed=seed,
            steps=steps,
            **shape,
            shift=model.defaults["shift"],
            device=device,
            check=check,
            **({"solver": solver} if solver else {}),
        )
        latent = codec.normalize(made.latent.to(device))[0].cpu().numpy()
        first_picture = None if made.opening is None else made.opening[0].numpy()
        return PreviewVideo(latent, made.frames.numpy(), made.seconds, made.first, first_picture)

    def decode(clip: Clip, seed: int, latent: Any, first_picture: Any) -> Any:
        conditioning, shape = shot(clip)
        picture = None if first_picture is None else torch.as_tensor(first_picture)[None]
        conditioning = begun_with(conditioning, picture)
        draft = expected(model, foretold(model, conditioning, **shape, seed=seed), **shape)
        raw = codec.denormalize(torch.as_tensor(latent)[None].to(device))
        return decode_frames(codec, raw, device, draft=draft).numpy()

    return PreviewModel(name, render, decode, known, drafts, str(device))
