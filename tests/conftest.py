"""A studio in this process, with real nodes and a small model of random weights, and a real browser on it."""

import asyncio
import json
import os
import shutil
import threading
import urllib.request
import warnings
from pathlib import Path

import pytest
from comfy_core import core  # noqa: F401  a real ComfyUI
from front_end import Visits

# Processes of tests that run side by side share the cores; more threads than cores wait for each other.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split() + ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # no other host is found
NEEDED = (
    "NOT TESTED: no browser. Install Debian's chromium (apt install chromium), "
    "or: python -m playwright install chromium"
)


@pytest.fixture(autouse=True)
def folders_stay(monkeypatch):
    """Commands move the host's folders, which the studio below reads from as well: each test puts them back."""
    from vdit.host import folders

    monkeypatch.setattr(folders, "current", folders.current)


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
    """Chromium for one file of tests: while it lives, its event loop runs in this thread and asyncio.run cannot."""
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
def visits(browser, studio):
    with Visits(browser, studio) as visits:
        yield visits


@pytest.fixture
def opened(visits):
    """Opens a template, as one who was never here before, in the page of the file's tests."""
    yield visits.open
    visits.check()


@pytest.fixture(scope="session")
def infos(studio):
    with urllib.request.urlopen(f"{studio}object_info") as answer:
        return json.load(answer)
