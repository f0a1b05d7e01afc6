"""Reads what a run has trained: the codec, the object dynamics or the transformer, of its folder or of a bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..model.codec.tiny import TinyCodec, TinyCodecConfig
from ..model.config import VDiTConfig
from ..model.defaults import DEFAULTS
from ..model.files.beside import BODIES, GATE
from ..model.files.bundle import load_world_model
from ..model.object_dynamics import DynamicsConfig, ObjectDynamics
from ..model.perception import BodyPerception, PerceptionConfig
from ..model.picture_gate import GateConfig, PictureGate
from ..model.text import WordEncoder
from ..model.vdit import VDiT
from ..model.world_model import WorldModel
from ..pipeline import SamplerSettings, resolve
from ..pipeline.latent_preview import fit_preview_map
from ..world.families.caption import vocabulary
from .data.clips import as_frames, clip_files
from .lowrank import add_ranks, merged
from .run import last_logged, load_state, save_atomic

STATISTICS_CLIPS = 192  # from which the codec's mean and deviation are measured
PREVIEW_CLIPS = 16  # to which the codec's map for quick previews is fitted
TEACHER_DEFAULTS = {**DEFAULTS, "guidance": 1.0, "rise": 0.75}  # sampler settings that ship: best on validation clips


Module = TypeVar("Module", bound=nn.Module)


def _own(file: Path, module: object, kind: type[Module]) -> Module:
    if not isinstance(module, kind):
        raise ValueError(f"{file} holds no {kind.__name__}; name a bundle that `vdit train bundle` made")
    return module


def load_bundle(file: Path) -> tuple[VDiT, WordEncoder, WorldModel]:
    """Transformer and words of a bundle, and all of it. Raises ValueError for a file of another family."""
    model = load_world_model(file)
    return _own(file, model.transformer, VDiT), _own(file, model.text, WordEncoder), model


def hours_of(state: dict) -> float:
    """Training hours of a saved transformer, with those of the runs that it began with."""
    return state["hours"] + state["seconds"] / 3600


@torch.no_grad()
def measure_statistics(codec: TinyCodec, clips: Path) -> None:
    """Set the codec's latent_mean and latent_std [C] from clips that are spread over the folder's shards."""
    paths = clip_files(clips)
    each = max(1, STATISTICS_CLIPS // len(paths))
    latents = [codec.encode(as_frames(clip)) for p in paths for clip in np.load(p, mmap_mode="r")[:each]]
    z = torch.cat(latents).transpose(0, 1).flatten(1)
    codec.get_buffer("latent_mean").copy_(z.mean(1))
    codec.get_buffer("latent_std").copy_(z.std(1).clamp_min(1e-3))


def codec_of_run(run: Path) -> tuple[TinyCodec, bool]:
    """The codec of a training run, and whether it keeps the latents of the one it began with. Raises
    FileNotFoundError."""
    if (state := load_state(run)) is None:
        raise FileNotFoundError(f"no state.pt in {run}; train it with `vdit train codec`")
    codec = TinyCodec(TinyCodecConfig.from_header(state["config"])).eval().requires_grad_(False)
    codec.load_state_dict(state["codec"])
    return codec, any(state.get(word) for word in ("keeps", "only", "decoder_only"))  # the last two in older runs


def load_codec(run: Path, clips: Path) -> TinyCodec:
    """The codec of a training run, or a bundle's (.safetensors): as it is.

    A run's statistics, and its map for quick previews, are measured on `clips` the first time and kept beside its
    state. Where it keeps an older one's latents, the statistics stay what they were.
    """
    if run.suffix == ".safetensors":
        return _own(run, load_world_model(run).codec, TinyCodec)
    codec, keeps = codec_of_run(run)
    file = run / "statistics.pt"
    if file.exists():
        statistics = torch.load(file, weights_only=True)
        codec.get_buffer("latent_mean").copy_(statistics["mean"])
        codec.get_buffer("latent_std").copy_(statistics["std"])
        codec.preview_map = statistics["preview_map"]
    else:
        if not keeps:
            measure_statistics(codec, clips)
        some = [as_frames(np.load(p, mmap_mode="r")[0]) for p in clip_files(clips)[:PREVIEW_CLIPS]]
        codec.preview_map = fit_preview_map(codec, torch.cat(some))
        found = {"mean": codec.latent_mean, "std": codec.latent_std, "preview_map": codec.preview_map}
        save_atomic(found, file)
    return codec


def load_dynamics(source: Path) -> tuple[ObjectDynamics, dict[str, float]]:
    """The averaged object dynamics of a run, or a bundle's (.safetensors), and how they were trained. Raises
    FileNotFoundError, ValueError."""
    if source.suffix == ".safetensors":
        bundle = load_world_model(source)
        if bundle.dynamics is None:
            raise ValueError(f"{source} has no object dynamics; train them with `vdit train dynamics`")
        return bundle.dynamics, {k: v for k, v in bundle.facts.items() if k.startswith("dynamics_")}
    if (state := load_state(source)) is None:
        raise FileNotFoundError(f"no state.pt in {source}; train it with `vdit train dynamics`")
    model = ObjectDynamics(DynamicsConfig(**state["config"])).eval().requires_grad_(False)
    model.load_state_dict(state["average"])
    now = {"steps": state["step"], "hours": round(state["seconds"] / 3600, 2), "starts": state["starts"]}
    before = state.get("before", {})
    return model, {f"dynamics_{k}": round(v + before.get(f"dynamics_{k}", 0), 2) for k, v in now.items()}


def trained_gate(run: Path) -> tuple[PictureGate, dict[str, object]]:
    """The gate of a run, averaged weights, and how it was trained; or that of a file beside a bundle. Raises
    FileNotFoundError."""
    if run.suffix == ".safetensors":
        return GATE.load(run), {}
    if (state := load_state(run)) is None:
        raise FileNotFoundError(f"no state.pt in {run}; train it with `vdit train gate`")
    gate = PictureGate(GateConfig(tuple(state["config"]["widths"])))
    gate.load_state_dict(state["average"])
    scores = {f"gate_held_out_{name}": last_logged(run, name) for name in ("refused", "accepted")}
    facts = {"gate_steps": state["step"], "gate_pictures_seen": state["samples"]}
    return gate, {**facts, "gate_hours": round(state["seconds"] / 3600, 2), **scores}


def grown(tensors: Mapping[str, Tensor], network: nn.Module) -> None:
    """Give a network the weights of one whose layers read less: what they read more comes last, and counts nothing yet.
    Raises ValueError where they are not of one make."""
    if unknown := sorted(tensors.keys() - network.state_dict().keys()):
        raise ValueError(
            f"there are {', '.join(unknown)}, which the network lacks: begin with a run of the same network"
        )
    for name, own in network.state_dict().items():
        value = tensors.get(name)
        if value is None or value.ndim != own.ndim or any(a > b for a, b in zip(value.shape, own.shape, strict=True)):
            found = "nothing" if value is None else f"values of shape {list(value.shape)}"
            raise ValueError(f"there is {found} for {name} {list(own.shape)}: begin with a run of the same network")
        own.zero_()[tuple(slice(n) for n in value.shape)] = value


def begun_perception(source: Path) -> BodyPerception:
    """A perception of bodies to go on with, of a run or a bundle; of an earlier version where its layers read less."""
    if source.suffix == ".safetensors":
        network, tensors = BODIES.read(source)
        grown(tensors, network)
        return network
    return trained_perception(source)[0]


def trained_perception(run: Path) -> tuple[BodyPerception, dict[str, object]]:
    """The perception of bodies of a run, averaged weights, and how it was trained; or that of a file beside a bundle.
    Raises FileNotFoundError."""
    if run.suffix == ".safetensors":
        return BODIES.load(run), {}
    if (state := load_state(run)) is None:
        raise FileNotFoundError(f"no state.pt in {run}; train it with `vdit train perception`")
    model = BodyPerception(PerceptionConfig(**{**state["config"], "widths": tuple(state["config"]["widths"])}))
    model.load_state_dict(state["average"])
    facts = {"steps": state["step"], "starts_seen": state["samples"], "hours": round(state["seconds"] / 3600, 2)}
    return model.eval().requires_grad_(False), facts


def load_transformer(run: Path) -> tuple[VDiT, WordEncoder, dict]:
    """Transformer and words of a teacher's or student's run with their averaged weights, and its whole state. Raises
    FileNotFoundError."""
    state = load_state(run)
    if state is None or "average" not in state:
        raise FileNotFoundError(f"no transformer's state.pt in {run}; train it with `vdit train teacher`")
    config = VDiTConfig(**state["config"])
    transformer = VDiT(config)
    text = WordEncoder(state.get("vocabulary") or vocabulary(), config.text_dim, config.text_len)
    if state.get("rank") is not None:
        add_ranks(transformer, state["rank"])
    weights = {**state["average"], **state.get("frozen", {})}
    transformer.load_state_dict({n[6:]: v for n, v in weights.items() if n.startswith("model.")})
    merged(transformer)
    text.load_state_dict({n[5:]: v for n, v in state["average"].items() if n.startswith("text.")})
    for module in (transformer, text):
        module.eval().requires_grad_(False)
    return transformer, text, state


@dataclass(frozen=True)
class Teacher:
    """A finished teacher and how it is sampled."""

    transformer: VDiT
    text: WordEncoder
    guidance: float
    rise: float  # of its noise level from frame to frame, see sampling.frame_levels
    name: str
    facts: dict
    fingerprint: str  # of all weights

    def on(self, device: torch.device) -> Teacher:
        """The same, its networks moved to a device."""
        return replace(self, transformer=self.transformer.to(device), text=self.text.to(device))


def load_teacher(source: Path, guidance: float | None = None) -> Teacher:
    """A teacher from a bundle (.safetensors) or a training run's folder, its averaged weights.

    guidance None: the bundle's default. Raises FileNotFoundError without a state, ValueError for a student.
    """
    source = Path(source)
    if source.is_dir():
        transformer, text, state = load_transformer(source)
        settings, hours = TEACHER_DEFAULTS, round(hours_of(state), 2)
        facts = {"teacher_steps": state["step"], "teacher_clips_seen": state["samples"], "teacher_hours": hours}
    else:
        transformer, text, model = load_bundle(source)
        settings, facts = resolve(model, SamplerSettings()).as_report(), model.facts
    if transformer.config.flow_map:
        raise ValueError(
            f"{source} is a student; students are distilled from a teacher: give the teacher's file or run"
        )
    digest = hashlib.sha256()
    for module in (transformer, text):
        for name, value in module.state_dict().items():
            digest.update(name.encode() + value.half().numpy().tobytes())
    guidance = float(settings["guidance"] if guidance is None else guidance)
    return Teacher(transformer, text, guidance, float(settings["rise"]), source.name, facts, digest.hexdigest()[:16])
