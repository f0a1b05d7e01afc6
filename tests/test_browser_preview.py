"""Distill Preview as a person uses it: four takes play, one is clicked and rendered, the agreement stands below it."""

import json

import pytest
from front_end import nodes_2, prompt_of, set_widgets, widget_values

pytestmark = pytest.mark.slow
WATCH = """() => {
    window.seen = [];
    window.formed = 0;
    for (const kind of ['executed', 'execution_success', 'execution_error'])
        app.api.addEventListener(kind, (event) => window.seen.push([kind, event.detail]));
    new MutationObserver(() => { if (document.querySelector('img.vdit-forming')) window.formed += 1; })
        .observe(document.body, {childList: true, subtree: true});
}"""
PREVIEW, AGAINST = "Preview", "Preview against render"


@pytest.fixture
def page(opened):
    """The shipped workflow, made small, with nothing picked."""
    page = opened("distill-preview")
    page.wait_for_function(
        "() => app.graph.nodes.every((node) => !node.type.startsWith('VDiTDistill') || node.vditScreen)"
    )
    page.evaluate(WATCH)
    for title in (PREVIEW, AGAINST):
        set_widgets(page, title, seconds=1.0, steps=4)
    set_widgets(page, PREVIEW, seed=40, pick=-1)
    set_widgets(page, "Sample", steps=2)
    page.evaluate(
        "() => { app.canvas.ds.scale = 0.8; app.canvas.ds.offset = [-700, 60]; app.canvas.setDirty(true, true); }"
    )
    return page


def run(page):
    """Titles of the nodes that showed something."""
    page.evaluate("() => { window.seen.length = 0; }")
    page.click('[data-testid="queue-button"]')
    page.wait_for_function("() => window.seen.some(([kind]) => kind.startsWith('execution_'))")
    events = json.loads(page.evaluate("() => JSON.stringify(window.seen)"))
    assert events[-1][0] == "execution_success", events[-1]
    titles = dict(page.evaluate("() => app.graph.nodes.map((node) => [String(node.id), node.title])"))
    return [titles[detail["node"]] for kind, detail in events if kind == "executed"]


def takes(page, title):
    """What stands on the node: seeds, the picked one, the line, and how far the films have run."""
    return page.evaluate(
        """(title) => {
        const root = app.graph.nodes.find((node) => node.title === title).vditScreen.root;
        const tiles = [...root.querySelectorAll('.vdit-take')];
        return {
            seeds: tiles.map((tile) => tile.textContent),
            picked: tiles.filter((tile) => tile.ariaPressed === 'true').map((tile) => tile.textContent),
            line: root.querySelector('.vdit-line').textContent,
            films: tiles.map((tile) => tile.querySelector('.vdit-film').style.backgroundPosition),
            shown: root.isConnected,
        };
    }""",
        title,
    )


def click_take(page, seed):
    page.click(f'.vdit-take[title^="Seed {seed}:"]')


def inputs_of(page, title):
    return next(node["inputs"] for node in prompt_of(page).values() if node["_meta"]["title"] == title)


def test_four_takes_are_shown_while_they_form_and_nothing_is_rendered_yet(page):
    set_widgets(page, PREVIEW, seed=20)  # asked for nowhere else: the server remembers what it has made
    shown = run(page)
    assert PREVIEW in shown and AGAINST not in shown and "Save Video" not in shown
    assert page.evaluate("() => window.formed") > 0
    found = takes(page, PREVIEW)
    assert found["seeds"] == ["20", "21", "22", "23"] and found["picked"] == [] and found["shown"]
    speed, call = found["line"].split("\n")
    assert speed.startswith("4 takes of 4 steps, ") and speed.endswith("x real time")
    assert call == "Click a take to send it on."


def test_the_films_play_in_step(page):
    run(page)
    first = takes(page, PREVIEW)["films"]
    page.wait_for_function(
        """(before) => [...document.querySelectorAll('.vdit-take .vdit-film')]
        .some((film) => film.style.backgroundPosition !== before)""",
        arg=first[0],
    )
    assert len(set(takes(page, PREVIEW)["films"])) == 1


def test_a_click_picks_a_take_and_brings_its_seeds_back(page):
    run(page)
    set_widgets(page, PREVIEW, seed=977)  # as "control after generate" does once a run is queued
    set_widgets(page, PREVIEW, control_after_generate="randomize")
    click_take(page, 42)
    found = widget_values(page, PREVIEW)
    assert (found["seed"], found["pick"], found["control_after_generate"]) == (40, 42, "fixed")
    assert takes(page, PREVIEW)["picked"] == ["42"]
    given = inputs_of(page, PREVIEW)
    assert given["pick"] == 42 and given["seed"] == 40 and "vdit_takes" not in given


def test_the_picked_take_is_rendered_and_the_agreement_shown(page):
    run(page)
    click_take(page, 42)
    shown = run(page)
    assert {PREVIEW, AGAINST, "Save Video"} <= set(shown)
    assert takes(page, PREVIEW)["picked"] == ["42"]
    against = takes(page, AGAINST)
    assert len(against["seeds"]) == 1 and "Agreement with the render: PSNR" in against["line"]
    page.wait_for_function('() => document.body.innerText.includes("The preview\'s take: seed 42, 1 s at 8 fps")')


def test_the_pick_is_saved_with_the_workflow(page):
    run(page)
    click_take(page, 42)
    saved = page.evaluate(
        "(title) => app.graph.serialize().nodes.find((node) => node.title === title).widgets_values", PREVIEW
    )
    assert saved[:10] == [40, "fixed", 4, 1, 8, 128, 128, 1, True, 42] and not any(saved[10:])
    again = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    page.evaluate("async (graph) => { await app.loadGraphData(graph); }", again)
    page.wait_for_function("(title) => app.graph.nodes.find((node) => node.title === title)?.vditScreen", arg=PREVIEW)
    assert widget_values(page, PREVIEW)["pick"] == 42 and inputs_of(page, PREVIEW)["pick"] == 42


def test_it_works_in_nodes_2(page):
    with nodes_2(page):
        page.wait_for_selector("[data-node-id] .vdit-screen")
        set_widgets(page, PREVIEW, seed=60, pick=-1)
        assert AGAINST not in run(page)
        page.wait_for_selector("[data-node-id] .vdit-take")
        click_take(page, 61)
        assert widget_values(page, PREVIEW)["pick"] == 61
        assert AGAINST in run(page)
        page.wait_for_selector("[data-node-id] .vdit-take[aria-pressed=true]")  # drawn a moment after the run ends
        assert takes(page, PREVIEW)["picked"] == ["61"] and "PSNR" in takes(page, AGAINST)["line"]
