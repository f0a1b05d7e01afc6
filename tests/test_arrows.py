"""Who may import whom (the picture in the README), and that importing the pack costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "nodes",
    "control",
    "model",
    "sampling",
    "drafting",
    "pipeline",
    "kernels",
    "world",
    "benchmark",
    "training",
    "host",
)
BELOW_PIPELINE = {"control", "model", "sampling", "drafting"}
MAY = {
    "nodes": BELOW_PIPELINE | {"pipeline", "world", "benchmark", "host"},  # host: through the seam nodes/comfy.py only
    "control": set(),
    "model": {"kernels"},
    "sampling": {"control", "drafting"},
    "drafting": {"control", "sampling"},
    "pipeline": BELOW_PIPELINE,
    "kernels": set(),
    "world": set(),
    "benchmark": {"world"},
    "training": BELOW_PIPELINE | {"pipeline", "world"},
    "host": {"nodes"},
}


def imported_rooms(path: Path):
    """Rooms of ours that a file imports, at its head or inside a function."""
    here = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1]
            parts = (*base, *(node.module.split(".") if node.module else ()))
            names = [parts] if parts else [(a.name,) for a in node.names]
            yield from (p[0] for p in names if p[0] in ROOMS)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                assert not name.startswith("vdit."), f"{path}: absolute import of {name}; the folder may have any name"


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_along_the_arrows(room):
    for path in (ROOT / room).rglob("*.py"):
        rooms = set(imported_rooms(path)) - {room}
        # The command line starts every room's own command, by name.
        allowed = MAY[room] | (
            {"training", "world", "benchmark", "pipeline", "model"}
            if path.name == "cli.py" and room == "host"
            else set()
        )
        assert rooms <= allowed, f"{path.relative_to(ROOT)} imports {sorted(rooms - allowed)}"
        if "host" in rooms:
            assert room == "host" or path.name == "comfy.py", f"{path.relative_to(ROOT)} goes round the seam"


def test_only_the_seam_knows_comfyui():
    """nodes/comfy.py asks whether it is there; its rooms comfy_*.py, which only it imports, need it to be."""
    theirs = ("comfy", "comfy_api", "comfy_execution", "folder_paths")
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
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


def test_importing_the_nodes_needs_no_torch_and_no_time():
    code = (
        "import sys, time, asyncio; import vdit; t = time.perf_counter();"
        "e = asyncio.run(vdit.comfy_entrypoint()); n = asyncio.run(e.get_node_list());"
        "dt = time.perf_counter() - t;"
        "heavy = {'torch', 'triton', 'mujoco', 'av', 'numpy', 'transformers'} & set(sys.modules);"
        "print(len(n), dt, sorted(heavy))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert all(r.stdout.split()[2:] == ["[]"] for r in runs), runs[0].stdout
    assert min(float(r.stdout.split()[1]) for r in runs) <= 0.1, [r.stdout for r in runs]
