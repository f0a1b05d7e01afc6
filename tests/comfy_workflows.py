"""The shipped workflows as tests run them in a real ComfyUI: small, with stand-ins for models that are not ours."""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path

from comfy_core import PACK, Core
from vdit.host import workflow
from wan_workflows import VARIANT_OF, provide
from wan_workflows import small as small_run

WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))
WAN = [path for path in WORKFLOWS if path.stem in VARIANT_OF]  # no weights of these ship
BENCHMARK = PACK / "workflows" / "physics-benchmark.json"
SHOTS = [path for path in WORKFLOWS if path not in (BENCHMARK, *WAN)]
OTHERS = json.loads((PACK / "tests/object_info_0_33.json").read_text("utf-8"))  # nodes of models that are not ours
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
    if path in WAN:
        provide(path, models)
        if path.stem.startswith("score-"):  # which takes back whole clips alone
            return {"VDiTSample": {"steps": 2}, "VDiTBenchmarkClips": {"width": 64, "height": 64, "count": 1}}
        fixed = "depth" in path.stem or "render" in path.stem  # as long as their control
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
# anything else is the picture that came in.
STAND_INS = f"""
import json
from types import SimpleNamespace

import torch

INFOS = json.loads({json.dumps(OTHERS)!r})

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
        return tuple(value(kind, picture) for kind in info["output"])
    return type(info["name"], (), {{
        "RETURN_TYPES": tuple(info["output"]), "FUNCTION": "run", "CATEGORY": "test", "run": run,
        "INPUT_TYPES": classmethod(lambda cls: info["input"]),
        "VALIDATE_INPUTS": classmethod(lambda cls, **given: True),
    }})

NODE_CLASS_MAPPINGS = {{{STAND_IN!r} + name: stand_in(info | {{"name": name}}) for name, info in INFOS.items()}}
"""
