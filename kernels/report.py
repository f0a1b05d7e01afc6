"""What the kernels compile to on each GPU, without one: `vdit kernels report` and the gates that tests hold it to."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

from ..machine.writing import written
from .aot import TARGETS, VARIANTS, compile_one, default_config
from .triton.configs import Config, launch_options

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "report_baseline.json"
SLACK = 8  # registers a kernel may grow by before the baseline must be looked at


def faults(row: dict, baseline: dict) -> list[str]:
    """The gates that a row misses, in words. Registers are compared only with a baseline of the same compiler."""
    t, v = TARGETS[row["target"]], VARIANTS[row["kernel"]]
    out = [f"{key} {row[key]}" for key in ("stack", "spills") if row[key]]
    if row["shared"] > t.shared_block:
        out.append(f"shared memory {row['shared']:,} of {t.shared_block:,}")
    if v.kernel.startswith("attention"):
        for opcode in (t.mma, t.mma_int8) if v.kernel == "attention_int8" else (t.mma,):
            if not any(code.startswith(opcode) for code in row["mma"]):
                out.append(f"{opcode} missing, found {row['mma']}")
        if t.backend == "cuda" and (row["buffers"] or 0) < 2:
            out.append(f"{row['buffers']} buffer of K and V")
    old = baseline["registers"].get(f"{row['kernel']} @ {row['target']}")
    if baseline["triton"] == row["triton"] and old is not None and row["registers"] > old + SLACK:
        out.append(f"{row['registers']} registers, {old} in the baseline")
    return out


def report(
    names=None, targets=None, jobs: int | None = None, cached: bool = True, override=None, each=lambda row: None
) -> list[dict]:
    """Rows for variants x targets, compiled in `jobs` processes; kept by the hash of the sources and the compiler.

    each: called with every row as it is ready. Raises ModuleNotFoundError without triton.
    """
    import triton

    pairs = list(product(names or VARIANTS, targets or TARGETS))
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vdit" / "kernels"
    sources = HERE / "aot.py", *sorted(p for p in (HERE / "triton").glob("*.py") if p.stem != "configs")
    stamp = hashlib.sha256(b"".join(p.read_bytes() for p in sources) + triton.__version__.encode())
    rows, missing = {}, []
    for pair in pairs:
        key, config = stamp.copy(), override or default_config(*pair)
        key.update(repr((pair, config, launch_options(config))).encode())
        path = folder / f"{key.hexdigest()[:32]}.json"
        try:
            if not cached:
                raise OSError
            rows[pair] = json.loads(path.read_text("utf-8"))
            each(rows[pair])
        except (OSError, ValueError):
            missing.append((pair, config, path))
    if missing:
        # compiling must not meet TRITON_INTERPRET, nor the workers this process's threads
        env = {k: os.environ.pop(k) for k in ("TRITON_INTERPRET",) if k in os.environ}
        with ProcessPoolExecutor(jobs or min(8, os.cpu_count() or 1), mp_context=_spawn()) as pool:
            work = [(pair, path, pool.submit(compile_one, pair[0], pair[1], config)) for pair, config, path in missing]
            for pair, path, result in work:
                rows[pair] = result.result() | {"triton": triton.__version__}
                folder.mkdir(parents=True, exist_ok=True)
                with written(path) as beside:
                    beside.write_text(json.dumps(rows[pair]), "utf-8")
                each(rows[pair])
        os.environ.update(env)
    return [rows[pair] for pair in pairs]


def _spawn():
    import multiprocessing

    return multiprocessing.get_context("spawn")


def load_baseline() -> dict:
    """The committed baseline: compiler version, and registers by "kernel @ target"."""
    return json.loads(BASELINE.read_text("utf-8")) if BASELINE.exists() else {"triton": "", "registers": {}}


COLUMNS = (  # heading, width (negative: left), text of a row
    ("kernel", -29, lambda r, old: r["kernel"]),
    ("target", -7, lambda r, old: r["target"]),
    ("step", 6, lambda r, old: r["steps"]),
    ("warps", 5, lambda r, old: r["warps"]),
    ("regs", 4, lambda r, old: r["registers"]),
    ("base", 4, lambda r, old: "-" if old is None else old),
    ("stack", 5, lambda r, old: r["stack"]),
    ("spills", 6, lambda r, old: r["spills"]),
    ("shared", 7, lambda r, old: r["shared"]),
    ("limit", 7, lambda r, old: TARGETS[r["target"]].shared_block),
    ("K/V", 3, lambda r, old: r["buffers"] or "-"),
    ("occupancy", 9, lambda r, old: f"{r['occupancy']:.0%}"),
    ("mma/fp32/exp/shared/all", -24, lambda r, old: "/".join(str(r["mix"][k]) for k in MIX)),
    ("opcode", -1, lambda r, old: " ".join(r["mma"]) or "-"),
)
MIX = "mma", "fp32", "exp", "shared", "all"


def table(row: dict | None, baseline: dict) -> str:
    """One line for a row, or the headings for None."""
    old = row and baseline["registers"].get(f"{row['kernel']} @ {row['target']}")
    cells = [(str(text(row, old)) if row else heading, width) for heading, width, text in COLUMNS]
    line = " ".join(cell.ljust(-width) if width < 0 else cell.rjust(width) for cell, width in cells)
    wrong = faults(row, baseline) if row else []
    return line.rstrip() + (f"  FAILS: {'; '.join(wrong)}" if wrong else "")


def main(argv: list[str] | None = None) -> int:
    """The command `vdit kernels`; returns its exit status."""
    p = argparse.ArgumentParser(prog="vdit kernels", description=__doc__)
    commands = p.add_subparsers(metavar="COMMAND", required=True)
    r = commands.add_parser("report", help="compile every kernel for every GPU target; exit status 1 when a gate fails")
    r.add_argument("--target", action="append", choices=TARGETS, help="only this GPU; may be repeated")
    r.add_argument("--kernel", action="append", choices=VARIANTS, metavar="NAME", help="; ".join(VARIANTS))
    r.add_argument("--config", metavar="BM,BN,WARPS,STAGES[,DV]", help="try this configuration instead of the default")
    r.add_argument("--json", type=Path, metavar="PATH", help="write the rows there as well")
    r.add_argument("--jobs", type=int, metavar="NUMBER", help="processes (default: one a core, at most 8)")
    r.add_argument("--no-cache", action="store_true", help="compile even what is unchanged")
    r.add_argument("--write-baseline", action="store_true", help=f"keep the registers in {BASELINE.name}")
    a = p.parse_args(argv)
    baseline = load_baseline()
    override = Config(*map(int, a.config.split(","))) if a.config else None
    print(table(None, baseline), flush=True)

    def show(row: dict) -> None:
        print(table(row, baseline), flush=True)

    rows = report(a.kernel, a.target, a.jobs, not a.no_cache, override, show)
    if a.json:
        with written(a.json) as beside:
            beside.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    if a.write_baseline:
        kept = {f"{row['kernel']} @ {row['target']}": row["registers"] for row in rows}
        baseline = {"triton": rows[0]["triton"], "registers": kept}
        with written(BASELINE) as beside:
            beside.write_text(json.dumps(baseline, indent=1) + "\n", "utf-8")
    bad = [row for row in rows if faults(row, baseline)]
    print(f"{len(rows)} compiled with triton {rows[0]['triton']}, {len(bad)} miss a gate", file=sys.stderr)
    return 1 if bad else 0
