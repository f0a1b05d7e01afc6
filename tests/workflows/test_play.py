"""The play workflows: what was played and kept is simulated again to the bit, and rendered by a Wan model."""

import json
from pathlib import Path

import numpy as np
import pytest
from shipped import frames_of, nodes_of, psnr, run, run_command
from vdit.host import cli, workflow
from wan_workflows import named_files, provide, small

pytestmark = pytest.mark.slow

PACK = Path(workflow.__file__).resolve().parent.parent / "workflows"
PLAYED = [PACK / "play.json", PACK / "play-robot.json"]
RENDERED = PACK / "play-to-render.json"


def kept(path):
    """What the workflow's node holds of a session."""
    (live,) = nodes_of(path, "VDiTLive")
    return json.loads(live["widgets_values"][-1])


def test_all_of_them_are_shipped():
    assert sorted(PACK.glob("play*.json")) == sorted([*PLAYED, RENDERED])


@pytest.mark.parametrize("path", PLAYED, ids=lambda path: path.stem)
def test_what_was_kept_becomes_a_video_of_the_same_length(path, tmp_path):
    result = run_command(path, tmp_path)
    (file,) = result["files"]
    take = kept(path)
    frames = frames_of(file["path"])
    assert len(frames) == round(take["seconds"] * take["fps"]) + 1 and file["fps"] == take["fps"]
    for node in nodes_of(path, "LoadImage"):
        assert psnr(frames[0], tmp_path / "input" / node["widgets_values"][0]) >= 30
    assert abs(frames[-1].astype(float) - frames[0]).mean() > 1, "something happens"
    assert result["remarks"] == {}, "a shipped workflow must not draw warnings"


def test_a_take_that_is_not_kept_leaves_the_scene_to_gravity(tmp_path, capsys):
    result = run(PLAYED[0], tmp_path, capsys, "--set", "Live.recorded=")
    frames = frames_of(result["files"][0]["path"]).astype(float)
    assert len(frames) == 49
    assert np.abs(frames[-1] - frames[0]).mean() < 1


def test_what_was_played_is_rendered_by_a_model_at_the_same_length(tmp_path, capsys):
    """A take of half a second, and tiny weights in place of Wan's."""
    provide(RENDERED, tmp_path / "models")
    take = kept(RENDERED) | {"seconds": 0.5}
    take["actions"] = [action for action in take["actions"] if action["hand"][0][0] < 0.5]
    changes = [f"{name}={value}" for name, value in small(RENDERED).items()] + [f"Live.recorded={json.dumps(take)}"]
    given = [word for change in changes for word in ("--set", change)]
    assert cli.main(["run", str(RENDERED), "--base", str(tmp_path), "--json", *given]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["files"]) == 2
    assert {(file["frames"], file["fps"]) for file in result["files"]} == {(9, 16.0)}
    assert named_files(RENDERED), "the files can be fetched"
