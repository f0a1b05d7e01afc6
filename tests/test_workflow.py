"""Workflows as the editor saves them become the prompts that it would send, and --set changes both."""

import copy
import json
import time
from pathlib import Path

import pytest
from other_nodes import OTHERS
from vdit.host import folders, overrides, text_replacements
from vdit.host.catalog import load_nodes, object_infos
from vdit.host.workflow import Workflow, WorkflowError, load, read, to_prompt

SHIPPED = sorted((Path(__file__).resolve().parent.parent / "workflows").glob("*.json"))

INFOS = {
    "Load": {
        "display_name": "Load It",
        "input": {"required": {"image": [["a.png", "b.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
    },
    "Blur": {
        "display_name": "Blur",
        "input": {
            "required": {
                "image": ["IMAGE", {}],
                "seed": ["INT", {"default": 0, "control_after_generate": True}],
                "radius": ["FLOAT", {"default": 1.5}],
            },
            "optional": {"mask": ["MASK", {}], "note": ["STRING", {"default": "n"}]},
        },
        "output": ["IMAGE"],
    },
    "Sizes": {
        "display_name": "Sizes",
        "input": {"required": {"sizes": ["STRING", {"widgetType": "VDIT_SIZES"}]}},
        "output": [],
    },
    "Save": {"display_name": "Save", "input": {"required": {"image": ["IMAGE", {}]}}, "output": []},
}


def ui_node(id, type, inputs=(), outputs=(), values=(), mode=0, **more):
    return {
        "id": id,
        "type": type,
        "mode": mode,
        "widgets_values": list(values),
        **more,
        "inputs": [{"name": name, "type": kind, "link": link} for name, kind, link in inputs],
        "outputs": [{"name": kind, "type": kind} for kind in outputs],
    }


def chain(**middle):
    """Load -> Blur -> Save; `middle` changes the Blur node."""
    blur = ui_node(
        2, "Blur", [("image", "IMAGE", 1), ("mask", "MASK", None)], ["IMAGE"], [7, "randomize", 2.0, "hello"]
    )
    return {
        "version": 0.4,
        "nodes": [
            ui_node(1, "Load", [], ["IMAGE", "MASK"], ["b.png", "image"]),
            {**blur, **middle},
            ui_node(3, "Save", [("image", "IMAGE", 2)]),
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
    }


def test_widgets_are_read_by_position_past_the_editors_own_slots():
    prompt = to_prompt(chain(title="Soft"), INFOS)
    assert prompt["1"]["inputs"] == {"image": "b.png"}
    assert prompt["2"] == {
        "class_type": "Blur",
        "_meta": {"title": "Soft"},
        "inputs": {"image": ["1", 0], "seed": 7, "radius": 2.0, "note": "hello"},
    }
    assert prompt["1"]["_meta"]["title"] == "Load It"


def test_values_that_an_older_save_lacks_are_defaults():
    assert to_prompt(chain(widgets_values=[7, "fixed"]), INFOS)["2"]["inputs"]["radius"] == 1.5
    assert to_prompt(chain(widgets_values={"seed": 3}), INFOS)["2"]["inputs"]["note"] == "n"


def test_a_muted_node_is_left_out_with_the_links_to_it():
    prompt = to_prompt(chain(mode=2), INFOS)
    assert set(prompt) == {"1", "3"} and prompt["3"]["inputs"] == {}


def test_a_bypassed_node_passes_its_input_of_the_same_type():
    prompt = to_prompt(chain(mode=4), INFOS)
    assert set(prompt) == {"1", "3"} and prompt["3"]["inputs"] == {"image": ["1", 0]}


def test_notes_and_reroutes_are_resolved():
    workflow = chain()
    workflow["nodes"] += [ui_node(8, "Note", values=["text"]), ui_node(9, "Reroute", [("", "*", 2)], ["IMAGE"])]
    workflow["nodes"][2]["inputs"][0]["link"] = 3
    workflow["links"] = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 9, 0, "*"], [3, 9, 0, 3, 0, "IMAGE"]]
    prompt = to_prompt(workflow, INFOS)
    assert set(prompt) == {"1", "2", "3"} and prompt["3"]["inputs"] == {"image": ["2", 0]}


def test_a_primitive_sets_the_widget_it_is_wired_to():
    workflow = chain()
    workflow["nodes"].append(ui_node(9, "PrimitiveNode", [], ["INT"], [42, "fixed"]))
    workflow["nodes"][1]["inputs"].append({"name": "seed", "type": "INT", "link": 3, "widget": {"name": "seed"}})
    workflow["links"].append([3, 9, 0, 2, 2, "INT"])
    assert to_prompt(workflow, INFOS)["2"]["inputs"]["seed"] == 42


def test_a_subgraph_is_opened_up_under_its_own_ids():
    inner = {
        "id": "abc",
        "nodes": [ui_node(5, "Blur", [("image", "IMAGE", 1)], ["IMAGE"], [7, "fixed", 2.0, "in"])],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 5, "target_slot": 0, "type": "IMAGE"},
            {"id": 2, "origin_id": 5, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        ],
    }
    workflow = chain(type="abc", widgets_values=[])
    workflow["definitions"] = {"subgraphs": [inner]}
    prompt = to_prompt(workflow, INFOS)
    assert set(prompt) == {"1", "2:5", "3"}
    assert prompt["2:5"]["inputs"]["image"] == ["1", 0] and prompt["3"]["inputs"]["image"] == ["2:5", 0]
    workflow["nodes"][1]["mode"] = 4
    assert to_prompt(workflow, INFOS)["3"]["inputs"]["image"] == ["1", 0]


def test_a_list_value_is_wrapped_so_that_it_is_no_link():
    workflow = {"nodes": [ui_node(1, "Sizes", values=[[1, 2]])], "links": []}
    assert to_prompt(workflow, INFOS)["1"]["inputs"] == {"sizes": {"__value__": [1, 2]}}


def test_missing_node_types_are_named_with_their_pack_and_what_to_do():
    workflow = chain(type="Sharpen", properties={"cnr_id": "sharp-pack"})
    with pytest.raises(WorkflowError, match=r"Sharpen \(pack sharp-pack\): node 2[\s\S]*Install the pack"):
        to_prompt(workflow, INFOS)
    assert "2" not in to_prompt({**workflow, "nodes": [workflow["nodes"][0]]}, INFOS)


def test_links_that_go_round_in_a_circle_are_refused():
    workflow = {
        "nodes": [
            ui_node(1, "Reroute", [("", "*", 2)], ["*"]),
            ui_node(2, "Reroute", [("", "*", 1)], ["*"]),
            ui_node(3, "Save", [("image", "IMAGE", 3)]),
        ],
        "links": [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 2, 0, 3, 0, "*"]],
    }
    with pytest.raises(WorkflowError, match="circle"):
        to_prompt(workflow, INFOS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG not json", "is no UTF-8 text at byte 0"),
        (b"[1, 2]", "neither a workflow"),
        (b"{}", "neither a workflow"),
        (b'{"nodes": [{"id": 1}], "links": []}', "nodes.0..type must be a string, found null"),
        (
            b'{"nodes": [{"id": 1, "type": "Save", "inputs": [{"name": "image", "link": 9}]}], "links": [5]}',
            "links.0. must be a list or an object, found 5",
        ),
    ],
)
def test_a_file_that_is_no_workflow_is_named(tmp_path, content, words):
    file = tmp_path / "w.json"
    file.write_bytes(content)
    with pytest.raises(WorkflowError, match=words) as caught:
        load(file, INFOS)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WorkflowError, match="nowhere.json: cannot be read"):
        load(tmp_path / "nowhere.json", INFOS)


def test_a_prompt_file_is_taken_as_it_is():
    prompt = to_prompt(chain(), INFOS)
    assert read(prompt, INFOS) == Workflow(prompt, None)
    body = {"prompt": prompt, "extra_data": {"extra_pnginfo": {"workflow": {"nodes": []}}}}
    assert read(body, INFOS).ui == {"nodes": []}


def loaded():
    return read(copy.deepcopy(chain(title="Soft")), INFOS)


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ("Soft.seed=0x10", "seed", 16),
        ("2.radius=3", "radius", 3.0),
        ("Blur.note=a=b.c", "note", "a=b.c"),
        ("soft.seed=1", "seed", 1),
    ],
)
def test_set_finds_a_node_by_title_id_or_type(change, name, value):
    workflow = loaded()
    overrides.apply(workflow, [change], INFOS)
    assert workflow.prompt["2"]["inputs"][name] == value
    assert to_prompt(workflow.ui, INFOS)["2"]["inputs"][name] == value  # and the saved graph agrees


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("Soft.seed", "expected NODE.INPUT=VALUE"),
        ("seed=3", "expected NODE.INPUT=VALUE"),
        ("Hard.seed=3", "'Soft' \\(2\\)"),
        ("Soft.size=3", "has no value 'size'; it has seed, radius, note"),
        ("Soft.image=x", "has no value 'image'"),
        ("Soft.seed=1.5", "no whole number"),
        ("Soft.radius=big", "no number"),
        ("Soft.radius=nan", "no number"),
        ("Soft.radius=1e400", "no number"),
        ("1.image=../c.png", "there is no file"),
        ("1.image=" + "a" * 5000, "there is no file"),
    ],
)
def test_set_refuses_what_it_cannot_do(change, words):
    with pytest.raises(WorkflowError, match=words):
        overrides.apply(loaded(), [change], INFOS)


def test_set_takes_a_picture_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path / "base"))
    picture = tmp_path / "mine.png"
    picture.write_bytes(b"one")
    workflow = loaded()
    overrides.apply(workflow, [f"Load It.image={picture}"], INFOS)
    assert workflow.prompt["1"]["inputs"]["image"] == "mine.png"
    picture.write_bytes(b"two")
    overrides.apply(workflow, [f"Load It.image={picture}"], INFOS)
    assert workflow.prompt["1"]["inputs"]["image"] == "mine (1).png"
    assert (tmp_path / "base/input/mine.png").read_bytes() == b"one"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_workflows_convert_and_hold_no_unknown_value(path):
    infos = OTHERS | object_infos(load_nodes())
    workflow = load(path, infos)
    assert json.loads(path.read_text("utf-8"))["version"] == 0.4
    assert any(infos[node["class_type"]]["output_node"] for node in workflow.prompt.values())


def test_dates_and_widgets_in_a_file_name_are_filled_in():
    moment = time.strptime("2026-03-04 05:06:07", "%Y-%m-%d %H:%M:%S")
    values = {("Soft", "radius"): 2.0, ("Soft", "note"): "a/b:c"}
    filled = text_replacements.filled(
        "%date:yyyy-MM-dd hhmmss yy M%/%Soft.radius%_%Soft.note%_%No.thing% 100%",
        lambda *names: values.get(names),
        moment,
    )
    assert filled == "2026-03-04 050607 26 3/2.0_a_b_c_%No.thing% 100%"
