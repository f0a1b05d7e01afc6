"""The types that the fields of workflows, prompts and requests must have: tables for machine/parse.py."""

from __future__ import annotations

from ..machine.parse import BODY, Kinds

Fields = dict[str, Kinds]
ID: Kinds = (int, str)
LARGEST_FILE = int(BODY.megabytes * 1e6)  # bytes of a workflow
LINK: Kinds = (list, dict)  # both written forms


def _under(place: str, fields: Fields) -> Fields:
    return {f"{place}.{path}": kinds for path, kinds in fields.items()}


NODE: Fields = {"class_type": str, "inputs": dict, "_meta": dict, "_meta.title": str}
PROMPT_NODES: Fields = {"{}!": dict, **_under("{}", NODE)}
_EXTRA: Fields = {
    "extra_data": dict,
    "extra_data.extra_pnginfo": dict,
    "extra_data.extra_pnginfo.workflow": dict,
    "extra_data.extra_pnginfo.workflow.id": str,
}
PROMPT: Fields = {
    "prompt": dict,
    **_under("prompt", PROMPT_NODES),
    "prompt_id": str,
    "client_id": str,
    "front": bool,
    "number": float,
    "partial_execution_targets": list,
    "partial_execution_targets[]!": str,
    **_EXTRA,
}
INTERRUPT: Fields = {"prompt_id": str}
CANCEL: Fields = {"job_ids": list, "job_ids[]!": str}
REMOVE: Fields = {"clear": bool, "delete": list, "delete[]!": str}

_INPUT: Fields = {"name!": str, "link": ID, "widget": dict, "widget.name": str, "type": ID}
_UI_NODE: Fields = {
    "inputs": list,
    "inputs[]!": dict,
    **_under("inputs[]", _INPUT),
    "outputs": list,
    "outputs[]!": dict,
    "outputs[].type": ID,
    "mode": int,
    "title": str,
    "properties": dict,
    "properties.proxyWidgets": list,
    **{f"properties.{key}": str for key in ("cnr_id", "aux_id", "ver")},
    "widgets_values": (list, dict),
}
_GRAPH: Fields = {
    "nodes!": list,
    "nodes[]!": dict,
    "nodes[].id!": ID,
    "nodes[].type!": str,
    **_under("nodes[]", _UI_NODE),
    "links": list,
    "links[]": LINK,
    "links[][]": (int, float, str),
    **{f"links[].{key}!": ID for key in ("id", "origin_id", "target_id")},
    **{f"links[].{key}!": int for key in ("origin_slot", "target_slot")},
}
_GROUP: Fields = {
    "nodes!": list,
    "nodes[]!": dict,
    "nodes[].type!": str,
    **_under("nodes[]", _UI_NODE),
    "links": list,
    "links[]!": list,
    "external": list,
    "external[]!": list,
    "config": dict,
    "config.{}": dict,
    "config.{}.input": dict,
    "config.{}.input.{}": dict,
    "config.{}.input.{}.name": str,
    "config.{}.output": dict,
    "config.{}.output.{}": dict,
}
_PANEL: Fields = {"name!": str, "type": str, "linkIds": list, "linkIds[]!": ID}
_SUBGRAPH: Fields = {
    "id!": str,
    **_GRAPH,
    **{"inputs": list, "inputs[]!": dict, "outputs": list, "outputs[]!": dict},
    **_under("inputs[]", _PANEL),
}
WORKFLOW: Fields = {
    **_GRAPH,
    "extra": dict,
    "extra.groupNodes": dict,
    "extra.groupNodes.{}!": dict,
    **_under("extra.groupNodes.{}", _GROUP),
    "definitions": dict,
    "definitions.subgraphs": list,
    "definitions.subgraphs[]!": dict,
    **_under("definitions.subgraphs[]", _SUBGRAPH),
    "state": dict,
}
