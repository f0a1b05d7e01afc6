"""Actions and Simulate: words and arrows over a scene, and the scene simulated and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import check_interrupted, drawn_by, io, progress, verdict
from .types import Tracks, VDiTActionList, VDiTCamera, VDiTFlow, VDiTScene, node_schema, reported, seed_input, shown

if TYPE_CHECKING:
    from ..control.camera import CameraPath
    from ..world.actions import Actions
    from ..world.families.clip import Clip
    from ..world.scene import Scene

ACTIONS_TOOLTIPS = {
    "scene": "The bodies that are acted on: from VDiT Scene From Picture, VDiT Scene File or VDiT Simulate Scene.",
    "words": "What happens, in plain words; up to 2,000 characters: “the cup falls to the left and breaks, then the "
    "ball rolls gently towards the bottle”. Bodies by their names; fall, topple, drop, push, throw, roll, slide, spin, "
    "bounce, lift, move, hit, break; left, right, up, towards, away; hard, gently; after 2 seconds, then.",
    "arrows": 'Drawn here, or as JSON: {"version": 1, "arrows": [{"body", "kind": "push", "throw", "spin", "drag" or '
    '"force", "points": [[x, y], ...], "strength", "time", "toward", "duration"}]}; points in 0 to 1 of the picture, '
    "times in seconds. A body moves by the arrow's length in half a second.",
    "-> actions": "What happens, for VDiT Simulate.",
    "-> remarks": "What was not understood, a line each; empty where all was.",
}
SIMULATE_TOOLTIPS = {
    "scene": "The bodies: from VDiT Scene From Picture, VDiT Scene File or VDiT Simulate Scene.",
    "seconds": "Length, 0.1 to 120 seconds: seconds x fps + 1 frames. 5 s at 16 make 81, as Wan takes them.",
    "fps": "Frames per second, 1 to 120. The motion keeps its speed.",
    "width": "Width in pixels, up to 4096. 0: the picture's, reduced to as many pixels as 832x480, a multiple of 16.",
    "height": "Height in pixels, up to 4096. 0: the picture's, as width.",
    "mask_of": "Whose mask comes out: a body's name. Empty: all that can move.",
    "actions": "What is done to the bodies, from VDiT Actions. Without: gravity alone.",
    "camera": "How the camera moves, from VDiT Camera Path; it starts where the picture was taken. For an orbit, set "
    "the path's distance to that of the bodies, which is said on this node.",
    "-> draft": "The simulated frames [T,H,W,3], 0 to 1.",
    "-> depth": "Inverse depth [T,H,W,3], nearest percent of the clip white, for VDiT Depth Control.",
    "-> flow": "Exact motion in pixels a frame [T-1,H,W,2].",
    "-> masks": "[T,H,W], 1 where what moves shows, or the body named by mask_of.",
    "-> tracks": "Points that move with the bodies, as Wan's track nodes take them.",
    "-> scene": "The scene, as it was simulated.",
    "-> camera": "Where the camera is in every frame, in metres.",
    "-> fps": "Frames per second, for Create Video.",
    "-> remarks": "What is worth knowing of this run, a line each.",
}


class VDiTActions(io.ComfyNode):
    """Says what happens to the bodies of a scene, in words or by arrows drawn over the picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTScene.Input("scene"),
            io.String.Input("words", multiline=True, default=""),
            drawn_by("VDIT_ARROWS", io.String.Input("arrows", default="")),
        ]
        return node_schema(
            cls, "VDiT Actions", inputs, {"actions": VDiTActionList, "remarks": io.String}, ACTIONS_TOOLTIPS
        )

    @classmethod
    def validate_inputs(cls, words: str | None = None) -> bool | str:
        return verdict(cls, words=words)

    @classmethod
    def execute(cls, scene: Scene | Clip, words: str, arrows: str) -> io.NodeOutput:
        from ..world.arrows import actions_from_arrows
        from ..world.words import actions_from_words
        from .scenes import as_scene, picture_of

        bodies = as_scene(scene)
        drawn = actions_from_arrows(arrows, bodies)
        said, remarks = actions_from_words(words, bodies)
        count = len(said) + len(drawn)
        lines = [f"{count} action{'s' if count > 1 else ''}" if count else "nothing happens but gravity"]
        messages = (
            {"vdit_picture": picture_of(bodies)} | (reported(lines) or {}) | (shown("VDiT Actions", remarks) or {})
        )
        return io.NodeOutput((*said, *drawn), "\n".join(remarks), ui=messages)


class VDiTSimulate(io.ComfyNode):
    """Lets physics move the bodies of a scene, and shows it: a draft video with its depth, optical flow, masks and
    tracks, for any video model. It needs no model itself.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTScene.Input("scene"),
            io.Float.Input("seconds", default=5.0, min=0.1, max=120.0, step=0.1),
            io.Float.Input("fps", default=16.0, min=1.0, max=120.0, step=1.0),
            io.Int.Input("width", default=0, min=0, max=4096, step=16),
            io.Int.Input("height", default=0, min=0, max=4096, step=16),
            seed_input("Picks how things break: the shapes of shards."),
            io.String.Input("mask_of", default=""),
            VDiTActionList.Input("actions", optional=True),
            VDiTCamera.Input("camera", optional=True),
        ]
        outputs = {
            **{"draft": io.Image, "depth": io.Image, "flow": VDiTFlow, "masks": io.Mask, "tracks": Tracks},
            **{"scene": VDiTScene, "camera": VDiTCamera, "fps": io.Float, "remarks": io.String},
        }
        return node_schema(cls, "VDiT Simulate", inputs, outputs, SIMULATE_TOOLTIPS, is_output_node=True)

    @classmethod
    def validate_inputs(cls, seconds: float | None = None) -> bool | str:
        return verdict(cls, seconds=seconds)

    @classmethod
    def execute(
        cls,
        scene: Scene | Clip,
        seconds: float,
        fps: float,
        width: int,
        height: int,
        seed: int,
        mask_of: str,
        actions: Actions = (),
        camera: CameraPath | None = None,
    ) -> io.NodeOutput:
        import torch

        from ..control.camera import CameraPath
        from ..control.depth import depth_from_metres
        from ..control.flow import FlowField
        from ..control.tracks import PointTracks, to_core
        from ..world.filming import Filming, check_length, filmed, fitted
        from .moving import MovingPicture
        from .scenes import as_scene, cameras_along, mask_named, summary

        bodies = as_scene(scene)
        filming = Filming(seconds=seconds, fps=fps, width=width, height=height, seed=seed)
        check_length(filming)
        if mask_of.strip() and bodies.mechanism is None:
            bodies.body(mask_of.strip())  # raises for a name that is none, before the work
        c2w, fov_deg = cameras_along(bodies, camera, filming.frames, fitted(bodies, filming))
        shows = MovingPicture(filming.frames, progress(filming.frames))
        motion, footage = filmed(
            bodies, actions, filming, c2w=c2w, fov_deg=fov_deg, check=check_interrupted, on_frame=shows
        )
        remarks = (*motion.remarks, *footage.remarks)
        # Views rather than copies: of 81 frames at 832x480 they save 650 MB.
        check_interrupted()
        depth = depth_from_metres(footage.depth, check=check_interrupted).inverse[..., None].expand(-1, -1, -1, 3)
        check_interrupted()
        flow = FlowField(footage.flow, torch.ones(()).expand(footage.flow.shape[:3]))
        check_interrupted()
        size = (footage.rgb.shape[2], footage.rgb.shape[1])
        tracks = to_core(PointTracks(footage.tracks.at, footage.tracks.visible, size, float(fps)))
        path = CameraPath(torch.as_tensor(footage.c2w), torch.as_tensor(footage.fov_deg))
        check_interrupted()
        messages = (
            shows.saved(fps) | (reported(summary(motion, footage)) or {}) | (shown("VDiT Simulate", remarks) or {})
        )
        return io.NodeOutput(
            footage.rgb,
            depth,
            flow,
            mask_named(footage, mask_of.strip()),
            tracks,
            bodies,
            path,
            float(fps),
            "\n".join(remarks),
            ui=messages,
        )
