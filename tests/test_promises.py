"""What a file's head promises is checked before memory is taken for it."""

import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import random_world_model
from PIL import Image
from safetensors.torch import load_file, save_file
from vdit.control.depth import read_depth
from vdit.control.span import ControlError
from vdit.host import embedded, images, video
from vdit.machine import limits
from vdit.machine.pictures import open_picture
from vdit.model.config import VDiTConfig
from vdit.model.errors import CheckpointError
from vdit.model.files import bundle
from vdit.model.files.weights import open_weights
from vdit.model.wan import WanTransformer

GIGABYTE = 1 << 30


@pytest.fixture
def weights(tmp_path):
    return bundle.save_world_model(random_world_model(0), tmp_path / "m.safetensors")


def with_header(path, change):
    """The bundle with its VDiT header changed."""
    tensors, header = load_file(path), bundle.open_weights(path).metadata["vdit"]
    header = json.loads(header)
    change(header)
    save_file(tensors, path, metadata={"vdit": json.dumps(header)})
    return path


def png_head(width, height):
    """A PNG whose head promises a size, and which holds nearly nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [13_000, 100_000])
def test_a_picture_that_promises_too_many_pixels_is_refused_with_the_numbers(tmp_path, side):
    (tmp_path / "a.png").write_bytes(png_head(side, side))
    with pytest.raises(ValueError, match=r"a\.png.*megapixels|a\.png.*pixels"):
        images.load(tmp_path / "a.png")


def test_an_animation_that_promises_too_many_pixels_is_refused_with_the_numbers(tmp_path):
    pages = [Image.new("P", (1000, 1000), n) for n in range(40)]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:] * 9, duration=40)
    with pytest.raises(limits.TooLarge, match=r"352 frames of 1000x1000 are 352 megapixels, at most 300"):
        images.load(tmp_path / "a.gif")
    assert images.load(tmp_path / "a.gif", most=2)[0].shape == (2, 1000, 1000, 3)


WEBP = {"animated": {"save_all": True}, "lossless": {"lossless": True}, "lossy": {}}


@pytest.mark.parametrize("kind", WEBP)
def test_a_webp_that_promises_too_many_pixels_is_refused_before_pillow_takes_memory_for_it(tmp_path, monkeypatch, kind):
    path, frames = tmp_path / "a.webp", [Image.new("RGB", (20, 12), (i, 0, 0)) for i in (9, 99)]
    frames[0].save(path, append_images=frames[1:] if kind == "animated" else [], **WEBP[kind])
    assert images.load(path)[0].shape[1:3] == (12, 20)
    data = bytearray(path.read_bytes())
    assert open_picture(path).size == (20, 12)
    if kind == "animated":
        data[24:30] = b"\xff" * 6
    elif kind == "lossless":
        data[21:25] = (int.from_bytes(data[21:25], "little") | 0x0FFFFFFF).to_bytes(4, "little")
    else:
        data[26:30] = b"\xff\x3f" * 2
    path.write_bytes(data)
    monkeypatch.setattr(Image, "open", None)  # is not reached
    with pytest.raises(limits.TooLarge, match=r"a\.webp: \d+x\d+ are .* megapixels"):
        images.load(path)
    with pytest.raises(ValueError, match="megapixels"):
        list(embedded._picture_tags(path))


def test_limits_are_settings_with_kind_messages(monkeypatch, tmp_path):
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setenv("VDIT_MAX_PICTURE_MEGAPIXELS", "0.001")
    with pytest.raises(limits.TooLarge, match="set VDIT_MAX_PICTURE_MEGAPIXELS"):
        images.load(tmp_path / "a.png")
    monkeypatch.setenv("VDIT_MAX_PICTURE_MEGAPIXELS", "many")
    with pytest.raises(ValueError, match="VDIT_MAX_PICTURE_MEGAPIXELS is 'many'; expected a number above 0"):
        images.load(tmp_path / "a.png")


def test_what_does_not_fit_into_the_free_memory_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "free_memory", lambda: GIGABYTE)
    limits.check_pixels("a.mp4", 832, 480, 81, "video")
    with pytest.raises(limits.TooLarge, match=r"a\.mp4: needs 3\.2 GB of memory, 1\.1 GB are free"):
        limits.check_pixels("a.mp4", 1920, 1080, 102, "video")


def test_free_memory_is_a_plausible_number():
    assert 1e7 < limits.free_memory() < 1e14


def npy(shape, there=0, dtype="<f8"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + b"\0" * there


def test_an_array_that_promises_more_than_is_there_or_allowed_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "depth.npy"
    path.write_bytes(npy((10**6, 1000, 1000), 64))
    with pytest.raises(ControlError, match="8,000,000,000,000 bytes of values, .* are there: it was cut short"):
        read_depth(path)
    np.savez_compressed(tmp_path / "depth.npz", depth=np.zeros((100, 100, 100)))
    monkeypatch.setenv("VDIT_MAX_ARRAY_MEGABYTES", "4")
    with pytest.raises(limits.TooLarge, match=r"an array \[100, 100, 100\] of 8 MB, at most 4 are read"):
        read_depth(tmp_path / "depth.npz")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("transformer", "layers", 100_000),
        ("transformer", "dim", 128 * 10**9),
        ("transformer", "ffn_dim", 10**12),
        ("text", "max_words", 10**10),
    ],
)
def test_a_header_that_asks_for_more_than_the_file_holds_is_refused_before_memory_is_taken(weights, part, key, value):
    path = with_header(weights, lambda header: header[part].update({key: value}))
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        bundle.load_world_model(path)


@pytest.mark.parametrize("change", [{"beside": 3}, {"beside": {"file": 3}}, {"transformer": [1]}, {"text": "a"}])
def test_headers_of_other_types_are_refused_by_the_file_s_name(weights, change):
    with pytest.raises(CheckpointError, match=r"m\.safetensors: .*get the file again"):
        bundle.load_world_model(with_header(weights, lambda header: header.update(change)))


def test_a_student_whose_teacher_is_itself_is_refused(weights):
    beside = {"file": weights.name, "parts": "0", "rank": None}
    with pytest.raises(CheckpointError, match="is a student too, not its teacher"):
        bundle.load_world_model(with_header(weights, lambda header: header.update(beside=beside)))


def test_one_changed_bit_in_a_bundle_is_found(weights):
    data = bytearray(weights.read_bytes())
    data[-1000] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="1 of .* tensors are not those that were saved"):
        bundle.load_world_model(weights)


def test_bundles_without_checksums_still_load(weights):
    bundle.load_world_model(with_header(weights, lambda header: header.pop("checksums")))


def test_one_changed_bit_in_a_shipped_bundle_is_found_by_its_model_card(tmp_path):
    source = Path(bundle.__file__).parents[2] / "weights" / "vdit-small.safetensors"
    data = bytearray(source.read_bytes())
    data[-1000] ^= 1
    (tmp_path / source.name).write_bytes(data)
    (tmp_path / source.name).with_suffix(".md").write_bytes(source.with_suffix(".md").read_bytes())
    with pytest.raises(CheckpointError, match=r"SHA-256 is not the one that vdit-small\.md gives"):
        bundle.load_world_model(tmp_path / source.name)


def film(path, sizes):
    """An AVI of JPEGs, of these sizes: [(width, height), ...]."""
    import av

    with av.open(str(path), "w", format="avi") as out:
        stream = out.add_stream("mjpeg", rate=8)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuvj420p"
        for n, (width, height) in enumerate(sizes):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
            encoder.time_base = Fraction(1, 8)
            picture = np.full((height, width, 3), 40 * n, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj420p")
            frame.pts = n
            for packet in encoder.encode(frame):
                packet.stream = stream
                out.mux(packet)
    return path


def test_a_video_whose_size_changes_midway_is_refused_by_the_frame(tmp_path):
    path = film(tmp_path / "a.avi", [(64, 32)] * 3 + [(32, 32)] * 2)
    with pytest.raises(ValueError, match="frame 4 is 32x32, those before 64x32: the size changes midway"):
        video.VideoFromFile(path).get_components()


def test_a_video_that_promises_too_much_is_refused(tmp_path, monkeypatch):
    path = film(tmp_path / "a.avi", [(64, 32)] * 5)
    monkeypatch.setenv("VDIT_MAX_VIDEO_MEGAPIXELS", "0.009")
    monkeypatch.setattr(video, "CHECKED_EVERY", 5)
    with pytest.raises(limits.TooLarge, match="5 frames of 64x32"):
        video.VideoFromFile(path).get_components()


def test_scaled_images_that_cannot_be_held_are_refused_before_work():
    with pytest.raises(limits.TooLarge, match="the scaled images: 16384x16384"):
        images.scaled(torch.zeros(1, 8, 8, 3), 16384, 16384, "lanczos", False)


CUT_IN_PLACE = """
import os, sys, torch
from test_promises import CONFIG, run
from vdit.model.errors import CheckpointError
from vdit.model.files import data
from vdit.model.files.fill import fill
from vdit.model.files.weights import open_weights
from vdit.model.wan import WanTransformer

path, data.READ_SHARE = sys.argv[1], float(sys.argv[2])
whole = open(path, "rb").read()
for cut_first in (True, False):
    with open(path, "wb") as file:
        file.write(whole)
    try:
        weights = open_weights(path)
        with torch.device("meta"):
            model = WanTransformer(CONFIG)
        weights.tensor("head.head.weight")
        if cut_first:
            os.truncate(path, 100_000)
        fill(model, weights, torch.float32, "the model")
        os.truncate(path, 100_000)
        print(run(model))
    except CheckpointError as e:
        print(e)
"""
CONFIG = VDiTConfig(dim=256, ffn_dim=1024, layers=2, in_channels=16, out_channels=16, text_dim=64, text_len=8)
CUT = r".*w\.safetensors: it was cut from [\d,]+ to 100,000 bytes while it was in use"


def run(model):
    return model(torch.zeros(1, 16, 1, 4, 4), torch.ones(1), torch.zeros(1, 8, 64)).abs().sum().item()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let a mapped file be cut")
@pytest.mark.parametrize("share", [1, 0], ids=["read", "mapped"])
def test_a_weights_file_that_is_cut_in_place_never_ends_the_process(tmp_path, share):
    path = tmp_path / "w.safetensors"
    save_file({name: value.contiguous() for name, value in WanTransformer(CONFIG).state_dict().items()}, path)
    child = subprocess.run(
        [sys.executable, "-P", "-c", CUT_IN_PLACE, str(path), str(share)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert not child.returncode, child.stderr
    while_loading, while_sampling = child.stdout.splitlines()
    assert re.match(CUT, while_loading)
    assert float(while_sampling) > 0 if share else re.match(CUT, while_sampling), "what was read stays as it was"


def test_weights_that_are_written_anew_while_they_are_read_are_refused(tmp_path):
    values = torch.arange(50_000.0)
    save_file({"a": values, "b": values + 1}, tmp_path / "w.safetensors")
    weights = open_weights(tmp_path / "w.safetensors")
    assert torch.equal(weights.tensor("a"), values)
    save_file({"a": values, "b": values + 2}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"w\.safetensors: it was written anew while it was in use"):
        weights.tensor("b")
