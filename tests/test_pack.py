"""What ComfyUI's registry and ComfyUI Manager get: addresses, pictures, requirements, and a zip of what runs."""

import ast
import io
import re
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest
import tomllib
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT, COMFY = PYPROJECT["project"], PYPROJECT["tool"]["comfy"]
LARGEST_ZIP = 24_000_000  # bytes, most of them weights
LARGEST_PICTURE = 100_000  # bytes
REQUIREMENTS = [
    line for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines() if line and not line.startswith("#")
]


@cache
def packed() -> dict[str, Path]:
    """The files that `comfy node pack` takes: those that git tracks, without those that .comfyignore names."""
    if not (ROOT / ".git").exists():
        pytest.skip("the zip is made of a clone")

    def listed(*arguments):
        command = ["git", "ls-files", "-z", *arguments]
        return set(filter(None, subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.split("\0")))

    names = listed() - listed("--cached", "--ignored", "--exclude-from=.comfyignore")
    return {name: ROOT / name for name in names if (ROOT / name).is_file()}


def modules(path: Path) -> set[str]:
    """Names that a Python file imports, of its own package as "./room/module"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            found |= {f"./{(base / alias.name).relative_to(ROOT).as_posix()}" for alias in node.names}
            found.add(f"./{base.relative_to(ROOT).as_posix()}")
    return found


def exists(module: str, names: set[str]) -> bool:
    return any(name in names for name in (f"{module[2:]}.py", f"{module[2:]}/__init__.py"))


def test_the_zip_is_small_and_holds_what_a_user_opens():
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, path in packed().items():
            file.write(path, name)
    assert zipped.tell() <= LARGEST_ZIP
    for name in ("__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md", "nodes/sample.py"):
        assert name in packed()
    for folder in ("web/", "weights/", "workflows/"):
        assert any(name.startswith(folder) for name in packed())
    assert not [name for name in packed() if name.startswith(("tests/", "bench/", "training/", "docs/", "."))]


def test_no_module_of_the_zip_imports_one_that_is_left_out():
    names = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    for name, path in packed().items():
        for module in modules(path) if name.endswith(".py") else ():
            if module.startswith("./") and exists(module, names):
                assert exists(module, set(packed())), f"{name} imports {module}"


def test_no_module_of_the_zip_starts_processes_or_runs_text_as_code():
    for name, path in packed().items():
        if name.endswith(".py"):
            assert not modules(path) & {"subprocess", "pickle", "multiprocessing", "pty"}, name
            calls = [n.func.id for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)
                     and isinstance(n.func, ast.Name)]  # fmt: skip
            assert not {"eval", "exec"} & set(calls), name


def test_the_manager_installs_what_the_package_depends_on_and_nothing_that_replaces_torch():
    assert sorted(REQUIREMENTS) == sorted(PROJECT["dependencies"])
    names = {re.split(r"[<>=!~ ]", line)[0] for line in REQUIREMENTS}
    assert not names & {"torch", "torchvision", "torchaudio", "triton", "xformers", "transformers"}
    assert all("==" not in line for line in REQUIREMENTS), "a pinned package would be taken from another pack"


DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-contrib-python-headless"}  # imported by another name
# What ComfyUI from 0.3.64 to 0.33.0 is, or installs by its own requirements.txt (torch brings the last two).
COMFYUI = {"comfy", "comfy_api", "comfy_execution", "execution", "folder_paths", "nodes", "server", "node_helpers"}
COMFYUI |= {"torch", "torchvision", "aiohttp", "transformers", "sentencepiece", "triton", "typing_extensions"}


# Of the extra `foreign`, for a test world that nobody needs to make videos; its absence is refused by name.
OPTIONAL = {"pydrake": "drake", "trimesh": "trimesh"}


def test_whatever_a_module_of_the_zip_imports_is_installed_with_it():
    """Imports anywhere in a file count, as nodes import the heavy packages when they run."""
    given = {re.split(r"[<>=!~ ]", line)[0].lower() for line in REQUIREMENTS} | COMFYUI | set(sys.stdlib_module_names)
    wanted = {}
    for name, path in packed().items():
        for module in modules(path) if name.endswith(".py") else ():
            if module and not module.startswith("./"):
                wanted.setdefault(DISTRIBUTIONS.get(module, module), name)
    assert {"mujoco", "matplotlib", "opencv-contrib-python-headless", "scipy"} <= set(wanted)
    extra = {re.split(r"[<>=!~ ]", line)[0] for line in PROJECT["optional-dependencies"]["foreign"]}
    assert set(OPTIONAL.values()) <= extra
    assert all(wanted[module].startswith("benchmark/foreign") for module in OPTIONAL)
    missing = {module: name for module, name in wanted.items() if module.lower() not in given}
    assert set(missing) <= set(OPTIONAL), missing


def test_addresses_name_one_owner():
    owner = COMFY["PublisherId"]
    home = f"https://github.com/{owner}/{PROJECT['name']}"
    assert PROJECT["urls"]["Repository"] == home
    assert all(url.startswith(home) for url in PROJECT["urls"].values())
    raw = f"https://raw.githubusercontent.com/{owner}/{PROJECT['name']}/main/"
    assert all((ROOT / COMFY[name].removeprefix(raw)).is_file() for name in ("Icon", "Banner"))
    assert f"git clone --depth 1 {home}\n" in (ROOT / "README.md").read_text("utf-8")


def test_icon_and_banner_have_the_shapes_that_the_registry_shows():
    for name, most, shape in (("Icon", 400, 1), ("Banner", 2000, 21 / 9)):
        path = ROOT / "docs" / COMFY[name].rsplit("/", 1)[1]
        width, height = Image.open(path).size
        assert width <= most and width / height == pytest.approx(shape, rel=0.005)
        assert path.stat().st_size <= LARGEST_PICTURE
