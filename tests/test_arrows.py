"""Who may import whom (docs/architecture.md), that files form no circle, and that importing the pack costs nothing.

Imports inside functions and under TYPE_CHECKING count: what a type names, a file knows.
"""

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BELOW_PIPELINE = {"machine", "drafting", "lift", "model", "control", "geometry", "sampling", "kernels", "world"}
MAY = {
    "machine": set(),
    "geometry": set(),
    "kernels": {"machine"},
    "world": {"geometry", "machine"},
    "control": {"geometry", "machine"},
    "model": {"kernels", "geometry", "machine"},
    "sampling": set(),
    "lift": {"world", "control", "geometry", "machine"},
    "drafting": {"model", "control", "geometry"},
    "pipeline": BELOW_PIPELINE,
    "benchmark": {"world", "control", "geometry", "machine"},
    "gym": {"world", "machine"},
    "training": BELOW_PIPELINE | {"pipeline"},
    "nodes": BELOW_PIPELINE | {"pipeline", "benchmark", "host"},  # host: through the seam nodes/comfy.py only
    "farm": {"host", "training", "gym", "world", "machine"},
    "host": {"nodes", "machine"},  # host/cli.py starts other rooms' commands by the name of their module
}


def imported(path: Path) -> Iterator[Path]:
    """Files of ours that a file imports, at its head, inside a function or for a type."""
    here = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level <= len(here) + 1, f"{path}: an import leads outside the pack"
            base = ROOT.joinpath(*here[: len(here) - node.level + 1], *(node.module or "").split("."))
            for name in (alias.name for alias in node.names):
                places = (
                    base / f"{name}.py",
                    base / name / "__init__.py",
                    base.with_suffix(".py"),
                    base / "__init__.py",
                )
                found = next((place for place in places if place.is_file()), None)
                assert found, f"{path}: {base.relative_to(ROOT)} has no {name}"
                yield found
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                assert not name.startswith("vdit."), f"{path}: absolute import of {name}; the folder may have any name"


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


@pytest.mark.parametrize("room", MAY)
def test_rooms_import_only_along_the_arrows(room):
    for path in (ROOT / room).rglob("*.py"):
        rooms = {room_of(file) for file in imported(path)} - {room}
        against = rooms - MAY[room]
        assert not against, f"{path.relative_to(ROOT)} imports {sorted(against)}"
        if "host" in rooms and room != "farm":
            assert path == ROOT / "nodes" / "comfy.py", f"{path.relative_to(ROOT)} goes round the seam"


def test_every_room_has_its_arrows():
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    assert rooms <= set(MAY)


def test_no_files_form_a_circle():
    imports = {path: set(imported(path)) for room in MAY for path in (ROOT / room).rglob("*.py")}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as circle:
        pytest.fail(f"a circle of imports: {' <- '.join(str(path.relative_to(ROOT)) for path in circle.args[1])}")


def test_only_the_seam_knows_comfyui():
    """nodes/comfy.py asks whether it is there; its rooms comfy_*.py, which only it imports, need it to be."""
    theirs = ("comfy", "comfy_api", "comfy_execution", "folder_paths")
    for path in (path for room in MAY for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            found = [name for name in names if name.split(".")[0] in theirs]
            assert not found or (path.parent.name == "nodes" and path.name.startswith("comfy")), f"{path}: {found}"
            if isinstance(node, ast.ImportFrom) and node.level == 1 and not path.name.startswith("comfy"):
                rooms = [
                    name for name in (node.module or "", *(a.name for a in node.names)) if name.startswith("comfy_")
                ]
                assert not rooms, f"{path} imports {rooms}; ask nodes/comfy.py for it"


MOST_MODULES_AT_IMPORT = {"ours": 50, "standard library": 30}  # 43 and 18 are; bench/latency.py has the seconds


def test_importing_the_nodes_needs_few_modules_and_no_package():
    """So that it stays under a tenth of a second: python -m vdit.bench latency measures it."""
    code = (
        "import asyncio, json, sys; before = set(sys.modules); import vdit;"  # ComfyUI has asyncio
        "asyncio.run(asyncio.run(vdit.comfy_entrypoint()).get_node_list());"
        "print(json.dumps(sorted(sys.modules.keys() - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)
    ours = [name for name in modules if name.partition(".")[0] == "vdit"]
    standard = [name for name in modules if name.partition(".")[0] in sys.stdlib_module_names]
    assert len(ours) + len(standard) == len(modules), set(modules) - {*ours, *standard}
    assert len(ours) <= MOST_MODULES_AT_IMPORT["ours"], ours
    assert len(standard) <= MOST_MODULES_AT_IMPORT["standard library"], standard
