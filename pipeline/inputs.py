"""A conditioning on its way into a transformer: its tensors are built once and given in the steps they apply to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..control.fit import check_modules, fitted
from ..control.pictures import PictureError, cover
from ..control.span import applies
from ..sampling.draft_guidance import DraftGuidance
from ..sampling.held import HeldFrames
from ..sampling.schedule import nearest_step

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..control.conditioning import Controls
    from ..drafting import Draft
    from ..model.codec.base import Codec
    from ..sampling.types import Transformer
    from .values import ClipSpec, Run


class ModelInputs:
    """What the transformer reads beside noise and words in one run.

    held: frames to hold, or None. guidance: a draft that the sampling begins from, for models that do not read one.
    before, extra: latent frames in front of the clip (references) and behind it (an end picture), to be dropped at the
    end. one_sigma: the transformer takes one noise level for all frames.
    """

    before = 0
    extra = 0
    one_sigma = False
    held: HeldFrames | None = None
    guidance: DraftGuidance | None = None
    draft: Draft | None = None

    def __init__(self, space: Codec, controls: Controls, clip: ClipSpec):
        """Raises ControlError where the controls fit neither each other nor the clip."""
        self.space, self.clip = space, clip
        self.camera, self.depth, self.flow = fitted(controls, clip.frames, clip.width, clip.height)
        self._built: dict[object, Tensor] = {}
        self._building = threading.RLock()  # two prompts may be worked out side by side

    def noise(self, noise: Tensor) -> Tensor:
        """The clip's noise [B,C,T',h,w], moved along the flow if the flow is to act by noise."""
        if self.flow is None or not self.flow.by_noise:
            return noise
        from ..sampling.warped_noise import warped_noise

        flow = self.flow
        return warped_noise(noise, flow.flow, flow.valid, flow.strength, self.space.temporal, self.space.spatial)

    def at(self, progress: float, device: torch.device | str) -> dict[str, Any]:
        """The transformer's keyword arguments in the step that begins at `progress`: 0 the first, towards 1 the last.

        "beside" holds further channels for x.
        """
        raise NotImplementedError

    def _once(self, key: object, build: Callable[[], Tensor], device: torch.device | str) -> Tensor:
        """A tensor [1,C,T',h,w] that is built for the first step that needs it, padded for the extra frames."""
        import torch

        with self._building:
            if key not in self._built:
                self._built[key] = torch.nn.functional.pad(build(), (0, 0, 0, 0, 0, self.extra)).to(device)
            return self._built[key]

    def _camera(self, rays: int) -> Tensor:
        from ..control.signals import plucker

        assert self.camera is not None
        size = self.clip.width, self.clip.height
        return plucker(self.camera.c2w, self.camera.fov_deg, *size, rays, self.space.spatial)[None]


class BundledInputs(ModelInputs):
    """The inputs of this pack's own models. The controls say nothing of the extra frame, as in training."""

    def __init__(self, run: Run):
        controls = run.conditioning.controls
        check_modules(run.model.config, controls)
        codec = run.model.require("codec", "VDiT Sample")
        latent, held = held_latents(run, codec)
        self.extra = latent.shape[2] - run.clip.latent_shape(codec)[2]
        if bool(held.any()) and run.conditioning.strength > 0:
            self.held = HeldFrames(codec.normalize(latent), held, run.conditioning.strength)
        super().__init__(codec, controls, run.clip)
        self.codec, self.rays, self.draft = codec, run.model.config.camera_rays, run.continuation.draft

    def show(self, draft: Draft) -> None:
        """Condition the remaining steps on a draft, for samplers whose noise is known only once they run."""
        self.draft = draft
        self._built.pop("draft", None)

    def at(self, progress: float, device: torch.device | str) -> dict[str, Any]:
        """See ModelInputs."""
        named: dict[str, Any] = {}
        if self.camera is not None and applies(self.camera, progress):
            camera = self._once("camera", lambda: self._camera(self.rays), device)
            named |= {"camera": camera, "camera_scale": self.camera.strength}
        if (draft := self.draft) is not None:
            named["draft"] = self._once("draft", lambda: draft.condition(self.codec, device), device)
        depth = applies(self.depth, progress)
        flow = self.flow is not None and applies(self.flow, progress) and self.flow.by_branch
        if depth or flow:
            named["vace"] = self._once((depth, flow), lambda: self._vace(depth, flow), device)
        return named

    def _vace(self, with_depth: bool, with_flow: bool) -> Tensor:
        import torch

        from ..control.signals import pool, vace_context

        depth = depth_trust = flow = flow_trust = None
        if with_depth and self.depth is not None:
            depth = pool(self.depth.inverse[:, None])[None]
            depth_trust = torch.tensor([float(self.depth.strength)])
        if with_flow and self.flow is not None:
            # Free pixels say nothing about their cell's motion; how many there are is the cell's trust.
            valid = pool(self.flow.valid[:, None])
            flow = pool((self.flow.flow * self.flow.valid[..., None]).permute(0, 3, 1, 2)) / valid.clamp_min(1e-4)
            flow, flow_trust = flow[None], (valid * self.flow.strength)[None]
        return vace_context(depth, depth_trust, flow, flow_trust, self.codec.spatial)


def held_latents(run: Run, codec: Codec) -> tuple[Tensor, Tensor]:
    """Raw latents [1,C,T'(+1),h,w] of the pictures to hold, and held [T'(+1)] bool; the +1 carries the end picture.

    Raises PictureError when the start pictures do not fit the clip.
    """
    import torch

    clip, device = run.clip, run.context.device

    def encoded(pictures: Tensor) -> Tensor:
        return codec.encode(cover(pictures, clip.width, clip.height)[None].to(device)).float()

    start, end, step = run.conditioning.start, run.conditioning.end, codec.temporal
    shape = clip.latent_shape(codec)
    count = shape[2]
    total = count + (end is not None)
    latent = torch.zeros(*shape[:2], total, *shape[3:], device=device)
    held = torch.zeros(total, dtype=torch.bool, device=device)
    if start is not None:
        pictures, past, draft = start.shape[0], run.continuation.past, run.continuation.draft
        known = (pictures - 1) // step + 1
        if (pictures - 1) % step:
            below = (known - 1) * step + 1
            raise PictureError(
                f"start_image has {pictures} pictures; expected 1, or {step}*k + 1 of them: "
                f"the nearest are {below} and {below + step}"
            )
        more = 0 if past is None else past.shape[2]
        if known + more >= count:
            raise PictureError(
                f"start_image has {pictures + step * more} pictures but the video only {(count - 1) * step + 1} "
                "frames; nothing would be left to make"
            )
        # A draft begins with the start pictures and is encoded already.
        drafted = None if draft is None else draft.encoded(codec, device).latent
        first = encoded(start) if drafted is None else drafted[:, :, :known]
        latent[:, :, :known] = first
        if past is not None:
            latent[:, :, known : known + more] = past.to(device)
        held[: known + more] = True
    if end is not None:
        latent[:, :, count:] = encoded(end)
        held[count] = True
    return latent, held


def conditioned(transformer: Transformer, inputs: ModelInputs, sigmas: Sequence[float]) -> Transformer:
    """The transformer as (x, sigma, context, ...) -> v with the inputs of the step that x is in, for any batch size.

    A step is recognised by its sigma; held frames, whose sigma is 0, do not count.
    """
    steps = len(sigmas) - 1

    def model(x: Tensor, sigma: Tensor, context: Tensor, **conditionings: object) -> Tensor:
        import torch

        step = nearest_step(sigmas, float(sigma.max()))
        named = {name: for_batch(value, x) for name, value in inputs.at(min(step / steps, 1.0), x.device).items()}
        if "beside" in named:
            x = torch.cat((x, cast("Tensor", named.pop("beside"))), 1)
        return transformer(x, sigma[:, 0] if inputs.one_sigma else sigma, context, **conditionings, **named)

    return model


def until_released(transformer: Transformer, draft: Draft | None) -> Transformer:
    """The transformer, which reads a draft in those frames alone whose noise level is above 1 - draft.strength."""
    if draft is None or draft.strength == 1:
        return transformer
    level = 1 - draft.strength

    def model(x: Tensor, sigma: Tensor, context: Tensor, **conditionings: object) -> Tensor:
        import torch

        told = cast("Tensor", conditionings["draft"])
        follows = (sigma > level).to(told.dtype).reshape(len(sigma), 1, -1, 1, 1)
        conditionings["draft"] = torch.cat((told[:, :-1], told[:, -1:] * follows), 1)
        return transformer(x, sigma, context, **conditionings)

    return model


def for_batch(value: object, x: Tensor) -> object:
    """Tensors [1, ...], alone or in a tuple, repeated for the batch and in the dtype of x; numbers as they are."""
    import torch

    if isinstance(value, tuple):
        return tuple(for_batch(one, x) for one in cast("tuple[object, ...]", value))
    return value.to(x.dtype).expand(len(x), *value.shape[1:]) if isinstance(value, torch.Tensor) else value


def unused(controls: Controls, steps: int) -> list[str]:
    """Remarks about controls that act in none of the steps."""
    remarks: list[str] = []
    for name, control in controls._asdict().items():
        if control is None:
            continue
        if control.strength == 0:
            remarks.append(f"the strength of {name} is 0: it has no influence")
        elif (name != "flow" or control.by_branch) and not any(applies(control, i / steps) for i in range(steps)):
            remarks.append(
                f"{name} applies from {control.start:g} to {control.end:g} of the sampling, in which none of {steps} "
                "steps begins: it has no influence; use more steps or a wider range"
            )
    return remarks
