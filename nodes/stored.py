"""How many values each version of a node stored in workflows: widgets are stored by position, and new ones come last.

host/stored.py refuses other numbers. A node that gets a widget gets its new number here, at the end.
"""

from __future__ import annotations

STORED: dict[str, tuple[int, ...]] = {
    "VDiTLoadModel": (1, 3, 8, 11, 12),
    "VDiTLoadLoRA": (3,),
    "VDiTEncodeConditioning": (3, 4, 5),
    "VDiTDistillPreview": (10,),
    "VDiTSample": (10, 12),
    "VDiTDecode": (0,),
    "VDiTDecodeVideo": (1,),
    "VDiTCameraPath": (12, 13, 14),
    "VDiTWalk": (8,),
    "VDiTCameraFrom3D": (5,),
    "VDiTWanCameraEmbedding": (6,),
    "VDiTCameraRender": (10,),
    "VDiTDepthControl": (9,),
    "VDiTFlowControl": (9,),
    "VDiTMotionBrush": (5,),
    "VDiTFlowFromVideo": (5,),
    "VDiTSceneFromPicture": (4,),
    "VDiTActions": (2,),
    "VDiTSimulate": (7,),
    "VDiTSimulateScene": (10,),
    "VDiTSceneFile": (2,),
    "VDiTSaveScene": (1,),
    "VDiTScoreVideo": (2,),
    "VDiTPhysicsBenchmark": (7,),
    "VDiTBenchmarkClips": (12,),
    "VDiTBenchmarkScores": (0,),
    "VDiTAttentionPatch": (3,),
    "VDiTAsModel": (2,),
    "VDiTAsVAE": (0,),
    "VDiTAsConditioning": (4,),
    "VDiTFromModel": (1,),
    "VDiTUseVAE": (0,),
    "VDiTDraftNoise": (5,),
    "VDiTTracks": (7,),
    "VDiTLive": (4,),
}
