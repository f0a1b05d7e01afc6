"""The pack in a real ComfyUI: same schemas as on the host, every shipped workflow runs, progress, cancel, memory.

COMFYUI_PATH=/path/to/ComfyUI [COMFYUI_PYTHON=/its/python] pytest tests/test_comfyui.py
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from comfy_core import COMFYUI, MISSING, PACK, Core, fetch, get, node_of, python_of, run
from vdit.host import core_nodes, workflow
from vdit.host.api import call
from vdit.nodes import NODES
from wan_workflows import SMALL, provide

pytestmark = pytest.mark.slow

WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))
WAN = [path for path in WORKFLOWS if path.stem.startswith("wan-")]  # no weights of these ship
SIMPLE, BENCHMARK = (PACK / "workflows" / f"{name}.json" for name in ("text-to-video", "physics-benchmark"))
MODELS = PACK / "workflows" / "scene-from-sam3-moge.json"  # of other people, with nodes that only newer cores have
SHOTS = [path for path in WORKFLOWS if path not in (BENCHMARK, MODELS, *WAN)]

if not COMFYUI:
    pytest.skip(f"{MISSING} to run the shipped workflows there", allow_module_level=True)

HOST = {cls.GET_SCHEMA().node_id: cls for cls in [*core_nodes.NODES, *NODES]}

# What core nodes changed after this version; the host has the later form. (node, field) -> first version that has it.
LATER = {("PreviewAny", "display_name"): (0, 3, 65), ("PrimitiveFloat", "input"): (0, 3, 65)}


# --- schemas


def canonical(entry: dict) -> dict:
    """One spelling for what ComfyUI itself spells in several ways:

    a combo as [options, {...}] or ["COMBO", {"options": ...}]; an input without options as [type] or [type, {}];
    a hidden input as "PROMPT" or ["PROMPT"]; a flag that is off as false or left out.
    """

    def spec(value):
        kind, options = (value[0], dict(value[1]) if len(value) > 1 else {}) if isinstance(value, list) else (value, {})
        if isinstance(kind, list):
            kind, options = "COMBO", options | {"options": kind}
        return [kind, {key: option for key, option in options.items() if option is not False}]

    inputs = {
        group: {name: spec(value) for name, value in group_inputs.items()}
        for group, group_inputs in entry["input"].items()
    }
    return json.loads(json.dumps(entry | {"input": inputs}))


@pytest.mark.parametrize("name", HOST)
def test_the_node_is_described_as_on_the_host(core, name):
    """Equal in every field that both have: each core version adds some."""
    real = canonical(core.infos[name])
    ours = canonical(json.loads(json.dumps(HOST[name].object_info())))
    if name in ("LoadImage", "LoadVideo"):  # the files of two different input folders
        for info in (real, ours):
            next(iter(info["input"]["required"].values()))[1].pop("options")
    if ours["display_name"] is None and real["display_name"] == name:  # the older kind's way to say that it has none
        real["display_name"] = None
    for key in real.keys() & ours.keys():
        if core.version < LATER.get((name, key), ()):
            continue
        assert ours[key] == real[key], f"{name}.{key}"


@pytest.mark.parametrize("cls", NODES, ids=lambda cls: cls.GET_SCHEMA().node_id)
def test_our_node_is_described_word_for_word(core, cls):
    """Without any leniency, in the fields that both have."""
    real, ours = core.infos[cls.GET_SCHEMA().node_id], json.loads(json.dumps(cls.object_info()))
    both = real.keys() & ours.keys()
    assert {key: ours[key] for key in both} == {key: real[key] for key in both} and len(both) >= 14


def test_the_pack_loads_without_a_warning(core):
    lines = [line for line in core.log.read_text().splitlines() if "vdit" in line.lower()]
    assert sum(" seconds" in line for line in lines) == 1, "loaded once"
    assert not any("error" in line.lower() or "cannot import" in line.lower() for line in lines), lines


def test_templates_and_help_are_served(core):
    assert set(get(f"{core.url}/workflow_templates")["vdit"]) == {path.stem for path in WORKFLOWS}
    for path in WORKFLOWS:
        assert get(f"{core.url}/api/workflow_templates/vdit/{path.name}") == json.loads(path.read_text("utf-8"))
    for cls in NODES:
        assert fetch(f"{core.url}/extensions/vdit/docs/{cls.GET_SCHEMA().node_id}.md").startswith("# ")
    assert get(f"{core.url}/i18n")["ja"]["nodeDefs"]["VDiTSample"]["inputs"]["seed"]["name"] == "シード"


def test_blueprints_are_served(core):
    if core.version < (0, 8):
        pytest.skip("this core has no blueprints")
    listed = get(f"{core.url}/global_subgraphs")
    ours = {number: entry["name"] for number, entry in listed.items() if entry["info"]["node_pack"].endswith("vdit")}
    assert set(ours.values()) == {path.stem for path in (PACK / "subgraphs").glob("*.json")}
    for number, name in ours.items():
        graph = json.loads(get(f"{core.url}/global_subgraphs/{number}")["data"])
        assert workflow.to_prompt(graph, core.infos) and graph["nodes"][0]["title"] == name


# --- runs


@pytest.fixture(scope="module")
def random_model(core):
    """A model of random weights in ComfyUI's own model folder."""
    from fakes import random_world_model
    from vdit.model.files.bundle import save_world_model

    name = "random.safetensors"
    save_world_model(random_world_model(0, controls=True), core.base / "models/diffusion_models" / name)
    return name


def shipped(core: Core, path: Path, model: str | None = None) -> tuple[dict, dict]:
    """(prompt, workflow) of a shipped workflow; the conversion is the host's, on the core's own object_info."""
    ui = json.loads(path.read_text("utf-8"))
    prompt = workflow.to_prompt(ui, core.infos)
    for node in prompt.values():
        if model and node["class_type"] == "VDiTLoadModel":
            node["inputs"]["file"] = model
    return prompt, ui


def has_opencv() -> bool:
    return subprocess.run([python_of(Path(COMFYUI)), "-c", "import cv2"], capture_output=True).returncode == 0


@pytest.mark.parametrize("path", WAN, ids=lambda path: path.stem)
def test_the_wan_workflow_runs_on_files_of_the_names_that_it_gives(core, path):
    provide(path, core.base / "models")
    prompt, ui = shipped(core, path)
    sample = prompt[node_of(prompt, "VDiTSample")]["inputs"]
    sample |= {name.removeprefix("Sample."): value for name, value in SMALL.items()}
    if "depth" not in path.stem:
        sample["seconds"] = 0.5
    done = run(core, prompt, ui)
    if any(node["class_type"] == "VDiTFlowFromVideo" for node in prompt.values()) and not has_opencv():
        assert done.status == "error" and "pip install opencv-python-headless" in json.dumps(done.messages[-1])
        return
    assert done.status == "success", (done.messages[-1:], done.node_errors, core.log.read_text()[-3000:])
    assert done.outputs[node_of(prompt, "SaveVideo")]["images"]
    assert "2 steps of" in done.outputs[node_of(prompt, "VDiTSample")]["vdit_line"][0]


def test_the_benchmark_workflow_scores_a_model(core, random_model):
    prompt, ui = shipped(core, BENCHMARK, random_model)
    prompt[node_of(prompt, "VDiTPhysicsBenchmark")]["inputs"] |= {"suite": "physics", "count": 1, "steps": 1}
    done = run(core, prompt, ui)
    assert done.status == "success", (done.messages[-1:], done.node_errors, core.log.read_text()[-3000:])
    saved = {image["filename"].split("_")[0] for output in done.outputs.values() for image in output.get("images", ())}
    assert {"scores", "worst"} <= saved


@pytest.mark.parametrize("path", SHOTS, ids=lambda path: path.stem)
def test_the_shipped_workflow_runs_to_a_video(core, path):
    import av
    from PIL import Image

    prompt, ui = shipped(core, path)
    done = run(core, prompt, ui)
    if any(node["class_type"] == "VDiTFlowFromVideo" for node in prompt.values()) and not has_opencv():
        assert done.status == "error" and "pip install opencv-python-headless" in json.dumps(done.messages[-1])
        return
    assert done.status == "success", (done.messages[-1:], done.node_errors, core.log.read_text()[-3000:])

    kinds = {node["class_type"] for node in prompt.values()}
    maker = node_of(prompt, "VDiTSample" if "VDiTSample" in kinds else "VDiTSimulate")
    inputs = prompt[maker]["inputs"]
    frames = round(inputs["seconds"] * inputs["fps"]) + 1
    steps = [m["data"]["value"] for m in done.messages if m["type"] == "progress" and m["data"].get("node") == maker]
    assert steps == sorted(steps) and steps[-1] == inputs.get("steps", steps[-1]) > 0
    pictures = [data for data in done.previews if int.from_bytes(data[:4], "big") in (1, 4)]
    assert len(pictures) >= 3, "the forming video is shown"
    start = pictures[-1].find(b"\xff\xd8\xff")
    with Image.open(BytesIO(pictures[-1][start:])) as picture:
        assert min(picture.size) >= 32

    (saved,) = done.outputs[node_of(prompt, "SaveVideo")]["images"]
    with av.open(str(core.base / "output" / saved["subfolder"] / saved["filename"])) as video:
        stream, tags = video.streams.video[0], video.metadata
        assert stream.codec.name == "h264" and stream.frames == frames
        assert float(stream.average_rate) == inputs["fps"]
        embedded = json.loads(tags["prompt"])
        for node in embedded.values():
            node.pop("is_changed", None)  # the core's own note of fingerprint_inputs
        assert embedded == prompt and json.loads(tags["workflow"]) == ui


def test_a_preview_holds_the_render_back_until_a_take_is_picked(core, random_model):
    prompt, ui = shipped(core, PACK / "workflows" / "distill-preview.json", random_model)
    preview = prompt[node_of(prompt, "VDiTDistillPreview")]["inputs"]
    for node in prompt.values():
        if node["class_type"] == "VDiTDistillPreview":
            node["inputs"] |= {"seconds": 0.5, "steps": 1}
    prompt[node_of(prompt, "VDiTSample")]["inputs"]["steps"] = 2
    preview |= {"seed": 30, "pick": -1}
    done = run(core, prompt, ui)
    assert done.status == "success", (done.messages[-1:], done.node_errors, core.log.read_text()[-3000:])
    shown = done.outputs[node_of(prompt, "VDiTDistillPreview")]
    assert [take["seed"] for take in shown["vdit_takes"]] == ["30", "31", "32", "33"]
    assert node_of(prompt, "SaveVideo") not in done.outputs
    preview["pick"] = 31
    done = run(core, prompt, ui)
    assert done.status == "success" and done.outputs[node_of(prompt, "SaveVideo")]["images"]
    lines = [line for output in done.outputs.values() for line in output.get("vdit_line", ())]
    assert any(line.startswith("Agreement with the render: PSNR") for line in lines)


def test_a_run_is_cancelled_within_the_next_steps(core, random_model):
    prompt, ui = shipped(core, SIMPLE, random_model)
    prompt[node_of(prompt, "VDiTSample")]["inputs"] |= {"steps": 1000, "seed": 5}
    done = run(core, prompt, ui, cancel_at_step=2)
    steps = [message["data"]["value"] for message in done.messages if message["type"] == "progress"]
    assert done.status == "interrupted" and max(steps) < 1000


def test_models_are_in_comfyuis_hands_and_come_back_after_being_freed(core, random_model):
    prompt, ui = shipped(core, SIMPLE, random_model)
    sample, decode = node_of(prompt, "VDiTSample"), node_of(prompt, "VDiTDecode")
    prompt["900"] = {"class_type": "Probe", "inputs": {"after": [sample, 0], "salt": 1}}
    for seed in (11, 12):
        prompt[sample]["inputs"] |= {"seed": seed, "steps": 2}
        prompt["900"]["inputs"]["salt"] = seed
        done = run(core, prompt, ui)
        assert done.status == "success", done.messages[-1:]
        assert {"VDiT", "TinyCodec"} <= set(json.loads(done.outputs["900"]["text"][0]))
        assert decode in prompt


def test_the_same_seed_gives_the_same_video_as_on_the_host(core, random_model, tmp_path):
    """Bit for bit with the same torch; otherwise as near as two builds of torch come."""
    import numpy as np
    import torch
    from PIL import Image
    from vdit.model.files.bundle import load_world_model

    prompt, ui = shipped(core, PACK / "workflows" / "text-to-video.json", random_model)
    sample, decode = node_of(prompt, "VDiTSample"), node_of(prompt, "VDiTDecode")
    prompt[sample]["inputs"] |= {"steps": 4, "seconds": 0.5}
    prompt = {number: node for number, node in prompt.items() if node["class_type"].startswith("VDiT")}
    prompt["800"] = {"class_type": "SaveImage", "inputs": {"images": [decode, 0], "filename_prefix": "same"}}
    done = run(core, prompt, ui)
    assert done.status == "success", done.messages[-1:]
    theirs = np.stack(
        [np.asarray(Image.open(core.base / "output" / image["filename"])) for image in done.outputs["800"]["images"]]
    )

    used = {node["class_type"] for node in prompt.values()}
    nodes = {cls.__name__: cls for cls in NODES if cls.__name__ in used}
    inputs = {kind: prompt[node_of(prompt, kind)]["inputs"] for kind in nodes}
    widgets = {
        kind: {key: value for key, value in inputs[kind].items() if not isinstance(value, list)} for kind in nodes
    }
    model = load_world_model(core.base / "models/diffusion_models" / random_model)
    with torch.inference_mode():
        conditioning = call(nodes["VDiTEncodeConditioning"], widgets["VDiTEncodeConditioning"] | {"model": model})[0]
        latent = call(nodes["VDiTSample"], widgets["VDiTSample"] | {"model": model, "conditioning": conditioning})[0]
        images = call(nodes["VDiTDecode"], {"model": model, "latent": latent})[0]
    ours = (images * 255).clamp(0, 255).byte().numpy()
    assert theirs.shape == ours.shape and np.abs(theirs.astype(int) - ours).max() <= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"VDiTSample": {"seconds": 5.1}}, "4.875|5"),
        ({"VDiTLoadModel": {"file": "gone.safetensors"}}, "gone.safetensors"),
        ({"VDiTSample": {"steps": -1}}, "min"),
    ],
)
def test_a_wrong_value_is_reported_on_its_node(core, random_model, change, words):
    import re

    prompt, ui = shipped(core, SIMPLE, random_model)
    ((kind, values),) = change.items()
    prompt[node_of(prompt, kind)]["inputs"] |= values
    done = run(core, prompt, ui)
    told = json.dumps(done.node_errors.get(node_of(prompt, kind)) or done.messages[-1]["data"])
    assert done.status in ("refused", "error") and re.search(words, told), told


# --- the real front end on the real core

CHROMIUM = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def page(core):
    """A page of the core's own front end, without other hosts. Fails on page errors, of our own while it loads."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="THE FRONT END IS NOT CHECKED: playwright is missing"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    errors = []
    with playwright.sync_playwright() as started:
        try:
            browser = started.chromium.launch(executable_path=chromium, args=CHROMIUM)
        except playwright.Error:
            pytest.skip("THE FRONT END IS NOT CHECKED: no chromium; install Debian's")
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(error.stack or str(error)))
        page.route(
            lambda url: "//127.0.0.1" not in url and not url.startswith(("data:", "blob:")), lambda route: route.abort()
        )
        page.goto(core.url)  # not by the deep link to a template: front ends as old as 1.27 have none
        page.wait_for_function(
            "() => window.app?.graph && 'VDiTLoadModel' in window.LiteGraph.registered_node_types", timeout=120_000
        )
        page.wait_for_load_state("networkidle")  # its own first graph would take the place of ours
        # 1.27 fails once by itself while it registers its settings
        errors[:] = [error for error in errors if "/extensions/vdit/" in error]
        yield page
        browser.close()
    assert not errors


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_front_end_makes_the_same_prompt(core, page, path):
    ui = json.loads(path.read_text("utf-8"))
    page.evaluate("async ui => { await app.loadGraphData(ui) }", ui)
    theirs = json.loads(page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)"))
    ours = workflow.to_prompt(ui, core.infos)
    for prompt in (theirs, ours):
        for node in prompt.values():
            node["_meta"].pop("cnr_id", None)  # only newer front ends note the pack
            node["inputs"].pop("video-preview", None)  # the front end's player, once a video has arrived
    assert theirs == ours


def test_a_video_of_the_hosts_dropped_into_the_editor_restores_its_graph(page, tmp_path):
    from fractions import Fraction

    import torch
    from vdit.host import video

    ui = json.loads(WORKFLOWS[0].read_text("utf-8"))
    frames = torch.rand(41, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    clip = video.VideoFromComponents(video.VideoComponents(frames, Fraction(8)))
    clip.save_to(tmp_path / "clip.mp4", metadata={"workflow": ui, "prompt": {}, "ai_generated": "true"})
    page.evaluate("() => app.graph.clear()")
    page.evaluate(
        """async text => {
        const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
        await app.handleFile(new File([bytes], "clip.mp4", { type: "video/mp4" }));
    }""",
        base64.b64encode((tmp_path / "clip.mp4").read_bytes()).decode(),
    )
    page.wait_for_function("app.graph.nodes.length > 0")
    types = json.loads(page.evaluate("() => JSON.stringify(app.graph.nodes.map(node => node.type))"))
    assert sorted(types) == sorted(node["type"] for node in ui["nodes"])
