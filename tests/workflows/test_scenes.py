"""The workflows of scenes: bodies of a picture or a file move by physics, without any model."""

import json
from pathlib import Path

import pytest
from shipped import frames_of, nodes_of, psnr, run, run_command
from vdit.host import catalog, workflow

pytestmark = pytest.mark.slow

ROOT = Path(workflow.__file__).resolve().parent.parent
PACK = ROOT / "workflows"
CORE_ONLY = json.loads((ROOT / "tests" / "object_info_0_33.json").read_text("utf-8"))
SCENES = [path for path in sorted(PACK.glob("*.json")) if nodes_of(path, "VDiTSimulate")]
# Those that hand their draft to a model: test_physics_to.py and test_physics_to_others.py; played ones: test_play.py.
ELSEWHERE = {*CORE_ONLY, "VDiTLoadModel", "VDiTLive"}
HERE = [path for path in SCENES if not any(nodes_of(path, kind) for kind in ELSEWHERE)]


def test_all_of_them_are_shipped():
    named = {
        "drop-it",
        "push-and-topple",
        "shatter",
        "words-to-motion",
        "orbit-a-photo",
        "robot-arm",
        "scene-from-sam3-moge",
    }
    assert named <= {path.stem for path in SCENES}


@pytest.mark.parametrize("path", HERE, ids=lambda path: path.stem)
def test_workflow_starts_with_its_picture_and_moves(path, tmp_path):
    result = run_command(path, tmp_path)
    (file,) = result["files"]
    (simulate,) = nodes_of(path, "VDiTSimulate")
    seconds, fps = simulate["widgets_values"][:2]
    frames = frames_of(file["path"])
    assert len(frames) == file["frames"] == round(seconds * fps) + 1 and file["fps"] == fps
    for node in nodes_of(path, "LoadImage")[:1]:
        assert psnr(frames[0], tmp_path / "input" / node["widgets_values"][0]) >= 30
    assert abs(frames[-1].astype(float) - frames[0]).mean() > 1, "something happens"
    assert result["peak_memory_bytes"] <= 2 * 1024**3
    remarks = [line for lines in result["remarks"].values() for text in lines for line in text.splitlines()]
    assert [line for line in remarks if "stands on" not in line] == [], "a shipped workflow must not draw warnings"


@pytest.mark.parametrize("path", HERE, ids=lambda path: path.stem)
def test_saved_video_opens_as_its_workflow_again(path, tmp_path, capsys):
    import av

    result = run(path, tmp_path, capsys, "--set", "Simulate.seconds=0.25")
    with av.open(result["files"][0]["path"]) as container:
        embedded = json.loads(container.metadata["workflow"])
        prompt = json.loads(container.metadata["prompt"])
    assert [node["id"] for node in embedded["nodes"]] == [n["id"] for n in json.loads(path.read_text("utf-8"))["nodes"]]
    assert next(n for n in prompt.values() if n["class_type"] == "VDiTSimulate")["inputs"]["seconds"] == 0.25


def test_the_workflow_of_sam3_and_moge_is_one_for_comfyui_0_33():
    """Converted by the descriptions that its own server gives of the nodes."""
    path = PACK / "scene-from-sam3-moge.json"
    prompt = workflow.load(path, catalog.object_infos(catalog.load_nodes()) | CORE_ONLY).prompt
    nodes = {node["class_type"]: node["inputs"] for node in prompt.values()}
    ids = {node["class_type"]: node_id for node_id, node in prompt.items()}
    assert nodes["SAM3_Detect"]["individual_masks"] is True and nodes["SAM3_Detect"]["threshold"] == 0.5
    assert nodes["MoGeRender"]["output"] == "depth" and nodes["MoGeGeometryToFOV"]["unit"] == "degrees"
    scene = nodes["VDiTSceneFromPicture"]
    assert scene["masks"] == [ids["SAM3_Detect"], 0] and scene["depth"] == [ids["MoGeRender"], 0]
    assert scene["fov_deg"] == [ids["MoGeGeometryToFOV"], 0]
    for kind in set(nodes) & set(CORE_ONLY):
        info = CORE_ONLY[kind]["input"]
        assert set(info["required"]) <= set(nodes[kind]) <= set(info["required"]) | set(info.get("optional", {}))


def test_every_file_that_its_loaders_name_can_be_fetched():
    path = PACK / "scene-from-sam3-moge.json"
    for kind in ("CheckpointLoaderSimple", "LoadMoGeModel"):
        (node,) = nodes_of(path, kind)
        (model,) = node["properties"]["models"]
        assert node["widgets_values"] == [model["name"]] and model["url"].endswith(
            f"/{model['directory']}/{model['name']}"
        )
        assert model["url"].startswith("https://huggingface.co/Comfy-Org/")
