"""VDiT Live as a person plays it: grabbed, pushed, flown through, kept and rendered, on the real front end."""

import json
import threading
import time
from contextlib import nullcontext

import pytest
from front_end import Visits, box_of, nodes_2, prompt_of, widget_values

pytestmark = pytest.mark.slow
NODE, WIDGET = "VDiTLive", "recorded"
ROOT = f".vdit-drawing[data-widget={WIDGET}]"
STAGE, CANVAS = f"{ROOT} svg.vdit-surface", f"{ROOT} canvas.vdit-live"
PLAY = "app.graph.nodes.find((node) => node.type === 'VDiTLive').vditLive"
CUP = (0.48, 0.3)  # a place on the cup of the photograph, in shares of the frame
FREED_S = 20  # longer than any server needs that notices at all, also on a busy machine
# A number that changes with the picture that is shown.
PIXELS = f"""() => {{
    const canvas = document.querySelector('{CANVAS}');
    const {{ data }} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let sum = 0;
    for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + data[i + 1]) % 1000003;
    return sum;
}}"""
GAMEPAD = """(axes) => {
    const buttons = Array.from({ length: 17 }, () => ({ pressed: false, value: 0 }));
    navigator.getGamepads = () => [{ connected: true, axes, buttons }];
}"""


@pytest.fixture(scope="module", params=["classic", "nodes 2.0"])
def renderer(request):
    return nullcontext if request.param == "classic" else nodes_2


@pytest.fixture(scope="module")
def visits(browser, studio, renderer):
    with Visits(browser, studio) as visits, renderer(visits.open("play")):
        yield visits


@pytest.fixture
def page(visits):
    """The photograph's cup, after a run: it stands there and waits for ▶."""
    page = opened(visits, "play")
    yield page
    visits.check()


def opened(visits, name):
    page = visits.open(name)
    page.wait_for_selector(STAGE, state="attached")
    page.evaluate("""() => {
        window.sent = [];
        const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (text) {
            if (this.url.endsWith('/vdit/live')) window.sent.push(JSON.parse(text));
            return send.apply(this, arguments);
        };
        const node = app.graph.nodes.find((node) => node.type === 'VDiTLive');
        app.canvas.ds.scale = 1;
        app.canvas.ds.offset = [60 - node.pos[0], 70 - node.pos[1]];
        app.canvas.setDirty(true, true);
    }""")
    run(page)
    settled(page)
    return page


def run(page):
    page.evaluate("""() => {
        window.ended = [];
        for (const kind of ['execution_success', 'execution_error'])
            app.api.addEventListener(kind, ({ detail }) => window.ended.push(detail.exception_message ?? kind));
    }""")
    page.click('[data-testid="queue-button"]')
    page.wait_for_function("() => window.ended.length")
    assert page.evaluate("() => window.ended") == ["execution_success"]


def settled(page):
    """Waits until the scene's first frame is shown and stands still on the screen."""
    ready = f"{PLAY}.session?.isOpen && {PLAY}.hasFrame && !{PLAY}.state.yielding"
    page.wait_for_function(f"() => {PLAY}?.problem || ({ready})")
    assert (page.evaluate(f"() => {PLAY}.problem") or "") == ""
    page.wait_for_function(
        f"""() => {{
        const now = JSON.stringify(document.querySelector('{CANVAS}').getBoundingClientRect());
        const same = window.boxBefore === now;
        window.boxBefore = now;
        return same;
    }}""",
        polling=200,
    )


def place(page, share):
    x, y, width, height = box_of(page, CANVAS)
    return x + share[0] * width, y + share[1] * height


def drag(page, *shares, steps=8):
    first, *others = (place(page, share) for share in shares)
    page.mouse.move(*first)
    page.mouse.down()
    for other in others:
        page.mouse.move(*other, steps=steps)
    page.mouse.up()


def press(page, text):
    page.click(f"{ROOT} button:has-text('{text}')")


def sent(page, kind):
    return [message for message in page.evaluate("() => window.sent") if message["type"] == kind]


def changes_from(page, before):
    page.wait_for_function(f"(before) => ({PIXELS})() !== before", arg=before)


def kept(page, test="text"):
    page.wait_for_function(f"() => {{ const text = {PLAY}.widget.value; return {test}; }}")
    text = widget_values(page, NODE)[WIDGET]
    return json.loads(text) if text else None


def sessions():
    """The threads of sessions that the studio plays, which runs in this process."""
    return {thread for thread in threading.enumerate() if thread.name == "vdit-live"}


def test_a_thing_is_grabbed_and_the_picture_follows(page):
    before = page.evaluate(PIXELS)
    drag(page, CUP, (0.7, 0.2))
    changes_from(page, before)
    page.wait_for_function(f"() => {PLAY}.session.delays.length > 0")  # frames say which messages they show
    assert [len(sent(page, kind)) > 0 for kind in ("play", "grab", "move", "drop")] == [True] * 4
    grab = sent(page, "grab")[0]
    assert abs(grab["x"] - CUP[0]) < 0.02 and abs(grab["y"] - CUP[1]) < 0.02


def test_space_pauses_and_a_paused_scene_stands_still_until_a_step(page):
    press(page, "▶")
    page.wait_for_function(f"() => !{PLAY}.state.paused && {PLAY}.seconds > 0.2")
    page.keyboard.press("Space")
    page.wait_for_function(f"() => {PLAY}.state.paused")
    page.wait_for_function(
        f"""() => {{
        const same = window.secondsBefore === {PLAY}.seconds;
        window.secondsBefore = {PLAY}.seconds;
        return same;
    }}""",
        polling=500,
    )
    seconds = page.evaluate(f"() => {PLAY}.seconds")
    press(page, "▶❙")
    page.wait_for_function(f"(before) => {PLAY}.seconds > before", arg=seconds)


def test_keys_fly_the_camera_and_never_touch_the_graph(page):
    before = page.evaluate(PIXELS)
    page.click(STAGE, position={"x": 5, "y": 5})
    page.keyboard.press("Space")
    page.keyboard.down("d")
    changes_from(page, before)
    page.keyboard.up("d")
    assert [message["held"] for message in sent(page, "keys")] == [["d"], []]
    count = page.evaluate("() => app.graph.nodes.length")
    for key in ("Delete", "Backspace", "q", "w", "r", "m"):
        page.keyboard.press(key)
    assert page.evaluate("() => [app.graph.nodes.length, document.querySelectorAll('dialog[open]').length]") == [
        count,
        0,
    ]


def test_what_was_done_is_kept_in_the_node_and_undone_as_one_step(page):
    press(page, "Clear")
    drag(page, CUP, (0.75, 0.3))
    press(page, "Keep")
    found = kept(page)
    assert found["seconds"] > 0 and found["actions"]
    text = widget_values(page, NODE)[WIDGET]
    (node,) = [node for node in prompt_of(page).values() if node["class_type"] == NODE]
    assert node["inputs"][WIDGET] == text
    page.keyboard.press("Control+z")
    kept(page, "text === ''")
    page.keyboard.press("Control+Shift+z")
    kept(page)
    settled(page)
    assert len(sent(page, "open")) == 1, "the session goes on"
    before = page.evaluate(PIXELS)
    drag(page, CUP, (0.3, 0.2))
    changes_from(page, before)
    saved = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    page.evaluate("async (graph) => { await app.loadGraphData(graph); }", saved)
    page.wait_for_function(f"() => {PLAY}?.widget.value")
    assert widget_values(page, NODE)[WIDGET] == text


def test_depth_and_masks_are_shown_in_its_place(page):
    before = page.evaluate(PIXELS)
    for view in ("Depth", "Masks"):
        press(page, view)
        changes_from(page, before)
        before = page.evaluate(PIXELS)
    assert page.is_disabled(f"{ROOT} button:has-text('Painted')"), "there is no model to paint with"


def test_gravity_wind_material_and_an_arrow_reach_the_scene(page):
    page.fill(f"{ROOT} input[aria-label=Gravity]", "1.62")
    page.fill(f"{ROOT} input[aria-label='Wind →']", "4")
    page.select_option(f"{ROOT} select[aria-label=Material]", "rubber")
    press(page, "Push")
    drag(page, CUP, (0.8, 0.3))
    page.wait_for_function("() => window.sent.some(({ type }) => type === 'push')")
    given = sent(page, "set")
    assert {"gravity": 1.62}.items() <= given[0].items() and given[1]["wind"] == [4, 0, 0]
    assert given[2]["material"] == ["cup", "rubber"]
    (push,) = sent(page, "push")
    assert abs(push["from"][0] - CUP[0]) < 0.02 and abs(push["to"][0] - 0.8) < 0.02
    press(page, "⟲")
    assert page.input_value(f"{ROOT} input[aria-label=Gravity]") == "9.81"


def test_keys_and_a_gamepad_drive_a_robot(visits):
    page = opened(visits, "play-robot")
    sliders = f"{ROOT} .vdit-actuators input"
    first = page.locator(sliders).first
    before = float(first.input_value())
    page.click(STAGE, position={"x": 5, "y": 5})
    page.keyboard.down("r")
    page.wait_for_function(f"(before) => Number(document.querySelector('{sliders}').value) > before", arg=before)
    page.keyboard.up("r")
    assert sent(page, "set")[0].keys() >= {"actuator", "value"}
    raised = float(first.input_value())
    page.evaluate(GAMEPAD, [-1, 0, 0, 0])
    page.wait_for_function(f"(raised) => Number(document.querySelector('{sliders}').value) < raised", arg=raised)
    visits.check()


def test_a_closed_tab_frees_its_session(visits, browser, studio):
    before = sessions()
    with Visits(browser, studio) as others:
        page = opened(others, "play")
        assert len(sessions() - before) == 1
        mine = sessions() - before
        page.close()
        end = time.monotonic() + FREED_S
        while mine & sessions() and time.monotonic() < end:
            time.sleep(0.1)
        assert not mine & sessions()
