"""The core's own front end in a browser, on a real ComfyUI: every shipped workflow opens, becomes our prompt, and runs.

COMFYUI_PATH=/path/to/ComfyUI [COMFYUI_PYTHON=/its/python] pytest tests/test_comfyui_front_end.py
"""

from __future__ import annotations

import base64
import json
import shutil

import pytest
from comfy_core import COMFYUI, MISSING
from comfy_workflows import WORKFLOWS, opened, small
from vdit.host import workflow

pytestmark = pytest.mark.slow

if not COMFYUI:
    pytest.skip(f"{MISSING} to open the shipped workflows in its front end", allow_module_level=True)

RUN_LIMIT_MS = 300_000

CHROMIUM = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def page(core):
    """A page of the core's own front end, without other hosts. Fails on page errors, of our own while it loads."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="THE FRONT END IS NOT CHECKED: playwright is missing"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    errors = []
    with playwright.sync_playwright() as started:
        try:
            browser = started.chromium.launch(executable_path=chromium, args=CHROMIUM)
        except playwright.Error:
            pytest.skip("THE FRONT END IS NOT CHECKED: no chromium; install Debian's")
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(error.stack or str(error)))
        page.route(
            lambda url: "//127.0.0.1" not in url and not url.startswith(("data:", "blob:")), lambda route: route.abort()
        )
        page.goto(core.url)  # not by the deep link to a template: front ends as old as 1.27 have none
        page.wait_for_function(
            "() => window.app?.graph && 'VDiTLoadModel' in window.LiteGraph.registered_node_types", timeout=120_000
        )
        page.wait_for_load_state("networkidle")  # its own first graph would take the place of ours
        # 1.27 fails once by itself while it registers its settings
        errors[:] = [error for error in errors if "/extensions/vdit/" in error]
        yield page
        browser.close()
    assert not errors


# Sets widgets by the type of their node, presses Run as the button does, and waits for the end.
RUN = """async changes => {
    for (const [type, values] of Object.entries(changes))
        for (const node of app.graph.nodes.filter((node) => node.type === type))
            for (const [name, value] of Object.entries(values))
                node.widgets.find((widget) => widget.name === name).value = value;
    const end = new Promise((done) => {
        for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
            app.api.addEventListener(kind, (event) => done([kind, event.detail]), { once: true });
    });
    await app.queuePrompt(0, 1);
    const refused = Object.entries(app.lastNodeErrors ?? {});
    return JSON.stringify(refused.length ? ['refused', refused] : await end);
}"""


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_workflow_runs_from_the_front_end(core, page, path):
    ui, changes = opened(path), small(path, core.base / "models")
    page.evaluate("async () => { await app.refreshComboInNodes?.() }")
    page.evaluate("async ui => { await app.loadGraphData(ui) }", ui)
    before = set((core.base / "output").rglob("*.*"))
    end, detail = json.loads(page.evaluate(RUN, changes))
    assert end == "execution_success", detail
    assert set((core.base / "output").rglob("*.*")) - before, "something is saved"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_front_end_makes_the_same_prompt(core, page, path):
    ui = opened(path, core.infos)
    page.evaluate("async ui => { await app.loadGraphData(ui) }", ui)
    theirs = json.loads(page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)"))
    ours = workflow.to_prompt(ui, core.infos)
    for prompt in (theirs, ours):
        for node in prompt.values():
            node["_meta"].pop("cnr_id", None)  # only newer front ends note the pack
            node["inputs"].pop("video-preview", None)  # the front end's player, once a video has arrived
    assert theirs == ours


def test_a_video_of_the_hosts_dropped_into_the_editor_restores_its_graph(page, tmp_path):
    from fractions import Fraction

    import torch
    from vdit.host import video

    ui = json.loads(WORKFLOWS[0].read_text("utf-8"))
    frames = torch.rand(41, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    clip = video.VideoFromComponents(video.VideoComponents(frames, Fraction(8)))
    clip.save_to(tmp_path / "clip.mp4", metadata={"workflow": ui, "prompt": {}, "ai_generated": "true"})
    page.evaluate("() => app.graph.clear()")
    page.evaluate(
        """async text => {
        const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
        await app.handleFile(new File([bytes], "clip.mp4", { type: "video/mp4" }));
    }""",
        base64.b64encode((tmp_path / "clip.mp4").read_bytes()).decode(),
    )
    page.wait_for_function("app.graph.nodes.length > 0")
    types = json.loads(page.evaluate("() => JSON.stringify(app.graph.nodes.map(node => node.type))"))
    assert sorted(types) == sorted(node["type"] for node in ui["nodes"])


def test_a_scene_is_played_on_its_node(core, page):
    """Frames come over the core's own server, and the cup follows the mouse."""
    (path,) = (path for path in WORKFLOWS if path.stem == "play")
    play = "app.graph.nodes.find((node) => node.type === 'VDiTLive').vditLive"
    page.evaluate("async ui => { await app.loadGraphData(ui) }", opened(path))
    page.evaluate("""() => {
        const node = app.graph.nodes.find((node) => node.type === 'VDiTLive');
        app.canvas.ds.scale = 0.8;
        app.canvas.ds.offset = [200 - node.pos[0], 60 - node.pos[1]];
        app.canvas.setDirty(true, true);
    }""")
    kind, detail = json.loads(page.evaluate(RUN, {}))
    assert kind == "execution_success", detail
    page.wait_for_function(f"() => {play}.hasFrame && !{play}.state.yielding", timeout=RUN_LIMIT_MS)
    page.keyboard.press("Escape")  # closes the templates, with which newer front ends begin
    page.wait_for_function("() => !document.querySelector('[role=dialog]')")
    box = page.locator(".vdit-drawing[data-widget=recorded] canvas").bounding_box()
    page.mouse.move(box["x"] + 0.48 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.wait_for_function(f"() => {play}.state.holding === 'cup'", timeout=RUN_LIMIT_MS)
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.1 * box["height"], steps=5)
    page.wait_for_function(f"() => {play}.session.delays.length > 0 && {play}.seconds > 0.3", timeout=RUN_LIMIT_MS)
    page.mouse.up()
