"""The tracks-* workflows, run for real with tiny files in the place of those that they name."""

import json
from pathlib import Path

import pytest
from shipped import frames_of, nodes_of, psnr
from vdit.host import catalog, cli, core_nodes, workflow
from vdit.host.api import io
from wan_workflows import VARIANT_OF, named_files, provide, seen_by_clip, small

pytestmark = pytest.mark.slow

PACK = Path(workflow.__file__).resolve().parent.parent
WORKFLOWS = sorted((PACK / "workflows").glob("tracks-*.json"))
CORE_ONLY = json.loads((PACK / "tests/object_info_0_33.json").read_text("utf-8"))
CLIP_VISION, CLIP_OUTPUT = io.Custom("CLIP_VISION"), io.Custom("CLIP_VISION_OUTPUT")
METHODS = {"tracks-ati": "ati", "tracks-wanmove": "wanmove"}


class CLIPVisionLoader(io.ComfyNode):
    """A stand-in for the core's: this pack's host has none."""

    @classmethod
    def define_schema(cls):
        names = ["clip_vision_h.safetensors"]
        return io.Schema(cls.__name__, inputs=[io.Combo.Input("clip_name", names)], outputs=[CLIP_VISION.Output()])

    @classmethod
    def execute(cls, clip_name):
        return io.NodeOutput(clip_name)


class CLIPVisionEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        crop = io.Combo.Input("crop", ["center", "none"])
        inputs = [CLIP_VISION.Input("clip_vision"), io.Image.Input("image"), crop]
        return io.Schema(cls.__name__, inputs=inputs, outputs=[CLIP_OUTPUT.Output()])

    @classmethod
    def execute(cls, clip_vision, image, crop):
        return io.NodeOutput(seen_by_clip())


def test_all_of_them_are_shipped():
    assert {path.stem for path in WORKFLOWS} == set(METHODS) <= set(VARIANT_OF)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_makes_a_video_and_shows_its_tracks(path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(core_nodes, "NODES", [*core_nodes.NODES, CLIPVisionLoader, CLIPVisionEncode])
    provide(path, tmp_path / "models")
    changes = [f"{name}={value}" for name, value in small(path).items()] + ["Sample.seconds=0.5", "Tracks.frames=17"]
    changes += ["Simulate.seconds=1"] * bool(nodes_of(path, "VDiTSimulate"))
    given = [word for change in changes for word in ("--set", change)]
    assert cli.main(["run", str(path), "--base", str(tmp_path), "--json", *given]) == 0
    result = json.loads(capsys.readouterr().out)
    made = {Path(file["path"]).name.split("_0")[0]: file for file in result["files"]}
    assert len(made) == 2
    video = made.pop(f"vdit-{path.stem}")
    assert (video["frames"], video["fps"]) == (9, 16.0)
    (drawn,) = made.values()
    assert (drawn["frames"], drawn["fps"]) == (17, 16.0)
    frames = frames_of(drawn["path"])
    assert psnr(frames[0], tmp_path / "input" / "vdit-table.jpg") > 18, "dots over the picture"
    assert abs(frames[-1].astype(float) - frames[0]).mean() > 0.3
    remarks = [line for lines in result["remarks"].values() for text in lines for line in text.splitlines()]
    assert [line for line in remarks if "416x240" not in line and "stands on" not in line] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_is_one_for_comfyui_0_33(path):
    """Converted by the descriptions that its own server gives of the nodes."""
    prompt = workflow.load(path, catalog.object_infos(catalog.load_nodes()) | CORE_ONLY).prompt
    nodes = {node["class_type"]: node["inputs"] for node in prompt.values()}
    shot = nodes["VDiTEncodeConditioning"]
    assert shot["track_method"] == METHODS[path.stem]
    assert prompt[shot["tracks"][0]]["class_type"] == "VDiTTracks"
    assert prompt[shot["clip_vision_output"][0]]["class_type"] == "CLIPVisionEncode"
    assert nodes["CLIPVisionEncode"]["crop"] == "none" and nodes["VDiTTracks"]["frames"] == 81


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_file_that_a_loader_names_can_be_fetched(path):
    entries = {entry["name"]: entry for entry in named_files(path)}
    loaders = [*nodes_of(path, "VDiTLoadModel"), *nodes_of(path, "CLIPVisionLoader")]
    chosen = [value for node in loaders for value in node["widgets_values"] if str(value).endswith(".safetensors")]
    assert set(chosen) == set(entries) and len(chosen) == len(entries) == 4
    for name, entry in entries.items():
        assert entry["directory"] in ("diffusion_models", "vae", "text_encoders", "clip_vision")
        assert entry["url"].startswith(("https://huggingface.co/Comfy-Org/", "https://huggingface.co/Kijai/"))
        assert "/resolve/main/" in entry["url"] and entry["url"].endswith(f"/{name}")
