"""The `vdit` command: what it prints where, and how it refuses. The model has random weights."""

import errno
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from vdit.host import cli, folders

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
SCENE = {
    **{"family": "fall", "seed": 1, "split": "test", "frames": 5, "fps": 8, "width": 32, "height": 32},
    **{"start_frames": 1, "camera_move": "still"},
}
SMALL = "--set Sample.steps=2 --set Sample.seconds=1.0 --set Sample.width=64 --set Sample.height=64".split()


@pytest.fixture
def base(tmp_path, monkeypatch):
    from fakes import random_world_model
    from vdit.model.files import bundle

    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    weights = tmp_path / "random.safetensors"
    bundle.save_world_model(random_world_model(0), weights)
    monkeypatch.setattr(bundle, "BUNDLED", weights)
    return tmp_path


def test_results_go_to_stdout_and_progress_to_stderr(base, capsys):
    assert cli.main(["run", "text-to-video", "--out", str(base / "here"), *SMALL]) == 0
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert Path(line).is_file() and Path(line).is_relative_to(base / "here")
    assert "Sample" in err and "Save Video" in err


def test_a_run_needs_no_folder_but_that_of_its_results_and_leaves_nothing_else(base, capsys, monkeypatch):
    """As in a container, whose base folder may only be read; and a thousand runs a night leave no previews."""
    made = Path.mkdir

    def mkdir(self, *arguments, **options):
        if self.is_relative_to(base / "app"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
        made(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    shows = {"1": {"class_type": "VDiTSimulateScene", "inputs": SCENE}}
    shows |= {
        number: {"class_type": kind, "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
        for number, kind in (("2", "PreviewImage"), ("3", "SaveImage"))
    }
    (base / "shows.json").write_text(json.dumps(shows))
    arguments = ["run", str(base / "shows.json"), "--base", str(base / "app")]
    assert cli.main([*arguments, "--out", str(base / "here")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert {path.name for path in base.iterdir()} == {"shows.json", "here", "random.safetensors"}
    assert not folders.current.elsewhere["temp"].exists()
    assert cli.main(arguments) == 1
    assert "may not be written to" in capsys.readouterr().err


def test_names_of_files_that_a_console_cannot_show_are_printed_all_the_same(base):
    """The results of a night are on stdout, whatever letters it has."""
    prompt = {"1": {"class_type": "VDiTSimulateScene", "inputs": SCENE}}
    prompt["2"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "übung/画"}}
    (base / "named.json").write_text(json.dumps(prompt))
    command = [sys.executable, "-P", "-m", "vdit.host", "run", str(base / "named.json"), "--base", str(base)]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.splitlines()[0].decode("cp1252").replace("\\", "/").endswith("übung//u753b_00001_.png")


def test_json_lists_files_frames_seconds_and_memory(base, capsys):
    assert cli.main(["run", str(WORKFLOWS / "text-to-video.json"), "--json", *SMALL]) == 0
    told = json.loads(capsys.readouterr().out)
    (file,) = told["files"]
    assert (file["frames"], file["fps"]) == (9, 8.0) and Path(file["path"]).is_file()
    assert {node["title"] for node in told["nodes"].values()} >= {"Load Model", "Sample", "Save Video"}
    assert told["peak_memory_bytes"] > 1e6 and told["seconds"] >= sum(
        node["seconds"] for node in told["nodes"].values()
    )


def test_the_saved_video_carries_the_graph_that_made_it(base, capsys):
    import av

    assert cli.main(["run", "text-to-video", "--set", "Sample.seed=99", *SMALL]) == 0
    with av.open(capsys.readouterr().out.strip()) as video:
        prompt, workflow = (json.loads(video.metadata[key]) for key in ("prompt", "workflow"))
    assert [node["inputs"]["seed"] for node in prompt.values() if node["class_type"] == "VDiTSample"] == [99]
    assert [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "VDiTSample"] == [99]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.json"], "nowhere.json: cannot be read"),
        (["text-to-video", "--set", "Sample.steps=-1"], "Sample (node 4): Value -1 smaller than min of 0"),
        (["text-to-video", "--set", "Smple.steps=1"], "'Sample' (4)"),
        (["text-to-video", "--set", "Sample.seconds=3.3"], "the nearest that fit"),
        (["text-to-video", "--set", "Save Video.filename_prefix=../../x"], "leads outside"),
    ],
)
def test_an_impossible_run_is_refused_in_words(base, capsys, arguments, words):
    assert cli.main(["run", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == "" and words in err and "Traceback" not in err


def test_a_workflow_with_a_cycle_or_a_missing_node_is_refused(base, capsys):
    workflow = json.loads((WORKFLOWS / "text-to-video.json").read_text("utf-8"))
    workflow["nodes"].append({"id": 99, "type": "KSampler", "inputs": [], "outputs": [], "mode": 0})
    (base / "missing.json").write_text(json.dumps(workflow))
    assert cli.main(["run", str(base / "missing.json")]) == 1
    assert "KSampler: node 99" in capsys.readouterr().err
    loop = {
        "1": {
            "class_type": "ImageScale",
            "inputs": {"image": ["1", 0], "upscale_method": "lanczos", "width": 8, "height": 8, "crop": "disabled"},
        },
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    (base / "loop.json").write_text(json.dumps(loop))
    assert cli.main(["run", str(base / "loop.json")]) == 1
    assert "form a loop" in capsys.readouterr().err


def test_ctrl_c_stops_a_run_before_its_next_model_call_and_leaves_no_file(base, capsys, monkeypatch):
    from fakes import model_calls

    calls = model_calls(monkeypatch, lambda number: number == 3 and signal.raise_signal(signal.SIGINT))
    assert cli.main(["run", "text-to-video", "--set", "Sample.steps=1000"]) == cli.INTERRUPTED
    assert len(calls) == 3
    assert "Cancelled" in capsys.readouterr().err and not list((base / "output").rglob("*.mp4"))


def test_help_needs_nothing_but_python():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'av', 'aiohttp', 'PIL', 'numpy', 'tqdm']));"
        "from vdit.host.cli import main; main(['run', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "--json" in done.stdout, done.stderr


def test_a_missing_package_is_explained(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "vdit.host.server", raising=False)
    monkeypatch.delattr("vdit.host.server", raising=False)
    assert cli.main(["studio", "--no-browser"]) == 1
    assert "python start.py" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks memory up in /proc")
def test_peak_memory_is_not_that_of_the_process_that_started_this_one():
    code = "from vdit.host.run import peak_memory_bytes; print(peak_memory_bytes())"
    held = b"x" * (300 << 20)
    found = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 1e6 < found < len(held)


@pytest.mark.slow
def test_freed_memory_stays_with_the_process_where_glibc_allows_it():
    code = (
        "import resource, sys, torch; from vdit.host.allocator import keep_freed_memory\n"
        "def faults():\n"
        "    for i in range(60):\n"
        "        if i == 20: before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "        pieces = [torch.ones(2_000_000) for _ in range(4)]; del pieces\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "without = faults(); print(keep_freed_memory(), without, faults())"
    )
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        pytest.skip("no glibc: nothing is changed")
    told = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}  # as it is at first; glibc raises it, and not always alike
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=told)
    kept, without, within = run.stdout.split()
    assert kept == "True" and int(within) < int(without) / 10, run.stdout


def test_options_of_farms_are_found_by_their_names_alone():
    for name, command in cli.COMMANDS.items():
        if command.farm:
            words = [name] if name != "train" else [name, "latents"]
            code = f"from vdit.host.cli import main; main({[*words, '--workers', '2', '--help']!r})"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            assert done.returncode == 0 and "--gpus-per-worker" in done.stdout, done.stderr
