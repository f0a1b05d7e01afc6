"""Checks before a run, from the headers of weights: files that fit together, inputs that are read, sizes, memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import benchmark_rounds
from .comfy import device_room, gpus, main_room, model_path
from .gpus import on_one_gpu, with_gpus
from .load import files_of, told_of
from .lora import EXPERTS
from .lora import FOLDER as LORAS
from .preflight_files import path_frames
from .wired import Wired

if TYPE_CHECKING:
    from ..model.files.facts import ModelFacts
    from ..pipeline import ClipSpec

LOADER, LORA, NATIVE_VAE = "VDiTLoadModel", "VDiTLoadLoRA", "VDiTUseVAE"
SAMPLERS = ("VDiTSample", "VDiTDistillPreview")
PICTURES = ("start_image", "end_image", "control_video", "reference_image")  # that a codec encodes
CONTROLS = ("camera", "depth", "flow")
# Where the frames of a control are a widget, and what a path that stretches says of itself.
COUNTED = {"VDiTMotionBrush": "frames", "VDiTFlowFromVideo": "frames"}
SIZED = ("VDiTTracks", "VDiTMotionBrush", "VDiTSimulate")  # whose tracks lie on frames of the size of their widgets
OTHERS = (*PICTURES[:3], "control_mask", "reference_image", "clip_vision_output", "clip_vision_output_end", "tracks")


def loader_of(node: Wired) -> Wired | None:
    """The Load Model whose model a node gets, through LoRAs and codecs; None where another node makes it."""
    source, passed = node.source("model"), {node.id}
    while source is not None and source.kind in (LORA, NATIVE_VAE) and source.id not in passed:
        passed.add(source.id)
        source = source.source("model")
    return source if source is not None and source.kind == LOADER else None


def facts_of(loader: Wired | None) -> ModelFacts | None:
    """What the headers of a Load Model's files say; None where they cannot be used, which `loadable` says."""
    try:
        return None if loader is None else _facts(loader)
    except (ValueError, OSError):
        return None


def _facts(loader: Wired) -> ModelFacts | None:
    from ..model.causal import with_causal
    from ..model.files import facts

    names = {name: loader.text(name, "none") for name in ("low_noise_file", "vae", "text_encoder", "tokenizer")}
    file = loader.text("file")
    if file is None or None in names.values():
        return None
    found = facts.facts_of(*files_of(file, *(name or "none" for name in names.values())))
    causal = loader.text("causal", "auto")
    window, sink, count = (loader.number(*one) for one in (("causal_window", 21), ("causal_sink", 1), ("gpus", 1)))
    if causal is None or window is None or sink is None or count is None:
        return None
    found = with_causal(found, told_of(files_of(file, *["none"] * 4)[0]), causal, int(window), int(sink))
    return with_gpus(found, int(count))


def loadable(node: Wired) -> None:
    """Raise CheckpointError or OSError for files that are missing, of another kind, or do not fit together; ValueError
    for more GPUs than there are."""
    _facts(node)


def lora(node: Wired) -> None:
    """Raise CheckpointError for a LoRA of another model."""
    file, facts = node.text("file"), facts_of(loader_of(node))
    experts = EXPERTS.get(node.text("expert", "both") or "")
    if file is not None:
        path = model_path(LORAS, file)
        if facts is not None and experts is not None:
            facts.check_lora(path, experts)


def codec_for(node: Wired) -> None:
    """Raise CheckpointError where a node needs a codec and its model is loaded without one."""
    from ..model.world_model import check_part

    facts = facts_of(loader_of(node))
    if facts is not None and not _has_native_vae(node):
        check_part(facts.has_codec, "codec", node.title, facts.title)


def _has_native_vae(node: Wired) -> bool:
    return any(one.kind == NATIVE_VAE for one in node.upstream())


def readable(node: Wired) -> None:
    """Raise ControlError or CheckpointError for inputs that a checkpoint does not read, or cannot do without."""
    from ..model.world_model import check_part
    from ..pipeline import check_inputs

    facts, strength = facts_of(loader_of(node)), node.number("strength")
    draft = node.number("draft_strength", 1.0)
    if facts is None or strength is None or draft is None:
        return
    check_inputs(facts, _given(node), strength, draft)
    if not node.has("positive"):
        check_part(facts.has_text, "text", node.title, facts.title)
    if any(node.has(name) for name in PICTURES) and strength and not _has_native_vae(node):
        check_part(facts.has_codec, "codec", f"a picture for {node.title}", facts.title)


@dataclass(frozen=True)
class Acting:
    """An input that acts for certain."""

    strength: float = 1.0


def _given(node: Wired) -> dict[str, Acting]:
    """Inputs that act for certain, by name."""
    given = {name: Acting() for name in OTHERS if node.has(name)}
    for name in CONTROLS:
        source = node.source(name)
        strength = None if source is None else source.number("strength", 1.0)
        if source is not None and strength and source.text("how", "branch") in ("branch", "both"):
            given[name] = Acting(strength)
    if node.has("draft") and node.number("draft_strength", 1.0):
        given["draft"] = Acting()
    return given


def clip_of(node: Wired) -> tuple[ModelFacts, ClipSpec] | None:
    """The clip that a sampler is asked for; None where it is only known in a run. Raises LatticeError."""
    from ..pipeline import clip_of as resolved

    facts = facts_of(loader_of(node))
    seconds, fps, width, height = (node.number(name, 0.0) for name in ("seconds", "fps", "width", "height"))
    if facts is None or node.has("promote") or seconds is None or fps is None or width is None or height is None:
        return None
    return facts, resolved(facts, seconds, fps, int(width), int(height))


def clip(node: Wired) -> None:
    """Raise LatticeError, with what fits, for a length or a size that the model cannot make."""
    clip_of(node)


def _made(node: Wired) -> tuple[ModelFacts, ClipSpec] | None:
    """As clip_of, and None where that raises, which `clip` says."""
    try:
        return clip_of(node)
    except ValueError:
        return None


def lengths(node: Wired) -> None:
    """Raise ControlError for a control of another length than the clip, and for tracks of another shape."""
    from ..control.depth import check_same_shape
    from ..control.fit import check_length

    made, shot = _made(node), node.source("conditioning")
    if made is None or shot is None or shot.kind != "VDiTEncodeConditioning":
        return
    source = shot.source("flow")
    if source is not None and source.kind == "VDiTFlowControl":
        source = source.source("flow")
    frames = source.number(COUNTED[source.kind]) if source is not None and source.kind in COUNTED else None
    if frames:
        check_length("the flow", int(frames), made[1].frames, f"give {made[1].frames - 1} steps")
    camera = shot.source("camera")
    poses = path_frames(camera) if camera is not None and camera.number("strength", 1.0) else None
    if poses is not None:
        check_length("the camera path", poses, made[1].frames, "give a path with a pose for every frame")
    drawn = shot.source("tracks")
    size = [drawn.number(name) for name in ("width", "height")] if drawn is not None and drawn.kind in SIZED else []
    width, height = (int(side or 0) for side in size) if size else (0, 0)
    if width and height:  # 0: the picture's own, which is not known yet
        check_same_shape("tracks", width, height, made[1].width, made[1].height)


def room(node: Wired) -> None:
    """Raise TooLarge, with what fits, where a call of the transformer takes more memory than its device has; on several
    GPUs also where the clip has too few rows for them."""
    from .. import pipeline
    from ..pipeline.devices import Devices

    made = _made(node)
    if made is None:
        return
    facts, spec = made
    free, on_device = device_room()
    guidance = node.number("guidance", 0.0) or facts.defaults["guidance"]
    loader = loader_of(node)
    dtype = None if loader is None else loader.text("dtype", "auto")
    itemsize = 4 if dtype == "float32" or dtype == "auto" and not on_device else 2  # as load_wan chooses
    fixed, guided = pipeline.reserve(facts.least, on_device), guidance != 1

    def activations(clip: ClipSpec) -> int:
        return pipeline.sampling_bytes(facts, clip, guided, itemsize)

    pipeline.check_room(facts, spec, lambda one: fixed + activations(one), free, f"one step of {facts.title}")
    if facts.gpus > 1:
        devices = Devices(gpus(facts.gpus))
        devices.check_rows(spec.height // facts.space.spatial // facts.config.patch[1], 1 + guided)
        devices.check_room(facts.weights + activations(spec))


def guidance(node: Wired) -> None:
    """Raise ValueError for guidance of a causal model."""
    from .. import pipeline

    facts = facts_of(loader_of(node))
    if facts is not None and facts.causal is not None:
        own = facts.defaults["guidance"]
        pipeline.check_guidance(facts.title, *(node.number(name) or own for name in ("guidance", "guidance_low")))


def whole(node: Wired) -> None:
    """Raise ValueError for a model that goes to KSampler and is causal, or loaded for several GPUs."""
    from ..model.causal import refuse_whole

    facts = facts_of(loader_of(node))
    if facts is not None:
        refuse_whole(facts)
        on_one_gpu(facts, "KSampler")


def frames_room(node: Wired) -> None:
    """Raise TooLarge, with what fits, where all frames do not fit into main memory."""
    from .. import pipeline

    sampler = node.source("latent")
    made = None if sampler is None or sampler.kind not in SAMPLERS else _made(sampler)
    if made is not None:
        what = "its frames (VDiT Decode Video needs no room for them)"
        pipeline.check_room(made[0], made[1], pipeline.frames_bytes, main_room(), what)


def round_room(node: Wired) -> None:
    """Raise TooLarge, with what fits, where videos of a benchmark's clips do not fit into memory, or onto the disk."""
    name, suite, split, fps = (node.text(one) for one in ("name", "suite", "split", "fps"))
    count, seed, known, width = (node.number(one) for one in ("count", "seed", "known_frames", "width"))
    height, length, at_once = (node.number(one) for one in ("height", "length", "clips_at_once"))
    if not name or not suite or not split or not fps or length is None:
        return
    if seed is None or not count or not known or not width or not height or not at_once:
        return
    asked = benchmark_rounds.round_of(
        name, suite, int(count), int(seed), split, int(known), int(width), int(height), fps, int(length)
    )
    benchmark_rounds.check_room(asked, int(at_once))
