"""Small real pictures and videos of every kind that is read."""

import io
from fractions import Fraction
from functools import cache

import numpy as np
from PIL import Image

WIDTH, HEIGHT, FRAMES = 48, 32, 6
Saved = dict[str, tuple[Image.Image, dict]]


def _still(seed: int = 0) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(seed).integers(0, 60, (HEIGHT, WIDTH, 3))
    return (np.stack((rows * 4, columns * 4, rows + columns), -1) + noise).clip(0, 255).astype(np.uint8)


@cache
def picture_seeds() -> dict[str, bytes]:
    """name -> file; names begin with the format."""
    rgb = Image.fromarray(_still())
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(_still(1)[..., 0]))
    grey = _still()[..., 0]
    pages = [Image.fromarray(_still(n)) for n in range(3)]
    whole = {"save_all": True, "append_images": pages[1:], "duration": 40}
    turned = Image.Exif()
    turned[0x0112] = 6
    saved: Saved = {
        "png rgb": (rgb, {}),
        "png rgba": (rgba, {}),
        "png palette": (rgb.quantize(16), {"transparency": 0}),
        "png 16 bits": (Image.fromarray(grey.astype(np.uint16) * 257), {}),
        "png 1 bit": (rgb.convert("1"), {}),
        "png animated": (pages[0], whole),
        "jpeg": (rgb, {"quality": 90}),
        "jpeg progressive": (rgb, {"progressive": True, "exif": turned}),
        "jpeg cmyk": (rgb.convert("CMYK"), {}),
        "jpeg grey": (rgb.convert("L"), {}),
        "webp lossy": (rgb, {"quality": 80}),
        "webp lossless": (rgba, {"lossless": True}),
        "webp animated": (pages[0], whole),
        "gif": (rgb, {}),
        "gif animated": (pages[0], whole),
        "bmp": (rgb, {}),
        "tiff": (rgb, {}),
        "tiff lzw": (rgb, {"compression": "tiff_lzw"}),
        "tiff float": (Image.fromarray((grey / np.float32(255)).astype(np.float32)), {}),
        "tiff 32 bits": (Image.fromarray(grey.astype(np.int32) * 257), {}),
        "tiff pages": (pages[0], whole),
    }
    found = {}
    for name, (picture, options) in saved.items():
        file = io.BytesIO()
        picture.save(file, name.split(" ")[0].upper(), **options)
        found[name] = file.getvalue()
    return found


def _video(muxer: str, codec: str, pixels: str, sound: str | None) -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as output:
        output.metadata["title"] = "a film"
        stream = output.add_stream(codec, rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        stream.thread_count = 1
        voice = output.add_stream(sound, rate=48_000) if sound else None
        for n in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(_still(n), format="rgb24").reformat(format=pixels)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if voice is not None:
            wave = np.sin(np.arange(48_000 * FRAMES // 8) * 0.05).astype(np.float32)[None]
            tone = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            tone.sample_rate, tone.pts = 48_000, 0
            resampler = av.AudioResampler(format=voice.format, layout="mono", rate=48_000)
            for piece in [*resampler.resample(tone), *resampler.resample(None), None]:
                output.mux(voice.encode(piece))
    return file.getvalue()


@cache
def video_seeds() -> dict[str, bytes]:
    """name -> file."""
    return {
        "mp4 h264 aac": _video("mp4", "libx264", "yuv420p", "aac"),
        "mov mjpeg pcm": _video("mov", "mjpeg", "yuvj420p", "pcm_s16le"),
        "mkv h264 opus": _video("matroska", "libx264", "yuv420p", "libopus"),
        "webm vp9 opus": _video("webm", "libvpx-vp9", "yuv420p", "libopus"),
        "avi mjpeg mp3": _video("avi", "mjpeg", "yuvj420p", "pcm_s16le"),
        "mpegts h264": _video("mpegts", "libx264", "yuv420p", None),
    }
