"""The pack in a real ComfyUI: same schemas as on the host, every shipped workflow runs, progress, cancel, memory.

COMFYUI_PATH=/path/to/ComfyUI [COMFYUI_PYTHON=/its/python] pytest tests/test_comfyui.py
"""

from __future__ import annotations

import json
import re
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
import refusals
from comfy_core import COMFYUI, MISSING, PACK, Graph, fetch, get, node_of, python_of, run
from comfy_workflows import BENCHMARK, SCORED, SHOTS, WAN, WORKFLOWS, shipped, small
from other_nodes import CORE_ONLY
from vdit.host import core_nodes, workflow
from vdit.host.api import call
from vdit.host.widgets import choices
from vdit.nodes import NODES

pytestmark = pytest.mark.slow

SIMPLE = PACK / "workflows" / "text-to-video.json"

if not COMFYUI:
    pytest.skip(f"{MISSING} to run the shipped workflows there", allow_module_level=True)

# --- schemas


def widgets_of(entry: dict) -> dict[str, tuple]:
    """{input: (type, options, required)} of a new node, in order; a combo in any of its forms as ("COMBO", choices)."""
    found = {}
    for group in ("required", "optional"):
        for name, spec in entry["input"].get(group, {}).items():
            kind, options = (
                (spec[0], spec[1] if len(spec) > 1 else {}) if isinstance(spec, (list, tuple)) else (spec, {})
            )
            offered = choices([kind, options])
            found[name] = ("COMBO" if offered is not None else kind, options, group == "required", offered)
    return found


@pytest.mark.parametrize("cls", core_nodes.NODES, ids=lambda cls: cls.GET_SCHEMA().node_id)
def test_a_core_node_means_the_same_on_the_host(core, cls):
    """A graph with the node in it reads alike, whichever release the core is: cores add inputs, outputs and choices.

    What both have is of one type, in one order, and takes the other's default; what one has alone may be left out.
    """
    ours = json.loads(json.dumps(cls.object_info()))
    if ours["name"] not in core.infos:
        pytest.skip(f"ComfyUI {'.'.join(map(str, core.version))} has no {ours['name']} yet")
    real = core.infos[ours["name"]]
    mine, theirs = widgets_of(ours), widgets_of(real)
    shared = [name for name in mine if name in theirs]
    assert shared == [name for name in theirs if name in mine] and shared
    for name in shared:
        (kind, options, _, offered), (real_kind, real_options, _, real_offered) = mine[name], theirs[name]
        assert kind == real_kind, name
        for default, limits, among in (
            (options.get("default"), real_options, real_offered),
            (real_options.get("default"), options, offered),
        ):
            if default is not None and among is not None:
                assert default in among, name
            elif isinstance(default, (int, float)) and "min" in limits:
                assert limits["min"] <= default <= limits["max"], name
        if offered and real_offered and "upload" not in str(options):  # the files of two different input folders
            assert offered[0] in real_offered and real_offered[0] in offered, name
    for alone, known in ((mine, theirs), (theirs, mine)):
        assert not [name for name, (_, _, required, _) in alone.items() if required and name not in known]
    both = min(len(ours["output"]), len(real["output"]))
    assert ours["output"][:both] == real["output"][:both]
    assert ours["output_node"] == real["output_node"] and ours["python_module"] == real["python_module"]


@pytest.mark.parametrize("cls", NODES, ids=lambda cls: cls.GET_SCHEMA().node_id)
def test_our_node_is_described_word_for_word(core, cls):
    """Without any leniency, in the fields that both have."""
    real, ours = core.infos[cls.GET_SCHEMA().node_id], json.loads(json.dumps(cls.object_info()))
    both = real.keys() & ours.keys()
    assert {key: ours[key] for key in both} == {key: real[key] for key in both} and len(both) >= 14


def plain(line: str) -> str:
    """A line of the log without colours and without the level that newer cores put before it, if that is [INFO]."""
    return re.sub(r"^\[INFO\]\s*", "", re.sub(r"\x1b\[[\d;]*m", "", line))


def test_the_log_is_read_in_the_form_of_any_core():
    coloured = "\x1b[32m[INFO]\x1b[0m    0.1 seconds: /custom_nodes/vdit"
    assert plain(coloured) == plain("   0.1 seconds: /custom_nodes/vdit").strip() == "0.1 seconds: /custom_nodes/vdit"
    assert "WARNING" in plain("\x1b[33m[WARNING]\x1b[0m vdit: slow")


def test_the_pack_loads_without_a_warning(core):
    loading = core.log.read_text().split("To see the GUI")[0]
    lines = [line for line in map(plain, loading.splitlines()) if "vdit" in line.lower()]
    assert sum(" seconds: " in line for line in lines) == 1, "loaded once"
    assert not [line for line in lines if re.search("error|warning|import failed|cannot import", line, re.IGNORECASE)]


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


def has_opencv() -> bool:
    return subprocess.run([python_of(Path(COMFYUI)), "-c", "import cv2"], capture_output=True).returncode == 0


@pytest.mark.parametrize("path", WAN, ids=lambda path: path.stem)
def test_the_wan_workflow_runs_on_files_of_the_names_that_it_gives(core, path):
    changes = small(path, core.base / "models")
    prompt, ui = shipped(core, path)
    sampler = next(iter(changes))
    for kind, values in changes.items():
        prompt[node_of(prompt, kind)]["inputs"] |= values
    done = run(core, prompt, ui)
    if any(node["class_type"] == "VDiTFlowFromVideo" for node in prompt.values()) and not has_opencv():
        assert done.status == "error" and "pip install opencv-python-headless" in json.dumps(done.messages[-1])
        return
    assert done.status == "success", (done.messages[-1:], done.node_errors, core.log.read_text()[-3000:])
    assert done.outputs[node_of(prompt, "SaveVideo")]["images"]
    assert "2 steps" in done.outputs[node_of(prompt, sampler)]["vdit_line"][0]


@pytest.mark.parametrize("path", SCORED, ids=lambda path: path.stem)
def test_the_workflow_of_another_model_scores_the_video_of_each_clip(core, path):
    """With stand-ins for its nodes, which make videos of the size and length that they are asked for."""
    prompt, ui = shipped(core, path)
    for kind, values in small(path, core.base / "models").items():
        prompt[node_of(prompt, kind)]["inputs"] |= values
    done = run(core, prompt, ui)
    assert done.status == "success", (done.messages[-1:], done.node_errors, core.log.read_text()[-3000:])
    said = done.outputs[node_of(prompt, "VDiTBenchmarkScores")]["vdit_line"][0]
    assert "1 clips scored. All clips are scored" in said
    assert done.outputs[node_of(prompt, "SaveVideo")]["images"]


def test_the_cores_nodes_are_described_as_tests_without_a_core_have_them(core):
    if core.version[:2] != (0, 33):
        pytest.skip("tests/object_info_0_33.json is of another core")
    for name, info in CORE_ONLY.items():
        for group, inputs in info["input"].items():
            real = core.infos[name]["input"][group]
            kinds = {key: "COMBO" if isinstance(spec[0], list) else spec[0] for key, spec in inputs.items()}
            assert kinds == {k: "COMBO" if isinstance(spec[0], list) else spec[0] for k, spec in real.items()}, name
        assert info["output"] == core.infos[name]["output"], name
        assert info["input_order"] == core.infos[name]["input_order"], name


def test_the_benchmark_workflow_scores_a_model(core, random_model):
    prompt, ui = shipped(core, BENCHMARK, random_model)
    prompt[node_of(prompt, "VDiTPhysicsBenchmark")]["inputs"] |= small(BENCHMARK, core.base)["VDiTPhysicsBenchmark"]
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
    played = "VDiTLive" in kinds  # then both are wired
    length = json.loads(prompt[node_of(prompt, "VDiTLive")]["inputs"]["recorded"]) if played else inputs
    frames = round(length["seconds"] * length["fps"]) + 1
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
        assert float(stream.average_rate) == length["fps"]
        embedded = json.loads(tags["prompt"])
        for node in embedded.values():
            node.pop("is_changed", None)  # the core's own note of fingerprint_inputs
        assert embedded == prompt and json.loads(tags["workflow"]) == ui


def test_a_video_is_decoded_while_the_cores_own_node_saves_it(core, random_model):
    import av

    graph = Graph(core)
    model = graph.add("VDiTLoadModel", file=random_model)
    shot = graph.add("VDiTEncodeConditioning", model=model, prompt="a red ball falls")
    size = dict(seconds=2.0, fps=8.0, width=64, height=64, steps=1, guidance=1.0, solver="euler")
    latent = graph.add("VDiTSample", model=model, conditioning=shot, **size)
    video = graph.add("VDiTDecodeVideo", model=model, latent=latent)
    form = {"format": "auto", "codec": "auto", "format.codec": "auto"}  # of older and of newer cores
    save = graph.add("SaveVideo", video=video, filename_prefix="streamed", **form)
    whole = graph.add("VDiTDecode", model=model, latent=latent)
    graph.keep("parts", (graph.add("GetVideoComponents", video=video), 0))
    graph.keep("images", (whole, 0))
    done = run(core, graph.prompt)
    assert done.status == "success", (done.messages[-1:], core.log.read_text()[-3000:])
    (saved,) = done.outputs[save]["images"]
    with av.open(str(core.base / "output" / saved["subfolder"] / saved["filename"])) as file:
        assert file.streams.video[0].frames == 17 and file.streams.video[0].average_rate == 8
        assert json.loads(file.metadata["prompt"])[video]["class_type"] == "VDiTDecodeVideo"
    steps = [m["data"]["value"] for m in done.messages if m["type"] == "progress" and m["data"].get("node") == save]
    assert steps == sorted(steps) and steps[-1] == 17, "the node that saves shows each frame"
    parts, images = graph.run()
    assert parts.equal(images)


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
        ({"VDiTSample": {"steps": -1}}, "min|expected 0 to 1000"),
    ],
)
def test_a_wrong_value_is_reported_on_its_node(core, random_model, change, words):
    prompt, ui = shipped(core, SIMPLE, random_model)
    ((kind, values),) = change.items()
    prompt[node_of(prompt, kind)]["inputs"] |= values
    done = run(core, prompt, ui)
    told = json.dumps(done.node_errors.get(node_of(prompt, kind)) or done.messages[-1]["data"])
    assert done.status in ("refused", "error") and re.search(words, told), told


REFUSED = ("prefix leads out", "width off the lattice", "frames beyond main memory", "flow from nothing")


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_known_is_refused_when_it_is_posted(core, name):
    """At ComfyUI's own nodes too: Save Video's prefix is told by the node of ours that feeds it."""
    case = refusals.cases()[name]
    done = run(core, case.prompt)
    assert done.status == "refused" and (case.in_comfyui or case.words) in json.dumps(done.node_errors)


@pytest.fixture(scope="module")
def wrong_files(core):
    refusals.files(core.base)


@pytest.mark.parametrize("name", refusals.PAIRINGS)
def test_a_wrong_pairing_is_refused_when_it_is_posted(core, wrong_files, name):
    case = refusals.cases()[name]
    done = run(core, case.prompt)
    assert done.status == "refused" and (case.in_comfyui or case.words) in json.dumps(done.node_errors)
