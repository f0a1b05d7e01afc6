"""Keeps freed memory in the process for later allocations, where the C library is glibc.

glibc hands large pieces back to the system and asks for them again, and every page that comes back costs a fault. Of a
video's tensors of some MB each, made and dropped all the time, that is a sixth of a one-step preview.
"""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # options of mallopt(3)
KEPT = 256 << 20  # bytes at the end of the heap
LARGEST = 32 << 20  # bytes of a piece that comes from the heap: more is not allowed


def keep_freed_memory() -> bool:
    """Whether this process keeps up to KEPT bytes of what it frees from now on."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # Windows, macOS, musl
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST)) and bool(mallopt(TRIM_THRESHOLD, KEPT))
