"""What differs between families of models, one strategy object each: asked for by name, never by probing the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..control.camera import CameraPath
from ..control.conditioning import Conditioning, Shot
from ..control.fit import MODULES, check_module, check_modules
from ..control.pictures import cover
from ..control.span import ControlError
from ..control.world_cameras import check_one_lens
from ..drafting import Draft
from .inputs import BundledInputs, ModelInputs
from .values import ClipSpec, Run
from .wan_inputs import WanInputs
from .wan_tasks import READERS, check_draft, check_task
from .world_inputs import DreamXInputs, LingBotInputs, SkyReelsInputs

if TYPE_CHECKING:
    from torch import Tensor

    from ..model.config import VDiTConfig
    from ..model.kv_cache import CausalTraining
    from ..model.variants import FamilyName, Variant
    from ..model.world_model import WorldModel


class Described(Protocol):
    """A model as far as it must be known to say what it reads: loaded, or by the facts of its files' headers."""

    @property
    def family(self) -> FamilyName:
        """Whose strategy it follows."""
        ...

    @property
    def config(self) -> VDiTConfig:
        """Of its transformer."""
        ...

    @property
    def variant(self) -> Variant | None:
        """Of the Wan family."""
        ...

    @property
    def causal(self) -> CausalTraining | None:
        """How it makes a video block by block."""
        ...


class BundledFamily:
    """The models of this pack's own training: drafts, sharp start pictures, latents that carry over between windows.

    Another family is a subclass that overrides what it does otherwise.
    """

    small_products = True  # whether threads are chosen as machine/threads.py says
    caches_text = True  # whether what the transformer computes of a text is kept between steps

    def check(self, model: WorldModel, shot: Shot) -> None:
        """Raise ControlError naming an input that the model does not read, or cannot do without."""
        check_modules(model.config, shot.controls)
        self._check_read(model.config, given_inputs(shot))

    def check_given(self, model: Described, given: Mapping[str, object], strength: float, draft: float) -> None:
        """As `check`, of inputs that are known by name only, before there is a shot.

        strength: of the pictures; draft: that of the draft.
        """
        for name in MODULES:
            if name in given:
                check_module(model.config, name)
        self._check_read(model.config, given)

    def _check_read(self, config: VDiTConfig, given: Mapping[str, object]) -> None:
        reads = {"start_image", "end_image", *MODULES, *["draft"] * config.draft}
        for name, value in given.items():
            if value is not None and name not in reads:
                raise ControlError(
                    f"this checkpoint does not read `{name}`: load {READERS[name]}, or remove that input"
                )

    def scheduler(self, config: VDiTConfig) -> str:
        """The schedule that the models were trained for, see sampling.schedule."""
        return "simple"

    def trained_on_size(self, own: dict[str, Any], width: int, height: int) -> bool:
        """Whether a video of this size is like those that the model (its defaults) was trained on: here one size."""
        return (width, height) == (own["width"], own["height"])

    def inputs(self, run: Run) -> ModelInputs:
        """The run laid out for the transformer. Raises PictureError and ControlError on misfits."""
        return BundledInputs(run)

    def expected(self, conditioning: Conditioning, draft: Draft | None, clip: ClipSpec) -> Draft | None:
        """Frames that decoding may use where the latent agrees: the draft, or the start pictures standing still."""
        if draft is not None or conditioning.start is None:
            return draft
        return Draft(cover(conditioning.start, clip.width, clip.height)).window(0, clip.frames)

    def can_predict(self, model: WorldModel) -> bool:
        """Whether drafts can be predicted: with object dynamics and a transformer that reads drafts."""
        return model.dynamics is not None and model.config.draft

    def after_window(self, model: WorldModel, frames: Tensor, latent: Tensor) -> tuple[Tensor, Tensor | None]:
        """Start pictures and past latents (see Continuation) for the window after one that ends in frames [n,H,W,3].

        All but the first frame come as its latent [1,C,T',h,w]: encoded again they would be softer, and hold no state.
        """
        past = (len(frames) - 1) // model.space.temporal
        return (frames[:1], latent[:, :, -past:]) if past else (frames, None)


class WanFamily(BundledFamily):
    """The released models of the Wan family, which read pictures; their codecs blur little and take long."""

    small_products = False
    caches_text = False  # Wan's 512 tokens in 30 to 40 layers would be gigabytes

    def check(self, model: WorldModel, shot: Shot) -> None:
        """Each variant reads what its task needs."""
        assert model.variant is not None
        self.check_given(model, given_inputs(shot), shot.strength, shot.draft_strength)

    def check_given(self, model: Described, given: Mapping[str, object], strength: float, draft: float) -> None:
        """Each variant reads what its task needs."""
        assert model.variant is not None
        check_task(model.variant, model.config, given, strength, model.causal is not None)
        if given.get("draft") is not None:
            check_draft(model.variant.title, draft)

    def scheduler(self, config: VDiTConfig) -> str:
        """Wan's own solver comes with Wan's own schedule; models distilled for few steps learned the plain one."""
        return "simple" if config.flow_map else "wan"

    def trained_on_size(self, own: dict[str, Any], width: int, height: int) -> bool:
        """Trained at several sizes, of 0.3 to 3 times as many pixels as the released default."""
        return 0.3 <= width * height / (own["width"] * own["height"]) <= 3

    def inputs(self, run: Run) -> ModelInputs:
        """As the variant's task needs them."""
        return WanInputs(run)

    def expected(self, conditioning: Conditioning, draft: Draft | None, clip: ClipSpec) -> Draft | None:
        """Decoded frames are used as they are."""
        return None

    def after_window(self, model: WorldModel, frames: Tensor, latent: Tensor) -> tuple[Tensor, Tensor | None]:
        """The last frames as pictures."""
        return frames, None


class LingBotFamily(WanFamily):
    """LingBot-World: a Wan I2V model that follows the rays of one lens; without a path its camera is free."""

    def check_given(self, model: Described, given: Mapping[str, object], strength: float, draft: float) -> None:
        """As WanFamily's, and no path that zooms."""
        super().check_given(model, given, strength, draft)
        _check_one_lens(model, given)

    def inputs(self, run: Run) -> ModelInputs:
        """As Wan I2V's, with rays."""
        return LingBotInputs(run)


class DreamXFamily(WanFamily):
    """DreamX-World: TI2V-5B with the cameras of its frames, through one lens."""

    def check_given(self, model: Described, given: Mapping[str, object], strength: float, draft: float) -> None:
        """As WanFamily's, and no path that zooms."""
        super().check_given(model, given, strength, draft)
        _check_one_lens(model, given)

    def scheduler(self, config: VDiTConfig) -> str:
        """Its released code samples with diffusers' Euler."""
        return "normal"

    def inputs(self, run: Run) -> ModelInputs:
        """As TI2V-5B's, with projections."""
        return DreamXInputs(run)


class SkyReelsFamily(WanFamily):
    """SkyReels-V2 Diffusion Forcing: each frame may have a noise level of its own, so start pictures are held."""

    def inputs(self, run: Run) -> ModelInputs:
        """As TI2V-5B's, with a frame rate."""
        return SkyReelsInputs(run)


def _check_one_lens(model: Described, given: Mapping[str, object]) -> None:
    camera = given.get("camera")
    if isinstance(camera, CameraPath) and camera.strength and model.variant is not None:
        check_one_lens(model.variant.title, camera)


FAMILIES: dict[FamilyName, BundledFamily] = {
    "vdit": BundledFamily(),
    "wan": WanFamily(),
    "lingbot": LingBotFamily(),
    "dreamx": DreamXFamily(),
    "skyreels": SkyReelsFamily(),
}


def family_of(model: WorldModel) -> BundledFamily:
    """The strategy for a model."""
    return FAMILIES[model.family]


def check_inputs(model: Described, given: Mapping[str, object], strength: float, draft: float) -> None:
    """Raise ControlError for inputs, by the names of given_inputs, that a model does not read or cannot do without.

    strength: of the pictures; draft: that of the draft.
    """
    FAMILIES[model.family].check_given(model, given, strength, draft)


def given_inputs(shot: Shot) -> dict[str, object]:
    """What a shot gives beside words, by the input names of VDiT Encode Conditioning; None where nothing is given."""
    return {
        "start_image": shot.start,
        "end_image": shot.end,
        **shot.controls._asdict(),
        "clip_vision_output": shot.clip_vision,
        "clip_vision_output_end": shot.clip_vision_end,
        "control_video": shot.control_video,
        "control_mask": shot.control_mask,
        "reference_image": shot.reference,
        "draft": shot.draft if shot.draft_strength else None,
        "tracks": shot.tracks,
    }
