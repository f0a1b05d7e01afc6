"""Conditionings on their way into a transformer: signals built once, given in the steps they apply to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Sequence

from ..control.fit import check_model, fitted
from ..control.span import applies
from ..sampling.held import KnownFrames
from ..sampling.schedule import step_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..drafting.draft import Draft


class Controls:
    """The fitted controls of one run. Raises ControlError when they fit neither the model nor the clip.

    known: frames to hold, or None. before, extra: latent frames in front of the clip and behind it, to be dropped at
    the end; an end picture is one behind, of which the controls say nothing, as in training.
    """

    before = 0
    one_sigma = False  # the transformer is told one noise level for all frames

    def __init__(self, model: Any, conditioning: Any, frames: int, width: int, height: int, device: Any):
        given = conditioning.camera, conditioning.depth, conditioning.flow
        check_model(model.config, *given)
        codec = self.codec = model.codec
        count = (frames - 1) // codec.temporal + 1
        raw, held = conditioning.known_latents(codec, count, width, height, device)
        self.known, self.extra = None, raw.shape[2] - count
        if bool(held.any()) and conditioning.strength > 0:
            self.known = KnownFrames(codec.normalize(raw), held, conditioning.strength)
        self.camera, self.depth, self.flow = fitted(*given, frames, width, height)
        self.draft = conditioning.draft
        self.size, self.rays = (width, height), getattr(model.config, "camera_rays", 0)
        self._built: dict = {}

    def __bool__(self) -> bool:
        return any(control is not None for control in (self.camera, self.depth, self.flow, self.draft))

    def show(self, draft: Draft) -> None:
        """A draft, once there is one."""
        self.draft = draft
        self._built.pop("draft", None)

    def noise(self, noise: Tensor) -> Tensor:
        """The clip's noise [B,C,T',h,w], moved by the flow if that is to steer by noise."""
        if self.flow is None or not self.flow.by_noise:
            return noise
        from ..sampling.warped_noise import warped_noise

        flow = self.flow
        return warped_noise(noise, flow.flow, flow.valid, flow.strength, self.codec.temporal, self.codec.spatial)

    def at(self, place: float, device: Any) -> dict[str, Any]:
        """The transformer's keyword arguments in the step that begins at `place` (0 the first, towards 1 the last)."""
        named = {}
        if applies(self.camera, place):
            named |= {"camera": self._once("camera", self._camera, device), "camera_scale": self.camera.strength}
        depth = applies(self.depth, place)
        flow = applies(self.flow, place) and self.flow.by_branch
        if self.draft is not None:
            named["draft"] = self._once("draft", lambda: self.draft.told(self.codec, device), device)
        if depth or flow:
            named["vace"] = self._once((depth, flow), lambda: self._vace(depth, flow), device)
        return named

    def _once(self, key: Any, build: Callable[[], Tensor], device: Any) -> Tensor:
        import torch

        if key not in self._built:
            self._built[key] = torch.nn.functional.pad(build(), (0, 0, 0, 0, 0, self.extra)).to(device)
        return self._built[key]

    def _camera(self) -> Tensor:
        from ..control.signals import plucker

        return plucker(self.camera.c2w, self.camera.fov_deg, *self.size, self.rays, self.codec.spatial)[None]

    def _vace(self, with_depth: bool, with_flow: bool) -> Tensor:
        import torch

        from ..control.signals import pool, vace_context

        depth = depth_trust = flow = flow_trust = None
        if with_depth:
            depth = pool(self.depth.inverse[:, None])[None]
            depth_trust = torch.tensor([float(self.depth.strength)])
        if with_flow:
            # Pixels that are free say nothing about their cell's motion; how many they are, the trust says.
            told = pool(self.flow.valid[:, None])
            flow = pool((self.flow.flow * self.flow.valid[..., None]).permute(0, 3, 1, 2)) / told.clamp_min(1e-4)
            flow, flow_trust = flow[None], (told * self.flow.strength)[None]
        return vace_context(depth, depth_trust, flow, flow_trust, self.codec.spatial)


def controlled(transformer: Callable, controls: Controls, sigmas: Sequence[float]) -> Callable:
    """The transformer as (x, sigma, context, ...) -> v with the controls of the step that x is in, for a batch of any size.

    A step is known by its sigma; known frames, which have 0 of their own, do not count.
    """
    if not controls:
        return transformer
    steps = len(sigmas) - 1

    def model(x: Tensor, sigma: Tensor, context: Tensor, **named: Any) -> Tensor:
        import torch

        step = step_of(sigmas, float(sigma.max()))
        named |= {name: _batch(value, x) for name, value in controls.at(min(step / steps, 1.0), x.device).items()}
        if "beside" in named:
            x = torch.cat((x, named.pop("beside")), 1)
        return transformer(x, sigma[:, 0] if controls.one_sigma else sigma, context, **named)

    return model


def _batch(value: Any, x: Tensor) -> Any:
    """Tensors [1, ...], alone or several, for the batch and in the dtype of x; numbers as they are."""
    import torch

    if isinstance(value, tuple):
        return tuple(_batch(one, x) for one in value)
    return value.to(x.dtype).expand(len(x), *value.shape[1:]) if isinstance(value, torch.Tensor) else value


def unused(conditioning: Any, steps: int) -> list[str]:
    """Controls that act in none of the steps, said for a user."""
    remarks = []
    for name in ("camera", "depth", "flow"):
        control = getattr(conditioning, name)
        if control is None:
            continue
        if control.strength == 0:
            remarks.append(f"the strength of {name} is 0: it has no influence")
        elif getattr(control, "by_branch", True) and not any(applies(control, i / steps) for i in range(steps)):
            remarks.append(
                f"{name} applies from {control.start:g} to {control.end:g} of the sampling, in which none of {steps} "
                "steps begins: it has no influence; use more steps or a wider range"
            )
    return remarks
