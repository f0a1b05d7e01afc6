"""Decode: a latent video becomes pictures, a few frames at a time."""

from __future__ import annotations

from .comfy import io, progress, torch_device, use_model
from .types import CATEGORY, VDiTModel


class VDiTDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTDecode",
            display_name="VDiT Decode",
            category=CATEGORY,
            description="Turns a latent video into pictures. Streamed, a few frames at a time. What the start pictures show "
            "stays as sharp as they are, where the latent still says what VDiT Sample expected.",
            inputs=[
                VDiTModel.Input("model", tooltip="The world model whose codec made the latent."),
                io.Latent.Input("latent", tooltip="The latent video [1,C,T,h,w], from VDiT Sample."),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The video's frames [T,H,W,3], 0 to 1."),
                io.Float.Output(display_name="fps", tooltip="Frames per second, for Create Video."),
            ],
        )

    @classmethod
    def execute(cls, model, latent) -> io.NodeOutput:
        from ..pipeline import Hooks, RunContext, check_latent, decode_frames

        samples, device = latent["samples"], torch_device()
        codec = model.require("codec", "VDiT Decode")
        check_latent(codec, samples)
        use_model(codec, device)
        update = progress(samples.shape[2])
        context = RunContext(device, Hooks(on_frames=lambda done, _: update(done)))
        images = decode_frames(codec, samples, latent.get("vdit_draft"), context)
        return io.NodeOutput(images, float(latent.get("fps", model.defaults["fps"])))
