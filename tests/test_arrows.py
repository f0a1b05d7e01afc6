"""Who may import whom (docs/architecture.md), that files form no circle, and that importing the pack costs nothing.

Imports inside functions and under TYPE_CHECKING count: what a type names, a file knows.
"""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

ROOT = Path(__file__).resolve().parent.parent
BELOW_PIPELINE = {"drafting", "model", "control", "geometry", "sampling", "kernels", "world"}
MAY = {
    "geometry": set(),
    "kernels": set(),
    "world": {"geometry"},
    "control": {"geometry"},
    "model": {"kernels", "geometry"},
    "sampling": set(),
    "drafting": {"model", "control", "geometry"},
    "pipeline": BELOW_PIPELINE,
    "benchmark": {"world", "control", "geometry"},
    "training": BELOW_PIPELINE | {"pipeline"},
    "nodes": BELOW_PIPELINE | {"pipeline", "benchmark", "host"},  # host: through the seam nodes/comfy.py only
    "host": {"nodes"},  # host/cli.py starts other rooms' commands by the name of their module
}
CIRCLES_LEFT: set[str] = set()  # rooms whose files still form circles


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
        if "host" in rooms:
            assert path == ROOT / "nodes" / "comfy.py", f"{path.relative_to(ROOT)} goes round the seam"


def test_every_room_has_its_arrows():
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    assert rooms <= set(MAY)


def test_no_files_form_a_circle():
    files = (path for room in MAY if room not in CIRCLES_LEFT for path in (ROOT / room).rglob("*.py"))
    imports = {path: {file for file in imported(path) if room_of(file) not in CIRCLES_LEFT} for path in files}
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


def test_importing_the_nodes_needs_no_torch_and_a_tenth_of_a_second():
    """Processor time, which other programs on the machine do not lengthen."""
    heavy = {"torch", "triton", "mujoco", "av", "numpy", "transformers", "PIL", "cv2", "scipy"}
    code = (
        "import asyncio, sys, time; start = time.process_time(); import vdit;"  # ComfyUI has asyncio
        "nodes = asyncio.run(asyncio.run(vdit.comfy_entrypoint()).get_node_list());"
        f"print(len(nodes), time.process_time() - start, sorted({heavy} & sys.modules.keys()))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert all(run.stdout.split()[2:] == ["[]"] for run in runs), runs[0].stdout
    assert min(float(run.stdout.split()[1]) for run in runs) <= 0.1, [run.stdout for run in runs]
