"""One shot for a sampler that is not ours: held frames, controls and their times behind a plain velocity(x, sigma)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..sampling.flow_map import towards_next_sigma
from ..sampling.frame_levels import with_paced_levels
from ..sampling.held import held_mask
from .drafts import predict
from .family import family_of
from .inputs import BundledInputs, conditioned, until_released
from .settings import check_clip, resolve
from .values import Continuation, Run, SamplerSettings, no_motion

if TYPE_CHECKING:
    from torch import Tensor

    from ..sampling.types import Transformer

FROM_NOISE = 0.99  # first sigma above which a run is taken to begin from pure noise


class ExternalShot:
    """A conditioning fitted to a clip, for latents of `shape`, of which the first `before` frames are to be dropped.

    Raises LatticeError, PictureError and ControlError for what does not fit, ValueError for what only our own sampler
    can do: an external one makes its own noise and knows nothing of frames behind the clip.
    """

    def __init__(self, run: Run):
        model, clip = run.model, run.clip
        check_clip(model, clip)
        self.run, self.conditioning = run, run.conditioning
        draft, self.no_draft_reason, remarks = predict(run)
        self.remarks = [*remarks, *no_motion(self.no_draft_reason)]
        if draft is not None:
            draft = draft.encoded(model.require("codec", "a draft"), run.context.device)
        self.expected = family_of(model).expected(run.conditioning, draft, clip)
        self.inputs = family_of(model).inputs(replace(run, continuation=Continuation(draft=draft)))
        self.before, self.frame_lag = self.inputs.before, resolve(model, SamplerSettings()).frame_lag
        one, channels, count, height, width = clip.latent_shape(model.space)
        self.shape = (one, channels, self.before + count, height, width)
        if self.inputs.flow is not None and self.inputs.flow.by_noise:
            raise ValueError("flow as warped noise is the noise itself, which this sampler makes: use VDiT Sample")
        if self.inputs.guidance is not None:
            raise ValueError("a draft is followed by beginning from it, which this sampler decides: use VDiT Sample")
        if self.inputs.extra and run.conditioning.strength < 1:
            raise ValueError("an end picture that is let go (strength below 1) needs VDiT Sample; set strength to 1")

    def velocity(
        self, transformer: Transformer, x: Tensor, sigma: Tensor, context: Tensor, sigmas: Sequence[float]
    ) -> Tensor:
        """Velocity [B,C,T,h,w] of the normalised latents x at sigma [B,T]; sigmas: the whole run's schedule.

        Frames have levels of their own where the model was trained for it (sampling.frame_levels), but not in a run
        that begins amid the schedule. Held frames get the velocity that leads to their latents, as in sampling.held.
        """
        import torch

        held, now, from_noise = self.inputs.held, float(sigma.max()), sigmas[0] > FROM_NOISE
        undecided = self.inputs.draft is None and self.no_draft_reason is None
        if undecided and now >= sigmas[0] and from_noise and isinstance(self.inputs, BundledInputs):  # x is the noise
            draft, self.no_draft_reason, _ = predict(self.run, x[:1])
            if draft is not None:
                self.inputs.show(draft)
        frames, extra = x.shape[2], self.inputs.extra
        mask = held_mask(held, frames + extra, x.device)
        transformer = until_released(transformer, self.inputs.draft)
        model = (
            with_paced_levels(transformer, sigmas, mask, self.frame_lag)
            if self.frame_lag and from_noise
            else transformer
        )
        model = towards_next_sigma(model, sigmas) if self.run.model.config.flow_map else model
        model = conditioned(model, self.inputs, sigmas)
        if held is None or not now > 1.0 - held.strength:
            return model(x, sigma, context)
        latent, wide = held.latent.to(x).expand(len(x), -1, -1, -1, -1), mask[:, None, :, None, None]
        x = torch.cat((x, latent[:, :, frames:]), 2)
        sigma = torch.cat((sigma, sigma.new_zeros(len(x), extra)), 1)
        v = model(latent.where(wide, x), sigma.masked_fill(mask, 0.0), context)
        return ((x - latent) / now).where(wide, v)[:, :, :frames]
