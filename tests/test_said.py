"""What was wrong without a word is refused or remarked, with the numbers."""

import json
import subprocess
import sys

import pytest
import torch
from fakes import random_world_model
from safetensors.torch import load_file, save_file
from vdit.control.brush import read_strokes
from vdit.control.camera_files import from_text
from vdit.control.depth import depth_from_pictures
from vdit.control.span import ControlError
from vdit.host import studio
from vdit.model.errors import CheckpointError
from vdit.model.files import bundle
from vdit.model.files.lora import apply_loras

HUGE = "1" + "0" * 400


def slope(holes=()):
    """Metres from 2 to 6, left to right, with 0 at some pixels (row, column)."""
    metres = torch.linspace(2, 6, 96).expand(2, 64, 96).clone()
    for row, column in holes:
        metres[0, row, column] = 0
    return metres[..., None]


def test_holes_in_depth_are_filled_before_resizing_and_said():
    holes = [(10, 20), (10, 21), (40, 95)]
    whole = depth_from_pictures(slope(), "metres", width=48, height=32)
    mended = depth_from_pictures(slope(holes), "metres", width=48, height=32)
    assert (mended.metres() - whole.metres()).abs().max() < 0.1
    assert mended.near == pytest.approx(whole.near, rel=1e-3) and mended.far == pytest.approx(whole.far, rel=1e-3)
    assert mended.remarks == (
        "depth: 3 pixels in 1 of 2 frames have no depth (0 or NaN); they were filled with that of the nearest pixel",
    )
    assert whole.remarks == ()


def test_values_that_are_not_numbers_are_holes_in_metres_too():
    metres = slope()
    metres[0, 3, 3] = torch.nan
    assert "1 pixels in 1 of 2 frames" in depth_from_pictures(metres, "metres").remarks[0]


def test_depth_that_is_mostly_holes_is_refused_with_the_share():
    metres = slope()
    metres[1, :, :60] = 0
    with pytest.raises(ControlError, match="depth, frame 1: 62% of its pixels have no depth"):
        depth_from_pictures(metres, "metres")


@pytest.mark.parametrize("number", [HUGE, "-" + HUGE, "1" + "0" * 5000], ids=["huge", "-huge", "digits"])
def test_numbers_larger_than_any_float_are_refused_in_every_text(number):
    texts = {
        "brush": f'{{"version": 1, "strokes": [{{"points": [[{number}, 0]]}}]}}',
        "poses": f'{{"version": 1, "c2w": [[{number}]]}}',
        "entries": f"[[{', '.join([number] * 12)}]]",
        "keys": f'{{"keys": [{{"time": {number}}}]}}',
        "frames": f'{{"frames": [{{"transform_matrix": {json.dumps([[0] * 4] * 4)}, "fl_y": {number}, "h": 1}}]}}',
    }
    for name, text in texts.items():
        with pytest.raises(ControlError):
            read_strokes(text) if name == "brush" else from_text(text)


@pytest.mark.parametrize("port", ["99999", "-1", "\N{SUPERSCRIPT TWO}", "1" * 5000, "a"], ids=range(5))
def test_ports_that_no_machine_has_are_refused_by_the_command(port, capsys):
    with pytest.raises(SystemExit):
        studio.parser().parse_args([f"--port={port}"])
    assert "expected 0 to 65535" in capsys.readouterr().err


def test_a_bundle_of_zeros_is_named(tmp_path):
    path = bundle.save_world_model(random_world_model(0), tmp_path / "m.safetensors")
    header = bundle.open_weights(path).metadata["vdit"]
    save_file({name: value * 0 for name, value in load_file(path).items()}, path, metadata={"vdit": header})
    with pytest.raises(CheckpointError, match=r"every one of its \d+ matrices holds a single value .*: 0\)"):
        bundle.load_world_model(path)


@pytest.mark.parametrize(
    ("rank", "alpha", "said"), [(4, torch.ones(3), "alpha holds 3 values"), (0, torch.ones(()), "rank is 0")]
)
def test_loras_with_three_alphas_or_without_rank_are_refused_by_the_reason(tmp_path, rank, alpha, said):
    model = random_world_model(0).transformer
    name = "blocks.0.self_attn.q"
    out, into = model.get_submodule(name).weight.shape
    tensors = {"lora_down.weight": torch.zeros(rank, into), "lora_up.weight": torch.zeros(out, rank), "alpha": alpha}
    save_file({f"{name}.{key}": value for key, value in tensors.items()}, tmp_path / "l.safetensors")
    with pytest.raises(CheckpointError, match=said):
        apply_loras(model, [(tmp_path / "l.safetensors", 1.0)])


def test_ctrl_c_ends_a_process_that_does_not_listen():
    code = (
        "import signal, sys, time\n"
        "from vdit.host.leaving import leaving_within\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "with leaving_within(0.1):\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    time.sleep(30)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (130, "Cancelled.\n")
