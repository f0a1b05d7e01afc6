"""Arrays of numbers from .npy and .npz files, whose heads are checked before their values are read."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..machine.limits import PREFIX, TooLarge, check_memory, limits
from .span import ControlError

Numbers = NDArray[np.number[Any]]
AS_FLOATS = 4  # bytes a value once it is read as float32
ZIP = b"PK\x03\x04"


def read_array(path: Path, name: str) -> Numbers:
    """The array of an .npy, or the one called `name` of an .npz: numbers of any shape, never pickled objects.

    Raises ControlError naming the file, what was found and what was expected; TooLarge for more values than the limits
    or the free memory allow.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) != ZIP:
                file.seek(0)
                return _checked(path, file, path.stat().st_size)
        with zipfile.ZipFile(path) as archive:
            found = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            if name not in found:
                raise ControlError(f"{path}: holds {', '.join(found) or 'nothing'}; expected an array named {name}")
            with archive.open(found[name]) as member:
                return _checked(path, member, found[name].file_size)
    except (ControlError, TooLarge):
        raise
    except Exception as e:  # zipfile and numpy raise whatever their parsers meet
        raise ControlError(
            f"{path}: cannot be read as an array ({e}); expected .npy or .npz without pickled objects"
        ) from e


def _checked(path: Path, file: IO[bytes], there: int) -> Numbers:
    """The array that begins here; there: bytes of head and values together, as the file or the archive has them."""
    version = npy.read_magic(file)
    read_head = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_head(file)
    if dtype.kind not in "fiu":
        raise ControlError(f"{path}: holds {dtype}; expected numbers, without pickled objects")
    values = math.prod(shape)
    promised, most = values * dtype.itemsize, limits().array_megabytes * 1e6
    if promised > there:
        raise ControlError(f"{path}: promises {promised:,} bytes of values, {there:,} are there: it was cut short")
    if promised > most:
        raise TooLarge(
            f"{path}: an array {list(shape)} of {promised / 1e6:,.0f} MB, at most {most / 1e6:,.0f} are read; "
            f"shorten it, or set {PREFIX}ARRAY_MEGABYTES"
        )
    check_memory(str(path), values * (dtype.itemsize + AS_FLOATS))
    content = file.read(promised)
    return np.frombuffer(content, dtype, values).reshape(shape, order="F" if fortran else "C")
