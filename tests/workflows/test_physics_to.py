"""The physics-to-* workflows: what physics does to a picture is rendered by a Wan model, at tiny random weights."""

import json
from pathlib import Path

import pytest
from shipped import frames_of, nodes_of, psnr
from vdit.host import catalog, cli, workflow
from wan_workflows import VARIANT_OF, named_files, provide, small

pytestmark = pytest.mark.slow

PACK = Path(workflow.__file__).resolve().parent.parent
WORKFLOWS = [path for path in sorted((PACK / "workflows").glob("physics-to-*.json")) if path.stem in VARIANT_OF]
CORE_ONLY = json.loads((PACK / "tests/object_info_0_33.json").read_text("utf-8"))


def test_all_of_them_are_shipped():
    assert {path.stem for path in WORKFLOWS} == {"physics-to-vace", "physics-to-wan-i2v"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_saves_the_draft_and_what_the_model_makes_of_it(path, tmp_path, capsys):
    provide(path, tmp_path / "models")
    changes = [f"{name}={value}" for name, value in small(path).items()] + ["Sample.seconds=0.5"]
    given = [word for change in changes for word in ("--set", change)]
    assert cli.main(["run", str(path), "--base", str(tmp_path), "--json", *given]) == 0
    result = json.loads(capsys.readouterr().out)
    made = {Path(file["path"]).name.split("_0")[0]: file for file in result["files"]}
    assert set(made) == {f"vdit-{path.stem}", f"{path.stem}-draft"}
    assert {(file["frames"], file["fps"], file["width"], file["height"]) for file in made.values()} == {
        (9, 16.0, 416, 240)
    }
    draft = frames_of(made[f"{path.stem}-draft"]["path"])
    assert psnr(draft[0], tmp_path / "input" / "vdit-table.jpg") >= 30, "the draft begins with the picture"
    remarks = [line for lines in result["remarks"].values() for text in lines for line in text.splitlines()]
    expected = ("416x240", "stands on", "comes after the last frame")  # since the test is short and small
    assert [line for line in remarks if not any(words in line for words in expected)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_model_is_conditioned_on_the_simulation(path):
    """Converted by the descriptions of a 0.33 core beside ours; lengths and sizes agree as they are stored."""
    infos = catalog.object_infos(catalog.load_nodes()) | CORE_ONLY
    prompt = workflow.load(path, infos).prompt
    nodes = {node["class_type"]: node["inputs"] for node in prompt.values()}
    ids = {node["class_type"]: node_id for node_id, node in prompt.items()}
    outputs = infos["VDiTSimulate"]["output_name"]
    simulated = {name: [ids["VDiTSimulate"], outputs.index(name)] for name in ("draft", "flow", "masks")}
    shot, simulate, sample = nodes["VDiTEncodeConditioning"], nodes["VDiTSimulate"], nodes["VDiTSample"]
    assert shot["draft"] == simulated["draft"] and 0.2 <= shot["draft_strength"] <= 0.7
    assert shot["start_image"] == [ids["LoadImage"], 0]
    assert [simulate[name] for name in ("seconds", "width", "height")] == [
        sample[name] for name in ("seconds", "width", "height")
    ]
    if "vace" in path.stem:
        assert (shot["control_video"], shot["control_mask"]) == (simulated["draft"], simulated["masks"])
    else:
        carried = nodes["VDiTFlowControl"]
        assert shot["flow"] == [ids["VDiTFlowControl"], 0] and carried["flow"] == simulated["flow"]
        assert (carried["how"], carried["width"], carried["height"]) == ("warped noise", 832, 480)
    for node in prompt.values():
        assert set(infos[node["class_type"]]["input"].get("required", {})) <= set(node["inputs"]), node["class_type"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_file_that_a_loader_names_can_be_fetched(path):
    entries = {entry["name"]: entry for entry in named_files(path)}
    (loader,) = nodes_of(path, "VDiTLoadModel")
    chosen = [value for value in loader["widgets_values"] if str(value).endswith(".safetensors")]
    assert set(chosen) == set(entries) and len(chosen) == len(entries)
    for name, entry in entries.items():
        assert entry["url"].startswith("https://huggingface.co/Comfy-Org/")
        assert entry["url"].endswith(f"/resolve/main/split_files/{entry['directory']}/{name}")
