"""The studio as a person uses it: the real ComfyUI front end in a real browser, driven by playwright.

Takes Debian's chromium or Playwright's own; with neither, every test here is skipped and says so.
"""

import json
from pathlib import Path

import pytest
from front_end import nodes_2, overlapping, prompt_of, set_widgets, widget_values
from other_nodes import OTHERS
from vdit.host import overrides
from vdit.host.workflow import load, read, to_prompt

pytestmark = pytest.mark.slow
PACK = Path(__file__).resolve().parent.parent
# Graphs of nodes that only a core has are opened in its front end, by tests/test_comfyui_front_end.py.
WORKFLOWS = sorted(
    path
    for path in (PACK / "workflows").glob("*.json")
    if not any(node["type"] in OTHERS for node in json.loads(path.read_text("utf-8"))["nodes"])
)

KEEP_EVENTS = """() => {
    window.seen = [];
    for (const kind of ['execution_start', 'execution_cached', 'executing', 'progress', 'executed',
                        'b_preview_with_metadata', 'execution_success', 'execution_error', 'execution_interrupted'])
        app.api.addEventListener(kind, (event) =>
            window.seen.push([kind, kind.startsWith('b_') ? null : event.detail]));
}"""


@pytest.fixture
def opened(opened):
    def open_template(name):
        page = opened(name)
        wait_for_graph(page)
        return page

    return open_template


@pytest.fixture
def page(opened):
    """The first-frame workflow, made small so that a run takes a second or two."""
    page = opened("first-frame-to-video")
    set_widgets(page, "VDiTSample", seconds=1.0, steps=4)
    return page


def wait_for_graph(page):
    page.wait_for_function("window.app?.graph?.nodes?.some((node) => node.type?.startsWith('VDiT'))")
    page.evaluate(KEEP_EVENTS)


def seen(page):
    return json.loads(page.evaluate("() => JSON.stringify(window.seen)"))


def press_run(page, until="execution_success"):
    page.evaluate("() => { window.seen.length = 0; }")
    page.click('[data-testid="queue-button"]')
    ends = json.dumps([until, "execution_error"])
    page.wait_for_function(f"() => window.seen.some(([kind]) => {ends}.includes(kind))")
    events = seen(page)
    assert until in [kind for kind, _ in events], events[-1]
    return events


def ran(events):
    return [detail for kind, detail in events if kind == "executing" and detail is not None]


def ids(page):
    """Node type -> id, as in the graph."""
    return {kind: str(id) for kind, id in page.evaluate("() => app.graph.nodes.map((node) => [node.type, node.id])")}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_our_prompt_is_the_front_ends_and_no_node_lies_on_another(opened, infos, path):
    page = opened(path.stem)
    assert load(path, infos).prompt == prompt_of(page)
    assert not overlapping(page.evaluate("() => app.graph.nodes.map((n) => [n.title, ...n.pos, ...n.size])"))


def test_our_prompt_is_the_front_ends_for_all_that_an_editor_can_do(opened, infos):
    """Bypass, mute, reroute, primitive, subgraph, a date in a name: put into a shipped workflow by the editor."""
    page = opened("first-last-frame")
    page.evaluate("""() => {
        const graph = app.graph, find = (type) => graph.nodes.find((node) => node.type === type);
        const add = (type) => { const node = LiteGraph.createNode(type); graph.add(node); return node; };
        find('ImageScale').mode = 4;
        const preview = add('PreviewImage');
        find('VDiTDecode').connect(0, preview, 0);
        preview.mode = 2;
        const reroute = add('Reroute');
        find('VDiTLoadModel').connect(0, reroute, 0);
        reroute.connect(0, find('VDiTSample'), find('VDiTSample').findInputSlot('model'));
        const primitive = add('PrimitiveNode'), sample = find('VDiTSample');
        primitive.connect(0, sample, sample.findInputSlot('steps'));
        primitive.widgets[0].value = 11;
        primitive.title = 'Steps';
        const name = find('SaveVideo').widgets.find((w) => w.name === 'filename_prefix');
        name.value = 'clips/%date:yyyy-MM-dd%/%Sample.seed%_%no.thing%_%VDiTSample.steps%' +
            '_%Steps.value%_%SaveVideo.format%';
    }""")
    compare(page, infos)
    page.evaluate("""() => {
        const inner = app.graph.nodes.filter((node) => ['VDiTDecode', 'ImageScale', 'VDiTSample'].includes(node.type));
        app.graph.convertToSubgraph(new Set(inner));
    }""")
    compare(page, infos)
    assert any(":" in node_id for node_id in prompt_of(page))
    page.evaluate("() => { app.graph.nodes.find((node) => node.subgraph).mode = 4; }")
    compare(page, infos)


def compare(page, infos):
    saved = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    theirs = prompt_of(page)
    assert to_prompt(saved, infos) == theirs


LOAD = "(workflow) => app.loadGraphData(workflow, true, true, null, { silentAssetErrors: true })"


@pytest.mark.parametrize("proxies, values", [(None, []), ([["-1", "seed"]], [9]), ([["6", "seed"]], ["words"])])
def test_a_graph_that_set_has_changed_is_read_by_the_front_end_as_it_was_run(opened, infos, proxies, values):
    graph = json.loads((PACK / "subgraphs" / "Preview, pick, render.json").read_text("utf-8"))
    (instance,) = graph["nodes"]
    instance["properties"] = {} if proxies is None else {"proxyWidgets": proxies}
    instance["widgets_values"] = values
    output = {"name": "INT", "type": "INT", "widget": {"name": "steps"}, "links": [77]}
    box = {"pos": [0, 0], "size": [200, 80], "flags": {}, "order": 0, "mode": 0, "properties": {}}
    inner = graph["definitions"]["subgraphs"][0]
    render = next(node for node in inner["nodes"] if node["type"] == "VDiTSample")
    slot = next(slot for slot, entry in enumerate(render["inputs"]) if entry["name"] == "steps")
    render["inputs"][slot]["link"] = 77
    primitive = {
        "id": 99,
        "type": "PrimitiveNode",
        "title": "Steps",
        "outputs": [output],
        "widgets_values": [5, "fixed"],
    }
    inner["nodes"].append({**box, **primitive})
    ends = {"origin_id": 99, "origin_slot": 0, "target_id": render["id"], "target_slot": slot}
    inner["links"].append({"id": 77, **ends, "type": "INT"})
    page = opened("text-to-video")
    loaded = read(graph, infos)
    overrides.apply(loaded, ["Steps.value=3", f"{instance['id']}.pick=2", f"{instance['id']}.seed=12"], infos)
    page.evaluate(LOAD, loaded.ui)
    theirs = prompt_of(page)
    assert loaded.prompt == theirs and {3, 12} <= {
        v for n in theirs.values() for v in n["inputs"].values() if type(v) is int
    }


def test_run_shows_progress_the_forming_video_and_the_video(page):
    set_widgets(page, "VDiTSample", seed=101, steps=64)  # of eight, all can be over before a picture is coded
    events = press_run(page)
    kinds = [kind for kind, _ in events]
    assert kinds.index("progress") < kinds.index("executed") and "b_preview_with_metadata" in kinds
    steps = [
        detail["value"] for kind, detail in events if kind == "progress" and detail["node"] == ids(page)["VDiTSample"]
    ]
    assert set(range(65)) <= set(steps)
    (saved,) = [detail["output"] for kind, detail in events if kind == "executed" and "animated" in detail["output"]]
    assert saved["images"][0]["filename"].endswith(".mp4")
    page.wait_for_function(
        "() => [...document.querySelectorAll('video')].some((video) => video.videoWidth > 0 && video.duration > 1)"
    )


def test_the_same_again_runs_nothing_and_another_seed_only_sampling_and_what_follows(page):
    types = {id: kind for kind, id in ids(page).items()}
    set_widgets(page, "VDiTSample", seed=102)
    press_run(page)
    assert ran(press_run(page)) == []
    set_widgets(page, "VDiTSample", seed=103)
    again = [types[str(id)] for id in ran(press_run(page))]
    assert again[0] == "VDiTSample" and again[-1] == "SaveVideo"
    assert not {"VDiTLoadModel", "LoadImage", "VDiTEncodeConditioning"} & set(again)


def test_cancel_stops_the_run_and_the_next_one_works(page):
    set_widgets(page, "VDiTSample", seed=104, steps=1000)
    page.evaluate("() => { window.seen.length = 0; }")
    page.click('[data-testid="queue-button"]')
    page.wait_for_function("() => window.seen.some(([kind, detail]) => kind === 'progress' && detail.value > 1)")
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Interrupt')")
    page.wait_for_function("() => window.seen.some(([kind]) => kind === 'execution_interrupted')")
    steps = [detail["value"] for kind, detail in seen(page) if kind == "progress"]
    assert max(steps) < 1000
    set_widgets(page, "VDiTSample", steps=4)
    press_run(page)


def test_a_node_that_cannot_run_is_marked_with_its_reason_before_anything_runs(page):
    set_widgets(page, "VDiTSample", seconds=1.13)
    page.click('[data-testid="queue-button"]')
    page.wait_for_function("() => app.lastNodeErrors && Object.keys(app.lastNodeErrors).length", timeout=20_000)
    ((node, found),) = page.evaluate("() => Object.entries(app.lastNodeErrors)")
    assert node == ids(page)["VDiTSample"] and "nearest that fit" in str(found["errors"])
    page.wait_for_function("() => document.body.innerText.includes('nearest that fit')", timeout=20_000)


def test_a_workflow_survives_save_and_reload(page, studio):
    set_widgets(page, "VDiTSample", seed=4242)
    before = prompt_of(page)
    name = "workflows%2Fkept.json"
    page.evaluate(
        """async (name) => {
        const graph = app.graph.serialize();
        const options = {method: 'POST', body: JSON.stringify(graph)};
        const answer = await app.api.fetchApi(`/userdata/${name}?overwrite=true`, options);
        if (!answer.ok) throw new Error(`not saved: ${answer.status}`);
    }""",
        name,
    )
    page.goto(studio)
    page.wait_for_function("() => window.app?.graph != null && app.extensionManager?.workflow != null")
    page.evaluate("async (name) => app.loadGraphData(await (await app.api.fetchApi(`/userdata/${name}`)).json())", name)
    wait_for_graph(page)
    assert prompt_of(page) == before
    assert widget_values(page, "VDiTSample")["seed"] == 4242
    press_run(page)


def test_the_graph_works_in_nodes_2(page):
    with nodes_2(page):
        page.wait_for_selector("[data-node-id]")
        set_widgets(page, "VDiTSample", seed=4243)
        press_run(page)
        page.wait_for_function("() => [...document.querySelectorAll('video')].some((video) => video.videoWidth > 0)")
