"""Blocks made by processes of this machine. One that dies is replaced, and its block is given to another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from .jobs import Block, FarmError
from .work import Report, Setup, Worker

if TYPE_CHECKING:
    from multiprocessing.connection import _ConnectionBase
    from multiprocessing.context import SpawnProcess

    Connection = _ConnectionBase[Any, Any]

MOST_DEATHS = 3  # of workers at one block, after which its rows count as failed: most likely they need too much memory
LEAVE_S = 5.0  # seconds that a worker has to end by itself


@dataclass
class Member:
    """A worker's process, its number, and the block that it works on."""

    process: SpawnProcess
    place: int
    block: Block


@dataclass(frozen=True)
class Broken:
    """A worker could not begin, or could not save: what went wrong, in words."""

    reason: str


def in_processes(setup: Setup, blocks: Sequence[Block], workers: int, gpus: float = 0.0) -> Iterator[Report]:
    """Reports of all blocks, as they are done. gpus: of each worker; worker i sees those from number i * gpus on.

    Raises FarmError where a worker cannot begin or cannot save.
    """
    waiting, deaths = deque(blocks), Counter[str]()
    team: dict[Connection, Member] = {}
    free = deque(range(workers))
    try:
        while waiting or team:
            while waiting and free:
                ours, member = _started(setup, free.popleft(), gpus, waiting.popleft())
                team[ours] = member
            ready = wait(list(team))
            for ours in [connection for connection in team if connection in ready]:
                member = team[ours]
                answer, done = _heard(ours), member.block
                if isinstance(answer, Broken):
                    raise FarmError(answer.reason)
                died = answer is None
                if died:
                    deaths[done.name] += 1
                    if deaths[done.name] < MOST_DEATHS:
                        waiting.appendleft(done)
                    else:
                        answer = given_up(done)
                if not died and waiting:
                    member.block = waiting.popleft()
                    _tell(ours, member.block)
                else:
                    del team[ours]
                    _end(member.process, ours)
                    free.append(member.place)
                if answer is not None:
                    yield answer
    finally:
        for ours, member in team.items():
            member.process.kill()  # what it was making is made again: only whole blocks have a mark
            _end(member.process, ours)


def _started(setup: Setup, place: int, gpus: float, block: Block) -> tuple[Connection, Member]:
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, setup, place, gpus), daemon=True)
    process.start()
    theirs.close()
    _tell(ours, block)
    return ours, Member(process, place, block)


def _tell(ours: Connection, block: Block) -> None:
    with suppress(OSError):  # it has died; the end of its connection is heard next
        ours.send(block)


def _heard(ours: Connection) -> Report | Broken | None:
    """What a worker says; None: it has died."""
    try:
        return ours.recv()
    except (EOFError, OSError):
        return None


def given_up(block: Block) -> Report:
    """The report of a block that has killed as many workers as it may."""
    reason = f"its worker died {MOST_DEATHS} times; is there enough memory?"
    return Report(block.name, 0, dict.fromkeys(block.keys, reason))


def _end(process: SpawnProcess, ours: Connection) -> None:
    ours.close()  # a worker that waits for its next block ends by that
    process.join(LEAVE_S)
    if process.is_alive():
        process.kill()
        process.join()


def _serve(theirs: Connection, setup: Setup, place: int, gpus: float) -> None:
    """A worker's process: one block after another, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all of a terminal's processes; the farm ends these
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus_of(place, gpus)))
    try:
        worker = Worker(setup)
        while True:
            theirs.send(worker(theirs.recv()))
    except EOFError:
        return
    except Exception as reason:
        theirs.send(Broken(reason_of(reason)))


def gpus_of(place: int, gpus: float) -> range:
    """The numbers of the GPUs that worker number `place` sees, of `gpus` each; half a one is shared by two workers."""
    first = int(place * gpus)
    return range(first, max(first + 1, int((place + 1) * gpus)))


def reason_of(reason: Exception) -> str:
    """An exception in words: those of ours and of the system are sentences, others need their name."""
    return str(reason) if isinstance(reason, (ValueError, OSError)) else f"{type(reason).__name__}: {reason}"


def _end_with_parent() -> None:
    """A killed farm leaves no process behind that works on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
