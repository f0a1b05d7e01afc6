"""Files appear whole or not at all, beside any number of other processes that write into the same folder.

Written beside their place under a name that no other process has, flushed to disk, then renamed into place. No locks:
the atomic steps (exclusive create, hard link, rename) are those that network file systems keep too.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

STALE_S = 86_400.0  # seconds; a part that nobody has touched for a day is of a process that died, on whatever machine
STEM_BYTES = 120  # of a file's name that its part's name repeats; file systems allow 255 bytes in all
SLOT = ".slot"  # ending of the hidden files that reserve numbers (machine/slots.py) and hold their owner
OWNER = re.compile(r"(?P<machine>[0-9a-f]{8})-(?P<pid>\d{1,10})-(?P<start>\d{1,20})(?:-\d+\.part)?$")
MORE_BYTES = 65_536  # that a disk must take to be taken for one that is not full; several blocks of any file system
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)

_numbers = itertools.count()


class CannotSave(OSError):
    """A file could not be written; nothing of it was left behind."""

    def __str__(self):
        return self.strerror or ""  # the sentence, without "[Errno 28]"


@contextmanager
def written(path: Path) -> Generator[Path]:
    """Yields the Path to write to; on success it becomes `path`, whatever was there, on any failure it is removed.

    Raises CannotSave for a full disk or a folder without write permission, naming the file and what to do.
    """
    with beside(path) as part:
        yield part
        flush(part)
        os.replace(part, path)


@contextmanager
def created(path: Path) -> Generator[Path]:
    """As `written`, but a file that is there already is never replaced: raises FileExistsError at the end."""
    with beside(path) as part:
        yield part
        flush(part)
        claim(part, path)


@contextmanager
def beside(path: Path) -> Generator[Path]:
    """Yields a Path of this process's own in the folder of `path`, and removes it in the end. Raises as `written`."""
    sweep(path.parent)
    part = path.with_name(own_name(path.name))
    try:
        yield part
    except FileExistsError:
        raise
    except OSError as reason:
        raise explained(path, reason) from reason
    except Exception as reason:  # libraries that write by themselves have errors of their own for a full disk
        if (refused := _refused(part, reason)) is not None:
            raise explained(path, refused) from reason
        raise
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _refused(part: Path, reason: Exception) -> OSError | None:
    """The system's error behind a library's, or what it says to a little more in the file; None where it takes that."""
    if told := re.search(r"\bos error (\d{1,3})\b", str(reason)):  # as libraries in Rust end their messages
        return OSError(int(told[1]), os.strerror(int(told[1])))
    try:
        with open(part, "ab") as file:
            file.write(bytes(MORE_BYTES))
    except OSError as reason:
        return reason
    return None


def flush(part: Path) -> None:
    """Have the file's bytes on the disk before it gets its name."""
    with open(part, "r+b") as file:
        os.fsync(file.fileno())


def claim(part: Path, path: Path) -> None:
    """Give the finished file `part` the name `path`. Raises FileExistsError where that is taken."""
    if os.name == "nt":
        os.rename(part, path)  # never replaces there
        return
    try:
        os.link(part, path)
    except FileExistsError:
        # The answer of a network file system may be lost after the link was made, and its repetition then fails.
        if not os.path.samefile(part, path):
            raise
    except OSError as reason:
        if reason.errno not in NO_LINKS:
            raise
        # Without hard links (FAT) the name is claimed by an empty file, which is replaced at once.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(part, path)


def own_name(name: str) -> str:
    """A hidden name beside `name` that no other process, thread or machine uses."""
    stem = name.encode("utf-8", "surrogateescape")[:STEM_BYTES].decode("utf-8", "ignore")
    return f".{stem}.{owner()}-{next(_numbers)}.part"


@cache
def sweep(folder: Path) -> None:
    """Remove what processes that have died left unfinished in a folder; at the first call for it in a process."""
    try:
        found = [entry for entry in os.scandir(folder) if entry.name.endswith((".part", SLOT))]
    except OSError:  # writing into it says what is wrong
        return
    for entry in found:
        with suppress(OSError):  # another process may sweep too
            if _is_stale(entry):
                os.unlink(entry.path)


def _is_stale(entry: os.DirEntry[str]) -> bool:
    """Whether the process that makes this file is gone."""
    text = Path(entry.path).read_text("utf-8", "replace") if entry.name.endswith(SLOT) else entry.name
    return abandoned(text, entry.stat(follow_symlinks=False).st_mtime)


def abandoned(text: str, touched: float) -> bool:
    """Whether the process that `owner` names at the end of a text is gone: one of this machine, or one of another that
    has touched its file (seconds since 1970) more than a day ago. False where no owner is named.
    """
    found = OWNER.search(text)
    if found is None:  # not ours
        return False
    if found["machine"] == _machine():
        return not _runs(int(found["pid"]), int(found["start"]))
    return time.time() - touched > STALE_S


def owner() -> str:
    """This process among those of all machines."""
    return f"{_machine()}-{os.getpid()}-{_started(os.getpid())}"


def _runs(pid: int, start: int) -> bool:
    if os.name == "nt":  # os.kill would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return _started(pid) == start  # else its number has been given to another process


@cache
def _machine() -> str:
    """8 hex digits for the process numbers that mean the same processes: machine, boot and container."""
    import hashlib
    import socket

    facts = [socket.gethostname()]
    with suppress(OSError):
        facts += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(os.stat("/proc/self/ns/pid").st_ino)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]


def _started(pid: int) -> int:
    """When a process began, in the kernel's ticks; 0 where only its number is known."""
    if sys.platform != "linux":
        return 0
    try:
        # The name in brackets may hold anything; the fields after it begin with the third, and the start is the 22nd.
        return int(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def explained(path: Path, reason: OSError) -> OSError:
    """A full disk or a folder without write permission as CannotSave; other errors as they are."""
    if reason.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return CannotSave(
            reason.errno,
            f"{path}: the disk is full, this file was not saved. Free some space in "
            f"{path.parent} or choose another output folder, then run again",
        )
    if reason.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CannotSave(
            reason.errno,
            f"{path}: this folder may not be written to, the file was not saved. "
            "Choose another output folder or change its permissions",
        )
    return reason
