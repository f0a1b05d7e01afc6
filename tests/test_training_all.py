"""`vdit train all`: data, perception, transformer and student in so many minutes; its bundles carry on elsewhere."""

import json
from dataclasses import replace

import pytest
import torch
from fakes import random_world_model
from test_bodies import SMALL, TOY
from test_training import TINY
from vdit.model.files.bundle import BUNDLED, load_world_model, save_world_model
from vdit.model.object_dynamics import ObjectDynamics
from vdit.training import everything
from vdit.training.cli import main
from vdit.training.data.encoded_clips import LatentFormat
from vdit.training.finished_runs import trained_perception
from vdit.training.recipes import AllRecipe
from vdit.training.run import load_state

SIZES = everything.Sizes(TOY, LatentFormat(clips=2, shapes=((64, 64, 13),)), SMALL, clips_per_file=2, batch=4)


def rows(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def stopped(monkeypatch):
    """Stops a run at one of its parts, as Ctrl+C does."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    def until(part):
        monkeypatch.setattr(everything.Everything, part, stop)

    yield until
    monkeypatch.undo()


@pytest.mark.slow
def test_minutes_become_bundles_that_go_on_here_and_elsewhere(tmp_path, stopped, monkeypatch, capsys):
    begin = tmp_path / "weights"
    model = replace(random_world_model(3, TINY), dynamics=ObjectDynamics().eval())
    model.facts["teacher_clips_seen"] = 7
    save_world_model(model, begin / BUNDLED.name, torch.int8)
    recipe = AllRecipe(minutes=0.1, out=tmp_path / "all", start_from=begin, processes=1)
    stopped("distil")
    with pytest.raises(KeyboardInterrupt):
        everything.train(recipe, SIZES)
    before = {part: load_state(recipe.out / part) for part in ("perception", "transformer")}
    shards = {path: path.stat().st_mtime_ns for path in recipe.out.glob("*/*-*.pt")}
    assert all(state["step"] > 0 for state in before.values())
    assert not (recipe.out / "bundles" / "vdit-small-student.safetensors").exists()

    monkeypatch.undo()  # the same command again
    everything.train(recipe, SIZES)
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert {path.parent.name for path in shards} >= {"bodies", "bodies-val", "latents", "latents-val"}
    for part, state in before.items():
        assert load_state(recipe.out / part)["step"] == state["step"], "what is done is left out"
        assert [row.get("event") for row in rows(recipe.out / part)].count("end") == 1
    told = capsys.readouterr().out
    assert "transformer, 4 of 6: 0.026 min; about 0.022 min for the rest" in told
    bundles = recipe.out / "bundles"
    student, teacher = (load_world_model(bundles / name) for name in ("vdit-small-student.safetensors", BUNDLED.name))
    assert student.config.flow_map and teacher.facts["teacher_clips_seen"] > 7
    assert torch.equal(teacher.dynamics.push[0].weight, load_world_model(begin / BUNDLED.name).dynamics.push[0].weight)

    stopped("encode")
    there = replace(recipe, out=tmp_path / "there", start_from=bundles, minutes=0.01)
    with pytest.raises(KeyboardInterrupt):
        everything.train(there, SIZES)
    assert rows(there.out / "perception")[0]["start_from"] == str(bundles / "vdit-small-bodies.safetensors")
    seen, _ = trained_perception(bundles / "vdit-small-bodies.safetensors")
    torch.testing.assert_close(seen.where.weight, before["perception"]["average"]["where.weight"], atol=1e-3, rtol=0)


def test_bundles_to_begin_with_must_be_there(tmp_path, capsys):
    assert main(["all", "--out", str(tmp_path / "out"), "--start-from", str(tmp_path)]) == 2
    assert f"no {tmp_path / BUNDLED.name}; --start-from names a folder" in capsys.readouterr().out
    assert main(["all", "--out", str(tmp_path / "out"), "--minutes", "0"]) == 2
