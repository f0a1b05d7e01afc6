"""A model and a request become a video: the one place where model, controls, drafts and sampling meet."""

from .causal import CausalField, check_guidance, roll_out, work_of
from .decode import StreamedFrames, check_latent, decode_frames, decode_stream, frames_shape
from .encode import encode_shot
from .family import check_inputs, family_of
from .generate import generate
from .inputs import unused
from .latent_preview import LatentPreview
from .lattice import Lattice, LatticeError
from .long_video import Windows, long_video
from .previews import FormingBlocks, FormingVideo
from .room import check_room, frames_bytes, reserve, sampling_bytes
from .settings import check_clip, clip_of, described, lattice_of, outside_training, resolve
from .takes import TakeCache, take
from .values import (
    Block,
    ClipSpec,
    Continuation,
    Hooks,
    Progress,
    Result,
    Run,
    RunContext,
    RunSettings,
    SamplerSettings,
)

__all__ = [
    "Block",
    "CausalField",
    "ClipSpec",
    "Continuation",
    "FormingBlocks",
    "FormingVideo",
    "Hooks",
    "LatentPreview",
    "Lattice",
    "LatticeError",
    "Progress",
    "Result",
    "Run",
    "RunContext",
    "RunSettings",
    "SamplerSettings",
    "StreamedFrames",
    "TakeCache",
    "Windows",
    "check_clip",
    "check_guidance",
    "check_inputs",
    "check_latent",
    "check_room",
    "clip_of",
    "decode_frames",
    "decode_stream",
    "described",
    "encode_shot",
    "family_of",
    "frames_bytes",
    "frames_shape",
    "generate",
    "lattice_of",
    "long_video",
    "outside_training",
    "reserve",
    "resolve",
    "roll_out",
    "sampling_bytes",
    "take",
    "unused",
    "work_of",
]
