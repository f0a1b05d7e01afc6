"""A device that is none: its tensors hold numbers on the CPU, and what passes between host and device is counted.

torch without a GPU's libraries has no tensors on `cuda`. It has those of the device `meta`, which hold nothing: here
they are wrapped around tensors of the CPU, so that a whole training step computes what it does, and is refused where it
mixes tensors of both sides as a GPU would refuse it. See `torch.utils._python_dispatch`.
"""

from collections import Counter

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
WAITED_FOR = {  # operators whose result's size or value the host must know: it waits until the device has come so far
    "aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.equal", "aten._unique2", "aten.is_nonzero",
}  # fmt: skip
INDEXED = {"aten.index", "aten.index_put", "aten.index_put_", "aten._index_put_impl_", "aten._unsafe_index"}


class OnDevice(torch.Tensor):
    """A tensor of the device, around one of the CPU."""

    @staticmethod
    def __new__(cls, value):
        """Shaped as the value."""
        kind = dict(strides=value.stride(), storage_offset=value.storage_offset(), dtype=value.dtype, device=DEVICE)
        made = torch.Tensor._make_wrapper_subclass(cls, value.shape, **kind)
        made.value = value
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Without PretendDevice nothing may be computed."""
        raise AssertionError(f"{func} outside of the pretended device")

    def __repr__(self):
        return f"OnDevice({tuple(self.shape)})"


class _Generator(torch.Generator):
    """Draws on the CPU for any device."""

    def __new__(cls, device="cpu"):
        """Of the host."""
        return super().__new__(cls, "cpu")


class _Constants(TorchFunctionMode):
    """Lets tensors of the device be filled from lists and read into them, which those of `meta` are not."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.tolist and isinstance(args[0], OnDevice):
            return args[0].cpu().tolist()
        if func is torch.Tensor.new_tensor and isinstance(args[0], OnDevice):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(DEVICE)
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu") == DEVICE:
            return func(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        return func(*args, **kwargs)


class PretendDevice(TorchDispatchMode):
    """While it lasts there is the device DEVICE; `copied_in` and `copied_out` count what passes, by operator."""

    now = None  # the one that lasts

    @classmethod
    def counted(cls):
        """What has passed in and out of the device that is there; nothing where there is none."""
        return cls.now.passed() if cls.now else (0, 0)

    def passed(self):
        """How often something went to the device, and from it."""
        return self.copied_in.total(), self.copied_out.total()

    def __init__(self):
        super().__init__()
        self.copied_in, self.copied_out = Counter(), Counter()

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(torch, "Generator", _Generator)
        enabled = torch.is_autocast_enabled
        self.patch.setattr(torch, "is_autocast_enabled", lambda kind: kind != DEVICE.type and enabled(kind))
        self.constants = _Constants()
        self.constants.__enter__()
        PretendDevice.now = self
        return super().__enter__()

    def __exit__(self, *why):
        PretendDevice.now = None
        super().__exit__(*why)
        self.constants.__exit__(*why)
        self.patch.undo()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = str(func).rpartition(".")[0]
        given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        here, host = ([x for x in given if isinstance(x, OnDevice) == side] for side in (True, False))
        wanted = kwargs.get("device")
        born = bool(here) if wanted is None else torch.device(wanted) == DEVICE
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        if name == "aten._to_copy" and born != bool(here):
            (self.copied_in if born else self.copied_out)[name] += 1
        elif name == "aten.copy_" and here and host:
            (self.copied_in if isinstance(args[0], OnDevice) else self.copied_out)[name] += 1
        elif here:
            self._check(name, args, here, host)
        unwrapped = tree_map(lambda x: x.value if isinstance(x, OnDevice) else x, (args, kwargs))
        out = func(*unwrapped[0], **unwrapped[1])
        known = {id(x.value): x for x in here}
        born = born and not (name == "aten.copy_" and not isinstance(args[0], OnDevice))
        return tree_map(lambda x: self._wrapped(x, known, born), out)

    @staticmethod
    def _wrapped(x, known, born):
        if not isinstance(x, torch.Tensor):
            return x
        return known[id(x)] if id(x) in known else OnDevice(x) if born else x

    def _check(self, name, args, here, host):
        """Count what the host waits for; refuse what a GPU refuses."""
        if name in INDEXED:
            masks = [x for x in args[1] if isinstance(x, torch.Tensor) and x.dtype in (torch.bool, torch.uint8)]
            self.copied_out[f"{name} by a mask"] += bool(masks)
            self.copied_in[name] += sum(x.ndim > 0 for x in host)
            assert isinstance(args[0], OnDevice), f"{name}: a tensor of the host, by places on the device"
        elif name in WAITED_FOR:
            self.copied_out[name] += 1
        else:
            mixed = [tuple(x.shape) for x in host if x.ndim]
            assert not mixed, f"{name}: tensors of the host {mixed} among those of the device"
