"""`vdit inspect FILE`: what a file of weights is, whether it is whole, what it needs beside it and where it fits."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..causal import told_by
from ..errors import CheckpointError, UnknownVariantError
from ..variants import Variant, detect
from .families import identify, teacher_of
from .fill import compare
from .load import WHERE, doubts, need_of, on_meta, released, shapes_of
from .weights import WeightFile, open_weights


@dataclass
class Inspection:
    """What the header of a file says; data is not read."""

    path: str
    kind: str
    what: str
    role: str
    size: int  # bytes of its tensors
    parameters: int
    tensors: int
    quantisation: str | None
    dtypes: dict[str, int]  # dtype -> tensors
    prefix: str = ""
    variant: str | None = None
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    released: str = ""
    defaults: dict = field(default_factory=dict)  # the same as numbers
    memory: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # why it cannot be loaded; empty: it can
    causal: str = ""  # what says that it makes videos block by block: "header" or "name"


def inspect(path: str | Path) -> Inspection:
    """Looks at any file or folder of weights. CheckpointError where it cannot even be opened."""
    weights = open_weights(path)
    family = identify(weights.shapes, weights.metadata)
    seen = Inspection(
        str(weights.path), weights.kind, family.title, family.role, weights.bytes, weights.parameters,
        len(weights.stored), weights.quantisation, dict(Counter(weights.dtypes.values()).most_common()), weights.prefix,
    )  # fmt: skip
    if family.role == "other":
        seen.problems.append(WHERE["other"])
    try:
        weights.check_readable()
    except CheckpointError as e:
        seen.problems.append(str(e).removeprefix(f"{weights.path}: "))
    if teacher := teacher_of(weights.metadata):
        seen.needs.append(f"{teacher} of the same release beside it, for codec, words and object dynamics")
    if family.role == "transformer":
        _transformer(seen, weights)
    elif family.role not in ("bundle", "other"):
        seen.needs.append(WHERE[family.role])
    return seen


def _transformer(seen: Inspection, weights: WeightFile) -> None:
    try:
        variant = detect(weights.shapes)
    except UnknownVariantError as e:
        seen.problems.append(str(e))
        return
    seen.what, seen.variant = variant.title, variant.name
    seen.released, seen.defaults, seen.needs = released(variant), dict(variant.defaults), list(variant.needs)
    if not seen.problems:  # what cannot be read may be packed, and has other shapes
        seen.missing, seen.unexpected, seen.misshapen = compare(weights.shapes, shapes_of(on_meta(variant)))
    if seen.missing or seen.unexpected or seen.misshapen:
        seen.problems.append("its tensors are not those of the model: it is incomplete or of another model")
    seen.needs += doubts(variant, weights)
    seen.causal = told_by(weights.path.stem, weights.metadata).by
    if weights.beside:
        seen.needs.append(f"{len(weights.beside)} tensors of other models in the same file are left alone")
    seen.memory = _memory(variant, weights)


def _memory(variant: Variant, weights: WeightFile) -> list[str]:
    sizes = ((0, 0, 0), (33, 480, 256))  # as released, and small
    needs = [need_of(variant, weights, *size) for size in sizes]
    return ["{} frames of {}x{} ".format(*n.video) + f"take {n.whole / 2**30:.3g} GiB: {n.cards()}" for n in needs]


def text(seen: Inspection) -> str:
    """The inspection for people, a line for each matter."""

    def names(found: list[str], word: str) -> str:
        return f"{len(found)} {word} (first {found[0]})" if found else ""

    dtypes = ", ".join(f"{count} x {dtype}" for dtype, count in seen.dtypes.items())
    different = ", ".join(filter(None, (
        names(seen.missing, "missing"), names(seen.unexpected, "unexpected"), names(seen.misshapen, "of another shape"),
    )))  # fmt: skip
    gib = seen.size / 2**30
    rows = [
        ("what", seen.what + (f" [{seen.variant}]" if seen.variant else "")),
        ("format", seen.kind + (f", names behind {seen.prefix!r}" if seen.prefix else "")),
        ("weights", f"{seen.quantisation or 'not quantised'}: {dtypes}"),
        ("size", f"{seen.parameters / 1e9:.3g} billion parameters in {seen.tensors} tensors, {gib:.3g} GiB"),
        ("tensors", different or ("as the model has them" if seen.variant else "")),
        ("released", seen.released and f"with {seen.released}"),
        ("causal", seen.causal and f"by its {seen.causal}: VDiT Load Model makes its videos block by block"),
        *(("needs", line) for line in seen.needs),
        *(("memory", line) for line in seen.memory),
        *(("problem", line) for line in seen.problems),
    ]
    return "\n".join([seen.path, *(f"  {name:9}{line}" for name, line in rows if line)])


def main(argv: list[str]) -> int:
    """Exit status 0 where every file can be used, 1 where one cannot."""
    parser = argparse.ArgumentParser(prog="vdit inspect", description="Says what files of weights are.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, a shard or its index, or a diffusers folder")
    parser.add_argument("--json", action="store_true", help="one JSON object for each file")
    options = parser.parse_args(argv)
    status = 0
    for path in options.files:
        try:
            seen = inspect(path)
        except CheckpointError as e:
            print(f"vdit: {e}", file=sys.stderr)
            status = 1
            continue
        print(json.dumps(asdict(seen)) if options.json else text(seen))
        status = status or int(bool(seen.problems))
    return status
