"""Prompts that are wrong in a way that can be known before anything runs, each with words of its refusal."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import wan_files as make
from PIL import Image
from vdit.model.files.load import on_meta, shapes_of
from vdit.model.variants import VARIANTS

SIZE = {"width": 64, "height": 64}
CLIP = {"seconds": 0.5, "fps": 8.0, **SIZE}
SPAN = {"strength": 1.0, "start": 0.0, "end": 1.0}
DRAWN = {"path": "", "file": "", "direction": "as the file says"}
LENS = {"preset": "orbit", "amount": 1.0, "easing": "smooth", "fov_deg": 40.0, "distance": 7.0, "look_down_deg": 8.0}
FLOW = {"how": "branch", "join": "carried", "distance": 10.0, "full_pixels": 10.0, **SIZE, **SPAN}
WALK = {
    "unit": "latent frames", "each": 4.0, "metres": 0.08, "degrees": 3.0, "moves": "as the camera looks", "fps": 24.0,
    "fov_deg": 40.0,
}  # fmt: skip
RENDER = {
    "made_for": "VACE", "width": 64, "height": 64, "frames": 5, "near": 1.0, "far": 9.0, "fov_deg": 0.0,
    "holes": "as the model wants", "grow": 0, "edge": 0.04,
}  # fmt: skip
TRACKS = {
    "points": '[{"x": 8, "y": 8}, {"x": 40, "y": 40}]', "file": "", "frames": 5, "background": "free", "distance": 7.0,
    **SIZE,
}  # fmt: skip
ROUND = {
    "name": "a-model", "suite": "physics", "count": 1, "seed": 0, "split": "test", "known_frames": 1, "width": 64,
    "height": 64, "fps": "8", "length": 0, "clips_at_once": 1,
}  # fmt: skip
SIMULATED = {"family": "arc", "seed": 1, "split": "test", "frames": 9, "fps": 8.0, "camera_move": "still", **SIZE}


def node(kind: str, **inputs: object) -> dict:
    return {"class_type": kind, "inputs": inputs}


def saved(**more: object) -> dict:
    return node(
        "SaveVideo", video=["clip", 0], **{"filename_prefix": "video/x", "format": "auto", "codec": "auto"} | more
    )


GOOD = {
    "model": node("VDiTLoadModel", file="vdit-small (bundled)"),
    "shot": node(
        "VDiTEncodeConditioning", model=["model", 0], prompt="a red ball falls", negative_prompt="", strength=1.0
    ),
    "sample": node(
        "VDiTSample", model=["model", 0], conditioning=["shot", 0], seed=1, steps=1, guidance=1.0, shift=0.0,
        solver="model's own", **CLIP,
    ),
    "frames": node("VDiTDecode", model=["model", 0], latent=["sample", 0]),
    "clip": node("CreateVideo", images=["frames", 0], fps=8.0),
    "save": saved(),
}  # fmt: skip


class Case(NamedTuple):
    """A wrong prompt, the node that is to blame, words of the refusal; whether only this pack's own host refuses it,
    and other words where a real ComfyUI refuses it for another reason.
    """

    prompt: dict
    node: str
    words: str
    host_only: bool = False
    in_comfyui: str = ""


def edited(**changes: dict) -> dict:
    """GOOD with other inputs of these nodes, or with further nodes."""
    prompt = copy.deepcopy(GOOD)
    for name, change in changes.items():
        if "class_type" in change:
            prompt[name] = change
        else:
            prompt[name]["inputs"] |= change
    return prompt


def files(base: Path) -> None:
    """The files that the cases name, in the folders below base."""
    for folder in ("input", "output", *(f"models/{n}" for n in ("diffusion_models", "vae", "text_encoders", "loras"))):
        (base / folder).mkdir(parents=True, exist_ok=True)
    source, models = base / "input", base / "models"
    Image.fromarray(np.full((64, 64, 3), 127, np.uint8)).save(source / "grey.png")
    (source / "broken.png").write_bytes(b"no picture at all")
    (source / "broken.mp4").write_bytes(b"no video at all")
    (source / "path.txt").write_text("these are words\n")
    (source / "tum.txt").write_text("".join(f"{t} 0 0 {t} 0 0 0 1\n" for t in range(9)))
    (source / "nan.txt").write_text("0 0 0 0 0 0 0 1\n1 nan 0 0 0 0 0 1\n")
    (source / "scaled.txt").write_text("2 0 0 0 0 2 0 0 0 0 2 0\n")
    (source / "depth.txt").write_text("1 2 3")
    (source / "robot.xml").write_text('<mujoco><asset><mesh name="a" file="missing.obj"/></asset></mujoco>')
    (source / "scene.json").write_text('{"vdit_scene": ')
    (source / "actions.json").write_text("[]")
    (base / "output" / "file").write_text("a file where a folder is asked for")
    for name in ("t2v-14b", "i2v-14b", "t2v-a14b", "dreamx-world-5b-cam"):
        path = models / "diffusion_models" / f"{name}_high_noise.safetensors"
        path = path if name.endswith("a14b") else path.with_stem(name)
        make.sparse(path, shapes_of(on_meta(VARIANTS[name])))
    for kind, folder in (("VAE 2.1", "vae"), ("VAE 2.2", "vae"), ("Flux", "diffusion_models"), ("Flux LoRA", "loras")):
        make.foreign(models / folder / f"{kind}.safetensors", kind)
    student = models / "diffusion_models" / "causal_forcing_14B.safetensors"
    make.sparse(student, shapes_of(on_meta(VARIANTS["t2v-14b"])))
    header = json.dumps({"transformer": {"causal_ar": True, "num_frame_per_block": 3}})
    make.sparse(student.with_name("t2v-ar.safetensors"), shapes_of(on_meta(VARIANTS["t2v-14b"])), config=header)
    for folder in ("diffusion_models", "vae", "loras"):
        (models / folder / "pickled.pt").write_bytes(b"PK\x03\x04" + bytes(60))  # a zip, as torch.save writes it
    (source / "tracks.pth").write_bytes(b"PK\x03\x04" + bytes(60))
    make.foreign(models / "text_encoders" / "CLIP.safetensors", "CLIP text")


# Models, files and inputs that do not go together.
PAIRINGS = (
    "tracks alone for a model of words", "tracks for the bundled model", "walk to a model without a camera",
    "camera to a model without", "world model without a camera path", "depth to a model of words",
    "causal student with guidance", "causal student sampled whole", "causal student for KSampler",
    "two experts block by block", "weights in a pickle", "VAE in a pickle", "LoRA in a pickle", "tracks in a pickle",
    "files beside a bundle", "VAE of another family", "text encoder of another kind", "LoRA of another model",
)  # fmt: skip


def cases() -> dict[str, Case]:
    """By name."""
    wan = {"file": "t2v-14b.safetensors", "vae": "VAE 2.1.safetensors"}
    picture = node("LoadImage", image="grey.png")
    still = {"start_image": ["picture", 0]}

    def shot(kind: str, name: str, **inputs: object) -> dict:
        return edited(**{name: node(kind, **inputs)}, shot={name: [name, 0]})

    def render(**inputs: object) -> dict:
        return {
            "picture": picture,
            "depth": node(
                "VDiTDepthControl", images=["picture", 0], reading="metres", near=1.0, far=2.0, file="", **SIZE, **SPAN
            ),
            "camera": node("VDiTCameraPath", frames=5, **LENS, **SPAN, **DRAWN),
            "render": node("VDiTCameraRender", camera=["camera", 0], **RENDER | inputs),
        }  # fmt: skip

    def rounds(**inputs: object) -> dict:
        return {"clips": node("VDiTBenchmarkClips", **ROUND | inputs)}

    def brush(frames: int, strokes: str = "") -> dict:
        return edited(
            brush=node("VDiTMotionBrush", strokes=strokes, frames=frames, background="free", **SIZE),
            flow=node("VDiTFlowControl", flow=["brush", 0], **FLOW | {"how": "warped noise"}),
            shot={"flow": ["flow", 0]},
        )

    def pointed(model: dict, **inputs: object) -> dict:
        return edited(
            model=model,
            tracks=node("VDiTTracks", **TRACKS | inputs),
            picture=picture,
            shot={"tracks": ["tracks", 0]} | still,
        )

    def scene(**inputs: object) -> dict:
        return {
            "scene": node("VDiTSceneFile", **{"file": "vdit-robot-arm.xml", "actions_file": ""} | inputs),
            "save": node("VDiTSaveScene", scene=["scene", 0], filename_prefix="scenes/x"),
        }

    def simulated(size: dict, **inputs: object) -> dict:
        return {
            "scene": node("VDiTSimulateScene", start_frames=5, **SIMULATED),
            "move": node("VDiTSimulate", scene=["scene", 8], seed=1, mask_of="", **{"seconds": 1.0, "fps": 8.0} | size),
            "clip": node("CreateVideo", images=["move", 0], fps=8.0),
            "save": saved(**inputs),
        }

    def marked(objects: str) -> dict:
        return {
            "picture": picture,
            "scene": node(
                "VDiTSceneFromPicture", image=["picture", 0], objects=objects, names="", fov_deg=0.0,
                depth_kind="brighter is nearer",
            ),
            "save": node("VDiTSaveScene", scene=["scene", 0], filename_prefix="scenes/x"),
        }  # fmt: skip

    return {
        "prefix leads out": Case(edited(save=saved(filename_prefix="../../x")), "save", "leads outside"),
        "prefix without a name": Case(edited(save=saved(filename_prefix="")), "save", "names no file", host_only=True),
        "prefix too long": Case(edited(save=saved(filename_prefix="x" * 300)), "save", "shorter name"),
        "prefix below a file": Case(edited(save=saved(filename_prefix="file/x")), "save", "is a file"),
        "codec that the format cannot hold": Case(
            edited(save=saved(**{"format": "webm", "format.codec": "h264"})), "save", "'h264' not in", host_only=True
        ),
        "frames of odd sides": Case(simulated({"width": 33, "height": 64}), "save", "even sides", host_only=True),
        "width off the lattice": Case(edited(sample={"width": 100}), "sample", "96 and 128"),
        "height off the lattice": Case(edited(sample={"height": 72}), "sample", "64 and 96"),
        "size too small": Case(edited(sample={"width": 16}), "sample", "32 and 64"),
        "length off the lattice": Case(edited(sample={"seconds": 0.75}), "sample", "5 frames"),
        "length too short": Case(edited(sample={"seconds": 0.1}), "sample", "shortest"),
        "length too long": Case(edited(sample={"seconds": 120.0, "fps": 120.0}), "sample", "longest"),
        "frames beyond main memory": Case(
            edited(sample={"seconds": 120.0, "width": 2048, "height": 2048}), "frames", "what fits"
        ),
        "a step beyond memory": Case(
            edited(model=wan, sample={"seconds": 40.0, "fps": 24.0, "width": 2048, "height": 1024}),
            "sample",
            "what fits",
        ),
        "size above the widget's": Case(edited(sample={"width": 4096}), "sample", "2048"),
        "brush of another length": Case(
            edited(
                brush=node("VDiTMotionBrush", strokes="", frames=41, background="free", **SIZE),
                shot={"flow": ["brush", 0]},
            ),
            "sample",
            "for 41 frames",
        ),
        "brush without JSON": Case(brush(5, "{"), "brush", "strokes"),
        "camera file missing": Case(
            shot("VDiTCameraPath", "camera", frames=5, **LENS, **SPAN, **DRAWN | {"file": "nothing.txt"}),
            "camera", "no such file",
        ),
        "camera file of words": Case(
            shot("VDiTCameraPath", "camera", frames=5, **LENS, **SPAN, **DRAWN | {"file": "path.txt"}),
            "camera", "path.txt"
        ),
        "camera without keys": Case(
            shot("VDiTCameraPath", "camera", frames=5, **LENS, **SPAN, **DRAWN | {"path": "[]"}), "camera", "path"
        ),
        "camera file of NaN": Case(
            shot("VDiTCameraPath", "camera", frames=5, **LENS, **SPAN, **DRAWN | {"file": "nan.txt"}), "camera", "NaN"
        ),
        "camera file that scales": Case(
            shot(
                "VDiTCameraPath", "camera", frames=5, **LENS, **SPAN,
                **DRAWN | {"file": "scaled.txt", "direction": "camera to world"},
            ),
            "camera", "no rotation",
        ),
        "camera file of another length": Case(
            shot("VDiTCameraPath", "camera", frames=5, **LENS, **SPAN, **DRAWN | {"file": "tum.txt"}),
            "sample", "camera path is for 9 frames",
        ),
        "walk of unknown keys": Case(shot("VDiTWalk", "camera", keys="w-3, x-2", **WALK), "camera", "step 2"),
        "walk of another length": Case(
            shot("VDiTWalk", "camera", keys="w-3", **WALK), "sample", "camera path is for 13 frames"
        ),
        "walk to a model without a camera": Case(
            edited(model=wan, camera=node("VDiTWalk", keys="w-1", **WALK), shot={"camera": ["camera", 0]}),
            "shot", "does not read `camera`",
        ),
        "render of nothing": Case(render(), "render", "nothing is connected"),
        "render without depth": Case(render(images=["picture", 0]), "render", "images without depth"),
        "render of a length that the model does not take": Case(
            render(images=["picture", 0], depth=["depth", 0], frames=6), "render", "choose 5 or 9"
        ),
        "render of a size that the model does not take": Case(
            render(images=["picture", 0], depth=["depth", 0], made_for="LTX", frames=9, width=80), "render", "64 or 96"
        ),
        "embedding of nothing": Case(
            {
                "camera": node(
                    "VDiTWanCameraEmbedding", move="the camera path", length=5, speed=1.0, lens="the path's", **SIZE
                ),
                "show": node("PreviewAny", source=["camera", 0]),
            },
            "camera", "none is connected",
        ),
        "depth without pictures": Case(
            shot("VDiTDepthControl", "depth", reading="brighter is nearer", near=0.0, far=0.0, file="", **SIZE, **SPAN),
            "depth", "neither pictures",
        ),
        "depth file of text": Case(
            shot("VDiTDepthControl", "depth", reading="metres", near=0.0, far=0.0, file="depth.txt", **SIZE, **SPAN),
            "depth", ".npy",
        ),
        "flow from nothing": Case(shot("VDiTFlowControl", "flow", **FLOW), "flow", "nothing is connected"),
        "tracks for a model of words": Case(pointed(wan), "shot", "does not read `start_image`"),
        "tracks alone for a model of words": Case(
            edited(model=wan, tracks=node("VDiTTracks", **TRACKS), shot={"tracks": ["tracks", 0]}),
            "shot", "does not read `tracks`: load an I2V model",
        ),
        "tracks for the bundled model": Case(pointed({}), "shot", "does not read `tracks`: load an I2V model"),
        "tracks of another shape": Case(
            pointed(wan | {"file": "i2v-14b.safetensors"}, width=64, height=48), "sample", "tracks is 64x48 pixels"
        ),
        "tracks of nothing": Case(pointed({}, points=""), "tracks", "there are none; draw strokes on VDiT"),
        "tracks of NaN": Case(pointed({}, points='[{"x": NaN, "y": 1}]'), "tracks", "NaN, which is no number"),
        "tracks of words": Case(pointed({}, points='[{"x": 1, "y": "up"}]'), "tracks", "track 1, point 1"),
        "tracks of a file that is not there": Case(
            pointed({}, points="", file="gone.json"), "tracks", "gone.json"
        ),
        "picture missing": Case(edited(picture=node("LoadImage", image="no.png"), shot=still), "picture", "no.png"),
        "picture damaged": Case(
            edited(picture=node("LoadImage", image="broken.png"), shot=still), "picture", "no picture", host_only=True
        ),
        "video damaged": Case(
            {"clip": node("LoadVideo", file="broken.mp4"), "save": saved()}, "clip", "no video", host_only=True
        ),
        "robot without its mesh": Case(scene(file="robot.xml"), "scene", "missing.obj"),
        "scene of another kind": Case(scene(file="grey.png"), "scene", "expected a scene"),
        "scene cut off": Case(scene(file="scene.json"), "scene", "scene.json"),
        "actions of another kind": Case(scene(actions_file="actions.json"), "scene", "actions.json"),
        "objects without JSON": Case(marked("{"), "scene", "objects"),
        "simulation of one frame": Case(
            simulated({"width": 64, "height": 64, "seconds": 0.1, "fps": 1.0}), "move", "are 1 frame; expected 2"
        ),
        "simulation too large": Case(
            simulated({"width": 4096, "height": 4096, "seconds": 120.0}), "move", "GB of memory"
        ),
        "model file missing": Case(edited(model={"file": "gone.safetensors"}), "model", "gone.safetensors"),
        "model of another kind": Case(edited(model={"file": "Flux.safetensors"}), "model", "Flux"),
        "files beside a bundle": Case(edited(model={"vae": "VAE 2.1.safetensors"}), "model", "bundle"),
        "VAE of another family": Case(edited(model=wan | {"vae": "VAE 2.2.safetensors"}), "model", "the Wan VAE 2.1"),
        "text encoder of another kind": Case(
            edited(model=wan | {"text_encoder": "CLIP.safetensors"}), "model", "umt5-xxl"
        ),
        "one of two experts": Case(edited(model={"file": "t2v-a14b_high_noise.safetensors"}), "model", "expert"),
        "no VAE to decode with": Case(edited(model=wan | {"vae": "none"}), "frames", "loaded without one"),
        "no text encoder": Case(edited(model=wan), "shot", "text encoder"),
        "camera to a model without": Case(
            edited(
                model=wan,
                camera=node("VDiTCameraPath", frames=5, **LENS, **SPAN, **DRAWN),
                shot={"camera": ["camera", 0]},
            ),
            "shot", "does not read `camera`",
        ),
        "start picture missing": Case(edited(model=wan | {"file": "i2v-14b.safetensors"}), "shot", "start_image"),
        "LoRA of another model": Case(
            edited(
                lora=node("VDiTLoadLoRA", model=["model", 0], file="Flux LoRA.safetensors", strength=1.0),
                sample={"model": ["lora", 0]},
            ),
            "lora", "Flux LoRA",
        ),
        "start frames beyond the scene": Case(
            {
                "scene": node("VDiTSimulateScene", start_frames=13, **SIMULATED),
                "clip": node("CreateVideo", images=["scene", 0], fps=8.0),
                "save": saved(),
            },
            "scene", "only 9 frames",
        ),
        "score of a scene that is known": Case(
            {
                "scene": node("VDiTSimulateScene", start_frames=5, **SIMULATED),
                "score": node(
                    "VDiTScoreVideo", scene=["scene", 8], images=["scene", 0], measure="all that fit", known_frames=9
                ),
            },
            "score", "only 9 frames",
        ),
        "two experts block by block": Case(
            edited(
                model={
                    "file": "t2v-a14b_high_noise.safetensors", "low_noise_file": "t2v-a14b_high_noise.safetensors",
                    "causal": "blocks of 1",
                },
            ),
            "model", "two experts",
        ),
        "more GPUs than there are": Case(edited(model={"gpus": 8}), "model", "gpus is 8, and this machine has "),
        "causal window of one block": Case(
            edited(model=wan | {"causal": "blocks of 3", "causal_window": 3}), "model", "widen the window"
        ),
        "causal student with guidance": Case(
            edited(
                model=wan | {"file": "causal_forcing_14B.safetensors"},
                sample={"guidance": 5.0, "width": 832, "height": 480},
            ),
            "sample", "has its guidance built in",
        ),
        "causal student sampled whole": Case(
            edited(model=wan | {"file": "t2v-ar.safetensors", "causal": "off"}),
            "model", "Set causal to auto on VDiT Load Model",
        ),
        "causal student for KSampler": Case(
            {
                "model": node("VDiTLoadModel", **wan | {"file": "causal_forcing_14B.safetensors", "window": 0.5}),
                "native": node("VDiTAsModel", model=["model", 0], shift=0.0, expert="high noise"),
                "text": node("PreviewAny", source=["native", 0]),
            },
            "native", "no ComfyUI", in_comfyui="KSampler makes all frames at once: use VDiT Sample",
        ),
        "world model without a camera path": Case(
            edited(
                model={"file": "dreamx-world-5b-cam.safetensors", "vae": "VAE 2.2.safetensors"},
                picture=picture,
                shot=still,
            ),
            "shot", "from VDiT Camera Path",
        ),
        "depth to a model of words": Case(
            edited(
                model=wan,
                picture=picture,
                depth=node(
                    "VDiTDepthControl", images=["picture", 0], reading="metres", near=1.0, far=2.0, file="", **SIZE,
                    **SPAN,
                ),
                shot={"depth": ["depth", 0]},
            ),
            "shot", "does not read `depth`: load a VACE",
        ),
        "weights in a pickle": Case(
            edited(model={"file": "pickled.pt"}), "model", "load it with ComfyUI's Load Diffusion Model"
        ),
        "VAE in a pickle": Case(edited(model=wan | {"vae": "pickled.pt"}), "model", "this is a pickle file"),
        "LoRA in a pickle": Case(
            edited(
                lora=node("VDiTLoadLoRA", model=["model", 0], file="pickled.pt", strength=1.0),
                sample={"model": ["lora", 0]},
            ),
            "lora", "this is a pickle file",
        ),
        "tracks in a pickle": Case(
            pointed({}, points="", file="tracks.pth"), "tracks", "save the tracks as JSON"
        ),
        "videos of a round beyond memory": Case(
            {
                **rounds(fps="24", clips_at_once=100, width=2048, height=2048),
                "text": node("PreviewAny", source=["clips", 1]),
            },
            "clips", "what fits: ",
        ),
        "a round's size off the model's lattice": Case(
            {
                **edited(sample={"width": ["clips", 4], "height": ["clips", 5]}),
                **rounds(width=400, height=400),
            },
            "sample", "384 and 416",
        ),
        "a round's name below a file": Case(
            {**rounds(name="../file"), "text": node("PreviewAny", source=["clips", 1])}, "clips", "is a file"
        ),
        "native model without ComfyUI": Case(
            edited(native=node("VDiTAsVAE", model=["model", 0]), text=node("PreviewAny", source=["native", 0])),
            "native", "no ComfyUI", host_only=True,
        ),
    }  # fmt: skip
