"""How much one file may promise before it is read: settings, and the memory that is free now.

Files say in their first bytes how large they are once unpacked. That is checked before anything is allocated.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

PREFIX = "VDIT_MAX_"


class TooLarge(ValueError):
    """A file promises more than the limits or the free memory allow."""


@dataclass(frozen=True)
class Limits:
    """Each is set by an environment variable of its name: VDIT_MAX_PICTURE_MEGAPIXELS=400."""

    picture_megapixels: float = 128.0  # of one picture: cameras of 100 megapixels pass
    animation_megapixels: float = 300.0  # of all frames of a GIF, WebP, APNG or TIFF together: 750 of 832x480
    video_megapixels: float = 4000.0  # of all frames of a video: 480 of 3840x2160
    array_megabytes: float = 4000.0  # of one array in an .npy or .npz file
    memory_percent: float = 75.0  # of the free memory, that one file may take


def limits() -> Limits:
    """The limits as set. Raises ValueError naming the variable that is no positive number."""
    chosen: dict[str, float] = {}
    for field in fields(Limits):
        name = PREFIX + field.name.upper()
        if text := os.environ.get(name):
            try:
                chosen[field.name] = float(text)
            except ValueError:
                chosen[field.name] = 0.0
            if not 0 < chosen[field.name] < float("inf"):
                raise ValueError(f"{name} is {text!r}; expected a number above 0, or no such variable")
    return Limits(**chosen)


def check_pixels(what: str, width: int, height: int, frames: int = 1, kind: str = "animation") -> None:
    """Raises TooLarge, with the numbers and what to do. kind: "animation" or "video", for more than one frame."""
    allowed, one = limits(), width * height / 1e6
    if one > allowed.picture_megapixels:
        raise TooLarge(
            f"{what}: {width}x{height} are {one:,.0f} megapixels, at most {allowed.picture_megapixels:g} are read; "
            f"make it smaller, or set {PREFIX}PICTURE_MEGAPIXELS"
        )
    most = allowed.video_megapixels if kind == "video" else allowed.animation_megapixels
    if frames > 1 and one * frames > most:
        raise TooLarge(
            f"{what}: {frames:,} frames of {width}x{height} are {one * frames:,.0f} megapixels, at most {most:g} are "
            f"read; shorten it or make it smaller, or set {PREFIX}{kind.upper()}_MEGAPIXELS"
        )
    # Frames are in 32-bit floats [H, W, 3] in the end, and meanwhile once more in 8 bits.
    check_memory(what, 15 * width * height * frames)


def check_memory(what: str, needed: int) -> None:
    """Raises TooLarge where `needed` bytes are more than one file may take of the free memory."""
    free, share = free_memory(), limits().memory_percent
    if free is not None and needed > free * share / 100:
        raise TooLarge(
            f"{what}: needs {needed / 1e9:,.1f} GB of memory, {free / 1e9:,.1f} GB are free, of which one file may "
            f"take {share:g}%; make it smaller, close other programs, or set {PREFIX}MEMORY_PERCENT"
        )


def free_memory() -> int | None:
    """Bytes of main memory that can be taken without swapping, in this container; None where the system cannot say."""
    found: list[int] = []
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # a container's own limit (cgroup 2); its page cache can be given back
        group = Path("/sys/fs/cgroup")
        most, used = (int((group / name).read_text("utf-8")) for name in ("memory.max", "memory.current"))
        stat = (group / "memory.stat").read_text("utf-8").splitlines()
        cached = next((int(line.split()[1]) for line in stat if line.startswith("inactive_file ")), 0)
        found.append(max(0, most - used + cached))
    if found:
        return min(found)
    with suppress(OSError, ValueError, AttributeError):  # neither on Windows
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def held_memory() -> int:
    """Bytes of main memory that this process has; 0 where the system cannot say."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
