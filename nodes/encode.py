"""Encode Conditioning: words, key pictures and controls become what the sampler is told."""

from __future__ import annotations

from .comfy import io, use_model
from .types import CATEGORY, VDiTCamera, VDiTConditioning, VDiTDepth, VDiTFlow, VDiTModel, shown


class VDiTEncodeConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VDiTEncodeConditioning",
            display_name="VDiT Encode Conditioning",
            category=CATEGORY,
            description="States the shot: a prompt, pictures it starts from or ends with, camera, depth, optical "
            "flow. What a checkpoint cannot read is refused by name.",
            inputs=[
                VDiTModel.Input("model", tooltip="The world model whose text encoder reads the prompts."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip="What should happen, in plain words; up to 2,000 characters. Words that the model does "
                    "not know are ignored, and named on this node with the nearest known words.",
                ),
                io.String.Input(
                    "negative_prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip="What to steer away from; up to 2,000 characters, empty for nothing in particular. "
                    "Has an effect only where guidance is not 1.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How firmly the pictures are held, 0 to 1. 1: the video shows exactly them. Lower: they "
                    "are let go earlier during sampling and the model may change them. 0: ignored.",
                ),
                io.Image.Input(
                    "start_image",
                    optional=True,
                    tooltip="The picture the video starts from: its first frame. 4k+1 pictures (5, 9, ...) are taken "
                    "as the video's first frames. At least 16x16 pixels; resized to cover the video's size and cropped "
                    "to the centre; transparency is shown over white.",
                ),
                io.Image.Input(
                    "end_image",
                    optional=True,
                    tooltip="One picture that the video moves towards and ends with. Fitted like start_image.",
                ),
                VDiTCamera.Input(
                    "camera",
                    optional=True,
                    tooltip="How the camera moves, from VDiT Camera Path. The model needs a camera adapter.",
                ),
                VDiTDepth.Input(
                    "depth",
                    optional=True,
                    tooltip="How near everything is, frame by frame, from VDiT Depth Control. Needs a control branch.",
                ),
                VDiTFlow.Input(
                    "flow",
                    optional=True,
                    tooltip="Where the picture moves, from Motion Brush, Flow From Video or Flow Control. The model "
                    "needs a control branch, or how set to warped noise on Flow Control.",
                ),
                # What is added comes last: widgets are stored by position.
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="For Wan models: words encoded by ComfyUI's CLIPLoader (type wan) and CLIP Text Encode, in "
                    "place of prompt.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="For Wan models: what to steer away from, encoded by ComfyUI, in place of negative_prompt.",
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    optional=True,
                    tooltip="For Wan 2.1 I2V, FLF2V and Fun models: start_image as CLIP Vision Encode with "
                    "clip_vision_h sees it. I2V and FLF2V need it.",
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_output_end",
                    optional=True,
                    tooltip="For Wan 2.1 FLF2V, which needs it, and I2V: the same of end_image.",
                ),
                io.Image.Input(
                    "control_video",
                    optional=True,
                    tooltip="For VACE: a video to be made anew (see control_mask), or poses, edges, a layout to "
                    "follow; for Fun-Control: one to follow. As many frames as the video, or one for all; resized "
                    "to cover it.",
                ),
                io.Mask.Input(
                    "control_mask",
                    optional=True,
                    tooltip="For VACE: what of control_video is made anew, 1, and what is kept, 0. As many frames "
                    "as the video, or one for all. Without it all is made anew, led by the video.",
                ),
                io.Image.Input(
                    "reference_image",
                    optional=True,
                    tooltip="For VACE: who or what should appear, one picture or several, shown whole on white. For "
                    "Fun-Control: one picture, resized to cover the video.",
                ),
            ],
            outputs=[VDiTConditioning.Output(display_name="conditioning", tooltip="The shot, for VDiT Sample.")],
        )

    @classmethod
    def execute(
        cls,
        model,
        prompt,
        negative_prompt,
        strength,
        start_image=None,
        end_image=None,
        camera=None,
        depth=None,
        flow=None,
        positive=None,
        negative=None,
        clip_vision_output=None,
        clip_vision_output_end=None,
        control_video=None,
        control_mask=None,
        reference_image=None,
    ) -> io.NodeOutput:
        from ..control import Shot
        from ..pipeline import encode_shot

        if model.text is not None and (positive is None or negative is None):
            use_model(model.text)
        shot = Shot(
            prompt,
            negative_prompt,
            start_image,
            end_image,
            strength,
            camera,
            depth,
            flow,
            positive,
            negative,
            clip_vision_output,
            clip_vision_output_end,
            control_video,
            control_mask,
            reference_image,
        )
        conditioning = encode_shot(model, shot)
        return io.NodeOutput(conditioning, ui=shown("VDiT Encode Conditioning", conditioning.remarks))
