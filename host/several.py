"""`vdit run --gpus N`: one workflow in N processes, which torchrun starts, watches and ends together.

All run the same graph; its samplers and decoders share their work (pipeline/share.py). The first process saves and
reports; what the others would save is thrown away.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from .command import Refused

MOST = 64  # processes on one machine


def is_worker() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def start(count: int, argv: list[str]) -> int:
    """Run `vdit run ARGV` in so many processes; the exit status. Raises Refused for a number that makes no sense."""
    if not 1 < count <= MOST:
        raise Refused(f"--gpus is {count}; expected 1 to {MOST}")
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    options = ["--standalone", f"--nproc-per-node={count}", "--local-ranks-filter=0"]  # the first one's words are shown
    try:
        torchrun.run(torchrun.parse_args([*options, "-m", f"{__package__}", "run", *argv]))
    except ChildFailedError as failed:  # it has said why
        return failed.get_first_failure()[1].exitcode
    except SignalException:
        raise KeyboardInterrupt from None
    return 0


@contextmanager
def joined(out: str | None) -> Iterator[str | None]:
    """The folder that this process saves to: `out`, or one that is removed, for all but the first of several processes.

    Joins the group of processes, if there are several. Raises Refused where there are fewer GPUs.
    """
    if not is_worker():
        yield out
        return
    import torch

    backend, place = "gloo", int(os.environ["LOCAL_RANK"])
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # whatever the machine's own name leads to
    if torch.cuda.is_available():
        if place >= torch.cuda.device_count():
            raise Refused(f"--gpus asks for more than the {torch.cuda.device_count()} GPUs of this machine")
        torch.cuda.set_device(place)
        backend = "cpu:gloo,cuda:nccl"
    torch.distributed.init_process_group(backend)
    try:
        if torch.distributed.get_rank() == 0:
            yield out
        else:
            with tempfile.TemporaryDirectory() as thrown_away:
                yield thrown_away
    finally:
        torch.distributed.destroy_process_group()
