"""Load LoRA: a model with a LoRA laid over it; chain the node for several."""

from __future__ import annotations

from .comfy import io, model_files, model_path
from .types import CATEGORY, VDiTModel, told

FOLDER = "loras"
EXPERTS = {"both": ("high", "low"), "high noise": ("high",), "low noise": ("low",)}


class VDiTLoadLoRA(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTLoadLoRA",
            display_name="VDiT Load LoRA",
            category=CATEGORY,
            description="Lays a LoRA over a model. Chain the node for several: each adds to the ones before it. How "
            "many of its tensors were used is said on the node; a LoRA of which nothing fits is an error.",
            inputs=[
                VDiTModel.Input("model", tooltip="From VDiT Load Model or from another LoRA. It stays as it is."),
                io.Combo.Input(
                    "file",
                    options=model_files(FOLDER),
                    tooltip="A LoRA that was made for this model, from models/loras (.safetensors). The usual "
                    "namings are known: ComfyUI's, diffusers', kohya's (lora_unet__), with lora_down/up or "
                    "lora_A/B, alpha, diff, diff_b.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How much of it is added, -10 to 10. 1: as trained. 0: nothing. Negative: away from it.",
                ),
                io.Combo.Input(
                    "expert",
                    options=list(EXPERTS),
                    default="both",
                    optional=True,
                    tooltip="For Wan 2.2 models with two experts: which of them gets it. Many LoRAs come as a pair, "
                    "one file for each: give them with two of these nodes. Of no effect on other models.",
                ),
            ],
            outputs=[VDiTModel.Output(display_name="model", tooltip="The model with the LoRA.")],
        )

    @classmethod
    def execute(cls, model, file: str, strength: float = 1.0, expert: str = "both") -> io.NodeOutput:
        from ..model.files.lora import with_loras

        made, report = with_loras(model, [(model_path(FOLDER, file), strength)], EXPERTS[expert])
        return io.NodeOutput(made, ui=told(report.lines))

    @classmethod
    def fingerprint_inputs(cls, file: str, **other):
        try:
            stat = model_path(FOLDER, file).stat()
        except (OSError, ValueError):
            return "missing"  # execute says what is wrong with it
        return stat.st_mtime_ns, stat.st_size
