"""One shot for a sampler that is not ours: known frames, controls and their times behind a plain velocity(x, sigma)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Sequence

from .inputs import controlled
from ..sampling.flow_map import toward
from ..drafting.predict import foretold
from .generate import controls_of
from ..sampling.held import held_in
from ..sampling.frame_levels import paced
from .settings import lattice_of, settings_of

if TYPE_CHECKING:
    from torch import Tensor

BEGINNING = 0.99  # first sigma of a run from pure noise


class Shot:
    """A conditioning fitted to a clip, for latents of `shape`, of which the first `before` frames are to be dropped.

    Raises LatticeError, PictureError and ControlError for what does not fit, ValueError for what only our own sampler
    can do: a foreign one makes its own noise and knows nothing of frames behind the clip.
    """

    def __init__(self, model: Any, conditioning: Any, frames: int, width: int, height: int, device: Any = "cpu"):
        lattice_of(model).check_frames(frames)
        lattice_of(model).check_size(width, height)
        space = model.space
        self.foretold = partial(foretold, model, conditioning, frames, width, height)
        conditioning = self.foretold()
        self.conditioning, self.flow_map = conditioning, model.config.flow_map
        self.controls = controls_of(model, conditioning, frames, width, height, device)
        self.before, self.rise = self.controls.before, settings_of(model)["rise"]
        count = self.before + (frames - 1) // space.temporal + 1
        self.shape = (1, space.channels, count, height // space.spatial, width // space.spatial)
        if self.controls.flow is not None and self.controls.flow.by_noise:
            raise ValueError("flow as warped noise is the noise itself, which this sampler makes: use VDiT Sample")
        if self.controls.extra and conditioning.strength < 1:
            raise ValueError("an end picture that is let go (strength below 1) needs VDiT Sample; set strength to 1")

    def velocity(
        self, transformer: Callable, x: Tensor, sigma: Tensor, context: Tensor, sigmas: Sequence[float]
    ) -> Tensor:
        """Velocity [B,C,T,h,w] of the normalised latents x at sigma [B,T]; sigmas: the whole run's schedule.

        Where the model's noise rises along a clip it is paced (sampling.rising); not in a run that begins amid the
        schedule, all of whose frames are at its first sigma.
        Held frames get the velocity that leads to what they are known to be, as in sampling.known.
        """
        import torch

        known, now = self.controls.known, float(sigma.max())
        undecided = self.conditioning.draft is None and not self.conditioning.unforeseen
        if undecided and now >= sigmas[0] > BEGINNING:  # x is the noise
            draft = self.foretold(noise=x[:1]).draft
            if draft is not None:
                self.controls.show(draft)
        clip, extra = x.shape[2], self.controls.extra
        held = held_in(known, clip + extra, x.device)
        rises = self.rise and sigmas[0] > BEGINNING
        model = paced(transformer, sigmas, held, self.rise) if rises else transformer
        model = toward(model, sigmas) if self.flow_map else model
        model = controlled(model, self.controls, sigmas)
        if known is None or not now > 1.0 - known.strength:
            return model(x, sigma, context)
        latent, mask = known.latent.to(x).expand(len(x), -1, -1, -1, -1), held[:, None, :, None, None]
        x = torch.cat((x, latent[:, :, clip:]), 2)
        sigma = torch.cat((sigma, sigma.new_zeros(len(x), extra)), 1)
        v = model(latent.where(mask, x), sigma.masked_fill(held, 0.0), context)
        return ((x - latent) / now).where(mask, v)[:, :, :clip]
