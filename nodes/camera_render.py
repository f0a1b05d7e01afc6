"""Camera Render: a picture with depth as a moving camera sees it, with its holes, for any video model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .comfy import check_interrupted, io, progress, verdict
from .types import VDiTCamera, VDiTDepth, VDiTScene, node_schema, shown

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.camera import CameraPath
    from ..control.camera_render import RenderSpec
    from ..control.depth import DepthMaps
    from ..world.arrays import Floats
    from ..world.families.clip import Clip
    from ..world.scene import Scene

# As control.render_targets has them; importing the room costs modules that the pack's import should not.
TARGETS = ("VACE", "Uni3C", "LTX", "MiniMax H3", "any size")
FILLS = ("mid-grey", "black", "white", "colours around")
AS_WANTED = "as the model wants"
SHOWN_FPS = 16.0  # of the picture that plays on the node
TOOLTIPS = {
    "camera": "The path, from VDiT Camera Path. Its first pose is where the picture was taken.",
    "made_for": "Which model takes the render: sides in its cells, its counts of frames, the colour of holes and the "
    "side of the mask are checked and set. VACE, Uni3C: 4k+1 frames, mid-grey, 1 in holes. LTX: 8k+1 frames, 1 where "
    "seen. MiniMax H3: 17k+5 frames, no mask.",
    "width": "Width in pixels, up to 4096; 0: the picture's. It is resized to cover and cropped to the centre.",
    "height": "Height in pixels, up to 4096; 0: the picture's.",
    "frames": "Length of a preset or drawn path, up to 1001; 0: the path's own. A file of poses has its own length.",
    "near": "Metres of the nearest thing, 0.01 to 1000, where depth does not know them (Depth Control without near and "
    "far). With far it decides how strong parallax is.",
    "far": "Metres of the farthest thing, 0.02 to 10,000, where depth does not know them.",
    "fov_deg": "Vertical field of view of the picture, 0 to 170 degrees; MoGe tells it. 0: the path's.",
    "holes": "What is painted where the picture shows nothing. colours around: those of the nearest pixels, for models "
    "that take no mask.",
    "grow": "Pixels by which holes are widened, 0 to 64. 2 takes the mixed colours off the edges of photographs.",
    "edge": "From which change of inverse depth between neighbouring pixels on, as a share of its range, a blurred "
    "edge is cut in two instead of stretched, 0.001 to 1.",
    "images": "The picture, or a video with one frame for every pose.",
    "depth": "The depth of every picture, from VDiT Depth Control; of the picture's shape.",
    "scene": "A scene in place of images and depth: it is drawn as it stands, from its own view.",
    "-> render": "What the camera sees, [T,H,W,3].",
    "-> mask": "[T,H,W]: 1 in holes; for LTX 1 where the picture is seen.",
    "-> path": "The path with a pose for every frame.",
    "-> remarks": "What was assumed, a line each.",
}


class Rendered(NamedTuple):
    """A frame that is done."""

    index: int
    rgb: Floats


class VDiTCameraRender(io.ComfyNode):
    """Moves a camera through a picture with depth, or a scene, and marks what it cannot see: for VACE, Uni3C, LTX,
    MiniMax H3 and other models that fill the holes. Needs no model.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTCamera.Input("camera"),
            io.Combo.Input("made_for", options=[*TARGETS], default="VACE"),
            io.Int.Input("width", default=832, min=0, max=4096, step=16),
            io.Int.Input("height", default=480, min=0, max=4096, step=16),
            io.Int.Input("frames", default=81, min=0, max=1001),
            io.Float.Input("near", default=2.0, min=0.01, max=1000.0, step=0.1),
            io.Float.Input("far", default=20.0, min=0.02, max=10000.0, step=0.1),
            io.Float.Input("fov_deg", default=0.0, min=0.0, max=170.0, step=0.5),
            io.Combo.Input("holes", options=[AS_WANTED, *FILLS], default=AS_WANTED),
            io.Int.Input("grow", default=0, min=0, max=64),
            io.Float.Input("edge", default=0.04, min=0.001, max=1.0, step=0.01),
            io.Image.Input("images", optional=True),
            VDiTDepth.Input("depth", optional=True),
            VDiTScene.Input("scene", optional=True),
        ]
        outputs = {"render": io.Image, "mask": io.Mask, "path": VDiTCamera, "remarks": io.String}
        return node_schema(cls, "VDiT Camera Render", inputs, outputs, TOOLTIPS, is_output_node=True)

    @classmethod
    def validate_inputs(cls, made_for: str | None = None) -> bool | str:
        return verdict(cls, made_for=made_for)

    @classmethod
    def execute(
        cls,
        camera: CameraPath,
        made_for: str,
        width: int,
        height: int,
        frames: int,
        near: float,
        far: float,
        fov_deg: float,
        holes: str,
        grow: int,
        edge: float,
        images: Tensor | None = None,
        depth: DepthMaps | None = None,
        scene: Scene | Clip | None = None,
    ) -> io.NodeOutput:
        from ..control.camera_render import RenderSpec, camera_render, frames_of
        from .moving import MovingPicture

        check_sources(images is not None, depth is not None, scene is not None)
        spec = RenderSpec(
            target=made_for, width=width, height=height, frames=0 if not camera.stretch else frames, fov_deg=fov_deg,
            near=near, far=far, edge=edge, grow=grow, fill="" if holes == AS_WANTED else holes,
        )  # fmt: skip
        if scene is not None:
            images, depth, spec = drawn(scene, spec)
        assert images is not None and depth is not None
        total = frames_of(len(images), depth, camera, spec)
        shows = MovingPicture(total, progress(total))

        def on_frame(t: int, image: Tensor) -> None:
            shows(Rendered(t, image.numpy()))

        made = camera_render(images, depth, camera, spec, on_frame, check_interrupted)
        messages = shows.saved(SHOWN_FPS) | (shown("VDiT Camera Render", made.remarks) or {})
        path = camera.resampled(len(made.images)).relative()
        return io.NodeOutput(made.images, made.mask(made_for), path, "\n".join(made.remarks), ui=messages)


def check_sources(images: bool, depth: bool, scene: bool) -> None:
    """Raise ControlError unless there is either a picture with depth or a scene."""
    from ..control.span import ControlError

    if scene and (images or depth):
        raise ControlError(
            "camera render: a scene has colours and depth of its own; disconnect images and depth, or it"
        )
    if not scene and images != depth:
        missing, given = ("depth", "images") if images else ("images", "depth")
        raise ControlError(
            f"camera render: there are {given} without {missing}; connect {missing} too, or a scene alone"
        )
    if not (scene or images):
        raise ControlError(
            "camera render: nothing is connected that it could show; connect images and depth, or a scene"
        )


def drawn(scene: Scene | Clip, spec: RenderSpec) -> tuple[Tensor, DepthMaps, RenderSpec]:
    """The scene as it stands at time 0, with its depth, at the size of the render, and its field of view."""
    from dataclasses import replace

    from ..control.camera_render import fitted_size
    from ..control.depth import depth_from_metres
    from ..world.filming import Filming, filmed
    from .scenes import as_scene

    bodies = as_scene(scene)
    width, height = fitted_size(spec, bodies.width, bodies.height)
    footage = filmed(bodies, (), Filming(seconds=0.01, fps=1.0, width=width, height=height), check=check_interrupted)[1]
    metres = footage.depth[:1]
    depth = depth_from_metres(metres, float(metres.min()) * 0.999, float(metres.max()) * 1.001)
    fov_deg = float(footage.fov_deg[0])
    return footage.rgb[:1], depth, replace(spec, width=width, height=height, fov_deg=fov_deg)
