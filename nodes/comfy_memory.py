"""Our modules under ComfyUI's memory management: one ModelPatcher each, which may load a module in part.

Loaded in part, ComfyUI leaves matrices in main memory and copies each to the device for the one call that needs it. It
does so for layers of its own kind, so our matrices become that kind; everything else, which is small, stays on the
device as a whole. Imported by nodes/comfy.py only, where ComfyUI is.
"""

# pyright: reportMissingImports=false
# ruff: noqa: ANN401  ComfyUI's own objects have no types here
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_management as management
import comfy.ops
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..model import functional
from ..model.experts import Experts
from ..model.files.quantized import StoredLinear
from ..model.wan import WanTransformer
from .comfy_base import NativeBase


class StreamedLinear(comfy.ops.disable_weight_init.Linear, functional.Linear):
    """A matrix that ComfyUI may leave in main memory; it uses ComfyUI's streams, pinned memory and LoRA patches."""

    plain = functional.Linear  # of copies on other GPUs, see model.files.lora.copied_to
    _vdit_copy: tuple[Tensor, Tensor | None] | None = None

    @contextmanager
    def decoded(self, like: Tensor) -> Iterator[None]:
        """Inside, calls share one copy on the device."""
        if self._patched or self.weight.device != like.device:
            self._vdit_copy = comfy.ops.cast_bias_weight(self, like)
        try:
            yield
        finally:
            self._vdit_copy = None

    @property
    def _patched(self) -> bool:
        return bool(self.comfy_cast_weights or self.weight_function or self.bias_function)

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        """x @ weight.T + bias, with tanh-GELU if asked, wherever the weight is."""
        if self._vdit_copy is not None:
            y = nn.functional.linear(x, *self._vdit_copy)
        elif self.weight.device != x.device:
            y = self.forward_comfy_cast_weights(x)
        elif self._patched:
            y = super().forward(x)
        else:
            return super().forward(x, gelu)
        return functional.tanh_gelu(y) if gelu else y


class StreamedStored(StoredLinear):
    """The same for a matrix in its file's form: the form is what is copied, and it is decoded on the device."""

    plain = StoredLinear
    comfy_cast_weights = False  # ComfyUI's mark of layers that it may leave behind
    weight_function = bias_function = ()  # native LoRAs, which Patcher refuses

    @contextmanager
    def decoded(self, like: Tensor) -> Iterator[None]:
        """Inside, calls share one decoded copy on the device."""
        self._dense = self.copied_to(like.device).dense(like.dtype)
        try:
            yield
        finally:
            self._dense = None

    def forward(self, x: Tensor) -> Tensor:
        """x @ weight.T + bias, with the weight decoded on the device of x."""
        return StoredLinear.forward(self.copied_to(x.device), x)

    def copied_to(self, device: torch.device) -> StreamedStored:
        """Itself, or a copy for one call where it lies in main memory. What is decoded already is not copied again."""
        if self.weight.device == device:
            return self
        copy = self.__class__.__new__(self.__class__)
        copy.__dict__.update(self.__dict__)
        copy._parameters, copy._buffers = dict(self._parameters), dict(self._buffers)
        if self._dense is None:
            copy.weight = nn.Parameter(self.weight.to(device, non_blocking=True), requires_grad=False)
        if self.bias is not None:
            copy.bias = nn.Parameter(self.bias.to(device, non_blocking=True), requires_grad=False)
        if self.scale is not None:
            copy.scale = self.scale.to(device, non_blocking=True)
        return copy

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator:
        """Its LoRAs' too, always: ComfyUI moves in parts only what has no parameters below its own."""
        return super().named_parameters(prefix, True, remove_duplicate)


class Patcher(ModelPatcher):
    """A ModelPatcher that refuses native LoRAs for matrices on which they would have no effect."""

    def add_patches(self, patches: dict, *args: Any, **named: Any) -> list:
        """As ComfyUI's. Raises ValueError for a patch on a StoredLinear."""
        modules = dict(self.model.named_modules())
        for key in patches:
            module = modules.get((key if isinstance(key, str) else key[0]).rpartition(".")[0])
            if isinstance(module, StoredLinear):
                raise ValueError(
                    f"this model's matrices are {module.stored} or have LoRAs of VDiT's, on which ComfyUI's own LoRA "
                    "loaders cannot work: use VDiT Load LoRA, before VDiT As Model"
                )
        return super().add_patches(patches, *args, **named)


STREAMED = {nn.Linear: StreamedLinear, functional.Linear: StreamedLinear, StoredLinear: StreamedStored}


def load(modules: Sequence[nn.Module], device: torch.device, activations: int = 0) -> None:
    """Loads modules that are needed at the same time; of two experts the first, the other when its turn comes.

    activations: bytes that must stay free besides the weights.
    """
    first = []
    for parts in map(_parts, modules):
        for part in parts:
            patcher_of(part, device)
            vars(part)["_vdit_activations"] = activations
        first += parts[:1]
    management.load_models_gpu([patcher_of(part, device) for part in first], memory_required=activations)
    for part in first:
        settle(part)


def patcher_of(module: nn.Module, device: torch.device) -> ModelPatcher:
    """The module's one ModelPatcher; it is an attribute of the module and lives as long."""
    patcher = vars(module).get("_vdit_patcher")
    if patcher is None or patcher.load_device != device:
        for part in module.modules():
            part.__class__ = STREAMED.get(type(part), type(part))
        if isinstance(module, WanTransformer):
            managed: nn.Module = NativeBase(module)  # so that a native MODEL of it has the same patcher
        else:
            managed = module
        patcher = Patcher(managed, load_device=device, offload_device=management.unet_offload_device())
        keep(module, patcher)
    return patcher


def keep(module: nn.Module, patcher: ModelPatcher) -> None:
    """From now on this patcher moves the module, and each forward makes sure that it is loaded."""
    vars(module)["_vdit_patcher"] = patcher
    if _ready not in module._forward_pre_hooks.values():
        module.register_forward_pre_hook(_ready)


def _parts(module: nn.Module) -> list[nn.Module]:
    """What is moved as one: a module, or each of two experts; nothing of a module without weights."""
    if isinstance(module, Experts):
        return [module.high, module.low]
    return [module] if "_vdit_patcher" in vars(module) or next(module.parameters(), None) is not None else []


def _ready(module: nn.Module, args: tuple) -> None:
    """Before a forward: another model's loading may have moved this one off, and experts take turns."""
    patcher = vars(module).get("_vdit_patcher")
    if patcher is None:  # a copy that shares the weights and has no patcher yet
        return
    if patcher.current_loaded_device() != patcher.load_device:
        management.load_models_gpu([patcher], memory_required=vars(module).get("_vdit_activations", 0))
    settle(module)


def settle(module: nn.Module) -> None:
    """Moves to the device what is not streamed: norms, modulations, convolutions."""
    device = vars(module)["_vdit_patcher"].load_device
    for part in module.modules():
        if hasattr(part, "comfy_cast_weights"):
            continue
        tensors = (t for t in (*part._parameters.values(), *part._buffers.values()) if t is not None)
        if any(t.device != device for t in tensors):
            part._apply(lambda t: t.to(device), recurse=False)
