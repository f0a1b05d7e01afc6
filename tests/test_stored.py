"""Stored widget values: one that is dropped or doubled is refused, and never gives later ones to other widgets."""

import copy
import json
from collections import Counter
from pathlib import Path

import pytest
from vdit.host.catalog import load_nodes, object_infos
from vdit.host.validation import InvalidPrompt, validate
from vdit.host.widgets import default_value, stored_widgets
from vdit.host.workflow import WorkflowError, read, to_prompt
from vdit.nodes.stored import STORED

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
TRIED = (
    "text-to-video",
    "motion-brush",
    "camera-orbit",
    "drop-it",
    "depth-guided",
    "distill-preview",
    "physics-benchmark",
)
NODES = load_nodes()
INFOS = object_infos(NODES)
# Of these cases: a value that has the same one beside it, or two lists of one length that both are a version's own.
MOST_ACCEPTED = 0.02


def test_every_node_says_how_many_values_its_versions_stored():
    now = {kind: sum(1 for _ in stored_widgets(info)) for kind, info in INFOS.items() if kind.startswith("VDiT")}
    assert {kind: counts[-1] for kind, counts in STORED.items()} == now, "new inputs come last: append the new count"
    assert all(list(counts) == sorted(set(counts)) for counts in STORED.values())


def run(workflow):
    """The inputs of its nodes; None where it is refused."""
    try:
        checked = validate(read(copy.deepcopy(workflow), INFOS).prompt, NODES)
    except (WorkflowError, InvalidPrompt):
        return None
    return None if checked.node_errors else {node_id: node["inputs"] for node_id, node in checked.prompt.items()}


def test_a_dropped_or_doubled_value_is_refused_or_changes_nothing():
    counts = Counter()
    for name in TRIED:
        workflow = json.loads((WORKFLOWS / f"{name}.json").read_text("utf-8"))
        right = run(workflow)
        assert right is not None, name
        for node in workflow["nodes"]:
            stored = node.get("widgets_values")
            if node["type"] not in STORED or not stored or node.get("mode", 0):
                continue
            for at in range(len(stored)):
                for changed in (stored[:at] + stored[at + 1 :], stored[: at + 1] + stored[at:]):
                    node["widgets_values"] = changed
                    found = run(workflow)
                    counts["refused" if found is None else "same" if found == right else "other values"] += 1
            node["widgets_values"] = stored
    print(dict(counts))
    assert counts.total() > 300
    assert counts["other values"] <= MOST_ACCEPTED * counts.total()


@pytest.mark.parametrize("kind", [kind for kind, counts in STORED.items() if counts[-1] > 1])
def test_a_full_list_with_one_value_more_or_less_is_refused_by_name(kind):
    values = [None if spec is None else default_value(spec) for _, spec in stored_widgets(INFOS[kind])]

    def converted(values):
        return to_prompt({"nodes": [{"id": 5, "type": kind, "title": "Mine", "widgets_values": values}]}, INFOS)

    converted(values)
    with pytest.raises(WorkflowError, match=rf"5 \(Mine\).* stores {len(values) + 1} values; it has {len(values)}"):
        converted([values[0], *values])
    if len(values) - 1 not in STORED[kind]:
        with pytest.raises(WorkflowError, match=f"stores {len(values) - 1} values"):
            converted(values[1:])
    for count in STORED[kind][:-1]:  # as older versions saved it
        assert converted(values[:count]) == converted(values)
