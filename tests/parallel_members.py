"""What each of several processes does in tests/test_parallel.py: `parallel_members.py FOLDER TASK:PORT,...`, started as
torchrun would. The same functions, called by a process alone, are what the results are compared with."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from vdit.kernels.dispatch import attention, norm_rope_attention
from vdit.kernels.grid import Grid
from vdit.kernels.plan import plan, sliding_tiles, window
from vdit.kernels.processes import Processes
from vdit.kernels.shared import SharedPlan
from vdit.pipeline.decode import decode_frames
from vdit.pipeline.share import shared_rows
from vdit.pipeline.values import RunContext

GRID = Grid(4, 12, 8)
PATTERNS = {"dense": None, "tiles": sliding_tiles(2, 2, 1), "box": window(2, 2, 3)}
HEADS = (2, 3)  # two processes share the first by heads, the second by keys
FRAMES = 9


def attended(processes):
    """Output, gradients and bytes sent for each pattern and number of heads; of this process's rows."""
    from vdit.model.rope import axis_tables

    found = {}
    for name, pattern in PATTERNS.items():
        for heads in HEADS:
            random = torch.Generator().manual_seed(heads)
            q, k, v, g = torch.randn(4, 2, GRID.tokens, heads, 64, generator=random).unbind()
            whole = None if pattern is None else plan(GRID, pattern)
            own, used = slice(None), whole
            if processes is not None:
                used = SharedPlan(processes, GRID, whole)
                own = used.tokens[processes.rank]
            mine = [x[:, own].clone().requires_grad_() for x in (q, k, v)]
            with counted() as sent:
                y = attention(*mine, used)
            there = sent[0]
            y.backward(g[:, own])
            flat = [x[:, own].flatten(2) for x in (q, k, v)]
            norms = torch.linspace(0.5, 2, heads * 64), torch.linspace(2, 0.5, heads * 64)
            fused = norm_rope_attention(*flat, *norms, 1e-6, axis_tables(GRID.sides, 64), GRID, used, fused="reference")
            found[f"{name} {heads}"] = [y.detach(), *(x.grad for x in mine), fused, torch.tensor(there)]
    return found


class counted:  # noqa: N801 (read as words)
    """Inside, counts the bytes that this process sends to others."""

    def __enter__(self):
        self.sent, self.kept = [0], torch.distributed.all_to_all_single

        def noted(out, x, take, give, group=None):
            me = torch.distributed.get_rank(group)
            self.sent[0] += (sum(give) - give[me]) * (x[0].numel() if len(x) else 0) * x.element_size()
            return self.kept(out, x, take, give, group=group)

        torch.distributed.all_to_all_single = noted
        return self.sent

    def __exit__(self, *_):
        torch.distributed.all_to_all_single = self.kept


def passes():
    """Three tiny models, and what they are called with."""
    from fakes import random_transformer
    from test_wan_sampling import world

    found = {}
    models = {"t2v": world("t2v-1.3b").transformer, "vace": world("vace-1.3b").transformer}
    models["vdit"] = random_transformer(replace(small(), draft=True, carry=True, places=True))
    models["t2v"].attention = ("window", 0.5)
    for name, model in models.items():
        c = model.config
        random = torch.Generator().manual_seed(1)
        draw = lambda *shape, random=random: torch.randn(shape, generator=random)  # noqa: E731
        x, context, sigma = draw(1, c.in_channels, 3, 14, 8), draw(1, 5, c.text_dim), torch.tensor([[0.0, 0.5, 0.7]])
        more = {"vace": draw(1, c.vace_channels, 3, 14, 8)} if c.vace_channels else {}
        if c.draft:
            more["draft"] = torch.cat((draw(1, c.in_channels, 3, 14, 8), torch.ones(1, 1, 3, 14, 8)), 1)
        found[name] = model, (x, sigma, context), more
    return found


def passed(processes):
    """A forward and a backward pass of each; gradients summed over the processes."""
    found = {}
    for name, (model, given, more) in passes().items():
        model.requires_grad_(True)
        with shared_rows(model, processes):
            y = model(*given, **more)
            y.square().mean().backward()
        grads = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        if processes is not None:
            torch.distributed.all_reduce(grads)
        found[name] = [y.detach(), grads]
    return found


def small():
    from fakes import small_config

    return small_config()


def sampled(processes):
    """Latents of whole runs, and the frames of one."""
    from test_wan_sampling import codec_of, encode, world
    from vdit.pipeline import generate

    from runs import run_of

    found = {}
    model = world("t2v-1.3b")
    for name, pattern, guidance in (("dense", "full", 1.0), ("window", "window", 1.0), ("guided", "full", 5.0)):
        model.transformer.attention = (pattern, 0.5)
        run = run_of(model, encode(model), FRAMES, 64, 96, 7, steps=3, guidance=guidance)
        found[name] = generate(replace(run, context=replace(run.context, processes=processes))).latent
    latent = torch.randn(1, 16, 2, 28, 4, generator=torch.Generator().manual_seed(2))
    found["frames"] = decode_frames(codec_of("2.1"), latent, context=RunContext(processes=processes))
    return found


def clip_shard(folder):
    """A shard of random clips as the teacher's trainer reads them."""
    random = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(shape, generator=random)  # noqa: E731
    n, t, frames = 4, 4, 13
    torch.save({
        "video": draw(n, 4, t, 4, 4).half(), "last": draw(n, 4, 1, 4, 4).half(), "foretold": draw(n, 5, t, 4, 4).half(),
        "drafted": torch.tensor([2, 1, 2, 1]), "captions": [["a red ball falls"]] * n, "size": (64, 64),
        "depth": torch.zeros(n, frames, 1, 16, 16, dtype=torch.uint8), "tracks": torch.zeros(n, frames, 3, 4),
        "flow": torch.ones(n, frames - 1, 2, 16, 16, dtype=torch.int8),
        "c2w": torch.eye(4, dtype=torch.float64).expand(n, frames, 4, 4).clone(),
        "fov_deg": torch.full((n, frames), 45.0),
    }, folder / "latents-00000.pt")  # fmt: skip


def taught(folder, team):
    """A teacher and a student of it, four steps each, whose runs' folders lie in `folder`."""
    from test_training import TINY
    from vdit.model import precision
    from vdit.training import muon
    from vdit.training.recipes import StudentRecipe, TeacherRecipe
    from vdit.training.tasks import student, teacher
    from vdit.training.trainer import Schedule

    data = dict(latents=folder / "latents", held_out=folder / "latents")
    own = folder / f"of-{team.size}"
    more = dict(cache=folder / "trajectories", teacher=folder / "of-1" / "teacher", files=1, teacher_steps=2, rank=4)
    team = team.in_parts(2, "--processes")
    with pytest.MonkeyPatch.context() as patch:
        for module in (teacher, student):  # steps in place of seconds
            patch.setattr(module, "Schedule", lambda **_: Schedule(steps=4, log_every=1, validate_every=99))
            patch.setattr(module, "constant_with_cooldown", lambda *_: 1e-3)
        for module in (precision, muon):  # float32, whatever the processor
            patch.setattr(module, "has_bfloat16", lambda *_: False)
        recipe = TeacherRecipe(**data, out=own / "teacher", batch=4, muon=True, processes=2)
        teacher.train(recipe, team, config=TINY)
        student.train(StudentRecipe(**data, out=own / "student", batch=2, processes=2, **more), team)


def dies_at_step_7(argv):
    """`vdit train` of which one process dies when the state of step 5 is on the disk."""
    from vdit.training.cli import main
    from vdit.training.tasks import wan

    flow_loss, out = wan.flow_loss, Path(argv[argv.index("--out") + 1])
    calls = []

    def loss(*given):
        calls.append(given)
        if len(calls) == 15 and os.environ["RANK"] == "1":  # two clips a step
            while not (out / "state-00000005").exists():
                time.sleep(0.05)
            os._exit(9)
        return flow_loss(*given)

    wan.flow_loss = loss
    return main(argv)


def shared(folder):
    """What the tests of a clip that two processes make together compare."""
    torch.distributed.init_process_group("gloo")
    processes = Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())
    found = {"attended": attended(processes), "passed": passed(processes), "sampled": sampled(processes)}
    torch.save(found, folder / f"found-{processes.rank}.pt")
    torch.distributed.destroy_process_group()


def main(folder, tasks, *argv):
    from vdit.training.launch import joined

    for task, port in (one.split(":") for one in tasks.split(",")):
        os.environ["MASTER_PORT"] = port
        if task == "dies":
            return dies_at_step_7(list(argv))
        if task == "shared":
            shared(Path(folder))
        else:
            with joined() as team:
                taught(Path(folder), team)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
