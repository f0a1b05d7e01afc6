"""Attention Patch: sparse space-time attention for a native Wan MODEL."""

from __future__ import annotations

from .comfy import io
from .load import ATTENTION, WINDOW
from .types import node_schema

KEY = "vdit_attention"
TOOLTIPS = {
    "model": "A Wan 2.1 or 2.2 video model from a native loader (Load Diffusion Model).",
    "attention": f"What each part of the video attends to. {ATTENTION} The released weights were trained with full: "
    "the sparser the attention, the more the video may change.",
    "window": WINDOW,
    "full_start": "The share of the sampling, 0 to 1, that keeps full attention at the start, where layout and motion "
    "are decided. 0 is fastest, 1 changes nothing.",
    "-> model": "The model, for any native sampler.",
}


class VDiTAttentionPatch(io.ComfyNode):
    """Makes a native Wan video model faster: each part of the video attends only to some of the others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        model = io.Custom("MODEL")
        inputs = [
            model.Input("model"),
            io.Combo.Input("attention", options=["window", "axial", "frame-causal", "full"], default="window"),
            io.Float.Input("window", default=0.5, min=0.05, max=1.0, step=0.05),
            io.Float.Input("full_start", default=0.25, min=0.0, max=1.0, step=0.05),
        ]
        return node_schema(cls, "VDiT Attention Patch", inputs, {"model": model}, TOOLTIPS)

    @classmethod
    def execute(cls, model, attention: str, window: float, full_start: float) -> io.NodeOutput:
        if not hasattr(model, "add_wrapper_with_key"):
            raise ValueError(
                f"VDiT Attention Patch: found {type(model).__name__}, expected a native ComfyUI MODEL (0.3.64 or "
                "later). Outside ComfyUI there is none: use the attention input of VDiT Load Model instead"
            )
        transformer = model.get_model_object("diffusion_model")
        patch = getattr(transformer, "patch_size", None)
        blocks = getattr(transformer, "blocks", None)
        if not isinstance(patch, (tuple, list)) or len(patch) != 3 or not blocks or not hasattr(blocks[0], "self_attn"):
            raise ValueError(
                f"VDiT Attention Patch: this MODEL is a {type(transformer).__name__}; expected a Wan 2.1 or 2.2 video "
                "model. Connect one, or leave this node out"
            )
        from ..model.native import SparseAttention

        model = model.clone()
        options = model.model_options.setdefault("transformer_options", {})
        previous = options.get("optimized_attention_override")
        if isinstance(previous, SparseAttention):  # this patch replaces an earlier one
            previous = previous.previous
        dense_above = float(model.get_model_object("model_sampling").percent_to_sigma(full_start))
        if full_start >= 1:
            dense_above = -1.0  # every step
        override = SparseAttention(attention, window, tuple(patch), dense_above, previous)
        options["optimized_attention_override"] = override
        model.remove_wrappers_with_key("diffusion_model", KEY)
        model.add_wrapper_with_key("diffusion_model", KEY, override.around)
        return io.NodeOutput(model)
