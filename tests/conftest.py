"""A studio in this process, with real nodes and a small model of random weights, and a real browser on it."""

import asyncio
import json
import os
import shutil
import sys
import threading
import urllib.request
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # helpers beside the tests
from comfy_core import core  # noqa: E402, F401  a real ComfyUI

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
SLOW = 180_000  # ms; the front end takes seconds to start, and a minute where other work has the cores
NEEDED = (
    "NOT TESTED: no browser. Install Debian's chromium (apt install chromium), "
    "or: python -m playwright install chromium"
)


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    """The address of a running studio, ending in "/"; its folders are temporary ones."""
    from fakes import random_world_model
    from vdit.host import folders, server
    from vdit.model.files import bundle

    base = tmp_path_factory.mktemp("studio")
    patch = pytest.MonkeyPatch()
    patch.setattr(folders, "current", folders.Folders(base))
    weights = base / "random.safetensors"
    bundle.save_world_model(random_world_model(0, controls=True), weights)
    patch.setattr(bundle, "BUNDLED", weights)
    student = random_world_model(0, controls=True, student=True)
    for name in ("vdit-small-student", "vdit-small-student-lite"):
        bundle.save_world_model(student, base / f"{name}.safetensors")

    urls: list[str] = []
    is_ready, loop = threading.Event(), asyncio.new_event_loop()

    def ready(url):
        urls.append(url)
        is_ready.set()

    task = loop.create_task(server.serve(port=0, ready=ready))
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])), daemon=True)
    thread.start()
    assert is_ready.wait(30), "the studio did not start"
    yield urls[0]
    loop.call_soon_threadsafe(task.cancel)
    thread.join(10)
    patch.undo()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = os.environ.get("VDIT_CHROMIUM") or shutil.which("chromium") or (own if Path(own).exists() else None)
        if path is None:
            warnings.warn(NEEDED, stacklevel=1)
            pytest.skip(NEEDED)
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(browser, studio):
    """Opens a template by its deep link, as in a browser of its own that was never here before; options: the context's.

    Checks at the end that no page raised and none asked another host.
    """
    contexts, faults, foreign = [], [], []

    def only_here(route):
        if route.request.url.startswith((studio, "data:", "blob:")):
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    def open_template(name, **options):
        contexts.append(browser.new_context(viewport={"width": 1600, "height": 900}, **options))
        contexts[-1].route("**/*", only_here)
        page = contexts[-1].new_page()
        page.set_default_timeout(SLOW)
        page.on("pageerror", lambda fault: faults.append(f"{name}: {fault}"))
        page.goto(f"{studio}?template={name}&source=vdit")
        page.wait_for_function(
            "(name) => window.app?.extensionManager?.workflow?.activeWorkflow?.filename === name", arg=name
        )
        page.wait_for_function("window.app?.graph?.nodes?.length > 0")
        return page

    yield open_template
    for context in contexts:
        context.close()
    assert faults == []
    assert foreign == []


@pytest.fixture(scope="module")
def infos(studio):
    with urllib.request.urlopen(f"{studio}object_info") as answer:
        return json.load(answer)
