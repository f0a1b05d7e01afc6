"""Marking objects on a picture and drawing arrows, as a person does it: on the real front end, in both renderers."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
from front_end import Visits, box_of, nodes_2, prompt_of
from PIL import Image
from vdit.host import folders
from vdit.lift.objects import read_selection

pytestmark = pytest.mark.slow
DISC = (
    0.4,
    0.5,
    0.17,
)  # centre and radius of a dark disc, in shares of the picture's width and height, and of its width
BOX = (0.2, 0.2), (0.6, 0.8)  # corners of a box around it
OBJECTS, ARROWS = ("VDiTSceneFromPicture", "objects"), ("VDiTActions", "arrows")
PICTURE, DRAWING = (f".vdit-drawing[data-widget={name}] svg.vdit-surface > svg" for name in ("objects", "arrows"))
OUTLINE = f"{PICTURE} .vdit-outline"
NODES = [
    {"id": 1, "type": "LoadImage", "pos": [20, 60], "size": [200, 260], "widgets_values": ["disc.png", "image"]},
    {"id": 2, "type": "VDiTSceneFromPicture", "pos": [260, 60], "size": [520, 640]},
    {"id": 3, "type": "VDiTActions", "pos": [820, 60], "size": [520, 700]},
]
CONNECT = """() => {
    for (const [from, to, type] of [[1, 2, 'IMAGE'], [2, 3, 'VDIT_SCENE']]) {
        const node = app.graph.getNodeById(to);
        app.graph.getNodeById(from).connect(0, node, node.inputs.findIndex((input) => input.type === type));
    }
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [40, 0];
    app.canvas.setDirty(true, true);
}"""


def show_disc():
    y, x = np.mgrid[:200, :300] + 0.5
    inside = np.hypot(x - DISC[0] * 300, y - DISC[1] * 200) < DISC[2] * 300
    noise = np.random.default_rng(0).integers(-6, 6, (200, 300, 3))
    colors = np.where(inside[..., None], (40, 60, 120), (200, 190, 170)) + noise
    Image.fromarray(colors.astype(np.uint8)).save(folders.directory("input") / "disc.png")


@pytest.fixture(scope="module", params=["classic", "nodes 2.0"])
def visits(browser, studio, request):
    """A front end, started once for each renderer because that takes seconds."""
    show_disc()
    renderer = nodes_2 if request.param == "nodes 2.0" else nullcontext
    with Visits(browser, studio) as visits, renderer(visits.open("drop-it")):
        yield visits


@pytest.fixture
def page(visits):
    """A picture, the scene that is made of it, and actions on it: nothing is marked yet."""
    page = visits.contexts[0].pages[0]
    nodes = [{"flags": {}, "order": i, "mode": 0, "properties": {}, **node} for i, node in enumerate(NODES)]
    graph = {
        "version": 0.4,
        "last_node_id": 3,
        "last_link_id": 0,
        "nodes": nodes,
        "links": [],
        "groups": [],
        "extra": {},
    }
    page.evaluate("async (graph) => { await app.loadGraphData(graph); }", graph)
    page.evaluate(CONNECT)
    settle(page)
    yield page
    visits.check()


def settle(page):
    """Waits until the picture is shown by both widgets and stands still."""
    page.wait_for_function(
        """() => {
        const shown = [...document.querySelectorAll('.vdit-drawing svg.vdit-surface > svg > image')];
        const now = JSON.stringify(shown.map((each) => each.getBoundingClientRect()));
        const same = shown.length > 1 && window.boxesBefore === now;
        window.boxesBefore = now;
        return same;
    }""",
        polling=200,
    )


def value(page, which, test="true"):
    """The widget's JSON, once a JavaScript test of `data` holds; None while it is empty."""
    arg, find = list(which), "app.graph.nodes.find((n) => n.type === type).widgets.find((w) => w.name === name).value"
    page.wait_for_function(
        f"([type, name]) => {{ const text = {find}; const data = text ? JSON.parse(text) : null; return {test}; }}",
        arg=arg,
    )
    text = page.evaluate(f"([type, name]) => {find}", arg)
    return json.loads(text) if text else None


def places(page, selector, shares):
    x, y, width, height = box_of(page, selector)
    return [(x + a * width, y + b * height) for a, b in shares]


def drag(page, selector, *shares):
    """Presses at the first place, moves through the others, lets go; places in shares of the element's box."""
    first, *others = places(page, selector, shares)
    page.mouse.move(*first)
    page.mouse.down()
    for place in others:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def press(page, widget, text):
    page.click(f".vdit-drawing[data-widget={widget}] button:has-text('{text}')")


def says(page, widget):
    return page.text_content(f".vdit-drawing[data-widget={widget}] .vdit-says")


def outlined(page):
    """Marks the disc with a box and waits for its outline."""
    drag(page, PICTURE, *BOX)
    page.wait_for_selector(OUTLINE, state="attached")


def test_a_box_on_a_picture_becomes_an_outlined_object_in_the_prompt(page):
    outlined(page)
    (object,) = value(page, OBJECTS)["objects"]
    assert np.allclose(object["box"], (*BOX[0], *BOX[1]), atol=0.02)
    text = prompt_of(page)["2"]["inputs"]["objects"]
    assert read_selection(text).objects[0].name == "object 1"
    (x0, y0, *size), (x, y, width, height) = box_of(page, f"{PICTURE} > image"), box_of(page, OUTLINE)
    middle = (x + width / 2 - x0) / size[0], (y + height / 2 - y0) / size[1]
    assert np.allclose(middle, DISC[:2], atol=0.02) and abs(width / size[0] - 2 * DISC[2]) < 0.04


def test_name_and_material_survive_undo_and_a_reload(page):
    outlined(page)
    page.fill("input[aria-label='Name of object 1']", "cup")
    page.keyboard.press("Enter")
    page.select_option("select[aria-label='Material of object 1']", "ceramic")
    value(page, OBJECTS, "data.objects[0].name === 'cup' && data.objects[0].material === 'ceramic'")
    page.keyboard.press("Control+z")
    value(page, OBJECTS, "data.objects[0].material === 'wood'")
    page.keyboard.press("Control+z")
    value(page, OBJECTS, "data.objects[0].name === 'object 1'")
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+Shift+z")
    kept = value(page, OBJECTS, "data.objects[0].material === 'ceramic'")
    page.evaluate("async () => { await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize()))); }")
    assert value(page, OBJECTS) == kept
    page.wait_for_selector(OUTLINE, state="attached")
    assert page.input_value("input[aria-label='Name of object 1']") == "cup"


def test_brush_adds_and_erase_takes_away_from_the_same_object_after_an_undo_too(page):
    outlined(page)
    press(page, "objects", "Brush")
    drag(page, PICTURE, (0.4, 0.5), (0.75, 0.5))
    value(page, OBJECTS, "data.objects[0].strokes.length === 1")
    press(page, "objects", "Erase")
    drag(page, PICTURE, (0.7, 0.4), (0.7, 0.6))
    value(page, OBJECTS, "data.objects[0].strokes.length === 2")
    page.keyboard.press("Control+z")
    value(page, OBJECTS, "data.objects[0].strokes.length === 1")
    settle(page)
    drag(page, PICTURE, (0.65, 0.4), (0.65, 0.6))
    (object,) = value(page, OBJECTS, "data.objects[0].strokes.length === 2")["objects"]
    assert [stroke["erase"] for stroke in object["strokes"]] == [False, True]


def test_clicks_boxes_and_delete_make_and_remove_objects(page):
    outlined(page)
    press(page, "objects", "+ New")
    press(page, "objects", "Click")
    page.mouse.click(*places(page, PICTURE, [(0.85, 0.2)])[0])
    first, second = value(page, OBJECTS, "data.objects.length === 2")["objects"]
    assert second["box"] is None and len(second["strokes"][0]["points"]) == 1 and second["name"] != first["name"]
    page.keyboard.press("Delete")
    assert value(page, OBJECTS, "data.objects.length === 1")["objects"] == [first]
    assert page.evaluate("() => app.graph.nodes.length") == 3


def test_the_horizon_is_guessed_until_it_is_dragged(page):
    grip = ".vdit-drawing[data-widget=objects] .vdit-horizon-grip"
    page.wait_for_selector("text=horizon, guessed", state="attached")
    x, y = places(page, grip, [(0.5, 0.5)])[0]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, places(page, PICTURE, [(0, 0.2)])[0][1], steps=4)
    page.mouse.up()
    ground = value(page, OBJECTS, "data?.ground?.horizon")["ground"]
    assert abs(ground["horizon"] - 0.2) < 0.02
    assert read_selection(prompt_of(page)["2"]["inputs"]["objects"]).ground.horizon == ground["horizon"]
    page.mouse.dblclick(*places(page, grip, [(0.5, 0.5)])[0])
    value(page, OBJECTS, "data === null")


def test_an_arrow_on_the_objects_picture_is_in_the_prompt_and_names_its_object(page):
    outlined(page)
    page.wait_for_selector(f"{DRAWING} .vdit-outline", state="attached")
    press(page, "arrows", "Throw")
    drag(page, DRAWING, (0.4, 0.5), (0.8, 0.3))
    (arrow,) = value(page, ARROWS, "data?.arrows.length === 1")["arrows"]
    assert arrow["kind"] == "throw" and np.allclose(arrow["points"], [(0.4, 0.5), (0.8, 0.3)], atol=0.02)
    assert json.loads(prompt_of(page)["3"]["inputs"]["arrows"])["arrows"] == [arrow]
    assert says(page, "arrows") == "Throw: object 1"
    page.fill("input[aria-label='Strength of arrow 1']", "2.5")
    page.keyboard.press("Enter")
    value(page, ARROWS, "data.arrows[0].strength === 2.5")
    page.keyboard.press("Control+z")
    value(page, ARROWS, "data.arrows[0].strength === 1")
    page.keyboard.press("Control+z")
    value(page, ARROWS, "data === null")


def test_a_copied_node_has_its_own_objects(page):
    outlined(page)
    page.evaluate("""() => {
        const node = app.graph.getNodeById(2);
        app.canvas.selectNode(node);
        app.canvas.copyToClipboard([node]);
        app.canvas.pasteFromClipboard();
    }""")
    texts = """() => app.graph.nodes.filter((n) => n.type === 'VDiTSceneFromPicture')
        .map((n) => n.widgets.find((w) => w.name === 'objects').value)"""
    first, copy = page.evaluate(texts)
    assert first == copy != ""
    page.wait_for_function("""() => app.graph.nodes.filter((n) => n.type === 'VDiTSceneFromPicture')
        .every((n) => n.widgets.find((w) => w.name === 'objects').element.isConnected)""")
    page.fill("input[aria-label='Name of object 1'] >> nth=0", "cup")
    page.keyboard.press("Enter")
    first, copy = (json.loads(text)["objects"][0]["name"] for text in page.evaluate(texts))
    assert {first, copy} == {"cup", "object 1"}


def test_a_picture_that_is_missing_and_a_server_without_outlines_are_said(page):
    page.route("**/vdit/select", lambda route: route.fulfill(status=404, body="Not Found"))
    try:
        drag(page, PICTURE, (0.1, 0.1), (0.65, 0.9))
        page.wait_for_selector("text=Outlines are shown after a run", state="attached")
        page.wait_for_selector(f"{PICTURE} .vdit-box", state="attached")
    finally:
        page.unroute("**/vdit/select")
    page.evaluate("() => { app.graph.getNodeById(1).widgets[0].value = 'gone.png'; }")
    page.wait_for_selector("text=The picture is not there any more", state="attached")


def test_drop_it_runs_as_it_is_opened_and_its_draft_plays_on_the_node(visits):
    """The shipped template, made small: what forms is shown, then the draft as a video that plays by itself."""
    page = visits.open("drop-it")
    page.wait_for_selector(".vdit-drawing[data-widget=arrows] .vdit-arrow", state="attached")
    page.evaluate("""() => {
        const { widgets } = app.graph.nodes.find((node) => node.type === 'VDiTSimulate');
        for (const [name, value] of [['seconds', 1], ['width', 192], ['height', 128], ['seed', Date.now() % 1e6]])
            widgets.find((widget) => widget.name === name).value = value;
        window.ended = [];
        for (const kind of ['execution_success', 'execution_error'])
            app.api.addEventListener(kind, (event) => window.ended.push([kind, event.detail.exception_message]));
        new MutationObserver(() => { window.formed ||= Boolean(document.querySelector('img.vdit-forming')); })
            .observe(document.body, {childList: true, subtree: true});
    }""")
    page.click('[data-testid="queue-button"]')
    page.wait_for_function("() => window.ended.length")
    assert page.evaluate("() => window.ended") == [["execution_success", None]]
    page.wait_for_function("() => document.querySelector('.vdit-screen video')?.currentTime > 0")
    assert page.evaluate("() => window.formed")
    assert page.text_content(".vdit-screen .vdit-line").startswith("17 frames of 192x128")
    visits.check()
