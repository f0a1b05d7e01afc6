"""A causal model paints a scene at play: latent frame after latent frame, told the draft of what has just happened."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...control.conditioning import Shot
from ...drafting import agreement
from ...machine.threads import team
from ...model.causal import Told, with_causal
from ...sampling.rollout import rollout
from ...sampling.schedule import schedule
from ..causal import CausalField
from ..decode import WARM_UP
from ..drafts import knows
from ..encode import encode_shot
from ..latent_preview import LatentPreview, resized
from ..settings import resolve
from ..values import SamplerSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ...model.world_model import WorldModel
    from ...world.arrays import Floats

WINDOW, SINK = 21, 1  # latent frames that a block sees, and those of the beginning among them
SIDE = 128  # pixels of the shorter side that is painted: what the bundled models were trained at
KNOWN, UNKNOWN = 1.0, 2.0  # certainty of a draft of the world that the model knows; another is kept as it is


def block_by_block(model: WorldModel) -> WorldModel:
    """The model, sampled block by block. Raises ValueError for one that does not paint live."""
    if model.variant is not None or not model.config.draft or not model.config.flow_map:
        raise ValueError(
            f"{model.title} does not paint live, which takes a student that reads drafts: load vdit-small-student on "
            "VDiT Load Model, or leave model empty and render the recording"
        )
    return model if model.causal is not None else with_causal(model, Told(), "blocks of 1", WINDOW, SINK)


class Painter:
    """Paints frames of one size as they come: the first one alone, then `temporal` of them at a time.

    width, height: of the frames that it is given pictures for; `size` is what it paints. Raises ValueError, see
    `block_by_block`. Memory does not grow with the number of frames.
    """

    def __init__(self, model: WorldModel, width: int, height: int, device: torch.device | str = "cpu", seed: int = 0):
        self.model = model = block_by_block(model)
        assert model.causal is not None
        self.codec, self.device = model.require("codec", "VDiT Live"), device
        self.size = fitted(width, height, self.codec.spatial * model.config.patch[1])
        self.temporal = self.codec.temporal
        use = resolve(model, SamplerSettings())
        sigmas = schedule(use.steps, use.shift, use.scheduler, 1.0)
        with torch.inference_mode():
            text = encode_shot(model, Shot()).positive.to(device)
        self._field = field = CausalField(model, model.causal.window, text, sigmas, self._conditions)
        blocks = (range(i, i + 1) for i in count())
        self._rolled = rollout(field, blocks, self._noise, sigmas, "euler", known=self._known)
        self._encode, self._decode = self.codec.begin_encoding(), self.codec.begin_decoding()
        self._preview = LatentPreview(self.codec)
        self._generator = torch.Generator("cpu").manual_seed(seed)
        self._draft: Tensor | None = None  # of the latent frame that is painted now, raw
        self._certainty = KNOWN
        self._begun = False
        self._past: tuple[Tensor, Tensor] | None = None  # latest latents, painted and of the draft

    @property
    def cache_bytes(self) -> int:
        """Bytes of the keys and values that it keeps."""
        return self._field.cache.nbytes

    def paint(self, frames: Floats) -> Floats:
        """Draft frames float32 [n, H, W, 3] in 0..1 of `size`, painted; n is 1 at first, then `temporal`."""
        given = torch.from_numpy(np.ascontiguousarray(frames, np.float32))
        # One thread: the scene is simulated and drawn on others meanwhile.
        with torch.inference_mode(), team(torch.device(self.device).type == "cpu", 1):
            if not self._begun:
                self._certainty = KNOWN if knows(self.model, given[:1]) else UNKNOWN
            self._draft = self._encode(given[None].to(self.device))
            _, x = next(self._rolled)
            self._begun = True
            latent = self.codec.denormalize(x)
            made = self._decode(latent)[0].clamp(0, 1).float().cpu()
            return made.lerp(given, self._agreed(latent, self._draft, len(given), given.shape[1:3])).numpy()

    def _agreed(self, latent: Tensor, draft: Tensor, frames: int, size: tuple[int, ...]) -> Tensor:
        """How far the newest frames show the draft [n, H, W, 1]: there its own pixels are sharper."""
        if self._past is not None:
            latent, draft = torch.cat((self._past[0], latent), 2), torch.cat((self._past[1], draft), 2)
        self._past = latent[:, :, -WARM_UP:].clone(), draft[:, :, -WARM_UP:].clone()
        share = agreement(self._preview(latent), self._preview(draft.to(latent.dtype)))[-frames:]
        return resized(share.cpu(), size, "bilinear")

    def _conditions(self, block: range, progress: float) -> Mapping[str, object]:
        assert self._draft is not None
        latent = self.codec.normalize(self._draft)
        return {"draft": torch.cat((latent, torch.full_like(latent[:, :1], self._certainty)), 1)}

    def _known(self, block: range) -> Tensor | None:
        """The first frame is the draft's: the scene as it is."""
        assert self._draft is not None
        return None if self._begun else self.codec.normalize(self._draft)

    def _noise(self, block: range) -> Tensor:
        assert self._draft is not None
        return torch.randn(self._draft.shape, generator=self._generator).to(self.device)


def fitted(width: int, height: int, cell: int) -> tuple[int, int]:
    """The size that is painted for frames of a size: the shorter side SIDE pixels, both multiples of `cell`."""
    scale = SIDE / min(width, height)
    across, down = (max(cell, round(side * scale / cell) * cell) for side in (width, height))
    return across, down
