"""Cancel reaches into every long piece of work, and leaves nothing behind."""

import gc
import os
import signal
import subprocess
import sys
import threading
from itertools import count

import numpy as np
import pytest
import torch
from fakes import random_world_model
from vdit.benchmark.labels import label
from vdit.benchmark.scores import score
from vdit.host import folders, images, running
from vdit.host.api import io, ui
from vdit.host.executor import Executor
from vdit.host.jobs import JobQueue
from vdit.host.validation import Checked
from vdit.lift.objects import PictureObject
from vdit.lift.scene import scene_from_picture
from vdit.machine.importing import imported
from vdit.model.asking import asking
from vdit.world.families.clip import make_clip
from vdit.world.fracture import Blow, Moving, shatter
from vdit.world.meshes import surface_of
from vdit.world.scene import Body, Shape
from vdit.world.video import write_h264

from runs import encoded, latent_of


class Cancelled(Exception):
    """What a check raises here."""


class Check:
    """Counts how often it is called; the call with the number `last` raises."""

    def __init__(self, last: int | None = None):
        self.calls, self.last = 0, last

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.last:
            raise Cancelled


CLIP = {"seed": 5, "family": "arc", "split": "test", "width": 48, "height": 48, "frames": 9}


def family(check):
    make_clip(**CLIP, check=check)


def labelled(check):
    label(make_clip(**CLIP), check)


def scored(check):
    clip = make_clip(seed=5, family="arc", split="test", width=48, height=48)
    score("permanence", clip.render.rgb, label(clip), 5, check)


def broken(check):
    body = Body(name="block", shapes=(Shape(kind="box", size=(0.1, 0.1, 0.1)),), position=(0.0, 0.0, 0.1))
    still = Moving(pose=np.eye(4), velocity=np.zeros(3), spin=np.zeros(3))
    shatter(body, surface_of(body), still, Blow(), np.random.default_rng(0), check)


def lifted(check):
    picture = np.random.default_rng(0).random((64, 96, 3)).astype(np.float32)
    mask = np.zeros((64, 96), np.float32)
    mask[20:45, 30:60] = 1
    scene_from_picture(picture, [PictureObject(mask=mask, name="thing")], check=check)


@pytest.mark.parametrize(("work", "least"), [(family, 20), (labelled, 10), (scored, 80), (broken, 12), (lifted, 8)])
def test_long_work_asks_often_and_stops_where_it_is_told_to(work, least):
    check = Check()
    work(check)
    assert check.calls >= least
    with pytest.raises(Cancelled):
        work(Check(last=check.calls))


def test_a_video_is_left_at_the_next_frame_also_of_those_that_the_encoder_holds_back(tmp_path):
    frames = np.zeros((30, 32, 32, 3), np.uint8)
    check = Check()
    write_h264(tmp_path / "whole.mp4", frames, 8, 20, check=check)
    assert check.calls == 60
    with pytest.raises(Cancelled):
        write_h264(tmp_path / "part.mp4", frames, 8, 20, check=Check(last=50))


def test_networks_ask_before_every_layer_in_the_block_and_give_the_same_bits():
    model = random_world_model(0)
    shot = encoded(model, "a ball")
    size = {"frames": 5, "width": 64, "height": 64, "seed": 1, "steps": 2}
    before, check = latent_of(model, shot, **size), Check()
    with asking(model.networks, check):
        during = latent_of(model, shot, **size)
    assert torch.equal(before, during)
    assert check.calls > 50
    with pytest.raises(Cancelled), asking(model.networks, Check(last=30)):
        latent_of(model, shot, **size)
    assert not any(layer._forward_pre_hooks for network in model.networks for layer in network.modules())


def test_an_import_that_is_waited_for_can_be_cancelled_and_goes_on(tmp_path, monkeypatch):
    (tmp_path / "vdit_slow_import.py").write_text("import time\ntime.sleep(0.3)\nDONE = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Cancelled):
        imported("vdit_slow_import", Check(last=2))
    imported("vdit_slow_import", lambda: None)
    assert sys.modules["vdit_slow_import"].DONE
    with pytest.raises(ModuleNotFoundError):
        imported("vdit_no_such_package", lambda: None)


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a process")
def test_ctrl_c_ends_a_process_whose_import_holds_python():
    code = (
        "import ctypes, os, signal\n"
        "from vdit.machine.importing import ended_by_ctrl_c\n"
        "with ended_by_ctrl_c():\n"
        "    print('holds', flush=True)\n"
        "    ctypes.PyDLL(None).sleep(30)\n"  # PyDLL keeps Python's lock
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "holds\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT


@pytest.mark.parametrize("made", ["ImportError('initialization failed')", "os.abort()"])
def test_ctrl_c_while_something_is_imported_is_no_error_of_the_library(made, tmp_path):
    (tmp_path / "vdit_library.py").write_text(
        "import os, signal\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        f"    raise {made}\n"
    )
    code = (
        "import sys\n"
        "from vdit.host import cli\n"
        f"sys.path.append({str(tmp_path)!r})\n"
        "cli.main = lambda: __import__('vdit_library')\n"
        "sys.exit(cli.entry())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (130, "Cancelled.\n")


def test_a_cancelled_command_ends_without_pythons_own_end_though_nobody_heard_ctrl_c():
    code = (
        "import atexit, sys\n"
        "from vdit.host import cli\n"
        "cli.main = lambda: cli.INTERRUPTED\n"  # as after KeyboardInterrupt, before the thread that hears had its turn
        "atexit.register(print, 'ended slowly')\n"
        "sys.exit(cli.entry())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_handler_of_ctrl_c_comes_back_after_an_import():
    before = signal.getsignal(signal.SIGINT)
    code = "from vdit.machine.importing import ended_by_ctrl_c\nimport signal\nwith ended_by_ctrl_c(): pass\n"
    code += "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert signal.getsignal(signal.SIGINT) is before


class Endless(io.ComfyNode):
    """Takes memory, and asks for ever whether it was cancelled, or ends at once."""

    running = threading.Event()

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema("Endless", inputs=[io.Boolean.Input("ends")], outputs=[io.Int.Output()], is_output_node=True)

    @classmethod
    def execute(cls, ends: bool) -> io.NodeOutput:
        held = torch.ones(1000, 1000)
        for turn in count():
            cls.running.set()
            running.check_interrupted()
            if ends:
                return io.NodeOutput(turn + int(held.sum()))


def test_after_a_cancelled_job_the_next_one_works_and_its_memory_is_given_back():
    queue = JobQueue(Executor({"Endless": Endless}), lambda *_: None, lambda: None)

    def put(ends: bool):
        return queue.put(
            "", Checked({"1": {"class_type": "Endless", "inputs": {"ends": ends}}}, ["1"]), {}, None, False
        )

    try:
        for _ in range(10):
            Endless.running.clear()
            job = put(ends=False)
            assert Endless.running.wait(10)
            assert queue.cancel()
            last = put(ends=True)
            while last.ended is None:
                threading.Event().wait(0.005)
            assert (job.status, last.status) == ("cancelled", "completed")
        gc.collect()
        held = [thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor) and thing.shape == (1000, 1000)]
        assert not held
    finally:
        queue.close()


def test_pictures_are_saved_and_scaled_one_after_another(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    pictures = torch.rand(3, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    pictures[1, 0, 0, 0] = torch.nan
    assert len(ui.save_images(pictures, "p", ui.FolderType.output)) == 3
    one = images.scaled(pictures[2:], 12, 12, "lanczos", False)
    assert torch.equal(images.scaled(pictures, 12, 12, "lanczos", False)[2:], one)


def test_loading_the_bundled_model_does_not_import_the_compiler_which_takes_a_second():
    code = "import sys\nfrom vdit.model.files import bundle\nbundle.load_world_model(bundle.BUNDLED)\n"
    subprocess.run(
        [sys.executable, "-c", code + "assert not {'torch._dynamo', 'sympy'} & set(sys.modules)"], check=True
    )
