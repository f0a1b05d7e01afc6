"""The wan-* workflows and camera-render-to-vace, run for real with tiny files in the place of those that they name."""

import json
from pathlib import Path

import pytest
from vdit.host import catalog, cli, workflow
from vdit.nodes.preflight import faults_of
from wan_workflows import SMALL, VARIANT_OF, named_files, provide

pytestmark = pytest.mark.slow

PACK = Path(workflow.__file__).resolve().parent.parent
RENDERED = PACK / "workflows" / "camera-render-to-vace.json"
WORKFLOWS = [*sorted((PACK / "workflows").glob("wan-*.json")), RENDERED]
CAUSAL = PACK / "workflows" / "causal-preview.json"
CORE_ONLY = json.loads((PACK / "tests" / "object_info_0_33.json").read_text("utf-8"))
LINGBOT = PACK / "workflows" / "lingbot-camera.json"
LENGTHS = {"wan-vace-depth-flow": 41}  # frames of the controls


def run(path, base, capsys, *changes):
    given = [word for change in changes for word in ("--set", change)]
    assert cli.main(["run", str(path), "--base", str(base), "--json", *given]) == 0
    return json.loads(capsys.readouterr().out)


def test_all_of_them_are_shipped():
    assert {path.stem for path in (*WORKFLOWS, CAUSAL, LINGBOT)} == {
        name for name in VARIANT_OF if not name.startswith(("tracks", "physics-to", "play", "score"))
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_makes_a_video_from_files_of_those_names(path, tmp_path, capsys):
    provide(path, tmp_path / "models")
    changes = [f"{name}={value}" for name, value in SMALL.items()]
    if path.stem not in LENGTHS:
        changes.append("Sample.seconds=0.5")
    if path == RENDERED:
        changes += ["Camera Render.frames=9", "Camera Render.width=416", "Camera Render.height=240"]
    result = run(path, tmp_path, capsys, *changes)
    (file,) = result["files"]
    assert (file["frames"], file["fps"]) == (LENGTHS.get(path.stem, 9), 16.0)
    said = "\n".join(line for lines in result["says"].values() for line in lines)
    assert "2 steps of" in said and "64x64 at 16 fps" in said
    if path.stem == "wan-4-step":
        assert "of euler, schedule simple, shift 5, guidance 1;" in said


def test_the_causal_preview_makes_a_video_frame_by_frame(tmp_path, capsys):
    provide(CAUSAL, tmp_path / "models")
    small = {"width": 64, "height": 64, "seconds": 1.0}
    result = run(CAUSAL, tmp_path, capsys, *(f"Preview.{name}={value}" for name, value in small.items()))
    (file,) = result["files"]
    assert (file["frames"], file["fps"]) == (17, 16.0)
    assert result["remarks"] == {"4": ["64x64 is not the 832x480 it was trained on"]}
    said = "\n".join(line for lines in result["says"].values() for line in lines)
    assert "by its name, a causal student: it makes 1 latent frame at a time" in said


def test_lingbot_walks_along_the_path(tmp_path, capsys):
    provide(LINGBOT, tmp_path / "models")
    result = run(LINGBOT, tmp_path, capsys, "Sample.seconds=0.5", *(f"{name}={value}" for name, value in SMALL.items()))
    (file,) = result["files"]
    assert (file["frames"], file["fps"]) == (9, 16.0)
    said = "\n".join(line for lines in result["says"].values() for line in lines)
    assert "LingBot-World-Base (Cam)" in said and "experts change at 0.947" in said


def test_lingbots_files_are_named_with_the_folders_of_its_release():
    """It comes in shards, which no single link fetches; the other files are Wan's."""
    page = "https://huggingface.co/robbyant/lingbot-world-base-cam/tree/main/"
    models = [entry for entry in named_files(LINGBOT) if entry["directory"] == "diffusion_models"]
    assert [entry["url"] for entry in models] == [page + "high_noise_model", page + "low_noise_model"]
    assert {entry["name"] for entry in named_files(LINGBOT)} >= {"wan_2.1_vae.safetensors"}


@pytest.mark.parametrize("path", [*WORKFLOWS, CAUSAL], ids=lambda path: path.stem)
def test_every_file_that_a_loader_names_can_be_fetched(path):
    entries = {entry["name"]: entry for entry in named_files(path)}
    chosen = [value for node in json.loads(path.read_text("utf-8"))["nodes"] for value in node.get("widgets_values", ())
              if isinstance(value, str) and value.endswith(".safetensors")]  # fmt: skip
    assert set(chosen) == set(entries) and len(chosen) == len(entries)
    for name, entry in entries.items():
        assert entry["directory"] in ("diffusion_models", "vae", "text_encoders", "loras")
        # TalmajM's is the one that ComfyUI's own template of Causal Forcing names.
        makers = tuple(f"https://huggingface.co/{name}/" for name in ("Comfy-Org", "Kijai", "TalmajM"))
        assert entry["url"].startswith(makers)
        assert entry["url"].endswith(f"/resolve/main/split_files/{entry['directory']}/{name}")


def test_a_file_that_is_not_there_is_named_before_anything_runs(tmp_path, capsys):
    assert cli.main(["run", str(WORKFLOWS[0]), "--base", str(tmp_path), "--json"]) != 0
    assert named_files(WORKFLOWS[0])[0]["name"] in "".join(capsys.readouterr())


def test_the_render_is_what_vace_is_conditioned_on():
    """Converted by the descriptions of a 0.33 core beside ours; every input that its nodes ask for is there."""
    infos = catalog.object_infos(catalog.load_nodes()) | CORE_ONLY
    prompt = workflow.load(RENDERED, infos).prompt
    nodes = {node["class_type"]: node["inputs"] for node in prompt.values()}
    ids = {node["class_type"]: node_id for node_id, node in prompt.items()}
    render, shot = nodes["VDiTCameraRender"], nodes["VDiTEncodeConditioning"]
    assert shot["control_video"] == [ids["VDiTCameraRender"], 0] and shot["control_mask"] == [
        ids["VDiTCameraRender"],
        1,
    ]
    assert (render["made_for"], render["frames"]) == ("VACE", round(nodes["VDiTSample"]["seconds"] * 16) + 1)
    assert (render["width"], render["height"]) == (nodes["VDiTSample"]["width"], nodes["VDiTSample"]["height"])
    for node in prompt.values():
        needed = infos[node["class_type"]]["input"].get("required", {})
        assert set(needed) <= set(node["inputs"]), node["class_type"]
    assert not faults_of(prompt, {ids["VDiTCameraRender"], ids["VDiTCameraPath"], ids["VDiTDepthControl"]})
