"""The shipped workflows as tests run them in a real ComfyUI: small, with stand-ins for models that are not ours."""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path

from comfy_core import PACK, Core
from other_nodes import OTHERS
from vdit.host import workflow
from wan_workflows import VARIANT_OF, provide
from wan_workflows import small as small_run

WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))
WAN = [path for path in WORKFLOWS if path.stem in VARIANT_OF]  # no weights of these ship
BENCHMARK = PACK / "workflows" / "physics-benchmark.json"
SCORED = [path for path in sorted((PACK / "workflows").glob("score-*.json")) if path not in WAN]  # other models
SHOTS = [path for path in WORKFLOWS if path not in (BENCHMARK, *WAN, *SCORED)]
STAND_IN = "StandIn"  # before the name of each of these nodes


def opened(path: Path, known: Container[str] = ()) -> dict:
    """The graph with stand-ins for nodes whose models do not ship and which only newer cores have, but `known` ones."""
    ui = json.loads(path.read_text("utf-8"))
    for node in ui["nodes"]:
        if node["type"] in OTHERS and node["type"] not in known:
            node["type"] = STAND_IN + node["type"]
    return ui


def small(path: Path, models: Path) -> dict[str, dict]:
    """{node type: {widget: value}} that makes a run short; writes tiny files for those that the workflow names."""
    if path.stem.startswith("score-"):  # which takes back whole clips alone
        kept = models.parent / "output" / "benchmark"
        clips = {"width": 64, "height": 64, "count": 1, "name": f"{path.stem}-{len([*kept.glob('*')])}"}
        if path in SCORED:
            return {"VDiTBenchmarkClips": clips}
        provide(path, models)
        return {"VDiTSample": {"steps": 2}, "VDiTBenchmarkClips": clips}
    if path in WAN:
        provide(path, models)
        fixed = "depth" in path.stem or "render" in path.stem  # as long as their control, or what was played
        shorter = {} if fixed else {"seconds": 0.5}
        node = "VDiTDistillPreview" if path.stem == "causal-preview" else "VDiTSample"
        short: dict[str, dict] = {node: shorter}
        for name, value in small_run(path).items():
            title, widget = name.split(".")
            kind = node if title == "Sample" else f"VDiT{title.replace(' ', '')}"
            short.setdefault(kind, {})[widget] = value
        return short
    if path == BENCHMARK:
        return {"VDiTPhysicsBenchmark": {"suite": "physics", "count": 1, "steps": 1}}
    return {}


def shipped(core: Core, path: Path, model: str | None = None) -> tuple[dict, dict]:
    """(prompt, graph) of a shipped workflow; the conversion is the host's, on the core's own object_info."""
    ui = opened(path)
    prompt = workflow.to_prompt(ui, core.infos)
    for node in prompt.values():
        if model and node["class_type"] == "VDiTLoadModel":
            node["inputs"]["file"] = model
    return prompt, ui


# A pack of stand-ins: each takes what the node in its place takes. Its mask is an ellipse in the middle, its picture
# a depth that is nearer below, in as many frames as came in, its number an angle of view in degrees; it gives no sound;
# a latent is the longest video that came in or, where the node has them as inputs, one of that size and length;
# anything else is the picture that came in.
STAND_INS = f"""
import json
from types import SimpleNamespace

import torch

INFOS = json.loads({json.dumps(OTHERS)!r})

def sized(picture, given):
    length = given.get("length") or given.get("video_frames") or given.get("batch_size")
    size = given.get("height"), given.get("width"), length
    if not all(isinstance(side, int) for side in size):
        return picture
    if picture is None:
        picture = torch.zeros(1, *size[:2], 3)
    return picture if len(picture) >= length else picture[:1].expand(length, -1, -1, -1)

def value(kind, picture):
    if kind == "FLOAT":
        return 40.0
    if kind == "CLIP_VISION_OUTPUT":
        return SimpleNamespace(penultimate_hidden_states=torch.zeros(1, 257, 256))
    if kind == "AUDIO":
        return None
    if picture is None or kind not in ("MASK", "IMAGE"):
        return picture
    height, width = picture.shape[1:3]
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    if kind == "MASK":
        return ((x / 0.3) ** 2 + (y / 0.5) ** 2 < 1).float()[None]
    return (y.expand(height, width) * 0.25 + 0.5)[None, ..., None].expand(len(picture), -1, -1, 3)

def stand_in(info):
    def run(self, **given):
        pictures = [each for each in given.values() if isinstance(each, torch.Tensor) and each.ndim == 4]
        picture = max(pictures, key=len, default=None)  # a video, where there is one
        picture = sized(picture, given) if "LATENT" in info["output"] else picture
        return tuple(value(kind, picture) for kind in info["output"])
    return type(info["name"], (), {{
        "RETURN_TYPES": tuple(info["output"]), "FUNCTION": "run", "CATEGORY": "test", "run": run,
        "INPUT_TYPES": classmethod(lambda cls: info["input"]),
        "VALIDATE_INPUTS": classmethod(lambda cls, **given: True),
    }})

NODE_CLASS_MAPPINGS = {{{STAND_IN!r} + name: stand_in(info | {{"name": name}}) for name, info in INFOS.items()}}
"""
