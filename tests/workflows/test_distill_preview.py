"""distill-preview.json from the command line: four takes, the picked one rendered, and how well they agreed."""

import json
from pathlib import Path

import pytest
from fakes import random_world_model
from vdit.host import cli, workflow
from vdit.model.files import bundle
from vdit.model.files.bundle import save_world_model

pytestmark = pytest.mark.slow

FILE = Path(workflow.__file__).resolve().parent.parent / "workflows" / "distill-preview.json"
SMALL = ["Preview.seed=7", "Sample.steps=2"]
SMALL += [f"{node}.{name}" for node in ("Preview", "Preview against render") for name in ("seconds=0.5", "steps=2")]


@pytest.fixture(autouse=True)
def own_models(tmp_path, monkeypatch):
    """A student and its teacher of random weights under the names of those that ship."""
    monkeypatch.setattr(bundle, "BUNDLED", tmp_path / "vdit-small.safetensors")
    save_world_model(random_world_model(0), bundle.BUNDLED)
    save_world_model(random_world_model(0, student=True), tmp_path / "vdit-small-student.safetensors")


def run(tmp_path, capsys, *changes):
    given = [word for change in (*SMALL, *changes) for word in ("--set", change)]
    assert cli.main(["run", str(FILE), "--base", str(tmp_path), "--json", *given]) == 0
    return json.loads(capsys.readouterr().out)


def ran(result):
    return {node["title"] for node in result["nodes"].values() if node["seconds"] > 0}


def test_the_picked_take_is_rendered_and_the_agreement_measured(tmp_path, capsys):
    result = run(tmp_path, capsys, "Preview.pick=9")
    (file,) = result["files"]
    assert file["frames"] == 5, "the length is the preview's, not the widget's"
    previews, promoted, against = (result["says"][node] for node in sorted(result["says"], key=int))
    assert previews[0].startswith("4 takes of 2 steps, ") and len(previews) == 1
    assert promoted == ["The preview's take: seed 9, 0.5 s at 8 fps, 128x128"]
    assert against[1].startswith("Agreement with the render: PSNR ") and "of the width" in against[1]


def test_nothing_is_rendered_until_a_take_is_picked(tmp_path, capsys):
    result = run(tmp_path, capsys, "Preview.pick=-1")
    assert result["files"] == []
    assert "Preview" in ran(result) and not {"Sample", "Decode", "Save Video", "Preview against render"} & ran(result)
    (said,) = result["says"].values()
    assert said[1] == "Click a take to send it on."


def test_the_shipped_pick_is_among_the_shipped_seeds():
    nodes = {node["title"]: node.get("widgets_values") for node in json.loads(FILE.read_text("utf-8"))["nodes"]}
    seed, pick = nodes["Preview"][0], nodes["Preview"][-1]
    assert 0 <= pick - seed < 4
    assert nodes["Preview"][2:8] == nodes["Preview against render"][2:8], "steps, length and size are the same"
