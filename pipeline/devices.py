"""Puts one clip's forward passes on several GPUs of one process: a thread for each, with a copy of the weights.

As share.py does for processes, which ComfyUI and the studio cannot start: the graph runs once, on the first GPU, and
only calls of the transformer are spread. Two prompts go to one half of the GPUs each.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn

from ..kernels.threads import Meeting, Threads
from ..machine.limits import TooLarge
from ..model.experts import Experts
from ..model.files.lora import copied_to
from ..model.memory import GIB, RESERVE
from .share import InPairs, Velocity, divided, shared_rows

if TYPE_CHECKING:
    from ..kernels.processes import Processes
    from ..model.transformer import Transformer

R = TypeVar("R")


@contextmanager
def shared(
    transformer: Transformer, processes: Processes | None, devices: Devices | None, prompts: int
) -> Generator[tuple[Callable[..., Tensor], InPairs | None]]:
    """What stands for the transformer in a run, by several processes, several GPUs or neither, while it lasts; and how
    two prompts' velocities are worked out, see share.divided."""
    if devices is not None:
        with devices.spread(transformer, prompts) as found:
            yield found
        return
    rows, in_pairs = divided(processes, prompts)
    with shared_rows(transformer, rows):
        yield transformer, in_pairs


class Devices:
    """GPUs that compute together; the first one is where the model itself lies. "cpu" will do for tests.

    Keeps the copies of the transformer that was called last, until another one is called or nobody has it any more.
    """

    def __init__(self, devices: Sequence[torch.device | str]):
        self.devices = [torch.device(device) for device in devices]
        self._copies: weakref.WeakKeyDictionary[nn.Module, list[nn.Module]] = weakref.WeakKeyDictionary()

    def members(self, prompts: int) -> int:
        """How many of them share the rows of one forward pass."""
        return len(self.devices) // (2 if prompts == 2 and len(self.devices) % 2 == 0 else 1)

    def check_rows(self, rows: int, prompts: int) -> None:
        """Raise ValueError where a video has fewer rows of tokens than GPUs share them."""
        size = self.members(prompts)
        Threads(0, size, Meeting(size)).spans(rows)

    def check_room(self, size: int) -> None:
        """Raise TooLarge where one of the other GPUs has not so many bytes, by what other programs leave."""
        for device in self.devices[1:]:
            if device.type != "cuda":
                continue
            free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
            if free < size + RESERVE:
                raise TooLarge(
                    f"each GPU keeps a copy of the transformer: that and one step take {(size + RESERVE) / GIB:.3g} "
                    f"GiB, and {device} ({torch.cuda.get_device_name(device)}) has {free / GIB:.3g}. Set gpus to 1 on "
                    "VDiT Load Model, load a smaller file (fp8, GGUF), or make a smaller video"
                )

    @contextmanager
    def spread(self, transformer: Transformer, prompts: int) -> Generator[tuple[Callable[..., Tensor], InPairs | None]]:
        """What stands for the transformer while it lasts, and how two prompts' velocities are worked out; see
        share.divided. Where one thread fails or is cancelled the others end with it, and its error is raised. Raises
        TooLarge where a copy does not fit, and as share.shared_rows does.
        """
        failed: list[BaseException] = []
        with ThreadPoolExecutor(len(self.devices) - 1, "vdit gpu") as pool, ExitStack() as hooks:
            team = _Team(self, pool, hooks, self.members(prompts), failed)
            two = len(team.meetings) == 2
            try:
                yield lambda *args, **named: team(transformer, args, named), team.both if two else None
            except threading.BrokenBarrierError:
                raise failed[0] from None

    def modules(self, one: nn.Module) -> list[nn.Module]:
        """The transformer for each device: itself, then copies, made at the first call."""
        if one not in self._copies:
            self._copies.clear()
            self.check_room(sum(t.nbytes for t in [*one.parameters(), *one.buffers()]))
            self._copies[one] = [copied_to(one, device) for device in self.devices[1:]]
        return [one, *self._copies[one]]


class _Team:
    """The threads of one sampling, in one group or, for two prompts, in two."""

    def __init__(
        self, devices: Devices, pool: ThreadPoolExecutor, hooks: ExitStack, size: int, failed: list[BaseException]
    ):
        self.devices, self.pool, self.hooks, self.failed = devices, pool, hooks, failed
        self.size, self.first_thread, self.lock = size, threading.get_ident(), threading.Lock()
        self.meetings = [Meeting(size) for _ in range(len(devices.devices) // size)]
        self.hooked: nn.Module | None = None

    def __call__(self, transformer: Transformer, args: tuple[Tensor, ...], named: dict[str, object]) -> Tensor:
        """The transformer's output; the second prompt's call comes from another thread, and goes to the second half."""
        x, sigma = args[:2]
        one = transformer.expert(float(sigma.max())) if isinstance(transformer, Experts) else transformer
        modules, half = self._modules(one), int(threading.get_ident() != self.first_thread)

        def part(number: int) -> Tensor:
            device = self.devices.devices[number]
            with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
                named_there = {name: _moved(value, device) for name, value in named.items()}
                return modules[number](*(_moved(value, device) for value in args), **named_there)

        first = half * self.size
        others = [self._started(part, number) for number in range(first + 1, first + self.size)]
        try:
            y = self._watched(part, first)
        finally:
            wait(others)
        for other in others:
            other.result()
        return y.to(x.device)

    def both(self, positive: Velocity, negative: Velocity) -> tuple[Tensor, Tensor]:
        """The two velocities, worked out side by side."""
        other = self._started(negative)
        try:
            mine = self._watched(positive)
        finally:
            wait([other])
        return mine, other.result()

    def _modules(self, one: nn.Module) -> list[nn.Module]:
        with self.lock:
            if one is not self.hooked:
                self.hooks.close()  # the other expert's copies make room
                for number, module in enumerate(self.devices.modules(one)):
                    half, rank = divmod(number, self.size)
                    self.hooks.enter_context(shared_rows(module, Threads(rank, self.size, self.meetings[half])))
                self.hooked = one
            return self.devices.modules(one)

    def _started(self, work: Callable[..., R], *args: object) -> Future[R]:
        """Starts the work in a thread of the pool, which gets this thread's inference mode and CUDA streams."""
        inference = torch.is_inference_mode_enabled()
        streams = [torch.cuda.current_stream(d) for d in self.devices.devices if d.type == "cuda"]

        def run() -> R:
            for stream in reversed(streams):  # the first GPU is then the current one
                torch.cuda.set_stream(stream)
            with torch.inference_mode(inference), torch.no_grad():
                return self._watched(work, *args)

        return self.pool.submit(run)

    def _watched(self, work: Callable[..., R], *args: object) -> R:
        """The work; where it raises, nobody waits for it."""
        try:
            return work(*args)
        except BaseException as error:
            if not isinstance(error, threading.BrokenBarrierError):
                self.failed.append(error)
            for meeting in self.meetings:
                meeting.end()
            raise


def _moved(value: object, device: torch.device) -> object:
    """Copies a tensor, or each of a tuple, to the device; other values, such as the shared cache of text, stay."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple):
        return tuple(_moved(one, device) for one in cast("tuple[object, ...]", value))
    return value
