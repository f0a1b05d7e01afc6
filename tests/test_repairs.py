"""Workflows that the graph editor mends as it opens them are read as it reads them, from any file that holds one."""

import io
import json
import logging

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from test_workflow import INFOS, chain, ui_node
from vdit.host.workflow import WorkflowError, load, read, to_prompt

WHOLE = {"image": ["1", 0], "seed": 7, "radius": 2.0, "note": "hello"}


@pytest.mark.parametrize(
    "links, wired, inputs",
    [
        ([[2, 2, 0, 3, 0, "IMAGE"]], 77, {"seed", "radius", "note"}),  # no such link
        ([[1, 1, 0, 2, 0, "IMAGE"], None, [2, 2, 0, 3, 0, "IMAGE"], [9, 2, 0, 55, 0, "IMAGE"]], 1, set(WHOLE)),
    ],
)
def test_links_to_nothing_are_dropped_and_said(caplog, links, wired, inputs):
    workflow = chain()
    workflow["links"], workflow["nodes"][1]["inputs"][0]["link"] = links, wired
    with caplog.at_level(logging.WARNING):
        prompt = read(workflow, INFOS).prompt
    assert set(prompt["2"]["inputs"]) == inputs and "dropped" in caplog.text
    assert prompt["3"]["inputs"] == {"image": ["2", 0]}


@pytest.mark.parametrize("named", [1, 77])
def test_an_input_that_names_no_link_takes_the_one_that_leads_to_it(named, caplog):
    workflow = chain()
    workflow["nodes"][1]["inputs"][0]["link"] = named
    assert read(workflow, INFOS).prompt["2"]["inputs"] == WHOLE and "dropped" not in caplog.text


def test_a_link_from_nowhere_is_refused_by_node_and_input():
    workflow = chain()
    workflow["links"][0][1] = 99
    with pytest.raises(WorkflowError, match=r"node 99, which is not in the file, to 'image' of node 2 \(Blur\)"):
        to_prompt(workflow, INFOS)
    workflow = chain(mode=4)
    workflow["links"][1][2] = 7
    with pytest.raises(WorkflowError, match=r"output 7 of node 2 \(Blur\), which has 1"):
        to_prompt(workflow, INFOS)


def test_two_nodes_of_one_id_are_told_apart_and_said(caplog):
    workflow = chain()
    workflow["nodes"].append(ui_node(1, "Sizes", values=["[5]"]))
    with caplog.at_level(logging.WARNING):
        prompt = read(workflow, INFOS).prompt
    assert prompt["2"]["inputs"] == WHOLE and prompt["4"]["inputs"] == {"sizes": "[5]"}
    assert caplog.messages == ["Nodes with the id of another one got a new one: Sizes 1 becomes 4"]


def test_many_repairs_are_one_short_message(caplog):
    workflow = chain()
    workflow["nodes"] += [ui_node(1, "Sizes", values=["[5]"]) for _ in range(200)]
    workflow["links"] += [[100 + n, 1, 0, 900 + n, 0, "IMAGE"] for n in range(200)]
    with caplog.at_level(logging.WARNING):
        read(workflow, INFOS)
    assert len(caplog.messages) == 2
    assert all(message.endswith(" and 195 more") and len(message) < 200 for message in caplog.messages)


def test_ids_that_stand_twice_among_subgraphs_get_the_next_free_number():
    inner = {
        "id": "abc",
        "nodes": [ui_node(1, "Blur", [("image", "IMAGE", 1)], ["IMAGE"], [7, "fixed", 2.0, "in"])],
        "links": [[1, -10, 0, 1, 0, "IMAGE"], [2, 1, 0, -20, 0, "IMAGE"]],
    }
    workflow = chain(type="abc", widgets_values=[9], properties={"proxyWidgets": [["1", "seed"]]})
    workflow |= {"definitions": {"subgraphs": [inner]}, "last_node_id": 3}
    prompt = to_prompt(workflow, INFOS)
    assert set(prompt) == {"1", "2:4", "3"} and prompt["3"]["inputs"] == {"image": ["2:4", 0]}
    assert prompt["2:4"]["inputs"] == {"image": ["1", 0], "seed": 9, "radius": 2.0, "note": "in"}


@pytest.mark.parametrize("nodes, ends", [(str, int), (int, str), (lambda n: f"n-{n}", lambda n: f"n-{n}")])
def test_node_ids_may_be_text(nodes, ends):
    workflow = chain()
    for node in workflow["nodes"]:
        node["id"] = nodes(node["id"])
    workflow["links"] = [[n, ends(a), s, ends(b), t, kind] for n, a, s, b, t, kind in workflow["links"]]
    prompt = to_prompt(workflow, INFOS)
    one, two, three = map(str, (nodes(1), nodes(2), nodes(3)))
    assert prompt[two]["inputs"] == {**WHOLE, "image": [one, 0]} and prompt[three]["inputs"] == {"image": [two, 0]}


@pytest.mark.parametrize("through", [[], ["Reroute"], ["subgraph"]])
def test_a_widget_fed_by_a_muted_node_falls_back_to_its_stored_value(through):
    workflow = chain()
    workflow["nodes"].append(ui_node(9, "Sizes", [], ["INT"], ["[]"], mode=2))
    workflow["nodes"][1]["inputs"].append({"name": "seed", "type": "INT", "link": 3, "widget": {"name": "seed"}})
    workflow["links"].append([3, 9, 0, 2, 2, "INT"])
    if through == ["Reroute"]:
        workflow["nodes"].append(ui_node(10, "Reroute", [("", "*", 4)], ["INT"]))
        workflow["links"][-1:] = [[3, 10, 0, 2, 2, "INT"], [4, 9, 0, 10, 0, "INT"]]
    if through == ["subgraph"]:
        inner = {"id": "s", "nodes": [ui_node(1, "Sizes", [], ["INT"], ["[]"])], "links": [[1, 1, 0, -20, 0, "INT"]]}
        workflow["definitions"] = {"subgraphs": [inner]}
        workflow["nodes"][-1]["type"] = "s"
    assert to_prompt(workflow, INFOS)["2"]["inputs"] == WHOLE


def grouped(name="Soft", prefix="workflow>", instance=("image", "Blur image"), values=None):
    """Load -> a group of two blurs, both fed from outside, the first also feeding the second's mask -> Save."""
    inner = [
        ui_node(5, "Blur", [("image", "IMAGE", 1), ("mask", "MASK", None)], ["IMAGE"], [1, "fixed", 1.0, "a"]),
        ui_node(6, "Blur", [("image", "IMAGE", 1), ("mask", "MASK", 2)], ["IMAGE"], [1, "fixed", 1.0, "b"]),
    ]
    group = {"nodes": inner, "links": [[0, 0, 1, 1, 5, "IMAGE"]], "external": [[1, 0, "IMAGE"]]}
    values = values or [7, "fixed", 2.0, "first", 8, "fixed", 3.0, "second"]
    links = [[1, 1, 0, 2, 0, "IMAGE"], [3, 1, 0, 2, 1, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]]
    entries = [(label, "IMAGE", link) for label, link in zip(instance, (1, 3), strict=True)]
    return {
        "nodes": [
            ui_node(1, "Load", [], ["IMAGE", "MASK"], ["b.png", "image"]),
            ui_node(2, prefix + name, entries, ["IMAGE"], values),
            ui_node(3, "Save", [("image", "IMAGE", 2)]),
        ],
        "links": links,
        "extra": {"groupNodes": {name: group}},
    }


@pytest.mark.parametrize(
    "workflow", [grouped(), grouped("A/b", "workflow/"), grouped(instance=("image", "Other image"))]
)
def test_group_nodes_are_opened_up(workflow):
    prompt = to_prompt(workflow, INFOS)
    assert prompt["2:0"]["inputs"] == {"image": ["1", 0], "seed": 7, "radius": 2.0, "note": "first"}
    second = {"image": ["1", 0], "mask": ["2:0", 0], "seed": 8, "radius": 3.0, "note": "second"}
    assert prompt["2:1"]["inputs"] == second
    assert prompt["3"]["inputs"] == {"image": ["2:1", 0]} and set(prompt) == {"1", "2:0", "2:1", "3"}


def test_two_instances_of_a_group_keep_their_own_values():
    workflow = grouped()
    other = json.loads(json.dumps(workflow["nodes"][1])) | {"id": 4, "widgets_values": [70, "fixed", 2.0, "x"] * 2}
    workflow["nodes"].append(other)
    prompt = to_prompt(workflow, INFOS)
    assert (prompt["2:0"]["inputs"]["seed"], prompt["4:0"]["inputs"]["seed"]) == (7, 70)


@pytest.mark.parametrize("data", [chain(), to_prompt(chain(), INFOS), {"prompt": to_prompt(chain(), INFOS)}])
def test_a_byte_order_mark_is_read(tmp_path, data):
    for coding in ("utf-8-sig", "utf-16", "utf-16-le"):  # PowerShell's > writes UTF-16
        (tmp_path / "a.json").write_text(json.dumps(data), coding)
        assert load(tmp_path / "a.json", INFOS).prompt["2"]["inputs"] == WHOLE


@pytest.mark.parametrize("text", [b'{"nodes": [],}', b"{'nodes': []}", b'{"nodes": []} // end', b"\xff\xfe{"])
def test_what_only_looks_like_json_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(WorkflowError, match=r"a\.json: is no (JSON|UTF-16 text)"):
        load(tmp_path / "a.json", INFOS)


def video(path, tags):
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"} if path.suffix == ".mp4" else {}) as output:
        output.metadata.update(tags)
        stream = output.add_stream("vp8" if path.suffix == ".webm" else "h264", rate=8)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        output.mux(stream.encode(None))


def picture(path, tags):
    image = Image.new("RGB", (8, 8))
    if path.suffix == ".png":
        text = PngInfo()
        for key, value in tags.items():
            text.add_text(key, value)
        image.save(path, pnginfo=text)
        return
    exif = image.getexif()
    for number, (key, value) in zip((0x010F, 0x0110), tags.items(), strict=False):
        exif[number] = f"{key}:{value}"
    image.save(path, exif=exif)


WORKFLOW, PROMPT = json.dumps(chain()), json.dumps(to_prompt(chain(radius=9), INFOS))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.png", "a.webp", "a.jpg"])
@pytest.mark.parametrize("tags", [{"workflow": WORKFLOW, "prompt": "{}"}, {"prompt": PROMPT}])
def test_a_file_that_holds_its_workflow_is_read(tmp_path, name, tags):
    (video if name[2:] in ("mp4", "mkv", "webm") else picture)(tmp_path / name, tags)
    loaded = load(tmp_path / name, INFOS)
    assert loaded.prompt["2"]["inputs"] == WHOLE and (loaded.ui is None) == ("workflow" not in tags)


def test_a_workflow_in_a_comment_is_read(tmp_path):
    video(tmp_path / "a.mp4", {"comment": json.dumps({"prompt": PROMPT, "workflow": chain()})})
    assert load(tmp_path / "a.mp4", INFOS).prompt["2"]["inputs"] == WHOLE


@pytest.mark.parametrize("name", ["a.png", "a.mp4"])
def test_a_file_without_a_workflow_says_so(tmp_path, name):
    (video if name == "a.mp4" else picture)(tmp_path / name, {})
    with pytest.raises(WorkflowError, match=f"{name}: holds no workflow"):
        load(tmp_path / name, INFOS)
    (tmp_path / name).write_bytes(io.BytesIO(b"cut short").read())
    with pytest.raises(WorkflowError, match=f"{name}: cannot be read"):
        load(tmp_path / name, INFOS)


@pytest.mark.parametrize(
    "data, words",
    [
        ({"1": {"class_type": 5, "inputs": {}}}, "node 1.class_type must be a string, found 5"),
        ({"1": {"class_type": "Save", "inputs": [1]}}, "node 1.inputs must be an object"),
        ({"1": {"class_type": "Save", "_meta": "x"}}, "node 1._meta must be an object"),
        ({"prompt": {}, "extra_data": "x"}, "extra_data must be an object"),
        ({"nodes": [], "links": [[1, 2, 0]]}, "holds the link [1, 2, 0]; expected its id"),
        ({"nodes": [], "definitions": [1]}, "definitions must be an object, found [1]"),
    ],
)
def test_files_of_the_wrong_shape_are_named(data, words):
    with pytest.raises(WorkflowError) as refused:
        read(data, INFOS)
    assert words in str(refused.value)


def test_subgraphs_without_end_are_refused_before_they_are_opened():
    def many(n):
        inner = [{"id": i, "type": f"s{n + 1}"} for i in range(10)]
        return {"id": f"s{n}", "nodes": inner, "links": []}

    bomb = {"nodes": [{"id": 1, "type": "s0"}], "definitions": {"subgraphs": [many(n) for n in range(9)]}}
    with pytest.raises(WorkflowError, match="at most 100000"):
        to_prompt(bomb, INFOS)
    bomb["definitions"]["subgraphs"][3]["nodes"][0]["type"] = "s1"
    with pytest.raises(WorkflowError, match="holds itself"):
        to_prompt(bomb, INFOS)
