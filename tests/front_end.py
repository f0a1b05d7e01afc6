"""ComfyUI's front end in a real browser: its pages, what their graphs hold, and where nodes lie on the canvas."""

import json
from collections.abc import Iterator
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


class Visits:
    """Opens templates by their deep links, each as for a person who was never here before; a context manager.

    One page serves all, which is a third of the time that a new one takes; options ask for a context of its own.
    faults: what pages raised, and what they asked other hosts.
    """

    FORGET = "if (new URL(location).searchParams.has('template')) { localStorage.clear(); sessionStorage.clear(); }"

    def __init__(self, browser, studio):
        self.browser, self.studio = browser, studio
        self.contexts, self.faults = [], []

    def open(self, name, **options):
        """A page with the graph of this template; options: the browser context's."""
        page = self._new_page(**options) if options or not self.contexts else self.contexts[0].pages[0]
        page.goto("about:blank")
        page.goto(f"{self.studio}?template={name}&source=vdit")
        page.wait_for_function(
            "(name) => window.app?.extensionManager?.workflow?.activeWorkflow?.filename === name", arg=name
        )
        page.wait_for_function("window.app?.graph?.nodes?.length > 0")
        page.wait_for_function("window.app.api.clientId")  # who queues before that hears nothing of the run
        return page

    def _new_page(self, **options):
        context = self.browser.new_context(viewport={"width": 1600, "height": 900}, **options)
        self.contexts.append(context)
        context.add_init_script(self.FORGET)
        page = context.new_page()
        page.set_default_timeout(PAGE_TIMEOUT_MS)
        page.on("pageerror", lambda fault: self.faults.append(f"{page.url}: {fault}"))
        page.on("request", self._only_here)
        return page

    def _only_here(self, request):
        if not request.url.startswith((self.studio, "data:", "blob:", "about:")):
            self.faults.append(f"asked another host: {request.url}")

    def check(self):
        """Raises AssertionError where there were faults since the last check."""
        found, self.faults = self.faults, []
        assert found == []

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        for context in self.contexts:
            context.close()
        if raised == (None, None, None):
            self.check()


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


def box_of(page, selector: str) -> list[float]:
    """[x, y, width, height] of an element on the screen, in pixels of the page."""
    return page.evaluate(
        """(selector) => {
        const { x, y, width, height } = document.querySelector(selector).getBoundingClientRect();
        return [x, y, width, height];
    }""",
        selector,
    )


def prompt_of(page) -> dict:
    """As the front end would send it, less the player that it puts on a node once it shows a video."""
    prompt = json.loads(page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)"))
    for node in prompt.values():
        node["inputs"].pop("video-preview", None)
    return prompt
