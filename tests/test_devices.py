"""One clip on several GPUs of one process: threads on the CPU stand for them, which compute what one thread does."""

import gc
import threading
import weakref
from dataclasses import replace

import parallel_members as members
import pytest
import torch
from fakes import random_world_model
from test_wan_sampling import FRAMES, encode, world
from vdit.model.causal import Told, with_causal
from vdit.model.files.lora import copied_to
from vdit.model.layers import Block
from vdit.nodes import gpus, load, preflight, preflight_models, sessions
from vdit.nodes.encode import VDiTEncodeConditioning
from vdit.nodes.sample import VDiTSample
from vdit.pipeline import devices, generate
from vdit.pipeline.devices import Devices

from runs import run_of

PATIENCE_S = 60  # a thread that waits longer waits for ever


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize("count", [2, 3])
def test_a_forward_pass_of_several_threads_is_that_of_one(count, monkeypatch):
    """Each computes some rows: 7 of 14 cells are too few for 8."""
    seen, forward = set(), Block.forward
    monkeypatch.setattr(Block, "forward", lambda self, x, *more: (seen.add(x.shape[2]), forward(self, x, *more))[1])
    together = Devices(["cpu"] * count)
    for name, (model, given, named) in members.passes().items():
        with torch.no_grad():
            alone = model(*given, **named)
            seen.clear()
            with together.spread(model, 1) as (spread, _):
                velocity = spread(*given, **named)
            assert max(seen) <= -(-7 // count) * 4
            assert relative(velocity, alone) <= 1e-5, name
            with pytest.raises(ValueError, match="7 rows of tokens cannot be shared by 8 GPUs: take at most 7"):
                with Devices(["cpu"] * 8).spread(model, 1) as (spread, _):
                    spread(*given, **named)


@pytest.mark.parametrize("name,pattern,guidance,count", [
    ("t2v-1.3b", "window", 1.0, 2), ("t2v-1.3b", "full", 5.0, 2), ("t2v-1.3b", "full", 5.0, 4),
    ("t2v-a14b", "full", 5.0, 2),
])  # fmt: skip
def test_a_whole_run_on_several_threads_is_that_of_one(name, pattern, guidance, count):
    model = world(name)
    model.transformer.attention = (pattern, 0.5)
    run = run_of(model, encode(model), FRAMES, 64, 96, 7, steps=3, guidance=guidance)
    together = generate(replace(run, context=replace(run.context, devices=Devices(["cpu"] * count))))
    assert relative(together.latent, generate(run).latent) <= 1e-4


@pytest.mark.parametrize("who", ["the calling thread", "another one"])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_an_error_or_cancel_in_one_thread_ends_all_and_reaches_the_user(who, guidance, monkeypatch):
    class Cancelled(Exception):
        pass

    forward = Block.forward

    def fails(self, *given):
        if (threading.current_thread().name == "the calling thread") == (who == "the calling thread"):
            raise Cancelled
        return forward(self, *given)

    monkeypatch.setattr(Block, "forward", fails)
    model, raised = world("t2v-1.3b"), []
    run = run_of(model, encode(model), FRAMES, 64, 96, 7, steps=3, guidance=guidance)

    def sampled():
        with pytest.raises(Cancelled) as error:
            generate(replace(run, context=replace(run.context, devices=Devices(["cpu"] * 4))))
        raised.append(error)

    caller = threading.Thread(target=sampled, name="the calling thread", daemon=True)
    caller.start()
    caller.join(PATIENCE_S)
    assert raised and not [t for t in threading.enumerate() if t.name.startswith("vdit gpu")]


def test_copies_stay_for_the_next_call_and_go_with_their_transformer_or_for_another():
    pair, models = Devices(["cpu", "cpu"]), [members.passes()["t2v"] for _ in range(2)]

    def copy_of(number):
        model, given, named = models[number]
        with torch.no_grad(), pair.spread(model, 1) as (spread, _):
            spread(*given, **named)
        return weakref.ref(pair.modules(model)[1])

    first = copy_of(0)
    assert copy_of(0) is first and first() is not models[0][0] and not list(first().parameters())[0].requires_grad
    second = copy_of(1)
    gc.collect()
    assert first() is None and second() is not None
    models.clear()
    gc.collect()
    assert second() is None


def test_a_copy_takes_over_neither_hooks_nor_a_hosts_marks():
    """As ComfyUI leaves them on the model that it manages."""
    model, given, named = members.passes()["vdit"]
    model.register_forward_pre_hook(lambda *_: pytest.fail("of the original"))
    vars(model)["_vdit_patcher"] = object()
    copy = copied_to(model, torch.device("cpu"))
    copy.head.register_forward_hook(lambda *_: None)
    assert "_vdit_patcher" not in vars(copy) and not model.head._forward_hooks
    with torch.no_grad():
        assert copy(*given, **named).isfinite().all()


def test_the_node_samples_on_the_gpus_that_its_model_is_loaded_for(monkeypatch):
    monkeypatch.setattr(sessions, "gpus", lambda count: ["cpu"] * count)
    calls, copied = [], devices.copied_to
    monkeypatch.setattr(devices, "copied_to", lambda *given: (calls.append(given), copied(*given))[1])
    latents, model = [], random_world_model(0)
    shot = VDiTEncodeConditioning.execute(model, "a red ball falls", "", 1.0)[0]
    for count in (1, 2):
        one = replace(model, gpus=count)
        made = VDiTSample.execute(one, shot, 1, 3, 2.0, 3.0, "unipc", 1.0, 8.0, 128, 128)
        latents.append(made[0]["samples"])
    assert len(calls) == 1 and relative(*latents) <= 1e-4


def test_what_several_gpus_cannot_do_is_refused_by_name(monkeypatch):
    for module in (gpus, preflight_models):
        monkeypatch.setattr(module, "gpus", lambda count: ["cpu"] * count)
    model = gpus.with_gpus(random_world_model(0), 2)
    with pytest.raises(ValueError, match="KSampler uses one GPU, and the model is loaded for 2: set gpus to 1"):
        gpus.on_one_gpu(model, "KSampler")
    student = random_world_model(0, student=True)
    with pytest.raises(ValueError, match="gpus is 2, but .* block by block, .* set gpus to 1, or causal to off"):
        gpus.with_gpus(with_causal(student, Told(), "blocks of 1", 21, 1), 2)
    prompt = {
        "model": {"class_type": "VDiTLoadModel", "inputs": {"file": load.BUNDLED, "gpus": 8}},
        "shot": {"class_type": "VDiTEncodeConditioning", "inputs": {"model": ["model", 0], "strength": 1.0}},
        "video": {"class_type": "VDiTSample", "inputs": {"model": ["model", 0], "conditioning": ["shot", 0],
                                                         "guidance": 1.0}},
    }  # fmt: skip
    (fault,) = preflight.faults_of(prompt)
    assert fault.node_id == "video" and "4 rows of tokens cannot be shared by 8 GPUs: take at most 4" in fault.message
