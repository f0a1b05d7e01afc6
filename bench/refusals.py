"""How soon each wrong prompt of tests/refusals.py is refused: python -m vdit.bench.refusals [--json FILE]

Through `vdit run` in this process and as a process of its own, through a studio's server, and through a real ComfyUI
where COMFYUI_PATH names one. Aim: 2 s, and no node of the prompt has run; of ComfyUI, that nothing was sampled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import comfy_core  # noqa: E402
import refusals  # noqa: E402

from ..host import folders, run, server  # noqa: E402
from ..host.command import Refused  # noqa: E402

AIM_S = 2.0
COLD = ("prefix leads out", "width off the lattice", "VAE of another family")  # by whole processes, which start slowly
Ask = Callable[[dict], str]  # what became of a prompt: "refused", or else what ran


def by_command(base: Path) -> Ask:
    """`vdit run` in this process."""
    path = base / "wrong.json"

    def ask(prompt: dict) -> str:
        path.write_text(json.dumps(prompt))
        try:
            run.main([str(path)])
        except Refused as reason:
            return "refused" if str(reason).startswith("The workflow cannot run") else f"a node ran: {reason}"
        return "done"

    return ask


def by_process(base: Path) -> Ask:
    """`vdit run` from its start to its end."""
    path = base / "wrong.json"

    def ask(prompt: dict) -> str:
        path.write_text(json.dumps(prompt))
        command = [sys.executable, "-P", "-m", "vdit.host", "run", str(path), "--base", str(base)]
        done = subprocess.run(command, capture_output=True, text=True)
        return "refused" if "The workflow cannot run" in done.stderr else f"status {done.returncode}: {done.stderr}"

    return ask


@contextmanager
def studio() -> Iterator[Ask]:
    """A studio in this process, asked over HTTP."""
    urls: list[str] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    task = loop.create_task(server.serve(port=0, ready=lambda url: (urls.append(url), ready.set())))
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])), daemon=True)
    thread.start()
    ready.wait(30)
    yield lambda prompt: posted(urls[0], prompt)
    loop.call_soon_threadsafe(task.cancel)
    thread.join(10)


def posted(url: str, prompt: dict) -> str:
    """ "refused" where the server does not take it."""
    body = json.dumps({"prompt": prompt, "client_id": "bench"}).encode()
    try:
        with urlopen(Request(f"{url}prompt", body, {"Content-Type": "application/json"})) as answer:
            errors = json.load(answer)["node_errors"]  # of outputs that are left out
    except HTTPError as refused:
        return "refused" if refused.code == 400 else f"status {refused.code}"
    return "refused" if errors else "queued"


def by_comfyui(core: comfy_core.Core) -> Ask:
    """A real ComfyUI: a prompt that it takes is followed to its end."""

    def ask(prompt: dict) -> str:
        done = comfy_core.run(core, prompt)
        ran = [one["data"]["node"] for one in done.messages if one["type"] == "executing" and one["data"]["node"]]
        if done.status == "refused" or done.node_errors:
            return "refused"
        kinds = [prompt[node]["class_type"] for node in ran]
        sampled = done.status == "success" or any(kind in ("VDiTSample", "VDiTSimulate") for kind in kinds[:-1])
        return f"{done.status} after {', '.join(kinds)}" if sampled else "refused, at its node"

    return ask


def table(rows: dict[str, dict[str, dict]]) -> str:
    """Seconds by case and door; what else became of a prompt in its place."""
    doors = list(rows)
    lines = [f"{'':34}" + "".join(f"{door:>16}" for door in doors)]
    for case in rows[doors[0]]:
        cells = [rows[door].get(case) for door in doors]
        lines.append(f"{case:34}" + "".join(f"{cell['seconds']:14.3f} s" if cell else f"{'':16}" for cell in cells))
        lines += [f"    {cell['became']}" for cell in cells if cell and not cell["became"].startswith("refused")]
    slowest = "".join(f"{max(c['seconds'] for c in rows[door].values()):14.3f} s" for door in doors)
    counts = "".join(f"{sum(c['became'].startswith('refused') for c in rows[d].values()):>16}" for d in doors)
    return "\n".join([*lines, f"{'slowest':34}{slowest}", f"{'refused':34}{counts}"])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    cases, rows = refusals.cases(), {}

    def measure(door: str, ask: Ask, names: list[str]) -> None:
        rows[door] = {}
        for name in names:
            start = time.perf_counter()
            became = ask(cases[name].prompt)
            rows[door][name] = {"seconds": round(time.perf_counter() - start, 4), "became": became}

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        refusals.files(base)
        folders.use(base)
        measure("vdit run", by_command(base), list(cases))
        measure("whole process", by_process(base), list(COLD))
        with studio() as ask:
            measure("studio", ask, list(cases))
    if os.environ.get("COMFYUI_PATH"):
        with tempfile.TemporaryDirectory() as folder, comfy_core.started(Path(folder)) as core:
            refusals.files(core.base)
            measure("ComfyUI", by_comfyui(core), [name for name, case in cases.items() if not case.host_only])
    print(table(rows))
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    late = [(door, name) for door, found in rows.items() for name, one in found.items() if one["seconds"] > AIM_S]
    wrong = [(d, n) for d, found in rows.items() for n, one in found.items() if not one["became"].startswith("refused")]
    print(f"later than {AIM_S:g} s: {late or 'none'}; not refused: {wrong or 'none'}")
    return int(bool(late or wrong))


if __name__ == "__main__":
    sys.exit(main())
