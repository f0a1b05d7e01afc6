"""A graph in which a draft is wired to the shot: what is drawn comes out, from the bundled model and its student."""

import pytest
import torch
from vdit.host.catalog import load_nodes
from vdit.host.executor import Executor
from vdit.host.validation import validate
from vdit.model.files import bundle
from vdit.nodes.decode import VDiTDecode
from vdit.nodes.load import BUNDLED, LITE

pytestmark = pytest.mark.slow
CLIP = {"seconds": 1.0, "fps": 8.0, "width": 128, "height": 128}
DRAWN = {"family": "roll", "seed": 5, "split": "test", "frames": 9, "fps": 8.0, "width": 128, "height": 128}


@pytest.mark.parametrize("file", [BUNDLED, LITE])
def test_a_simulation_that_is_wired_as_a_draft_is_rendered(file, monkeypatch):
    root = bundle.Path(bundle.__file__).resolve().parents[2]
    monkeypatch.setattr(bundle, "BUNDLED", root / "weights" / "vdit-small.safetensors")
    shot = {"prompt": "", "negative_prompt": "", "strength": 1.0, "model": ["1", 0], "draft": ["2", 0]}
    sampled = {"seed": 1, "steps": 4, "guidance": 1.0, "shift": 1.0, "solver": "model's own", **CLIP}
    graph = {
        "1": ("VDiTLoadModel", {"file": file}),
        "2": ("VDiTSimulateScene", {**DRAWN, "start_frames": 1, "camera_move": "still"}),
        "3": ("VDiTEncodeConditioning", {**shot, "draft_mask": ["2", 4], "draft_strength": 1.0}),
        "4": ("VDiTSample", {"model": ["1", 0], "conditioning": ["3", 0], **sampled}),
        "5": ("VDiTDecode", {"latent": ["4", 0], "model": ["1", 0]}),
        "6": ("PreviewImage", {"images": ["5", 0]}),
    }
    rendered, nodes = [], load_nodes()
    execute = VDiTDecode.execute.__func__

    def kept(cls, *inputs, **named):
        rendered.append(execute(cls, *inputs, **named))
        return rendered[-1]

    monkeypatch.setattr(VDiTDecode, "execute", classmethod(kept))
    prompt = {number: {"class_type": name, "inputs": inputs} for number, (name, inputs) in graph.items()}
    Executor(nodes).run(validate(prompt, nodes))
    drawn = nodes["VDiTSimulateScene"].execute(**DRAWN, start_frames=1, camera_move="still").result[0]
    frames = rendered[0].result[0]
    assert frames.shape == drawn.shape
    assert float(-10 * torch.log10((frames - drawn).square().mean())) > 35
