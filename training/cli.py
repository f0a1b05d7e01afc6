"""`vdit train ...`: the commands that make the bundled weights, in the order they are run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def _clips(a: argparse.Namespace) -> None:
    from .clips import write_shards

    write_shards(a.out, a.first, a.shards, split=a.split, size=a.size)


def _codec(a: argparse.Namespace) -> None:
    from .codec import train

    train(a.clips, a.held_out, a.out, steps=a.steps, batch=a.batch, peak=a.peak, seed=a.seed, start_from=a.start_from)


def _latents(a: argparse.Namespace) -> None:
    from .latents import load_codec, write_shards

    write_shards(load_codec(a.codec, a.clips), a.out, a.first, a.shards, split=a.split)


def _teacher(a: argparse.Namespace) -> None:
    from .teacher import train

    train(
        a.latents, a.held_out, a.out, hours=a.hours, batch=a.batch, peak=a.peak, seed=a.seed, muon=a.muon,
        cooldown_hours=a.cooldown, start_from=a.start_from,
    )  # fmt: skip


def _bundle(a: argparse.Namespace) -> None:
    from .bundle import bundle

    print(json.dumps(bundle(a.codec, a.teacher, a.out), indent=2))


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="vdit train", description=__doc__)
    steps = top.add_subparsers(dest="what", required=True, metavar="clips|codec|latents|teacher|bundle")

    def command(name: str, run, help: str, **paths: str) -> argparse.ArgumentParser:
        p = steps.add_parser(name, help=help, description=help)
        p.set_defaults(run=run)
        for option, default in paths.items():
            p.add_argument("--" + option.replace("_", "-"), type=Path, default=Path(default), help=f"default: {default}")
        return p

    def shards(p: argparse.ArgumentParser) -> None:
        p.add_argument("--first", type=int, default=0, help="number of the first shard: its seeds start at 32 times it")
        p.add_argument("--shards", type=int, default=100)
        p.add_argument("--split", default="train", choices=("train", "validation", "test"))

    p = command("clips", _clips, "simulate and render clips into shards of 32", out="runs/clips")
    shards(p)
    p.add_argument("--size", type=int, default=128, help="pixels a side")
    p = command("codec", _codec, "train the video codec", clips="runs/clips", held_out="runs/clips-val", out="runs/codec")
    p.add_argument("--steps", type=int, default=1200)
    p.add_argument("--batch", type=int, default=16, help="clips of 9 frames at 64x64 a step")
    p.add_argument("--start-from", type=Path, help="a finished run whose weights this one begins with")
    p.add_argument("--peak", type=float, default=1.5e-3, help="highest learning rate")
    p.add_argument("--seed", type=int, default=0)
    p = command(
        "latents", _latents, "simulate, render and encode clips with their controls, ahead of the teacher",
        codec="runs/codec", clips="runs/clips", out="runs/latents",
    )  # fmt: skip
    shards(p)
    p = command(
        "teacher", _teacher, "train the transformer", latents="runs/latents", held_out="runs/latents-val", out="runs/teacher"
    )
    p.add_argument("--hours", type=float, default=2.0, help="time to train for; a resumed run goes on to the same total")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--peak", type=float, default=1e-3, help="highest learning rate")
    p.add_argument("--muon", action="store_true", help="Muon instead of AdamW for the matrices of the blocks")
    p.add_argument("--cooldown", type=float, default=0.0, help="hours at the end over which the rate falls to zero")
    p.add_argument("--start-from", type=Path, help="a run whose weights and optimizer this one begins with")
    p.add_argument("--seed", type=int, default=0)
    command(
        "bundle", _bundle, "put codec, transformer and words into one file",
        codec="runs/codec", teacher="runs/teacher", out="weights/vdit-small.safetensors",
    )  # fmt: skip
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one training command; returns the exit status."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except FileNotFoundError as e:
        print(f"vdit train {args.what}: {e}")
        return 2
    except KeyboardInterrupt:
        print(f"vdit train {args.what}: stopped; the same command goes on from the last saved state")
        return 130
    return 0
