"""The nodes a person wires: one file per stage, each node a schema and one call into the library."""

from __future__ import annotations

from . import examples, routes
from .attention import VDiTAttentionPatch
from .benchmark import VDiTPhysicsBenchmark
from .brush import VDiTMotionBrush
from .camera import VDiTCameraPath
from .comfy import ComfyExtension, io, serve
from .decode import VDiTDecode, VDiTDecodeVideo
from .depth import VDiTDepthControl
from .encode import VDiTEncodeConditioning
from .flow import VDiTFlowControl, VDiTFlowFromVideo
from .interchange import VDiTAsConditioning, VDiTAsModel, VDiTAsVAE, VDiTFromModel, VDiTUseVAE
from .load import VDiTLoadModel
from .lora import VDiTLoadLoRA
from .physics import VDiTActions, VDiTSimulate
from .picture import VDiTSceneFromPicture
from .preview import VDiTDistillPreview
from .sample import VDiTSample
from .scene_file import VDiTSaveScene, VDiTSceneFile
from .score import VDiTScoreVideo
from .simulate import VDiTSimulateScene

NODES: list[type[io.ComfyNode]] = [
    VDiTLoadModel,
    VDiTLoadLoRA,
    VDiTEncodeConditioning,
    VDiTDistillPreview,
    VDiTSample,
    VDiTDecode,
    VDiTDecodeVideo,
    VDiTCameraPath,
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
    VDiTAttentionPatch,
    VDiTAsModel,
    VDiTAsVAE,
    VDiTAsConditioning,
    VDiTFromModel,
    VDiTUseVAE,
]


class VDiTExtension(ComfyExtension):
    """The pack, as ComfyUI and the host load it."""

    async def on_load(self) -> None:
        """Adds what the widgets ask for to ComfyUI's server."""
        for method, path, handler in routes.routes():
            serve(method, path, handler)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes; first the examples go into the input folder."""
        examples.offer()
        return NODES
