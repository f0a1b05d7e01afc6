"""Pictures and videos come in as a viewer or a player shows them, or are refused with what was found."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image
from vdit.host import frames, images, pixels
from vdit.host.video import VideoFromFile


def clip(path, pictures, times_ms, matrix=None):
    """An mp4 of grey values with these times; matrix: the display matrix's a, b, c, d, put into its header."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("h264", rate=25, options={"crf": "1", "bf": "0"})
        stream.width, stream.height = pictures[0].shape[1::-1]
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for picture, time in zip(pictures, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    if matrix:
        data = bytearray(path.read_bytes())
        track = data.index(b"tkhd") + 4 + 40  # after version, times, id, duration, layer and volume
        a, b, c, d = (value << 16 for value in matrix)
        data[track : track + 36] = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
        path.write_bytes(data)
    return VideoFromFile(path)


def corners():
    """96 x 64 with a bright upper left corner and a grey lower right one, so that every turn differs."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48], picture[32:, 48:] = 255, 128
    return picture


@pytest.mark.parametrize(
    "matrix, expected",
    [
        ((1, 0, 0, 1), lambda p: p),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),  # a phone held upright: a quarter turn clockwise
        ((0, -1, 1, 0), lambda p: np.rot90(p)),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((-1, 0, 0, 1), np.fliplr),
        ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
    ],
)
def test_a_video_comes_in_as_its_display_matrix_says(tmp_path, matrix, expected):
    video, picture = clip(tmp_path / "a.mp4", [corners()] * 3, [0, 40, 80], matrix), expected(corners())
    got = video.get_components().images[0].numpy()
    assert video.get_dimensions() == picture.shape[1::-1] and got.shape == picture.shape
    assert np.abs(got - picture / 255).mean() < 0.02
    video.save_to(tmp_path / "copy.mp4")
    copy = VideoFromFile(tmp_path / "copy.mp4")
    assert copy.get_dimensions() == picture.shape[1::-1]
    assert np.abs(copy.get_components().images[0].numpy() - picture / 255).mean() < 0.02


@pytest.mark.parametrize(
    "times_ms", [[0, 40, 80, 240, 280, 320], [0, 20, 40, 160, 320, 400, 900], [0, 33, 67, 133, 167]]
)
def test_uneven_times_become_a_constant_rate_and_are_said(tmp_path, times_ms):
    greys = [20 + 30 * index for index in range(len(times_ms))]
    pictures = [np.full((32, 32, 3), grey, np.uint8) for grey in greys]
    parts = clip(tmp_path / "a.mp4", pictures, times_ms).get_components()
    assert "uneven times" in parts.remarks[0]
    for index, image in enumerate(parts.images):
        shown = sum(time <= index / float(parts.frame_rate) * 1000 + 0.5 for time in times_ms) - 1
        assert abs(float(image.mean()) * 255 - greys[shown]) < 4
    assert abs((len(parts.images) - 1) / float(parts.frame_rate) - times_ms[-1] / 1000) <= 0.5 / float(parts.frame_rate)


@pytest.mark.parametrize("rate", [24, Fraction(30000, 1001), 60, 120])
def test_rounded_times_are_no_uneven_times(rate):
    assert not frames.uneven([round(index / float(rate), 3) for index in range(100)], Fraction(rate))


def tiff(values, name):
    return Image.fromarray(values).save(name, "TIFF")


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8),
        np.linspace(0.2, 0.4, 48, dtype=np.float32).reshape(6, 8),
        np.linspace(0, 65535, 48).astype(np.int32).reshape(6, 8),
        np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8),
    ],
    ids=["float", "part of the range", "32 bits", "16 bits"],
)
def test_float_and_deep_pictures_keep_their_values(tmp_path, values):
    tiff(values, tmp_path / "a.tif")
    white = 1 if values.dtype == np.float32 else 65535
    image = images.load(tmp_path / "a.tif")[0]
    assert torch.allclose(image[0, ..., 1].double(), torch.from_numpy(values / white).double(), atol=1e-6)


@pytest.mark.parametrize(
    "values, found",
    [
        (np.array([[0, 37.5]], np.float32), "float values reach from 0 to 37.5, expected 0 to 1"),
        (np.array([[-1, 1]], np.float32), "from -1 to 1"),
        (np.array([[0, np.nan]], np.float32), "expected 0 to 1"),
        (np.array([[0, 2**24]], np.int32), "integer values reach from 0 to 1.67772e+07, expected 0 to 65535"),
    ],
)
def test_values_whose_white_is_unknown_are_refused_with_their_range(tmp_path, values, found):
    tiff(values, tmp_path / "a.tif")
    with pytest.raises(ValueError, match="a.tif") as refused:
        images.load(tmp_path / "a.tif")
    assert found in str(refused.value)


def test_a_browser_is_shown_a_float_picture():
    shown = pixels.viewable(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)))
    assert np.asarray(shown)[0, :, 0].tolist() == [0, 128, 255]
    shown.save(io.BytesIO(), "WEBP")
