"""Where a farm's files go: a local folder, or any file system that fsspec knows by its URL (s3://, gs:// ...)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..machine.writing import written
from .jobs import FarmError


class Store(Protocol):
    """A folder of files by name; names may have folders in them ("a/b.mp4"). A value that pickles."""

    @property
    def place(self) -> str:
        """The folder, as a person writes it."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names of the files directly in a folder, without it; none where it is missing."""
        ...

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The contents of those of the files that are there."""
        ...

    def lost(self, sizes: Mapping[str, int]) -> bool:
        """Whether one of the files is known not to be there, or to have another size in bytes."""
        ...

    def put(self, name: str, file: Path) -> None:
        """Copy a local file to a name, over what was there."""
        ...


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine, or of a network file system that it has mounted: files appear whole."""

    folder: Path

    @property
    def place(self) -> str:
        """Its path."""
        return str(self.folder)

    def names(self, folder: str) -> list[str]:
        """As Store has it."""
        try:
            return sorted(path.name for path in (self.folder / folder).iterdir() if path.is_file())
        except FileNotFoundError:
            return []

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """As Store has it."""
        found: dict[str, bytes] = {}
        for name in names:
            with suppress(FileNotFoundError):
                found[name] = (self.folder / name).read_bytes()
        return found

    def lost(self, sizes: Mapping[str, int]) -> bool:
        """As Store has it."""
        try:
            return any((self.folder / name).stat().st_size != size for name, size in sizes.items())
        except FileNotFoundError:
            return True

    def put(self, name: str, file: Path) -> None:
        """As Store has it. Raises CannotSave."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with written(target) as part:
            shutil.copyfile(file, part)


@dataclass(frozen=True)
class RemoteFolder:
    """A folder by its URL. Most such stores write a file whole; the marks (ledger.py) find one that is not."""

    url: str

    @property
    def place(self) -> str:
        """Its URL."""
        return self.url

    def names(self, folder: str) -> list[str]:
        """As Store has it."""
        system, root = self._opened()
        system.invalidate_cache()
        try:
            found = system.ls(f"{root}/{folder}", detail=True)
        except FileNotFoundError:
            return []
        return sorted(entry["name"].rsplit("/", 1)[-1] for entry in found if entry["type"] == "file")

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """As Store has it; many files at once where the file system can."""
        if not names:
            return {}
        system, root = self._opened()
        paths = {f"{root}/{name}": name for name in names}
        found = system.cat(list(paths), on_error="omit")
        return {paths[path]: content for path, content in found.items()}

    def lost(self, sizes: Mapping[str, int]) -> bool:
        """Not asked: it would be one request a file."""
        return False

    def put(self, name: str, file: Path) -> None:
        """As Store has it."""
        system, root = self._opened()
        target = f"{root}/{name}"
        system.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        system.put_file(str(file), target)

    def _opened(self):  # noqa: ANN202  fsspec has no types
        from fsspec.core import url_to_fs

        return url_to_fs(self.url.rstrip("/"))


def store_of(place: str) -> Store:
    """The store that a path or a URL names. Raises FarmError where no package for the URL is installed."""
    if "://" not in place:
        return LocalFolder(Path(place).absolute())
    try:
        from fsspec.core import url_to_fs

        url_to_fs(place)
    except (ImportError, ValueError) as reason:
        raise FarmError(
            f"{place}: {reason}. Give a folder, or install the package that fsspec names for such addresses"
        ) from reason
    return RemoteFolder(place)
