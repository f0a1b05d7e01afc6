"""Pictures that people hand in: checked when they arrive, fitted to the video's size when it is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

MIN_SIDE = 16  # pixels; below one cell of the codec there is nothing to follow
AT_ONCE = 1_000_000  # pixels of a video that are worked on between two questions whether it was cancelled: some 20 ms


class PictureError(ValueError):
    """A picture that cannot be used, with the reason."""


def as_pictures(image: Tensor, name: str, check: Callable[[], None] = lambda: None) -> tuple[Tensor, list[str]]:
    """Check IMAGE [T,H,W,C] and return (pictures [T,H,W,3] fp32 in 0..1 on the CPU, remarks for the user).

    Alpha is composited over white and said so. check: called for each few frames, may raise to cancel. Raises
    PictureError (naming `name`) for another rank or channel count, a side under 16 pixels, NaN or infinity, and values
    that are plainly not 0..1.
    """
    import torch

    if not isinstance(image, torch.Tensor) or image.ndim != 4:
        found = list(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise PictureError(f"{name} is {found}; expected an IMAGE [pictures, height, width, 3]")
    count, height, width, channels = image.shape
    if count == 0:
        raise PictureError(f"{name} holds no picture; expected at least one")
    if min(height, width) < MIN_SIDE:
        raise PictureError(f"{name} is {width}x{height} pixels; expected at least {MIN_SIDE}x{MIN_SIDE}")
    if channels not in (3, 4):
        raise PictureError(f"{name} has {channels} channels; expected 3 (RGB) or 4 (RGB and alpha)")
    pictures = torch.empty(count, height, width, 3)
    low, high = math.inf, -math.inf
    for part in parts_of(count, height * width):
        check()
        given = image[part].detach().to("cpu", torch.float32)
        ends = [float(end) for end in given.aminmax()]
        if not all(map(math.isfinite, ends)):
            raise PictureError(f"{name} holds NaN or infinity; the node that made it has failed")
        low, high = min(low, ends[0]), max(high, ends[1])
        given = given.clamp(0.0, 1.0)
        pictures[part] = given[..., :3] * given[..., 3:] + (1.0 - given[..., 3:]) if channels == 4 else given
    if low < -0.5 or high > 1.5:
        raise PictureError(f"{name} has values {low:.3g} to {high:.3g}; expected 0 to 1")
    return pictures, [f"{name} has transparency: it was composited over white"] * (channels == 4)


def parts_of(frames: int, pixels: int) -> list[slice]:
    """The frames of a video, as many in each part as have about AT_ONCE pixels."""
    step = max(1, AT_ONCE // max(1, pixels))
    return [slice(start, min(start + step, frames)) for start in range(0, frames, step)]


def as_masks(mask: Tensor, name: str, meaning: str = "0 (keep) to 1 (make anew)") -> Tensor:
    """Check MASK [T,H,W] or [H,W] and return it [T,H,W] fp32 in 0..1 on the CPU. Raises PictureError."""
    import torch

    if isinstance(mask, torch.Tensor) and mask.ndim == 2:
        mask = mask[None]
    if not isinstance(mask, torch.Tensor) or mask.ndim != 3 or 0 in mask.shape:
        found = list(mask.shape) if isinstance(mask, torch.Tensor) else type(mask).__name__
        empty = isinstance(mask, torch.Tensor) and mask.ndim == 3
        hint = ": it is empty, as where a segmenter finds nothing" if empty else ""
        raise PictureError(f"{name} is {found}; expected a MASK [frames, height, width]{hint}")
    mask = mask.detach().to("cpu", torch.float32)
    low, high = mask.min().item(), mask.max().item()
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise PictureError(f"{name} has values {low:.3g} to {high:.3g}; expected {meaning}")
    return mask.clamp(0.0, 1.0)


def cover_masks(masks: Tensor, width: int, height: int, check: Callable[[], None] = lambda: None) -> Tensor:
    """Masks [T,H,W], fitted as cover() fits pictures."""
    return cover(masks[..., None].expand(-1, -1, -1, 3), width, height, check)[..., 0]


def contain(pictures: Tensor, width: int, height: int) -> Tensor:
    """Resize [T,H,W,3] (bilinear, aspect kept) until it lies within width x height, centred on white."""
    import torch

    _, h, w, _ = pictures.shape
    scale = min(width / w, height / h)
    rows, columns = int(h * scale), int(w * scale)
    small = torch.nn.functional.interpolate(
        pictures.permute(0, 3, 1, 2), size=(rows, columns), mode="bilinear", align_corners=False
    )
    canvas = torch.ones(len(pictures), height, width, 3)
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas[:, top : top + rows, left : left + columns] = small.permute(0, 2, 3, 1)
    return canvas


def cover(pictures: Tensor, width: int, height: int, check: Callable[[], None] = lambda: None) -> Tensor:
    """Resize [T,H,W,3] (antialiased bicubic, aspect kept) until it covers width x height, then crop to the centre.

    A picture that has the size already comes back bit for bit. check: called for each few frames, may raise to cancel.
    """
    import torch

    _, h, w, _ = pictures.shape
    if (h, w) == (height, width):
        return pictures
    scale = max(width / w, height / h)
    rows, columns = max(height, round(h * scale)), max(width, round(w * scale))
    top, left = (rows - height) // 2, (columns - width) // 2
    made = torch.empty(len(pictures), 3, height, width, dtype=pictures.dtype, device=pictures.device)
    for part in parts_of(len(pictures), max(rows * columns, h * w)):
        check()
        resized = torch.nn.functional.interpolate(
            pictures[part].permute(0, 3, 1, 2),
            size=(rows, columns),
            mode="bicubic",
            antialias=True,
            align_corners=False,
        )
        made[part] = resized[:, :, top : top + height, left : left + width].clamp(0.0, 1.0)
    return made.permute(0, 2, 3, 1)
