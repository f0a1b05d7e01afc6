"""Depth as a control: inverse depth per frame, from 0 (far) to 1 (near), from metres, pictures or files of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .arrays import read_array
from .depth_holes import without_holes
from .pictures import cover, parts_of
from .signals import POOL, pool
from .span import ControlError, check_span

PERCENTILES = (0.01, 0.99)  # of a clip's inverse depth: they become 0 and 1 when near and far are not given
READINGS = ("brighter is nearer", "darker is nearer", "metres")
MAX_SAMPLES = 1_000_000  # pixels from which the percentiles are taken


@dataclass(frozen=True, eq=False)
class DepthMaps:
    """inverse [T,H,W] float32 in 0..1, 1 nearest; near, far: the metres that 1 and 0 stand for, None when unknown.

    strength, start, end: see span.py. remarks: what was changed in reading it. Raises ControlError for another shape,
    NaN, and values outside 0..1.
    """

    inverse: Tensor
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    near: float | None = None
    far: float | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        inverse = torch.as_tensor(self.inverse, dtype=torch.float32).detach().cpu()
        _check_maps(inverse, "depth")
        low, high = inverse.min().item(), inverse.max().item()
        if low < -1e-4 or high > 1 + 1e-4:
            raise ControlError(
                f"depth: inverse depth runs from {low:.4g} to {high:.4g}; expected 0 (far) to 1 (near): "
                "use VDiT Depth Control, which normalises it"
            )
        check_span("depth", self.strength, self.start, self.end)
        _check_range(self.near, self.far)
        object.__setattr__(self, "inverse", inverse if 0 <= low and high <= 1 else inverse.clamp(0, 1))

    @property
    def frames(self) -> int:
        """Frames of the clip that the maps are for."""
        return len(self.inverse)

    def metres(self) -> Tensor:
        """Depth [T,H,W] in metres. Raises ControlError when near and far are not known."""
        if self.near is None or self.far is None:
            raise ControlError(
                "depth: how many metres it stands for is not known; set near and far on VDiT Depth Control"
            )
        low = 1.0 / self.far
        return 1.0 / (self.inverse * (1.0 / self.near - low) + low).clamp_min(1e-6)

    def resized(self, width: int, height: int) -> DepthMaps:
        """For a clip of another size and the same shape. Raises ControlError for another shape, with the numbers."""
        h, w = self.inverse.shape[1:]
        if (w, h) == (width, height):
            return self
        check_same_shape("depth", w, h, width, height)
        maps = torch.nn.functional.interpolate(
            self.inverse[:, None], size=(height, width), mode="bilinear", antialias=True, align_corners=False
        )
        return replace(self, inverse=maps[:, 0].clamp(0, 1))

    def preview(self) -> Tensor:
        """IMAGE [T,H,W,3] of the maps at the resolution that a model reads: means of 4x4 pixels, white is near."""
        h, w = self.inverse.shape[1:]
        cells = pool(self.inverse[:, : h // POOL * POOL, : w // POOL * POOL])
        shown = torch.nn.functional.interpolate(cells[:, None], size=(h, w), mode="nearest")
        return shown.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous()


def depth_from_metres(
    metres: Tensor, near: float | None = None, far: float | None = None, check: Callable[[], None] = lambda: None
) -> DepthMaps:
    """Metric depth [T,H,W] (along the optical axis; infinity is sky) as DepthMaps.

    Without near and far those are the clip's 1st and 99th percentile of inverse depth. check: called between its
    parts, may raise to cancel. Raises ControlError for NaN, depth that is not positive or the same everywhere.
    """
    metres = torch.as_tensor(metres).detach().cpu().float()
    _check_shape(metres, "depth")
    low = metres.min().item()
    if low <= 0:
        t = int((metres <= 0).flatten(1).any(1).nonzero()[0])
        raise ControlError(
            f"depth, frame {t}: the smallest value is {low:.4g} m; expected more than 0: fill pixels without depth"
        )
    inverse = torch.empty(metres.shape)
    for part in parts_of(len(metres), metres[0].numel()):
        check()
        inverse[part] = 1.0 / metres[part]
    check()
    _check_maps(inverse, "depth")
    ends = _check_varies(inverse, f"{low:.4g} m everywhere")
    check()
    near, far = near or 1.0 / ends[1], far or 1.0 / max(ends[0], 1e-6)
    _check_range(near, far)
    # In place: of 81 frames at 832x480 each copy takes 129 MB.
    check()
    scaled = inverse.sub_(1.0 / far).div_(1.0 / near - 1.0 / far).clamp_(0, 1)
    check()
    return DepthMaps(scaled, near=near, far=far)


def depth_from_pictures(
    pictures: Tensor,
    reading: str = READINGS[0],
    near: float | None = None,
    far: float | None = None,
    width: int | None = None,
    height: int | None = None,
) -> DepthMaps:
    """IMAGE [T,H,W,C] as DepthMaps. reading: one of READINGS; colour channels must agree (a grey picture).

    "brighter is nearer": inverse depth; stretched to the clip's percentiles unless near and far say what white and
    black are. "darker is nearer": distance, black at `near`, white at `far`, both needed. "metres": metres; pixels of
    0 or NaN have none: they are filled from their neighbours, with a remark.
    With width and height the maps are fitted as start pictures are: resized to cover, cropped to the centre.
    """
    if reading not in READINGS:
        raise ControlError(f"depth: reading is {reading!r}; expected one of {', '.join(READINGS)}")
    if not isinstance(pictures, torch.Tensor) or pictures.ndim != 4 or pictures.shape[-1] not in (1, 3, 4):
        found = list(pictures.shape) if isinstance(pictures, torch.Tensor) else type(pictures).__name__
        raise ControlError(f"depth: the pictures are {found}; expected an IMAGE [frames, height, width, 3]")
    maps, holes = grey(pictures.detach().cpu().float()[..., :3]), ""
    if reading == "metres":  # before resizing, which would mix holes with depth
        maps, holes = without_holes(maps)
    _check_maps(torch.where(torch.isposinf(maps), 1.0, maps) if reading == "metres" else maps, "depth")
    if width is not None and height is not None and tuple(maps.shape[1:]) != (height, width):
        maps = cover_maps(maps, width, height, inverse=reading == "metres")
    if reading == "metres":
        return replace(depth_from_metres(maps, near, far), remarks=(holes,) if holes else ())
    low, high = maps.min().item(), maps.max().item()
    if low < 0 or high > 1 + 1e-3:
        raise ControlError(
            f"depth: the pictures have values {low:.4g} to {high:.4g}; expected 0 to 1, or set reading to metres"
        )
    ends = _check_varies(maps, f"{low:.4g} everywhere")
    if reading == "darker is nearer":
        if not near or not far:
            raise ControlError(
                "depth: pictures in which darker is nearer need near and far, the metres of black and white; set both, "
                "or invert the pictures and choose brighter is nearer"
            )
        _check_range(near, far)
        return depth_from_metres(near + maps.clamp(0, 1) * (far - near), near, far)
    if near and far:
        return DepthMaps(maps.clamp(0, 1), near=near, far=far)
    return DepthMaps(((maps - ends[0]) / (ends[1] - ends[0])).clamp(0, 1))


def grey(pictures: Tensor) -> Tensor:
    """The mean [...] of channels [..., C] that must agree. Raises ControlError for colours, which are no distances."""
    spread = (pictures.amax(-1) - pictures.amin(-1)).nan_to_num(0, 0, 0)
    if spread.max() > 0.1 * max(1.0, pictures.nan_to_num(0, 0, 0).abs().max().item()):
        raise ControlError(
            f"depth: the pictures are coloured (channels differ by up to {spread.max():.2g}); expected grey depth "
            "maps: turn off the colour map in the node that made them"
        )
    return pictures.mean(-1)


def read_depth(path: Path) -> Tensor:
    """Depth in metres [T,H,W] from .npy, or from an .npz with an array `depth`. Raises ControlError, TooLarge."""
    values = read_array(path, "depth")
    maps = torch.from_numpy(values.astype(np.float32))
    if maps.ndim == 4 and maps.shape[-1] == 1:
        maps = maps[..., 0]
    if maps.ndim == 2:
        maps = maps[None]
    if maps.ndim != 3:
        raise ControlError(f"{path}: the array is {list(maps.shape)}; expected [frames, height, width] in metres")
    return maps.contiguous()


def cover_maps(maps: Tensor, width: int, height: int, inverse: bool = False) -> Tensor:
    """Maps [T,H,W] resized to cover and cropped to the centre. inverse: average 1/value, as depth should be."""
    values = 1.0 / maps.clamp_min(1e-6) if inverse else maps
    top = values.max().clamp_min(1e-12)
    fitted = cover((values / top)[..., None].expand(-1, -1, -1, 3), width, height)[..., 0] * top
    return 1.0 / fitted.clamp_min(1e-9) if inverse else fitted


def check_same_shape(name: str, w: int, h: int, width: int, height: int) -> None:
    """Raise ControlError unless w:h is width:height to within a pixel of rounding."""
    if abs(w * height - h * width) > max(w, h, width, height):
        raise ControlError(
            f"{name} is {w}x{h} pixels and the video {width}x{height}: another shape; make the video a multiple of "
            f"{w}:{h}, or make the {name} {width}x{height}"
        )


def _check_shape(maps: Tensor, name: str) -> None:
    if maps.ndim != 3 or 0 in maps.shape:
        raise ControlError(f"{name}: the maps are {list(maps.shape)}; expected [frames, height, width]")
    if min(maps.shape[1:]) < POOL:
        raise ControlError(f"{name} is {maps.shape[2]}x{maps.shape[1]} pixels; expected at least {POOL}x{POOL}")


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite, in a tenth of the time of isfinite().all(), which makes copies."""
    return bool(torch.isfinite(torch.stack(values.aminmax())).all())


def _check_maps(maps: Tensor, name: str) -> None:
    _check_shape(maps, name)
    if not all_finite(maps):
        t = next(t for t, one in enumerate(maps) if not all_finite(one))
        count = int((~torch.isfinite(maps[t])).sum())
        raise ControlError(
            f"{name}, frame {t}: {count:,} values are NaN or infinite; the node that made them has failed"
        )


def _check_varies(values: Tensor, found: str) -> tuple[float, float]:
    """The percentiles. Raises ControlError where they are one value."""
    low, high = _ends(values)
    if high - low <= 1e-6 * max(abs(high), 1e-6):
        raise ControlError(
            f"depth is constant ({found}); expected depth that differs between near and far: check the input"
        )
    return low, high


def _ends(values: Tensor) -> tuple[float, float]:
    """The percentiles; where they coincide (a small thing before a flat wall) the extremes."""
    flat = values.flatten()
    flat = flat[:: math.ceil(len(flat) / MAX_SAMPLES)]
    low, high = (float(v) for v in np.quantile(flat.numpy(), PERCENTILES))  # selects, where torch.quantile sorts
    if high - low <= 1e-6 * max(abs(high), 1e-6):
        low, high = values.min().item(), values.max().item()
    return low, high


def _check_range(near: float | None, far: float | None) -> None:
    if near is None and far is None:
        return
    if near is None or far is None or not 0 < near < far:
        raise ControlError(f"depth: near is {near} and far {far} m; expected 0 < near < far, or neither")
