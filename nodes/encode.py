"""Encode Conditioning: a shot's prompt, key pictures and controls, encoded for the sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .comfy import check_interrupted, io, use_model, verdict
from .sessions import cancellable
from .types import Tracks, VDiTCamera, VDiTConditioning, VDiTDepth, VDiTFlow, VDiTModel, node_schema, shown

if TYPE_CHECKING:
    from ..model.world_model import WorldModel

# Inputs that control.Shot has under shorter names.
SHOT_NAMES = {
    "start_image": "start",
    "end_image": "end",
    "clip_vision_output": "clip_vision",
    "clip_vision_output_end": "clip_vision_end",
    "reference_image": "reference",
}
TRACK_METHODS = ["ati", "wanmove"]  # as control.tracks has them; importing that costs torch
TOOLTIPS = {
    "model": "The world model whose text encoder reads the prompts.",
    "prompt": "What should happen, in plain words; up to 2,000 characters. Words that the model does not know are "
    "ignored, and named on this node with the nearest known words.",
    "negative_prompt": "What to steer away from; up to 2,000 characters, empty for nothing in particular. Has an "
    "effect only where guidance is not 1.",
    "strength": "How firmly the video follows the pictures, 0 to 1. 1: it shows exactly them. Lower: they apply to a "
    "shorter part of the sampling, and the model may change them. 0: ignored.",
    "start_image": "The picture the video starts from: its first frame. 4k+1 pictures (5, 9, ...) are taken as the "
    "video's first frames. At least 16x16 pixels; resized to cover the video's size and cropped to the centre; "
    "transparency is shown over white.",
    "end_image": "One picture that the video moves towards and ends with. Fitted like start_image.",
    "camera": "How the camera moves, from VDiT Camera Path. The model needs a module for it (Fun-Camera, "
    "LingBot-World, DreamX-World).",
    "depth": "Depth of every frame, from VDiT Depth Control. The model needs a control branch.",
    "flow": "Where the picture moves, from Motion Brush, Flow From Video or Flow Control. The model needs a control "
    "branch, or how set to warped noise on Flow Control.",
    "positive": "For Wan models: words encoded by ComfyUI's CLIPLoader (type wan) and CLIP Text Encode, in place of "
    "prompt.",
    "negative": "For Wan models: what to steer away from, encoded by ComfyUI, in place of negative_prompt.",
    "clip_vision_output": "For Wan 2.1 I2V, FLF2V and Fun models: start_image, encoded by CLIP Vision Encode with "
    "clip_vision_h. I2V and FLF2V need it.",
    "clip_vision_output_end": "For Wan 2.1 FLF2V, which needs it, and I2V: the same of end_image.",
    "control_video": "For VACE: a video to generate anew (see control_mask), or poses, edges, a layout to follow; for "
    "Fun-Control: one to follow. As many frames as the video, or one for all; resized to cover it.",
    "control_mask": "For VACE: 1 where control_video is generated anew, 0 where it stays as it is. As many frames as "
    "the video, or one for all. Without a mask all is generated anew, guided by the video. Depth and flow lead only "
    "where it is 1.",
    "reference_image": "For VACE: who or what should appear, one picture or several, shown whole on white. For "
    "Fun-Control: one picture, resized to cover the video.",
    "draft": "A video of what will happen, from VDiT Simulate. The bundled models follow it, and where they show the "
    "same, its own pixels are taken; Wan models begin from it, noised. Resized to cover the video; another length is "
    "stretched over it. Without start_image its first frame is the start picture.",
    "draft_mask": "1 where the video must show what the draft does, 0 where the model decides how far. Bundled models: "
    "1 on moving bodies. Wan models: 1 on what stays as it is drawn, between 0 and 1 for that share of the steps. As "
    "many frames as the draft, or one for all.",
    "draft_strength": "How far the draft is followed, 0 to 1; 0: ignored. Bundled models follow it while a frame is "
    "noisier than 1 minus this, at 1 to the end. Wan models leave out this share of their schedule and begin from the "
    "noised draft: 0.2 where much may change, 0.7 where it is good.",
    "tracks": "Where points of start_image go, from VDiT Tracks, Motion Brush, Simulate or ComfyUI's own track nodes. "
    "For Wan I2V models, with one start_image and no end_image. Another number of frames is stretched over the video.",
    "track_method": "How a model reads tracks. ati: for Wan-ATI; what lies near a point goes with it, softly. "
    "wanmove: for Wan-Move; cells of 8x8 pixels are copied along.",
    "-> conditioning": "The shot, for VDiT Sample.",
}


class VDiTEncodeConditioning(io.ComfyNode):
    """States the shot: a prompt, pictures it starts from or ends with, camera, depth, optical flow. What a checkpoint
    cannot read is refused by name.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTModel.Input("model"),
            io.String.Input("prompt", multiline=True, dynamic_prompts=True, default=""),
            io.String.Input("negative_prompt", multiline=True, dynamic_prompts=True, default=""),
            io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.05),
            io.Image.Input("start_image", optional=True),
            io.Image.Input("end_image", optional=True),
            VDiTCamera.Input("camera", optional=True),
            VDiTDepth.Input("depth", optional=True),
            VDiTFlow.Input("flow", optional=True),
            # Later additions come last: workflow files store widget values by position.
            io.Conditioning.Input("positive", optional=True),
            io.Conditioning.Input("negative", optional=True),
            io.ClipVisionOutput.Input("clip_vision_output", optional=True),
            io.ClipVisionOutput.Input("clip_vision_output_end", optional=True),
            io.Image.Input("control_video", optional=True),
            io.Mask.Input("control_mask", optional=True),
            io.Image.Input("reference_image", optional=True),
            io.Image.Input("draft", optional=True),
            io.Mask.Input("draft_mask", optional=True),
            io.Float.Input("draft_strength", default=1.0, min=0.0, max=1.0, step=0.05, optional=True),
            Tracks.Input("tracks", optional=True),
            io.Combo.Input("track_method", options=TRACK_METHODS, default="ati", optional=True),
        ]
        outputs = {"conditioning": VDiTConditioning}
        return node_schema(cls, "VDiT Encode Conditioning", inputs, outputs, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, strength: float | None = None) -> bool | str:
        return verdict(cls, strength=strength)

    @classmethod
    def execute(
        cls,
        model: WorldModel,
        prompt: str,
        negative_prompt: str,
        strength: float,
        **more: Any,  # noqa: ANN401  as the schema says
    ) -> io.NodeOutput:
        from ..control import Shot
        from ..control.tracks import from_core
        from ..pipeline import encode_shot

        sockets = {SHOT_NAMES.get(name, name): value for name, value in more.items()}
        if sockets.get("tracks") is not None:
            sockets["tracks"] = from_core(sockets["tracks"])
        shot = Shot(prompt=prompt, negative_prompt=negative_prompt, strength=strength, **sockets)
        if model.text is not None and (shot.positive is None or shot.negative is None):
            use_model(model.text)
        with cancellable(model):
            conditioning = encode_shot(model, shot, check_interrupted)
        return io.NodeOutput(conditioning, ui=shown("VDiT Encode Conditioning", conditioning.remarks))
