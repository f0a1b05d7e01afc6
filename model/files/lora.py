"""LoRAs in all common namings, added to the outputs of a model's matrices; the matrices themselves stay unchanged."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..experts import Experts
from ..world_model import WorldModel
from .families import identify
from .names import flat_native_name
from .quantized import LowRank, StoredLinear
from .weights import FLOATS, WeightFile, open_weights

_KEY = re.compile(
    r"^(?P<module>.+?)\.(?:lora_(?P<end>down|up|A|B)(?:\.\w+)?\.weight|lora\.(?P<old>down|up)\.weight"
    r"|lora_(?:B|up)(?:\.\w+)?\.(?P<bias>bias)|(?P<whole>diff|diff_b|diff_m|alpha))$"
)
_KINDS = {"A": "down", "B": "up", "bias": "up_bias"}
# What stands before a module's name, one behind another and in any order; dots and underscores are one.
_PREFIXES = (
    "base_model_", "model_", "diffusion_model_", "transformer_2_", "transformer_", "unet_", "lora_", "lycoris_",
    "pipe_", "dit_", "module_", "_",
)  # fmt: skip
_SECOND = re.compile(r"(^|[._])transformer_2[._]")  # diffusers' name of the low-noise expert
_OTHER_METHODS = {
    "dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", ".magnitude": "DoRA", "hada_w1": "LoHa", "lokr_w": "LoKr",
    "lora_mid": "a Tucker LoRA",
}  # fmt: skip
AnyModule = TypeVar("AnyModule", bound=nn.Module)
DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass
class LoraReport:
    """Which tensors of which files were used, for the user."""

    matched: int = 0  # tensors
    unmatched: list[str] = field(default_factory=list)  # "file: name, why not"
    lines: list[str] = field(default_factory=list)  # a sentence for each file


class Change(NamedTuple):
    """A file's tensors for one module: kind (down, up, up_bias, alpha, diff, diff_b, diff_m) -> name in the file."""

    module: str
    parts: dict[str, str]


def apply_loras(model: nn.Module, loras: Sequence[tuple[str | Path, float]], expert: str = "high") -> LoraReport:
    """Add LoRAs with their strengths to a model, in place; `shared_copy` keeps one without.

    expert: which of two the model is, for files that hold a LoRA for each. All files are checked before the model is
    changed. Raises CheckpointError for a file that is no LoRA, of which nothing fits, or whose numbers cannot be used.
    """
    report, plans = LoraReport(), []
    for path, strength in loras:
        weights, changes = _plan(model, Path(path), report, expert)
        plans.append((_tensors(weights, changes), float(strength)))
    for parts, strength in plans:
        for module, part in parts.items():
            _apply(model, module, part, strength)
    return report


def _tensors(weights: WeightFile, changes: list[Change]) -> dict[str, dict[str, Tensor]]:
    """Module -> kind -> tensor. CheckpointError for NaN, and for a file that changes nothing."""
    found: dict[str, dict[str, Tensor]] = {}
    anything = False
    for module, parts in changes:
        found[module] = {}
        for kind, name in parts.items():
            value = weights.tensor(name, torch.float32 if name in weights.scales else None)
            whole = value.float() if value.itemsize == 1 else value  # fp8 knows no isfinite
            if not torch.isfinite(whole).all():
                raise CheckpointError(f"{weights.path}: NaN or infinite values in {name}; get the file again")
            anything |= kind not in ("down", "alpha") and bool(whole.any())
            found[module][kind] = value
    if not anything:
        raise CheckpointError(
            f"{weights.path}: what it adds is zero everywhere: it was saved before it was trained, or without its "
            "weights; get it again"
        )
    return found


def with_loras(
    model: WorldModel, loras: Sequence[tuple[str | Path, float]], experts: Sequence[str] = ("high", "low")
) -> tuple[WorldModel, LoraReport]:
    """A model like this one with LoRAs over its transformer; experts: which of two get them. Tensors are shared."""
    transformer = shared_copy(model.transformer)
    for name in experts if isinstance(transformer, Experts) else ("",):
        report = apply_loras(transformer.get_submodule(name), loras, name or "high")
    return replace(model, transformer=transformer), report


def check_loras(model: nn.Module, loras: Sequence[tuple[str | Path, float]], expert: str = "high") -> LoraReport:
    """The report that apply_loras would give, from headers alone; the model may be on meta."""
    report = LoraReport()
    for path, _ in loras:
        _plan(model, Path(path), report, expert)
    return report


def shared_copy(module: AnyModule) -> AnyModule:
    """A copy of the module tree that shares every tensor, so that submodules can be replaced in the copy alone."""
    new = module.__class__.__new__(module.__class__)
    # Attributes that a host attached (named _vdit...) belong to the original alone.
    new.__dict__.update({k: v for k, v in vars(module).items() if not k.startswith("_vdit")})
    new._parameters, new._buffers = dict(module._parameters), dict(module._buffers)
    new._modules = {name: child and shared_copy(child) for name, child in module._modules.items()}
    return new


def copied_to(module: AnyModule, device: torch.device) -> AnyModule:
    """A copy of the module tree whose tensors are on the device, for inference, without hooks and outside a host's
    management: a host that gives layers a class of its own names in it, as `plain`, the one that they had.
    """
    new = shared_copy(module)
    for part in new.modules():
        part.__class__ = getattr(part, "plain", part.__class__)
        part._forward_pre_hooks, part._forward_hooks = OrderedDict(), OrderedDict()
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(value.detach().to(device), requires_grad=False)
        part._buffers = {name: value if value is None else value.to(device) for name, value in part._buffers.items()}
    return new


def _plan(model: nn.Module, path: Path, report: LoraReport, expert: str = "high") -> tuple[WeightFile, list[Change]]:
    weights = open_weights(path)
    family = identify(weights.shapes, weights.metadata)
    if family.role != "lora":
        raise CheckpointError(f"{path}: this is {family.title}, not a LoRA; give a LoRA that was made for this model")
    for mark, method in _OTHER_METHODS.items():
        if any(mark in name for name in weights.stored):
            raise CheckpointError(f"{path}: this is {method}, which is not read here; plain LoRA is")
    modules = dict(model.named_modules())
    flat = {name.replace(".", "_"): name for name in modules}
    changes: dict[str, Change] = {}
    lost: dict[str, str] = {}  # name in the file -> why
    names = _of_expert(list(weights.stored), expert)
    for name in names:
        key = _KEY.match(name)
        if not key:
            lost[name] = "a name of no known form"
            continue
        kind = key["whole"] or key["end"] or key["old"] or key["bias"]
        kind = _KINDS.get(kind, kind)
        if kind == "diff" and key["module"].endswith(".modulation"):  # no module of its own
            kind = "diff_m"
        module = _module(key["module"].removesuffix(".modulation"), flat)
        if module is None:
            lost[name] = "the model has no such module"
            continue
        if changes.setdefault(module, Change(module, {})).parts.setdefault(kind, name) != name:
            lost[name] = "another tensor of the file is for the same place"
    fitting = []
    for change in changes.values():
        reason = _misfit(modules[change.module], weights, change)
        if reason:
            lost.update(dict.fromkeys(change.parts.values(), reason))
        else:
            fitting.append(change)
    matched = len(names) - len(lost)
    if not matched:
        raise CheckpointError(
            f"{path}: this is {family.title}; nothing of it fits the model: {_why(lost)}; load one of this model"
        )
    report.matched += matched
    report.unmatched += [f"{path.name}: {name}, {why}" for name, why in lost.items()]
    report.lines.append(f"{path.name}: {matched} tensors used" + (f", {len(lost)} not: {_why(lost)}" if lost else ""))
    return weights, fitting


def _of_expert(names: list[str], expert: str) -> list[str]:
    """The names for one expert, where a file holds LoRAs for both; else all."""
    second = [name for name in names if _SECOND.search(name)]
    if len(second) in (0, len(names)):
        return names
    return second if expert == "low" else [name for name in names if not _SECOND.search(name)]


def _module(name: str, flat: dict[str, str]) -> str | None:
    """The model's module that a LoRA's name means, native or diffusers', behind any prefixes; flat: by flat name."""
    name = name.replace(".", "_")
    while name:
        for known in (name, flat_native_name(name)):
            if known in flat:
                return flat[known]
        prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
        if prefix is None:
            return None
        name = name.removeprefix(prefix)
    return None


def _misfit(module: nn.Module, weights: WeightFile, change: Change) -> str:
    """Why a change cannot be made to this module; "" where it can."""
    shape = {kind: weights.shapes[name] for kind, name in change.parts.items()}
    if ("down" in shape) != ("up" in shape):
        return "one of down and up is missing"
    if not shape.keys() - {"alpha", "up_bias"}:
        return "an alpha or a bias of nothing"
    if prod(shape.get("alpha", ())) != 1:
        return f"its alpha holds {prod(shape['alpha'])} values, expected one"
    strange = next((kind for kind in shape if kind != "alpha" and _dtype(weights, change, kind) not in FLOATS), None)
    if strange:
        return f"its {strange} is {_dtype(weights, change, strange)}, only numbers with a point are read"
    wanted = _weight_shape(module)
    if "diff_m" in shape:
        own = getattr(module, "modulation", None)
        return "" if own is not None and shape["diff_m"] == tuple(own.shape) else "the model has no such modulation"
    if wanted is None:
        return "the model's module has no weight"
    if "down" in shape:
        (out, rank), down = (shape["up"] + (0,))[:2], shape["down"]
        ones = all(n == 1 for n in shape["up"][2:])  # a LoRA of a convolution: up is 1x1
        if not rank:
            return "its rank is 0"
        if (out, *down[1:]) != wanted or down[0] != rank or not ones:
            return f"made for a matrix {_by(out, *down[1:])}, the model's is {_by(*wanted)}"
    if "diff" in shape and shape["diff"] != wanted:
        return f"made for a weight {_by(*shape['diff'])}, the model's is {_by(*wanted)}"
    for kind in ("diff_b", "up_bias"):
        bias = cast("Tensor | None", getattr(module, "bias", None))
        if kind in shape and (bias is None or shape[kind] != tuple(bias.shape)):
            return f"made for a bias of {_by(*shape[kind])}"
    return ""


def _dtype(weights: WeightFile, change: Change, kind: str) -> str:
    return weights.dtypes[change.parts[kind]]


def _weight_shape(module: nn.Module) -> tuple[int, ...] | None:
    if isinstance(module, (nn.Linear, StoredLinear)):
        return module.out_features, module.in_features
    weight = getattr(module, "weight", None)
    return tuple(weight.shape) if isinstance(weight, Tensor) else None


def _apply(model: nn.Module, name: str, part: dict[str, Tensor], strength: float) -> None:
    module = model.get_submodule(name)
    if isinstance(module, (nn.Linear, StoredLinear)):
        module = _opened(model, name, module)
        if "down" in part:
            module.loras.append(LowRank(strength * _scale(part), part["up"], part["down"]))
        if "diff" in part:
            module.loras.append(LowRank(strength, part["diff"]))
    else:  # convolutions, norms and modulations are small: the difference is added to a copy
        module = _replaced(model, name, shared_copy(module))
        if "down" in part:
            up, down = part["up"].float().flatten(1), part["down"].float().flatten(1)
            _add(module, "weight", strength * _scale(part) * (up @ down).reshape(_weight_shape(module) or ()))
        if "diff" in part:
            _add(module, "weight", strength * part["diff"].float())
        if "diff_m" in part:
            _add(module, "modulation", strength * part["diff_m"].float())
    if "diff_b" in part:
        _add(module, "bias", strength * part["diff_b"].float())
    if "up_bias" in part:
        _add(module, "bias", strength * _scale(part) * part["up_bias"].float())


def _scale(part: dict[str, Tensor]) -> float:
    return float(part["alpha"]) / len(part["down"]) if "alpha" in part else 1.0


def _opened(model: nn.Module, name: str, old: nn.Linear | StoredLinear) -> StoredLinear:
    """The matrix as one that LoRAs can be hung on, in this model only."""
    if isinstance(old, StoredLinear):
        new = shared_copy(old)
        new.loras = nn.ModuleList(old.loras)
    else:
        shape = old.out_features, old.in_features
        new = StoredLinear(shape, old.bias is not None, DTYPE_NAMES[old.weight.dtype])
        new.weight, new.bias = cast(nn.Parameter, old.weight), cast("nn.Parameter | None", old.bias)
    _replaced(model, name, new)
    return new


def _replaced(model: nn.Module, name: str, new: nn.Module) -> nn.Module:
    if name:
        model.set_submodule(name, new)
        return new
    return model


def _add(module: nn.Module, name: str, difference: Tensor) -> None:
    old = getattr(module, name)
    setattr(module, name, nn.Parameter((old.float() + difference.to(old.device)).to(old.dtype), requires_grad=False))


def _by(*shape: int) -> str:
    return "x".join(map(str, shape))


def _why(lost: dict[str, str]) -> str:
    """The reasons, the most frequent first, each with one name."""
    by_reason: dict[str, list[str]] = {}
    for name, why in lost.items():
        by_reason.setdefault(why, []).append(name)
    reasons: Iterable[tuple[str, list[str]]] = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    return "; ".join(f"{why} ({len(names)} tensors, such as {names[0]})" for why, names in list(reasons)[:3])
