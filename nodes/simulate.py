"""Simulate Scene: a small world with true physics, with its exact depth, flow, masks and camera."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .comfy import check_interrupted, io, verdict
from .types import VDiTCamera, VDiTFlow, VDiTScene, needs, node_schema

if TYPE_CHECKING:
    from ..control.camera import CameraPath
    from ..world.arrays import Floats

# As world.families.scene has them; written out, because importing that costs numpy.
FAMILIES = ["fall", "throw", "roll", "behind", "arc", "wall", "collide", "stack", "slope", "push", "look"]
# As world.families.objects has them.
OBJECT_FAMILIES = ["topple", "slide", "spin", "barrel", "swing", "dominoes", "tumble", "strike"]
OBJECT_FAMILIES += ["shove", "tower", "hide"]
SPLITS = ["train", "validation", "test", "ood-gravity", "ood-speed", "ood-size", "ood-color", "ood-camera"]
CAMERAS = ["still", "as drawn"]
TOOLTIPS = {
    "family": "What happens. fall, throw, roll; behind, arc, wall: out of sight behind a box, rolling, flying, or "
    "bouncing off a wall there; collide, stack, slope, push; look: only the camera moves. Of "
    "boxes, cylinders, capsules, cones and other hulls, plain or with a pattern: topple, slide, spin, barrel, swing, "
    "dominoes, tumble, strike, shove, tower, hide. The bundled model was trained on balls and boxes only.",
    "seed": "Picks the scene, 0 to 2,147,483,647: colours, sizes, speeds, light. The same seed, the same pixels.",
    "split": "Which scenes to draw from. test: like those that models are trained on, but none of them. ood-...: "
    "gravity, speed, size, colours or a camera that no training saw.",
    "frames": "Length in frames, 5 to 401. The bundled model makes 4k+1 of them; 41 are 5 seconds.",
    "fps": "Frames per second, 1 to 60. The bundled model knows motion at 8.",
    "width": "Width in pixels, 32 to 1024.",
    "height": "Height in pixels, 32 to 1024.",
    "start_frames": "How many first frames come out of start_images, 1 to 101, for VDiT Encode Conditioning. 5 show a "
    "model how fast things move, 1 does not. The bundled model was trained with 1 and 5.",
    "camera_move": "still: the camera does not move, as VDiT Score Video needs it. as drawn: in four scenes of ten it "
    "orbits, pans, zooms or the like, as the seed says.",
    "camera": "The camera's path, in place of camera_move. It starts at the scene's own first pose and has the path's "
    "motion and field of view. As many poses as frames, unless it is a preset.",
    "-> images": "The scene [T,H,W,3], 0 to 1.",
    "-> start_images": "Its first frames, for VDiT Encode Conditioning.",
    "-> depth": "Inverse depth [T,H,W,3], nearest percent of the clip white, for VDiT Depth Control.",
    "-> flow": "Exact motion in pixels a frame [T-1,H,W,2].",
    "-> masks": "[T,H,W], 1 where something that can move shows.",
    "-> camera": "Where the camera is in every frame, in metres.",
    "-> caption": "What happens; of scenes of balls and boxes, in words that the bundled model knows.",
    "-> fps": "Frames per second, for Create Video.",
    "-> scene": "The scene with all its truth, for VDiT Score Video.",
}


class VDiTSimulateScene(io.ComfyNode):
    """A simulated scene with exact depth, flow, masks and camera, from one seed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.Combo.Input("family", options=FAMILIES + OBJECT_FAMILIES, default="arc"),
            io.Int.Input("seed", default=1, min=0, max=0x7FFFFFFF, control_after_generate=True),
            io.Combo.Input("split", options=SPLITS, default="test"),
            io.Int.Input("frames", default=41, min=5, max=401, step=4),
            io.Float.Input("fps", default=8.0, min=1.0, max=60.0, step=0.5),
            io.Int.Input("width", default=128, min=32, max=1024, step=32),
            io.Int.Input("height", default=128, min=32, max=1024, step=32),
            io.Int.Input("start_frames", default=5, min=1, max=101, step=4),
            io.Combo.Input("camera_move", options=CAMERAS, default="still"),
            VDiTCamera.Input("camera", optional=True),
        ]
        outputs = {
            **{"images": io.Image, "start_images": io.Image, "depth": io.Image, "flow": VDiTFlow, "masks": io.Mask},
            **{"camera": VDiTCamera, "caption": io.String, "fps": io.Float, "scene": VDiTScene},
        }
        return node_schema(cls, "VDiT Simulate Scene", inputs, outputs, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, seed: int | None = None) -> bool | str:
        return verdict(cls, seed=seed)

    @classmethod
    def execute(
        cls,
        family: str,
        seed: int,
        split: str,
        frames: int,
        fps: float,
        width: int,
        height: int,
        start_frames: int,
        camera_move: str,
        camera: CameraPath | None = None,
    ) -> io.NodeOutput:
        needs("VDiT Simulate Scene", "mujoco")
        import torch

        from ..control.camera import CameraPath
        from ..control.depth import depth_from_metres
        from ..control.flow import FlowField
        from ..world.families.clip import render_scene
        from ..world.families.render import FIRST_BALL_ID, FIRST_BOX_ID
        from ..world.families.scene import sample_scene

        check_starts(start_frames, frames)
        if family in OBJECT_FAMILIES:
            return _objects(seed, family, split, frames, fps, (width, height), start_frames, camera_move, camera)
        scene = sample_scene(seed, family, split=split, frames=frames, fps=fps)
        move, c2w, fov_deg = _camera(scene.camera_move, scene.c2w, scene.fov_deg, camera_move, camera)
        scene = replace(scene, camera_move=move, c2w=c2w, fov_deg=fov_deg)
        clip = render_scene(scene, width, height, check_interrupted)
        check_interrupted()
        images, instance = clip.render.rgb, clip.render.instance
        movable = [FIRST_BOX_ID + i for i, box in enumerate(scene.boxes) if box.mass is not None]
        masks = (instance >= FIRST_BALL_ID) & (instance < FIRST_BOX_ID)
        for number in movable:
            masks = masks | (instance == number)
        check_interrupted()
        depth = (
            depth_from_metres(clip.render.depth, check=check_interrupted)
            .inverse[..., None]
            .expand(-1, -1, -1, 3)
            .contiguous()
        )
        check_interrupted()
        flow = clip.asked_flow(check_interrupted)
        check_interrupted()
        return io.NodeOutput(
            images,
            images[:start_frames].clone(),
            depth,
            FlowField(flow),
            masks.float(),
            CameraPath(torch.as_tensor(scene.c2w), torch.as_tensor(scene.fov_deg)),
            clip.caption,
            float(fps),
            clip,
        )


def check_starts(start_frames: float, frames: float) -> None:
    """Raise ValueError for more start frames than frames."""
    if start_frames > frames:
        raise ValueError(f"start_frames is {start_frames:g}, but the scene has only {frames:g} frames")


def _objects(
    seed: int,
    family: str,
    split: str,
    frames: int,
    fps: float,
    size: tuple[int, int],
    start_frames: int,
    camera_move: str,
    camera: CameraPath | None,
) -> io.NodeOutput:
    """The outputs for a family of objects."""
    import torch

    from ..control.camera import CameraPath
    from ..control.depth import depth_from_metres
    from ..control.flow import FlowField
    from ..world.families.objects import play, stage

    staged = stage(seed, family, split=split, width=size[0], height=size[1], frames=frames, fps=fps)
    move, c2w, fov_deg = _camera(staged.camera_move, staged.c2w, staged.fov_deg, camera_move, camera)
    clip = play(replace(staged, camera_move=move, c2w=c2w, fov_deg=fov_deg), check_interrupted)
    seen = clip.footage
    check_interrupted()
    return io.NodeOutput(
        seen.rgb,
        seen.rgb[:start_frames].clone(),
        depth_from_metres(seen.depth, check=check_interrupted).inverse[..., None].expand(-1, -1, -1, 3).contiguous(),
        FlowField(seen.flow),
        seen.mask,
        CameraPath(torch.as_tensor(c2w), torch.as_tensor(fov_deg)),
        staged.caption,
        float(fps),
        staged.scene,
    )


def _camera(
    move: str, c2w: Floats, fov_deg: Floats, wanted: str, camera: CameraPath | None
) -> tuple[str, Floats, Floats]:
    """The scene's camera, standing still where that is wanted, or its first pose moved along a camera path."""
    frames = len(c2w)
    if camera is None:
        return (
            (move, c2w, fov_deg)
            if wanted != "still"
            else ("still", c2w[:1].repeat(frames, 0), fov_deg[:1].repeat(frames))
        )
    if camera.frames != frames and not camera.stretch:
        raise ValueError(
            f"the camera path has {camera.frames} poses, the scene {frames} frames; make one of the other's length"
        )
    path = camera.resampled(frames).relative()
    return "free", c2w[0] @ path.c2w.numpy(), path.fov_deg.numpy()
