"""Picture files -> tensors, and tensors scaled, as ComfyUI's own nodes do it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from ..machine.limits import TooLarge, check_pixels
from ..machine.pictures import open_picture
from . import pixels, running

log = logging.getLogger(__name__)

SCALE_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]


def load(path: Path, most: int | None = None):
    """(IMAGE [B, H, W, 3], MASK [B, H, W]): B frames of an animated file, else 1, turned as its EXIF data says.
    most: frames to read; None: all.

    White is 1 in float pictures and 65535 in those of 16 or 32 bit integers; values outside of that are refused.
    The mask is 1 where the picture is transparent; without an alpha channel it is [B, 64, 64] of zeros.
    Raises ValueError, naming the file, when it is no picture, is cut short or is empty.
    """
    import numpy as np
    import torch
    from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

    frames, masks = [], []
    try:
        with open_picture(path) as picture:
            count = 1 if picture.format == "MPO" else min(most or sys.maxsize, getattr(picture, "n_frames", 1))
            width, height = picture.size
            check_pixels(str(path), width, height, count)
            if picture.format == "PNG":  # its check sums: Pillow draws damaged pixels without looking at them
                with Image.open(path) as whole:
                    whole.verify()
            for page in ImageSequence.Iterator(picture):
                running.check_interrupted()
                page = ImageOps.exif_transpose(page)
                rgb = pixels.rgb(page)
                if frames and rgb.shape != frames[0].shape:
                    log.warning("%s: a page of another size than the first is left out", path)
                    continue
                frames.append(rgb)
                masks.append(pixels.transparency(page))
                if (
                    len(frames) == most or picture.format == "MPO"
                ):  # a phone's depth and gain maps follow the photograph
                    break
    except UnidentifiedImageError as reason:
        size = path.stat().st_size
        found = f"{size} bytes that are no picture" if size else "an empty file"
        raise ValueError(
            f"{path}: found {found}, expected PNG, JPEG, WebP or another picture. Save it again as PNG"
        ) from reason
    except (TooLarge, running.Interrupted):
        raise
    except Image.DecompressionBombError as reason:  # Pillow's own limit, before the size can be asked for
        raise TooLarge(f"{path}: {reason} Make it smaller, or cut it into pieces") from reason
    except Exception as reason:  # Pillow's readers raise whatever their parsers meet
        raise ValueError(
            f"{path}: the picture is damaged or of a kind that is not read ({reason}). Save it again as PNG"
        ) from reason
    if not frames:
        raise ValueError(f"{path}: holds no picture")
    images = torch.from_numpy(np.stack(frames))
    if all(mask is None for mask in masks):
        return images, torch.zeros(len(masks), 64, 64)
    masks = [np.zeros(frames[0].shape[:2], np.float32) if mask is None else mask for mask in masks]
    return images, torch.from_numpy(np.stack(masks))


def scaled(images, width: int, height: int, method: str, crop: bool):
    """[B, H, W, C] at another size; a side of 0 keeps the proportions. crop: cut to the new proportions first."""
    import torch

    if not width and not height:
        return images
    high, wide = images.shape[1:3]
    width = width or max(1, round(wide * height / high))
    height = height or max(1, round(high * width / wide))
    if crop:
        left = round((wide - high * width / height) / 2) if wide * height > high * width else 0
        top = round((high - wide * height / width) / 2) if wide * height < high * width else 0
        images = images[:, top : high - top, left : wide - left]
    check_pixels("the scaled images", width, height, len(images), "video")
    if method == "lanczos":
        return _lanczos(images, width, height)
    result = torch.empty(len(images), height, width, images.shape[-1], dtype=images.dtype, device=images.device)
    for i, image in enumerate(images):
        running.check_interrupted()
        channels = image[None].movedim(-1, 1)
        result[i] = torch.nn.functional.interpolate(channels, size=(height, width), mode=method)[0].movedim(0, -1)
    return result


def batched(images: list):
    """[B, H, W, C] of several, one after the other: the others scaled to the first one's size, cut to its shape.

    Where one has an alpha channel, the others get an opaque one.
    """
    import torch

    height, width, channels = images[0].shape[1], images[0].shape[2], max(each.shape[-1] for each in images)
    fitted = [scaled(each, width, height, "bilinear", True) if each.shape[1:3] != (height, width) else each
              for each in images]  # fmt: skip
    opaque = [torch.nn.functional.pad(each, (0, channels - each.shape[-1]), value=1.0) for each in fitted]
    return torch.cat([each.to(opaque[0]) for each in opaque])


def _lanczos(images, width: int, height: int):
    import numpy as np
    import torch
    from PIL import Image

    result = torch.empty(len(images), height, width, images.shape[-1], dtype=images.dtype, device=images.device)
    for i, image in enumerate(images):
        running.check_interrupted()
        levels = (image.float().cpu() * 255).clamp(0, 255).byte().numpy()
        resized = np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.LANCZOS))
        result[i] = torch.from_numpy(resized.copy()).float() / 255
    return result
