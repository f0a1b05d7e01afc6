"""Depth from files of numbers. NumPy's format only, and never a pickle in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .span import ControlError

LARGEST = 4_000_000_000  # bytes


def read_depth(path: Path) -> Tensor:
    """Depth in metres [T,H,W] from .npy, or from an .npz with an array named `depth`. Raises ControlError."""
    if path.stat().st_size > LARGEST:
        raise ControlError(f"{path}: {path.stat().st_size:,} bytes; expected at most {LARGEST:,}")
    try:
        with open(path, "rb") as f:
            loaded = np.load(f, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                if "depth" not in loaded.files:
                    raise ControlError(
                        f"{path}: holds {', '.join(loaded.files) or 'nothing'}; expected an array named depth"
                    )
                loaded = loaded["depth"]
    except ControlError:
        raise
    except Exception as e:  # np.load raises whatever its parsers meet
        raise ControlError(
            f"{path}: cannot be read as an array ({e}); expected .npy or .npz without pickled objects"
        ) from e
    if loaded.dtype.kind not in "fiu":
        raise ControlError(f"{path}: holds {loaded.dtype}; expected numbers, depth in metres")
    if loaded.ndim == 4 and loaded.shape[-1] == 1:
        loaded = loaded[..., 0]
    if loaded.ndim == 2:
        loaded = loaded[None]
    if loaded.ndim != 3:
        raise ControlError(f"{path}: the array is {list(loaded.shape)}; expected [frames, height, width] in metres")
    return torch.from_numpy(loaded.astype(np.float32))
