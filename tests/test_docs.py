"""What the pages for readers say is so: every file, function, node, workflow and digest that they name exists."""

import ast
import hashlib
import re
from functools import cache
from pathlib import Path

import pytest
from test_arrows import MAY

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("docs", "weights")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "kernels/README.md",
    *(f"{folder}/{page.name}" for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))),
)
NAMED = re.compile(r"`([\w.-]+(?:/[\w.-]+)*/?)(?::([\w.]+))?`")
LINKED = re.compile(r"\]\(([^)#:]+)\)")
SUFFIXES = {".py", ".js", ".json", ".md", ".toml", ".yml", ".yaml", ".png", ".jpg", ".webp"}
LONGEST_CARD = 60  # lines: one page
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


@cache
def defined(path: Path) -> set[str]:
    """Functions, classes, methods (Class.method) and constants at the head of a Python file."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {
                node.name,
                *(f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)),
            }
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def is_path(name: str) -> bool:
    return name.endswith("/") or ("/" in name or name.startswith(".")) and Path(name).suffix in SUFFIXES


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_function_that_a_page_names_exists(page):
    text, here = (ROOT / page).read_text("utf-8"), (ROOT / page).parent
    missing = [link for link in LINKED.findall(text) if not (here / link).exists()]
    for name, function in NAMED.findall(text):
        path = ROOT / name
        named = is_path(name) or function and name.endswith(".py")
        if not named or name.startswith(("runs/", "output/")):  # folders that commands make
            continue
        if not path.exists() and not (here / name).exists():
            missing.append(name)
        elif function and function not in defined(path):
            missing.append(f"{name}:{function}")
    assert missing == []


def test_every_test_file_that_ci_runs_exists():
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8")
    named = set(re.findall(r"tests/\w+\.py", text))
    assert named and all((ROOT / name).exists() for name in named)


def test_the_architecture_page_has_a_line_for_every_room_with_the_arrows_that_the_code_keeps():
    rows = re.findall(r"^\| `(\w+)/` \|[^|]*\|([^|]*)\|$", ARCHITECTURE, re.MULTILINE)
    assert {room: set(re.findall(r"\w+", may)) for room, may in rows} == MAY


def test_the_picture_of_the_rooms_draws_arrows_that_are_allowed_and_every_room():
    lines = re.findall(r"^    (\w+)\[.*?\](?: --> (.*))?$", ARCHITECTURE, re.MULTILINE)
    drawn = {room: set(re.findall(r"\w+", arrows)) for room, arrows in lines}
    assert set(drawn) == set(MAY)
    assert {room: arrows - MAY[room] for room, arrows in drawn.items() if not arrows <= MAY[room]} == {}


def test_the_readme_lists_every_node_and_workflow():
    from vdit.nodes import NODES

    readme = (ROOT / "README.md").read_text("utf-8")
    names = [node.GET_SCHEMA().display_name.removeprefix("VDiT ") for node in NODES]
    assert [name for name in names if f"**{name}**" not in readme] == []
    assert [file.name for file in (ROOT / "workflows").glob("*.json") if f"`{file.name}`" not in readme] == []


@pytest.mark.parametrize("weights", sorted((ROOT / "weights").glob("*.safetensors")), ids=lambda path: path.stem)
def test_every_bundled_file_has_a_card_of_one_page_with_its_digest_and_its_commands(weights):
    card = weights.with_suffix(".md").read_text("utf-8")
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in card
    assert len(card.splitlines()) <= LONGEST_CARD
    log = (ROOT / "docs" / "training-log.md").read_text("utf-8")
    assert f"weights/{weights.name}" in log


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith(("docs/", "weights/"))])
def test_every_training_command_that_a_page_gives_is_one(page):
    from vdit.farm.train import parser as farmed
    from vdit.training.cli import parse

    text, started = (ROOT / page).read_text("utf-8"), r"^(?:vdit train|torchrun .+ -m vdit\.training) ([^#\n]+)"
    for line in re.findall(started, text, re.MULTILINE):
        words = line.removesuffix(" ...")
        if "--workers" in words or "--ray" in words:
            farmed().parse_args(words.split())
        else:
            parse(f"vdit train {words}")
