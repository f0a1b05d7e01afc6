"""start.py: installs once, repairs what was cut off, says what is wrong. No test here touches the network."""

import importlib.util
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start.py in a folder of its own, with a venv and a pip that only note what they were asked."""
    spec = importlib.util.spec_from_file_location("start_under_test", ROOT / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = tmp_path / ".venv"
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", venv)
    monkeypatch.setattr(module, "PYTHON", venv / "python")
    monkeypatch.setattr(module, "STAMP", venv / "vdit-installed.json")
    (tmp_path / "pyproject.toml").write_text("one")
    module.did, module.real_pip_install, module.real_make_venv = [], module.pip_install, module.make_venv

    def make_venv():
        venv.mkdir(exist_ok=True)
        module.PYTHON.touch()

    monkeypatch.setattr(module, "make_venv", make_venv)
    monkeypatch.setattr(module, "pip_install", lambda extras: module.did.append(sorted(extras)))
    monkeypatch.setattr(module, "complete", lambda: True)
    monkeypatch.setattr(module, "hand_over", lambda arguments, folder: module.did.append(arguments) or 0)
    return module


def test_the_second_run_installs_nothing(start):
    assert start.main(["run", "w.json"]) == 0
    assert start.main(["run", "w.json"]) == 0
    command = ["-m", "vdit.host", "run", "w.json"]
    assert start.did == [["standalone"], command, command]


def test_a_command_that_needs_more_installs_more_and_keeps_the_rest(start):
    start.main(["studio"])
    start.main(["test", "-k", "x"])
    start.main(["studio"])
    assert [did for did in start.did if did[0] != "-m"] == [["standalone"], ["standalone", "test"]]
    assert ["-m", "pytest", *start.SIDE_BY_SIDE, "-k", "x"] in start.did


def test_the_fast_tests_leave_out_the_slow_ones(start):
    start.main(["test", "--fast", "-k", "x"])
    assert start.did[-1] == ["-m", "pytest", *start.SIDE_BY_SIDE, "-m", "not slow", "-k", "x"]
    assert any(line.startswith("slow:") for line in PROJECT["tool"]["pytest"]["ini_options"]["markers"])


def test_the_soak_runs_its_trials_one_after_another_in_half_an_hour(start):
    start.main(["test", "--soak", "--soak-minutes", "5"])
    chosen = start.did[-1]
    assert chosen[-2:] == ["--soak-minutes", "5"] and chosen.index("0") > chosen.index("auto")  # the last -n counts
    assert "tests/soak" in chosen and list((ROOT / "tests" / "soak").glob("soak_*.py"))


def test_changed_requirements_or_a_moved_folder_are_installed_again(start, tmp_path, monkeypatch):
    start.main(["studio"])
    (tmp_path / "pyproject.toml").write_text("two")
    start.main(["studio"])
    stamp = json.loads(start.STAMP.read_text())
    start.STAMP.write_text(json.dumps({**stamp, "mark": "of another place"}))
    start.main(["studio"])
    assert start.did.count(["standalone"]) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"mark": 1}'])
def test_a_damaged_stamp_counts_as_none(start, content):
    start.make_venv()
    start.STAMP.write_text(content)
    start.main(["studio"])
    assert ["standalone"] in start.did


def test_an_install_that_was_cut_off_is_done_again(start, monkeypatch, capsys):
    whole = start.pip_install
    monkeypatch.setattr(start, "pip_install", lambda extras: (_ for _ in ()).throw(KeyboardInterrupt))
    assert start.main(["studio"]) == 130
    assert "run it again" in capsys.readouterr().err
    monkeypatch.setattr(start, "pip_install", whole)
    assert start.main(["studio"]) == 0
    assert start.did[0] == ["standalone"]


def test_a_half_written_package_is_replaced_by_a_new_venv(start, monkeypatch):
    start.make_venv()
    (start.VENV / "half").touch()
    monkeypatch.setattr(start, "complete", lambda: not (start.VENV / "half").exists())
    assert start.main(["studio"]) == 0
    assert start.did.count(["standalone"]) == 2 and not (start.VENV / "half").exists()


def test_a_failing_pip_is_explained(start, monkeypatch, capsys):
    monkeypatch.setattr(start, "pip_install", start.real_pip_install)
    monkeypatch.setattr(start.subprocess, "call", lambda *command, **options: 1)
    assert start.main(["studio"]) == 1
    said = capsys.readouterr().err
    assert "No network" in said and "run this again" in said and not start.STAMP.exists()


def test_a_python_without_venv_is_explained(start, monkeypatch, capsys):
    monkeypatch.setattr(start, "make_venv", start.real_make_venv)
    failed = subprocess.CompletedProcess([], 1, "", "No module named venv")
    monkeypatch.setattr(start.subprocess, "run", lambda *command, **options: failed)
    assert start.main(["studio"]) == 1
    assert "python3-venv" in capsys.readouterr().err


def test_a_python_too_old_is_named():
    run = f"exec(open({str(ROOT / 'start.py')!r}).read())"
    code = f"import sys; sys.version_info = (3, 8, 1); sys.argv = ['start.py']; {run}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "Python 3.8; VDiT needs 3.11 or newer" in done.stderr


def test_without_arguments_it_says_what_it_can_do_and_installs_nothing(start, capsys):
    assert start.main([]) == 0 and start.did == []
    assert "python start.py studio" in capsys.readouterr().out


def test_every_package_folder_is_named_for_installing():
    found = {
        ".".join(("vdit", *file.parent.relative_to(ROOT).parts))
        for file in ROOT.rglob("__init__.py")
        if not {".venv", "tests", "build"} & set(file.relative_to(ROOT).parts)
    }
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_requirements_are_pinned_and_torch_is_never_forced_on_comfyui():
    extras = PROJECT["project"]["optional-dependencies"]
    assert all("==" in line or line.startswith("vdit[") for lines in extras.values() for line in lines)
    assert not any(line.startswith("torch") for line in PROJECT["project"]["dependencies"])


def tool(*arguments, **options):
    """One of the checkers, run as a developer runs it in the repository root."""
    command = [sys.executable, "-P", "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)


def test_every_file_is_type_checked_once():
    strict = json.loads(
        "\n".join(line.split("//")[0] for line in (ROOT / "pyright-strict.json").read_text().splitlines())
    )
    rest = PROJECT["tool"]["basedpyright"]["exclude"]
    assert set(rest) - set(strict["include"]) == {"tests", "bench", "**/.*", "**/__pycache__", "build", "runs"}
    assert all((ROOT / room / "__init__.py").exists() and room in rest for room in strict["include"])


def test_lint_is_clean():
    found = tool("ruff", "check", "--no-cache", "--output-format", "concise")
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_file_is_formatted():
    found = tool("ruff", "format", "--check", "--no-cache")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow  # half a minute each
@pytest.mark.parametrize("mode", [[], ["-p", "pyright-strict.json"]], ids=["basic", "strict"])
def test_types_hold(mode):
    found = tool("basedpyright", *mode, "--pythonpath", sys.executable, "--level", "error")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow  # ten seconds
def test_no_call_is_one_that_bandit_knows_as_a_hole():
    """But those that [tool.bandit] allows, with a reason each."""
    found = tool("bandit", "-q", "-c", "pyproject.toml", "-r", ".")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("report", "status", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, "1 packages audited"),
        (
            [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}],
            1,
            "a 1: CVE-1, fixed in 2",
        ),
        ([{"name": "a", "skip_reason": "not found"}], 0, "NOT AUDITED"),
        (None, 0, "NOT AUDITED"),
    ],
)
def test_the_audit_fails_for_known_holes_and_is_loud_where_it_could_not_ask(report, status, said, capsys):
    audit = runpy.run_path(str(ROOT / ".ci" / "audit.py"))
    audit["main"].__globals__["audited"] = lambda: (report, "no network" if report is None else "")
    assert audit["main"]() == status
    out, err = capsys.readouterr()
    assert said in out + err


def test_lint_refuses_what_the_oldest_python_lacks():
    """ruff reads it in pyproject.toml's requires-python: CI's own Python would never see it."""
    newer = tool("ruff", "check", "--no-cache", "--stdin-filename", "newer.py", "-", input="x = y = {}\nx[1, *y]\n")
    assert newer.returncode == 1 and "Python 3.10" in newer.stdout, newer.stdout + newer.stderr
