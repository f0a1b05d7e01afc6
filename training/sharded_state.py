"""States of runs whose model is divided: `torch.distributed.checkpoint`, written beside the training, as safetensors.

Each member writes its parts into one file of a folder `state-STEP`, which appears whole or not at all. Any number of
members reads it: each takes its own parts from the files of all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.checkpoint.storage import WriteResult

from .launch import Team

State = dict  # as in run.py
TENSORS = ("weights", "average", "optimizers")  # entries of a state that are read back into live tensors
FACTS = "facts.json"  # everything else
KEPT = 2  # newest states that stay
_NAME = re.compile(r"state-(\d{8,})$")


class Optimized(Protocol):
    """Weights under training, as far as their optimizers are concerned; see trainer.TrainedWeights."""

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Of the weights."""
        ...

    def set_learning_rate(self, rate: float) -> None:
        """Of all of them."""
        ...

    def forget_gradients(self) -> None:
        """Of all weights."""
        ...


class ShardedStates:
    """The folders `state-STEP` of a run. All members call every method together."""

    def __init__(self, folder: Path, team: Team):
        self.folder, self.team = folder, team
        self.group = cast(
            ProcessGroup, torch.distributed.new_group(backend="gloo")
        )  # writing goes on beside training's own collectives
        self.pending: Future | None = None
        self.seconds, self.step = 0.0, -1  # of training, when last saved
        if team.leads:
            folder.mkdir(parents=True, exist_ok=True)
            for part in folder.glob(".state-*.part"):  # of a killed run
                shutil.rmtree(part)
        team.wait()

    def save(self, state: State) -> None:
        """Begin to write a state with `step` and `seconds`; waits for the one before, and for this to be copied."""
        self.wait()
        step, self.seconds = state["step"], state["seconds"]
        if step == self.step:
            return
        self.step = step
        tensors = {name: _at_least_1d(value.detach()) for name, value in _tensors(state)}
        facts = {name: value for name, value in state.items() if name not in TENSORS and not _holds_tensor(value)}
        writer = _Writer(self.folder / f"state-{step:08d}", facts)
        self.pending = cast(Future, async_save(tensors, storage_writer=writer, process_group=self.group))

    def wait(self) -> None:
        """Until what was begun is on the disk. Raises what writing it raised."""
        if self.pending is not None:
            self.pending.result()
            self.pending = None

    def load(self, trained: Optimized, now: Callable[[], State], other: State | None = None) -> State | None:
        """The newest state, its tensors read into the live ones; None where there is none, or `other` is as new.

        now: the live state, asked for when the optimizers have theirs. Raises ValueError where it is another model's.
        """
        found = max(self.folder.glob("state-*"), key=lambda path: path.name, default=None)
        if found is None or not _NAME.search(found.name):
            return None
        facts = json.loads((found / FACTS).read_text("utf-8"))
        if other is not None and other["step"] >= facts["step"]:
            return None
        _fill_optimizers(trained)
        reader = HuggingFaceStorageReader(str(found))
        stored = {
            name: tuple(found.size)
            for name, found in reader.read_metadata().state_dict_metadata.items()
            if isinstance(found, TensorStorageMetadata)
        }
        live = {name: value for name, value in now().items() if name in TENSORS}
        wanted = dict(_tensors(live))
        for name, value in wanted.items():
            if name in stored and stored[name] != tuple(_at_least_1d(value).shape):
                raise ValueError(f"{found}: {name} has shape {stored[name]}; this run's is {tuple(value.shape)}")
            if name not in stored and not name.startswith("optimizers."):
                raise ValueError(
                    f"{found} has no {name}: it is a state of another model; name another folder with --out"
                )
        read = {name: _at_least_1d(value) for name, value in wanted.items() if name in stored}
        load(read, storage_reader=reader, process_group=self.group)
        _drop_unsaved(trained, stored)
        self.step, self.seconds = facts["step"], facts["seconds"]
        return {**facts, **{name: value for name, value in now().items() if name in TENSORS}}


class _Writer(HuggingFaceStorageWriter):
    """Writes beside; the folder gets its name when every member's file is on the disk."""

    def __init__(self, folder: Path, facts: State):
        super().__init__(str(folder.with_name(f".{folder.name}.part")), save_distributed=True)
        self.folder, self.facts = folder, facts

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Called on the leader alone, when all have written."""
        part = Path(self.path)
        with open(part / FACTS, "w", encoding="utf-8") as file:
            json.dump(self.facts, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, self.folder)
        for old in sorted(self.folder.parent.glob("state-*"))[:-KEPT]:
            if _NAME.search(old.name):
                shutil.rmtree(old)


def _tensors(tree: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of dicts and lists, by their path."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _holds_tensor(tree: object) -> bool:
    return next(_tensors(tree), None) is not None


def _at_least_1d(value: Tensor) -> Tensor:
    """safetensors' readers slice along an axis; optimizers count steps in scalars."""
    return value if value.ndim else value.view(1)


@torch.no_grad()
def _fill_optimizers(trained: Optimized) -> None:
    """Let optimizers that have no state yet make it, by a step of no length along no gradient."""
    if any(optimizer.state for optimizer in trained.optimizers):
        return
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in trained.optimizers]
    trained.set_learning_rate(0.0)
    for optimizer in trained.optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.zeros_like(p)
        optimizer.step()
    trained.forget_gradients()
    for optimizer, own in zip(trained.optimizers, rates, strict=True):
        for group, rate in zip(optimizer.param_groups, own, strict=True):
            group["lr"] = rate


def _drop_unsaved(trained: Optimized, stored: dict) -> None:
    """Parameters that had no gradient before the state was saved have no optimizer state in it."""
    for n, optimizer in enumerate(trained.optimizers):
        params = [p for group in optimizer.param_groups for p in group["params"]]
        for i, p in enumerate(params):
            if not any(name.startswith(f"optimizers.{n}.state.{i}.") for name in stored):
                optimizer.state.pop(p, None)
