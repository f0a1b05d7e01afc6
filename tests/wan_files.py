"""Files of the Wan family as people have them, made up: exact names, shapes and dtypes, any width, random values."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from torch import Tensor

State = dict[str, Tensor]

_TO_DIFFUSERS = (  # native part -> diffusers' part, in this order
    (".self_attn.", ".attn1."), (".cross_attn.", ".attn2."), (".norm3.", ".norm2."), ("ffn.0.", "ffn.net.0.proj."),
    ("ffn.2.", "ffn.net.2."), (".q.", ".to_q."), (".k.", ".to_k."), (".v.", ".to_v."), (".o.", ".to_out.0."),
    (".k_img.", ".add_k_proj."), (".v_img.", ".add_v_proj."), (".norm_k_img.", ".norm_added_k."),
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("delta_embedder.0", "condition_embedder.delta_embedder.linear_1"),
    ("delta_embedder.2", "condition_embedder.delta_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("img_emb.proj.0", "condition_embedder.image_embedder.norm1"),
    ("img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
    ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
    ("img_emb.proj.4", "condition_embedder.image_embedder.norm2"),
    ("img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"),
    ("head.modulation", "scale_shift_table"), ("modulation", "scale_shift_table"), ("head.head", "proj_out"),
    ("before_proj", "proj_in"), ("after_proj", "proj_out"),
)  # fmt: skip


def diffusers_names(state: State) -> State:
    """The same tensors as diffusers names them."""
    named = {}
    for name, value in state.items():
        for native, theirs in _TO_DIFFUSERS:
            name = name.replace(native, theirs)
        named[name] = value
    return named


def single(path: Path, state: State, dtype: torch.dtype = torch.float16, prefix: str = "", **metadata: str) -> Path:
    from safetensors.torch import save_file

    save_file({prefix + n: v.to(dtype).contiguous() for n, v in state.items()}, path, metadata or None)
    return path


def sharded(folder: Path, state: State, dtype: torch.dtype = torch.float32, shards: int = 3) -> Path:
    """Wan's own layout: numbered shards beside an index. Returns the index."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    names, where = list(state), {}
    for i in range(shards):
        file = f"diffusion_pytorch_model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = names[i::shards]
        save_file({n: state[n].to(dtype).contiguous() for n in part}, folder / file)
        where.update(dict.fromkeys(part, file))
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": where}))
    return index


def diffusers(folder: Path, state: State, dtype: torch.dtype = torch.bfloat16) -> Path:
    """A pipeline's folder with its transformer in shards. Returns the folder."""
    sharded(folder / "transformer", diffusers_names(state), dtype, 2)
    (folder / "transformer" / "config.json").write_text(json.dumps({"_class_name": "WanTransformer3DModel"}))
    return folder


def fp8_scaled(path: Path, state: State, layout: str = "old", prefix: str = "", scales: bool = True) -> Path:
    """layout: "old" (scaled_fp8, scale_weight), "new" (comfy_quant, weight_scale), "header" (noted in the metadata)."""
    from safetensors.torch import save_file

    out, noted = {}, {}
    for name, value in state.items():
        if not name.endswith(".weight") or value.ndim != 2:
            out[prefix + name] = value.to(torch.float16)
            continue
        layer = name.removesuffix(".weight")
        scale = value.abs().max().float() / 448
        out[prefix + name] = (value.float() / scale).to(torch.float8_e4m3fn)
        if not scales:  # a plain cast
            out[prefix + name] = value.to(torch.float8_e4m3fn)
            continue
        if layout == "old":
            out[f"{prefix}{layer}.scale_weight"] = scale.reshape(1)
            out[f"{prefix}{layer}.scale_input"] = torch.ones(1)
        else:
            out[f"{prefix}{layer}.weight_scale"] = scale.reshape(())
            if layout == "new":
                note = list(b'{"format": "float8_e4m3fn"}')
                out[f"{prefix}{layer}.comfy_quant"] = torch.tensor(note, dtype=torch.uint8)
            noted[layer] = {"format": "float8_e4m3fn"}
    if layout == "old" and scales:
        out[prefix + "scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    metadata = {"_quantization_metadata": json.dumps({"layers": noted})} if layout == "header" else None
    save_file({n: v.contiguous() for n, v in out.items()}, path, metadata)
    return path


def int8_scaled(path: Path, state: State, rotated: bool = False) -> Path:
    """ComfyUI's int8_tensorwise: a scale for each row; rotated: noted so, whatever the values are."""
    from safetensors.torch import save_file

    out, note = {}, {"format": "int8_tensorwise"} | ({"convrot": True, "convrot_groupsize": 256} if rotated else {})
    for name, value in state.items():
        if not (name.startswith("blocks.") and name.endswith(".weight") and value.ndim == 2):
            out[name] = value.float()
            continue
        scale = value.abs().amax(1, keepdim=True).float() / 127
        out[name] = (value.float() / scale).round().to(torch.int8)
        layer = name.removesuffix(".weight")
        out[f"{layer}.weight_scale"] = scale
        out[f"{layer}.comfy_quant"] = torch.tensor(list(json.dumps(note).encode()), dtype=torch.uint8)
    save_file(out, path)
    return path


def noted(path: Path, state: State, form: str) -> Path:
    """A file whose header notes a form for each layer; its values are as they were."""
    layers = {name.removesuffix(".weight"): {"format": form} for name in state if name.endswith("attn.q.weight")}
    return single(path, state, torch.float16, _quantization_metadata=json.dumps({"layers": layers}))


def tiny(variant):
    """The variant in small sizes, as `detect` finds it."""
    from dataclasses import replace

    c = variant.config
    small = dict(dim=256, ffn_dim=256, layers=2, text_dim=256, image_dim=256 if c.image_dim else 0)
    return variant.of(replace(c, **small, vace_layers=(0,) if c.vace_layers else ()))


def random_state(config, seed: int = 0) -> State:
    """Values of the sizes that trained weights have, for every tensor of a transformer."""
    from vdit.model.worlds import transformer_of

    with torch.device("meta"):
        shapes = {name: value.shape for name, value in transformer_of(config).state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}


GGUF_FILE_TYPES = {
    "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K": 12, "Q4_K": 15, "Q5_K": 17, "Q6_K": 18,
    "IQ4_NL": 25, "IQ4_XS": 30, "IQ3_S": 26, "IQ2_XS": 20,
}  # fmt: skip
SCALES = {"Q4_0": [0], "Q5_0": [0], "Q8_0": [0], "Q6_K": [208], "Q2_K": [80, 82], "Q3_K": [108]}  # bytes of a block


def gguf(path: Path, state: State, kind: str = "Q8_0", architecture: str = "wan", patch: str = "noted") -> Path:
    """As ComfyUI-GGUF's converter: matrices in blocks, the rest float32. K blocks are random: gguf cannot make them.

    patch: the 5-D kernel, "noted" (flattened, with its shape in comfy.gguf.orig_shape), "flat" (flattened) or "whole".
    """
    from gguf import GGMLQuantizationType, GGUFWriter, quantize

    writer = GGUFWriter(path, architecture)
    writer.add_file_type(GGUF_FILE_TYPES[kind])
    writer.add_quantization_version(2)
    qtype = GGMLQuantizationType[kind]
    for name, value in state.items():
        data = value.float().numpy()
        if value.ndim == 2 and name.endswith(".weight"):
            blocks = quantize(data, qtype) if kind == "Q8_0" else random_blocks(kind, tuple(value.shape))
            writer.add_tensor(name, blocks, raw_dtype=qtype)
        elif value.ndim == 5 and patch != "whole":
            if patch == "noted":
                writer.add_array(f"comfy.gguf.orig_shape.{name}", [int(n) for n in value.shape])
            writer.add_tensor(name, data.reshape(-1, *data.shape[2:]))
        else:
            writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_blocks(kind: str, shape: tuple[int, int]):
    """Any bytes are a matrix, as long as each block's scales are numbers: [rows, bytes of a row]."""
    import numpy as np
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    values, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 256, (shape[0] * shape[1] // values, size), dtype=np.uint8)
    for place in SCALES.get(kind, [0, 2]):
        scale = generator.uniform(1e-4, 2e-4, len(blocks)).astype(np.float16)
        blocks[:, place : place + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(shape[0], -1)


_AB, _DOWN_UP = ("lora_A.weight", "lora_B.weight"), ("lora_down.weight", "lora_up.weight")
LORA_NAMES = {  # how trainers name a matrix's LoRA: before the ends, and the ends
    "down/up": ("diffusion_model.{layer}", _DOWN_UP),
    "A/B": ("diffusion_model.{layer}", _AB),
    "peft": ("base_model.model.{layer}", ("lora_A.default.weight", "lora_B.default.weight")),
    "kohya": ("lora_unet__{flat}", _DOWN_UP),
    "musubi": ("lora_unet_{flat}", _DOWN_UP),
    "diffusers": ("transformer.{theirs}", _AB),
    "flat with dots": ("lora_unet_{layer}", _DOWN_UP),
    "lycoris": ("lycoris_{flat}", _DOWN_UP),
    "flat diffusers": ("lora_transformer_{flat_theirs}", _DOWN_UP),
    "second expert": ("transformer_2.{theirs}", _AB),
    "pipe": ("pipe.dit.{layer}", _AB),
    "dit": ("dit.{layer}", _AB),
    "module": ("module.{layer}", _AB),
    "model": ("model.{layer}", _AB),
    "peft of a pipeline": ("base_model.model.diffusion_model.{layer}", _AB),
    "with bias": ("diffusion_model.{layer}", _AB),
    "kohya with bias": ("lora_unet__{flat}", _DOWN_UP),
    "peft with bias": ("base_model.model.{layer}", ("lora_A.default.weight", "lora_B.default.weight")),
    "diffusers with bias": ("transformer.{theirs}", _AB),
}


def lora(
    path: Path, state: State, naming: str = "A/B", rank: int = 4, alpha: float | None = None, only: str = "attn"
) -> State:
    """A LoRA for the matrices whose names hold `only`; returns what it adds to each weight or bias at strength 1.

    naming: a key of LORA_NAMES, or "diff" (whole differences, with biases).
    """
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    random = lambda *shape: torch.randn(shape, generator=generator) / 20  # noqa: E731
    out, adds = {}, {}
    for name, value in state.items():
        if not name.endswith(".weight") or value.ndim != 2 or only not in name:
            continue
        layer, (rows, columns) = name.removesuffix(".weight"), value.shape
        if naming == "diff":
            out[f"diffusion_model.{layer}.diff"] = adds[name] = random(rows, columns)
            out[f"diffusion_model.{layer}.diff_b"] = adds[layer + ".bias"] = random(rows)
            continue
        down, up = random(rank, columns), random(rows, rank)
        adds[name] = (alpha / rank if alpha else 1.0) * up @ down
        theirs = next(iter(diffusers_names({name: value}))).removesuffix(".weight")
        pattern, ends = LORA_NAMES[naming]
        before = pattern.format(
            layer=layer, flat=layer.replace(".", "_"), theirs=theirs, flat_theirs=theirs.replace(".", "_")
        )
        out[f"{before}.{ends[0]}"], out[f"{before}.{ends[1]}"] = down, up
        if alpha:
            out[f"{before}.alpha"] = torch.tensor(alpha)
        if naming.endswith("with bias"):
            bias = out[f"{before}.{ends[1].removesuffix('weight')}bias"] = random(rows)
            adds[layer + ".bias"] = (alpha / rank if alpha else 1.0) * bias
    save_file({n: v.contiguous() for n, v in out.items()}, path)
    return adds


def sparse(path: Path, shapes: dict[str, tuple[int, ...]], dtype: str = "F16", **metadata: str) -> Path:
    """A file of full size that takes no room: a true header, and a hole where the data would be."""
    from math import prod

    width = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}[dtype]
    header: dict = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + prod(shape) * width
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.truncate(8 + len(text) + end)
    return path


FOREIGN = {  # files of other kinds: a few of their names, and shapes where those tell
    "Stable Diffusion": {
        "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
        "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight": (3072, 768),
        "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
    },
    "SDXL": {
        "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
        "conditioner.embedders.0.transformer.text_model.encoder.layers.0.mlp.fc1.weight": (3072, 768),
    },
    "Flux": {"double_blocks.0.img_attn.qkv.weight": (9216, 3072), "img_in.weight": (3072, 64)},
    "Hunyuan Video": {
        "double_blocks.0.img_attn_qkv.weight": (9216, 3072),
        "txt_in.individual_token_refiner.blocks.0.mlp.fc1.weight": (3072, 3072),
    },
    "LTX": {"patchify_proj.weight": (2048, 128), "transformer_blocks.0.attn1.to_q.weight": (2048, 2048)},
    "Qwen-Image": {"transformer_blocks.0.img_mod.1.weight": (18432, 3072)},
    "t5xxl": {"shared.weight": (32128, 4096), "encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)},
    "umt5": {"shared.weight": (256384, 4096), "encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)},
    "CLIP text": {"text_model.encoder.layers.0.mlp.fc1.weight": (3072, 768)},
    "CLIP vision": {"vision_model.encoder.layers.0.mlp.fc1.weight": (5120, 1280)},
    "VAE of an image model": {
        "decoder.conv_in.weight": (512, 4, 3, 3), "decoder.mid.block_1.conv1.weight": (512, 512, 3, 3),
    },
    "VAE 2.1": {
        "conv2.weight": (16, 16, 1, 1, 1), "decoder.conv1.weight": (384, 16, 3, 3, 3),
        "decoder.upsamples.0.residual.2.weight": (384, 384, 3, 3, 3),
    },
    "VAE 2.2": {
        "conv2.weight": (48, 48, 1, 1, 1), "decoder.conv1.weight": (1024, 48, 3, 3, 3),
        "decoder.upsamples.0.upsamples.0.residual.2.weight": (1024, 1024, 3, 3, 3),
    },
    "Flux LoRA": {
        "lora_unet_double_blocks_0_img_attn_proj.lora_down.weight": (16, 3072),
        "lora_unet_double_blocks_0_img_attn_proj.lora_up.weight": (3072, 16),
    },
    "SDXL LoRA": {
        "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (16, 1280),
        "lora_unet_input_blocks_4_1_proj_in.lora_down.weight": (16, 640),
    },
    "Hunyuan Video LoRA": {
        "diffusion_model.double_blocks.0.img_attn_qkv.lora_A.weight": (16, 3072),
        "diffusion_model.txt_in.individual_token_refiner.blocks.0.mlp.fc1.lora_A.weight": (16, 3072),
    },
    "Animate": {
        "patch_embedding.weight": (5120, 36, 1, 2, 2), "head.modulation": (1, 2, 5120),
        "face_adapter.fuser_blocks.0.linear1_q.weight": (5120, 5120),
    },
    "nothing known": {"layer.weight": (3, 3)},
}  # fmt: skip


def foreign(path: Path, kind: str) -> Path:
    return sparse(path, FOREIGN[kind])


def tokenizer(sentences: list[str], words: int) -> bytes:
    """A sentencepiece model with umt5's special ids: 0 padding, 1 end, 2 unknown."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    ids = dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        vocab_size=words,
        hard_vocab_limit=False,
        minloglevel=2,
        **ids,
    )
    return model.getvalue()
