"""Runs the benches of this folder, each in a process of its own, prints their rows and writes one JSON file.

    python -m vdit.bench [NAME ...] [--quick] [--json output/bench.json]

Values are medians of five, with --quick of one. README.md says what each row means and has the figures of the release.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from .rows import Row, as_json, runs

# Modules of this folder with a function rows(quick) -> Iterator[Row], by how long they take.
BENCHES = ("threads", "latency", "gym", "kernels", "agreement", "wan_step", "long_videos", "streaming", "causal")
BENCHES += ("wan_codec", "live")


IDLE = 0.5  # load average over a minute up to which times on the clock are those of an idle machine


def said_of(count: int) -> str:
    """What a value is, of so many runs."""
    return f"medians of {count}" if count > 1 else "one run each"


def measure(name: str, quick: bool) -> None:
    """Print the rows of one bench as lines of JSON; all else that it prints goes to the error stream."""
    out, sys.stdout = sys.stdout, sys.stderr
    for row in importlib.import_module(f".{name}", __package__).rows(quick):
        print(json.dumps(as_json([row])[0]), file=out, flush=True)


def measured(name: str, quick: bool) -> tuple[list[Row], int]:
    """(Rows of one bench, which ran in a process of its own; its exit status)."""
    command = [sys.executable, "-P", "-m", __package__ or "vdit.bench", "--one", name, *["--quick"] * quick]
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            found.append(Row(**{k: v for k, v in json.loads(line).items() if k != "met"}))
            print(found[-1], flush=True)
    return found, process.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all unless given")
    parser.add_argument("--quick", action="store_true", help="one run in place of five, smaller where a bench can")
    parser.add_argument("--json", type=Path, default=Path("output/bench.json"), help="default: output/bench.json")
    parser.add_argument("--one", choices=BENCHES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.one, options.quick)
        return 0
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"no bench named {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    load = os.getloadavg()[0]
    if load > IDLE:
        print(f"this machine is busy (a load of {load:.1f}): only rows of processor time and of memory can be trusted")
    results: dict[str, object] = {"cores": os.cpu_count(), "load": load, "runs": runs(options.quick)}
    failed = []
    for name in options.names or BENCHES:
        command = " ".join(["python -m vdit.bench", name, *["--quick"] * options.quick])
        print(f"\n{command}: {said_of(runs(options.quick))}", flush=True)
        start = time.perf_counter()
        rows, status = measured(name, options.quick)
        taken = round(time.perf_counter() - start, 1)
        results[name] = {"command": command, "rows": as_json(rows), "seconds": taken, "status": status}
        failed += [f"{name} (status {status})"] * bool(status)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwritten to {options.json}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
