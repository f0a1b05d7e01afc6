"""Wire types that ComfyUI lacks, and how a node reports something to its user."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .comfy import io

if TYPE_CHECKING:
    from torch import Tensor

VDiTModel = io.Custom("VDIT_MODEL")  # model.world_model.WorldModel
VDiTConditioning = io.Custom("VDIT_CONDITIONING")  # control.Conditioning
VDiTCamera = io.Custom("VDIT_CAMERA")  # control.camera.CameraPath
VDiTDepth = io.Custom("VDIT_DEPTH")  # control.depth.DepthMaps
VDiTFlow = io.Custom("VDIT_FLOW")  # control.flow.FlowField
VDiTScene = io.Custom("VDIT_SCENE")  # world.clip.Clip

CATEGORY = "VDiT"

log = logging.getLogger("vdit")


def node_schema(
    cls: type[io.ComfyNode],
    display_name: str,
    inputs: Sequence[io.SocketInput],
    outputs: Sequence[io.SocketOutput],
    tooltips: Mapping[str, str],
    *,
    is_output_node: bool = False,
) -> io.Schema:
    """A node's schema: its id is the class's name, its description the class's docstring.

    tooltips: by the id of an input; by "-> " and the display name of an output.
    """
    for entry in inputs:
        entry.tooltip = tooltips[entry.id]
    for output in outputs:
        output.tooltip = tooltips[f"-> {output.display_name}"]
    return io.Schema(
        node_id=cls.__name__,
        display_name=display_name,
        category=CATEGORY,
        description=" ".join((inspect.getdoc(cls) or "").split()),
        inputs=inputs,
        outputs=outputs,
        is_output_node=is_output_node,
    )


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


# Inputs that every control has, described in the same words.


def strength_input(what: str) -> io.WidgetInput:
    """How strongly a control applies."""
    return io.Float.Input(
        "strength", default=1.0, min=0.0, max=1.0, step=0.05, tooltip=f"{what}, 0 to 1. 1: fully. 0: not at all."
    )


def start_input(more: str = "") -> io.WidgetInput:
    """Where in the sampling a control begins to apply."""
    tooltip = f"Where in the sampling it begins to apply, 0 (first step) to 1 (last). {more}".strip()
    return io.Float.Input("start", default=0.0, min=0.0, max=1.0, step=0.05, tooltip=tooltip)


def end_input(more: str = "") -> io.WidgetInput:
    """Where in the sampling a control ceases to apply."""
    tooltip = (
        "Where in the sampling it ceases to apply, 0 to 1, after start. Motion is decided in the first half; an "
        f"earlier end leaves the rest to the model. {more}"
    )
    return io.Float.Input("end", default=1.0, min=0.0, max=1.0, step=0.05, tooltip=tooltip.strip())


def width_input(more: str = "") -> io.WidgetInput:
    """The video's width."""
    return _side("width", more)


def height_input(more: str = "") -> io.WidgetInput:
    """The video's height."""
    return _side("height", more)


def _side(name: str, more: str) -> io.WidgetInput:
    tooltip = f"The video's {name} in pixels, 32 to 2048. {more}".strip()
    return io.Int.Input(name, default=128, min=32, max=2048, step=32, tooltip=tooltip)


PINNED = {"mujoco": "mujoco==4.0.0", "cv2": "opencv-python-headless==5.0.0.93", "matplotlib": "matplotlib==3.11.2"}


def needs(node_id: str, *modules: str) -> None:
    """Raise ImportError that says what to install when a package is missing that ComfyUI does not bring along."""
    import importlib.util

    missing = [PINNED[name] for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{node_id} needs what ComfyUI does not have: run `pip install {' '.join(missing)}` with the Python that "
            "runs the graph, and start it again"
        )
