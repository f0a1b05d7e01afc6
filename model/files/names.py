"""Tensor names: the transformer's native ones, from the names that diffusers and ComfyUI's single files use."""

from __future__ import annotations

import re
from collections.abc import Iterable

# A tensor that every file of a role has, native or diffusers': what stands before it is the prefix of that part.
ANCHORS = {
    "transformer": ("patch_embedding.weight",),
    "codec": ("decoder.conv1.weight", "post_quant_conv.weight", "decoder.1.weight"),
    "text encoder": ("shared.weight", "encoder.embed_tokens.weight", "token_embedding.weight", "token_embd.weight"),
}

# diffusers -> native, first match wins (diffusers, loaders/single_file_utils.py, read backwards). Two traps: its norm2
# is the native norm3, and FLF2V's pos_embed is missing in its own table.


def _compiled(*rules: tuple[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), native) for pattern, native in rules]


_RULES = _compiled(
    (r"^condition_embedder\.(time|text)_embedder\.linear_1\b", r"\1_embedding.0"),
    (r"^condition_embedder\.(time|text)_embedder\.linear_2\b", r"\1_embedding.2"),
    (r"^condition_embedder\.time_proj\b", "time_projection.1"),
    (r"^condition_embedder\.delta_embedder\.linear_1\b", "delta_embedder.0"),
    (r"^condition_embedder\.delta_embedder\.linear_2\b", "delta_embedder.2"),
    (r"^condition_embedder\.image_embedder\.norm1\b", "img_emb.proj.0"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj\b", "img_emb.proj.1"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2\b", "img_emb.proj.3"),
    (r"^condition_embedder\.image_embedder\.norm2\b", "img_emb.proj.4"),
    (r"^condition_embedder\.image_embedder\.pos_embed\b", "img_emb.emb_pos"),
    (r"^scale_shift_table$", "head.modulation"),
    (r"^proj_out\b", "head.head"),
)
_IN_BLOCK = re.compile(r"^((?:vace_)?blocks\.\d+\.)(.+)$")
_BLOCK_RULES = _compiled(
    (r"^scale_shift_table$", "modulation"),
    (r"^proj_in\b", "before_proj"),
    (r"^proj_out\b", "after_proj"),
    (r"^norm2\b", "norm3"),
    (r"^ffn\.net\.0\.proj\b", "ffn.0"),
    (r"^ffn\.net\.2\b", "ffn.2"),
    (r"^attn1\.", "self_attn."),
    (r"^attn2\.", "cross_attn."),
)
_ATTENTION = _compiled(
    (r"_attn\.to_([qkv])\b", r"_attn.\1"),
    (r"_attn\.to_out\.0\b", "_attn.o"),
    (r"_attn\.add_([kv])_proj\b", r"_attn.\1_img"),
    (r"_attn\.norm_added_k\b", "_attn.norm_k_img"),
)


def _flat(rules: list[tuple[re.Pattern, str]]) -> list[tuple[re.Pattern, str]]:
    return [(re.compile(old.pattern.replace(r"\.", "_")), native.replace(".", "_")) for old, native in rules]


_FLAT = (re.compile(_IN_BLOCK.pattern.replace(r"\.", "_")), _flat(_RULES), _flat(_BLOCK_RULES), _flat(_ATTENTION))


def native_name(name: str) -> str:
    """The native name of a tensor or module that diffusers names so; a name that it does not know stays."""
    return _renamed(name, _IN_BLOCK, _RULES, _BLOCK_RULES, _ATTENTION)


def flat_native_name(name: str) -> str:
    """The same of names whose dots have become underscores, as LoRA files have them."""
    return _renamed(name, *_FLAT)


def is_diffusers(names: Iterable[str]) -> bool:
    """Whether these are diffusers' names of a Wan transformer."""
    return any(name.startswith("condition_embedder.") for name in names)


def prefix_of(names: Iterable[str], role: str) -> str:
    """The prefix of the part of a file that has this role, else of any part with one ("vae.", "model."); "" if none.

    Files that hold several models put a prefix before the names of each.
    """
    names = list(names)
    for anchors in (ANCHORS[role], *ANCHORS.values()):
        for anchor in anchors:
            found = [name.removesuffix(anchor) for name in names if name.endswith(anchor)]
            found = [prefix for prefix in found if not prefix or prefix.endswith(".")]
            if found:
                return min(found, key=len)
    return ""


def _renamed(name: str, in_block: re.Pattern, *rules: list[tuple[re.Pattern, str]]) -> str:
    block = in_block.match(name)
    if not block:
        return _first(name, rules[0])
    return block[1] + _first(_first(block[2], rules[1]), rules[2])


def _first(name: str, rules: list[tuple[re.Pattern, str]]) -> str:
    for pattern, native in rules:
        new, found = pattern.subn(native, name, count=1)
        if found:
            return new
    return name
