"""Wire types that ComfyUI lacks, and how a node reports something to its user."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from .comfy import io
from .discovery import SEARCH_ALIASES, fold_advanced

if TYPE_CHECKING:
    from torch import Tensor

VDiTModel = io.Custom("VDIT_MODEL")  # model.world_model.WorldModel
VDiTConditioning = io.Custom("VDIT_CONDITIONING")  # control.Conditioning
VDiTCamera = io.Custom("VDIT_CAMERA")  # control.camera.CameraPath
VDiTDepth = io.Custom("VDIT_DEPTH")  # control.depth.DepthMaps
VDiTFlow = io.Custom("VDIT_FLOW")  # control.flow.FlowField
VDiTScene = io.Custom("VDIT_SCENE")  # world.scene.Scene, or world.families.clip.Clip of VDiT Simulate Scene
VDiTClip = io.Custom("VDIT_BENCHMARK_CLIP")  # benchmark.rounds.Ticket
VDiTActionList = io.Custom("VDIT_ACTIONS")  # world.actions.Actions
Tracks = io.Custom("TRACKS")  # the core's: {"track_path": [T, N, 2], "track_visibility": [T, N]}

CATEGORY = "VDiT"
MAX_SEED = 2**64 - 1

log = logging.getLogger("vdit")


def node_schema(
    cls: type[io.ComfyNode],
    display_name: str,
    inputs: Sequence[io.SocketInput],
    outputs: Mapping[str, type[io.ComfyType]],
    tooltips: Mapping[str, str],
    *,
    is_output_node: bool = False,
    lists: Collection[str] = (),
    takes_lists: bool = False,
) -> io.Schema:
    """A node's schema: its id is the class's name, its description the class's docstring.

    outputs: the type by the display name. tooltips: by the id of an input, unless it brings its own; by "-> " and the
    display name of an output. lists: outputs that give one value after another; takes_lists: so do all inputs.
    """
    for entry in inputs:
        entry.tooltip = entry.tooltip or tooltips[entry.id]
    fold_advanced(cls.__name__, inputs)
    schema = io.Schema(
        node_id=cls.__name__,
        display_name=display_name,
        category=CATEGORY,
        description=" ".join((inspect.getdoc(cls) or "").split()),
        inputs=inputs,
        outputs=[
            kind.Output(display_name=name, tooltip=tooltips[f"-> {name}"], is_output_list=name in lists)
            for name, kind in outputs.items()
        ],
        is_output_node=is_output_node,
        is_input_list=takes_lists,
    )
    schema.search_aliases = list(SEARCH_ALIASES.get(cls.__name__, ()))  # no argument of ComfyUI before 0.16
    return schema


def shown(node_id: str, remarks: Sequence[str]) -> dict | None:
    """Each remark as a warning in the log, all of them as text on the node (see web/remarks.js)."""
    for remark in remarks:
        log.warning("%s: %s", node_id, remark)
    return {"text": ("\n".join(remarks),)} if remarks else None


def reported(lines: Sequence[str]) -> dict | None:
    """Results in words, as text on the node (see web/remarks.js)."""
    return {"vdit_line": ("\n".join(lines),)} if lines else None


def video_latent(samples: Tensor, fps: float, draft: object = None, **more: object) -> dict:
    """A LATENT of a video. VDiT Decode reads a draft that it carries; other nodes ignore it."""
    return {"samples": samples, "fps": fps, **({} if draft is None else {"vdit_draft": draft}), **more}


# Inputs that several nodes have, described in the same words.


def seed_input(
    tooltip: str = "Picks the noise that the video grows from. Another seed, another take of the shot.",
) -> io.WidgetInput:
    """A seed: of the sampler's noise, unless the tooltip says otherwise."""
    return io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def shift_input(more: str = "") -> io.WidgetInput:
    """The shift of the sampler's schedule; 0 is the model's own."""
    tooltip = (
        "Schedule shift, 0.1 to 100: s' = k*s/(1+(k-1)*s); 0: the model's own (1 of the bundled one, 3 to 16 of Wan). "
        f"Above 1 spends more steps on motion and layout, below 1 on texture. {more}"
    )
    return io.Float.Input("shift", default=0.0, min=0.0, max=100.0, step=0.1, tooltip=tooltip.strip())


def clip_inputs() -> list[io.SocketInput]:
    """Length, frame rate and size of the video to make; 0 is the model's own."""
    tooltips = {
        "seconds": "Length, 0.1 to 120 seconds; 0: as long as the model was trained (5 seconds). The model makes 4k+1 "
        "frames (seconds x fps + 1); a length that does not fit is refused with the two nearest that do.",
        "fps": "Frames per second, 1 to 120; 0: the rate that the model was trained at (8 of the bundled one, 16 of "
        "Wan, 24 of TI2V-5B). At twice the rate the same motion plays twice as fast.",
        "width": "Width in pixels, up to 2048; 0: as the model was trained (128 of the bundled one, 832 or 1280 of "
        "Wan). A multiple of 16, of the bundled model and TI2V-5B of 32.",
        "height": "Height in pixels, up to 2048; 0: as the model was trained (128 of the bundled one, 480 or 720 of "
        "Wan). A multiple of 16, of the bundled model and TI2V-5B of 32.",
    }
    return [
        *(
            io.Float.Input(n, default=0.0, min=0.0, max=120.0, step=0.01, tooltip=tooltips[n])
            for n in ("seconds", "fps")
        ),
        *(io.Int.Input(n, default=0, min=0, max=2048, step=16, tooltip=tooltips[n]) for n in ("width", "height")),
    ]


def size_inputs(more: str = "") -> list[io.SocketInput]:
    """Width and height of the video that a control is for."""
    tooltips = {name: f"The video's {name} in pixels, 32 to 2048. {more}".strip() for name in ("width", "height")}
    return [io.Int.Input(n, default=128, min=32, max=2048, step=32, tooltip=text) for n, text in tooltips.items()]


def span_inputs(strength: str, more: str = "") -> list[io.SocketInput]:
    """How strongly a control applies, and from where to where in the sampling. `more` is said of start and end."""
    values = {
        "strength": (1.0, f"{strength}, 0 to 1. 1: fully. 0: not at all."),
        "start": (0.0, f"Where in the sampling it begins to apply, 0 (first step) to 1 (last). {more}"),
        "end": (
            1.0,
            "Where in the sampling it ceases to apply, 0 to 1, after start. Motion is decided in the first half; an "
            f"earlier end leaves the rest to the model. {more}",
        ),
    }
    return [
        io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.05, tooltip=tooltip.strip())
        for name, (default, tooltip) in values.items()
    ]


# What pip calls a module that a ComfyUI may lack. Newer OpenCVs would bring NumPy 2 to who has 1; 4.11 runs with both.
PACKAGES = {"cv2": "opencv-python-headless==4.11.0.86"}


def needs(node_id: str, *modules: str) -> None:
    """Raise ImportError that says what to install when a package is missing that ComfyUI may lack."""
    missing = [PACKAGES.get(name, name) for name in modules if not _is_there(name)]
    if missing:
        raise ImportError(
            f"{node_id} needs what ComfyUI does not have: run `pip install {' '.join(missing)}` with the Python that "
            "runs the graph, and start it again"
        )


def _is_there(module: str) -> bool:
    """Whether a module can be imported. One that another thread imports just now may have no spec yet, as OpenCV."""
    import importlib.util
    import sys

    return sys.modules.get(module) is not None or importlib.util.find_spec(module) is not None
