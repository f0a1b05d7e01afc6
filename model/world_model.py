"""WorldModel: a transformer together with its codec, text encoder, defaults and facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

from torch import nn

from .codec.base import Codec
from .codec.wan_latents import wan_latents
from .config import VDiTConfig
from .defaults import DEFAULTS
from .errors import CheckpointError
from .experts import Experts
from .object_dynamics import ObjectDynamics
from .perception import BodyPerception
from .picture_gate import PictureGate
from .text import TextEncoder
from .transformer import Transformer

if TYPE_CHECKING:
    from .kv_cache import CausalTraining
    from .variants import FamilyName, Variant

PARTS = ("transformer", "codec", "text", "dynamics")
MISSING = {
    "codec": "a VAE, and {title} was loaded without one: name its file in VDiT Load Model's `vae`, or wire a LATENT "
    "through ComfyUI's own VAE nodes",
    "text": "a text encoder, and {title} was loaded without one: name its file in VDiT Load Model's `text_encoder`, or "
    "wire CONDITIONING from ComfyUI's own CLIPLoader and CLIPTextEncode",
}


@dataclass(eq=False)
class WorldModel:
    """A transformer with the parts around it. A Wan model may lack codec and text encoder: the graph brings them."""

    config: VDiTConfig
    transformer: Transformer
    codec: Codec | None
    text: TextEncoder | None
    defaults: dict[str, Any] = field(default_factory=lambda: dict(DEFAULTS))  # of sampling, see defaults.py
    facts: dict[str, Any] = field(default_factory=dict)  # how it was trained, or what it was loaded from
    variant: Variant | None = None  # set if and only if family is not "vdit"
    dynamics: ObjectDynamics | None = None  # predicts where balls go, for a transformer conditioned on drafts
    teacher: WorldModel | None = None  # of a student: the model from whose file codec, text and dynamics are read
    gate: PictureGate | None = None  # where object dynamics may be asked; None: everywhere
    bodies: BodyPerception | None = None  # sees bodies of any shape, for drafts by simulation
    bodies_gate: PictureGate | None = None  # where that may be asked; None: everywhere
    causal: CausalTraining | None = None  # set if it makes videos block by block
    gpus: int = 1  # that make each video together, see pipeline.devices
    family: FamilyName = "vdit"
    title: str = "the model"  # in messages

    @property
    def boundary(self) -> float | None:
        """The sigma at which two experts change; None for a single transformer."""
        return self.transformer.boundary if isinstance(self.transformer, Experts) else None

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The modules that the model has, by the names in PARTS."""
        return {name: part for name in PARTS if (part := getattr(self, name)) is not None}

    @property
    def networks(self) -> list[nn.Module]:
        """All modules that a run may call."""
        beside = [network for network in (self.gate, self.bodies, self.bodies_gate) if network is not None]
        return [*self.parts.values(), *self.transformers, *beside]

    @property
    def transformers(self) -> list[Transformer]:
        """Those used in sampling: its own and, for a student, its teacher's, which makes first pictures from words."""
        return [self.transformer] if self.teacher is None else [self.transformer, self.teacher.transformer]

    @property
    def space(self) -> Codec:
        """Sizes and statistics of the latents: the codec or, for a Wan model without one, those of its kind."""
        if self.codec is not None:
            return self.codec
        assert self.variant is not None
        return Codec(wan_latents(self.variant.codec.removeprefix("wan")))

    @overload
    def require(self, part: Literal["codec"], who: str) -> Codec: ...

    @overload
    def require(self, part: Literal["text"], who: str) -> TextEncoder: ...

    def require(self, part: str, who: str) -> Codec | TextEncoder:
        """The part "codec" or "text"; CheckpointError if it is missing, with what `who` needs and how to load it."""
        found = getattr(self, part)
        check_part(found is not None, part, who, self.title)
        return found


def check_part(there: bool, part: str, who: str, title: str) -> None:
    """Raise CheckpointError where the part "codec" or "text" that `who` needs is not there; title: of the model."""
    if not there:
        raise CheckpointError(f"{who} needs {MISSING[part].format(title=title)}")
