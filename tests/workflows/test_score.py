"""The score-* workflows: Wan's is run for real with tiny files in the place of those that it names."""

import json
from pathlib import Path

import pytest
from other_nodes import OTHERS
from shipped import nodes_of
from vdit.host import catalog, cli, workflow
from wan_workflows import named_files, provide

pytestmark = pytest.mark.slow

PACK = Path(workflow.__file__).resolve().parent.parent
WAN, SVD, LTX, ANIMATEDIFF = (
    PACK / "workflows" / f"score-{name}.json" for name in ("wan", "svd", "ltx", "animatediff")
)
SCORED = sorted((PACK / "workflows").glob("score-*.json"))
MAKERS = ("stabilityai", "Lightricks", "Comfy-Org", "Leoxing")


def converted(path):
    """(prompt, {title: inputs}, links to an output of Clips by its name) as ComfyUI 0.33 describes its nodes."""
    infos = catalog.object_infos(catalog.load_nodes()) | OTHERS
    prompt = workflow.load(path, infos).prompt
    for node in prompt.values():
        info = infos[node["class_type"]]["input"]
        assert set(info.get("required", {})) <= set(node["inputs"]), node["class_type"]
        known = {*info.get("required", {}), *info.get("optional", {})}
        assert {name.split(".")[0] for name in node["inputs"]} <= known, node["class_type"]
    titles = {str(node["id"]): node["title"] for node in json.loads(path.read_text("utf-8"))["nodes"]}
    clips = next(key for key, node in prompt.items() if node["class_type"] == "VDiTBenchmarkClips")
    names = infos["VDiTBenchmarkClips"]["output_name"]
    return prompt, {titles[k]: n["inputs"] for k, n in prompt.items()}, {n: [clips, i] for i, n in enumerate(names)}


def test_all_of_them_are_shipped():
    assert set(SCORED) == {WAN, SVD, LTX, ANIMATEDIFF}


def test_wan_makes_the_seconds_of_a_clip_at_its_size():
    prompt, nodes, _ = converted(WAN)
    clips, sample = nodes["Clips"], nodes["Sample"]
    assert (clips["fps"], clips["width"], clips["height"], sample["seconds"]) == ("16", 832, 480, 5.0)
    assert len(named_files(WAN)) == 4


@pytest.mark.parametrize("path", [SVD, LTX, ANIMATEDIFF], ids=lambda path: path.stem)
def test_each_clip_s_picture_seed_and_size_reach_the_model_and_its_video_the_scores(path):
    prompt, nodes, clips = converted(path)
    scores, sample = nodes["Scores"], nodes["Sample"]
    assert scores["clips"] == clips["clips"] and sample["seed"] == clips["seeds"]
    maker = prompt[scores["images"][0]]
    assert maker["class_type"].startswith("VAEDecode")
    given = [value for name, inputs in nodes.items() if name != "Scores" for value in inputs.values()]
    for name in ("pictures", "width", "height", "frames", "fps"):
        assert clips[name] in given, name
    assert (clips["words"] in given) is (path != SVD), "which reads no words"
    unloaded = [
        value
        for inputs in nodes.values()
        for value in inputs.values()
        if str(value).endswith((".safetensors", ".ckpt"))
    ]
    assert set(unloaded) == {entry["name"] for entry in named_files(path)}
    for entry in named_files(path):
        assert entry["url"].startswith(tuple(f"https://huggingface.co/{maker}/" for maker in MAKERS))
        assert "/resolve/main/" in entry["url"] and entry["url"].endswith(f"/{entry['name']}")


def test_svd_makes_the_25_frames_that_it_was_trained_on():
    _, nodes, clips = converted(SVD)
    assert nodes["SVD"]["video_frames"] == clips["frames"] and nodes["SVD"]["init_image"] == clips["pictures"]
    assert (nodes["Clips"]["length"], nodes["Clips"]["fps"], nodes["SVD"]["fps"]) == (25, "8", 8)
    assert (nodes["Clips"]["width"], nodes["Clips"]["height"]) == (1024, 576)


def test_ltx_makes_8n_plus_1_frames_in_cells_of_32_pixels():
    _, nodes, clips = converted(LTX)
    assert nodes["Empty Latent"]["length"] == nodes["Empty Audio"]["frames_number"] == clips["frames"]
    assert nodes["LTXVConditioning"]["frame_rate"] == nodes["Empty Audio"]["frame_rate"] == clips["fps"]
    each = int(nodes["Clips"]["fps"]) // 8
    assert all(((frames - 1) * each + 1) % 8 == 1 for frames in (41, 81)), "the lengths of the suites, at 8 a second"
    assert nodes["Clips"]["width"] % 32 == nodes["Clips"]["height"] % 32 == 0


def test_animatediff_begins_with_the_picture_and_makes_25_frames_in_windows_of_16():
    _, nodes, clips = converted(ANIMATEDIFF)
    assert nodes["Begin with the picture"]["image"] == clips["pictures"]
    assert nodes["Empty Latent"]["batch_size"] == clips["frames"] and nodes["Clips"]["length"] == 25
    assert nodes["Windows"]["context_length"] == 16
    assert "ComfyUI-AnimateDiff-Evolved" in nodes_of(ANIMATEDIFF, "MarkdownNote")[0]["widgets_values"][0]


def test_wan_is_scored_by_running(tmp_path, capsys):
    provide(WAN, tmp_path / "models")
    sets = ("Clips.width=64", "Clips.height=64", "Clips.count=2", "Sample.steps=1")
    given = [word for change in sets for word in ("--set", change)]
    for left in ("1 clips scored. 1 clips are left", "2 clips scored. All clips are scored"):
        assert cli.main(["run", str(WAN), "--base", str(tmp_path), "--json", *given]) == 0
        assert left in capsys.readouterr().out
    report = json.loads((tmp_path / "output" / "benchmark" / "wan-2.2-i2v-14b" / "report.json").read_text("utf-8"))
    assert report["scores"]["model"]["physics"]["test"]["all"]["clips"] == 2
