"""WorldModel: a transformer together with its codec, text encoder, defaults and facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from .config import VDiTConfig
from .defaults import DEFAULTS
from .errors import CheckpointError
from .object_dynamics import ObjectDynamics

if TYPE_CHECKING:
    from .variants import Variant

PARTS = ("transformer", "codec", "text", "dynamics")
LACKING = {
    "codec": "a VAE, and {title} was loaded without one: name its file in VDiT Load Model's `vae`, or wire a LATENT "
    "through ComfyUI's own VAE nodes",
    "text": "a text encoder, and {title} was loaded without one: name its file in VDiT Load Model's `text_encoder`, or "
    "wire CONDITIONING from ComfyUI's own CLIPLoader and CLIPTextEncode",
}


@dataclass
class WorldModel:
    """A transformer with what it needs around it. Of Wan models, codec and text may be None: others bring them."""

    config: VDiTConfig
    transformer: nn.Module  # VDiT, or the two of experts.Experts
    codec: nn.Module | None
    text: nn.Module | None
    defaults: dict = field(default_factory=lambda: dict(DEFAULTS))  # fps, frames, width, height, steps, guidance, ...
    facts: dict = field(default_factory=dict)  # how it was trained, or what it was loaded from
    variant: Variant | None = None  # of a Wan model
    dynamics: ObjectDynamics | None = None  # what foretells where balls go, for a transformer that is told drafts
    teacher: WorldModel | None = None  # of a student, from whose file the rest is read

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {name: part for name in PARTS if (part := getattr(self, name)) is not None}

    @property
    def transformers(self) -> list[nn.Module]:
        """Those that a video is sampled with: its own, and of a student its teacher's, which makes pictures of words."""
        return [self.transformer] if self.teacher is None else [self.transformer, self.teacher.transformer]

    @property
    def space(self) -> nn.Module:
        """Sizes and statistics of the latents: the codec, or what is known of it where there is none."""
        if self.codec is not None:
            return self.codec
        from .codec.latents import Latents

        return Latents(self.variant.codec[-3:])

    def require(self, part: str, who: str) -> nn.Module:
        """The "codec" or "text" of the model; CheckpointError says what `who` lacks and where it comes from."""
        found = getattr(self, part)
        if found is None:
            title = self.variant.title if self.variant else "the model"
            raise CheckpointError(f"{who} needs {LACKING[part].format(title=title)}")
        return found
