"""`--set` changes the graph where a value is stored, and the prompt is made of that graph: the two never disagree."""

import copy
import json
import random
from pathlib import Path

import pytest
from test_promoted import INFOS as SAMPLE
from test_promoted import O, S, T, with_subgraph
from test_repairs import grouped
from test_workflow import INFOS as PLAIN
from test_workflow import SHIPPED, chain, ui_node
from vdit.host import cli, folders, overrides
from vdit.host.catalog import load_nodes, object_infos
from vdit.host.workflow import WorkflowError, load, opened, read, to_prompt

PACK = Path(__file__).resolve().parent.parent
SAVE = {"input": {"required": {"images": ["IMAGE", {}], "filename_prefix": ["STRING", {"default": "x"}]}}}
INFOS = PLAIN | SAMPLE | {"SaveImage": SAVE}


def after(workflow, *changes, infos=INFOS):
    """(the workflow once it is changed, {"node.input": value} of what that changed in its prompt, remarks)."""
    loaded = read(copy.deepcopy(workflow), infos)
    before = flat(loaded.prompt)
    remarks = overrides.apply(loaded, changes, infos)
    assert loaded.prompt == to_prompt(json.loads(json.dumps(loaded.ui)), infos)  # what is saved gives what is run
    now = flat(loaded.prompt)
    assert now.keys() == before.keys()
    return loaded, {key: value for key, value in now.items() if value != before[key]}, remarks


def flat(prompt):
    return {f"{node_id}.{name}": value for node_id, node in prompt.items() for name, value in node["inputs"].items()}


def with_primitive(*seeds):
    """Blur nodes whose seeds take the value of one primitive, called Dice (9)."""
    nodes = [ui_node(9, "PrimitiveNode", [], ["INT"], [42, "randomize"], title="Dice")]
    links = []
    for number in seeds:
        node = ui_node(number, "Blur", [("seed", "INT", number)], ["IMAGE"], [7, "fixed", 2.0, "n"], title=f"B{number}")
        nodes.append(node)
        links.append([number, 9, 0, number, 0, "INT"])
    return {"version": 0.4, "nodes": nodes, "links": links}


@pytest.mark.parametrize("change", ["B2.seed=5", "2.seed=5", "Dice.value=5", "9.value=5", "PrimitiveNode.value=5"])
def test_a_value_of_a_primitive_is_changed_in_the_primitive(change):
    loaded, changed, remarks = after(with_primitive(2), change)
    assert changed == {"2.seed": 5} and remarks == []
    assert loaded.ui["nodes"][0]["widgets_values"] == [5, "randomize"]  # what follows a run stays
    assert loaded.ui["nodes"][1]["widgets_values"] == [7, "fixed", 2.0, "n"]


@pytest.mark.parametrize("change", ["B2.seed=5", "Dice.value=5"])
def test_all_inputs_of_a_primitive_change_and_one_line_says_so(change):
    _, changed, remarks = after(with_primitive(2, 3), change)
    assert changed == {"2.seed": 5, "3.seed": 5}
    assert remarks == [f"--set {change!r} changes B2.seed (2) and B3.seed (3), which share a value"]


def test_a_primitive_takes_the_type_of_what_it_feeds():
    with pytest.raises(WorkflowError, match="'x' is no whole number"):
        after(with_primitive(2), "Dice.value=x")
    with pytest.raises(WorkflowError, match="Dice has no value 'seed'; it has value$"):
        after(with_primitive(2), "Dice.seed=1")


@pytest.mark.parametrize("mode", [2, 4])
def test_a_node_that_does_not_run_is_not_set_and_the_error_lists_those_that_do(mode):
    with pytest.raises(WorkflowError, match=r"nothing that runs takes a value of 'Blur' \(muted.*there are 'Load It' "):
        after(chain(mode=mode), "Blur.seed=1")
    workflow = with_primitive(2)
    workflow["nodes"][1]["mode"] = mode
    with pytest.raises(WorkflowError, match="nothing that runs takes a value of 'Dice'"):
        after(workflow, "Dice.value=1")


PROXIES = [None, [], [S, T, O], [O, S, T], [S], [["5", "seed"], ["5", "guidance"]], [["6", "$$preview"], S]]
VALUES = [[], [7], [7, 4], [None, 4, "euler"], [9, 8, "euler", 1], {"seed": 7}]


@pytest.mark.parametrize("values", VALUES, ids=str)
@pytest.mark.parametrize("proxies", PROXIES, ids=str)
def test_a_promoted_value_is_changed_in_the_instance_alone(proxies, values):
    """However the instance stores its values, which an older editor, or none, may have written."""
    workflow = with_subgraph(proxies, values) | {"version": 0.4}
    definition = copy.deepcopy(workflow["definitions"])
    for name, text, value in (("seed", "11", 11), ("steps", "12", 12), ("solver", "model's own", "model's own")):
        for node in ("40:5", "Sample", "40"):
            loaded, changed, _ = after(workflow, f"{node}.{name}={text}")
            assert set(changed) <= {f"40:5.{name}"} and loaded.prompt["40:5"]["inputs"][name] == value
            assert loaded.ui["definitions"] == definition


def test_several_values_of_an_instance_are_changed_one_after_another():
    for proxies in PROXIES:
        loaded, _, _ = after(with_subgraph(proxies, [7]), "40.seed=1", "40.steps=2", "40.solver=euler", "40.seed=3")
        inputs = loaded.prompt["40:5"]["inputs"]
        assert (inputs["seed"], inputs["steps"], inputs["solver"]) == (3, 2, "euler")


def test_an_inner_widget_that_the_instance_promotes_by_name_is_changed_there():
    workflow = with_subgraph([["5", "guidance"], S], [3.5, 7])
    for change in ("40.guidance=9", "40:5.guidance=9"):
        loaded, changed, _ = after(workflow, change)
        assert changed == {"40:5.guidance": 9.0} and loaded.ui["nodes"][0]["widgets_values"][:2] == [9.0, 7]


def test_a_value_that_is_not_promoted_is_changed_inside_the_subgraph():
    workflow = with_subgraph(None, [4, 7, "euler"])
    loaded, changed, _ = after(workflow, "Sample.guidance=9")
    assert changed == {"40:5.guidance": 9.0} and loaded.ui["nodes"] == workflow["nodes"]
    (inner,) = loaded.ui["definitions"]["subgraphs"][0]["nodes"]
    assert inner["widgets_values"] == [2, "fixed", 20, 9.0, "unipc"]


def nested(outer=((9, 3, "unipc"),)):
    """Instances of a subgraph that holds an instance (40) of the one with the Sample node (5)."""
    workflow = with_subgraph([S, T, O], [7, 4, "euler"]) | {"version": 0.4}
    (middle,) = copy.deepcopy(workflow["nodes"])
    for slot, entry in enumerate(middle["inputs"]):
        entry["link"] = slot
    links = [[slot, -10, slot, 40, slot, "INT"] for slot in range(3)]
    workflow["definitions"]["subgraphs"].append({"id": "outer", "name": "Outer", "nodes": [middle], "links": links})
    (instance,) = workflow["nodes"]
    workflow["nodes"] = [
        {**copy.deepcopy(instance), "type": "outer", "id": number, "widgets_values": list(values)}
        for number, values in enumerate(outer, start=1)
    ]
    return workflow


@pytest.mark.parametrize("change", ["Sample.seed=11", "1:40:5.seed=11", "1.seed=11", "Outer.seed=11"])
def test_a_value_promoted_through_two_subgraphs_is_changed_in_the_outer_instance(change):
    loaded, changed, _ = after(nested(), change)
    values = loaded.ui["nodes"][0]["widgets_values"]
    assert changed == {"1:40:5.seed": 11} and values == [11, 3, "unipc"]
    with pytest.raises(WorkflowError, match="sub has no value 'seed'; it has none"):
        after(nested(), "1:40.seed=11")


def test_instances_have_values_of_their_own_and_share_those_inside():
    workflow = nested([(9, 3, "unipc"), (8, 2, "euler")])
    assert after(workflow, "2.seed=11")[1] == after(workflow, "2:40:5.seed=11")[1] == {"2:40:5.seed": 11}
    with pytest.raises(WorkflowError, match="2 nodes are called 'Sample'; say which by its id: 1:40:5, 2:40:5"):
        after(workflow, "Sample.seed=11")
    _, changed, remarks = after(workflow, "Sample.guidance=9")
    assert changed == {"1:40:5.guidance": 9.0, "2:40:5.guidance": 9.0} and "share a value" in remarks[0]
    with pytest.raises(WorkflowError, match="Sample.guidance .2:40:5. are one value, stored inside a subgraph. Name"):
        after(workflow, "2:40:5.guidance=9")


def test_nodes_of_one_title_are_told_apart_by_their_ids_and_by_what_they_hold():
    workflow = with_primitive(2) | {"links": []}
    workflow["nodes"][1]["title"] = "Dice"
    workflow["nodes"][1]["inputs"] = []
    workflow["nodes"].append(ui_node(3, "Blur", values=[1, "fixed", 1.0, "n"], title="Dice"))
    workflow["nodes"].append(ui_node(4, "Sizes", values=["[]"], title="Dice"))
    with pytest.raises(WorkflowError, match="2 nodes are called 'Dice'; say which by its id: 2, 3$"):
        after(workflow, "Dice.seed=5")
    assert after(workflow, "3.seed=5")[1] == {"3.seed": 5}
    assert after(workflow, "Dice.sizes=[4]")[1] == {"4.sizes": "[4]"}


def test_names_in_a_file_name_are_filled_in_with_what_is_set():
    workflow = with_primitive(2)
    prefix = "%B2.seed%_%B2.note%"
    workflow["nodes"].append(ui_node(5, "SaveImage", [("images", "IMAGE", 9)], [], [prefix]))
    workflow["links"].append([9, 2, 0, 5, 0, "IMAGE"])
    assert after(workflow, "5.filename_prefix=%Dice.value% %Blur.radius%")[1] == {"5.filename_prefix": "42 2.0"}
    loaded, changed, _ = after(workflow, "Dice.value=5", "B2.note=a/b")
    assert changed == {"2.seed": 5, "2.note": "a/b", "5.filename_prefix": "5_a_b"}
    assert loaded.ui["nodes"][2]["widgets_values"] == [prefix]
    assert after(workflow, "SaveImage.filename_prefix=of %B2.seed%")[1] == {"5.filename_prefix": "of 42"}


def test_values_that_an_older_save_lacks_or_stores_by_name_are_stored():
    assert after(chain(widgets_values=[7]), "Blur.note=new")[0].ui["nodes"][1]["widgets_values"] == [
        7, "fixed", 1.5, "new",
    ]  # fmt: skip
    assert after(chain(widgets_values={"seed": 3}), "Blur.note=new")[0].ui["nodes"][1]["widgets_values"] == {
        "seed": 3, "note": "new",
    }  # fmt: skip
    bare = chain()
    del bare["nodes"][0]["widgets_values"]
    assert after(bare, "1.image=b.png")[0].ui["nodes"][0]["widgets_values"] == ["b.png", "image"]
    more = chain(widgets_values=[7, "fixed", 2.0, "n", "a preview's own"])
    assert after(more, "Blur.radius=3")[0].ui["nodes"][1]["widgets_values"] == [7, "fixed", 3.0, "n", "a preview's own"]


def test_a_value_that_was_stored_beside_one_that_is_now_a_link_is_found():
    was = {"input": {"required": {"was": ["INT", {"forceInput": True}], "n": ["INT", {}], "m": ["INT", {}]}}}
    workflow = {"nodes": [ui_node(1, "X", values=[5, 6, 7])], "links": []}
    loaded, changed, _ = after(workflow, "X.m=9", infos={"X": was})
    assert changed == {"1.m": 9} and loaded.ui["nodes"][0]["widgets_values"] == [6, 9]


OPTIONS = [
    {"key": "none", "inputs": {}},
    {"key": "mp4", "inputs": {"required": {"codec": [["h264", "av1"], {}], "crf": ["INT", {"default": 18}]}}},
    {"key": "webm", "inputs": {"required": {"codec": [["av1"], {}]}}},
]
COMBO = {
    "input": {
        "required": {
            "seed": ["INT", {}],
            "format": ["COMFY_DYNAMICCOMBO_V3", {"options": OPTIONS}],
            "last": ["STRING", {}],
        }
    }
}


@pytest.mark.parametrize(
    ("stored", "changes", "now"),
    [
        ([7, "randomize", "none", "x"], ["X.format=mp4"], [7, "randomize", "mp4", "h264", 18, "x"]),
        ([7, "randomize", "none", "x"], ["X.format=mp4", "X.codec=av1"], [7, "randomize", "mp4", "av1", 18, "x"]),
        ([7, "randomize", "mp4", "av1", 20, "x"], ["X.format=webm"], [7, "randomize", "webm", "av1", "x"]),
        ([7, "randomize", "mp4", "av1", 20, "x"], ["X.format=none"], [7, "randomize", "none", "x"]),
        ([7, "randomize", "mp4", "av1", 20, "x"], ["X.crf=3"], [7, "randomize", "mp4", "av1", 3, "x"]),
    ],
)
def test_another_option_brings_its_own_values_and_moves_those_that_follow(stored, changes, now):
    loaded = read({"nodes": [ui_node(1, "X", values=stored)], "links": []}, {"X": COMBO})
    overrides.apply(loaded, changes, {"X": COMBO})
    assert loaded.ui["nodes"][0]["widgets_values"] == now
    assert loaded.prompt == to_prompt(loaded.ui, {"X": COMBO}) and loaded.prompt["1"]["inputs"]["last"] == "x"


def test_ids_that_stand_twice_stay_in_the_file_and_are_named_as_in_the_prompt():
    workflow = with_subgraph([["5", "guidance"], S], [3.5, 7])
    workflow["nodes"].append(ui_node(5, "Blur", values=[1, "fixed", 1.0, "n"]))
    workflow["last_node_id"] = 40
    loaded, changed, _ = after(workflow, "40:41.steps=9", "40.guidance=2", "5.seed=3")
    assert changed == {"40:41.steps": 9, "40:41.guidance": 2.0, "5.seed": 3}
    assert loaded.ui["nodes"][0]["properties"]["proxyWidgets"] == [
        ["5", "guidance"],
        S,
        ["-1", "steps"],
        ["-1", "solver"],
    ]
    assert [node["id"] for node in loaded.ui["definitions"]["subgraphs"][0]["nodes"]] == [5]


def test_a_value_in_a_group_node_is_refused_with_what_to_do():
    with pytest.raises(WorkflowError, match="'seed' is stored in a group node; open and save the workflow"):
        after(grouped(), "2:0.seed=5")


def test_a_request_with_a_graph_beside_its_prompt_changes_the_prompt_and_saves_no_other_graph():
    body = {"prompt": to_prompt(chain(), INFOS), "extra_data": {"extra_pnginfo": {"workflow": chain()}}}
    loaded = read(copy.deepcopy(body), INFOS)
    assert overrides.apply(loaded, [], INFOS) == [] and loaded.ui == chain()
    assert overrides.apply(loaded, ["Blur.seed=5"], INFOS) == [overrides.NO_GRAPH]
    assert loaded.prompt["2"]["inputs"]["seed"] == 5 and loaded.ui is None


def test_an_odd_prompt_is_answered_in_words():
    nodes = {"1": {"inputs": {"seed": 1}}, "2": {"class_type": "Blur"}, "3": {"class_type": "Gone", "inputs": {}}}
    links = {"4": {"class_type": "Blur", "inputs": {"radius": [], "note": [["x"], 0]}, "_meta": {"title": "Odd"}}}
    loaded = read({"prompt": nodes | links}, INFOS)
    assert overrides.apply(loaded, ["2.seed=5", "4.seed=6"], INFOS) == []
    assert loaded.prompt["2"]["inputs"]["seed"] == 5 and loaded.prompt["4"]["inputs"]["seed"] == 6
    for change, words in (
        ("1.seed=5", "no node is called '1'; there are 'Blur' .2., 'Gone' .3., 'Odd' .4.$"),
        ("Gone.seed=5", "node 3 is a Gone, which is not installed"),
        ("Odd.radius=5", "'radius' is wired from node ; set"),
    ):
        with pytest.raises(WorkflowError, match=words):
            overrides.apply(loaded, [change], INFOS)


def test_bad_names_list_primitives_and_instances_too():
    with pytest.raises(WorkflowError, match=r"no node is called 'X'; there are 'B2' \(2\), 'Dice' \(9\)$"):
        after(with_primitive(2), "X.seed=1")
    with pytest.raises(WorkflowError, match=r"there are 'Sample' \(1:40:5\), 'Outer' \(1\), 'sub' \(1:40\)$"):
        after(nested(), "X.seed=1")
    with pytest.raises(WorkflowError, match="Outer has no value 'size'; it has seed, steps, solver$"):
        after(nested(), "Outer.size=1")


def another(spec):
    """A value of the type that no shipped workflow holds."""
    offered = overrides.choices(spec)
    return offered[-1] if offered else {"INT": 987654, "FLOAT": 0.987654, "BOOLEAN": True}.get(str(spec[0]), "other")


@pytest.mark.parametrize("path", [*SHIPPED, *sorted((PACK / "subgraphs").glob("*.json"))], ids=lambda path: path.stem)
def test_every_value_of_a_shipped_graph_can_be_set_and_changes_nothing_else(path):
    from other_nodes import OTHERS

    infos = OTHERS | object_infos(load_nodes())
    graph = json.loads(path.read_text("utf-8"))
    before = flat(to_prompt(graph, infos))
    nodes = overrides.in_graph(opened(graph, infos))
    names = [
        (key, name) for key, node in nodes.items() for name, entry in node.inputs.items() if type(entry) is not str
    ]
    for key, name in random.Random(path.stem).sample(names, min(12, len(names))):
        changed = copy.deepcopy(graph)
        setting = overrides.in_graph(opened(changed, infos))[key].inputs[name]
        if setting.spec[0] == "COMFY_DYNAMICCOMBO_V3":
            continue
        setting.write(value := another(setting.spec))
        now = flat(to_prompt(changed, infos))
        others = {place for place in now if now[place] != before[place] and not place.endswith("filename_prefix")}
        assert len(others) <= len(setting.users) and all(now[place] == value for place in others), (key, name)
        assert f"{key}.{name}" not in now or now[f"{key}.{name}"] == value
    assert len(names) > 5


def scaled():
    """LoadImage -> a subgraph of ImageScale, whose width a primitive inside gives -> SaveImage, named by the width."""
    scale = [("image", "IMAGE", 1), ("width", "INT", 3), ("height", "INT", 4)]
    inner = {
        "id": "sub",
        "name": "Smaller",
        "inputs": [
            {"name": "image", "type": "IMAGE", "linkIds": [1]},
            {"name": "height", "type": "INT", "linkIds": [4]},
        ],
        "nodes": [
            ui_node(5, "ImageScale", scale, ["IMAGE"], ["area", 8, 8, "disabled"], title="Scale"),
            ui_node(6, "PrimitiveNode", [], ["INT"], [8, "fixed"], title="Width"),
        ],
        "links": [
            [1, -10, 0, 5, 0, "IMAGE"],
            [2, 5, 0, -20, 0, "IMAGE"],
            [3, 6, 0, 5, 1, "INT"],
            [4, -10, 1, 5, 2, "INT"],
        ],
    }
    instance = ui_node(2, "sub", [("image", "IMAGE", 1), ("height", "INT", None)], ["IMAGE"], [8])
    return {
        "version": 0.4,
        "nodes": [
            ui_node(1, "LoadImage", [], ["IMAGE", "MASK"], ["a.png", "image"], title="Picture"),
            instance,
            ui_node(3, "SaveImage", [("images", "IMAGE", 2)], [], ["%Scale.width%x%Scale.height%"]),
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
        "definitions": {"subgraphs": [inner]},
    }


@pytest.fixture
def base(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    for name, colour in (("input/a.png", "red"), ("b.png", "blue")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), colour).save(tmp_path / name)
    (tmp_path / "graph.json").write_text(json.dumps(scaled()))
    return tmp_path


def test_a_saved_picture_holds_the_graph_that_makes_it_again(base, capsys):
    from PIL import Image

    changes = ["--set", "Width.value=16", "--set", "Smaller.height=4"]
    assert cli.main(["run", str(base / "graph.json"), "--base", str(base), *changes]) == 0
    file = Path(capsys.readouterr().out.strip())
    assert file.name.startswith("16x4")
    with Image.open(file) as picture:
        assert picture.size == (16, 4)
        prompt = json.loads(picture.info["prompt"])
    assert flat(load(file, object_infos(load_nodes())).prompt) == flat(prompt)


def test_a_row_of_a_table_changes_the_graph_that_its_files_hold(base):
    pytest.importorskip("fsspec")
    from vdit.farm.renders import Prompts, RendersJob, rows_of
    from vdit.farm.tables import Shot

    cells = (("Width.value", "16"), ("Smaller.height", "4"), ("Picture.image", "b.png"))
    job = RendersJob(json.dumps(scaled()), str(base))
    (row,) = rows_of(job, [Shot(1, "one", cells)], (("Scale.crop", "center"),), base / "shots.csv")
    prompts = Prompts(job)
    loaded = prompts.of(row["cells"])
    assert loaded.prompt == to_prompt(loaded.ui, prompts.infos) and loaded.prompt["1"]["inputs"]["image"] == "b.png"
    scale = {"image": ["1", 0], "upscale_method": "area", "width": 16, "height": 4, "crop": "center"}
    assert loaded.prompt["2:5"]["inputs"] == scale and loaded.prompt["3"]["inputs"]["filename_prefix"] == "16x4"
