"""The nodes a person wires: one file per stage, each node a schema and one call into the library."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from . import examples, routes
from .attention import VDiTAttentionPatch
from .benchmark import VDiTPhysicsBenchmark
from .benchmark_rounds import VDiTBenchmarkClips, VDiTBenchmarkScores
from .brush import VDiTMotionBrush
from .camera import VDiTCameraPath
from .camera_render import VDiTCameraRender
from .camera_sources import VDiTCameraFrom3D, VDiTWalk, VDiTWanCameraEmbedding
from .comfy import ComfyExtension, io, prompts_wait, refusing, serve
from .decode import VDiTDecode, VDiTDecodeVideo
from .depth import VDiTDepthControl
from .draft_noise import VDiTDraftNoise
from .encode import VDiTEncodeConditioning
from .flow import VDiTFlowControl, VDiTFlowFromVideo
from .interchange import VDiTAsConditioning, VDiTAsModel, VDiTAsVAE, VDiTFromModel, VDiTUseVAE
from .live import VDiTLive
from .live_routes import Playing
from .load import VDiTLoadModel
from .lora import VDiTLoadLoRA
from .physics import VDiTActions, VDiTSimulate
from .picture import VDiTSceneFromPicture
from .preview import VDiTDistillPreview
from .sample import VDiTSample
from .scene_file import VDiTSaveScene, VDiTSceneFile
from .score import VDiTScoreVideo
from .simulate import VDiTSimulateScene
from .tracks import VDiTTracks

NODES: list[type[io.ComfyNode]] = [
    VDiTLoadModel,
    VDiTLoadLoRA,
    VDiTEncodeConditioning,
    VDiTDistillPreview,
    VDiTSample,
    VDiTDecode,
    VDiTDecodeVideo,
    VDiTCameraPath,
    VDiTWalk,
    VDiTCameraFrom3D,
    VDiTWanCameraEmbedding,
    VDiTCameraRender,
    VDiTDepthControl,
    VDiTFlowControl,
    VDiTMotionBrush,
    VDiTFlowFromVideo,
    VDiTSceneFromPicture,
    VDiTActions,
    VDiTSimulate,
    VDiTSimulateScene,
    VDiTSceneFile,
    VDiTSaveScene,
    VDiTScoreVideo,
    VDiTPhysicsBenchmark,
    VDiTBenchmarkClips,
    VDiTBenchmarkScores,
    VDiTAttentionPatch,
    VDiTAsModel,
    VDiTAsVAE,
    VDiTAsConditioning,
    VDiTFromModel,
    VDiTUseVAE,
    VDiTDraftNoise,
    VDiTTracks,
    VDiTLive,
]


def told(prompt: Mapping[str, object]) -> dict[str, list[str]]:
    """What is known to go wrong in a prompt, by the ids of the nodes that tell ComfyUI of it."""
    from . import preflight

    asked = {cls.__name__: cls.validate_inputs for cls in NODES if "validate_inputs" in vars(cls)}
    named = {kind: next(iter(inspect.signature(check).parameters)) for kind, check in asked.items()}
    return preflight.told(prompt, named)


class VDiTExtension(ComfyExtension):
    """The pack, as ComfyUI and the host load it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes. First the examples go into the input folder, what the widgets ask for and the refusal of prompts
        go to ComfyUI's server: here and not in on_load, which ComfyUI 0.3.64 and 0.8.0 do not call.
        """
        examples.offer()
        for method, path, handler in routes.routes(Playing(prompts_wait)):
            serve(method, path, handler)
        refusing(told)
        return NODES
