"""Files to a WorldModel: headers are checked first, then data is read; nothing heavy before it all fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..codec.wan import detect_codec, load_codec_file, with_preview
from ..defaults import DEFAULTS
from ..errors import CheckpointError, UnknownCodecError, UnknownVariantError
from ..experts import Experts
from ..memory import Estimate, estimate
from ..umt5 import WORDS, load_text_file, tokenizer_of, with_transformers_names
from ..variants import VARIANTS, Variant, detect
from ..wan import WanTransformer
from ..world_model import WorldModel
from ..worlds import transformer_of
from .bundle import load_world_model
from .families import Family, identify
from .fill import check_names, fill
from .lora import LoraReport, apply_loras, check_loras
from .promises import asked_while_built, without_values
from .quantized import stored_bytes
from .weights import WeightFile, open_weights

WHERE = {  # what a file is -> where it belongs
    "transformer": "give it as the model itself",
    "codec": "give it as `vae`",
    "preview codec": "give it as `vae`",
    "text encoder": "give it as `text_encoder`",
    "vision encoder": "load it with ComfyUI's CLIPVisionLoader",
    "lora": "give it to VDiT Load LoRA, behind the model that it was made for",
    "bundle": "give it as the model itself, alone: it holds all parts",
    "beside": "leave it beside the model's file, whose name it has: it is read with that",
    "other": "a transformer of Wan 2.1 or 2.2 is expected, for example wan2.1_t2v_1.3B_fp16.safetensors",
}
ROLES = {"transformer": "a Wan transformer", "codec": "a Wan VAE", "text encoder": "the umt5-xxl text encoder"}
NOT_NOISE = ("vram", "ram", "mem", "memory", "res", "resolution", "quality", "step", "steps", "rank", "speed")
LoraList = Sequence[tuple[str | Path, float]]


@dataclass
class WanPlan:
    """What will be loaded from where; made from headers alone, and everything in it fits together."""

    variant: Variant
    weights: WeightFile
    low: WeightFile | None = None  # the low-noise expert
    codec: WeightFile | None = None
    preview: WeightFile | None = None  # a tiny codec of the same latents, beside the codec
    text: WeightFile | None = None
    tokenizer: Path | None = None
    loras: LoraList = ()
    report: LoraReport = field(default_factory=LoraReport)

    def lines(self) -> list[str]:
        """What is loaded, for its user: the variant, its files, its released defaults, LoRAs."""
        others = len(self.weights.beside)
        files = [w.path.name for w in (self.low, self.codec, self.text, self.preview) if w is not None]
        return [
            f"{self.variant.title}: {self.weights.parameters / 1e9:.3g} billion parameters"
            f"{' in each of two experts' if self.low else ''}, {self.weights.quantisation or 'not quantised'}, "
            f"{sum(w.bytes for w in (self.weights, self.low) if w is not None) / 2**30:.3g} GiB",
            *([f"with {', '.join(files)}"] if files else []),
            f"released with {released(self.variant)}",
            f"at that size it {self.need().cards()}",
            *(line for w in (self.weights, self.low, self.text) if w is not None for line in w.remarks),
            *([f"{others} tensors of other models in the file are left alone"] if others else []),
            *(doubts(self.variant, self.weights) if self.low is None else []),
            *self.report.lines,
        ]

    def need(self, frames: int = 0, width: int = 0, height: int = 0) -> Estimate:
        """What a video of this size takes on a device; 0: as released."""
        return need_of(self.variant, self.weights, frames, width, height)


def load_model(
    path: str | Path, low_path: str | Path | None = None, check: Callable[[], None] = lambda: None, **others
) -> WorldModel:
    """A bundle of VDiT's own or a Wan file, whichever the header says; arguments and errors as load_wan.

    check: called between the parts of a load, may raise to cancel.
    """
    if "vdit" not in open_weights(path).metadata:
        return load_wan(path, low_path, check=check, **others)
    given = [name for name in ("codec_path", "text_path", "tokenizer_path") if others.get(name)]
    if low_path or given:
        raise CheckpointError(f"{path}: this is a bundle of VDiT's own, which holds all parts; clear the other files")
    model = load_world_model(path, check=check)
    apply_loras(model.transformer, others.get("loras", ()))
    return model


def load_wan(
    path: str | Path,
    low_path: str | Path | None = None,
    *,
    codec_path: str | Path | None = None,
    text_path: str | Path | None = None,
    tokenizer_path: str | Path | None = None,
    dtype: torch.dtype | None = None,
    loras: LoraList = (),
    preview_paths: Sequence[str | Path] = (),
    check: Callable[[], None] = lambda: None,
) -> WorldModel:
    """A model of the Wan family: path is its transformer, or the high-noise expert with low_path the low-noise one.

    codec_path, text_path, tokenizer_path: Wan VAE, umt5-xxl and its spiece.model or tokenizer.json; None leaves that
    part out. dtype: of activations; None is bfloat16 on CUDA, else float32. loras: (file, strength), on both experts.
    preview_paths: tiny codecs at hand; the one that knows the VAE's latents makes the previews.
    check: called for each tensor, may raise to cancel. Raises CheckpointError, before anything is read, for whatever
    does not fit together.
    """
    with asked_while_built(check):
        plan = plan_wan(path, low_path, codec_path, text_path, tokenizer_path, loras, preview_paths)
    return load_plan(plan, dtype, check)


def plan_wan(
    path: str | Path,
    low_path: str | Path | None = None,
    codec_path: str | Path | None = None,
    text_path: str | Path | None = None,
    tokenizer_path: str | Path | None = None,
    loras: LoraList = (),
    preview_paths: Sequence[str | Path] = (),
) -> WanPlan:
    """load_wan's checks and nothing more; under two seconds whatever the size."""
    path = Path(path)
    second = path / "transformer_2"  # of a diffusers pipeline
    if low_path is None and second.is_dir():
        low_path = second
    weights = _opened(path, "transformer")
    variant = _variant(weights)
    low = _opened(low_path, "transformer") if low_path else None
    variant = _paired(variant, weights, low)
    plan = WanPlan(variant, weights, low, loras=loras)
    if codec_path:
        plan.codec = _codec(codec_path, variant, weights)
        plan.preview = _preview(preview_paths, plan.codec)
    if text_path:
        plan.text = _text(text_path, variant)
    plan.tokenizer = _tokenizer(tokenizer_path)
    if plan.text:
        tokenizer_of(with_transformers_names(plan.text), plan.tokenizer)
    model = on_meta(variant)
    for one in filter(None, (weights, low)):
        check_names(one.path, one.shapes, shapes_of(model), variant.title)
    plan.report = check_loras(model, loras)
    return plan


def load_plan(plan: WanPlan, dtype: torch.dtype | None = None, check: Callable[[], None] = lambda: None) -> WorldModel:
    """The model of a plan: transformer as stored, LoRAs over it, codec and text encoder where the plan has them.

    check: called for each tensor, may raise to cancel.
    """
    with asked_while_built(check):
        return _loaded(plan, dtype, check)


def _loaded(plan: WanPlan, dtype: torch.dtype | None, check: Callable[[], None]) -> WorldModel:
    dtype = dtype or (torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    codec = load_codec_file(plan.codec) if plan.codec else None
    if codec and plan.preview:
        codec = with_preview(codec, load_codec_file(plan.preview))
    text = load_text_file(plan.text, plan.tokenizer, dtype) if plan.text else None
    experts = []
    for name, weights in (("high", plan.weights), ("low", plan.low)):
        if weights is None:
            continue
        model = fill(on_meta(plan.variant), weights, dtype, plan.variant.title, check=check)
        check()
        apply_loras(model, plan.loras, name)
        experts.append(model)
    transformer = experts[0]
    if len(experts) == 2:
        transformer = Experts(*experts, boundary=plan.variant.defaults["boundary"])
    variant, facts = plan.variant, {"file": str(plan.weights.path), "loaded": plan.lines()}
    defaults = {**DEFAULTS, **variant.defaults}
    return WorldModel(
        variant.config, transformer, codec, text, defaults, facts, variant, family=variant.family, title=variant.title
    )


def released(variant: Variant) -> str:
    """What the makers of a model run it with."""
    d = variant.defaults
    guidance = f"{d['guidance']:g}" + (f" ({d['guidance_low']:g} in low noise)" if "guidance_low" in d else "")
    experts = f", experts change at {d['boundary']:g}" if "boundary" in d else ""
    return (
        f"{d['steps']} steps of {d['solver']}, shift {d['shift']:g}, guidance {guidance}{experts}; {d['frames']} "
        f"frames of {d['width']}x{d['height']} at {d['fps']:g} fps"
    )


def doubts(variant: Variant, weights: WeightFile) -> list[str]:
    """What a transformer alone may be that its tensors cannot tell, by the file's name."""
    name = weights.path.stem.lower()
    if "skyreels" in name:
        forced = re.search(r"(^|[^a-z])df([^a-z]|$)", name)
        return [f"by its name, this is SkyReels-V2 Diffusion Forcing: it runs as {variant.title}, with one noise level "
                "for all frames; its own way, a level for each frame, is not supported"] if forced else []  # fmt: skip
    twin = next((other for other in VARIANTS.values() if other.experts and other.config == variant.config), None)
    if twin is None or variant.experts or re.search(r"wan\W?2[._]?1", name):
        return []
    return [f"if it is one of the two experts of {twin.title}, whose network is the same, it makes half of the steps: "
            "give the high-noise file as the model and the low-noise file as `low_noise_file`"]  # fmt: skip


def need_of(variant: Variant, weights: WeightFile, frames: int = 0, width: int = 0, height: int = 0) -> Estimate:
    """What a file needs on a device for a video of this size, 0: as released."""
    d, (spatial, temporal) = variant.defaults, (16, 4) if variant.codec == "wan2.2" else (8, 4)
    # on a device matrices are two bytes a value, or less where the file has them so
    sizes = {
        name: stored_bytes(shape, "BF16" if dtype == "F32" and len(shape) > 1 else dtype)
        for name, (shape, dtype) in weights.stored.items()
    }
    return estimate(
        variant.config, sizes, frames or d["frames"], width or d["width"], height or d["height"], spatial=spatial,
        temporal=temporal, batch=2 if d["guidance"] > 1 else 1, parameters=weights.parameters,
    )  # fmt: skip


def on_meta(variant: Variant) -> WanTransformer:
    """The variant's transformer without any memory."""
    with without_values():
        return transformer_of(variant.config)


def shapes_of(model: WanTransformer) -> dict[str, tuple[int, ...]]:
    """The tensors that the model's file has."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _opened(path: str | Path, role: str) -> WeightFile:
    """The file, which must be of this role. Another one is refused by what it is."""
    weights = open_weights(path, role)
    family = identify(weights.shapes, weights.metadata)
    if family.role != role:
        raise CheckpointError(f"{path}: this is {family.title}; {ROLES[role]} is expected here. {_advice(family)}")
    weights.check_readable()  # before shapes are read: matrices in 4 bits are packed
    return weights


def _advice(family: Family) -> str:
    text = WHERE[family.role]
    return text[0].upper() + text[1:]


def _variant(weights: WeightFile) -> Variant:
    try:
        return detect(weights.shapes)
    except UnknownVariantError as e:
        raise CheckpointError(f"{weights.path}: {e}") from e


def _paired(variant: Variant, weights: WeightFile, low: WeightFile | None) -> Variant:
    """The variant of one transformer or of two experts; CheckpointError for an expert alone and for two that differ."""
    marked = _mark(weights.path)
    if low is None:
        if variant.experts or marked:
            found = f"the {marked}-noise expert" if marked else "one of two experts"
            title = variant.title if variant.experts else "a Wan 2.2 model"
            raise CheckpointError(
                f"{weights.path}: {'by its name, ' if marked else ''}this is {found} of {title}; each makes half of "
                "the steps. Give the high-noise file as the model and the low-noise file as `low_noise_file` (the "
                "same file twice runs it alone)"
            )
        return variant
    if marked == "low" and _mark(low.path) == "high":
        raise CheckpointError(
            f"{weights.path}: by their names the experts are swapped ({low.path.name} is given as the low-noise "
            "one); give the high-noise file as the model, and the low-noise file as `low_noise_file`"
        )
    second = _variant(low)
    if second.config != variant.config:
        raise CheckpointError(
            f"{low.path}: this is {second.title}, and {weights.path.name} is {variant.title}; two experts are of one "
            "model"
        )
    if variant.experts:
        return variant
    for other in VARIANTS.values():  # as 2.2's experts are the same network as 2.1's T2V, the second file tells
        if other.experts and other.task == variant.task and other.config.in_channels == variant.config.in_channels:
            return other.of(variant.config)
    raise CheckpointError(f"{low.path}: {variant.title} has no second expert; clear `low_noise_file`")


def _mark(path: Path) -> str:
    """Which expert a name says that its file is, "high", "low" or "". For refusals: variants come from shapes.

    A word of its own in any case ("Wan2.2_HIGH_14B"), unless it speaks of something else ("low-vram").
    """
    words = re.split(r"[^a-z0-9]+", re.sub(r"(high|low)noise", r"\1 ", path.stem.lower()))
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word in ("high", "low") and after not in NOT_NOISE:
            return word
    return ""


def _codec(path: str | Path, variant: Variant, weights: WeightFile) -> WeightFile:
    found = open_weights(path, "codec")
    family = identify(found.shapes, found.metadata)
    if "codec" not in family.role:
        raise CheckpointError(f"{path}: this is {family.title}; {ROLES['codec']} is expected here. {_advice(family)}")
    try:
        kind = detect_codec(found.shapes)
    except UnknownCodecError as e:
        raise CheckpointError(f"{path}: {e}") from e
    if kind[-3:].replace("_", ".") != variant.codec[-3:]:
        raise CheckpointError(
            f"{path}: this is {family.title}; {variant.title} ({weights.path.name}, {variant.config.out_channels} "
            f"latent channels) needs the Wan VAE {variant.codec[-3:]}: {CODEC_FILES[variant.codec]}"
        )
    return found


def _preview(paths: Sequence[str | Path], codec: WeightFile) -> WeightFile | None:
    """The tiny codec that makes a VAE's previews; a tiny codec in the VAE's place makes its own."""
    wanted = f"taew{detect_codec(codec.shapes).replace('.', '_')}"
    for path in paths:
        found = open_weights(path, "codec")
        family = identify(found.shapes, found.metadata)
        if family.role != "preview codec":
            raise CheckpointError(f"{path}: this is {family.title}, which is no tiny codec. {_advice(family)}")
        try:
            if detect_codec(found.shapes) == wanted:
                return found
        except UnknownCodecError as e:
            raise CheckpointError(f"{path}: {e}") from e
    return None


def _text(path: str | Path, variant: Variant) -> WeightFile:
    found = _opened(path, "text encoder")
    named = with_transformers_names(found)
    width = next(named.shapes[name][1] for name in WORDS if name in named.shapes)
    if width != variant.config.text_dim:
        raise CheckpointError(
            f"{path}: this is a umt5 text encoder {width} wide; {variant.title} reads text tokens "
            f"{variant.config.text_dim} wide, of umt5-xxl: umt5_xxl_fp16.safetensors"
        )
    return found


CODEC_FILES = {"wan2.1": "wan_2.1_vae.safetensors", "wan2.2": "wan2.2_vae.safetensors"}


def _tokenizer(path: str | Path | None) -> Path | None:
    if not path:
        return None
    path = Path(path)
    if path.is_dir():
        path = next((path / name for name in ("tokenizer.json", "spiece.model") if (path / name).is_file()), path)
    if not path.is_file() or path.suffix not in (".json", ".model"):
        raise CheckpointError(
            f"{path}: no tokenizer; give umt5-xxl's spiece.model or tokenizer.json, from the model's google/umt5-xxl "
            "folder"
        )
    return path
