"""Codec files of Wan models: which codec is it, from names and shapes alone, and the codec filled from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from ..errors import CheckpointError, UnknownCodecError
from ..files.promises import without_values
from .autoencoder import WanCodec
from .taehv import DEEP, TaeCodec
from .wan_latents import STATISTICS

if TYPE_CHECKING:
    from ..files.weights import WeightFile

MARKS = {  # a tensor that only this codec has: native, diffusers
    "2.2": ("decoder.upsamples.0.upsamples.0.residual.2.weight", "decoder.up_blocks.0.upsampler.time_conv.weight"),
    "2.1": ("decoder.upsamples.0.residual.2.weight", "decoder.up_blocks.0.upsamplers.0.time_conv.weight"),
}

# diffusers' AutoencoderKLWan -> native, applied in this order; 2.2 nests where 2.1 counts through.
RENAMES = [
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"\.conv_in\.", ".conv1."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.norm1\.", ".residual.0."),
    (r"(\.(?:resnets|down_blocks|middle)\.\d+)\.conv1\.", r"\1.residual.2."),
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"^encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.", r"encoder.downsamples.\1.downsamples.\2."),
    (r"^encoder\.down_blocks\.(\d+)\.downsampler\.", r"encoder.downsamples.\1.downsamples.2."),
    (r"^encoder\.down_blocks\.", "encoder.downsamples."),
    (r"^decoder\.up_blocks\.(\d+)\.upsampler\.", r"decoder.upsamples.\1.upsamples.3."),
    (r"^decoder\.up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"decoder.upsamples.{4 * int(m[1]) + 3}."),
]


def native_name(name: str, nested: bool) -> str:
    """The native name of one of diffusers' tensors; native ones stay. nested: the file is of the 2.2 codec."""
    for pattern, to in RENAMES:
        name = re.sub(pattern, to, name)
    resnet = re.match(r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\.(.*)", name)
    if resnet:
        i, j = int(resnet[1]), int(resnet[2])
        name = f"decoder.upsamples.{f'{i}.upsamples.{j}' if nested else 4 * i + j}.{resnet[3]}"
    return name


def detect_codec(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """ "2.1" or "2.2" (Wan codecs, of any width), "taew2_1" or "taew2_2" (tiny ones); names native or diffusers'.

    taew2_1 and HunyuanVideo's taehv have the same names and shapes and cannot be told apart. Raises UnknownCodecError.
    """
    if "decoder.22.bias" in shapes and "decoder.3.conv.0.weight" in shapes:
        width, channels = tuple(shapes["decoder.1.weight"])[:2]
        kind = {(DEEP[0], 16): "taew2_1", (DEEP[0], 48): "taew2_2"}.get((width, channels))
        if kind is None:
            raise UnknownCodecError(
                f"a tiny codec of the TAEHV layout with {channels} latent channels and {width} features; "
                f"Wan's are taew2_1 (16, {DEEP[0]}) and taew2_2 (48, {DEEP[0]})"
            )
        return kind
    for kind, mark in MARKS.items():
        if any(name in shapes for name in mark):
            latent = next((shapes[name] for name in ("conv2.weight", "post_quant_conv.weight") if name in shapes), (0,))
            if latent[0] != len(STATISTICS[kind][0]):
                raise UnknownCodecError(
                    f"it has the structure of the Wan {kind} codec but {latent[0]} latent channels; "
                    f"expected {len(STATISTICS[kind][0])}"
                )
            return kind
    raise UnknownCodecError(f"{_describe(shapes)}; expected the Wan 2.1 or 2.2 VAE, taew2_1 or taew2_2")


def load_codec_file(weights: WeightFile, dtype: torch.dtype = torch.float32) -> WanCodec | TaeCodec:
    """The codec in an opened weight file, in `dtype`; weights that have it already are not copied.

    Raises CheckpointError naming the file, what was found and what is needed, before any tensor is read.
    """
    shapes = weights.shapes
    try:
        kind = detect_codec(shapes)
    except UnknownCodecError as e:
        raise CheckpointError(f"{weights.path}: this is no codec of Wan models: {e}") from e
    own = {name if kind.startswith("tae") else native_name(name, kind == "2.2"): name for name in shapes}
    shape = {name: tuple(shapes[theirs]) for name, theirs in own.items()}
    with without_values():
        if kind.startswith("tae"):
            codec: WanCodec | TaeCodec = TaeCodec(kind[4:].replace("_", "."))
        else:
            widths = [shape.get(name, (1,))[0] for name in ("encoder.conv1.weight", "decoder.head.0.gamma")]
            codec = WanCodec(kind, *widths)
    wanted = {name: tuple(value.shape) for name, value in codec.state_dict().items()}
    faults = [f"{name} is missing" for name in wanted if name not in shape]
    faults += [f"{own[name]} does not belong" for name in shape if name not in wanted]
    faults += [
        f"{own[name]} is {list(shape[name])}, expected {list(wanted[name])}"
        for name in wanted
        if name in shape and shape[name] != wanted[name]
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(
            f"{weights.path}: this is a {'Wan ' * (not kind.startswith('tae'))}{kind} codec with {len(faults)} tensors "
            f"amiss: {'; '.join(faults[:3])}{more}. The file is damaged or changed: get it again"
        )
    codec.load_state_dict({name: weights.tensor(own[name]).to(dtype) for name in wanted}, assign=True)
    return codec.requires_grad_(False).eval()


def with_preview(codec: WanCodec | TaeCodec, preview: WanCodec | TaeCodec) -> WanCodec | TaeCodec:
    """The codec, whose previews the tiny one now makes. Raises ValueError where it knows other latents."""
    if not isinstance(preview, TaeCodec) or preview.kind != codec.kind:
        raise ValueError(
            f"a preview codec of Wan {preview.kind} latents does not fit the Wan {codec.kind} codec; "
            f"its own is taew{codec.kind.replace('.', '_')}"
        )
    codec.preview = preview
    return codec


def _describe(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What the file seems to be."""
    names = list(shapes)
    if any("self_attn" in name or "transformer_blocks." in name or "double_blocks." in name for name in names):
        return "it holds a transformer, not a codec"
    if any("lora" in name for name in names):
        return "it is a LoRA"
    if any(".up.0.block." in name or "up_blocks.0.resnets.0.conv1" in name for name in names):
        return "it is the codec of an image model"
    if any("encoder.block.0.layer" in name or name == "shared.weight" for name in names):
        return "it is a text encoder"
    return f"it has {len(names)} tensors, first {names[0] if names else 'none'}"
