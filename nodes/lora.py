"""Load LoRA: a model with a LoRA laid over it; chain the node for several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import file_marks, io, model_files, model_path, verdict
from .types import VDiTModel, node_schema, reported

if TYPE_CHECKING:
    from ..model.world_model import WorldModel

FOLDER = "loras"
EXPERTS = {"both": ("high", "low"), "high noise": ("high",), "low noise": ("low",)}
TOOLTIPS = {
    "model": "From VDiT Load Model or from another LoRA. It is not changed.",
    "file": "A LoRA that was made for this model, from models/loras (.safetensors). The usual tensor names are read: "
    "ComfyUI's, diffusers', kohya's (lora_unet__), with lora_down/up or lora_A/B, alpha, diff, diff_b.",
    "strength": "How much of it is added, -10 to 10. 1: as trained. 0: nothing. Negative: away from it.",
    "expert": "For Wan 2.2 models with two experts: which of them gets it. Many LoRAs come as a pair, one file for "
    "each: give them with two of these nodes. Of no effect on other models.",
    "-> model": "The model with the LoRA.",
}


class VDiTLoadLoRA(io.ComfyNode):
    """Lays a LoRA over a model. Chain the node for several: each adds to the ones before it. The node reports how many
    of its tensors were used; a LoRA of which nothing fits is an error.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTModel.Input("model"),
            io.Combo.Input("file", options=model_files(FOLDER)),
            io.Float.Input("strength", default=1.0, min=-10.0, max=10.0, step=0.05),
            io.Combo.Input("expert", options=list(EXPERTS), default="both", optional=True),
        ]
        return node_schema(cls, "VDiT Load LoRA", inputs, {"model": VDiTModel}, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, strength: float | None = None) -> bool | str:
        return verdict(cls, strength=strength)

    @classmethod
    def execute(cls, model: WorldModel, file: str, strength: float = 1.0, expert: str = "both") -> io.NodeOutput:
        from ..model.files.lora import with_loras

        made, report = with_loras(model, [(model_path(FOLDER, file), strength)], EXPERTS[expert])
        return io.NodeOutput(made, ui=reported(report.lines))

    @classmethod
    def fingerprint_inputs(cls, file: str, **other: object):
        return file_marks(lambda: [model_path(FOLDER, file)])
