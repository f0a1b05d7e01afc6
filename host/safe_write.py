"""Files appear whole or not at all: written beside their place, flushed to disk, then renamed into it."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path


class CannotSave(OSError):
    """A file could not be written; nothing of it was left behind."""

    def __str__(self):
        return self.strerror  # the sentence, without "[Errno 28]"


@contextmanager
def written(path: Path):
    """Yields the Path to write to; on success it becomes `path`, on any failure it is removed.

    Raises CannotSave for a full disk or a folder without write permission, naming the file and what to do.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with open(part, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as reason:
        raise _explained(path, reason) from reason
    finally:
        part.unlink(missing_ok=True)


def _explained(path: Path, reason: OSError) -> OSError:
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
