"""Attention Patch: sparse space-time attention for a native Wan MODEL."""

from __future__ import annotations

from .comfy import io
from .types import CATEGORY

KEY = "vdit_attention"


class VDiTAttentionPatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTAttentionPatch",
            display_name="VDiT Attention Patch",
            category=CATEGORY,
            description="Makes a native Wan video model quicker: each part of the video attends to a part of it only.",
            inputs=[
                io.Custom("MODEL").Input(
                    "model", tooltip="A Wan 2.1 or 2.2 video model from a native loader (Load Diffusion Model)."
                ),
                io.Combo.Input(
                    "attention",
                    options=["window", "axial", "frame-causal", "full"],
                    default="window",
                    tooltip="window: each part sees its neighbourhood in time, height and width. axial: its own frame, "
                    "and its own place in every frame. frame-causal: its own frame and earlier ones. full: no change. "
                    "The released weights were trained with full: the less is seen, the more the video may change.",
                ),
                io.Float.Input(
                    "window",
                    default=0.5,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    tooltip="For window: its sides as a share of the video's length, height and width, 0.05 to 1. Work "
                    "goes with its cube: 0.5 is about an eighth of full attention.",
                ),
                io.Float.Input(
                    "full_start",
                    default=0.25,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="The share of the sampling, 0 to 1, that keeps full attention at the start, where layout "
                    "and motion are decided. 0 is quickest, 1 changes nothing.",
                ),
            ],
            outputs=[io.Custom("MODEL").Output(display_name="model", tooltip="The model, for any native sampler.")],
        )

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
        if isinstance(previous, SparseAttention):  # patched before: this one replaces that
            previous = previous.previous
        dense_above = float(model.get_model_object("model_sampling").percent_to_sigma(full_start))
        if full_start >= 1:
            dense_above = -1.0  # every step
        override = SparseAttention(attention, window, patch, dense_above, previous)
        options["optimized_attention_override"] = override
        model.remove_wrappers_with_key("diffusion_model", KEY)
        model.add_wrapper_with_key("diffusion_model", KEY, override.around)
        return io.NodeOutput(model)
