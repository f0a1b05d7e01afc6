"""Array types of the room, by kind of number; shapes stand where an array is born."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..geometry.camera_numpy import Floats as Floats

Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.integer]
