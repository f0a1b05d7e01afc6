"""Pictures and videos that are damaged, cut short or strange: named with what was found, or read with a remark."""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
from media_seeds import picture_seeds, video_seeds
from PIL import Image
from vdit.host import embedded, images
from vdit.host.video import VideoFromFile
from vdit.machine.limits import TooLarge


def file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize(
    "name", ["png rgb", "jpeg", "jpeg progressive", "webp lossy", "gif", "bmp", "tiff", "tiff lzw"]
)
def test_a_picture_that_was_cut_short_is_named(name, tmp_path):
    content = picture_seeds()[name]
    path = file(tmp_path, "a.png", content[: len(content) * 2 // 3])
    with pytest.raises(ValueError, match=r"a\.png: .*Save it again as PNG"):
        images.load(path)


def test_a_png_with_one_changed_byte_of_its_pixels_is_refused(tmp_path):
    """Found by tests/fuzz: Pillow draws other pixels without a word."""
    content = bytearray(picture_seeds()["png palette"])
    content[content.index(b"IDAT") + 300] ^= 64
    with pytest.raises(ValueError, match=r"a\.png: the picture is damaged"):
        images.load(file(tmp_path, "a.png", bytes(content)))


def test_an_animation_that_promises_a_million_frames_is_refused_before_they_are_drawn(tmp_path):
    content = bytearray(picture_seeds()["png animated"])
    at = content.index(b"acTL")
    content[at + 4 : at + 8] = struct.pack(">I", 1_000_000)
    content[at + 12 : at + 16] = struct.pack(">I", zlib.crc32(content[at : at + 12]))
    with pytest.raises(TooLarge, match=r"a\.png: 1,000,000 frames of 48x32"):
        images.load(file(tmp_path, "a.png", bytes(content)))


def test_pages_of_another_size_are_left_out_and_said(tmp_path, caplog):
    pages = [Image.new("L", (20, 20)), Image.new("L", (30, 20)), Image.new("L", (20, 20))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with caplog.at_level(logging.WARNING):
        assert images.load(tmp_path / "a.tif")[0].shape == (2, 20, 20, 3)
    assert "a page of another size than the first is left out" in caplog.text


def test_a_picture_that_promises_too_much_holds_no_graph_and_says_so(tmp_path):
    """Found by tests/fuzz: a GIF of 2.5 gigapixels ended in Pillow's own error."""
    content = bytearray(picture_seeds()["gif"])
    content[6:10] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(ValueError, match="3600000000 pixels"):
        embedded.graph(file(tmp_path, "a.gif", bytes(content)))


def test_a_picture_of_more_pixels_than_pillow_opens_is_called_too_large(tmp_path):
    content = bytearray(picture_seeds()["gif"])
    content[6:10] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(TooLarge, match=r"a\.gif: .*3600000000 pixels.*Make it smaller"):
        images.load(file(tmp_path, "a.gif", bytes(content)))


def test_a_graph_of_thousands_of_digits_is_no_graph(tmp_path):
    from PIL import PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", '{"version": ' + "1" * 5000 + "}")
    Image.new("L", (8, 8)).save(tmp_path / "a.png", pnginfo=text)
    assert embedded.graph(tmp_path / "a.png") is None


def video(tmp_path, name, change=lambda content: content):
    return VideoFromFile(file(tmp_path, "a.video", bytes(change(bytearray(video_seeds()[name])))))


def test_metadata_in_latin_1_is_no_reason_to_refuse(tmp_path):
    film = video(tmp_path, "avi mjpeg mp3", lambda content: content.replace(b"a film", b"\xe9t\xe9 89"))
    assert film.get_components().images.shape == (6, 32, 48, 3)
    assert film.get_components().metadata["title"].endswith("89")


def test_a_codec_that_nobody_knows_is_named(tmp_path):
    film = video(tmp_path, "mov mjpeg pcm", lambda content: content.replace(b"jpeg", b"zzzz"))
    for ask in (film.get_components, film.get_dimensions, film.get_frame_count, film.get_frame_rate):
        with pytest.raises(ValueError, match=r"a\.video: .*re-export it"):
            ask()


def test_frames_that_the_head_promises_and_that_are_not_there_are_said(tmp_path):
    """Found by tests/fuzz: five frames of six came without a word."""

    def cut(content):
        last = content.rindex(b"00dc")  # the last picture of an AVI, or its entry in the index
        return content[: content.rindex(b"00dc", 0, content.index(b"idx1"))] if last else content

    found = video(tmp_path, "avi mjpeg mp3", cut).get_components()
    assert len(found.images) < 6
    assert any("its head promises 6 frames, " in remark and "cut short" in remark for remark in found.remarks)


def test_frames_beyond_those_that_the_head_promises_are_said(tmp_path):
    """Found by tests/fuzz: a picture stood twice in the file, and seven frames came of six without a word."""

    def doubled(content):
        start = content.index(b"00dc", content.index(b"movi"))
        size = 8 + int.from_bytes(content[start + 4 : start + 8], "little")
        size += size % 2
        return content[: start + size] + content[start : start + size] + content[start + size :]

    found = video(tmp_path, "avi mjpeg mp3", doubled).get_components()
    assert len(found.images) == 7
    assert any("promises 6 frames, 7 are there: it holds some twice" in remark for remark in found.remarks)


@pytest.mark.parametrize("name", list(video_seeds()))
def test_a_video_that_was_cut_short_is_named_or_remarked(name, tmp_path):
    film = video(tmp_path, name, lambda content: content[: len(content) // 2])
    try:
        found = film.get_components()
    except ValueError as reason:
        assert "a.video" in str(reason) and "re-export" in str(reason) or "holds no" in str(reason)
    else:
        assert len(found.images) < 6 and (found.remarks or film.get_frame_count() == len(found.images))


def test_damaged_sound_is_silent_from_there_and_said(tmp_path):
    def damage(content):
        middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
        noise = np.random.default_rng(0).integers(0, 256, 4000, np.uint8).tobytes()
        return content[:middle] + noise + content[middle + len(noise) :]

    whole = video(tmp_path, "mp4 h264 aac").get_components()
    assert whole.audio is not None and not whole.remarks
    try:
        found = video(tmp_path, "mp4 h264 aac", damage).get_components()
    except ValueError as reason:
        assert "a.video" in str(reason)
    else:
        assert found.remarks


def test_bytes_in_memory_are_named_too():
    with pytest.raises(ValueError, match="the video in memory: not a video that can be read"):
        VideoFromFile(io.BytesIO(b"no video at all" * 100)).get_components()
