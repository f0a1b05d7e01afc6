"""Device placement without ComfyUI: modules whole on the device while they fit, else streamed block by block.

A streamed model's blocks lie in pinned main memory. While one computes, the next is copied on a CUDA stream of its own;
after use a copy is freed. Matrices in fp8 or GGUF form are copied in that form and decoded by their layer.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from .experts import Experts
from .files.quantized import StoredLinear
from .memory import GIB, RESERVE

_on_device: weakref.WeakSet = weakref.WeakSet()  # modules that load() has put there
_streams: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # module -> its BlockStream


def load(modules: Sequence[nn.Module], device: torch.device, activations: int = 0, free: int | None = None) -> None:
    """Put modules that are needed at the same time on the device and move others off. Raises MemoryError with sizes.

    activations: bytes to leave free; free: bytes free now, queried from the device if None.
    """
    device = torch.device(device)
    if free is None and device.type != "cuda":  # main memory, or shared with it
        for module in modules:
            module.to(device)
        return
    parts = [part for module in modules for part in _first_needed(module, device, activations, free)]
    for other in [*_on_device]:
        if not any(other is part for part in parts):
            move_off(other)
    if free is None:
        torch.cuda.empty_cache()
    for part in sorted(parts, key=_size):  # small ones whole; what is left is the large one's
        if part in _on_device:
            continue
        room = (torch.cuda.mem_get_info(device)[0] if free is None else free - _resident()) - activations - RESERVE
        if _size(part) <= room:
            part.to(device)
        else:
            _streams[part] = BlockStream(part, device, room)
        _on_device.add(part)


def placement(module: nn.Module) -> Literal["on the device", "streamed", "in main memory"]:
    """Where load() and move_off() have put the module."""
    if module in _streams:
        return "streamed"
    return "on the device" if module in _on_device else "in main memory"


def move_off(module: nn.Module) -> None:
    """Puts the module into main memory, in one piece."""
    if module in _streams:
        _streams.pop(module).end()
    module.to("cpu")
    _on_device.discard(module)


def _first_needed(module: nn.Module, device: torch.device, activations: int, free: int | None) -> list[nn.Module]:
    """The module, or of two experts the first; each expert loads itself in a forward hook when it is first called."""
    if not isinstance(module, Experts):
        return [module]
    for expert, other in ((module.high, module.low), (module.low, module.high)):

        def load_expert(expert: nn.Module, args: tuple, other: nn.Module = other) -> None:
            if expert not in _on_device:
                move_off(other)
                load([expert, *(m for m in _on_device)], device, activations, free)

        for hook in vars(expert).pop("_vdit_turn", ()):
            hook.remove()
        vars(expert)["_vdit_turn"] = [expert.register_forward_pre_hook(load_expert)]
    return [module.high]


def _size(module: nn.Module) -> int:
    return sum(t.nbytes for t in [*module.parameters(), *module.buffers()])


def _resident() -> int:
    return sum(_streams[m].resident if m in _streams else _size(m) for m in _on_device)


class BlockStream:
    """Runs a model whose blocks do not all fit the device. Raises MemoryError if not even two fit.

    budget: bytes for weights. The first blocks stay on the device, as many as fit; the others are streamed.
    """

    def __init__(self, module: nn.Module, device: torch.device, budget: int):
        self.device = torch.device(device)
        blocks = _blocks(module)
        sizes = [_size(block) for block in blocks]
        rest = _size(module) - sum(sizes)
        least = rest + 2 * max(sizes, default=0)
        if not blocks or least > budget:
            raise MemoryError(
                f"{type(module).__name__} needs {least / GIB:.3g} GiB for its weights even block by block; "
                f"{max(0, budget) / GIB:.3g} GiB are left beside what it computes in: make a smaller or shorter video, "
                "or load a smaller file (fp8, GGUF)"
            )
        keep = 0  # the first so many blocks stay on the device
        while keep < len(blocks) and rest + sum(sizes[: keep + 1]) + 2 * max(sizes[keep + 1 :], default=0) <= budget:
            keep += 1
        self.resident = rest + sum(sizes[:keep]) + 2 * max(sizes[keep:], default=0)
        self.streamed = blocks[keep:]
        for block in blocks:
            block.to("cpu")
        self.pinned: list[int] = []  # addresses
        weakref.finalize(self, _unpin, self.pinned)
        self.home = {
            block: [(owner, name, self._pinned(t)) for owner, name, t in _tensors(block)] for block in self.streamed
        }
        away = {owner for block in self.streamed for owner in block.modules()}
        for owner, name, t in _tensors(module):
            if owner not in away:
                _set(owner, name, t.to(self.device))
        self.successor: dict[nn.Module, nn.Module] = {}  # recorded in the first pass
        self.last: nn.Module | None = None
        self.copies: dict[
            nn.Module, tuple[list[Tensor], torch.Event | torch.cuda.Event | None]
        ] = {}  # on the device or under way
        self.copy_stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.hooks = [block.register_forward_pre_hook(self._enter) for block in self.streamed]
        self.hooks += [block.register_forward_hook(self._leave) for block in self.streamed]
        for block in self.streamed:
            self._home(block)

    def end(self) -> None:
        """Return the module to plain main memory, without hooks."""
        for hook in self.hooks:
            hook.remove()
        self.copies.clear()
        for owner, name, t in (entry for block in self.streamed for entry in self.home[block]):
            _set(owner, name, t.clone() if t.data_ptr() in self.pinned else t)
        _unpin(self.pinned)

    def _pinned(self, t: Tensor) -> Tensor:
        """A pinned copy for asynchronous transfer, or t itself where the system refuses to pin more."""
        if self.device.type != "cuda":
            return t
        copy = t.clone()  # t may be a mapped file; pin_memory() would round up to a power of two
        if int(cast(Any, torch.cuda.cudart()).cudaHostRegister(copy.data_ptr(), copy.nbytes, 0)):
            return t
        self.pinned.append(copy.data_ptr())
        return copy

    def _home(self, block: nn.Module) -> None:
        for owner, name, t in self.home[block]:
            _set(owner, name, t)

    def _fetch(self, block: nn.Module) -> None:
        if block in self.copies:
            return
        if self.copy_stream is None:
            self.copies[block] = [t.to(self.device, copy=True) for _, _, t in self.home[block]], None
            return
        self.copy_stream.wait_stream(torch.cuda.current_stream(self.device))  # memory freed there may still be in use
        with torch.cuda.stream(self.copy_stream):
            copies = [t.to(self.device, non_blocking=True) for _, _, t in self.home[block]]
        self.copies[block] = copies, self.copy_stream.record_event()

    def _enter(self, block: nn.Module, args: tuple) -> None:
        self._fetch(block)
        copies, done = self.copies[block]
        if done is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_event(done)
            for t in copies:
                t.record_stream(now)
        for (owner, name, _), t in zip(self.home[block], copies, strict=False):
            _set(owner, name, t)
        if self.last is not None:
            self.successor[self.last] = block
        self.last = block
        if block in self.successor and self.successor[block] is not block:
            self._fetch(self.successor[block])

    def _leave(self, block: nn.Module, args: tuple, out: object) -> None:
        self._home(block)
        self.copies.pop(block, None)


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The members of the outermost ModuleLists."""
    found: list[nn.Module] = []
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            found += child
        elif not isinstance(child, StoredLinear):  # whose list is of LoRAs
            found += _blocks(child)
    return found


def _unpin(addresses: list[int]) -> None:
    while addresses:
        cast(Any, torch.cuda.cudart()).cudaHostUnregister(addresses.pop())


def _tensors(module: nn.Module) -> list[tuple[nn.Module, str, Tensor]]:
    found = []
    for owner in module.modules():
        found += [(owner, name, p.data) for name, p in owner._parameters.items() if p is not None]
        found += [(owner, name, b) for name, b in owner._buffers.items() if b is not None]
    return found


def _set(owner: nn.Module, name: str, value: Tensor) -> None:
    """Replace the data of the parameter, or the buffer, of that name."""
    parameter = owner._parameters.get(name)
    if parameter is not None:
        parameter.data = value
    else:
        owner._buffers[name] = value
