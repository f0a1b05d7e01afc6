"""Runs of a workflow as rows of a farm: a table's cells change its widgets, and what the run saves is the output."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..host import folders, overrides, workflow
from ..host.catalog import load_nodes, object_infos
from ..host.executor import Executor, NodeFailed
from ..host.run import drop_remarks, media_facts, saved_files
from ..host.validation import UPLOADS, Checked, InvalidPrompt, validate
from ..host.widgets import choices
from .jobs import Block, FarmError, Json, Made, Row, address_of, digest_of
from .tables import Shot

KEY_DIGITS = 12  # of a row's key in the name of its folder
log = logging.getLogger(__name__)
PLAIN = re.compile(r"[^\w.-]+")  # what names of files do without on every system
Cells = tuple[tuple[str, str], ...]  # (NODE.INPUT, text) as --set has them


@dataclass(frozen=True)
class RendersJob:
    """Runs of one workflow: the row {"cells": [[NODE.INPUT, text], ...], "name", "content"} becomes what it saves.

    source: the workflow as JSON; base: the folder that holds input and models, at the same path for all workers.
    """

    source: str
    base: str
    rows_per_block: int = 1
    name: str = "renders"
    version: int = 1

    def settings(self) -> dict[str, Json]:
        """Nothing else: each row's content is its whole prompt."""
        return {"version": self.version}

    def identity(self, row: Row) -> Json:
        """Its prompt, and what its files are called."""
        return {"name": row["name"], "content": row["content"]}

    def opened(self) -> Callable[[Block, Path], Made]:
        """The function of a block, with nodes and what they have loaded kept from row to row."""
        return Renderer(self)


@dataclass
class Prompts:
    """Makes the workflow anew for each row, with the row's cells in place of its widgets' values."""

    job: RendersJob
    nodes: dict[str, type] = field(default_factory=load_nodes)

    def __post_init__(self) -> None:
        folders.use(self.job.base)
        self.infos = object_infos(self.nodes)
        self.said: set[str] = set()  # columns of which it was remarked what they change
        self.digests: dict[tuple[str, int, int], str] = {}  # of files, by path, size and time

    def of(self, cells: Iterable[tuple[str, str]]) -> workflow.Workflow:
        """The workflow of a row. Raises WorkflowError for cells that fit no widget."""
        loaded = workflow.read(json.loads(self.job.source), self.infos)
        overrides.apply(loaded, (f"{column}={text}" for column, text in cells), self.infos)
        return loaded

    def resolved(self, cells: Cells, beside: Path) -> Cells:
        """The cells with pictures and videos copied into the input folder, named as there: any worker finds them.

        beside: the folder from which their paths go, where they are not of the input folder. Raises WorkflowError.
        """
        settings, found = overrides.Settings(self.of(()), self.infos), list[tuple[str, str]]()
        for column, text in cells:
            setting = settings.find(column, f"{column}={text}")
            offered = choices(setting.spec) if any(setting.spec[1].get(kind) for kind in UPLOADS) else None
            path = text if offered is None else _path(text, beside)
            value = overrides.parsed(path, setting.spec, f"{column}={path}")
            settings.write(setting, value)
            if offered is not None:
                text = str(value)
                if text not in offered:  # it has just been copied there
                    offered.append(text)
            if column not in self.said:
                self.said.add(column)
                for remark in overrides.said_of(setting, f"{column}=..."):
                    log.warning("%s", remark)
            found.append((column, text))
        return tuple(found)

    def content(self, checked: Checked) -> str:
        """The content address of a prompt: its nodes, values and links, and the files of the input folder that it names
        by what is in them. Weights count by their names.
        """
        nodes: dict[str, Json] = {}
        for node_id, node in checked.prompt.items():
            specs = overrides.shown_widgets(self.infos[node["class_type"]], node["inputs"])
            inputs: dict[str, Json] = dict(node["inputs"])
            for name, spec in specs.items():
                if any(spec[1].get(kind) for kind in UPLOADS) and isinstance(value := inputs.get(name), str):
                    inputs[name] = {"name": value, "sha256": self._digest(folders.resolve(value))}
            nodes[node_id] = {"class": node["class_type"], "inputs": inputs}
        return address_of({"nodes": nodes, "outputs": sorted(checked.outputs)})

    def _digest(self, path: Path) -> str:
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        if key not in self.digests:
            self.digests[key] = digest_of(path)
        return self.digests[key]


def _path(text: str, beside: Path) -> str:
    with suppress(OSError, ValueError):  # a name that no file can have is refused as any other
        if (beside / text).is_file():
            return str((beside / text).absolute())
    return text


def rows_of(job: RendersJob, shots: list[Shot], changes: Cells, table: Path) -> list[Row]:
    """The rows of a table, each checked as `vdit run` checks a workflow. changes: --set of all rows.

    Raises FarmError that names the row.
    """
    prompts, rows = Prompts(job), list[Row]()
    try:
        shared = prompts.resolved(changes, Path())
    except workflow.WorkflowError as reason:
        raise FarmError(str(reason)) from None
    for shot in shots:
        try:
            cells = (*shared, *prompts.resolved(shot.cells, table.parent))
            checked = validate(prompts.of(cells).prompt, prompts.nodes)
        except (workflow.WorkflowError, InvalidPrompt) as reason:
            raise FarmError(f"{table}, row {shot.line}: {reason}") from None
        if checked.node_errors:
            raise FarmError(f"{table}, row {shot.line}: {InvalidPrompt({'message': ''}, checked.node_errors)}")
        name = PLAIN.sub("_", shot.name).strip("._")
        rows.append({"cells": cells, "name": name, "content": prompts.content(checked)})
    return rows


class Renderer:
    """Runs rows in this process, one after another; models stay loaded from one to the next."""

    def __init__(self, job: RendersJob):
        self.prompts = Prompts(job)
        self.executor = Executor(self.prompts.nodes)
        logging.getLogger("vdit").addFilter(drop_remarks)  # they are kept with the row

    def __call__(self, block: Block, folder: Path) -> Made:
        """Run each row of a block, and lay what it saves into a folder NAME-KEY."""
        made, failed = dict[str, Json](), dict[str, str]()
        for row, key in zip(block.rows, block.keys, strict=True):
            name = f"{row['name']}-{key[:KEY_DIGITS]}".lstrip("-")
            try:
                made[key] = self._run(row, folder, name)
            except NodeFailed as reason:
                failed[key] = f"{name}: {reason}"
            except Exception as reason:
                failed[key] = f"{name}: {type(reason).__name__}: {reason}"
        return Made(made, failed)

    def _run(self, row: Row, folder: Path, name: str) -> Json:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as output, tempfile.TemporaryDirectory() as shown:
            folders.use(output=output, temp=shown)
            loaded = self.prompts.of(cells_of(row))
            checked = validate(loaded.prompt, self.prompts.nodes)
            self.executor.forget_saved()
            extra = {"extra_pnginfo": {"workflow": loaded.ui}} if loaded.ui else {}
            result = self.executor.run(checked, extra_data=extra)
            files: list[Json] = []
            for _, path in saved_files(result):
                target = folder / name / path.relative_to(Path(output).resolve())
                target.parent.mkdir(parents=True, exist_ok=True)
                facts = media_facts(path)
                shutil.move(path, target)
                files.append({"file": target.relative_to(folder).as_posix(), **facts})
        if not files:
            raise FarmError("nothing was saved: the workflow only shows previews; add Save Video or Save Image")
        remarks = [str(text) for shown in result.ui.values() for text in shown.get("text", ())]
        seconds = round(time.perf_counter() - started, 3)
        return {"name": row["name"], "files": files, "remarks": remarks, "seconds": seconds}


def cells_of(row: Row) -> Cells:
    """The cells of a row."""
    cells = row["cells"]
    assert isinstance(cells, (list, tuple))
    return tuple((str(cell[0]), str(cell[1])) for cell in cells if isinstance(cell, (list, tuple)))
