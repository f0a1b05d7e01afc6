"""The workflows of scenes: bodies of a picture or a file move by physics, without any model."""

import json
from pathlib import Path

import pytest
from shipped import frames_of, nodes_of, psnr, run, run_command
from vdit.host import folders, workflow

pytestmark = pytest.mark.slow

ROOT = Path(workflow.__file__).resolve().parent.parent
PACK = ROOT / "workflows"
SCENES = [path for path in sorted(PACK.glob("*.json")) if nodes_of(path, "VDiTSimulate")]
HERE = [path for path in SCENES if "SAM3_Detect" not in path.read_text("utf-8")]


@pytest.fixture(autouse=True)
def own_folders(monkeypatch):
    monkeypatch.setattr(folders, "current", folders.current)


def test_all_of_them_are_shipped():
    named = {"drop-it"}
    assert named <= {path.stem for path in SCENES}


@pytest.mark.parametrize("path", HERE, ids=lambda path: path.stem)
def test_workflow_starts_with_its_picture_and_moves(path, tmp_path):
    result = run_command(path, tmp_path)
    (file,) = result["files"]
    (simulate,) = nodes_of(path, "VDiTSimulate")
    seconds, fps = simulate["widgets_values"][:2]
    frames = frames_of(file["path"])
    assert len(frames) == file["frames"] == round(seconds * fps) + 1 and file["fps"] == fps
    for node in nodes_of(path, "LoadImage")[:1]:
        assert psnr(frames[0], tmp_path / "input" / node["widgets_values"][0]) >= 30
    assert abs(frames[-1].astype(float) - frames[0]).mean() > 1, "something happens"
    assert result["peak_memory_bytes"] <= 1.5e9
    assert result["remarks"] == {}, "a shipped workflow must not draw warnings"


@pytest.mark.parametrize("path", HERE, ids=lambda path: path.stem)
def test_saved_video_opens_as_its_workflow_again(path, tmp_path, capsys):
    import av

    result = run(path, tmp_path, capsys, "--set", "Simulate.seconds=0.25")
    with av.open(result["files"][0]["path"]) as container:
        embedded = json.loads(container.metadata["workflow"])
        prompt = json.loads(container.metadata["prompt"])
    assert [node["id"] for node in embedded["nodes"]] == [n["id"] for n in json.loads(path.read_text("utf-8"))["nodes"]]
    assert next(n for n in prompt.values() if n["class_type"] == "VDiTSimulate")["inputs"]["seconds"] == 0.25
