"""`vdit train ...`: the commands that make the bundled weights, in the order they are run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..world.scene import FAMILIES


def _clips(a: argparse.Namespace) -> None:
    from .clips import write_shards

    write_shards(a.out, a.first, a.shards, split=a.split, family=a.family, size=a.size)


def _codec(a: argparse.Namespace) -> None:
    from .codec import train

    train(
        a.clips, a.held_out, a.out, steps=a.steps, batch=a.batch, peak=a.peak, seed=a.seed, start_from=a.start_from,
        only=a.only, muon=a.muon,
    )  # fmt: skip


def _scenes(a: argparse.Namespace) -> None:
    from .scenes import write_shards

    write_shards(a.out, a.first, a.shards, split=a.split, family=a.family)


def _dynamics(a: argparse.Namespace) -> None:
    from .dynamics import train

    train(
        a.scenes, a.held_out, a.out, hours=a.hours, batch=a.batch, peak=a.peak, seed=a.seed, start_from=a.start_from,
        keep_fine=a.keep_fine, ground_only=a.ground_only,
    )  # fmt: skip


def _motion(a: argparse.Namespace) -> None:
    from .motion import train

    train(
        a.scenes, a.held_out, a.out, hours=a.hours, batch=a.batch, peak=a.peak, seed=a.seed, start_from=a.start_from
    )  # fmt: skip


def _latents(a: argparse.Namespace) -> None:
    from .latents import load_codec, write_shards

    write_shards(load_codec(a.codec, a.clips), a.out, a.first, a.shards, split=a.split)


def _teacher(a: argparse.Namespace) -> None:
    from .launch import launch
    from .teacher import train

    launch(
        a.processes, train, a.latents, a.held_out, a.out, hours=a.hours, batch=a.batch, peak=a.peak, seed=a.seed,
        muon=a.muon, cooldown_hours=a.cooldown, start_from=a.start_from,
    )  # fmt: skip


def _trajectories(a: argparse.Namespace) -> None:
    from .trajectories import load_teacher, write_trajectories

    write_trajectories(
        load_teacher(a.teacher, a.guidance), a.latents, a.cache, a.first, a.files, steps=a.teacher_steps,
        limit_gb=a.cache_gb, drafted=a.drafted,
    )  # fmt: skip


def _student(a: argparse.Namespace) -> None:
    from .launch import launch
    from .student import Recipe, train

    launch(
        a.processes, train, a.teacher, a.latents, a.held_out, a.cache, a.out,
        Recipe(a.hours, a.batch, a.peak, a.muon, a.seed, a.rank),
        files=a.files, cache_gb=a.cache_gb, layers=a.layers, guidance=a.guidance, teacher_steps=a.teacher_steps,
        drafted=a.drafted, start_from=a.start_from,
    )  # fmt: skip


def _bundle(a: argparse.Namespace) -> None:
    from .bundle import bundle

    made = bundle(a.codec, a.dynamics, a.student or a.teacher, a.out, a.clips, student=a.student is not None)
    print(json.dumps(made, indent=2))


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="vdit train", description=__doc__)
    steps = top.add_subparsers(
        dest="what",
        required=True,
        metavar="clips|codec|latents|scenes|dynamics|motion|teacher|trajectories|student|bundle",
    )

    def command(name: str, run, help: str, **paths: str) -> argparse.ArgumentParser:
        p = steps.add_parser(name, help=help, description=help)
        p.set_defaults(run=run)
        for option, default in paths.items():
            p.add_argument(
                "--" + option.replace("_", "-"), type=Path, default=Path(default), help=f"default: {default}"
            )
        return p

    def shards(p: argparse.ArgumentParser) -> None:
        p.add_argument("--first", type=int, default=0, help="number of the first shard: its seeds follow from it")
        p.add_argument("--shards", type=int, default=100)
        p.add_argument("--split", default="train", choices=("train", "validation", "test"))

    def family(p: argparse.ArgumentParser) -> None:
        p.add_argument("--family", choices=FAMILIES, help="of all scenes (default: many)")

    p = command("clips", _clips, "simulate and render clips into shards of 32", out="runs/clips")
    shards(p)
    family(p)
    p.add_argument("--size", type=int, default=128, help="pixels a side")
    p = command(
        "codec", _codec, "train the video codec", clips="runs/clips", held_out="runs/clips-val", out="runs/codec"
    )
    p.add_argument("--steps", type=int, default=1200)
    p.add_argument("--batch", type=int, default=16, help="clips of 9 frames at 64x64 a step")
    p.add_argument(
        "--start-from",
        type=Path,
        help="a finished run, or a bundle, to begin with: latents and teachers made before stay good",
    )
    p.add_argument("--only", choices=("encoder", "decoder"), help="train a part alone")
    p.add_argument("--muon", action="store_true", help="Muon instead of AdamW for the convolutions")
    p.add_argument("--peak", type=float, default=1.5e-3, help="highest learning rate")
    p.add_argument("--seed", type=int, default=0)
    p = command(
        "latents", _latents, "simulate, render and encode clips with their controls, ahead of the teacher",
        codec="runs/codec", clips="runs/clips", out="runs/latents",
    )  # fmt: skip
    shards(p)
    p = command(
        "scenes", _scenes, "simulate scenes and draw where their clips start, for the dynamics", out="runs/scenes"
    )
    shards(p)
    family(p)
    p = command(
        "dynamics", _dynamics, "train what finds balls and foretells where they go", scenes="runs/scenes",
        held_out="runs/scenes-val", out="runs/dynamics",
    )  # fmt: skip
    p.add_argument(
        "--hours", type=float, default=1.0, help="time to train for; a resumed run goes on to the same total"
    )
    p.add_argument(
        "--start-from", type=Path, help="a run, or a bundle (.safetensors), whose weights this one begins with"
    )
    p.add_argument("--ground-only", action="store_true", help="train what tells distances and light alone")
    p.add_argument(
        "--keep-fine", action="store_true", help="leave the layers at 1/4 of the size as they are: a third faster"
    )
    p.add_argument("--batch", type=int, default=24, help="starts of clips a step")
    p.add_argument("--peak", type=float, default=1e-3, help="highest learning rate")
    p.add_argument("--seed", type=int, default=0)
    p = command(
        "motion", _motion, "go on training what moves balls, alone: many times as many ways in the same time",
        scenes="runs/scenes", held_out="runs/scenes-val", start_from="runs/dynamics", out="runs/motion",
    )  # fmt: skip
    p.add_argument("--hours", type=float, default=0.5, help="time to train for, after looking at the starts once")
    p.add_argument("--batch", type=int, default=128, help="starts of clips a step")
    p.add_argument("--peak", type=float, default=1e-3, help="highest learning rate")
    p.add_argument("--seed", type=int, default=0)
    p = command(
        "teacher",
        _teacher,
        "train the transformer",
        latents="runs/latents",
        held_out="runs/latents-val",
        out="runs/teacher",
    )
    p.add_argument(
        "--hours", type=float, default=2.0, help="time to train for; a resumed run goes on to the same total"
    )
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--peak", type=float, default=1e-3, help="highest learning rate")
    p.add_argument("--muon", action="store_true", help="Muon instead of AdamW for the matrices of the blocks")
    p.add_argument("--cooldown", type=float, default=0.0, help="hours at the end over which the rate falls to zero")
    p.add_argument(
        "--start-from", type=Path, help="a run, or a bundle (.safetensors), whose weights this one begins with"
    )
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--processes", type=int, default=1, help="processes that share the cores and each batch; default: 1")

    def solved(p: argparse.ArgumentParser) -> None:
        p.add_argument("--guidance", type=float, help="to be baked into students; default: the teacher's own")
        p.add_argument(
            "--teacher-steps", type=int, default=16, help="steps of a trajectory, two model calls each; default: 16"
        )
        p.add_argument("--files", type=int, default=128, help="trajectory files, of 16 clips each; default: 128")
        p.add_argument(
            "--drafted",
            type=float,
            default=0.85,
            help="share of clips that are told a draft, of those that could; default: 0.85",
        )
        p.add_argument("--cache-gb", type=float, default=4.0, help="size at which the cache stops growing; default: 4")

    p = command(
        "trajectories", _trajectories, "solve the teacher's trajectories ahead of a student; several may run at once",
        teacher="runs/teacher", latents="runs/latents", cache="runs/trajectories",
    )  # fmt: skip
    solved(p)
    p.add_argument("--first", type=int, default=0, help="number of the first file")
    p = command(
        "student", _student, "distil a teacher (a run's folder or a .safetensors file) into a model of 1 to 32 steps",
        teacher="runs/teacher", latents="runs/latents", held_out="runs/latents-val", cache="runs/trajectories",
        out="runs/student",
    )  # fmt: skip
    solved(p)
    p.add_argument("--hours", type=float, default=1.0, help="time to train for, beside the trajectories' solving")
    p.add_argument(
        "--rank", type=int, help="change matrices in so many ranks only: the file is a tenth as large; default: any"
    )
    p.add_argument("--layers", type=int, help="layers of a smaller student; default: all of the teacher's")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--peak", type=float, default=3e-4, help="highest learning rate; default: 0.0003")
    p.add_argument("--muon", action="store_true", help="Muon instead of AdamW for the matrices of the blocks")
    p.add_argument(
        "--start-from",
        type=Path,
        help="a student's run, or its bundle, whose weights this one begins with, not the teacher's",
    )
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--processes", type=int, default=1, help="processes that share the cores and each batch; default: 1")
    p = command(
        "bundle", _bundle, "put codec, transformer (of a run, or a bundle), dynamics and words into one file",
        codec="runs/codec", clips="runs/clips", teacher="runs/teacher", out="weights/vdit-small.safetensors",
    )  # fmt: skip
    p.add_argument("--student", type=Path, help="a student's run or bundle, to lie beside its teacher's file")
    p.add_argument(
        "--dynamics", type=Path, default=Path("runs/dynamics"), help="a run, or a bundle; default: runs/dynamics"
    )
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one training command; returns the exit status."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except (FileNotFoundError, ValueError) as e:
        print(f"vdit train {args.what}: {e}")
        return 2
    except KeyboardInterrupt:
        print(f"vdit train {args.what}: stopped; the same command goes on from the last saved state")
        return 130
    return 0
