"""Decode: a latent video becomes pictures, or a video that is decoded while it is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import io, progress, streamed_video, torch_device, use_model, verdict
from .sessions import cancellable
from .types import VDiTModel, node_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from ..model.world_model import WorldModel

TOOLTIPS = {
    "model": "The world model whose codec made the latent.",
    "latent": "The latent video [1,C,T,h,w], from VDiT Sample.",
    "-> images": "The video's frames [T,H,W,3], 0 to 1.",
    "-> fps": "Frames per second, for Create Video.",
}
VIDEO_TOOLTIPS = {
    "model": TOOLTIPS["model"],
    "latent": TOOLTIPS["latent"],
    "fps": "Frames per second, up to 120; 0: those that the latent was sampled for, else the model's own.",
    "audio": "Sound, cut at the video's end.",
    "-> video": "For Save Video and every other node that takes a video. Each of them decodes it once more.",
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
        from ..kernels.processes import Processes
        from ..pipeline import Hooks, RunContext, check_latent, decode_frames

        samples, device = latent["samples"], torch_device()
        codec = model.require("codec", "VDiT Decode")
        check_latent(codec, samples)
        use_model(codec, device)
        update = progress(samples.shape[2])
        hooks = Hooks(on_frames=lambda done, _: update(done))
        context = RunContext(device, hooks, processes=Processes.of_this_run())
        with cancellable(model):
            images = decode_frames(codec, samples, latent.get("vdit_draft"), context)
        return io.NodeOutput(images, float(latent.get("fps", model.defaults["fps"])))


class VDiTDecodeVideo(io.ComfyNode):
    """Makes a video of a latent one, decoded a few frames at a time while it is saved: two minutes need no more memory
    than five seconds. The frames are those of VDiT Decode.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTModel.Input("model"),
            io.Latent.Input("latent"),
            io.Float.Input("fps", default=0.0, min=0.0, max=120.0, step=0.01),
            io.Audio.Input("audio", optional=True),
        ]
        return node_schema(cls, "VDiT Decode Video", inputs, {"video": io.Video}, VIDEO_TOOLTIPS)

    @classmethod
    def validate_inputs(cls, fps: float | None = None) -> bool | str:
        return verdict(cls, fps=fps)

    @classmethod
    def execute(cls, model: WorldModel, latent: dict, fps: float, audio: dict | None = None) -> io.NodeOutput:
        from ..kernels.processes import Processes
        from ..pipeline import StreamedFrames, check_latent, decode_stream, frames_shape

        samples, codec = latent["samples"], model.require("codec", "VDiT Decode Video")
        check_latent(codec, samples)
        shape = frames_shape(codec, samples)

        def parts() -> Iterator[Tensor]:  # runs within the node that uses the video, and shows its progress there
            device, done = torch_device(), 0
            use_model(codec, device)
            update = progress(shape[0])
            with cancellable(model):
                draft, processes = latent.get("vdit_draft"), Processes.of_this_run()
                for part in decode_stream(codec, samples, draft, device, processes):
                    yield part
                    done += len(part)
                    update(done)

        fps = fps or float(latent.get("fps", model.defaults["fps"]))
        return io.NodeOutput(streamed_video(StreamedFrames(shape, parts), fps, audio))
