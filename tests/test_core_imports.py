"""What the pack takes from ComfyUI's insides is there in the core at COMFYUI_PATH, and takes our calls.

COMFYUI_PATH=/path/to/ComfyUI [COMFYUI_PYTHON=/its/python] pytest tests/test_core_imports.py
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from comfy_core import COMFYUI, MISSING, PACK, python_of, version_of

NODES = sorted((PACK / "nodes").glob("*.py"))
SEAM = {"io": "comfy_api.latest.io", "ui": "comfy_api.latest.ui"}  # what the other nodes get through nodes/comfy.py


def is_cores(module: str | None) -> bool:
    root = (module or "").split(".")[0]
    return root in ("comfy", "comfy_api", "comfy_execution", "folder_paths", "server")


def references(path: Path) -> set[str]:
    """Dotted names of the core's modules that a file imports, and what it reads from them."""
    tree, names, found = ast.parse(path.read_text("utf-8")), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and is_cores(node.module):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in filter(lambda alias: is_cores(alias.name), node.names):
                found.add(alias.name)
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.level == 1 and node.module == "comfy":
            names |= {alias.name: SEAM[alias.name] for alias in node.names if alias.name in SEAM}
    found |= {name for name in names.values() if "." in name}
    types = {id(part) for node in ast.walk(tree) for hint in hints(node) for part in ast.walk(hint)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in types:
            dotted = ast.unparse(node)
            first, dot, rest = dotted.partition(".")
            if first in names and re.fullmatch(r"[\w.]+", rest):
                found.add(f"{names[first]}.{rest}")
    return found


def hints(node: ast.AST) -> list[ast.expr]:
    """A node's annotations, which are not read when the program runs."""
    return [hint for hint in (getattr(node, "annotation", None), getattr(node, "returns", None)) if hint]


# Names that only an instance has end the look-up: a class or function is there, what it makes is not known here.
LOOK_UP = """
import importlib, json, sys, types
core, names = sys.argv[1], json.loads(sys.argv[2])
sys.argv[1:] = ["--cpu"]
sys.path.insert(0, core)
import comfy.options
comfy.options.enable_args_parsing()
missing = []
for name in names:
    parts, value = name.split("."), None
    for end in range(1, len(parts) + 1):
        try:
            value = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            break
    else:
        end = len(parts) + 1
    for part in parts[end - 1:]:
        if not isinstance(value, types.ModuleType) and not isinstance(value, type):
            break
        if not hasattr(value, part):
            missing.append(name)
            break
        value = getattr(value, part)
print("MISSING", json.dumps(missing))
"""


def test_the_files_that_touch_the_core_are_found():
    """The list is drawn from the source, so an empty one would prove nothing."""
    found = set().union(*map(references, NODES))
    assert {"comfy.model_management.get_torch_device", "comfy.model_patcher.ModelPatcher", "folder_paths"} <= found
    assert {"comfy_execution.graph_utils.ExecutionBlocker", "comfy_api.latest.io.Schema"} <= found and len(found) > 50


def test_requires_comfyui_says_the_oldest_core_that_is_tested():
    project = (PACK / "pyproject.toml").read_text("utf-8")
    (least,) = re.findall(r'^requires-comfyui = ">=([\d.]+)"', project, re.MULTILINE)
    (cores,) = re.findall(r"core: \[(.*?)\]", (PACK / ".github/workflows/tests.yml").read_text("utf-8"))
    tested = [tuple(map(int, core.strip(" v").split("."))) for core in cores.split(",")]
    assert tested == sorted(tested) and tuple(map(int, least.split("."))) == tested[0]
    if COMFYUI:
        assert version_of(Path(COMFYUI)) >= tested[0]


needs_core = pytest.mark.skipif(not COMFYUI, reason=f"{MISSING} to look the names up there")


@needs_core
@pytest.mark.slow
def test_every_name_that_the_pack_takes_from_the_core_is_there():
    names = sorted(set().union(*map(references, NODES)))
    command = [python_of(Path(COMFYUI)), "-c", LOOK_UP, str(Path(COMFYUI).resolve()), json.dumps(names)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=COMFYUI)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "MISSING []"


@needs_core
@pytest.mark.slow
def test_comfy_import_guard_finds_the_pack_safe(tmp_path):
    """It binds our calls to the core's parameters too. It reads a git repository: one is made of the core's files."""
    pytest.importorskip("comfy_import_guard")
    git = ["git", f"--git-dir={tmp_path}/ComfyUI/.git", f"--work-tree={Path(COMFYUI).resolve()}"]
    as_nobody = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run(["git", "init", "-q", tmp_path / "ComfyUI"], check=True)
    subprocess.run([*git, "add", "-f", "comfy/*.py"], check=True)
    subprocess.run([*git, *as_nobody, "commit", "-qm", "core"], check=True)
    pack = tmp_path / "install/custom_nodes/vdit"
    for path in PACK.glob("*/**/*.py"):
        if path.relative_to(PACK).parts[0] not in (".venv", "tests", "bench"):
            (pack / path.relative_to(PACK)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, pack / path.relative_to(PACK))
    asked = ["check", "--comfy-dir", str(tmp_path / "install"), "--target", "HEAD", "--strict"]
    command = [sys.executable, "-m", "comfy_import_guard.cli", "--cache-dir", str(tmp_path), "--offline", "--json"]
    done = subprocess.run([*command, *asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(done.stdout)["packs"]
    assert found["verdict"] == "SAFE" and found["references"] > 20, found
