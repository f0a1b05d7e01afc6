"""Inputs that come and go: dynamic combos and growing lists, in schemas, prompts, checks and runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import av
import pytest
import torch
from vdit.host import dynamic, folders
from vdit.host.api import io
from vdit.host.catalog import load_nodes
from vdit.host.executor import Executor
from vdit.host.validation import InvalidPrompt, validate


class Colours(io.ComfyNode):
    """Frames of one colour, as an output node's source."""

    @classmethod
    def define_schema(cls):
        inputs = [io.Float.Input("grey", default=0.5, optional=True)]
        return io.Schema("Colours", inputs=inputs, outputs=[io.Image.Output()])

    @classmethod
    def execute(cls, grey=0.5):
        return io.NodeOutput(torch.full((9, 64, 64, 3), grey))


class Deep(io.ComfyNode):
    """Every kind of input that comes and goes, two levels deep."""

    seen: dict = {}

    @classmethod
    def define_schema(cls):
        option, template = io.DynamicCombo.Option, io.Autogrow.TemplatePrefix
        inner = io.DynamicCombo.Input("shape", [option("round", [io.Float.Input("radius", min=1.0)]), option("flat")])
        several = io.Autogrow.Input("layers", template=template(io.Image.Input("layer"), "layer", 1, 3))
        options = [option("one", [inner, io.String.Input("note", optional=True)]), option("many", [several])]
        growing = io.Autogrow.Input("pictures", template=template(io.Image.Input("picture", optional=True), "picture"))
        return io.Schema("Deep", inputs=[io.DynamicCombo.Input("mode", options), growing], is_output_node=True)

    @classmethod
    def execute(cls, **inputs):
        Deep.seen = inputs
        return io.NodeOutput()


NODES = {"Colours": Colours, "Deep": Deep}


def run(inputs: dict, kind: str = "Deep", **others: dict) -> dict:
    """What the node's execute is called with, or the errors of its checks by input."""
    nodes = load_nodes() | NODES
    prompt = {"1": {"class_type": kind, "inputs": inputs}}
    prompt |= {number: {"class_type": "Colours", "inputs": values} for number, values in others.items()}
    try:
        checked = validate(prompt, nodes)
    except InvalidPrompt as refused:
        return {e["extra_info"].get("input_name", e["details"]): e["type"] for e in refused.node_errors["1"]["errors"]}
    return Executor(nodes).run(checked).nodes["1"].ui or Deep.seen


def test_a_chosen_option_brings_its_inputs_as_one_dict():
    given = {"mode": "one", "mode.shape": "round", "mode.shape.radius": 2, "mode.note": "x"}
    assert run(given) == {
        "mode": {"mode": "one", "shape": {"shape": "round", "radius": 2.0}, "note": "x"},
        "pictures": {},
    }
    assert run({"mode": "one", "mode.shape": "flat"})["mode"] == {
        "mode": "one",
        "shape": {"shape": "flat"},
        "note": None,
    }


def test_inputs_of_options_that_are_not_chosen_are_left_out():
    given = {"mode": "one", "mode.shape": "flat", "mode.shape.radius": "no number", "mode.layers.layer0": ["8", 0]}
    assert run(given)["mode"] == {"mode": "one", "shape": {"shape": "flat"}, "note": None}


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({}, {"mode": "required_input_missing"}),
        ({"mode": "two"}, {"mode": "value_not_in_list"}),
        ({"mode": ["2", 0]}, {"mode": "return_type_mismatch"}),
        ({"mode": "one", "mode.shape": "square"}, {"mode.shape": "value_not_in_list"}),
        ({"mode": "one", "mode.shape": "round"}, {"mode.shape.radius": "required_input_missing"}),
        (
            {"mode": "one", "mode.shape": "round", "mode.shape.radius": 0},
            {"mode.shape.radius": "value_smaller_than_min"},
        ),
        (
            {"mode": "one", "mode.shape": "round", "mode.shape.radius": "wide"},
            {"mode.shape.radius": "invalid_input_type"},
        ),
        ({"mode": "many"}, {"mode.layers.layer0": "required_input_missing"}),
        ({"mode": "many", "mode.layers.layer0": 3}, {"mode.layers.layer0": "invalid_input_type"}),
    ],
)
def test_what_is_wrong_is_named_by_its_path(given, wrong):
    assert run(given, **{"2": {}}) == wrong


def test_a_growing_list_comes_as_a_dict_of_what_is_linked():
    seen = run({"mode": "one", "pictures.picture0": ["2", 0], "pictures.picture2": ["3", 0]}, **{"2": {}, "3": {}})
    assert list(seen["pictures"]) == ["picture0", "picture2"]
    seen = run({"mode": "many", "mode.layers.layer0": ["2", 0], "mode.layers.layer1": ["2", 0]}, **{"2": {}})
    assert list(seen["mode"]["layers"]) == ["layer0", "layer1"] and seen["pictures"] == {}


def test_a_growing_list_may_have_names_of_its_own():
    template = {"input": {"required": {"a": ["INT", {}]}}, "names": ["left", "right"], "min": 1}
    groups = {"required": {"sides": [dynamic.GROWING, {"template": template}]}}
    assert [(i.path, i.required) for i in dynamic.expanded(groups, {})] == [
        ("sides.left", True),
        ("sides.right", False),
    ]
    assert dynamic.nested(groups, {"sides.right": 3}) == {"sides": {"right": 3}}


def test_object_info_is_as_comfyui_writes_it():
    info = json.loads(json.dumps(load_nodes()["BatchImagesNode"].object_info()))
    template = {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 1, "max": 50}
    assert info["input"] == {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": template}]}}


def test_pictures_of_two_sizes_are_batched_at_the_first_ones():
    batch = load_nodes()["BatchImagesNode"].execute(
        {"image0": torch.zeros(2, 16, 24, 3), "image1": torch.ones(3, 32, 32, 4)}
    )[0]
    assert batch.shape == (5, 16, 24, 4)
    assert torch.equal(batch[:2, ..., 3], torch.ones(2, 16, 24)) and torch.allclose(batch[2:], torch.ones(3, 16, 24, 4))


SAVED = [
    ({"format": "auto", "codec": "auto"}, ("mp4", "h264", "yuv420p")),  # as ComfyUI up to 0.28 has it
    ({"format": "mp4", "format.codec": "h264", "format.codec.encoding": "auto"}, ("mp4", "h264", "yuv420p")),
    ({"format": "auto", "format.codec": "auto", "codec": "auto"}, ("mp4", "h264", "yuv420p")),
    ({"format": "mkv", "format.codec": "auto"}, ("mkv", "h264", "yuv420p")),
    ({"format": "webm", "format.codec": "auto"}, ("webm", "av1", "yuv420p")),
]


@pytest.mark.parametrize(("chosen", "found"), SAVED)
def test_save_video_takes_prompts_of_old_and_new_cores(chosen, found):
    inputs = {"video": ["3", 0], "filename_prefix": "x", **chosen}
    prompt = {
        "1": {"class_type": "SaveVideo", "inputs": inputs},
        "2": {"class_type": "Colours", "inputs": {}},
        "3": {"class_type": "CreateVideo", "inputs": {"images": ["2", 0], "fps": 8}},
    }
    nodes = load_nodes() | NODES
    result = Executor(nodes).run(validate(prompt, nodes)).nodes["1"]
    (saved,) = result.ui["images"]
    path = folders.directory("output") / saved["filename"]
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (path.suffix[1:], stream.codec.canonical_name, stream.codec_context.pix_fmt) == found
    assert len(result.outputs) == 1, "the video goes on to nodes that follow"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list threads")
def test_no_encoder_makes_this_process_real_time(tmp_path, monkeypatch, capfd):
    from fractions import Fraction

    from vdit.host import running, video

    policies = []

    def look():
        policies.append({os.sched_getscheduler(int(task.name)) for task in Path("/proc/self/task").iterdir()})

    before = os.sched_getscheduler(0)
    monkeypatch.setattr(running, "check_interrupted", look)
    video.VideoFromComponents(video.VideoComponents(torch.zeros(3, 64, 64, 3), Fraction(8))).save_to(
        tmp_path / "a.webm", "webm", "av1"
    )
    assert len(policies) >= 3
    assert set().union(*policies) == {before}, "SVT-AV1 did, where the user is root: the machine then stops"
    assert "Svt[info]" not in capfd.readouterr().err


def test_a_lower_crf_makes_a_larger_file_and_ten_bits_are_written_where_asked(tmp_path):
    from fractions import Fraction

    from vdit.host import video

    frames = torch.rand(5, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    clip = video.VideoFromComponents(video.VideoComponents(frames, Fraction(8), bit_depth=10))
    for crf in (5, 40):
        clip.save_to(tmp_path / f"{crf}.mp4", "mp4", "h264", crf=crf)
    assert (tmp_path / "5.mp4").stat().st_size > 3 * (tmp_path / "40.mp4").stat().st_size
    with av.open(str(tmp_path / "5.mp4")) as file:
        assert file.streams.video[0].codec_context.pix_fmt == "yuv420p10le"


@pytest.mark.parametrize(
    ("how", "words"),
    [(("webm", "h264"), "cannot hold H.264"), (("avi", "auto"), "avi"), (("mp4", "auto", None, "HDR"), "HDR")],
)
def test_what_is_not_written_here_is_said_before_encoding(how, words):
    from vdit.host import video

    with pytest.raises(ValueError, match=words):
        video.encoding(*how)


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("Save Video.format=webm", "format", "webm"),
        ("Save Video.format.codec=h264", "format.codec", "h264"),
        ("SaveVideo.codec=av1", "format.codec", "av1"),
        ("Mr. Save.codec=av1", "format.codec", "av1"),
    ],
)
def test_set_reaches_inputs_of_a_chosen_option(change, path, value):
    from vdit.host import overrides, workflow
    from vdit.host.catalog import object_infos

    infos, title = object_infos(load_nodes()), "Mr. Save" if "Mr." in change else "Save Video"
    saved = {"id": 1, "type": "SaveVideo", "title": title, "inputs": [], "widgets_values": ["x", "auto", "auto"]}
    read = workflow.read({"nodes": [saved], "links": []}, infos)
    assert read.prompt["1"]["inputs"] == {
        "filename_prefix": "x",
        "format": "auto",
        "format.codec": "auto",
        "codec": "auto",
    }
    overrides.apply(read, [change], infos)
    assert read.prompt["1"]["inputs"][path] == value and read.prompt["1"]["inputs"]["codec"] == "auto"
    assert workflow.to_prompt(read.ui, infos)["1"]["inputs"][path] == value  # and the saved graph agrees


def test_set_says_what_an_option_offers():
    from vdit.host import overrides, workflow
    from vdit.host.catalog import object_infos

    infos = object_infos(load_nodes())
    saved = {"id": 1, "type": "SaveVideo", "inputs": [], "widgets_values": ["x", "webm", "auto"]}
    read = workflow.read({"nodes": [saved], "links": []}, infos)
    with pytest.raises(workflow.WorkflowError, match="'h264' is not one of auto, av1"):
        overrides.apply(read, ["Save Video.codec=h264"], infos)
    with pytest.raises(workflow.WorkflowError, match="it has filename_prefix, format, format.codec$"):
        overrides.apply(read, ["Save Video.quality=3"], infos)


def test_what_shipped_workflows_store_for_save_video_reads_alike_on_old_and_new_cores():
    """Three values: the prefix, the format, and the codec, which is the format's own from ComfyUI 0.33 on."""
    from vdit.host import workflow
    from vdit.host.catalog import object_infos

    combo = ["COMBO", {"options": ["auto", "mp4"]}]
    old = {
        "video": ["VIDEO", {}],
        "filename_prefix": ["STRING", {}],
        "format": combo,
        "codec": ["COMBO", {"options": ["auto", "h264"]}],
    }
    infos = object_infos(load_nodes())
    before = infos | {"SaveVideo": {"name": "SaveVideo", "input": {"required": old}, "output": []}}
    seen = 0
    for path in sorted((Path(__file__).parent.parent / "workflows").glob("*.json")):
        for node in json.loads(path.read_text("utf-8"))["nodes"]:
            if node["type"] == "SaveVideo":
                graph = {"nodes": [node | {"inputs": []}], "links": []}
                then, now = (workflow.to_prompt(graph, each)[str(node["id"])]["inputs"] for each in (before, infos))
                assert then == {"filename_prefix": node["widgets_values"][0], "format": "auto", "codec": "auto"}
                assert now == then | {"format.codec": "auto"}
                seen += 1
    assert seen >= 20
