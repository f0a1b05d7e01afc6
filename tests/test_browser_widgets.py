"""The drawing widgets as a person uses them: real pointers and keys on the real front end, with both node renderers."""

import json
import random
from contextlib import nullcontext

import pytest
import torch
from front_end import Visits, box_of, nodes_2, prompt_of, set_widgets, widget_values
from vdit.control.brush import read_strokes
from vdit.control.moves import from_keys, keys_of, move
from vdit.geometry.moves import EASINGS, PRESETS
from vdit.host.workflow import to_prompt

pytestmark = pytest.mark.slow
START = "text-to-video"  # any workflow: opening one keeps the Templates dialog away
GRAPH = {
    "version": 0.4,
    "last_node_id": 3,
    "last_link_id": 1,
    "nodes": [
        {
            "id": 1, "type": "LoadImage", "pos": [40, 120], "size": [300, 320],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
            "widgets_values": ["vdit-falling-ball.png", "image"],
        },
        {
            "id": 2, "type": "VDiTMotionBrush", "pos": [400, 120], "size": [420, 660],
            "inputs": [{"name": "start_image", "type": "IMAGE", "link": 1}],
            "widgets_values": ["", 41, 128, 128, "free"],
        },
        {
            "id": 3, "type": "VDiTCameraPath", "pos": [880, 120], "size": [540, 780],
            "widgets_values": ["static", 1, "smooth", 41, 40, 7, 8, "", "", 1, 0, 1],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    "groups": [],
    "extra": {},
}  # fmt: skip
for order, each in enumerate(GRAPH["nodes"]):
    each.update(flags={}, order=order, mode=0, properties={})
# The front end writes unsaved work into the browser's storage a moment after a change; here in two nodes, JSON in JSON.
UNSAVED_WORK_IS_KEPT = """(text) => {
    const kept = [localStorage, sessionStorage].flatMap((storage) => Object.values(storage)).join();
    return kept.split(JSON.stringify(text).slice(1, -1)).length > 2;
}"""
STROKES = ("VDiTMotionBrush", "strokes")
PATH = ("VDiTCameraPath", "path")


@pytest.fixture(scope="module", params=["classic", "nodes 2.0"])
def renderer(request):
    return nullcontext if request.param == "classic" else nodes_2


@pytest.fixture(scope="module")
def editor(browser, studio, renderer):
    """A front end, started once for each renderer because that takes seconds; `page` gives each test its own graph."""
    with Visits(browser, studio) as visits, renderer(page := visits.open(START)):
        yield page


@pytest.fixture
def page(editor):
    """The brush over a picture, and the camera path, both empty."""
    load_graph(editor, GRAPH)
    return editor


@pytest.fixture
def touch_page(browser, studio, renderer):
    """The same, on a screen of high density that fingers touch."""
    with Visits(browser, studio) as visits:
        with renderer(page := visits.open(START, device_scale_factor=2, has_touch=True)):
            load_graph(page, GRAPH)
            yield page


def load_graph(page, graph, scale=1.0, offset=(0, 0)):
    page.evaluate("async (graph) => { await app.loadGraphData(graph); }", graph)
    page.evaluate(
        """([scale, offset]) => {
        app.canvas.ds.scale = scale;
        app.canvas.ds.offset = offset;
        app.canvas.setDirty(true, true);
    }""",
        [scale, list(offset)],
    )
    settle(page, scale)


def settle(page, scale=1.0):
    """Waits until the drawings that are in sight stand still, at this zoom."""
    page.wait_for_function(
        """(scale) => {
        const boxes = [...document.querySelectorAll('.vdit-drawing svg.vdit-surface')].map((each) => {
            const { x, y, width, height } = each.getBoundingClientRect();
            return [x, y, width, height, width / each.clientWidth];
        }).filter((box) => box[2] > 0);
        const now = JSON.stringify(boxes);
        const zoomed = boxes.length > 0 && boxes.every((box) => Math.abs(box[4] - scale) < 0.01);
        const same = zoomed && window.boxesBefore === now;
        window.boxesBefore = now;
        return same;
    }""",
        arg=scale,
        polling=400,
    )


def value(page, node_type, name):
    return widget_values(page, node_type)[name]


def wait_value(page, which, test="text !== ''"):
    """Waits until a JavaScript test of the widget's text holds, and gives the text."""
    page.wait_for_function(
        f"""([type, name]) => {{
        const text = app.graph.nodes.find((n) => n.type === type)?.widgets.find((w) => w.name === name)?.value;
        return text !== undefined && ({test});
    }}""",
        arg=list(which),
    )
    return value(page, *which)


def strokes(page):
    text = value(page, *STROKES)
    return json.loads(text)["strokes"] if text else []


def keys(page):
    text = value(page, *PATH)
    return json.loads(text)["keys"] if text else []


PICTURE = ".vdit-drawing[data-widget=strokes] svg.vdit-surface > svg"
ABOVE, SIDE, TIME = (f".vdit-drawing[data-widget=path] svg[data-view={name}]" for name in ("above", "side", "time"))


def drag(page, selector, *shares):
    """Presses at the first place, moves through the others, lets go; places in shares of the element's box."""
    x, y, width, height = box_of(page, selector)
    places = [(x + a * width, y + b * height) for a, b in shares]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def click(page, selector, place, count=1):
    x, y, width, height = box_of(page, selector)
    place = (x + place[0] * width, y + place[1] * height)
    page.mouse.dblclick(*place) if count == 2 else page.mouse.click(*place)


def centre(page, selector, index=0):
    return page.evaluate(
        """([selector, index]) => {
        const { x, y, width, height } = document.querySelectorAll(selector)[index].getBoundingClientRect();
        return [x + width / 2, y + height / 2];
    }""",
        [selector, index],
    )


def press(page, widget, text):
    page.click(f".vdit-drawing[data-widget={widget}] button:has-text('{text}')")


def close_to(found, expected, by=0.012):
    return all(abs(a - b) <= by for a, b in zip(found, expected, strict=True))


# The brush


def test_a_stroke_is_drawn_undone_and_in_the_prompt(page, infos):
    assert prompt_of(page)["2"]["inputs"]["strokes"] == ""
    drag(page, PICTURE, (0.8, 0.2), (0.8, 0.5), (0.6, 0.9))
    text = wait_value(page, STROKES)
    (stroke,) = read_strokes(text)
    assert close_to(stroke.points[0], (0.8, 0.2)) and close_to(stroke.points[-1], (0.6, 0.9))
    assert prompt_of(page)["2"]["inputs"]["strokes"] == text
    saved = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    assert next(node for node in saved["nodes"] if node["id"] == 2)["widgets_values"][0] == text
    assert to_prompt(saved, infos) == prompt_of(page)

    drag(page, PICTURE, (0.2, 0.2), (0.4, 0.3))
    both = wait_value(page, STROKES, "JSON.parse(text).strokes.length === 2")
    page.keyboard.press("Control+z")
    assert wait_value(page, STROKES, "text && JSON.parse(text).strokes.length === 1") == text
    page.keyboard.press("Control+z")
    wait_value(page, STROKES, "text === ''")
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+Shift+z")
    assert wait_value(page, STROKES, "text && JSON.parse(text).strokes.length === 2") == both
    settle(page)
    assert page.locator(".vdit-start").count() == 2  # what is shown is the node of after the undo
    drag(page, PICTURE, (0.2, 0.6), (0.4, 0.6))
    wait_value(page, STROKES, "JSON.parse(text).strokes.length === 3")


def test_the_picture_of_load_image_lies_behind_the_strokes(page):
    shown = f"{PICTURE} > image"
    page.wait_for_selector(shown, state="attached")
    assert "vdit-falling-ball.png" in page.get_attribute(shown, "href")
    page.evaluate("() => { app.graph.getNodeById(1).widgets[0].value = 'vdit-ball-and-box-start.png'; }")
    page.wait_for_selector(f"{shown}[href*=ball-and-box-start]", state="attached")
    page.evaluate("""() => {
        const brush = app.graph.getNodeById(2);
        brush.disconnectInput(brush.findInputSlot('start_image'));
    }""")
    page.wait_for_selector("text=No picture yet", state="attached")


def test_the_brush_shows_the_video_s_frame(page):
    """A wide video of a square picture: drawn over the part of it that the video will show."""
    set_widgets(page, "VDiTMotionBrush", width=256)
    page.wait_for_function(f"""() => {{
        const frame = document.querySelector('{PICTURE}');
        return Math.abs(frame.getAttribute('width') / frame.getAttribute('height') - 2) < 0.01;
    }}""")


def test_each_stroke_has_its_own_size_softness_and_time(page):
    drag(page, PICTURE, (0.3, 0.2), (0.7, 0.2))
    drag(page, PICTURE, (0.3, 0.8), (0.7, 0.8))
    wait_value(page, STROKES, "text && JSON.parse(text).strokes.length === 2")
    click(page, PICTURE, (0.5, 0.2))
    for label, amount in (("Size", "0.2"), ("Softness", "0"), ("From", "0.25"), ("To", "0.75")):
        page.fill(f".vdit-drawing input[aria-label={label}]", amount)
        page.dispatch_event(f".vdit-drawing input[aria-label={label}]", "change")
    first, second = strokes(page)
    assert (first["radius"], first["falloff"], first["start"], first["end"]) == (0.2, 0, 0.25, 0.75)
    assert (second["radius"], second["start"], second["end"]) == (0.1, 0, 1)
    page.focus(".vdit-drawing input[aria-label=To]")
    page.keyboard.press("Control+z")  # in a slider: the drawing's own undo
    assert strokes(page)[0]["end"] == 1
    press(page, "strokes", "Undo")
    assert strokes(page)[0]["start"] == 0


def test_delete_takes_the_stroke_and_never_the_node(page):
    drag(page, PICTURE, (0.3, 0.2), (0.7, 0.2))
    drag(page, PICTURE, (0.3, 0.8), (0.7, 0.8))
    click(page, PICTURE, (0.5, 0.2))
    page.keyboard.press("Delete")
    (left,) = strokes(page)
    assert close_to(left["points"][0], (0.3, 0.8))
    page.keyboard.press("Delete")
    page.keyboard.press("Backspace")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate("() => app.graph.nodes.length") == 3
    press(page, "strokes", "Clear")
    assert value(page, *STROKES) == ""
    press(page, "strokes", "Undo")
    assert len(strokes(page)) == 1


def test_a_stroke_is_moved_by_its_number_and_by_arrow_keys(page):
    drag(page, PICTURE, (0.3, 0.3), (0.6, 0.3))
    drag(page, PICTURE, (0.3, 0.3), (0.4, 0.5))
    (stroke,) = strokes(page)
    assert close_to(stroke["points"][0], (0.4, 0.5)) and close_to(stroke["points"][-1], (0.7, 0.5))
    page.keyboard.press("Shift+ArrowUp")
    assert strokes(page)[0]["points"][0][1] == pytest.approx(stroke["points"][0][1] - 0.05, abs=1e-3)


def test_a_double_click_keeps_a_place_still(page):
    click(page, PICTURE, (0.5, 0.5), count=1)
    assert value(page, *STROKES) == ""
    click(page, PICTURE, (0.25, 0.75), count=2)
    (stroke,) = read_strokes(value(page, *STROKES))
    assert len(stroke.points) == 1 and close_to(stroke.points[0], (0.25, 0.75))


def test_a_drawing_survives_copy_and_paste_and_a_reload(page, studio):
    drag(page, PICTURE, (0.8, 0.2), (0.8, 0.8))
    text = wait_value(page, STROKES)
    page.evaluate("""() => {
        const node = app.graph.getNodeById(2);
        app.canvas.selectNode(node);
        app.canvas.copyToClipboard([node]);
        app.canvas.pasteFromClipboard();
    }""")
    copies = page.evaluate("""() => app.graph.nodes.filter((n) => n.type === 'VDiTMotionBrush')
        .map((n) => n.widgets.find((w) => w.name === 'strokes').value)""")
    assert copies == [text, text]
    saved = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    page.wait_for_function(UNSAVED_WORK_IS_KEPT, arg=text)
    page.goto(studio)
    page.wait_for_function("() => window.app?.graph?.nodes?.filter((n) => n.type === 'VDiTMotionBrush').length === 2")
    assert value(page, *STROKES) == text
    load_graph(page, saved)
    assert value(page, *STROKES) == text
    page.wait_for_selector(".vdit-start", state="attached")


def test_invalid_widget_text_is_preserved_and_reported(page):
    graph = json.loads(json.dumps(GRAPH))
    graph["nodes"][1]["widgets_values"][0] = '{"version": 7}'
    graph["nodes"][2]["widgets_values"][7] = "not JSON"
    load_graph(page, graph)
    assert value(page, *STROKES) == '{"version": 7}' and value(page, *PATH) == "not JSON"
    assert page.locator(".vdit-fault").count() == 2
    press(page, "strokes", "Clear")
    assert value(page, *STROKES) == ""


@pytest.mark.parametrize("scale", [0.6, 1.6])
def test_the_pointer_draws_under_itself_at_any_zoom(page, scale):
    load_graph(page, GRAPH, scale, offset=(-300, -60))
    drag(page, PICTURE, (0.25, 0.25), (0.7, 0.4))
    points = strokes(page)[0]["points"]
    assert close_to(points[0], (0.25, 0.25)) and close_to(points[-1], (0.7, 0.4))


def test_fingers_draw_on_a_screen_of_high_density(touch_page):
    page = touch_page
    x, y, width, height = box_of(page, PICTURE)
    touch = page.context.new_cdp_session(page)
    for kind, share in (("touchStart", 0.2), ("touchMove", 0.4), ("touchMove", 0.6), ("touchEnd", None)):
        points = [] if share is None else [{"x": x + share * width, "y": y + 0.5 * height}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    points = read_strokes(wait_value(page, STROKES))[0].points
    assert close_to(points[0], (0.2, 0.5)) and close_to(points[-1], (0.6, 0.5))


# The camera path


def test_a_path_is_clicked_dragged_undone_and_in_the_prompt(page):
    click(page, ABOVE, (0.8, 0.5))
    first, last = keys(page)
    assert (first["t"], first["position"], last["t"]) == (0, [0, 0, 0], 1)
    assert last["position"][0] > 0.5 and last["position"][1] == 0 and last["position"][2] > 0.5
    text = value(page, *PATH)
    assert len(keys_of(text)) == 2 and prompt_of(page)["3"]["inputs"]["path"] == text
    saved = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    assert next(node for node in saved["nodes"] if node["id"] == 3)["widgets_values"][7] == text

    grip = centre(page, f"{ABOVE} .vdit-key", 1)
    page.mouse.move(*grip)
    page.mouse.down()
    page.mouse.move(grip[0] - 40, grip[1], steps=4)
    page.mouse.up()
    assert keys(page)[1]["position"][0] < last["position"][0] - 0.3
    page.keyboard.press("Control+z")
    assert wait_value(page, PATH, f"text === {json.dumps(text)}") == text
    page.keyboard.press("Control+z")
    wait_value(page, PATH, "text === ''")
    settle(page)
    click(page, ABOVE, (0.2, 0.5))
    assert keys(page)[1]["position"][0] < 0


def test_a_camera_is_turned_and_raised(page):
    click(page, ABOVE, (0.6, 0.5))
    x, y = centre(page, f"{ABOVE} .vdit-key", 1)
    aim = centre(page, f"{ABOVE} .vdit-aim")
    page.mouse.move(*aim)
    page.mouse.down()
    page.mouse.move(x - 50, y, steps=6)
    page.mouse.up()
    assert keys(page)[1]["look"][0] == pytest.approx(-90, abs=3)
    x, y = centre(page, f"{SIDE} .vdit-key", 1)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 30, steps=4)
    page.mouse.up()
    assert keys(page)[1]["position"][1] < -0.3  # y points down: up is negative
    page.fill(".vdit-drawing input[aria-label=pitch]", "-12.5")
    page.keyboard.press("Enter")
    assert keys(page)[1]["look"][1] == -12.5


def test_keys_are_added_moved_and_deleted_on_the_time_line(page):
    click(page, ABOVE, (0.8, 0.5))
    click(page, TIME, (0.5, 0.35), count=2)
    first, middle, last = keys(page)
    assert middle["t"] == pytest.approx(0.5, abs=0.02)
    half = [value / 2 for value in last["position"]]  # smooth has gone half the way at half the time
    assert middle["position"] == pytest.approx(half, abs=0.05)
    drag(page, TIME, (0.5, 0.35), (0.7, 0.35))
    assert keys(page)[1]["t"] == pytest.approx(0.71, abs=0.03)
    page.keyboard.press("Delete")
    assert len(keys(page)) == 2
    press(page, "path", "Undo")
    assert len(keys(page)) == 3
    press(page, "path", "Clear")
    assert value(page, *PATH) == ""
    assert page.evaluate("() => app.graph.nodes.length") == 3


def test_a_second_double_click_continues_the_path_without_a_halt(page):
    click(page, ABOVE, (0.8, 0.6))
    click(page, ABOVE, (0.3, 0.3), count=2)
    assert [key["t"] for key in keys(page)] == [0, 0.5, 1]
    assert [key["ease"] for key in keys(page)][:2] == ["in", "out"]


def test_poses_in_the_front_end_equal_the_nodes(page):
    """poses.js against control/moves.py on random key frames."""
    rng = random.Random(5)
    for _ in range(5):
        times = [0, *sorted(rng.sample(range(1, 40), 2)), 40]
        frames = [
            {
                "t": t / 40,
                "position": [rng.uniform(-5, 5) for _ in range(3)],
                "look": [rng.uniform(-170, 170), rng.uniform(-80, 80), rng.uniform(-90, 90)],
                "fov_deg": rng.uniform(20, 90),
                "ease": rng.choice(["smooth", "linear", "in", "out"]),
            }
            for t in times
        ]
        path = from_keys(keys_of(json.dumps({"version": 1, "keys": frames})), 41)
        theirs = page.evaluate(
            """async (keys) => {
            const { poseAt, forwardOf } = await import('/extensions/vdit/poses.js');
            return Array.from({ length: 41 }, (_, i) => {
                const pose = poseAt(keys, i / 40);
                return [...pose.position, ...forwardOf(pose.look), pose.fov_deg];
            });
        }""",
            frames,
        )
        ours = torch.cat((path.c2w[:, :3, 3], path.c2w[:, :3, 2], path.fov_deg[:, None]), 1)
        assert torch.allclose(torch.tensor(theirs, dtype=torch.float64), ours, atol=1e-6)


def test_a_preset_is_shown_and_can_be_made_into_keys(page):
    set_widgets(page, "VDiTCameraPath", preset="orbit")
    page.wait_for_selector("text=Preset: orbit", state="attached")
    page.wait_for_selector(f"{ABOVE} .vdit-camera-path", state="attached")
    assert value(page, *PATH) == ""  # shown, not drawn: the preset still decides
    press(page, "path", "+ Key")
    made = keys_of(value(page, *PATH))
    ours, theirs = from_keys(made, 21), move("orbit", 1.0, "smooth", 21, 40.0, 7.0, 8.0)
    assert (ours.c2w - theirs.c2w).abs().max() < 0.1  # metres, on a way of 3.6


def test_presets_in_the_front_end_equal_the_nodes(page):
    """presets.js against control/moves.py."""
    for name in sorted(set(PRESETS) - {"handheld"}):
        for easing, amount, look_down in zip(EASINGS, (1, -2, 0.5, 3), (8, 0, -30, 20), strict=True):
            said = {"preset": name, "amount": amount, "easing": easing, "fov_deg": 35, "distance": 5,
                    "look_down_deg": look_down}  # fmt: skip
            theirs = page.evaluate(
                """async (said) => {
                const { presetPose } = await import('/extensions/vdit/presets.js');
                const { forwardOf } = await import('/extensions/vdit/poses.js');
                return Array.from({ length: 9 }, (_, i) => {
                    const pose = presetPose(said, i / 8);
                    return [...pose.position, ...forwardOf(pose.look), pose.look[2], pose.fov_deg];
                });
            }""",
                said,
            )
            path = move(name, amount, easing, 9, 35.0, 5.0, look_down)
            roll = torch.rad2deg(torch.atan2(path.c2w[:, 1, 0], path.c2w[:, 1, 1]))  # from where x and y point down
            ours = torch.cat((path.c2w[:, :3, 3], path.c2w[:, :3, 2], roll[:, None], path.fov_deg[:, None]), 1)
            assert torch.allclose(torch.tensor(theirs, dtype=torch.float64), ours, atol=1e-3), said


def test_a_picture_made_in_the_graph_is_shown_after_a_run(page):
    graph = json.loads(json.dumps(GRAPH))
    scale = {"id": 4, "type": "ImageScale", "pos": [40, 520], "size": [300, 130], "flags": {}, "order": 1, "mode": 0,
             "properties": {}, "inputs": [{"name": "image", "type": "IMAGE", "link": 1}],
             "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}],
             "widgets_values": ["lanczos", 256, 256, "disabled"]}  # fmt: skip
    shown = {"id": 5, "type": "PreviewImage", "pos": [40, 700], "size": [300, 200], "flags": {}, "order": 3, "mode": 0,
             "properties": {}, "inputs": [{"name": "images", "type": "IMAGE", "link": 3}], "outputs": []}  # fmt: skip
    graph["nodes"] += [scale, shown]
    graph["nodes"][1]["inputs"][0]["link"] = 2
    graph["nodes"][1]["outputs"] = [
        {"name": "flow", "type": "VDIT_FLOW", "links": []},
        {"name": "preview", "type": "IMAGE", "links": [3]},
    ]
    graph["links"] = [[1, 1, 0, 4, 0, "IMAGE"], [2, 4, 0, 2, 0, "IMAGE"], [3, 2, 1, 5, 0, "IMAGE"]]
    load_graph(page, graph)
    page.wait_for_selector(f"{PICTURE} > image[href*=falling-ball]", state="attached")  # the best guess before a run
    drag(page, PICTURE, (0.8, 0.2), (0.8, 0.8))
    page.click('[data-testid="queue-button"]')
    page.wait_for_selector(f"{PICTURE} > image[href*=vdit_brush]", state="attached")
    assert len(strokes(page)) == 1
