"""What a node shows in the graph, under the names of ComfyUI's V3 API (`from comfy_api.latest import ui`)."""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path

from .. import folders, provenance
from ..safe_write import written
from .types import FolderType


class SavedResult(dict):
    """A file for the front end's /view: filename, subfolder, type."""

    def __init__(self, filename: str, subfolder: str, type: FolderType):
        super().__init__(filename=filename, subfolder=subfolder, type=FolderType(type).value)


class SavedImages:
    def __init__(self, results: list[SavedResult], is_animated: bool = False):
        self.results, self.is_animated = results, is_animated

    def as_dict(self) -> dict:
        return {"images": self.results} | ({"animated": (True,)} if self.is_animated else {})


class PreviewVideo:
    """Shows video files that are already saved."""

    def __init__(self, values: list[SavedResult], **kwargs):
        self.values = values

    def as_dict(self) -> dict:
        return {"images": self.values, "animated": (True,)}


class PreviewText:
    def __init__(self, value: str, **kwargs):
        self.value = value

    def as_dict(self) -> dict:
        return {"text": (self.value,)}


class PreviewImage:
    """Saves a batch [B, H, W, C] of images to the temp folder and shows it."""

    def __init__(self, image, animated: bool = False, cls=None, **kwargs):
        prefix = f"ComfyUI_temp_{uuid.uuid4().hex[:5]}"
        self.values = ImageSaveHelper.save_images(image, prefix, FolderType.temp, cls, compress_level=1)
        self.animated = animated

    def as_dict(self) -> dict:
        return {"images": self.values, "animated": (self.animated,)}


def embedded(cls) -> dict[str, str]:
    """What a saved file carries: {"workflow": JSON, "prompt": JSON}, which restore the graph, and its provenance.

    cls: the calling node; it must ask for the hidden prompt and extra_pnginfo (output nodes do).
    """
    if cls is None:
        return {}
    texts = {key: json.dumps(value) for key, value in (cls.hidden.extra_pnginfo or {}).items()}
    if cls.hidden.prompt:
        texts["prompt"] = json.dumps(cls.hidden.prompt)
    return texts | provenance.tags(cls.hidden.prompt)


def _pil_images(images) -> list:
    """Tensor [B, H, W, C] in 0..1 -> PIL images; says so when values lie outside or are not numbers."""
    import torch
    from PIL import Image

    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"images have the shape {tuple(images.shape)}, expected [frames, height, width, channels], none 0"
        )
    images = images.detach().float().cpu()
    if not torch.isfinite(images).all():
        logging.getLogger(__name__).warning("the images hold values that are no numbers (NaN); they are saved as black")
        images = torch.nan_to_num(images, nan=0.0)
    pixels = (images * 255).clamp(0, 255).byte().numpy()
    return [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in pixels]


class ImageSaveHelper:
    """Saves batches of images [B, H, W, C] in 0..1 with the graph embedded; `cls` is the calling node."""

    @staticmethod
    def save_images(images, filename_prefix: str, folder_type: FolderType, cls=None, compress_level: int = 4):
        """One PNG an image. Returns a list of SavedResult."""
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        for key, text in embedded(cls).items():
            info.add_text(key, text)
        pictures = _pil_images(images)
        folder, name, counter, subfolder = _slot(filename_prefix, folder_type, images)
        results = []
        for i, picture in enumerate(pictures):
            file = f"{name.replace('%batch_num%', str(i))}_{counter + i:05}_.png"
            with written(folder / file) as beside:
                picture.save(beside, format="PNG", pnginfo=info, compress_level=compress_level)
            results.append(SavedResult(file, subfolder, folder_type))
        return results

    @staticmethod
    def get_save_images_ui(images, filename_prefix: str, cls=None, compress_level: int = 4) -> SavedImages:
        return SavedImages(ImageSaveHelper.save_images(images, filename_prefix, FolderType.output, cls, compress_level))

    @staticmethod
    def save_animated_webp(images, filename_prefix, folder_type, cls, fps, lossless, quality, method) -> SavedResult:
        """All images as one animated WebP. The graph lies in EXIF Model and Make, where the front end looks."""
        pictures = _pil_images(images)
        exif = pictures[0].getexif()
        texts = embedded(cls)
        if "prompt" in texts:
            exif[0x0110] = "prompt:" + texts.pop("prompt")
        for i, (key, text) in enumerate(texts.items()):
            exif[0x010F - i] = f"{key}:{text}"
        folder, name, counter, subfolder = _slot(filename_prefix, folder_type, images)
        file = f"{name}_{counter:05}_.webp"
        with written(folder / file) as beside:
            pictures[0].save(
                beside,
                format="WEBP",
                save_all=True,
                append_images=pictures[1:],
                duration=int(1000 / fps),
                exif=exif,
                lossless=lossless,
                quality=quality,
                method=method,
            )
        return SavedResult(file, subfolder, folder_type)

    @staticmethod
    def get_save_animated_webp_ui(images, filename_prefix, cls, fps, lossless, quality, method) -> SavedImages:
        result = ImageSaveHelper.save_animated_webp(
            images, filename_prefix, FolderType.output, cls, fps, lossless, quality, method
        )
        return SavedImages([result], is_animated=len(images) > 1)


def _slot(prefix: str, folder_type: FolderType, images) -> tuple[Path, str, int, str]:
    return folders.save_slot(prefix, FolderType(folder_type).value, images.shape[2], images.shape[1])
