"""World models as the benchmark takes them: the one place where pipeline/ and benchmark/ meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..benchmark.contestant import Contestant, Frames, Predictor, PreviewModel, PreviewVideo, ShownClip
from ..drafting import PerceptionCache
from ..pipeline.values import ClipSpec, Continuation, Hooks, Run, RunContext, SamplerSettings, ignore
from .sessions import session_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..control import Conditioning
    from ..model.world_model import WorldModel
    from ..world.families.clip import Clip

CONTROLS = ("camera", "depth", "flow")
BOTH = "both"  # a draft of what will happen, and the transformer that is given it
PARTS = DRAFT_ONLY, TRANSFORMER_ONLY = "draft only", "transformer only"


def _context(model: WorldModel, device: torch.device | str, check: Callable[[], None]) -> RunContext:
    return RunContext(device, Hooks(check=check), PerceptionCache(), devices=session_of(model).devices)


def contestant(
    model: WorldModel,
    name: str = "model",
    settings: SamplerSettings | None = None,
    *,
    device: str | torch.device = "cpu",
    check: Callable[[], None] = ignore,
    whole: bool = False,
    ended: bool = False,
) -> Contestant:
    """The model, and the model given each control it has modules for.

    Clips longer than the model was trained on are made in windows, or in one piece if `whole`; `ended` gives it their
    last frame, too.
    """
    from ..pipeline import family_of, resolve

    settings, context = settings or SamplerSettings(), _context(model, device, check)

    def given(*controls: str, part: str = BOTH) -> Predictor:
        return predictor(model, controls, settings, context, ended=ended, whole=whole, part=part)

    def roundtrip(frames: Tensor) -> Tensor:
        import torch

        codec = model.require("codec", "the benchmark")
        with torch.no_grad():
            return codec.decode(codec.encode(frames[None].to(device)))[0].cpu()

    controls = supported_controls(model)
    used = {**resolve(model, settings).as_report(), "long": "whole" if whole else "extended"}
    return Contestant(
        name,
        given(),
        {control: given(control) for control in controls} | ({"all": given(*controls)} if len(controls) > 1 else {}),
        roundtrip,
        {part: given(part=part) for part in PARTS} if family_of(model).can_predict(model) else {},
        used | ({"ended": True} if ended else {}),
        str(device),
    )


def supported_controls(model: WorldModel) -> list[str]:
    """Those of CONTROLS that this checkpoint has modules for."""
    branch = bool(model.config.vace_channels)
    has = {"camera": model.config.reads_camera, "depth": branch, "flow": branch}
    return [name for name in CONTROLS if has[name]]


def predictor(
    model: WorldModel,
    controls: Sequence[str],
    settings: SamplerSettings,
    context: RunContext,
    *,
    ended: bool = False,
    whole: bool = False,
    part: str = BOTH,
) -> Predictor:
    """Continues clips from their caption, first frames, the named controls and, if `ended`, the last frame.

    part: BOTH, or what one of PARTS makes alone; the draft of a clip for which there is none stands still.
    """
    import torch

    from ..control import Shot
    from ..control.camera import CameraPath
    from ..control.depth import depth_from_metres
    from ..control.flow import FlowField
    from ..pipeline import Windows, encode_shot, long_video
    from ..pipeline.drafts import predict as predict_motion

    def predict(clip: ShownClip, known_frames: Tensor, seed: int) -> Tensor:
        frames, height, width = clip.depth.shape
        c2w, fov_deg = torch.as_tensor(clip.c2w), torch.as_tensor(clip.fov_deg)
        shot = Shot(
            prompt=clip.caption,
            start=known_frames,
            end=clip.rgb[-1:] if ended else None,
            camera=CameraPath(c2w, fov_deg) if "camera" in controls else None,
            depth=depth_from_metres(clip.depth) if "depth" in controls else None,
            flow=FlowField(clip.flow) if "flow" in controls else None,
        )
        conditioning, spec = encode_shot(model, shot), ClipSpec(frames, width, height)
        run = Run(model, conditioning, spec, seed, settings, context, Continuation(predict=part != TRANSFORMER_ONLY))
        if part == DRAFT_ONLY:
            draft = predict_motion(run).draft
            still = known_frames[-1:].expand(frames - len(known_frames), -1, -1, -1)
            return torch.cat((known_frames, still)) if draft is None else draft.frames[0:frames]
        return long_video(run, Windows(frames if whole else None))

    return predict


def preview_model(
    model: WorldModel,
    name: str,
    known: int = 1,
    drafts: bool = True,
    device: str | torch.device = "cpu",
    check: Callable[[], None] = ignore,
) -> PreviewModel:
    """The model given a clip's caption and first `known` frames (0: none); without `drafts` it predicts no motion."""
    import torch

    from ..control import Shot
    from ..pipeline import decode_frames, encode_shot, family_of, take
    from ..pipeline.drafts import begun, predict

    codec = model.require("codec", "the benchmark")
    context, base = _context(model, device, check), Continuation(predict=drafts)
    encoded: list[tuple[Clip, Conditioning]] = []  # of the clip asked for last: its takes come one after another

    def shot(clip: Clip) -> tuple[Conditioning, ClipSpec]:
        if not encoded or encoded[0][0] is not clip:
            start = clip.render.rgb[:known] if known else None
            encoded[:] = [(clip, encode_shot(model, Shot(prompt=clip.caption, start=start)))]
        frames, height, width = clip.render.depth.shape
        return encoded[0][1], ClipSpec(frames, width, height)

    def render(clip: Clip, seed: int, steps: int, solver: str | None) -> PreviewVideo:
        conditioning, spec = shot(clip)
        settings = SamplerSettings(steps, shift=model.defaults["shift"], solver=solver)
        made = take(Run(model, conditioning, spec, seed, settings, context, base))
        latent = codec.normalize(made.result.latent.to(device))[0].cpu().numpy()
        picture = made.result.first_picture
        first_picture = None if picture is None else picture[0].numpy()
        return PreviewVideo(latent, made.frames.numpy(), made.seconds, made.first, first_picture)

    def decode(clip: Clip, seed: int, latent: Frames, first_picture: Frames | None) -> Frames:
        conditioning, spec = shot(clip)
        continuation = base
        if first_picture is not None:
            continuation = replace(base, first_picture=torch.as_tensor(first_picture)[None])
        run = begun(Run(model, conditioning, spec, seed, context=context, continuation=continuation))
        expected = family_of(model).expected(run.conditioning, predict(run).draft, spec)
        raw = codec.denormalize(torch.as_tensor(latent)[None].to(device))
        return decode_frames(codec, raw, expected, context).numpy()

    return PreviewModel(name, render, decode, known, drafts, str(device))
