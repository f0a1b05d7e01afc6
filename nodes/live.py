"""Live: a scene that is played by hand on the node; what was done comes out as actions, a camera path and a draft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import check_interrupted, drawn_by, io, progress, verdict
from .gpus import on_one_gpu
from .types import VDiTActionList, VDiTCamera, VDiTModel, VDiTScene, node_schema, reported, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..control.camera import CameraPath
    from ..model.world_model import WorldModel
    from ..pipeline.live import FramePainter, Recording
    from ..world.families.clip import Clip
    from ..world.scene import Scene

UNRECORDED_S = 3.0  # the length that nodes behind are told where nothing is recorded
TOOLTIPS = {
    "scene": "The bodies: from VDiT Scene From Picture, VDiT Scene File or VDiT Simulate Scene. Run the graph once, "
    "then play.",
    "fps": "Frames per second, 1 to 60: of play and of the recording.",
    "width": "Width of the frames in pixels, 64 to 2048. Where time is short, they are drawn smaller.",
    "height": "Height in pixels, up to 2048. 0: by the scene's shape.",
    "recorded": "What was done, as JSON, written here by Keep; empty: nothing.",
    "model": "A bundled student (vdit-small-student) that paints the scene while it is played.",
    "-> actions": "What was done to the bodies, for VDiT Simulate: at the same fps it moves them the same way, bit for "
    "bit.",
    "-> camera": "Where the camera was in every frame, for VDiT Simulate; nothing where it stood still.",
    "-> images": "The draft of the recording [T,H,W,3], 0 to 1; without one, the first frame.",
    "-> scene": "The scene as it is at the end of the recording, to go on from.",
    "-> seconds": "Length of the recording, for VDiT Simulate; 3 without one.",
    "-> fps": "Frames per second of the recording, for VDiT Simulate and Create Video.",
}


class VDiTLive(io.ComfyNode):
    """Plays a scene live: grab its bodies with the mouse and throw them, fly through it with the keys, and record what
    you did, which the same graph then simulates and renders.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTScene.Input("scene"),
            io.Float.Input("fps", default=16.0, min=1.0, max=60.0, step=1.0),
            io.Int.Input("width", default=416, min=64, max=2048, step=16),
            io.Int.Input("height", default=0, min=0, max=2048, step=16),
            drawn_by("VDIT_LIVE", io.String.Input("recorded", default="")),
            VDiTModel.Input("model", optional=True),
        ]
        outputs = {
            **{"actions": VDiTActionList, "camera": VDiTCamera, "images": io.Image, "scene": VDiTScene},
            **{"seconds": io.Float, "fps": io.Float},
        }
        return node_schema(cls, "VDiT Live", inputs, outputs, TOOLTIPS, is_output_node=True)

    @classmethod
    def validate_inputs(cls, fps: float | None = None) -> bool | str:
        return verdict(cls, fps=fps)

    @classmethod
    def fingerprint_inputs(cls, **inputs: object) -> int:
        from .live_routes import offers

        return offers.forgotten  # a result whose scene cannot be opened any more is made again

    @classmethod
    def execute(
        cls, scene: Scene | Clip, fps: float, width: int, height: int, recorded: str, model: WorldModel | None = None
    ) -> io.NodeOutput:
        from ..pipeline.live import Play, check_play, check_recording, loads
        from ..world.ending import scene_after
        from ..world.filming import Filming, filmed, fitted
        from .live_routes import Offer, offers
        from .scenes import as_scene, cameras_along

        bodies = as_scene(scene)
        width, height = fitted(bodies, Filming(width=width, height=height))
        play = Play(fps=fps, width=width, height=height)
        check_play(play)
        paint = None if model is None else _paints(model, width, height)
        recording = loads(recorded, fps)
        check_recording(bodies, recording)
        path = _path(bodies, recording, width, height)
        filming = Filming(seconds=recording.seconds, fps=recording.fps, width=width, height=height, seed=recording.seed)
        c2w, fov_deg = cameras_along(bodies, path if path.moves else None, filming.frames, (width, height))
        update = progress(filming.frames)
        motion, footage = filmed(
            bodies,
            recording.actions,
            filming,
            c2w=c2w,
            fov_deg=fov_deg,
            check=check_interrupted,
            on_frame=lambda frame: update(frame.index + 1),
        )
        after = scene_after(motion, check_interrupted) if recording.seconds else bodies
        messages: dict = {"vdit_live": [{"session": offers.add(Offer(bodies, play, paint))}]}
        messages |= reported(_lines(recording)) or {}
        messages |= shown("VDiT Live", [*motion.remarks, *footage.remarks]) or {}
        flown, seconds = path if path.moves else None, recording.seconds or UNRECORDED_S
        return io.NodeOutput(recording.actions, flown, footage.rgb, after, seconds, recording.fps, ui=messages)


def _path(scene: Scene, recording: Recording, width: int, height: int) -> CameraPath:
    """The camera of each frame."""
    import torch

    from ..control.camera import CameraPath
    from ..geometry.camera import fov_from_focal
    from ..pipeline.live import camera_path
    from ..world.drawing.camera import scene_camera

    relative, zoom = camera_path(scene, recording)
    focal = torch.as_tensor(zoom) * scene_camera(scene, width, height)[0].focal
    return CameraPath(torch.as_tensor(relative), fov_from_focal(focal, height))


def _paints(model: WorldModel, width: int, height: int) -> Callable[[], FramePainter]:
    """What makes a painter for a session. Raises ValueError for a model that does not paint live."""
    from ..pipeline.live import block_by_block

    block_by_block(model)
    on_one_gpu(model, "VDiT Live")

    def begin() -> FramePainter:
        from ..pipeline.live import Painter
        from .comfy import torch_device, use_models

        device = torch_device()
        use_models(model.networks, device)
        return Painter(model, width, height, device)

    return begin


def _lines(recording: Recording) -> list[str]:
    if not recording.seconds:
        return ["nothing is recorded: play the scene, then Keep"]
    count = len(recording.actions)
    return [f"{recording.seconds:.3g} s recorded, {count} action{'' if count == 1 else 's'}"]
