"""Asks the front end itself for the prompts that tests/test_templates.py expects, and keeps their hashes.

    python -P tests/front_end_prompts.py http://127.0.0.1:8188 [a second front end's static folder]

The first argument is a running ComfyUI whose nodes and front end count. Only hashes and what the converter reads of
object_info are kept, in tests/fixtures/front_end_prompts.json, so that the tests need neither a core nor a browser.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import mimetypes
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import urlopen

from found_workflows import found
from mangled import mangled, nodes_of, subgraphs_of
from vdit.host.catalog import load_nodes, object_infos
from vdit.host.graph import VIRTUAL
from vdit.host.widgets import choices

FIXTURE = Path(__file__).parent / "fixtures" / "front_end_prompts.json"
EACH = 3  # generated files for every way to damage a workflow
REFUSED = "refused"
READ = "default forceInput control_after_generate image_upload video_upload audio_upload remote socketless".split()
READ += "widgetType dynamicPrompts multiline".split()
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync".split()
)
ASK = """async (workflow) => {
  const root = app.rootGraph ?? app.graph
  if (!root.watched) {
    root.watched = true
    const configure = root.configure
    root.configure = function (...args) {
      try { return configure.apply(this, args) } catch (error) { window.loadError = String(error); throw error }
    }
  }
  window.loadError = null
  Math.random = () => 0
  try {
    await app.loadGraphData(workflow, true, true, null, { silentAssetErrors: true })
    await new Promise((done) => setTimeout(done, 0))
    if (window.loadError) return JSON.stringify({ error: window.loadError })
    return JSON.stringify((await app.graphToPrompt()).output)
  } catch (error) { return JSON.stringify({ error: String(error) }) }
}"""


def templates() -> dict[str, dict]:
    """The official templates (comfyui-workflow-templates-json) by name."""
    spec = importlib.util.find_spec("comfyui_workflow_templates_json")
    assert spec is not None and spec.submodule_search_locations
    files = sorted((Path(spec.submodule_search_locations[0]) / "templates").glob("*.json"))
    read = {path.stem: json.loads(path.read_text("utf-8")) for path in files if not path.stem.startswith("index")}
    return {name: w for name, w in read.items() if isinstance(w, dict) and isinstance(w.get("nodes"), list)}


def known(workflows: dict[str, dict], infos: dict[str, dict]) -> dict[str, dict]:
    """Those whose nodes are all known."""

    def unknown(workflow: dict) -> set[str]:
        own = {subgraph["id"] for subgraph in subgraphs_of(workflow)}
        return {node["type"] for node in nodes_of(workflow)} - own - VIRTUAL - set(infos)

    return {name: workflow for name, workflow in workflows.items() if not unknown(workflow)}


def damaged(workflows: dict[str, dict]) -> dict[str, dict]:
    """The damaged files by name, found and generated."""
    return dict(found()) | dict(mangled(workflows, EACH))


def canonical(prompt: dict) -> str:
    """A hash of a prompt's node types and inputs; labels (_meta) are not part of it, and 1 is 1.0 as in JavaScript."""
    nodes = {node_id: [node["class_type"], _floats(node["inputs"])] for node_id, node in prompt.items()}
    return hashlib.sha256(json.dumps(nodes, sort_keys=True).encode()).hexdigest()[:16]


def _floats(value: object) -> object:
    if isinstance(value, dict):
        return {key: _floats(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_floats(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def reduced(infos: dict[str, dict], workflows: dict[str, dict]) -> dict[str, dict]:
    """What the converter reads of object_info, for the nodes of these workflows."""
    used = {node["type"] for workflow in workflows.values() for node in nodes_of(workflow)}
    return {
        name: {"name": name, "input": _reduced_inputs(info["input"]), "input_order": info.get("input_order") or {}}
        for name, info in sorted(infos.items())
        if name in used
    }


def _reduced_inputs(inputs: dict) -> dict:
    groups = {group: inputs.get(group) or {} for group in ("required", "optional")}
    return {
        group: {name: _reduced_spec(spec) for name, spec in specs.items()} for group, specs in groups.items() if specs
    }


def _reduced_spec(spec: list) -> list:
    """A combo keeps its first choice alone: it is what stands in for a missing value."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    kept = {key: options[key] for key in READ if key in options}
    if kind == "COMFY_DYNAMICCOMBO_V3":
        offered = [{"key": o["key"], "inputs": _reduced_inputs(o.get("inputs") or {})} for o in options["options"]]
        return [kind, {**kept, "options": offered}]
    offered = choices(spec)
    if isinstance(kind, list):
        return [kind[:1], kept]
    return [kind, kept | ({"options": offered[:1]} if offered else {})]


def asked(page, workflows: dict[str, dict], infos: dict[str, dict]) -> Iterator[tuple[str, str]]:
    """(name, hash) as the front end on that page says; REFUSED where it stops, or sends what no server takes."""
    for name, workflow in workflows.items():
        prompt = json.loads(page.evaluate(ASK, workflow))
        bad = "error" in prompt or any(node.get("class_type") not in infos for node in prompt.values())
        yield name, REFUSED if bad else canonical(prompt)


def opened(browser, url: str, infos: dict[str, dict], static: str | None):
    """A page of the core's front end, or of the one in the folder `static`."""
    page = browser.new_page()

    def answer(route) -> None:
        place = urlparse(route.request.url)
        file = Path(f"{static}{'/index.html' if place.path == '/' else place.path}")
        if place.path.endswith("/object_info"):
            route.fulfill(json=infos)
        elif static and file.is_file():
            route.fulfill(path=file, content_type=mimetypes.guess_type(file.name)[0] or "application/octet-stream")
        elif place.netloc == urlparse(url).netloc:
            route.continue_()
        else:
            route.abort()

    page.route("**/*", answer)
    page.set_default_timeout(120_000)
    page.goto(url)
    page.wait_for_function("window.app?.graph && window.app.extensionManager")
    page.wait_for_timeout(2500)
    return page


def main(url: str, static: str | None = None) -> None:
    from playwright.sync_api import sync_playwright

    core = json.load(urlopen(f"{url}/object_info", timeout=60))
    infos = object_infos(load_nodes()) | core
    whole, broken = known(templates(), core), damaged(known(templates(), core))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        first = opened(browser, url, infos, None)
        of_templates, of_damaged = dict(asked(first, whole, infos)), {}
        pages = [opened(browser, url, infos, front_end) for front_end in ([None, static] if static else [None])]
        for page in pages:
            for name, answer in asked(page, broken, infos):
                of_damaged.setdefault(name, []).append(answer)
        browser.close()
    kept = {"templates": of_templates, "damaged": of_damaged, "infos": reduced(infos, whole | dict(found()))}
    FIXTURE.write_text(json.dumps(kept, indent=0, separators=(",", ":")) + "\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
