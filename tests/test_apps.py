"""Bundled workflows as apps (ComfyUI's app mode), and blueprints of subgraphs: what they name exists, and they run."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shipped import frames_of, run
from vdit.host import workflow
from vdit.host.catalog import load_nodes, object_infos

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
SHOWN = {"SaveVideo", "SaveImage", "PreviewImage", "VDiTDistillPreview"}  # nodes that put something on the screen
MOST_INPUTS = 9  # of an app: more than that is a graph again


@cache
def infos() -> dict:
    return object_infos(load_nodes())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_workflow_is_an_app_of_few_inputs_that_its_nodes_have(path):
    graph = json.loads(path.read_text("utf-8"))
    nodes, app = {node["id"]: node for node in graph["nodes"]}, graph["extra"]["linearData"]
    assert graph["extra"]["linearMode"] is False, "it opens as a graph; the app is one click away"
    assert 1 <= len(app["inputs"]) <= MOST_INPUTS and len(app["inputs"]) == len({tuple(i) for i in app["inputs"]})
    for number, name in app["inputs"]:
        entry = next(entry for entry in nodes[number]["inputs"] if entry["name"] == name)
        assert entry["widget"]["name"] == name and entry["link"] is None, f"{path.stem}: {name} is wired"
    assert app["outputs"] and {nodes[number]["type"] for number in app["outputs"]} <= SHOWN
    assert nodes[app["outputs"][0]]["type"].startswith("Save"), "the result comes first"


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_is_one_node_with_values_for_all_its_widgets(path):
    graph = json.loads(path.read_text("utf-8"))
    (node,), (inside,) = graph["nodes"], graph["definitions"]["subgraphs"]
    assert node["type"] == inside["id"] and node["title"] == inside["name"] == path.stem
    assert [i["name"] for i in node["inputs"]] == [i["name"] for i in inside["inputs"]]
    widgets = [entry["name"] for entry in node["inputs"] if "widget" in entry]
    assert node["properties"]["proxyWidgets"] == [["-1", name] for name in widgets]
    assert len(node["widgets_values"]) == len(widgets)
    prompt = workflow.to_prompt(graph, infos())
    assert len(prompt) == len(inside["nodes"]) and all(number.startswith("1:") for number in prompt)
    values = {value for inner in prompt.values() for value in inner["inputs"].values() if not isinstance(value, list)}
    assert set(node["widgets_values"]) <= values


def test_a_masked_thing_of_a_picture_moves_through_the_blueprint(tmp_path, capsys):
    """The mask is the picture's transparent part, as ComfyUI's mask editor saves it."""
    graph = json.loads((ROOT / "subgraphs" / "Picture to moving picture.json").read_text("utf-8"))
    y, x = np.mgrid[:96, :128]
    thing = (abs(x - 64) < 12) & (abs(y - 50) < 22)
    colours = np.where(thing[..., None], (200, 60, 40), np.where(y[..., None] > 40, (150, 140, 120), (200, 210, 220)))
    (tmp_path / "input").mkdir()
    picture = np.dstack([colours, np.where(thing, 0, 255)]).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "input" / "thing.png")
    graph["nodes"][0]["widgets_values"] = ["everything falls to the left", 0.5]
    load = {"id": 2, "type": "LoadImage", "inputs": [], "widgets_values": ["thing.png", "image"]}
    save = {"id": 3, "type": "SaveVideo", "widgets_values": ["video/x", "auto", "auto"]}
    save["inputs"] = [{"name": "video", "type": "VIDEO", "link": 3}]
    load["outputs"] = [{"name": n, "type": n, "links": [i + 1]} for i, n in enumerate(("IMAGE", "MASK"))]
    graph["nodes"] += [{"mode": 0, "outputs": [], **node} for node in (load, save)]
    graph["links"] = [[1, 2, 0, 1, 0, "IMAGE"], [2, 2, 1, 1, 1, "MASK"], [3, 1, 0, 3, 0, "VIDEO"]]
    for entry, link in zip(graph["nodes"][0]["inputs"][:2], (1, 2), strict=True):
        entry["link"] = link
    graph["nodes"][0]["outputs"][0]["links"] = [3]
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(graph), "utf-8")
    frames = frames_of(run(path, tmp_path, capsys)["files"][0]["path"]).astype(int)
    assert len(frames) == 9 and abs(frames[-1] - frames[0]).max() > 60
