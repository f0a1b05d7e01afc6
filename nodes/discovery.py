"""How people find a node by other words, and how many of its inputs they see at first.

Both are what newer ComfyUIs read; older ones show every input and search by name. Node ids, orders and values stay.
"""

from __future__ import annotations

from collections.abc import Sequence

from .comfy import io

# What the same thing is called elsewhere: in other packs, in papers, by beginners.
SEARCH_ALIASES = {
    "VDiTLoadModel": (
        "wan",
        "causal forcing",
        "self forcing",
        "autoregressive",
        "checkpoint",
        "diffusion model",
        "unet loader",
        "gguf",
        "world model",
        "bundled",
    ),
    "VDiTLoadLoRA": ("lora", "lightx2v", "causvid", "4 steps"),
    "VDiTEncodeConditioning": ("prompt", "text to video", "image to video", "t2v", "i2v", "vace", "first last frame"),
    "VDiTDistillPreview": ("quick preview", "draft", "four seeds", "takes", "distilled", "few steps"),
    "VDiTSample": ("ksampler", "generate", "render", "denoise"),
    "VDiTDecode": ("vae decode", "latent to video"),
    "VDiTDecodeVideo": ("vae decode", "latent to video", "long video", "stream", "low memory"),
    "VDiTCameraPath": ("camera control", "orbit", "pan", "dolly", "zoom", "trajectory", "recammaster", "fun camera"),
    "VDiTWalk": ("wasd", "keyboard", "arrow keys", "world model", "lingbot", "worldplay", "camera control"),
    "VDiTCameraFrom3D": ("load3d", "preview 3d", "camera info", "turntable", "orbit", "viewer"),
    "VDiTWanCameraEmbedding": ("fun camera", "plucker", "camera control", "wan camera"),
    "VDiTCameraRender": (
        "reproject",
        "novel view",
        "point cloud",
        "uni3c",
        "vace",
        "parallax",
        "trajectory",
        "recammaster",
    ),
    "VDiTDepthControl": ("depth map", "depth anything", "controlnet depth"),
    "VDiTFlowControl": ("optical flow", "warped noise", "go with the flow"),
    "VDiTMotionBrush": ("drag", "trajectory", "draw motion", "animate"),
    "VDiTTracks": ("wan move", "ati", "point tracks", "trajectory", "spline", "spline editor", "kjnodes"),
    "VDiTFlowFromVideo": ("optical flow", "motion transfer", "raft", "driving video"),
    "VDiTSceneFromPicture": ("image to 3d", "segment", "physics", "cut out", "rigid bodies"),
    "VDiTActions": ("push", "throw", "fall", "break", "force", "what happens"),
    "VDiTSimulate": ("physics", "mujoco", "rigid body", "animate", "draft video"),
    "VDiTLive": ("play", "realtime", "real time", "interactive", "mouse", "drag", "game", "record"),
    "VDiTSimulateScene": ("physics", "synthetic", "random scene", "ground truth"),
    "VDiTSceneFile": ("mujoco", "mjcf", "robot", "load scene"),
    "VDiTSaveScene": ("export scene", "json"),
    "VDiTScoreVideo": ("evaluate", "metric", "physics score"),
    "VDiTPhysicsBenchmark": ("evaluate", "metric", "object permanence"),
    "VDiTBenchmarkClips": ("evaluate", "benchmark any model", "compare models", "batch of pictures"),
    "VDiTBenchmarkScores": ("evaluate", "metric", "physics score", "leaderboard", "compare models"),
    "VDiTAttentionPatch": ("sparse attention", "speed", "faster", "radial", "window attention"),
    "VDiTAsModel": ("bridge", "ksampler", "to model"),
    "VDiTAsVAE": ("bridge", "vae decode", "to vae"),
    "VDiTAsConditioning": ("bridge", "ksampler", "to conditioning"),
    "VDiTFromModel": ("bridge", "native", "unet", "gguf"),
    "VDiTUseVAE": ("bridge", "native vae"),
    "VDiTDraftNoise": ("sdedit", "warped noise", "go with the flow", "custom sampler", "ltx", "img2img video"),
}

# Inputs that are folded away: whoever makes a first video leaves them as they are.
ADVANCED = {
    "VDiTLoadModel": (
        *("attention", "window", "low_noise_file", "text_encoder", "tokenizer", "dtype"),
        *("causal", "causal_window", "causal_sink", "gpus"),
    ),
    "VDiTLoadLoRA": ("expert",),
    "VDiTEncodeConditioning": ("strength", "draft_strength"),
    "VDiTDistillPreview": ("fps", "width", "height", "shift"),
    "VDiTSample": ("guidance", "shift", "solver", "fps", "scheduler", "guidance_low"),
    "VDiTCameraPath": ("easing", "fov_deg", "look_down_deg", "file", "strength", "start", "end", "direction", "axes"),
    "VDiTWalk": ("each", "moves", "fps", "fov_deg"),
    "VDiTCameraFrom3D": ("easing", "metres", "fov_deg"),
    "VDiTWanCameraEmbedding": ("speed", "lens"),
    "VDiTCameraRender": ("near", "far", "fov_deg", "holes", "grow", "edge"),
    "VDiTDepthControl": ("near", "far", "file", "strength", "start", "end"),
    "VDiTFlowControl": ("join", "full_pixels", "start", "end"),
    "VDiTFlowFromVideo": ("check",),
    "VDiTTracks": ("file", "distance"),
    "VDiTSceneFromPicture": ("names", "depth_kind", "fov_deg"),
    "VDiTSimulate": ("width", "height", "mask_of"),
    "VDiTLive": ("width", "height"),
    "VDiTSimulateScene": ("split", "fps", "start_frames"),
    "VDiTPhysicsBenchmark": ("split", "known_frames", "steps"),
    "VDiTBenchmarkClips": ("split", "known_frames", "length"),
    "VDiTAttentionPatch": ("full_start",),
}


def fold_advanced(node_id: str, inputs: Sequence[io.SocketInput]) -> None:
    """Marks the inputs of ADVANCED; in extra_dict, because ComfyUI before 0.16 knows no argument for it."""
    for entry in inputs:
        if entry.id in ADVANCED.get(node_id, ()):
            entry.extra_dict = {**entry.extra_dict, "advanced": True}
