"""The recipe of each `vdit train` command: a frozen dataclass whose fields are the command's options."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..world.families.scene import FAMILIES

Value = TypeVar("Value")


def option(default: Value, help: str = "", *, unit: str = "", name: str = "", choices: tuple[str, ...] = ()) -> Value:
    """A field with its help and unit (the help where there is no other); name: of its option where that differs."""
    return field(default=default, metadata={"help": help, "unit": unit, "name": name, "choices": choices})


def folder(path: str) -> Path:
    """A folder that a command reads or writes."""
    return option(Path(path), f"default: {path}")


first_shard = partial(option, 0, "number of the first shard: its seeds follow from it")
shard_count = partial(option, 100, unit="files")
split_choice = partial(option, "train", unit="which seeds", choices=("train", "validation", "test"))
family_choice = partial(option, None, "of all scenes (default: many)", choices=FAMILIES)
learning_rate = partial(option, help="highest learning rate")
random_seed = partial(option, 0, unit="of all random draws")
muon_choice = partial(option, False, "Muon instead of AdamW for the matrices of the blocks")
processes_count = partial(option, 1, "processes that share the cores and each batch; default: 1")
training_hours = partial(option, help="time to train for; a resumed run goes on to the same total", unit="hours")
initial_weights = partial(option, None, "a run, or a bundle (.safetensors), whose weights this one begins with")
student_guidance = partial(option, None, "to be baked into students; default: the teacher's own")
solver_steps = partial(option, 16, "steps of a trajectory, two model calls each; default: 16")
file_count = partial(option, 128, "trajectory files, of 16 clips each; default: 128")
draft_share = partial(option, 0.85, "share of clips that are told a draft, of those that could; default: 0.85")
cache_limit = partial(option, 4.0, "size at which the cache stops growing; default: 4", unit="GB")
compute_device = partial(option, "cpu", "where products are computed: cpu, cuda, cuda:1", unit="device")


@dataclass(frozen=True)
class Recipe:
    """Names its command by its class, and says in its first line what that does."""

    @classmethod
    def command(cls) -> str:
        """`teacher` of TeacherRecipe."""
        return cls.__name__.removesuffix("Recipe").lower()

    @classmethod
    def help(cls) -> str:
        """The docstring as argparse prints it."""
        text = (cls.__doc__ or "").removesuffix(".")
        return text[:1].lower() + text[1:]


@dataclass(frozen=True)
class ClipsRecipe(Recipe):
    """Simulate and render clips into shards of 32."""

    out: Path = folder("runs/clips")
    first: int = first_shard()
    shards: int = shard_count()
    split: str = split_choice()
    family: str | None = family_choice()
    size: int = option(128, "pixels a side", unit="pixels")


@dataclass(frozen=True)
class CodecRecipe(Recipe):
    """Train the video codec."""

    clips: Path = folder("runs/clips")
    held_out: Path = folder("runs/clips-val")
    out: Path = folder("runs/codec")
    steps: int = option(1200, unit="optimizer steps")
    batch: int = option(16, "clips of 9 frames at 64x64 a step")
    start_from: Path | None = option(
        None, "a finished run, or a bundle, to begin with: latents and teachers made before stay good"
    )
    only: str | None = option(None, "train a part alone", choices=("encoder", "decoder"))
    muon: bool = option(False, "Muon instead of AdamW for the convolutions")
    peak: float = learning_rate(1.5e-3)
    seed: int = random_seed()
    device: str = compute_device()


@dataclass(frozen=True)
class LatentsRecipe(Recipe):
    """Simulate, render and encode clips with their controls, ahead of the teacher."""

    codec: Path = folder("runs/codec")
    clips: Path = folder("runs/clips")
    out: Path = folder("runs/latents")
    first: int = first_shard()
    shards: int = shard_count()
    split: str = split_choice()
    device: str = compute_device()


@dataclass(frozen=True)
class ScenesRecipe(Recipe):
    """Simulate scenes and draw where their clips start, for the dynamics."""

    out: Path = folder("runs/scenes")
    first: int = first_shard()
    shards: int = shard_count()
    split: str = split_choice()
    family: str | None = family_choice()


@dataclass(frozen=True)
class DynamicsRecipe(Recipe):
    """Train what finds balls and foretells where they go."""

    scenes: Path = folder("runs/scenes")
    held_out: Path = folder("runs/scenes-val")
    out: Path = folder("runs/dynamics")
    hours: float = training_hours(1.0)
    start_from: Path | None = initial_weights()
    ground_only: bool = option(False, "train what tells distances and light alone")
    keep_fine: bool = option(False, "leave the layers at 1/4 of the size as they are: a third faster")
    batch: int = option(24, "starts of clips a step")
    peak: float = learning_rate(1e-3)
    seed: int = random_seed()
    device: str = compute_device()


@dataclass(frozen=True)
class MotionRecipe(Recipe):
    """Go on training what moves balls, alone: many times as many ways in the same time."""

    scenes: Path = folder("runs/scenes")
    held_out: Path = folder("runs/scenes-val")
    start_from: Path = folder("runs/dynamics")
    out: Path = folder("runs/motion")
    hours: float = option(0.5, "time to train for, after looking at the starts once", unit="hours")
    batch: int = option(128, "starts of clips a step")
    peak: float = learning_rate(1e-3)
    seed: int = random_seed()
    device: str = compute_device()


@dataclass(frozen=True)
class BodiesRecipe(Recipe):
    """Draw starts of scenes of bodies of every shape, with what there is to perceive in them."""

    out: Path = folder("runs/bodies")
    first: int = first_shard()
    shards: int = shard_count()
    split: str = split_choice()
    photographs: Path = option(Path("runs/photographs"), "a folder whose pictures lend textures; none: procedural ones")


@dataclass(frozen=True)
class PerceptionRecipe(Recipe):
    """Train what sees bodies of every shape, ground, camera and light in one picture or five."""

    bodies: Path = folder("runs/bodies")
    held_out: Path = folder("runs/bodies-val")
    photographs: Path = option(Path("runs/photographs"), "pictures in which nothing is to be found; none: left out")
    out: Path = folder("runs/perception")
    minutes: float = option(60.0, "time to train for; a resumed run goes on to the same total", unit="minutes")
    batch: int = option(16, "starts a step")
    peak: float = learning_rate(1e-3)
    device: str = compute_device()
    seed: int = random_seed()
    start_from: Path | None = option(
        None, "a perception's run, or NAME-bodies.safetensors, whose weights this one begins with"
    )


@dataclass(frozen=True)
class PicturesRecipe(Recipe):
    """Draw pictures of the simulated world, and what a model makes of it, for the gate."""

    out: Path = folder("runs/pictures")
    first: int = first_shard()
    shards: int = shard_count()
    split: str = split_choice()
    model: Path = option(
        Path("weights/vdit-small.safetensors"), "a bundle, of whose outputs some are; default: the bundled one"
    )
    bodies: bool = option(False, "two thirds of the scenes are of bodies of any shape: for the gate of bodies")
    photographs: Path = option(Path("runs/photographs"), "lend textures to bodies and grounds; none: left out")


@dataclass(frozen=True)
class GateRecipe(Recipe):
    """Train what tells pictures of the simulated world from all others."""

    pictures: Path = folder("runs/pictures")
    held_out: Path = folder("runs/pictures-val")
    photographs: Path = folder("runs/photographs")
    held_out_photographs: Path = folder("runs/photographs-val")
    out: Path = folder("runs/gate")
    hours: float = training_hours(0.5)
    start_from: Path | None = option(None, "a gate's run, or NAME-gate.safetensors, whose weights this one begins with")
    batch: int = option(64, "pictures a step, half of them of the simulated world")
    peak: float = learning_rate(2e-3)
    seed: int = random_seed()
    device: str = compute_device()


@dataclass(frozen=True)
class TeacherRecipe(Recipe):
    """Train the transformer."""

    latents: Path = folder("runs/latents")
    held_out: Path = folder("runs/latents-val")
    out: Path = folder("runs/teacher")
    hours: float = training_hours(2.0)
    batch: int = option(8, unit="clips of 41 frames a step")
    peak: float = learning_rate(1e-3)
    muon: bool = muon_choice()
    cooldown_hours: float = option(
        0.0, "hours at the end over which the rate falls to zero", unit="hours", name="cooldown"
    )
    start_from: Path | None = initial_weights()
    seed: int = random_seed()
    processes: int = processes_count()
    device: str = compute_device()


@dataclass(frozen=True)
class TrajectoriesRecipe(Recipe):
    """Solve the teacher's trajectories ahead of a student; several may run at once."""

    teacher: Path = folder("runs/teacher")
    latents: Path = folder("runs/latents")
    cache: Path = folder("runs/trajectories")
    guidance: float | None = student_guidance()
    teacher_steps: int = solver_steps()
    files: int = file_count()
    drafted: float = draft_share()
    cache_gb: float = cache_limit()
    first: int = option(0, "number of the first file")
    device: str = compute_device()


@dataclass(frozen=True)
class StudentRecipe(Recipe):
    """Distil a teacher (a run's folder or a .safetensors file) into a model of 1 to 32 steps."""

    teacher: Path = folder("runs/teacher")
    latents: Path = folder("runs/latents")
    held_out: Path = folder("runs/latents-val")
    cache: Path = folder("runs/trajectories")
    out: Path = folder("runs/student")
    guidance: float | None = student_guidance()
    teacher_steps: int = solver_steps()
    files: int = file_count()
    drafted: float = draft_share()
    cache_gb: float = cache_limit()
    hours: float = option(1.0, "time to train for, beside the trajectories' solving", unit="hours")
    rank: int | None = option(
        None, "change matrices in so many ranks only: the file is a tenth as large; default: any", unit="ranks"
    )
    layers: int | None = option(None, "layers of a smaller student; default: all of the teacher's")
    batch: int = option(8, unit="trajectories of 11 latent frames a step")
    # At 7e-4 and 1.6e-3 a student of four steps ended 16% and 50% farther from its teacher (110 updates).
    peak: float = learning_rate(3e-4, help="highest learning rate; default: 0.0003")
    muon: bool = muon_choice()
    start_from: Path | None = option(
        None, "a student's run, or its bundle, whose weights this one begins with, not the teacher's"
    )
    seed: int = random_seed()
    processes: int = processes_count()
    device: str = compute_device()


@dataclass(frozen=True)
class VideosRecipe(Recipe):
    """Encode videos and their captions as a Wan model reads them, ahead of its fine-tuning."""

    videos: Path = option(
        Path("videos"), "a folder of NAME.mp4 with NAME.txt, the caption, and NAME.draft.mp4, a draft, if there is one"
    )
    model: Path | None = option(None, "the Wan model's file")
    vae: Path | None = option(None, "the VAE that belongs to it")
    text_encoder: Path | None = option(None, "umt5-xxl")
    tokenizer: Path | None = option(None, "its spiece.model or tokenizer.json, where its file holds none")
    out: Path = folder("runs/wan-videos")
    frames: int = option(81, "of each clip, 4k+1: a longer video makes several", unit="frames")
    width: int = option(832, unit="pixels")
    height: int = option(480, unit="pixels")
    device: str = compute_device()


@dataclass(frozen=True)
class WanRecipe(Recipe):
    """Fine-tune a Wan model, whole or as a LoRA, in one process or in as many as torchrun starts."""

    model: Path | None = option(None, "the model's file, .safetensors or .gguf: one expert of a model with two")
    videos: Path = option(Path("runs/wan-videos"), "what `vdit train videos` made; default: runs/wan-videos")
    out: Path = folder("runs/wan")
    steps: int = option(1000, unit="optimizer steps")
    batch: int = option(8, "clips a step, a multiple of the processes")
    peak: float = learning_rate(1e-4)
    warmup: int = option(20, "steps over which the rate rises", unit="steps")
    rank: int | None = option(None, "train a LoRA of so many ranks; default: all weights", unit="ranks")
    drafts: bool = option(False, "learn to make the video from its draft, as VDiT Sample begins from one")
    expert: str | None = option(None, "of a model with two: its noise levels alone", choices=("high", "low"))
    bfloat16: bool = option(False, "multiply in bfloat16; gradients are added up in float32")
    recompute: bool = option(False, "keep a block's input alone for the backward pass: less memory, a third slower")
    compile: bool = option(False, "torch.compile, block by block")
    save_every: int = option(200, "steps from one saved state to the next", unit="steps")
    seed: int = random_seed()


@dataclass(frozen=True)
class BundleRecipe(Recipe):
    """Put codec, transformer (of a run, or a bundle), dynamics and words into one file."""

    codec: Path = folder("runs/codec")
    clips: Path = folder("runs/clips")
    teacher: Path = folder("runs/teacher")
    out: Path = folder("weights/vdit-small.safetensors")
    student: Path | None = option(None, "a student's run or bundle, to lie beside its teacher's file")
    dynamics: Path = option(Path("runs/dynamics"), "a run, or a bundle; default: runs/dynamics")
    gate: Path | None = option(None, "a gate's run alone, to lie beside its model's file, named as that and -gate")
    perception: Path | None = option(None, "a perception's run alone, likewise, named as its model's file and -bodies")
    bodies_gate: Path | None = option(None, "a gate's run alone, that says where bodies may be perceived: -bodies-gate")
    average_with: Path | None = option(None, "of a perception: a run or file whose weights count as much as its own")


@dataclass(frozen=True)
class AllRecipe(Recipe):
    """Spend so many minutes on perception, transformer and student: makes data, trains, and writes bundles."""

    minutes: float = option(60.0, "for all parts; the same command goes on, with more minutes too", unit="minutes")
    out: Path = folder("runs/all")
    start_from: Path = option(
        Path("weights"), "a folder of bundles to begin with, as OUT/bundles is; default: the bundled weights"
    )
    processes: int | None = option(None, "that make data, and on a CPU train; default: one a core")
    device: str = compute_device()
    seed: int = random_seed()


RECIPES = Recipe.__subclasses__()  # in the order in which they are run
