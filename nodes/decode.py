"""Decode: a latent video becomes pictures, a few frames at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import io, progress, torch_device, use_model
from .types import VDiTModel, node_schema

if TYPE_CHECKING:
    from ..model.world_model import WorldModel

TOOLTIPS = {
    "model": "The world model whose codec made the latent.",
    "latent": "The latent video [1,C,T,h,w], from VDiT Sample.",
    "-> images": "The video's frames [T,H,W,3], 0 to 1.",
    "-> fps": "Frames per second, for Create Video.",
}


class VDiTDecode(io.ComfyNode):
    """Decodes a latent video into pictures, a few frames at a time. Parts that the start pictures show stay as sharp
    as they are, where the latent agrees with the motion that VDiT Sample predicted.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [VDiTModel.Input("model"), io.Latent.Input("latent")]
        return node_schema(cls, "VDiT Decode", inputs, {"images": io.Image, "fps": io.Float}, TOOLTIPS)

    @classmethod
    def execute(cls, model: WorldModel, latent: dict) -> io.NodeOutput:
        from ..pipeline import Hooks, RunContext, check_latent, decode_frames

        samples, device = latent["samples"], torch_device()
        codec = model.require("codec", "VDiT Decode")
        check_latent(codec, samples)
        use_model(codec, device)
        update = progress(samples.shape[2])
        context = RunContext(device, Hooks(on_frames=lambda done, _: update(done)))
        images = decode_frames(codec, samples, latent.get("vdit_draft"), context)
        return io.NodeOutput(images, float(latent.get("fps", model.defaults["fps"])))
