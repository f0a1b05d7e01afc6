"""The node API, ComfyUI's own nodes as the host provides them, and the files they read and write."""

from __future__ import annotations

import io as bytes_io
import json
import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from vdit.host import core_nodes, folders, video
from vdit.host.api import call, io
from vdit.machine import writing
from vdit.nodes import NODES, comfy

CORE = {cls.GET_SCHEMA().node_id: cls for cls in core_nodes.NODES}
PROMPT = {"1": {"class_type": "VDiTSample", "inputs": {"seed": 7}}}
WORKFLOW = {"version": 0.4, "nodes": [], "note": "Grüße {}"}
HIDDEN = {io.Hidden.prompt: PROMPT, io.Hidden.extra_pnginfo: {"workflow": WORKFLOW}}


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    return tmp_path


def clip(frames=9, height=32, width=48):
    """A ramp that moves: [T, H, W, 3] in 0..1."""
    x = torch.linspace(0, 1, width).expand(frames, height, width)
    t = torch.linspace(0, 0.5, frames)[:, None, None]
    return torch.stack([x, (x + t) / 2, 1 - x], dim=-1)


def save_video(frames, prefix="video/test", fps=8.0, **kwargs) -> Path:
    made = call(CORE["CreateVideo"], {"images": frames, "fps": fps, **kwargs})[0]
    output = call(CORE["SaveVideo"], {"video": made, "filename_prefix": prefix, "format": {"format": "auto"}}, HIDDEN)
    (entry,) = output.ui_dict()["images"]
    return folders.directory(entry["type"]) / entry["subfolder"] / entry["filename"]


# --- the pack and its schema


def test_the_pack_exports_no_v1_mappings():
    import vdit

    assert not hasattr(vdit, "NODE_CLASS_MAPPINGS"), "ComfyUI would then ignore comfy_entrypoint"


@pytest.mark.parametrize("cls", NODES, ids=lambda cls: cls.GET_SCHEMA().node_id)
def test_every_node_is_explained(cls):
    schema = cls.GET_SCHEMA()
    assert (
        schema.node_id.startswith("VDiT") and schema.display_name and schema.description and schema.category == "VDiT"
    )
    for part in [*schema.inputs, *schema.outputs]:
        assert part.tooltip, f"{schema.node_id}.{part.id or part.display_name} has no tooltip"
    for output in schema.outputs:
        assert output.display_name, "old cores would show the type in place of a name"
    names = [i.id for i in schema.inputs] + [o.id for o in schema.outputs]
    assert len(names) == len(set(names)), "old cores want input and output ids to differ"


def test_object_info_is_json_and_has_comfyuis_fields():
    scale = json.loads(json.dumps(CORE["ImageScale"].object_info()))
    assert scale["input"]["required"]["crop"] == ["COMBO", {"multiselect": False, "options": ["disabled", "center"]}]
    info = json.loads(json.dumps(CORE["SaveVideo"].object_info()))
    kind, options = info["input"]["required"]["format"]
    assert kind == "COMFY_DYNAMICCOMBO_V3" and [option["key"] for option in options["options"]][:2] == ["auto", "mp4"]
    assert info["input"]["hidden"] == {"prompt": ["PROMPT"], "extra_pnginfo": ["EXTRA_PNGINFO"]}
    assert info["input_order"]["required"] == ["video", "filename_prefix", "format"]
    assert info["output_node"] is True and info["python_module"] == "comfy_extras.nodes_video"


def test_two_inputs_of_one_name_are_refused():
    class Twice(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema("Twice", inputs=[io.Int.Input("a"), io.Float.Input("a")])

    with pytest.raises(ValueError, match="Twice.*share the id a"):
        Twice.GET_SCHEMA()


def test_a_rich_widget_stays_a_string():
    entry = io.String.Input("path", extra_dict={"widgetType": "VDIT_PATH"}).entry()
    assert entry == ("STRING", {"widgetType": "VDIT_PATH", "multiline": False})


def test_a_node_may_be_async_and_sees_its_hidden_values():
    class Async(io.ComfyNode):
        @classmethod
        async def execute(cls, x):
            return io.NodeOutput(x, cls.hidden.prompt, cls.hidden.unique_id)

    assert call(Async, {"x": 3}, HIDDEN).result == (3, PROMPT, None)
    assert Async.hidden.prompt is None, "the class itself stays untouched"


# --- names stay inside their folder


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../b.png", "..", "x.png [output]/../../.."])
def test_a_name_cannot_leave_its_folder(name):
    with pytest.raises(folders.OutsideFolder):
        folders.resolve(name)
    assert CORE["LoadImage"].validate_inputs(image=name) is not True


def test_a_link_cannot_lead_out_of_its_folder(base):
    (base / "secret").mkdir()
    (folders.directory("input") / "door").symlink_to(base / "secret")
    with pytest.raises(folders.OutsideFolder):
        folders.resolve("door/file.png")


@pytest.mark.parametrize("prefix", ["../escaped", "a/../../escaped", "/tmp/escaped", "..", "", "video/.."])
def test_a_prefix_cannot_leave_the_output_folder(base, prefix):
    with pytest.raises(folders.OutsideFolder):
        save_video(clip(1), prefix=prefix)
    assert not [path for path in base.rglob("*") if path.is_file()]


def test_files_of_a_series_are_numbered_and_never_overwritten():
    names = [save_video(clip(1)).name for _ in range(3)]
    assert names == ["test_00001_.mp4", "test_00002_.mp4", "test_00003_.mp4"]
    assert save_video(clip(1), prefix="size/%width%x%height%").name == "48x32_00001_.mp4"


def test_model_files_are_listed_and_confined(base):
    (base / "models/diffusion_models/sub").mkdir(parents=True)
    (base / "models/diffusion_models/sub/a.safetensors").touch()
    (base / "models/diffusion_models/b.ckpt").touch()
    assert comfy.model_files("diffusion_models") == ["sub/a.safetensors"]
    assert comfy.model_path("diffusion_models", "sub/a.safetensors").is_file()
    with pytest.raises(FileNotFoundError, match="holds sub/a.safetensors"):
        comfy.model_path("diffusion_models", "c.safetensors")
    with pytest.raises(folders.OutsideFolder):
        comfy.model_path("diffusion_models", "../../x.safetensors")


def test_models_on_another_disk_are_found_behind_links(base, tmp_path):
    disk, models = tmp_path / "disk", base / "models"
    (disk / "wan").mkdir(parents=True)
    for name in ("a.safetensors", "wan/b.safetensors"):
        (disk / name).touch()
    (disk / "wan/round").symlink_to(disk)
    models.mkdir(parents=True)
    (models / "loras").symlink_to(disk)
    (models / "vae").mkdir()
    (models / "vae/one.safetensors").symlink_to(disk / "a.safetensors")
    (models / "vae/wan").symlink_to(disk / "wan")
    assert comfy.model_files("loras") == ["a.safetensors", "wan/b.safetensors"]
    assert comfy.model_files("vae") == ["one.safetensors", "wan/b.safetensors", "wan/round/a.safetensors"]
    for folder in ("loras", "vae"):
        assert all(comfy.model_path(folder, name).is_file() for name in comfy.model_files(folder))
    with pytest.raises(folders.OutsideFolder):
        comfy.model_path("vae", "../../secret.safetensors")


# --- pictures


def put(name: str, picture: Image.Image, **kwargs) -> str:
    picture.save(folders.directory("input") / name, **kwargs)
    return name


def test_a_picture_loads_as_image_and_mask():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    image, mask = call(CORE["LoadImage"], {"image": put("alpha.png", Image.fromarray(pixels))}).result
    assert torch.equal((image[0] * 255).round().byte(), torch.from_numpy(pixels[..., :3])), "colour under alpha is kept"
    assert torch.allclose(mask[0], 1 - torch.from_numpy(pixels[..., 3]).float() / 255), (
        "the mask is 1 where transparent"
    )
    image, mask = call(CORE["LoadImage"], {"image": put("plain.png", Image.fromarray(pixels[..., :3]))}).result
    assert image.shape == (1, 5, 7, 3) and mask.shape == (1, 64, 64) and not mask.any()


def test_a_photograph_is_turned_as_its_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    name = put("turned.jpg", Image.new("RGB", (40, 20), "red"), exif=exif)
    assert call(CORE["LoadImage"], {"image": name})[0].shape == (1, 40, 20, 3)


def test_an_animation_loads_as_a_batch_and_16_bits_are_not_clipped():
    pages = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    assert (
        call(CORE["LoadImage"], {"image": put("a.gif", pages[0], save_all=True, append_images=pages[1:])})[0].shape[0]
        == 3
    )
    grey = Image.fromarray(np.full((4, 4), 32768, np.uint16))
    assert call(CORE["LoadImage"], {"image": put("deep.png", grey)})[0].mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("content", [b"", b"not a picture", "cut"])
def test_a_broken_picture_is_named(content):
    if content == "cut":
        whole = bytes_io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, "PNG")
        content = whole.getvalue()[:3000]
    (folders.directory("input") / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match="broken.png.*Save it again as PNG"):
        call(CORE["LoadImage"], {"image": "broken.png"})


def test_saved_pictures_carry_the_graph():
    output = call(CORE["SaveImage"], {"images": clip(2), "filename_prefix": "pic"}, HIDDEN)
    entries = output.ui_dict()["images"]
    assert [entry["filename"] for entry in entries] == ["pic_00001_.png", "pic_00002_.png"]
    with Image.open(folders.directory("output") / entries[1]["filename"]) as picture:
        assert json.loads(picture.text["prompt"]) == PROMPT and json.loads(picture.text["workflow"]) == WORKFLOW
        assert picture.text["ai_generated"] == "true"
        assert np.abs(np.asarray(picture) / 255 - clip(2)[1].numpy()).max() <= 1 / 255
    ui = call(CORE["PreviewImage"], {"images": clip(1)}, HIDDEN).ui_dict()
    assert ui["images"][0]["type"] == "temp" and (folders.directory("temp") / ui["images"][0]["filename"]).is_file()


def test_an_animated_webp_plays():
    inputs = {
        "images": clip(5),
        "filename_prefix": "moving",
        "fps": 8.0,
        "lossless": False,
        "quality": 80,
        "method": "default",
    }
    ui = call(CORE["SaveAnimatedWEBP"], inputs, HIDDEN).ui_dict()
    assert ui["animated"] == [True]
    with Image.open(folders.directory("output") / ui["images"][0]["filename"]) as picture:
        assert picture.n_frames == 5
        assert json.loads(picture.getexif()[0x0110].removeprefix("prompt:")) == PROMPT
        assert json.loads(picture.getexif()[0x010F].removeprefix("workflow:")) == WORKFLOW


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"])
def test_scaling_fits_and_crops(method):
    scale = {"image": clip(2), "upscale_method": method}
    assert call(CORE["ImageScale"], scale | {"width": 16, "height": 0, "crop": "disabled"})[0].shape == (2, 11, 16, 3)
    square = call(CORE["ImageScale"], scale | {"width": 32, "height": 32, "crop": "center"})[0]
    assert square.shape == (2, 32, 32, 3)
    assert torch.allclose(square, clip(2)[:, :, 8:40], atol=2 / 255), "the centre, at its own scale"


# --- video


def test_a_video_survives_the_file():
    path = save_video(clip())
    assert path.parent.name == "video" and not list(path.parent.glob(".*"))
    loaded = video.VideoFromFile(path)
    parts = loaded.get_components()
    assert (
        parts.images.shape == (9, 32, 48, 3) and parts.frame_rate == 8 and loaded.get_duration() == pytest.approx(9 / 8)
    )
    error = (parts.images - clip()).square().mean(dim=(1, 2, 3))
    assert -10 * error.log10().max() >= 35, "dB, on every frame"
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt, stream.frames) == ("h264", "yuv420p", 9)


def boxes(data: bytes, start: int, end: int):
    """ISO base media boxes: (type, start of content, end)."""
    while start + 8 <= end:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        yield kind, start + 8, start + size
        start += max(8, size)


def test_the_editor_finds_the_graph_in_an_mp4():
    """It walks moov > udta > meta > keys, ilst in the first megabytes of a dropped file."""
    data = save_video(clip()).read_bytes()
    top = {kind: (start, end) for kind, start, end in boxes(data, 0, len(data))}
    assert top[b"moov"][0] < top[b"mdat"][0]
    udta = next((s, e) for kind, s, e in boxes(data, *top[b"moov"]) if kind == b"udta")
    meta = next((s + 4, e) for kind, s, e in boxes(data, *udta) if kind == b"meta")
    inner = {kind: (start, end) for kind, start, end in boxes(data, *meta)}
    keys = [data[s:e].decode() for _, s, e in boxes(data, inner[b"keys"][0] + 8, inner[b"keys"][1])]
    found = {}
    for number, start, end in boxes(data, *inner[b"ilst"]):
        value = next((s + 8, e) for kind, s, e in boxes(data, start, end) if kind == b"data")
        found[keys[int.from_bytes(number, "big") - 1]] = data[slice(*value)].decode()
    assert json.loads(found["prompt"]) == PROMPT and json.loads(found["workflow"]) == WORKFLOW
    assert found["ai_generated"] == "true" and found["digital_source_type"].endswith("trainedAlgorithmicMedia")


def test_the_ai_label_is_for_generated_video_and_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("VDIT_AI_LABEL", "0")
    assert "ai_generated" not in video.VideoFromFile(save_video(clip(1))).get_components().metadata
    monkeypatch.delenv("VDIT_AI_LABEL")
    monkeypatch.setitem(HIDDEN, io.Hidden.prompt, {"1": {"class_type": "LoadVideo", "inputs": {}}})
    assert "ai_generated" not in video.VideoFromFile(save_video(clip(1))).get_components().metadata


@pytest.mark.parametrize(("size", "advice"), [((33, 48), "48x32"), ((32, 47), "46x32"), ((2, 2), "16x16")])
def test_sides_that_h264_cannot_hold_are_refused(size, advice):
    with pytest.raises(ValueError, match=f"H.264.*{advice}"):
        save_video(clip(1, *size))
    assert not list(folders.directory("output").rglob("*.mp4"))


def test_a_loaded_video_is_copied_without_loss_and_keeps_its_graph():
    path = save_video(clip())
    target = path.with_name("copy.mp4")
    video.VideoFromFile(path).save_to(target, metadata={"extra": {"a": 1}})
    a, b = (video.VideoFromFile(p).get_components() for p in (path, target))
    assert torch.equal(a.images, b.images)
    assert json.loads(b.metadata["prompt"]) == PROMPT and json.loads(b.metadata["extra"]) == {"a": 1}


def test_sound_is_saved_with_the_video():
    tone = torch.sin(torch.arange(16000) / 16000 * 440 * 2 * torch.pi)[None, None]
    path = save_video(clip(17), audio={"waveform": tone, "sample_rate": 16000})
    images, audio, fps, bits, colours = call(CORE["GetVideoComponents"], {"video": video.VideoFromFile(path)}).result
    assert images.shape[0] == 17 and (fps, bits, colours) == (8.0, 8, "auto") and audio["sample_rate"] == 16000
    assert audio["waveform"].shape[2] == pytest.approx(16000, abs=2048) and audio["waveform"].abs().max() > 0.5


@pytest.mark.parametrize("content", [b"", b"not a video"])
def test_a_broken_video_is_named(content):
    (folders.directory("input") / "broken.mp4").write_bytes(content)
    (loaded,) = call(CORE["LoadVideo"], {"file": "broken.mp4"}).result
    with pytest.raises(ValueError, match="broken.mp4"):
        loaded.get_components()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file size")
@pytest.mark.parametrize("save", ["SaveVideo", "SaveImage"])
def test_a_full_disk_says_so_and_leaves_nothing(base, save):
    code = f"""
import resource, signal, sys, torch
from fractions import Fraction
from vdit.host import core_nodes, folders, video
from vdit.host.api import call
folders.use(base={str(base)!r})
nodes = {{cls.GET_SCHEMA().node_id: cls for cls in core_nodes.NODES}}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
images = torch.rand(9, 128, 128, 3, generator=torch.Generator().manual_seed(0))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
clip = video.VideoFromComponents(video.VideoComponents(images, Fraction(8)))
inputs = {{"SaveVideo": {{"video": clip}}, "SaveImage": {{"images": images}}}}[{save!r}]
call(nodes[{save!r}], inputs | {{"filename_prefix": "x"}})
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1 and "CannotSave" in run.stderr and "disk is full" in run.stderr, run.stderr
    assert not [path for path in base.rglob("*") if path.is_file()]


def test_a_failed_save_leaves_the_old_file_alone(base):
    target = base / "kept.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), writing.written(target) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old" and os.listdir(base) == ["kept.txt"]


# --- values


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (3, "3"), (None, "null"), ({"a": [1]}, '{\n    "a": [\n        1\n    ]\n}')]
)
def test_any_value_is_shown_as_text(value, text):
    assert call(CORE["PreviewAny"], {"source": value}).ui_dict() == {"text": [text]}


def test_primitives_hand_on_their_value():
    for name, value in (
        ("PrimitiveInt", 3),
        ("PrimitiveFloat", 0.5),
        ("PrimitiveString", "a"),
        ("PrimitiveBoolean", True),
    ):
        assert call(CORE[name], {"value": value}).result == (value,)


def test_frame_rates_are_saved_exactly():
    path = save_video(clip(4), fps=23.976)
    assert video.VideoFromFile(path).get_frame_rate() == Fraction(23976, 1000)
