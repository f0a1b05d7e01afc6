"""Training on a device: a step's tensors are all there, its batch is copied there once, and one list of losses back."""

import pickle

import numpy as np
import pytest
import torch
from pretend_device import DEVICE, PretendDevice
from test_bodies import SMALL, TOY
from test_student import toy_latents
from test_training import TINY, TINY_CODEC
from torch.nn.modules.module import register_module_forward_pre_hook
from vdit.model import precision
from vdit.model.object_dynamics import ObjectDynamics
from vdit.model.picture_gate import SIDE, GateConfig
from vdit.model.vdit import VDiT
from vdit.training import batches, muon, random_streams, recipes
from vdit.training.batches import Batches, Turn, changed
from vdit.training.data.bodies import write_bodies
from vdit.training.data.encoded_clips import LatentFormat, write_encoded_clips
from vdit.training.data.scenes import SceneFormat, write_scenes
from vdit.training.data.trajectories import write_trajectories
from vdit.training.finished_runs import load_codec
from vdit.training.launch import ALONE, Team
from vdit.training.run import Run, save_atomic
from vdit.training.tasks import bodies, codec, gate, motion, perception, student, teacher
from vdit.training.trainer import Progress, Trainer


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a little of everything that tasks read."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for name in ("clips", "pictures", "photographs", "latents"):
        (root / name).mkdir()
    np.save(root / "clips" / "clips-00000.npy", random.integers(0, 255, (2, 13, 64, 64, 3), dtype=np.uint8))
    pixels = torch.from_numpy(random.integers(0, 255, (8, SIDE, SIDE, 3), dtype=np.uint8))
    save_atomic({"rgb": pixels}, root / "pictures" / "pictures-00000.pt")
    from PIL import Image

    Image.fromarray(pixels[0].numpy()).save(root / "photographs" / "a.png")
    toy_latents(root / "latents", 8)
    write_scenes(recipes.ScenesRecipe(root / "scenes", shards=1), SceneFormat(scenes=8, sizes=((128, 128),)))
    write_bodies(recipes.BodiesRecipe(root / "bodies", shards=1, photographs=root / "none"), TOY)
    of_teacher(root, out=root / "teacher", hours=0)
    solved = dict(teacher=root / "teacher", latents=root / "latents", teacher_steps=2, files=2)
    for folder in ("trajectories", "trajectories/held-out"):
        write_trajectories(recipes.TrajectoriesRecipe(**solved, cache=root / folder), clips_per_file=4)
    objects = ObjectDynamics()
    state = {"average": objects.state_dict(), "config": {}, "step": 1, "starts": 1}
    Run(root / "dynamics").save(state, force=True)
    return root


def of_codec(root, **more):
    data = dict(clips=root / "clips", held_out=root / "clips", batch=2)
    codec.train(recipes.CodecRecipe(**data, **more), TINY_CODEC)


def of_gate(root, **more):
    data = dict(pictures=root / "pictures", held_out=root / "pictures", batch=4)
    photographs = dict(photographs=root / "photographs", held_out_photographs=root / "photographs")
    gate.train(recipes.GateRecipe(**data, **photographs, **more), GateConfig((8, 8, 8, 8)))


def of_dynamics(root, **more):
    data = dict(scenes=root / "scenes", held_out=root / "scenes", batch=8)
    perception.train(recipes.DynamicsRecipe(**data, **more))


def of_motion(root, **more):
    data = dict(scenes=root / "scenes", held_out=root / "scenes", start_from=root / "dynamics", batch=4)
    motion.train(recipes.MotionRecipe(**data, **more))


def of_bodies(root, **more):
    data = dict(bodies=root / "bodies", held_out=root / "bodies", photographs=root / "none", batch=4)
    bodies.train(recipes.PerceptionRecipe(**data, **more), SMALL)


def of_teacher(root, **more):
    data = dict(latents=root / "latents", held_out=root / "latents", batch=2)
    teacher.train(recipes.TeacherRecipe(**data, muon=True, **more), config=TINY)


def of_student(root, **more):
    data = dict(teacher=root / "teacher", latents=root / "latents", held_out=root / "latents", batch=4, rank=2)
    solved = dict(cache=root / "trajectories", teacher_steps=2, files=2)
    student.train(recipes.StudentRecipe(**data, **solved, **more))


TASKS = [of_codec, of_gate, of_bodies, of_teacher, of_student]
TASKS += [pytest.param(make, marks=pytest.mark.slow) for make in (of_dynamics, of_motion)]
# Tensors that go to the device beside a step's batch: which starts, of those that are there; sigmas, and which rows
# begin with a step of the student's own; three constants of the losses of bodies.
BESIDE = {of_motion: 1, of_student: 2, of_bodies: 3}


@pytest.fixture
def alike(monkeypatch):
    """What differs between devices: random streams, bfloat16, processes that draw data, and how much is validated."""
    monkeypatch.setattr(random_streams.RandomStreams, "on", lambda self, device: self.generator)
    monkeypatch.setattr(batches, "workers_beside", lambda device: 0)
    monkeypatch.setattr(gate, "HELD_OUT", 32)
    monkeypatch.setattr(motion, "ROLLOUT", motion.Rollout(4))
    for module in (precision, muon):
        monkeypatch.setattr(module, "has_bfloat16", lambda *_: False)


def trained(make, root, device, out, steps=3):
    """A trainer, its scores, and what passed in and out in the last step, the calls of a transformer not counted: each
    waits to know how many words its text has. The first step fills tables."""
    torch.manual_seed(0)
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda self: kept.append(self))
        make(root, device=device, out=out)
    trainer, calls = kept[0], []
    hook = register_module_forward_pre_hook(lambda module, _: calls.append(1) if isinstance(module, VDiT) else None)
    for step in range(steps):
        before = PretendDevice.counted()
        calls.clear()
        trainer.take_step(Progress(step, 0, 0.0, 0.2))
    hook.remove()
    passed = [now - then for now, then in zip(PretendDevice.counted(), before, strict=True)]
    passed[1] -= len(calls) * (device != "cpu")
    with torch.no_grad(), trainer.task.trained.averaged():
        scores = trainer.task.validate()
    return trainer, scores, passed


@pytest.mark.parametrize("make", TASKS)
def test_a_step_on_a_device_is_that_on_the_cpu_and_copies_its_batch_alone(make, root, tmp_path, alike):
    with PretendDevice():
        there, scores, (copied_in, copied_out) = trained(make, root, DEVICE.type, tmp_path / "there")
        assert all(weight.device == DEVICE for weight in there.task.trained.weights.values())
    here, expected, _ = trained(make, root, "cpu", tmp_path / "here")
    assert there.losses.keys() == here.losses.keys() and len(there.losses["loss"]) == 3
    for name, values in here.losses.items():
        assert there.losses[name] == pytest.approx(values, rel=1e-3, abs=1e-5), name
    assert scores == pytest.approx(expected, rel=1e-2, abs=1e-2, nan_ok=True)
    tensors, again = [], []
    if hasattr(there.task, "batches"):
        source = there.task.batches.source
        changed(source(Turn(2)), lambda x: tensors.append(x) or x)
        another = pickle.loads(pickle.dumps(source))  # as a process gets it that does not begin as a copy of this one
        changed(another(Turn(2)), lambda x: again.append(x) or x)
    assert len(again) == len(tensors) and all(map(torch.equal, again, tensors))
    assert copied_in == len(tensors) + BESIDE.get(make, 0)
    assert copied_out == 1


def test_a_mixed_up_step_is_found():
    """The pretended device refuses what a GPU refuses, and counts what a GPU would wait for."""
    with PretendDevice() as device:
        x = torch.ones(3, device=DEVICE, requires_grad=True)
        (x * torch.tensor([1.0, 2.0, 3.0], device=DEVICE)).sum().backward()
        assert x.grad.cpu().tolist() == [1, 2, 3] and device.passed() == (1, 1)
        with pytest.raises(AssertionError, match="tensors of the host"):
            x.detach() + torch.ones(3)
        assert x.detach()[x.detach() > 0].sum().item() == 3.0 and device.passed() == (1, 3)


@pytest.mark.parametrize("make", TASKS)
def test_a_gpu_that_is_not_there_is_said_to_be_missing(make, root):
    with pytest.raises(ValueError, match="--device cuda:99: torch finds"):
        make(root, device="cuda:99", out=root / "none")


def test_processes_that_share_a_machine_share_no_gpu():
    with pytest.raises(ValueError, match="start one process each with torchrun"):
        Team(0, 2).computes_on("meta")
    with pytest.raises(ValueError, match="expected cpu, cuda or cuda:N"):
        ALONE.computes_on("gpu")


def test_clips_are_encoded_on_a_device_and_trajectories_solved_there(root, tmp_path, alike):
    made = {}
    of_codec(root, out=tmp_path / "codec", steps=0)
    begun = load_codec(tmp_path / "codec", root / "clips")  # measures its statistics
    for name in ("cpu", DEVICE.type):
        out = tmp_path / name
        recipe = recipes.LatentsRecipe(tmp_path / "codec", root / "clips", out, shards=1, device=name)
        solved = dict(teacher=root / "teacher", latents=root / "latents", teacher_steps=2, files=1)
        cache = recipes.TrajectoriesRecipe(**solved, cache=out, device=name)
        with PretendDevice() as device:
            write_encoded_clips(recipe, LatentFormat(clips=2, shapes=((64, 64, 13),)))
            passed = device.passed()
            write_trajectories(cache, clips_per_file=2)
        files = [out / "latents-00000.pt", out / "trajectories-00000.pt"]
        made[name] = passed, *(torch.load(file, weights_only=True) for file in files)
    (before, *there), (after, *here) = made["meta"], made["cpu"]
    assert after == (0, 0)
    weights = len([*begun.parameters(), *begun.buffers()])
    assert before == (weights + 4 * 3, 3)  # of each clip and mirror image pictures, draft, coverage; latents of all
    for one, other in zip(there, here, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-3)


class Numbers:
    """Batches that are their turns."""

    def __init__(self):
        self.age = 0

    def __call__(self, turn):
        return {"turn": torch.tensor(turn), "age": self.age}

    def refresh(self):
        self.age += 1


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_drawn_ahead_are_those_of_their_turns(workers):
    drawn = Batches(Numbers(), torch.device("cpu"), Team(1, 2), workers)
    turns = [Turn(48, 1, 4)]
    while len(turns) < 9:
        turns.append(turns[-1].next_of(2))
    assert turns[1:4] == [(48, 3, 4), (49, 1, 4), (49, 3, 4)]
    found = [drawn.of(turn) for turn in turns]
    assert [tuple(one["turn"].tolist()) for one in found] == turns
    assert found[0]["age"] == 0 and found[-1]["age"] == 1  # new data are looked for at step 50
    assert drawn.of(Turn(7, 1, 4))["turn"].tolist() == [7, 1, 4]  # and what nobody expected is drawn all the same
