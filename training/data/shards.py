"""Numbered files of a folder, which several processes can fill and training runs read while it grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

import torch

from ..recipes import BodiesRecipe, ClipsRecipe, LatentsRecipe, PicturesRecipe, ScenesRecipe

AnyShards = TypeVar("AnyShards", bound="Shards")


def missing(
    recipe: BodiesRecipe | ClipsRecipe | LatentsRecipe | ScenesRecipe | PicturesRecipe, name: str, suffix: str = ".pt"
) -> Iterator[tuple[int, Path]]:
    """Number and path of those of a recipe's shards that are not there, with a bar: an interrupted run goes on where it
    stopped. Makes the folder."""
    from tqdm import tqdm

    recipe.out.mkdir(parents=True, exist_ok=True)
    numbers = range(recipe.first, recipe.first + recipe.shards)
    for number in tqdm(numbers, unit="shard", desc=f"{name} {recipe.split}", disable=len(numbers) < 2):
        path = recipe.out / f"{name}-{number:05d}{suffix}"
        if not path.exists():
            yield number, path


@dataclass
class Shards:
    """The files `name`-*.pt of a folder, which `vdit train name` makes; each is opened once."""

    folder: Path
    shards: dict[str, dict] = field(default_factory=dict)

    name: ClassVar[str] = ""
    rows: ClassVar[str] = ""  # the key that has one entry a row

    @classmethod
    def load(cls: type[AnyShards], folder: Path) -> AnyShards:
        """All shards of a folder. Raises FileNotFoundError when there is none."""
        found = cls(Path(folder))
        found.refresh()
        if not found.shards:
            raise FileNotFoundError(f"no {cls.name}-*.pt in {folder}; make them with `vdit train {cls.name}`")
        return found

    def refresh(self) -> None:
        """Open the files that have been added since the last time."""
        for path in sorted(self.folder.glob(f"{self.name}-*.pt")):
            if path.name not in self.shards:
                self.shards[path.name] = self.open(path)

    def __getstate__(self) -> dict:
        """For another process, which opens the files itself."""
        return {**self.__dict__, "shards": {}}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.refresh()

    def open(self, path: Path) -> dict:
        """A file, mapped from disk: pages are read when used."""
        return torch.load(path, weights_only=True, mmap=True)

    def __len__(self) -> int:
        return sum(len(shard[self.rows]) for shard in self.shards.values())
