"""What a node shows in the graph, under the names of ComfyUI's V3 API (`from comfy_api.latest import ui`)."""

from __future__ import annotations

import json
import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .. import folders, provenance, running
from .io import ComfyNode
from .types import FolderType

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class SavedResult(dict):
    """A file for the front end's /view: filename, subfolder, type."""

    def __init__(self, filename: str, subfolder: str, type: FolderType):
        super().__init__(filename=filename, subfolder=subfolder, type=FolderType(type).value)


class Preview(dict):
    """What a node shows, by the keys of ComfyUI's "executed" message."""

    def as_dict(self) -> dict:
        """Itself: the name that ComfyUI's classes have for it."""
        return self


class SavedImages(Preview):
    """Shows pictures that are already saved."""

    def __init__(self, results: list[SavedResult], is_animated: bool = False):
        super().__init__({"images": results} | ({"animated": (True,)} if is_animated else {}))


class PreviewVideo(Preview):
    """Shows video files that are already saved."""

    def __init__(self, values: list[SavedResult]):
        super().__init__(images=values, animated=(True,))


class PreviewText(Preview):
    """Shows a text."""

    def __init__(self, value: str):
        super().__init__(text=(value,))


class PreviewImage(Preview):
    """Saves a batch [B, H, W, C] of images to the temp folder and shows it."""

    def __init__(self, image: Tensor, animated: bool = False, cls: type[ComfyNode] | None = None):
        prefix = f"ComfyUI_temp_{os.urandom(3).hex()[:5]}"
        values = save_images(image, prefix, FolderType.temp, cls, compress_level=1)
        super().__init__(images=values, animated=(animated,))


def embedded(cls: type[ComfyNode] | None) -> dict[str, str]:
    """What a saved file carries: {"workflow": JSON, "prompt": JSON}, which restore the graph, and its provenance.

    cls: the calling node; it must ask for the hidden prompt and extra_pnginfo (output nodes do).
    """
    if cls is None:
        return {}
    texts = {key: json.dumps(value) for key, value in (cls.hidden.extra_pnginfo or {}).items()}
    if cls.hidden.prompt:
        texts["prompt"] = json.dumps(cls.hidden.prompt)
    return texts | provenance.tags(cls.hidden.prompt)


def save_images(
    images: Tensor,
    filename_prefix: str,
    folder_type: FolderType,
    cls: type[ComfyNode] | None = None,
    compress_level: int = 4,
) -> list[SavedResult]:
    """Saves images [B, H, W, C] in 0..1 as one PNG each, with the graph of the calling node `cls` embedded."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, text in embedded(cls).items():
        info.add_text(key, text)
    pictures = _pil_images(images)
    results = []
    with folders.save_slot(filename_prefix, folder_type.value, *pictures[0].size, count=len(pictures)) as slot:
        for i, picture in enumerate(pictures):
            running.check_interrupted()
            save = partial(picture.save, format="PNG", pnginfo=info, compress_level=compress_level)
            path = slot.save(".png", save, i, slot.name.replace("%batch_num%", str(i)))
            results.append(saved(path, folder_type))
    return results


def saved(path: Path, folder_type: FolderType) -> SavedResult:
    """A file in one of the folders, as the front end names it."""
    return SavedResult(path.name, folders.subfolder(path, FolderType(folder_type).value), folder_type)


class ImageSaveHelper:
    """ComfyUI's name for functions that save."""

    save_images = staticmethod(save_images)


def save_animated_webp(
    images: Tensor, prefix: str, cls: type[ComfyNode], fps: float, lossless: bool, quality: int, method: int
) -> SavedResult:
    """Saves images [B, H, W, C] in 0..1 as one animated WebP in the output folder.

    The graph lies in EXIF Model and Make, where the front end looks.
    """
    pictures = _pil_images(images)
    exif = pictures[0].getexif()
    texts = embedded(cls)
    if "prompt" in texts:
        exif[0x0110] = "prompt:" + texts.pop("prompt")
    for i, (key, text) in enumerate(texts.items()):
        exif[0x010F - i] = f"{key}:{text}"
    form = {"save_all": True, "append_images": pictures[1:], "duration": int(1000 / fps), "exif": exif}
    save = partial(pictures[0].save, format="WEBP", **form, lossless=lossless, quality=quality, method=method)
    with folders.save_slot(prefix, "output", *pictures[0].size) as slot:
        return saved(slot.save(".webp", save), FolderType.output)


def _pil_images(images: Tensor) -> list[Image]:
    """[B, H, W, C] in 0..1 -> PIL images. What is not a number becomes black, with a line in the log."""
    import torch
    from PIL import Image

    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"images have the shape {tuple(images.shape)}, expected [frames, height, width, channels], none 0"
        )
    pictures, whole = [], True
    for image in images:
        running.check_interrupted()
        frame = image.detach().float().cpu()
        whole &= bool(torch.isfinite(frame).all())
        pixels = (torch.nan_to_num(frame, nan=0.0) * 255).clamp(0, 255).byte().numpy()
        pictures.append(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
    if not whole:
        logging.getLogger(__name__).warning("the images hold values that are no numbers (NaN); they are saved as black")
    return pictures
