"""ComfyUI's front end in a real browser: its pages, what their graphs hold, and where nodes lie on the canvas."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PAGE_TIMEOUT_MS = 180_000  # the front end takes seconds to start, and a minute where other work has the cores
TITLE_BAR = 30  # pixels above a node's box


def overlapping(boxes):
    """Pairs of names of nodes (name, x, y, width, height) that lie on one another, title bars included."""
    return [
        (name, other)
        for i, (name, x, y, w, h) in enumerate(boxes)
        for other, x2, y2, w2, h2 in boxes[:i]
        if not (x + w <= x2 or x2 + w2 <= x or y + h <= y2 - TITLE_BAR or y2 + h2 <= y - TITLE_BAR)
    ]


@contextmanager
def templates(browser, studio) -> Iterator[Callable]:
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
        page.set_default_timeout(PAGE_TIMEOUT_MS)
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


@contextmanager
def nodes_2(page) -> Iterator[None]:
    """Inside, the page draws its nodes with the front end's newer renderer. The server keeps this setting."""
    use = "(on) => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
    page.evaluate(use, True)
    try:
        yield
    finally:
        page.evaluate(use, False)


def set_widgets(page, node, **values) -> None:
    """node: its type or its title."""
    page.evaluate(
        """([name, values]) => {
        const node = app.graph.nodes.find((node) => node.type === name || node.title === name);
        for (const [name, value] of Object.entries(values)) node.widgets.find((w) => w.name === name).value = value;
    }""",
        [node, values],
    )


def widget_values(page, node) -> dict:
    """Of all widgets of the node with this type or title."""
    return page.evaluate(
        """(name) => Object.fromEntries(app.graph.nodes.find((node) => node.type === name || node.title === name)
        .widgets.map((widget) => [widget.name, widget.value]))""",
        node,
    )


def prompt_of(page) -> dict:
    """As the front end would send it, less the player that it puts on a node once it shows a video."""
    prompt = json.loads(page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)"))
    for node in prompt.values():
        node["inputs"].pop("video-preview", None)
    return prompt
