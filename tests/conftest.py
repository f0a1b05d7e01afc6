"""A studio in this process for the server's and the browser's tests: real nodes, a small model of random weights."""

import asyncio
import threading

import pytest


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    """The address of a running studio, ending in "/"; its folders are temporary ones."""
    from vdit.host import folders, server
    from vdit.model import checkpoint

    base = tmp_path_factory.mktemp("studio")
    patch = pytest.MonkeyPatch()
    patch.setattr(folders, "_base", base)
    patch.setattr(folders, "_moved", {})
    weights = base / "random.safetensors"
    checkpoint.save_world_model(checkpoint.random_world_model(0), weights)
    patch.setattr(checkpoint, "BUNDLED", weights)

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
