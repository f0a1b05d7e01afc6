"""Promoted widgets of a subgraph's instance hold what the front end's own prompt holds (1.58.1, app.graphToPrompt)."""

import json

import pytest
from test_workflow import ui_node
from vdit.host.workflow import to_prompt

INFOS = {
    "Sample": {
        "display_name": "Sample",
        "input": {
            "required": {
                "seed": ["INT", {"control_after_generate": True}],
                "steps": ["INT", {}],
                "guidance": ["FLOAT", {}],
                "solver": [["model's own", "euler", "unipc"], {}],
            }
        },
        "output": ["LATENT"],
    }
}
STORED = {"seed": 2, "steps": 20, "guidance": 1.0, "solver": "unipc"}
S, T, O, PREVIEW = ["-1", "seed"], ["-1", "steps"], ["-1", "solver"], ["6", "$$canvas-image-preview"]
INNER = {name: ["5", name] for name in ("seed", "steps", "guidance", "control_after_generate", "none")}
BY_INPUTS = ["steps", "seed", "solver"]


def with_subgraph(proxies, values):
    """An instance with the inputs steps, seed and solver, in another order than the inner node's."""
    inner = ui_node(
        5, "Sample", [(n, "INT", i) for i, n in enumerate(STORED)], ["LATENT"], [2, "fixed", 20, 1.0, "unipc"]
    )
    inner["inputs"][2]["link"] = None
    links = [[i, -10, BY_INPUTS.index(name), 5, i, "INT"] for i, name in enumerate(STORED) if name in BY_INPUTS]
    instance = ui_node(40, "sub", [(name, "INT", None) for name in BY_INPUTS], [], [])
    for entry in instance["inputs"]:
        entry["widget"] = {"name": entry["name"]}
    properties = {} if proxies is None else {"proxyWidgets": proxies}
    nodes = [{**instance, "widgets_values": values, "properties": properties}]
    return {
        "nodes": nodes,
        "links": [],
        "definitions": {"subgraphs": [{"id": "sub", "nodes": [inner], "links": links}]},
    }


@pytest.mark.parametrize(
    "proxies, values, changed",
    [
        ([S, T, O], [7, 4, "euler"], {"seed": 7, "steps": 4, "solver": "euler"}),
        ([O, S, T], ["euler", 4321, 13], {"seed": 4321, "steps": 13, "solver": "euler"}),
        (None, [4, 7, "euler"], {"seed": 7, "steps": 4, "solver": "euler"}),
        ([], [4, 7, "euler"], {"seed": 7, "steps": 4, "solver": "euler"}),
        ([S], [7], {"seed": 7, "steps": 7}),
        ([O, T], ["euler", 4], {"seed": 4, "steps": 4, "solver": "euler"}),
        ([PREVIEW, S, T, O], [None, 7, 4, "euler"], {"seed": 7, "steps": 4, "solver": "euler"}),
        ([S, PREVIEW, T, O], [7, 4, "euler"], {"seed": 7, "steps": "euler", "solver": "euler"}),
        (
            [INNER["guidance"], S, T, O],
            [3.5, 7, 4, "euler"],
            {"seed": 7, "steps": 4, "guidance": 3.5, "solver": "euler"},
        ),
        ([INNER["seed"], INNER["steps"]], [7, 4], {"seed": 7, "steps": 4}),
        (
            [INNER["seed"], INNER["guidance"], INNER["steps"]],
            [7, 3.5, "euler"],
            {"seed": 7, "guidance": 3.5, "steps": "euler", "solver": "euler"},
        ),
        ([S, T, O], [None, 4, None], {"seed": None, "steps": 4, "solver": "model's own"}),
        ([S, T, O], [7], {"seed": 7, "steps": 7}),
        ([INNER["seed"], INNER["control_after_generate"], INNER["steps"]], [7, "fixed", 4], None),
        ([[5, "guidance"], S, T], [3, 7, "euler"], {"steps": 3, "seed": 7, "solver": "euler"}),
        ([INNER["none"], S, ["99", "seed"], T], [1, 7, "euler", 4], {"seed": 7, "steps": 4, "solver": "euler"}),
        ([S, T, O], {"seed": 7, "steps": 4}, {}),
        ([S, T, O], [], {}),
    ],
)
def test_promoted_widgets_have_the_front_ends_own_values(proxies, values, changed):
    changed = {"seed": 7, "steps": 4, "solver": 4} if changed is None else changed
    assert to_prompt(with_subgraph(proxies, values), INFOS)["40:5"]["inputs"] == {**STORED, **changed}


def test_widgets_promoted_through_two_subgraphs_take_the_outer_value():
    workflow = with_subgraph([S, T, O], [7, 4, "euler"])
    (middle,) = json.loads(json.dumps(workflow["nodes"]))
    for slot, entry in enumerate(middle["inputs"]):
        entry["link"] = slot
    links = [[slot, -10, slot, 40, slot, "INT"] for slot in range(3)]
    workflow["definitions"]["subgraphs"].append({"id": "outer", "nodes": [middle], "links": links})
    workflow["nodes"][0].update(type="outer", id=1, widgets_values=[9, 3, "unipc"])
    assert to_prompt(workflow, INFOS)["1:40:5"]["inputs"] == {**STORED, "seed": 9, "steps": 3, "solver": "unipc"}


def test_the_widgets_of_a_dynamic_combos_chosen_option_follow_it():
    codec, quality = ["COMBO", {"options": ["h264", "av1"]}], ["INT", {"default": 80}]
    deep = ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "a", "inputs": {"required": {"seed": ["INT", {}]}}}]}]
    options = [
        {"key": "auto", "inputs": {"required": {}}},
        {"key": "mp4", "inputs": {"required": {"codec": codec}, "optional": {"quality": quality}}},
        {"key": "deep", "inputs": {"required": {"inner": deep}}},
    ]
    required = {"prefix": ["STRING", {}], "format": ["COMFY_DYNAMICCOMBO_V3", {"options": options}], "last": quality}
    infos = {"Save": {"display_name": "Save", "input": {"required": required}, "output": []}}

    def read(values):
        return to_prompt({"nodes": [ui_node(1, "Save", values=values)], "links": []}, infos)["1"]["inputs"]

    assert read(["p", "auto", 5]) == {"prefix": "p", "format": "auto", "last": 5}
    mp4 = {"prefix": "p", "format": "mp4", "format.codec": "av1", "format.quality": 70, "last": 5}
    assert read(["p", "mp4", "av1", 70, 5]) == mp4
    deep = {"prefix": "p", "format": "deep", "format.inner": "a", "format.inner.seed": 3, "last": 5}
    assert read(["p", "deep", "a", 3, 5]) == deep  # a seed inside an option has no widget for what follows a run
    assert read([]) == {"prefix": "", "format": "auto", "last": 80}


@pytest.mark.parametrize("kept", [["solver", "steps"], ["seed"], [], ["solver", "seed", "steps"]])
def test_an_instance_saved_with_fewer_or_reordered_inputs_follows_its_subgraph(kept):
    workflow = with_subgraph([], [4, 7, "euler"])
    inner, instance = workflow["definitions"]["subgraphs"][0], workflow["nodes"][0]
    inner["inputs"] = [{"name": name, "type": "INT"} for name in BY_INPUTS]
    for entry in inner["nodes"][0]["inputs"]:
        entry["widget"] = {"name": entry["name"]}
    instance["inputs"] = [next(e for e in instance["inputs"] if e["name"] == name) for name in kept]
    expected = {**STORED, "steps": 4, "seed": 7, "solver": "euler"}
    assert to_prompt(workflow, INFOS)["40:5"]["inputs"] == expected


def test_an_input_without_a_widget_takes_the_value_that_its_subgraphs_input_shows():
    show = {"display_name": "Show", "input": {"required": {"source": ["*", {}]}}}
    workflow = with_subgraph(None, [])
    subgraph = workflow["definitions"]["subgraphs"][0]
    subgraph["nodes"].append(ui_node(6, "Show", [("source", "*", 9)]))
    subgraph["links"].append([9, -10, 0, 6, 0, "*"])
    assert to_prompt(workflow, INFOS | {"Show": show})["40:6"]["inputs"] == {"source": STORED["steps"]}


@pytest.mark.parametrize("chosen, fed", [("one", {"combo.image": ["1", 0]}), ("none", {}), ("gone", {})])
def test_an_input_of_an_option_that_is_not_chosen_is_not_on_the_node(chosen, fed):
    one = {"key": "one", "inputs": {"required": {"image": ["IMAGE", {}]}}}
    required = {"combo": ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "none", "inputs": {}}, one]}]}
    infos = {"Made": {"input": {}}, "Take": {"input": {"required": required}}}
    nodes = [ui_node(1, "Made", [], ["IMAGE"]), ui_node(2, "Take", [("combo.image", "IMAGE", 1)], [], [chosen])]
    prompt = to_prompt({"nodes": nodes, "links": [[1, 1, 0, 2, 0, "IMAGE"]]}, infos)
    assert prompt["2"]["inputs"] == {"combo": chosen, **fed}


@pytest.mark.parametrize(
    "kind, required, stored, inputs",
    [
        ("SaveGLB", {"mesh": ["MESH"], "prefix": ["STRING"]}, ["a", ""], {"prefix": "a", "image": ""}),
        ("X", {"tint": ["COLOR", {"default": "#fff"}], "n": ["INT"]}, ["#123", 4], {"tint": "#123", "n": 4}),
        ("X", {"box": ["BOUNDING_BOX", {}], "n": ["INT"]}, [{"x": 1}, 1, 2, 3, 4, 9], {"box": {"x": 1}, "n": 9}),
        ("X", {"view": ["IMAGECOMPARE"], "n": ["INT"]}, [4], {"view": {"__value__": ["", ""]}, "n": 4}),
        ("X", {"mask": ["STRING", {"widgetType": "PAINTER", "image_upload": True}]}, ["m"], {"mask": "m"}),
        ("X", {"file": ["COMBO", {"options": []}], "n": ["INT"]}, [], {"n": 0}),  # nothing to choose from
        ("X", {"text": ["STRING", {"multiline": True}], "n": ["INT"]}, [None, None], {"text": "", "n": None}),
        ("X", {"was": ["INT", {"forceInput": True}], "n": ["INT"]}, [5, 6], {"n": 6}),  # was a widget when saved
        ("X", {"n": ["INT"], "m": ["INT"]}, {"w0": 5, "w1": 6}, {"n": 5, "m": 6}),
        ("X", {"n": ["INT"], "m": ["INT"]}, {"m": 6}, {"n": 0, "m": 6}),
        ("CustomCombo", {"choice": ["COMBO", {"options": []}]}, ["b", 0, "a", "b", ""], None),
        ("X", {"text": ["STRING", {"dynamicPrompts": True}]}, ["a {red|{big|small}} \\{x\\} ball // note"], None),
    ],
)
def test_widgets_hold_what_the_editor_would_show(kind, required, stored, inputs):
    others = {
        "CustomCombo": {"choice": "b", "index": 1, "option1": "a", "option2": "b", "option3": ""},
        "X": {"text": "a red {x} ball "},
    }
    infos = {kind: {"name": kind, "input": {"required": required}}}
    node = {**ui_node(1, kind), "widgets_values": stored}
    assert to_prompt({"nodes": [node], "links": []}, infos)["1"]["inputs"] == (inputs or others[kind])
