"""What is wrong with a prompt and can be known before any node runs: the one place that both hosts ask.

The standalone host asks it when a prompt is checked (host/validation.py); in ComfyUI the pack's nodes answer with it
when their inputs are validated (`comfy.verdict`), for themselves and for the core's nodes that they feed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from . import preflight_files as files
from . import preflight_models as models
from .wired import Prompt, Wired, wired

log = logging.getLogger(__name__)

Check = Callable[[Wired], None]  # raises one of REFUSALS where the node cannot do its work
# Our own errors and those of files and packages; anything else is a fault of a check, which the node itself will meet.
REFUSALS = (ValueError, OSError, ImportError)

# Those that need no weights' header come first: without torch they answer in a fraction of a second.
CHECKS: dict[str, tuple[Check, ...]] = {
    "SaveVideo": (files.save_prefix,),
    "SaveImage": (files.save_prefix,),
    "SaveAnimatedWEBP": (files.save_prefix,),
    "VDiTSaveScene": (files.save_prefix,),
    "VDiTCameraPath": (files.camera,),
    "VDiTWalk": (files.walk,),
    "VDiTWanCameraEmbedding": (files.embedding,),
    "VDiTCameraRender": (files.render,),
    "VDiTDepthControl": (files.depth,),
    "VDiTFlowControl": (files.flow,),
    "VDiTFlowFromVideo": (files.packages("cv2"),),
    "VDiTMotionBrush": (files.strokes,),
    "VDiTTracks": (files.tracks,),
    "VDiTSceneFromPicture": (files.packages("cv2"), files.objects),
    "VDiTActions": (files.arrows,),
    "VDiTSceneFile": (files.scene,),
    "VDiTSimulate": (files.packages("mujoco"), files.filming),
    "VDiTSimulateScene": (files.packages("mujoco"), files.simulated),
    "VDiTScoreVideo": (files.packages("cv2"), files.scored),
    "VDiTPhysicsBenchmark": (files.packages("mujoco", "cv2", "matplotlib"),),
    "VDiTBenchmarkClips": (files.packages("mujoco", "cv2"), files.results),
    **dict.fromkeys(
        ("VDiTAsModel", "VDiTAsVAE", "VDiTAsConditioning", "VDiTFromModel", "VDiTUseVAE"), (files.comfyui,)
    ),
}
MODEL_CHECKS: dict[str, tuple[Check, ...]] = {
    "VDiTLoadModel": (models.loadable,),
    "VDiTLoadLoRA": (models.lora,),
    "VDiTEncodeConditioning": (models.readable,),
    "VDiTSample": (models.guidance, models.clip, models.lengths, models.room),
    "VDiTDistillPreview": (models.clip, models.lengths, models.room, models.codec_for),
    "VDiTDecode": (models.codec_for, models.frames_room),
    "VDiTDecodeVideo": (models.codec_for,),
    "VDiTAsModel": (models.whole,),
    "VDiTAsVAE": (models.codec_for,),
    "VDiTAsConditioning": (models.clip,),
    "VDiTPhysicsBenchmark": (models.codec_for,),
    "VDiTBenchmarkClips": (models.round_room,),
}


@dataclass(frozen=True)
class Fault:
    """Why a node of a prompt cannot do its work."""

    node_id: str
    title: str
    message: str


def faults_of(
    prompt: Prompt, wanted: Collection[str] | None = None, more: Mapping[str, Check] | None = None
) -> list[Fault]:
    """What can be known to go wrong in these nodes of a prompt, or in all. Runs nothing and reads headers only.

    more: a host's own checks, by the type of node.
    """
    nodes = [node for node in wired(prompt) if wanted is None or node.id in wanted]
    own = {kind: (check,) for kind, check in (more or {}).items()}
    for checks in ((CHECKS, own), (MODEL_CHECKS,)):
        found = [Fault(node.id, node.title, message) for node in nodes for message in _refusals(node, checks)]
        if found:
            return found
    return []


def _refusals(node: Wired, tables: Collection[Mapping[str, tuple[Check, ...]]]) -> Iterator[str]:
    for check in (check for table in tables for check in table.get(node.kind, ())):
        try:
            check(node)
        except REFUSALS as reason:
            yield str(reason)
        except Exception:
            log.warning("%s could not be checked before the run", node.title, exc_info=True)


def told(prompt: Prompt, asked_of: Mapping[str, str]) -> dict[str, list[str]]:
    """The faults of a prompt by the ids of the nodes that tell ComfyUI of them, with the name of another node's.

    asked_of: types of node with a validate_inputs, and the input that it names: ComfyUI asks where that is a widget.
    """
    found: dict[str, list[str]] = {}
    for fault in faults_of(prompt):
        for node_id in _answered_by(prompt, fault, asked_of):
            message = fault.message if node_id == fault.node_id else f"{fault.title}: {fault.message}"
            found.setdefault(node_id, []).append(message)
    return found


def _answered_by(prompt: Prompt, fault: Fault, asked_of: Mapping[str, str]) -> set[str]:
    """The node itself where ComfyUI asks it; else the nearest before it, so that whatever that feeds is refused; else,
    of a node at the beginning, those that follow.
    """

    def asked(node: Wired) -> bool:
        name = asked_of.get(node.kind, "")
        return name in node.inputs and not node.has(name)

    own = Wired(prompt, fault.node_id)
    for node in (own, *own.upstream()):
        if asked(node):
            return {node.id}
    return {node.id for node in wired(prompt) if asked(node) and fault.node_id in {n.id for n in node.upstream()}}
