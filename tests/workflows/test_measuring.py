"""Shipped workflows that measure: what they leave behind, through the command."""

import json
from pathlib import Path

import pytest
from fakes import random_world_model
from vdit.host import cli
from vdit.model.files import bundle

pytestmark = pytest.mark.slow

PACK = Path(cli.__file__).resolve().parent.parent / "workflows"


@pytest.fixture(autouse=True)
def own_model(monkeypatch, tmp_path):
    """A random model will do: its scores are not asked."""
    weights = tmp_path / "random.safetensors"
    model = random_world_model(0)
    model.defaults.update(width=64, height=64)
    bundle.save_world_model(model, weights)
    monkeypatch.setattr(bundle, "BUNDLED", weights)


def run(name, tmp_path, capsys, *more):
    changes = [part for change in more for part in ("--set", change)]
    assert cli.main(["run", str(PACK / f"{name}.json"), "--base", str(tmp_path), "--json", *changes]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


def test_physics_benchmark_saves_scores_and_the_worst_clips(tmp_path, capsys):
    result, said = run(
        "physics-benchmark", tmp_path, capsys, "Benchmark.suite=physics", "Benchmark.count=1", "Benchmark.steps=1"
    )
    assert sorted(Path(file["path"]).name.split("_")[0] for file in result["files"]) == ["scores", "worst"]
    assert "physics accuracy %" in said, "the table is shown while it runs"


def test_simulate_and_predict_shows_the_simulation_and_the_prediction(tmp_path, capsys):
    result, said = run("simulate-and-predict", tmp_path, capsys, "Sample.steps=1")
    (file,) = result["files"]
    assert (file["frames"], file["width"], file["height"]) == (41, 780, 384)
    assert "permanence: " in said and "median error after" in said
