"""Every shipped workflow, run for real through the command: a playable video that follows its pictures."""

import json
from pathlib import Path

import pytest
from front_end import overlapping
from other_nodes import OTHERS
from shipped import frames_of, nodes_of, psnr, run, run_command
from vdit.host import catalog, dynamic, widgets, workflow
from vdit.model.files import bundle
from wan_workflows import VARIANT_OF

pytestmark = pytest.mark.slow

PACK = Path(workflow.__file__).resolve().parent.parent
WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))
# What physics-benchmark leaves: test_measuring.py. Those of Wan, for which no weights ship: test_wan.py and
# test_tracks.py. Those without a model: test_scenes.py.
SHOTS = [path for path in WORKFLOWS if "VDiTSample" in path.read_text("utf-8") and path.stem not in VARIANT_OF]


@pytest.fixture(autouse=True)
def shipped_weights(monkeypatch):
    """The weights are those that ship, not a test's."""
    monkeypatch.setattr(bundle, "BUNDLED", PACK / "weights" / "vdit-small.safetensors")


def test_the_workflows_are_shipped():
    pictures = {"first-frame-to-video", "text-to-video", "first-last-frame"}
    controls = {"camera-orbit", "depth-guided", "motion-brush", "flow-from-video"}
    assert pictures | controls <= {path.stem for path in WORKFLOWS}


@pytest.mark.parametrize("path", SHOTS, ids=lambda path: path.stem)
def test_workflow_runs_and_leaves_a_playable_video(path, tmp_path):
    result = run_command(path, tmp_path)
    (file,) = result["files"]
    assert (file["frames"], file["fps"], file["seconds"]) == (41, 8.0, 5.125)
    frames = frames_of(file["path"])
    assert len(frames) == 41 and frames.std() > 1
    assert result["peak_memory_bytes"] <= 2 * 1024**3
    assert result["remarks"] == {}, "a shipped workflow must not draw warnings"

    pictures = [tmp_path / "input" / node["widgets_values"][0] for node in nodes_of(path, "LoadImage")]
    if pictures:
        assert psnr(frames[0], pictures[0]) >= 24
    if len(pictures) == 2:
        assert psnr(frames[-1], pictures[1]) > psnr(frames[0], pictures[1])


@pytest.mark.parametrize("path", SHOTS, ids=lambda path: path.stem)
def test_saved_video_opens_as_its_workflow_again(path, tmp_path, capsys):
    import av

    result = run(path, tmp_path, capsys, "--set", "Sample.steps=1")
    with av.open(result["files"][0]["path"]) as container:
        embedded = json.loads(container.metadata["workflow"])
        prompt = json.loads(container.metadata["prompt"])
    assert [node["id"] for node in embedded["nodes"]] == [n["id"] for n in json.loads(path.read_text("utf-8"))["nodes"]]
    sample = next(node for node in prompt.values() if node["class_type"] == "VDiTSample")
    assert sample["inputs"]["steps"] == 1


def test_a_picture_of_ones_own_takes_the_place_of_the_example(tmp_path, capsys):
    from PIL import Image

    mine = tmp_path / "mine.png"
    Image.radial_gradient("L").convert("RGB").resize((300, 200)).save(mine)
    result = run(
        PACK / "workflows" / "first-frame-to-video.json", tmp_path, capsys,
        "--set", f"Start picture.image={mine}", "--set", "Sample.steps=1", "--set", "Sample.seconds=0.5",
    )  # fmt: skip
    assert psnr(frames_of(result["files"][0]["path"])[0], mine) > 15


# As files


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_is_laid_out_for_reading(path):
    data = json.loads(path.read_text("utf-8"))
    assert data["version"] == 0.4 and data["groups"] and nodes_of(path, "MarkdownNote")
    assert path.with_suffix(".jpg").is_file(), "no thumbnail"
    nodes = {node["id"]: node for node in data["nodes"]}
    for _, source, out, target, slot, kind in data["links"]:
        assert nodes[source]["pos"][0] <= nodes[target]["pos"][0], "links run from left to right"
        assert nodes[source]["outputs"][out]["type"] == kind
        assert kind in nodes[target]["inputs"][slot]["type"].split(",")  # some take several
    assert not overlapping([(node["type"], *node["pos"], *node["size"]) for node in data["nodes"]])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_links_are_the_same_from_both_ends(path):
    data = json.loads(path.read_text("utf-8"))
    nodes = {node["id"]: node for node in data["nodes"]}
    ids = [link[0] for link in data["links"]]
    assert len(set(ids)) == len(ids) and data["last_link_id"] >= max(ids) and data["last_node_id"] >= max(nodes)
    into = {i["link"] for node in data["nodes"] for i in node["inputs"] if i["link"] is not None}
    out_of = {link for node in data["nodes"] for o in node["outputs"] for link in o["links"]}
    assert into == out_of == set(ids)
    for id, source, out, target, slot, _ in data["links"]:
        assert id in nodes[source]["outputs"][out]["links"] and nodes[target]["inputs"][slot]["link"] == id


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_widget_values_are_in_the_schema_s_order(path):
    infos = catalog.object_infos(catalog.load_nodes()) | OTHERS
    for node in json.loads(path.read_text("utf-8"))["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        given = dict(widgets.widget_values(node.get("widgets_values"), infos[node["type"]]))
        inputs = {i.path: i.kind for i in dynamic.expanded(infos[node["type"]]["input"], given)}
        for name, value in given.items():
            kind = inputs[name]
            kind = "COMBO" if isinstance(kind, list) else kind  # ComfyUI's older nodes list the choices there
            expected = {"INT": int, "BOOLEAN": bool, "FLOAT": (int, float), "STRING": str, "COMBO": str}.get(
                kind, object
            )
            assert isinstance(value, expected), f"{node['type']}.{name} holds {value!r}"
        held = [i for i in node["inputs"] if "widget" in i and i["type"] != "IMAGEUPLOAD"]
        # what was saved before an input came has its default
        assert set(given) >= {i["name"] for i in held}, node["type"]
