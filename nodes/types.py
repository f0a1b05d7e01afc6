"""Wire types that ComfyUI lacks, and how a node says something to its user."""

from __future__ import annotations

import logging
from typing import Sequence

from .comfy import io

VDiTModel = io.Custom("VDIT_MODEL")  # model.world_model.WorldModel
VDiTConditioning = io.Custom("VDIT_CONDITIONING")  # control.Conditioning
VDiTCamera = io.Custom("VDIT_CAMERA")  # control.camera.CameraPath
VDiTDepth = io.Custom("VDIT_DEPTH")  # control.depth.DepthMaps
VDiTFlow = io.Custom("VDIT_FLOW")  # control.flow.FlowField
VDiTScene = io.Custom("VDIT_SCENE")  # world.clip.Clip

CATEGORY = "VDiT"

log = logging.getLogger("vdit")


def shown(node_id: str, remarks: Sequence[str]) -> dict | None:
    """Each remark as a warning in the log, all of them as text on the node (see web/remarks.js)."""
    for remark in remarks:
        log.warning("%s: %s", node_id, remark)
    return {"text": ("\n".join(remarks),)} if remarks else None


def told(lines: Sequence[str]) -> dict | None:
    """What a node has found out, as text on it (see web/remarks.js)."""
    return {"vdit_line": ("\n".join(lines),)} if lines else None


def video_latent(samples, fps: float, draft=None, **more) -> dict:
    """A LATENT of a video; draft (sampling.draft), if there is one, is for VDiT Decode: other nodes do not mind it."""
    return {"samples": samples, "fps": fps, **({} if draft is None else {"vdit_draft": draft}), **more}


# Inputs that every control has, said the same way.


def strength_input(what: str):
    return io.Float.Input(
        "strength", default=1.0, min=0.0, max=1.0, step=0.05, tooltip=f"{what}, 0 to 1. 1: fully. 0: not at all."
    )


def start_input(more: str = ""):
    return io.Float.Input(
        "start", default=0.0, min=0.0, max=1.0, step=0.05,
        tooltip=f"Where in the sampling it begins to apply, 0 (first step) to 1 (last). {more}".strip(),
    )  # fmt: skip


def end_input(more: str = ""):
    return io.Float.Input(
        "end", default=1.0, min=0.0, max=1.0, step=0.05,
        tooltip="Where in the sampling it ceases to apply, 0 to 1, after start. Motion is decided in the first half; "
        f"an earlier end leaves the rest to the model. {more}".strip(),
    )  # fmt: skip


def width_input(more: str = ""):
    return io.Int.Input(
        "width",
        default=128,
        min=32,
        max=2048,
        step=32,
        tooltip=f"The video's width in pixels, 32 to 2048. {more}".strip(),
    )


def height_input(more: str = ""):
    return io.Int.Input(
        "height",
        default=128,
        min=32,
        max=2048,
        step=32,
        tooltip=f"The video's height in pixels, 32 to 2048. {more}".strip(),
    )


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
