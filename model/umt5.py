"""The text encoder of Wan models, umt5-xxl: transformers' encoder over weights that stay as their file has them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from .errors import CheckpointError
from .files.promises import without_values
from .text import TextEncoder, TextEncoding

if TYPE_CHECKING:
    from .files.weights import WeightFile

TEXT_LEN = 512  # tokens that Wan models were trained with
END = 1  # id behind the last word
SPIECE = "spiece_model"  # ComfyUI's single files carry the tokenizer in a tensor of this name
WORDS = ("shared.weight", "encoder.embed_tokens.weight")  # one table, saved under either name or both
NEEDED = "give umt5-xxl's spiece.model or tokenizer.json as `tokenizer`: both are in the google/umt5-xxl folder"

# Native names of Wan2.1 (wan/modules/t5.py) and of llama.cpp's GGUF -> transformers'.
_RENAMES = [(re.compile(pattern), to) for pattern, to in (
    (r"^(token_embedding|token_embd)\.weight$", WORDS[0]),
    (r"^(norm|enc\.output_norm)\.weight$", "encoder.final_layer_norm.weight"),
    (r"^(?:blocks|enc\.blk)\.(\d+)\.(?:attn\.|attn_)([qkvo])\.", r"encoder.block.\1.layer.0.SelfAttention.\2."),
    (r"^(?:blocks\.(\d+)\.pos_embedding\.embedding|enc\.blk\.(\d+)\.attn_rel_b)\.",
     lambda m: f"encoder.block.{m[1] or m[2]}.layer.0.SelfAttention.relative_attention_bias."),
    (r"^(?:blocks|enc\.blk)\.(\d+)\.(?:norm1|attn_norm)\.", r"encoder.block.\1.layer.0.layer_norm."),
    (r"^(?:blocks|enc\.blk)\.(\d+)\.(?:norm2|ffn_norm)\.", r"encoder.block.\1.layer.1.layer_norm."),
    (r"^(?:blocks|enc\.blk)\.(\d+)\.(?:ffn\.gate\.0|ffn_gate)\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_0."),
    (r"^(?:blocks|enc\.blk)\.(\d+)\.(?:ffn\.fc1|ffn_up)\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_1."),
    (r"^(?:blocks|enc\.blk)\.(\d+)\.(?:ffn\.fc2|ffn_down)\.", r"encoder.block.\1.layer.1.DenseReluDense.wo."),
)]  # fmt: skip


class UMT5Text(TextEncoder):
    """encoder: transformers' UMT5Stack without its table of words, which is `words`; tokenize: text -> ids."""

    def __init__(self, encoder: nn.Module, words: StoredEmbedding, tokenize: Callable[[str], list[int]]):
        super().__init__()
        self.encoder, self.words, self.tokenize = encoder, words, tokenize

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> TextEncoding:
        """Tokens [B, L, 4096] in float32; L is the longest prompt's, at most 512, shorter prompts end in zeros.

        Padding is masked in the encoder and zeroed in its output, as in Wan; the transformer pads to 512 with zeros.
        """
        pieces = [self.tokenize(cleaned(prompt)) for prompt in prompts]
        ids = [p[: TEXT_LEN - 1] + [END] for p in pieces]
        device = self.words.weight.device
        mask = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.long)
        padded = torch.zeros_like(mask)  # 0 is the padding's id
        for row, one in enumerate(ids):
            mask[row, : len(one)] = 1
            padded[row, : len(one)] = torch.tensor(one)
        padded, mask = padded.to(device), mask.to(device)
        tokens = self.encoder(inputs_embeds=self.words(padded), attention_mask=mask).last_hidden_state.float()
        cut = sum(max(0, len(p) - TEXT_LEN + 1) for p in pieces)
        return TextEncoding(tokens * mask[..., None], cut=cut, unit="tokens")


class StoredEmbedding(nn.Module):
    """An embedding table in its stored form; only the rows that are looked up are decoded."""

    scale: Tensor | None

    def __init__(self, raw: Tensor, stored: str, shape: tuple[int, ...], scale: Tensor | None, dtype: torch.dtype):
        super().__init__()
        self.weight = nn.Parameter(raw.reshape(shape[0], -1), requires_grad=False)
        self.stored, self.dim, self.dtype = stored, shape[1], dtype
        self.register_buffer("scale", scale)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [B, L] -> vectors [B, L, D]."""
        from .files.quantized import decode

        rows = self.weight[ids.flatten()]
        scale = self.scale if self.scale is None or self.scale.ndim == 0 else self.scale[ids.flatten()]
        return decode(rows, self.stored, (len(rows), self.dim), scale, self.dtype).reshape(*ids.shape, -1)


class _WithoutWeight(nn.Module):
    """A linear layer that hides its weight: transformers would cast activations to its dtype, here the file's."""

    weight = None

    def __init__(self, linear: nn.Module):
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def load_text_file(
    weights: WeightFile, tokenizer: str | Path | None = None, dtype: torch.dtype = torch.float32
) -> UMT5Text:
    """The encoder of an opened file (transformers', ComfyUI's, Wan's own or GGUF names); fp8 and GGUF stay as they are.

    tokenizer: spiece.model or tokenizer.json; None takes the one inside the file. dtype: of activations; umt5
    overflows float16, so float32 takes its place. CheckpointError names what is missing or not umt5's.
    """
    from .files.fill import fill

    dtype = torch.float32 if dtype == torch.float16 else dtype
    named = with_transformers_names(weights)
    tokenize = tokenizer_of(named, tokenizer)
    words = next((name for name in WORDS if name in named.stored), WORDS[0])
    encoder = _on_meta(named, words)
    only = replace(named, stored={n: s for n, s in named.stored.items() if n not in (*WORDS, SPIECE)})
    never = re.compile("(?!)")  # transformers' own norms compute in float32 whatever their weights are in
    fill(encoder, only, dtype, "umt5", float32=never, renamed=lambda name: "encoder." + name)
    for block in cast(Any, encoder).block:
        block.layer[1].DenseReluDense.wo = _WithoutWeight(block.layer[1].DenseReluDense.wo)
    shape, stored = named.stored[words]
    table = StoredEmbedding(named.tensor(words), stored, shape, named.scale(words), dtype)
    return UMT5Text(encoder, weights.guarded(table), tokenize).requires_grad_(False).eval()


def with_transformers_names(weights: WeightFile) -> WeightFile:
    """The same file, its tensors under transformers' names."""
    new = {name: _renamed(name) for name in weights.stored}
    return replace(
        weights,
        stored={new[name]: s for name, s in weights.stored.items()},
        scales={new[name]: s for name, s in weights.scales.items() if name in new},
        _names={new[name]: weights._names[name] for name in new},
    )


def _renamed(name: str) -> str:
    for pattern, to in _RENAMES:
        name, found = pattern.subn(to, name, count=1)
        if found:
            return name
    return name


def _on_meta(weights: WeightFile, words: str) -> nn.Module:
    """transformers' encoder of the file's sizes, without memory and without its table of words."""
    try:
        from transformers import UMT5Config, UMT5EncoderModel
    except ImportError as e:
        raise CheckpointError(
            f"{weights.path}: text encoders run through a package that is not installed: run `pip install "
            "transformers==5.23.0`, or wire CONDITIONING from ComfyUI's CLIPLoader and CLIPTextEncode"
        ) from e
    shapes, first = weights.shapes, "encoder.block.0.layer."
    try:
        vocabulary, width = shapes[words]
        buckets, heads = shapes[first + "0.SelfAttention.relative_attention_bias.weight"]
        inner, hidden = shapes[first + "0.SelfAttention.q.weight"][0], shapes[first + "1.DenseReluDense.wi_0.weight"][0]
    except (KeyError, ValueError) as e:
        raise CheckpointError(
            f"{weights.path}: its tensors are not umt5's ({e}); give umt5_xxl_fp16.safetensors or the like"
        ) from e
    config = UMT5Config(
        vocab_size=vocabulary, d_model=width, d_kv=inner // heads, d_ff=hidden, num_heads=heads, dropout_rate=0.0,
        num_layers=len({name.split(".")[2] for name in shapes if name.startswith("encoder.block.")}),
        relative_attention_num_buckets=buckets, feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-6,
    )  # fmt: skip
    with without_values():
        encoder = UMT5EncoderModel(config).encoder
    encoder.embed_tokens = None
    return encoder


def tokenizer_of(weights: WeightFile, path: str | Path | None) -> Callable[[str], list[int]]:
    """Text to ids, without the end's: by the user's file, or else by the one that lies in the encoder's file."""
    if path is None:
        if SPIECE not in weights.stored:
            raise CheckpointError(f"{weights.path}: it brings no tokenizer (no tensor `{SPIECE}`); {NEEDED}")
        return _sentencepiece(bytes(weights.tensor(SPIECE).to(torch.uint8).tolist()), weights.path)
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; {NEEDED}")
    if path.suffix != ".json":
        return _sentencepiece(path.read_bytes(), path)
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as e:  # tokenizers raises plain Exception for whatever it cannot parse
        raise CheckpointError(f"{path}: not a tokenizer ({e}); {NEEDED}") from e
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def _sentencepiece(model: bytes, path: Path) -> Callable[[str], list[int]]:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as e:
        raise CheckpointError(
            f"{path}: its tokenizer is sentencepiece's, a package that is not installed: run `pip install "
            "sentencepiece==0.2.3`, or give umt5-xxl's tokenizer.json"
        ) from e
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except (RuntimeError, ValueError) as e:
        raise CheckpointError(f"{path}: not a sentencepiece model ({e}); {NEEDED}") from e
    return processor.EncodeAsIds


def cleaned(prompt: str) -> str:
    """As Wan's own code before its tokenizer: HTML entities resolved, each run of white space one blank."""
    return " ".join(html.unescape(html.unescape(prompt)).split())
