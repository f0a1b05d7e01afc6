"""`vdit benchmark`: the benchmark's command, given world models by the names of their files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..benchmark import cli
from ..benchmark.contestant import Contestant, PreviewModel
from ..model.files import bundle
from ..pipeline import SamplerSettings
from .benchmark_models import contestant, preview_model


def main(argv: list[str]) -> int:
    """Runs one benchmark; the exit status is that of benchmark/cli.py."""
    return cli.main(argv, load, load_preview)


def load(file: str | None, steps: int | None, guidance: float | None, whole: bool, ended: bool) -> Contestant:
    """The model in a file (None: the bundled one), named by the file and its digest."""
    path = Path(file or bundle.BUNDLED)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    settings, model = SamplerSettings(steps, guidance), bundle.load_world_model(path)
    return contestant(model, f"{path.name} {digest}", settings, whole=whole, ended=ended)


def load_preview(
    file: str | None, students: list[str] | None, known: int, drafts: bool
) -> tuple[PreviewModel, list[PreviewModel]]:
    """The teacher in a file (None: the bundled one) and its students. Raises ValueError where there are none."""
    bundled = Path(bundle.BUNDLED)
    paths = [Path(name) for name in students or sorted(bundled.parent.glob("vdit-small-student*.safetensors"))]
    if not paths:
        raise ValueError(f"there are no students in {bundled.parent}; name some: --students FILE ...")

    def model(path: Path, name: str) -> PreviewModel:
        return preview_model(bundle.load_world_model(path), name, known, drafts)

    return model(Path(file or bundled), "teacher"), [model(path, path.stem) for path in paths]
