"""Writers meet a full disk, a limit of file sizes and a folder that may not be written to; weights are cut while read.

Whatever happens, an error of ours says it, nothing is torn under a final name, and no part stays behind. A process that
meets a fault is a fork of this one, as in soak_kills.
"""

import contextlib
import filecmp  # noqa: F401  nobody may not read the file that it is in
import os
import random
import resource
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from aiohttp.web import HTTPException
from fakes import random_world_model
from figures import keep
from soak_kills import Writer, forked, unfinished, writers
from vdit.host import files, folders
from vdit.host.workflow import WorkflowError
from vdit.machine.writing import CannotSave
from vdit.model.errors import CheckpointError
from vdit.model.files import bundle

TRIES = 8  # of each writer and fault
DISK_BYTES = 100_000  # less than what most writers make
SAID = 7  # exit status of a process that met an error of ours
NOBODY = 65534

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or os.name == "nt", reason="needs fork")


def met(work, refusals: tuple[type[BaseException], ...]) -> int:
    """The exit status of a fork that does `work`: 0, SAID for an error of ours, 1 for another, or minus a signal."""

    def told():
        try:
            work()
        except refusals as reason:
            os._exit(SAID if str(reason) else 1)

    _, status = os.waitpid(forked(told), 0)
    return os.waitstatus_to_exitcode(status)


@contextlib.contextmanager
def small_files(folder: Path, limit: int):
    """No file may grow beyond `limit` bytes, as under a quota."""

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    yield limited


@contextlib.contextmanager
def small_disk(folder: Path, limit: int):
    """The folder is a disk of its own, with `limit` bytes."""
    size = 4096 * (limit // 4096 + 4)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "vdit-soak", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"NOT RUN: no small disk can be made here: {done.stderr.decode().strip()}")
    try:
        yield lambda: None
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder: Path, limit: int):
    """The folder may not be written to, by who is not root."""
    folder.chmod(0o555)

    def humble():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    yield humble
    folder.chmod(0o755)


FAULTS = {"file size limit": small_files, "full disk": small_disk, "read-only folder": read_only}


def tried(writer: Writer, folder: Path, fault, limit: int, row: Counter) -> None:
    """One write under a fault, and what it left."""
    with fault(folder, limit) as prepare:
        status = met(lambda: (prepare(), writer.write(folder, 0)), (CannotSave, WorkflowError, HTTPException))
        row["tries"] += 1
        row["written"] += status == 0
        row["said"] += status == SAID
        row["raw errors"] += status not in (0, SAID)
        row["parts"] += len(unfinished(folder))
        for path in [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]:
            try:
                row["torn"] += not writer.whole(path)
            except Exception:
                row["torn"] += 1
            path.unlink()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_writer_that_cannot_write_says_so_and_leaves_nothing(fault, tmp_path, monkeypatch):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:  # nobody must get there
        with contextlib.suppress(PermissionError):
            parent.chmod(0o755)
    every, rng, rows = writers(tmp_path / "source.png"), random.Random(5), {}
    (tmp_path / "source.png").chmod(0o666)
    for name, writer in every.items():
        base = tmp_path / name
        folder = base / "user" / files.USER if name == "settings" else base / "output"
        folder.mkdir(parents=True)
        monkeypatch.setattr(folders, "current", folders.Folders(base, {"input": folder, "output": folder}))
        rows[name] = Counter()
        for _ in range(TRIES):
            tried(writer, folder, FAULTS[fault], rng.randrange(DISK_BYTES), rows[name])
    columns = ("tries", "written", "said", "raw errors", "torn", "parts")
    total = {key: sum(row[key] for row in rows.values()) for key in columns}
    keep(f"fault {fault}", {"all": total, **{name: {key: row[key] for key in columns} for name, row in rows.items()}})
    assert total["said"] > 0 and [total[key] for key in columns[3:]] == [0, 0, 0]


def test_weights_that_are_cut_while_they_are_read_end_in_words(tmp_path):
    path, rng, counts = tmp_path / "model.safetensors", random.Random(6), Counter()
    model = random_world_model(0)
    for _ in range(5 * TRIES):
        bundle.save_world_model(model, path)
        size = path.stat().st_size
        pid = forked(lambda: ended(path))
        time.sleep(rng.uniform(0, 0.1))
        os.truncate(path, rng.randrange(size))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        counts["read before" if status == 0 else "said" if status == SAID else f"status {status}"] += 1
    keep("fault truncation", dict(counts))
    assert set(counts) <= {"read before", "said"}


def ended(path: Path) -> None:
    """Loads the model, or ends the process with SAID."""
    try:
        bundle.load_world_model(path)
    except CheckpointError as reason:
        os._exit(SAID if path.name in str(reason) else 1)
