"""Workflows as people damage them: by hand, by scripts, by old and foreign editors. Seeded, so that they stay the same.

Each function takes a generator and a whole workflow of its own, damages it in one way, and gives it back.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator

Mangler = Callable[[random.Random, dict], dict]
MANGLERS: dict[str, Mangler] = {}
NEEDS_SUBGRAPH: set[str] = set()
LARGEST_NODES = 60


def mangler(needs_subgraph: bool = False) -> Callable[[Mangler], Mangler]:
    """Registers a way to damage a workflow under its function's name."""

    def register(function: Mangler) -> Mangler:
        MANGLERS[function.__name__] = function
        if needs_subgraph:
            NEEDS_SUBGRAPH.add(function.__name__)
        return function

    return register


def mangled(workflows: dict[str, dict], each: int, seed: int = 29) -> Iterator[tuple[str, dict]]:
    """(name, workflow) of `each` files for every way."""
    small = {name: w for name, w in sorted(workflows.items()) if len(list(nodes_of(w))) <= LARGEST_NODES}
    for way, damage in MANGLERS.items():
        names = [name for name in small if way not in NEEDS_SUBGRAPH or subgraphs_of(small[name])]
        for number in range(each):
            rng = random.Random(f"{seed} {way} {number}")
            name = rng.choice(names)
            yield f"{way} {number} {name}", damage(rng, copy.deepcopy(small[name]))


def subgraphs_of(workflow: dict) -> list[dict]:
    """The definitions of a workflow's subgraphs."""
    return (workflow.get("definitions") or {}).get("subgraphs") or []


def graphs_of(workflow: dict) -> list[dict]:
    """The root graph and all definitions."""
    return [workflow, *subgraphs_of(workflow)]


def nodes_of(workflow: dict) -> Iterator[dict]:
    """The nodes of all graphs."""
    return (node for graph in graphs_of(workflow) for node in graph["nodes"])


def links_of(graph: dict) -> list[tuple[list | dict, str | int, str | int, str | int, str | int]]:
    """(link, keys of its origin, origin slot, target, target slot): lists in root graphs, objects in definitions."""
    keys = ("origin_id", "origin_slot", "target_id", "target_slot")
    return [(link, *(keys if isinstance(link, dict) else (1, 2, 3, 4))) for link in graph.get("links") or []]


def some(rng: random.Random, found: list, share: float = 0.25) -> list:
    """At least one of them, where there are any."""
    return rng.sample(found, max(1, int(len(found) * share))) if found else []


def with_values(workflow: dict) -> list[dict]:
    """Nodes that hold a list of values."""
    return [n for n in nodes_of(workflow) if isinstance(n.get("widgets_values"), list) and n["widgets_values"]]


def instances_of(workflow: dict) -> list[dict]:
    """The nodes that stand for subgraphs."""
    ids = {subgraph["id"] for subgraph in subgraphs_of(workflow)}
    return [node for node in nodes_of(workflow) if node["type"] in ids]


@mangler()
def links_dropped(rng, workflow):
    """Links are gone from the table; inputs still name them."""
    for graph in graphs_of(workflow):
        gone = [link[0] for link in some(rng, links_of(graph))]
        graph["links"] = [link for link in graph.get("links") or [] if link not in gone]
    return workflow


@mangler()
def nodes_deleted(rng, workflow):
    """Nodes are gone; links to and from them stay."""
    nodes = workflow["nodes"]
    for node in some(rng, nodes, 0.15):
        if len(nodes) > 2:
            nodes.remove(node)
    return workflow


@mangler()
def inputs_name_no_link(rng, workflow):
    """Inputs name links that never were."""
    entries = [e for node in nodes_of(workflow) for e in node.get("inputs") or [] if e.get("link") is not None]
    for entry in some(rng, entries):
        entry["link"] = 90_000 + rng.randrange(100)
    return workflow


@mangler()
def inputs_forget_links(rng, workflow):
    """Links are in the table, but their inputs do not name them."""
    entries = [e for node in nodes_of(workflow) for e in node.get("inputs") or [] if e.get("link") is not None]
    for entry in some(rng, entries):
        entry["link"] = None
    return workflow


@mangler()
def ids_as_text(rng, workflow):
    """Node ids are texts, in nodes and in links."""
    for node in workflow["nodes"]:
        node["id"] = str(node["id"])
    for link, origin, _, target, _ in links_of(workflow):
        link[origin], link[target] = str(link[origin]), str(link[target])
    return workflow


@mangler()
def ids_as_names(rng, workflow):
    """Node ids are words."""
    for node in workflow["nodes"]:
        node["id"] = f"n{node['id']}"
    for link, origin, _, target, _ in links_of(workflow):
        link[origin], link[target] = f"n{link[origin]}", f"n{link[target]}"
    return workflow


@mangler()
def ids_twice(rng, workflow):
    """Two nodes of the root graph have the same id."""
    one, other = rng.sample(workflow["nodes"], 2) if len(workflow["nodes"]) > 1 else (workflow["nodes"] * 2)[:2]
    other["id"] = one["id"]
    return workflow


@mangler()
def reordered(rng, workflow):
    """Nodes, links and definitions in another order."""
    for graph in graphs_of(workflow):
        rng.shuffle(graph["nodes"])
        rng.shuffle(graph.get("links") or [])
    rng.shuffle(subgraphs_of(workflow))
    return workflow


@mangler()
def inputs_reordered(rng, workflow):
    """The inputs of nodes in another order; links keep their old slots."""
    for node in nodes_of(workflow):
        rng.shuffle(node.get("inputs") or [])
    return workflow


@mangler()
def slots_wrong(rng, workflow):
    """Links name other target slots than their inputs have."""
    for graph in graphs_of(workflow):
        for link, _, _, target, slot in some(rng, links_of(graph)):
            if link[target] not in (-20, -10):
                link[slot] += rng.choice((1, 2))
    return workflow


@mangler()
def outputs_renumbered(rng, workflow):
    """Links come from an output that the node does not have."""
    for link, _, slot, _, _ in some(rng, links_of(workflow), 0.1):
        link[slot] += 7
    return workflow


@mangler()
def inputs_renamed(rng, workflow):
    """Inputs bear names that their nodes no longer know."""
    for entry in some(rng, [e for node in nodes_of(workflow) for e in node.get("inputs") or []]):
        entry["name"] += "_old"
    return workflow


@mangler()
def inputs_missing(rng, workflow):
    """Nodes without their lists of inputs and outputs."""
    for node in some(rng, list(nodes_of(workflow))):
        node.pop("inputs", None)
    for node in some(rng, list(nodes_of(workflow))):
        node.pop("outputs", None)
    return workflow


@mangler()
def fields_missing(rng, workflow):
    """Nodes and workflow without what a reader can do without."""
    for node in nodes_of(workflow):
        for key in ("mode", "properties", "order", "flags", "title"):
            if rng.random() < 0.5:
                node.pop(key, None)
    for key in ("extra", "config", "groups", "last_node_id", "last_link_id"):
        if rng.random() < 0.5:
            workflow.pop(key, None)
    return workflow


@mangler()
def values_short(rng, workflow):
    """Fewer values than widgets, as before widgets were added."""
    for node in some(rng, with_values(workflow), 0.5):
        node["widgets_values"] = node["widgets_values"][: rng.randrange(len(node["widgets_values"]))]
    return workflow


@mangler()
def values_long(rng, workflow):
    """More values than widgets."""
    for node in some(rng, with_values(workflow), 0.5):
        node["widgets_values"] += ["more", 7]
    return workflow


@mangler()
def values_null(rng, workflow):
    """Null in place of values."""
    for node in some(rng, with_values(workflow), 0.5):
        node["widgets_values"][rng.randrange(len(node["widgets_values"]))] = None
    return workflow


@mangler()
def values_gone(rng, workflow):
    """No values at all, or null in place of the list."""
    for node in some(rng, with_values(workflow), 0.5):
        node["widgets_values"] = None
    for node in some(rng, with_values(workflow), 0.3):
        del node["widgets_values"]
    return workflow


@mangler()
def values_by_name(rng, workflow):
    """Values as an object, as some packs store them."""
    for node in some(rng, with_values(workflow), 0.3):
        node["widgets_values"] = {f"w{i}": value for i, value in enumerate(node["widgets_values"])}
    return workflow


@mangler()
def muted(rng, workflow):
    """Nodes muted here and there."""
    for node in some(rng, list(nodes_of(workflow)), 0.3):
        node["mode"] = 2
    return workflow


@mangler()
def bypassed(rng, workflow):
    """Nodes bypassed here and there."""
    for node in some(rng, list(nodes_of(workflow)), 0.4):
        node["mode"] = 4
    return workflow


@mangler()
def modes_odd(rng, workflow):
    """Modes that only old editors wrote, and null."""
    for node in some(rng, list(nodes_of(workflow)), 0.4):
        node["mode"] = rng.choice((1, 3, None))
    return workflow


@mangler()
def type_unknown(rng, workflow):
    """A node of a pack that is not installed."""
    rng.choice(workflow["nodes"])["type"] = "NobodyHasThis"
    return workflow


@mangler()
def type_unknown_but_off(rng, workflow):
    """Nodes of a pack that is not installed, muted or bypassed."""
    for node in some(rng, workflow["nodes"], 0.2):
        node["type"], node["mode"] = "NobodyHasThis", rng.choice((2, 4))
    return workflow


@mangler()
def rerouted(rng, workflow):
    """A reroute in the middle of links."""
    top = max([int(n["id"]) for n in nodes_of(workflow) if str(n["id"]).isdecimal()] + [0]) + 500
    last = max([link[0][0] for link in links_of(workflow)] + [0]) + 500
    for link, origin, slot, _, _ in some(rng, links_of(workflow), 0.4):
        top, last = top + 1, last + 1
        inputs = [{"name": "", "type": "*", "link": last}]
        outputs = [{"name": "", "type": link[5], "links": [link[0]]}]
        shape = {"pos": [0, 0], "size": [75, 26], "mode": 0}
        workflow["nodes"].append({"id": top, "type": "Reroute", **shape, "inputs": inputs, "outputs": outputs})
        workflow["links"].append([last, link[origin], link[slot], top, 0, "*"])
        link[origin], link[slot] = top, 0
    return workflow


@mangler(needs_subgraph=True)
def definition_gone(rng, workflow):
    """The definition of a subgraph is not in the file."""
    subgraphs_of(workflow).remove(rng.choice(subgraphs_of(workflow)))
    return workflow


@mangler(needs_subgraph=True)
def instance_twice(rng, workflow):
    """A second instance of a subgraph, without links and with values of its own."""
    node = copy.deepcopy(rng.choice(instances_of(workflow) or workflow["nodes"]))
    node["id"] = 7000
    for entry in node.get("inputs") or []:
        entry["link"] = None
    workflow["nodes"].append(node)
    return workflow


@mangler(needs_subgraph=True)
def instance_off(rng, workflow):
    """Instances of subgraphs muted or bypassed, what is inside not."""
    for node in some(rng, instances_of(workflow), 0.6):
        node["mode"] = rng.choice((2, 4))
    return workflow


@mangler(needs_subgraph=True)
def proxies_of_inner_widgets(rng, workflow):
    """Promoted widgets, of inner nodes and by inputs, in any order, with nulls and too few values."""
    definitions = {subgraph["id"]: subgraph for subgraph in subgraphs_of(workflow)}
    for node in instances_of(workflow):
        inner = definitions[node["type"]]["nodes"]
        entries = [(n, e) for n in inner for e in n.get("inputs") or [] if e.get("widget")]
        proxies = [[str(n["id"]), e["name"]] for n, e in some(rng, entries, 0.5)]
        proxies += [["-1", entry["name"]] for entry in node.get("inputs") or [] if rng.random() < 0.5]
        proxies += [["99999", "seed"], [str(inner[0]["id"]), "$$canvas-image-preview"]]
        rng.shuffle(proxies)
        node.setdefault("properties", {})["proxyWidgets"] = proxies
        values = [rng.choice((None, 3, 5.5, "text")) for _ in proxies]
        node["widgets_values"] = values[: rng.randrange(len(proxies) + 1)]
    return workflow


@mangler(needs_subgraph=True)
def proxies_broken(rng, workflow):
    """Promoted widgets with entries that are no pairs of texts."""
    for node in instances_of(workflow):
        proxies = node.setdefault("properties", {}).setdefault("proxyWidgets", [])
        proxies.insert(0, rng.choice(([5, "seed"], ["5"], "5", None, ["5", "seed", "7"])))
        node["widgets_values"] = [1, "two", None][: rng.randrange(4)]
    return workflow


@mangler(needs_subgraph=True)
def instance_inputs_lost(rng, workflow):
    """An instance that was saved before its subgraph had all its inputs."""
    for node in instances_of(workflow):
        node["inputs"] = [entry for entry in node.get("inputs") or [] if rng.random() < 0.5]
        rng.shuffle(node["inputs"])
        node["widgets_values"] = [9, "x", 2.5]
    return workflow


@mangler(needs_subgraph=True)
def inner_ids_clash(rng, workflow):
    """Inner nodes with ids of the root graph's nodes, and a counter that is too low."""
    for subgraph in subgraphs_of(workflow):
        for inner, outer in zip(subgraph["nodes"], workflow["nodes"], strict=False):
            old, inner["id"] = inner["id"], outer["id"]
            for link, origin, _, target, _ in links_of(subgraph):
                for end in (origin, target):
                    link[end] = outer["id"] if link[end] == old else link[end]
    workflow["last_node_id"] = 0
    return workflow
