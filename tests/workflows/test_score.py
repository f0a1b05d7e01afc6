"""The score-* workflows, run for real with tiny files in the place of those that they name."""

import json
from pathlib import Path

import pytest
from vdit.host import catalog, cli, folders, workflow
from wan_workflows import named_files, provide

pytestmark = pytest.mark.slow

PACK = Path(workflow.__file__).resolve().parent.parent
WAN = PACK / "workflows" / "score-wan.json"
CORE_ONLY = json.loads((PACK / "tests" / "object_info_0_33.json").read_text("utf-8"))


@pytest.fixture(autouse=True)
def own_folders(monkeypatch):
    monkeypatch.setattr(folders, "current", folders.current)


def test_it_is_converted_and_every_input_is_there():
    infos = catalog.object_infos(catalog.load_nodes()) | CORE_ONLY
    prompt = workflow.load(WAN, infos).prompt
    nodes = {node["class_type"]: node["inputs"] for node in prompt.values()}
    for node in prompt.values():
        assert set(infos[node["class_type"]]["input"].get("required", {})) <= set(node["inputs"]), node["class_type"]
    clips, sample = nodes["VDiTBenchmarkClips"], nodes["VDiTSample"]
    assert (clips["fps"], clips["width"], clips["height"], sample["seconds"]) == ("16", 832, 480, 5.0)
    assert len(named_files(WAN)) == 4


def test_it_scores_a_model_by_running(tmp_path, capsys):
    provide(WAN, tmp_path / "models")
    sets = ("Clips.width=64", "Clips.height=64", "Clips.count=2", "Sample.steps=1")
    given = [word for change in sets for word in ("--set", change)]
    for left in ("1 clips scored. 1 clips are left", "2 clips scored. All clips are scored"):
        assert cli.main(["run", str(WAN), "--base", str(tmp_path), "--json", *given]) == 0
        assert left in capsys.readouterr().out
    report = json.loads((tmp_path / "output" / "benchmark" / "wan-2.2-i2v-14b" / "report.json").read_text("utf-8"))
    assert report["scores"]["model"]["physics"]["test"]["all"]["clips"] == 2
