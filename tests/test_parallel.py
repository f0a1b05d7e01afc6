"""Several processes against one: training with divided models, and one clip made together."""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import parallel_members as members
import pytest
import torch
import wan_files as make
from safetensors.torch import load_file, save_file
from vdit.control.pictures import cover
from vdit.kernels.grid import Grid
from vdit.kernels.plan import plan, sliding_tiles, window
from vdit.kernels.processes import Processes
from vdit.kernels.shared import SharedPlan
from vdit.model.variants import VARIANTS
from vdit.pipeline.share import OVERLAP, rows_of_tiles
from vdit.training.cli import carry_out, parse
from vdit.training.launch import joined as alone

STEPS = 10


def pair_of_processes(folder, tasks, *words):
    """The exit statuses of two processes that do the tasks, as torchrun would start them on this machine.

    A start costs more than a task, so that one does for several. Each task forms a group of its own, at its own port.
    """
    with ExitStack() as held:
        free = [held.enter_context(socket.socket()) for _ in tasks]
        for one in free:
            one.bind(("127.0.0.1", 0))
        at = [f"{task}:{one.getsockname()[1]}" for task, one in zip(tasks, free, strict=True)]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    one = {**os.environ, **shared, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = [sys.executable, "-P", str(Path(__file__).with_name("parallel_members.py")), str(folder), ",".join(at)]
    processes = [
        subprocess.Popen([*script, *map(str, words)], env={**one, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    try:
        return [process.wait(120) for process in processes]
    finally:
        for process in processes:
            process.kill()


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


# --- one clip on two processes


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tiny_wan):
    """The folder in which two processes have made clips together, trained teacher and student as one has, and begun a
    training in which one of them dies."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "latents").mkdir()
    members.clip_shard(folder / "latents")
    with alone() as team:
        members.taught(folder, team)
    words = tiny_wan[1].split()[2:]
    assert 9 in pair_of_processes(folder, ("shared", "taught", "dies"), *words, "--out", folder / "killed")
    return folder


@pytest.fixture(scope="module")
def together(pair):
    """What each of two processes found."""
    return [torch.load(pair / f"found-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
def test_attention_of_two_processes_is_that_of_one_forward_and_backward(together):
    alone = members.attended(None)
    shared = SharedPlan(Processes(0, 2), members.GRID, None)
    for name, values in alone.items():
        for n, whole in enumerate(values[:-1]):
            for found, own in zip(together, shared.tokens, strict=True):
                assert relative(found["attended"][name][n], whole[:, own]) <= 1e-5, (name, n)


@pytest.mark.slow
def test_a_window_sends_what_its_tiles_need(together):
    """Counted where it is sent: keys and values, float32, of tokens in tiles that the others' queries see."""
    for name, pattern in members.PATTERNS.items():
        for heads in members.HEADS:
            whole = None if pattern is None else plan(members.GRID, pattern)
            shared = SharedPlan(Processes(0, 2), members.GRID, whole)
            need = sum(len(shared.needed[1 - i][i]) for i in range(2)) * 2 * 2 * heads * 64 * 4  # of 2 clips
            sent = sum(int(found["attended"][f"{name} {heads}"][-1]) for found in together)
            assert 0 < sent <= (need if pattern is not None else 2 * need), (name, heads)
            if name == "box":
                assert sent < 0.7 * 2 * members.GRID.tokens * 2 * heads * 64 * 4  # of all that there is


@pytest.mark.slow
def test_models_on_two_processes_give_the_same_velocity_and_gradients(together):
    alone = members.passed(None)
    for found in together:
        for name, (velocity, grads) in alone.items():
            assert relative(found["passed"][name][0], velocity) <= 1e-5, name
            assert relative(found["passed"][name][1], grads) <= 1e-5, name


@pytest.mark.slow
def test_a_whole_run_on_two_processes_is_that_of_one(together):
    alone = members.sampled(None)
    for found in together:
        for name in ("dense", "window", "guided"):
            assert relative(found["sampled"][name], alone[name]) <= 1e-4, name


@pytest.mark.slow
def test_frames_decoded_in_parts_have_blended_seams(together):
    """Outside of the overlap each row is as its own part has it; within, in between."""
    (top, end), (start, bottom) = rows_of_tiles(28, 2)
    assert end - start == OVERLAP and (top, bottom) == (0, 28)
    codec = members_codec()
    latent = torch.randn(1, 16, 2, 28, 4, generator=torch.Generator().manual_seed(2))
    parts = [codec.decode(latent[:, :, :, a:b])[0] for a, b in ((top, end), (start, bottom))]
    for found in together:
        frames = found["sampled"]["frames"]
        assert torch.equal(frames, together[0]["sampled"]["frames"])
        torch.testing.assert_close(frames[:, : start * 8], parts[0][:, : start * 8], atol=1e-5, rtol=0)
        torch.testing.assert_close(frames[:, end * 8 :], parts[1][:, (end - start) * 8 :], atol=1e-5, rtol=0)
        a, b = parts[0][:, start * 8 :], parts[1][:, : (end - start) * 8]
        within = frames[:, start * 8 : end * 8]
        assert (within <= torch.maximum(a, b) + 1e-5).all() and (within >= torch.minimum(a, b) - 1e-5).all()


def members_codec():
    from test_wan_sampling import codec_of

    return codec_of("2.1")


def test_keys_travel_where_a_window_is_small_and_heads_where_all_is_seen():
    """At 480p: 21x30x52 tokens, 12 heads."""
    grid = Grid(21, 30, 52)
    near, far = plan(grid, window(2, 3, 12)), plan(grid, sliding_tiles(7, 6, 13))
    for size in (2, 3, 4):
        few, all_of = SharedPlan(Processes(0, size), grid, near), SharedPlan(Processes(0, size), grid, None)
        assert not few.by_heads(12) and all_of.by_heads(12)
        assert few.sends_by_keys() < 0.6 * all_of.sends_by_heads(12)
        assert far.is_full and SharedPlan(Processes(0, size), grid, far).by_heads(12)
    assert SharedPlan(Processes(0, 5), grid, None).sends_by_heads(12) is None
    with pytest.raises(ValueError, match="30 rows of tokens cannot be shared by 31 processes: take at most 30"):
        SharedPlan(Processes(0, 31), grid, None).rows  # noqa: B018


@pytest.mark.parametrize("height,count,multiple", [(60, 2, 1), (60, 4, 1), (90, 8, 1), (44, 3, 4), (17, 2, 1)])
def test_parts_of_a_latent_cover_it_and_overlap(height, count, multiple):
    spans = rows_of_tiles(height, count, multiple)
    if height < 3 * OVERLAP:
        assert spans is None
        return
    assert len({end - start for start, end in spans}) == 1 and spans[0][0] == 0 and spans[-1][1] == height
    assert all(b < end for (_, end), (b, _) in zip(spans[:-1], spans[1:], strict=True))
    assert not any(n % multiple for span in spans for n in span)


# --- training with a divided model


@pytest.fixture(scope="module")
def tiny_wan(tmp_path_factory):
    """A Wan file of two narrow layers, four encoded clips with drafts, and the command that trains on them."""
    root = tmp_path_factory.mktemp("wan")
    config = make.tiny(VARIANTS["t2v-1.3b"]).config
    make.single(root / "wan.safetensors", make.random_state(config), torch.float32)
    videos, random = root / "videos", torch.Generator().manual_seed(0)
    videos.mkdir()
    draw = lambda *shape: torch.randn(shape, generator=random)  # noqa: E731
    save_file({"context": draw(3, 256)}, videos / "without-words.safetensors")
    for n in range(6):
        clip = {"video": draw(16, 2, 8, 8), "draft": draw(16, 2, 8, 8), "context": draw(5 + n, 256)}
        save_file(clip, videos / f"clip-{n}.safetensors")
    command = f"vdit train wan --model {root / 'wan.safetensors'} --videos {videos} --batch 4 --save-every 5 --warmup 4"
    return root, f"{command} --peak 1e-3 --drafts --steps {STEPS}"


def trained_alone(command, out):
    carry_out(parse(f"{command} --out {out}"))
    return out


def logged(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_killed_at_step_5_goes_on_in_two_processes_or_one_along_the_same_curve(tiny_wan, pair, tmp_path):
    root, command = tiny_wan
    unbroken = trained_alone(command, tmp_path / "unbroken")
    two, one = (shutil.copytree(pair / "killed", tmp_path / name) for name in ("two", "one"))
    assert [p.name for p in two.glob("state-*")] == ["state-00000005"] and not (two / "wan.safetensors").exists()
    assert pair_of_processes(tmp_path, ("dies",), *command.split()[2:], "--out", two) == [0, 0]
    trained_alone(command, one)
    begun, whole = load_file(root / "wan.safetensors"), load_file(unbroken / "wan.safetensors")
    for run in (two, one):
        found = load_file(run / "wan.safetensors")
        assert found.keys() == whole.keys() == begun.keys()
        assert relative(joined(found), joined(whole)) <= 1e-5
        assert relative(joined(found) - joined(begun), joined(whole) - joined(begun)) <= 1e-3  # of what was learned
    assert relative(joined(whole), joined(begun)) > 1e-3
    held = [next(row["held_mb"] for row in logged(run) if "held_mb" in row) for run in (two, unbroken)]
    assert held[0] <= 0.55 * held[1]
    curves = [[row["loss"] for row in logged(run) if "loss" in row][-1] for run in (two, one)]
    assert abs(curves[0] - curves[1]) <= 2e-5  # as logged, the mean of steps 5 to 9


def joined(tensors):
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def test_a_lora_is_trained_in_bfloat16_with_blocks_recomputed(tiny_wan, tmp_path):
    from vdit.model.files.load import load_wan

    root, command = tiny_wan
    words = f"{command} --steps 2 --rank 4 --bfloat16 --recompute --out {tmp_path}"
    carry_out(parse(words))
    lora = tmp_path / "lora.safetensors"
    assert all(value.isfinite().all() for value in load_file(lora).values())
    loaded = load_wan(root / "wan.safetensors", loras=[(lora, 1.0)])
    plain = load_wan(root / "wan.safetensors")
    given = torch.randn(1, 16, 2, 8, 8), torch.tensor([0.5]), torch.randn(1, 3, 256)
    assert 0 < relative(loaded.transformer(*given), plain.transformer(*given)) < 0.5


def test_a_batch_that_processes_cannot_share_is_refused(tiny_wan, tmp_path):
    from vdit.training.launch import Team

    with pytest.raises(ValueError, match="started 3 processes and --batch is 4, which they cannot share evenly"):
        Team(0, 3, shards=True).in_parts(4, "--batch")


@pytest.mark.slow
def test_teacher_and_student_are_divided_too(pair):
    from vdit.training.finished_runs import load_transformer

    for role in ("teacher", "student"):
        (one, _, state), (two, _, _) = (load_transformer(pair / f"of-{n}" / role) for n in (1, 2))
        assert state["step"] == 4
        flat = [torch.cat([p.flatten() for p in model.parameters()]) for model in (two, one)]
        assert relative(*flat) <= 1e-5, role


def test_videos_are_encoded_as_the_model_reads_them_and_trained_on(tmp_path):
    import wan_workflows as wan
    from vdit.model.codec.wan import WanCodec
    from vdit.model.files.load import load_wan
    from vdit.world.video import read_video, write_h264

    config = wan.tiny_variant("t2v-1.3b").config
    make.single(tmp_path / "model.safetensors", make.random_state(config), torch.float32)
    torch.manual_seed(0)
    make.single(tmp_path / "vae.safetensors", WanCodec("2.1", 8, 8).state_dict(), torch.float32)
    wan.umt5(tmp_path / "text.safetensors")
    videos, out = tmp_path / "videos", tmp_path / "encoded"
    videos.mkdir()
    random = np.random.default_rng(0)
    for name in ("fox", "fox.draft"):
        write_h264(videos / f"{name}.mp4", random.integers(0, 256, (11, 64, 96, 3), dtype=np.uint8), 16, 20)
    command = (
        f"vdit train videos --videos {videos} --out {out} --model {tmp_path / 'model.safetensors'} "
        f"--vae {tmp_path / 'vae.safetensors'} --text-encoder {tmp_path / 'text.safetensors'} --frames 5 "
        "--width 32 --height 32"
    )
    with pytest.raises(ValueError, match="fox.mp4 has no caption: write it into fox.txt"):
        carry_out(parse(command))
    (videos / "fox.txt").write_text(wan.SENTENCES[0])
    carry_out(parse(command))
    assert sorted(p.name for p in out.iterdir()) == [f"fox-00{n}.safetensors" for n in (0, 1)] + [
        "without-words.safetensors"
    ]
    second = load_file(out / "fox-001.safetensors")
    assert {name: tuple(value.shape) for name, value in second.items() if name != "context"} == {
        "video": (16, 2, 4, 4), "draft": (16, 2, 4, 4)
    }  # fmt: skip
    model = load_wan(
        tmp_path / "model.safetensors", codec_path=tmp_path / "vae.safetensors", text_path=tmp_path / "text.safetensors"
    )
    assert torch.equal(second["context"], model.text.encode([wan.SENTENCES[0]]).tokens[0])
    frames = cover(torch.from_numpy(read_video(videos / "fox.mp4")[5:10]).float() / 255, 32, 32)
    torch.testing.assert_close(second["video"], model.codec.normalize(model.codec.encode(frames[None]))[0])
    trained = f"vdit train wan --model {tmp_path / 'model.safetensors'} --videos {out} --out {tmp_path / 'run'}"
    carry_out(parse(f"{trained} --batch 2 --steps 1 --drafts --rank 2"))
    assert (tmp_path / "run" / "lora.safetensors").is_file()
