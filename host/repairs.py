"""What the graph editor mends when it opens a workflow: links to nothing go, group nodes become subgraphs, ids text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from ..machine.parse import Unreadable

SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = -10, -20  # ids of a subgraph's own in- and output panels
GROUP_PREFIXES = ("workflow>", "workflow/")
Slots = Callable[[str], int | None]  # node type -> how many values it stores; None for a type that is not known
Ends = tuple[str, int, str, int]  # source node, output slot, target node, input slot
MOST_SAID = 5  # repairs of one kind; how many more there were is said
PRIMITIVE_SLOTS = 2  # its value, and what happens to it after a run


def links_of(graph: dict) -> tuple[dict[str, Ends], list[str]]:
    """(a graph's links by their id, in either written form; ids of those that lead to nothing, which are left out)."""
    ids = {str(node["id"]) for node in graph["nodes"]} | {str(SUBGRAPH_INPUTS), str(SUBGRAPH_OUTPUTS)}
    links, dropped = {}, []
    for link in filter(None, graph.get("links") or []):
        number, ends = _link(link)
        if ends[2] in ids:
            links[number] = ends
        else:
            dropped.append(number)
    led_to = {ends[2:] for ends in links.values()}
    for node in graph["nodes"]:
        wired = {(str(node["id"]), slot): entry.get("link") for slot, entry in enumerate(node.get("inputs") or [])}
        dropped += [
            str(n) for place, n in wired.items() if n is not None and str(n) not in links and place not in led_to
        ]
    return links, sorted(set(dropped))


def first_of(repairs: list[str]) -> str:
    """Some of them in words, and how many more there are."""
    more = len(repairs) - MOST_SAID
    return ", ".join(repairs[:MOST_SAID]) + (f" and {more:,} more" if more > 0 else "")


def _link(link: list | dict) -> tuple[str, Ends]:
    if isinstance(link, dict):
        link = [link[key] for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    if len(link) < 5:
        raise Unreadable(f"holds the link {link!r:.60}; expected its id, a node, an output, a node and an input")
    return str(link[0]), (str(link[1]), link[2], str(link[3]), link[4])


def with_unique_ids(workflow: dict) -> tuple[dict, list[str]]:
    """(the workflow with no node id twice among its subgraphs and root, which nodes of the root have a new one).

    Later ones get the next free number, as the editor numbers them. `proxyWidgets` follow.
    """
    subgraphs = (workflow.get("definitions") or {}).get("subgraphs") or []
    used = {str(node["id"]) for node in workflow["nodes"] if isinstance(node["id"], int)}
    counters = (workflow.get("last_node_id"), (workflow.get("state") or {}).get("lastNodeId"))
    last = next((number for number in counters if isinstance(number, int)), 0)
    renumbered, new_ids = [], {}
    for subgraph in subgraphs:
        nodes, fresh = [], {}
        for node in subgraph["nodes"]:
            number = str(node["id"])
            if number in used:
                last = next(n for n in itertools.count(last + 1) if str(n) not in used)
                fresh[number], node = last, {**node, "id": last}
            elif number.isdecimal():
                last = max(last, int(number))
            used.add(str(node["id"]))
            nodes.append(node)
        links = [_relinked(link, fresh) for link in subgraph.get("links") or []]
        renumbered.append({**subgraph, "nodes": nodes, "links": links})
        new_ids[subgraph["id"]] = fresh
    for graph in renumbered:
        graph["nodes"] = [_reproxied(node, new_ids.get(node["type"]) or {}) for node in graph["nodes"]]
    nodes, seen, doubles = [], set[str](), []
    last = max([last, *(int(number) for number in used if number.isdecimal())])
    for node in workflow["nodes"]:
        if str(node["id"]) in seen:
            last += 1
            doubles.append(f"{node['type']} {node['id']} becomes {last}")
            node = {**node, "id": last}
            if node["type"] in new_ids:  # links lead to the first of that id; the editor keeps those of plain nodes
                node["inputs"] = [{**entry, "link": None} for entry in node.get("inputs") or []]
        elif str(node["id"]).isdecimal():
            last = max(last, int(node["id"]))
        seen.add(str(node["id"]))
        nodes.append(_reproxied(node, new_ids.get(node["type"]) or {}))
    definitions = {**(workflow.get("definitions") or {}), "subgraphs": renumbered}
    return {**workflow, "nodes": nodes, "definitions": definitions}, doubles


def _relinked(link: list | dict, fresh: dict[str, int]) -> list | dict:
    number, (origin, out, target, slot) = _link(link)
    ends = fresh.get(origin, origin), out, fresh.get(target, target), slot
    return [number, *ends] if fresh else link


def _reproxied(node: dict, fresh: dict[str, int]) -> dict:
    proxies = (node.get("properties") or {}).get("proxyWidgets")
    if not fresh or not isinstance(proxies, list):
        return node
    moved = [[str(fresh.get(str(p[0]), p[0])), *p[1:]] if isinstance(p, list) and p else p for p in proxies]
    return {**node, "properties": {**node["properties"], "proxyWidgets": moved}}


def without_groups(graph: dict, groups: dict[str, dict], slots: Slots) -> tuple[dict, dict[str, dict]]:
    """(the graph with each group node as an instance of a subgraph, those subgraphs by their id)."""
    nodes, definitions = [], {}
    for node in graph["nodes"]:
        name = next((node["type"].removeprefix(p) for p in GROUP_PREFIXES if str(node["type"]).startswith(p)), None)
        if name in groups:
            kind = f"{node['type']} {graph.get('id', '')} {node['id']}"  # each instance stores its own values
            definitions[kind] = _definition(node, groups[name], slots)
            node = {**node, "type": kind}
        nodes.append(node)
    return {**graph, "nodes": nodes}, definitions


def _definition(instance: dict, group: dict, slots: Slots) -> dict:
    """A group node's content as a subgraph: nodes by their index, in- and outputs in the instance's order."""
    values = list(instance.get("widgets_values") or [])
    config = group.get("config") or {}
    nodes = []
    for index, inner in enumerate(group["nodes"]):
        count = PRIMITIVE_SLOTS if inner["type"] == "PrimitiveNode" else slots(inner["type"])
        count = len(inner.get("widgets_values") or []) if count is None else count
        mine, values = values[:count], values[count:]
        inputs = [{**entry, "link": None} for entry in inner.get("inputs") or []]
        more = {"widgets_values": mine} if mine else {}
        nodes.append({**inner, "id": index, "inputs": inputs, **more})
    inside = [link[:4] for link in group.get("links") or [] if link[0] is not None and link[2] is not None]
    fed = [(SUBGRAPH_INPUTS, slot, *place) for slot, place in _inputs(instance, nodes, inside, config)]
    outward = [(*place, SUBGRAPH_OUTPUTS, slot) for slot, place in enumerate(_outputs(group, nodes, inside, config))]
    links = [[number, *ends] for number, ends in enumerate([*inside, *fed, *outward])]
    for number, _, _, target, slot in links:
        if target != SUBGRAPH_OUTPUTS and slot < len(nodes[target]["inputs"]):
            nodes[target]["inputs"][slot]["link"] = number
    return {"nodes": nodes, "links": links}


def _inputs(instance: dict, nodes: list[dict], inside: list, config: dict) -> Iterator[tuple[int, tuple[int, int]]]:
    """(the instance's input slot, (inner node, its slot)); a name that comes twice bears its node's title or type."""
    taken = {(link[2], link[3]) for link in inside}
    free = [
        (place, entry["name"], node)
        for node in nodes
        for slot, entry in enumerate(node["inputs"])
        if (place := (node["id"], slot)) not in taken
    ]
    for slot, entry in enumerate(instance.get("inputs") or []):
        for match in (_is_named, _ends_with):
            found = next((one for one in free if match(entry["name"], one[1], one[2], config)), None)
            if found is not None:
                free.remove(found)
                yield slot, found[0]
                break


def _is_named(name: str, own: str, node: dict, config: dict) -> bool:
    chosen = ((config.get(str(node["id"])) or {}).get("input") or {}).get(own) or {}
    return name in (own, chosen.get("name"), f"{node.get('title')} {own}", f"{node['type']} {own}")


def _ends_with(name: str, own: str, node: dict, config: dict) -> bool:
    return name.endswith(f" {own}")


def _outputs(group: dict, nodes: list[dict], inside: list, config: dict) -> Iterator[tuple[int, int]]:
    """(inner node, its output slot) of each output of the group node, in order."""
    used, external = {(link[0], link[1]) for link in inside}, {(e[0], e[1]) for e in group.get("external") or []}
    for node in nodes:
        shown = (config.get(str(node["id"])) or {}).get("output") or {}
        for slot in range(len(node.get("outputs") or [])):
            place = (node["id"], slot)
            if (place not in used or place in external) and (shown.get(str(slot)) or {}).get("visible") is not False:
                yield place
