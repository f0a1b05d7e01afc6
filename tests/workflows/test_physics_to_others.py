"""The physics-to-* workflows of models that only the core samples: what its nodes are given, as 0.33 describes them."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from comfy_core import COMFYUI, MISSING, python_of
from shipped import nodes_of
from vdit.host import catalog, workflow
from wan_workflows import VARIANT_OF, named_files

pytestmark = pytest.mark.slow

PACK = Path(workflow.__file__).resolve().parent.parent
CORE_ONLY = json.loads((PACK / "tests/object_info_0_33.json").read_text("utf-8"))
WORKFLOWS = [path for path in sorted((PACK / "workflows").glob("physics-to-*.json")) if path.stem not in VARIANT_OF]
LTX, H3 = (PACK / "workflows" / f"physics-to-{name}.json" for name in ("ltx", "h3"))


def converted(path):
    """(prompt, {class: inputs}, {class: id}) by a 0.33 core's descriptions beside ours."""
    prompt = workflow.load(path, catalog.object_infos(catalog.load_nodes()) | CORE_ONLY).prompt
    nodes = {node["class_type"]: node["inputs"] for node in prompt.values()}
    return prompt, nodes, {node["class_type"]: node_id for node_id, node in prompt.items()}


def test_all_of_them_are_shipped():
    assert {path.stem for path in WORKFLOWS} == {"physics-to-ltx", "physics-to-h3"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_core_s_nodes_get_all_that_they_ask_for_and_nothing_else(path):
    prompt, nodes, _ = converted(path)
    assert set(nodes) & set(CORE_ONLY)
    for node in prompt.values():
        if node["class_type"] not in CORE_ONLY:
            continue
        info = CORE_ONLY[node["class_type"]]["input"]
        known = {**info.get("required", {}), **info.get("optional", {})}
        assert set(info.get("required", {})) <= set(node["inputs"]), node["class_type"]
        assert {name.split(".")[0] for name in node["inputs"]} <= set(known), node["class_type"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_file_that_a_loader_names_can_be_fetched(path):
    for node in json.loads(path.read_text("utf-8"))["nodes"]:
        chosen = [value for value in node.get("widgets_values", ()) if str(value).endswith(".safetensors")]
        entries = node.get("properties", {}).get("models", [])
        assert sorted(chosen) == sorted(entry["name"] for entry in entries), node["type"]
    makers = tuple(f"https://huggingface.co/{maker}/" for maker in ("Comfy-Org", "Lightricks"))
    for entry in named_files(path):
        assert entry["url"].startswith(makers) and "/resolve/main/" in entry["url"]
        assert entry["url"].endswith(f"/{entry['name']}")


def test_ltx_is_guided_by_the_simulation_s_depth_at_a_size_and_length_that_it_takes():
    prompt, nodes, ids = converted(LTX)
    simulate, guide, empty = nodes["VDiTSimulate"], nodes["LTXVAddGuide"], nodes["EmptyLTXVLatentVideo"]
    depth = catalog.object_infos(catalog.load_nodes())["VDiTSimulate"]["output_name"].index("depth")
    assert guide["image"] == [ids["VDiTSimulate"], depth] and guide["frame_idx"] == 0
    assert guide["iclora_parameters"] == [ids["GetICLoRAParameters"], 0]
    assert nodes["GetICLoRAParameters"]["iclora_model"] == nodes["KSampler"]["model"] == [ids["LoraLoaderModelOnly"], 0]
    assert (simulate["width"], simulate["height"]) == (empty["width"], empty["height"])
    assert empty["width"] % 64 == empty["height"] % 64 == 0, "the IC-LoRA reads half the size, in cells of 32 pixels"
    frames = round(simulate["seconds"] * simulate["fps"]) + 1
    audio = nodes["LTXVEmptyLatentAudio"]
    assert frames == empty["length"] == audio["frames_number"] and frames % 8 == 1
    assert audio["frame_rate"] == simulate["fps"]
    assert nodes["LTXVImgToVideoInplace"]["image"] == [ids["LoadImage"], 0]
    (conditioning,) = nodes_of(LTX, "LTXVConditioning")
    rate = prompt[str(conditioning["id"])]["inputs"]["frame_rate"]
    assert rate[0] == ids["VDiTSimulate"], "the simulation says the rate"


def test_h3_reads_the_picture_and_the_draft_at_a_size_and_length_that_it_takes():
    _, nodes, ids = converted(H3)
    simulate, reference = nodes["VDiTSimulate"], nodes["MiniMaxH3ReferenceToVideo"]
    assert reference["ref_images.ref_image_0"] == [ids["LoadImage"], 0]
    assert reference["ref_videos.ref_video_0"] == [ids["VDiTSimulate"], 0]
    assert "<Picture 1>" in reference["prompt"] and "<Video 1>" in reference["prompt"]
    assert (simulate["width"], simulate["height"]) == (reference["width"], reference["height"])
    assert reference["width"] % 32 == reference["height"] % 32 == 0
    frames = round(simulate["seconds"] * simulate["fps"]) + 1
    assert frames == reference["length"] and frames % 17 == 5 and simulate["fps"] == 24
    loaders = {node["title"]: str(node["id"]) for node in nodes_of(H3, "VAELoader")}
    assert reference["vae"] == nodes["VAEDecode"]["vae"] == [loaders["Video VAE"], 0]
    assert reference["audio_vae"] == nodes["VAEDecodeAudio"]["vae"] == [loaders["Audio VAE"], 0]


def simulated(nodes):
    """[frames, height, width] of what the workflow simulates."""
    simulate = nodes["VDiTSimulate"]
    return [round(simulate["seconds"] * simulate["fps"]) + 1, simulate["height"], simulate["width"]]


@pytest.fixture(scope="module")
def given():
    """{node: inputs} of both workflows, and the sizes of what they simulate; skipped where no core has these nodes."""
    if not COMFYUI:
        pytest.skip(MISSING)
    if not (Path(COMFYUI) / "comfy_extras/nodes_minimax_h3.py").exists():
        pytest.skip("this ComfyUI is older than its MiniMax H3 nodes")
    given = {}
    for name, path in (("ltx", LTX), ("h3", H3)):
        _, nodes, _ = converted(path)
        given |= {kind: inputs for kind, inputs in nodes.items() if kind in CORE_ONLY} | {name: simulated(nodes)}
    return given


@pytest.fixture(scope="module")
def inside(given):
    """Shapes that the core's own nodes make of the sizes and lengths that the workflows store."""
    return answered("comfy_guides.py", given)


def answered(script, given):
    """What a script says that is run by the core's python."""
    command = [python_of(Path(COMFYUI)), str(PACK / "tests" / script), COMFYUI, json.dumps(given)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=COMFYUI, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_core_s_ltx_nodes_take_every_frame_of_the_depth_at_half_the_size(inside):
    assert inside["ltx"]["seen"] == [[1, 512, 896], [121, 256, 448]]
    assert inside["ltx"]["latents"] == [[16, 16, 28], [32, 16, 28], [16, 16, 28]]


def test_the_core_s_h3_node_takes_every_frame_of_the_draft_as_it_is(inside):
    assert inside["h3"]["seen"] == [[1, 480, 832], [124, 512, 896]]
    assert inside["h3"]["references"] == ["image", "video"]
    assert inside["h3"]["latent"] == [37, 32, 56]


def test_the_core_samples_both_at_tiny_random_weights_and_what_comes_follows_the_draft(given):
    """By the core's own models and samplers, wired and set as the workflows have them; two steps, small pictures."""
    found = answered("comfy_renders.py", given)
    same = {"finite": True, "same again": True, "of the guide": True}
    assert found["ltx"] == {"latent": [1, 128, 3, 4, 4]} | same
    assert found["h3"] == {"latent": [1, 24, 7, 4, 4]} | same
