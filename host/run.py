"""`vdit run`: one workflow, without a browser. Progress goes to stderr, results to stdout."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..machine.importing import ended_by_ctrl_c
from . import folders, overrides, several, workflow
from .catalog import load_nodes, object_infos
from .command import Refused, add_base
from .executor import Executor, NodeFailed, RunResult, saved_in
from .running import Interrupted
from .validation import Checked, InvalidPrompt, title, validate
from .video import VideoFromFile

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="vdit run",
        description="Runs a workflow without a browser: progress to stderr, one line per output file to stdout.",
    )
    options.add_argument(
        "workflow",
        metavar="WORKFLOW",
        help="a workflow .json, as saved or as exported for the API, or a video or picture that holds one",
    )
    options.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        dest="changes",
        help="set a widget, in the graph that is saved too; NODE is the title, id or type of a node, a primitive or a "
        "subgraph: --set 'Sample.seed=7'. A picture may be given as a path",
    )
    options.add_argument(
        "--gpus",
        type=int,
        default=1,
        metavar="N",
        help="make each clip on so many GPUs of this machine together (without GPUs: in so many processes)",
    )
    options.add_argument("--out", metavar="DIR", help="where files go (default: output/ in the base folder)")
    options.add_argument(
        "--json", action="store_true", help="print one JSON object: files, frames, fps, seconds per node, peak memory"
    )
    add_base(options)
    return options


def main(argv: list[str]) -> int:
    """Runs one workflow. Raises Refused with what was found and what to do; KeyboardInterrupt on Ctrl+C."""
    options = parser().parse_args(argv)
    if options.gpus != 1 and not several.is_worker():
        return several.start(options.gpus, argv)
    # Nobody looks at what nodes only show: its folder goes when the run ends.
    with several.joined(options.out) as out, tempfile.TemporaryDirectory(prefix="vdit-shown-") as shown:
        folders.use(options.base, output=out, temp=shown)
        return carried_out(options)


def carried_out(options: argparse.Namespace) -> int:
    """Runs one workflow, in the folders that are chosen; see main."""
    started = time.perf_counter()
    nodes = load_nodes()
    infos = object_infos(nodes)
    try:
        loaded = workflow.load(find(options.workflow), infos)
        for remark in overrides.apply(loaded, options.changes, infos):
            log.warning("%s", remark)
        checked = validate(loaded.prompt, nodes)
    except (workflow.WorkflowError, InvalidPrompt) as reason:
        raise Refused(str(reason)) from None
    if checked.node_errors:  # some output cannot run: say so before the long work
        raise Refused(str(InvalidPrompt({"message": ""}, checked.node_errors)))
    with ended_by_ctrl_c(), contextlib.suppress(ImportError):  # who needs it says so
        importlib.import_module("torch")
    bars = Bars(checked)
    stop = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: interrupt(stop, previous))
    logging.getLogger("vdit").addFilter(drop_remarks)
    try:
        extra_data = {"extra_pnginfo": {"workflow": loaded.ui}} if loaded.ui else {}
        result = Executor(nodes).run(checked, extra_data=extra_data, listener=bars.on_event, stop=stop)
    except NodeFailed as failure:
        log.info("%s", "".join(failure.report["traceback"]))
        raise Refused(str(failure)) from None
    except Interrupted:
        raise KeyboardInterrupt from None
    finally:
        bars.close()
        signal.signal(signal.SIGINT, previous)
        logging.getLogger("vdit").removeFilter(drop_remarks)
    report(options, checked, result, time.perf_counter() - started)
    return 0


def find(name: str) -> Path:
    """The file as given, else one the pack ships: "workflows/text-to-video.json" or "text-to-video"."""
    shipped = (Path(name), folders.PACK / name, folders.PACK / "workflows" / f"{name}.json")
    return next((path for path in shipped if path.is_file()), Path(name))


def interrupt(stop: threading.Event, previous: Callable | int | None) -> None:
    """First Ctrl+C: the running node stops at its next step. Second: at once."""
    if stop.is_set():
        signal.signal(signal.SIGINT, previous)
        raise KeyboardInterrupt
    stop.set()


def drop_remarks(record: logging.LogRecord) -> bool:
    """Filters out what nodes/types.py logs: the bars show the same remarks, under the nodes' own titles."""
    return False


class Bars:
    """One progress bar a node on a terminal; elsewhere one line a node when it is done."""

    def __init__(self, checked: Checked):
        self.titles = {node_id: title(node) for node_id, node in checked.prompt.items()}
        self.width = max(map(len, self.titles.values()))
        self.bar = None
        self.live = sys.stderr.isatty()

    def on_event(self, event: str, data: dict) -> None:
        """Listens to the executor."""
        if event == "executing":
            self.close()
            if data["node"] is not None:
                self._open(self.titles[data["node"]])
        elif event == "progress" and self.bar is not None and (data["value"], data["max"]) != (0, 1):
            self.bar.total = data["max"]
            self.bar.update(data["value"] - self.bar.n)
        elif event == "executed":
            output = data["output"]
            for line in "\n".join(map(str, [*output.get("vdit_line", ()), *output.get("text", ())])).splitlines():
                self._say(f"{self.titles[data['node']]}: {line}")

    def _open(self, title: str) -> None:
        from tqdm import tqdm

        columns = "{desc} {bar:30} {n_fmt:>3}/{total_fmt:<3} {elapsed}<{remaining}"
        self.started, self.title = time.perf_counter(), title
        self.bar = tqdm(
            total=1, desc=title.ljust(self.width), bar_format=columns, disable=not self.live, file=sys.stderr
        )

    def _say(self, text: str) -> None:
        if self.live and self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr)

    def close(self) -> None:
        """Ends the running node's bar or line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
            if not self.live:
                print(f"{self.title.ljust(self.width)} {time.perf_counter() - self.started:6.2f} s", file=sys.stderr)


def saved_files(result: RunResult) -> list[tuple[str, Path]]:
    """(node id, path) of each file that a run saved in the output folder."""
    output = folders.directory("output")
    return [
        (node_id, output / item["subfolder"] / item["filename"])
        for node_id, shown in result.ui.items()
        for item in saved_in(shown)
    ]


def report(options: argparse.Namespace, checked: Checked, result: RunResult, seconds: float) -> None:
    """Prints the paths of the saved files, or with --json all that is known of the run."""
    saved = saved_files(result)
    if options.json:
        print(json.dumps(summary(checked, result, saved, seconds), indent=2))
        return
    for _, path in saved:
        print(path)
    if not saved:
        print("Nothing was saved: the workflow only shows previews. Add Save Video or Save Image.", file=sys.stderr)


def summary(checked: Checked, result: RunResult, saved: list[tuple[str, Path]], seconds: float) -> dict:
    """Files with their facts, seconds in all and for each node, remarks, results in words, peak memory."""

    def texts(key: str) -> dict[str, list]:
        return {node_id: list(shown[key]) for node_id, shown in result.ui.items() if key in shown}

    def node(node_id: str) -> dict:
        made = checked.prompt[node_id]
        return {"title": title(made), "type": made["class_type"], "seconds": round(result.nodes[node_id].seconds, 3)}

    return {
        "files": [{"path": str(path), "node": node_id, **media_facts(path)} for node_id, path in saved],
        "seconds": round(seconds, 3),
        "nodes": {node_id: node(node_id) for node_id in result.nodes},
        "remarks": texts("text"),
        "says": texts("vdit_line"),  # results in words, such as a preview's speed
        "peak_memory_bytes": peak_memory_bytes(),
    }


def media_facts(path: Path) -> dict:
    """frames, fps, seconds, width and height of a video; width and height of a picture."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            facts = {"width": stream.codec_context.width, "height": stream.codec_context.height}
            if container.format.name.startswith(("mov", "matroska", "webm", "avi")):
                frames = stream.frames or sum(1 for _ in container.decode(stream))
                fps = float(stream.average_rate or 0)
                width, height = VideoFromFile(path).get_dimensions()
                seconds = round(frames / fps, 3) if fps else None
                return {"frames": frames, "fps": fps, "seconds": seconds, "width": width, "height": height}
            return facts
    except (FFmpegError, IndexError):
        return {}


def peak_memory_bytes() -> int | None:
    """The most main memory this process held; None where the system cannot say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    status = Path("/proc/self/status")
    if (
        status.exists()
    ):  # on Linux, getrusage would give the peak of the process that started this one if that is larger
        peaks = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        if peaks:
            return int(peaks[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
