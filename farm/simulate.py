"""`vdit simulate --workers N`, `--ray`, `--policy FILE`: any number of clips or episodes, as Parquet and mp4."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..host.command import Refused
from ..world.families import cli
from .clips import ROWS as CLIPS
from .clips import ClipsJob
from .driver import Workers, add_workers, carry_out, finished, rows_per_block, workers_of
from .episodes import ROWS as EPISODES
from .episodes import EpisodesJob, stage
from .jobs import FarmError, Job
from .store import store_of

ABOUT = (
    "Makes clips of the simulated world, or with --scene and --policy episodes of a scene, in any number of processes "
    "or on Ray. Each shard is one Parquet file and one mp4; what is there already is kept, so the same command goes on "
    "where it was stopped. Columns: docs/datasets.md. vdit export makes a LeRobot dataset or WebDataset of it."
)


def parser() -> argparse.ArgumentParser:
    """The options of `vdit simulate`, and those that say who makes the rows."""
    base = cli.parser()
    options = argparse.ArgumentParser(
        prog="vdit simulate", description=ABOUT, parents=[base], add_help=False, conflict_handler="resolve"
    )
    options.add_argument(
        "--out", default="output/clips", help="a folder, or a URL that fsspec knows: s3://bucket/clips"
    )
    options.add_argument(
        "--rows", type=int, metavar="N", help=f"of a shard; default: {CLIPS} clips, {EPISODES} episodes"
    )
    options.add_argument(
        "--arrays", help="depth,instance,flow,visible: columns beside the video; default: all; none: ''", default=None
    )
    options.add_argument("--scene", type=Path, metavar="FILE", help="a scene (.json) or a robot (.xml) to play")
    options.add_argument("--policy", type=Path, metavar="FILE", help="a JSON policy that acts on the scene")
    options.add_argument("--seconds", type=float, default=5.0, help="of an episode; default: 5")
    add_workers(options)
    return options


def main(argv: list[str]) -> int:
    """Make the clips or the episodes; returns the exit status. Raises Refused with what was found and what to do."""
    p = parser()
    options = p.parse_args(argv)
    cli.check(p, options)
    if options.rows is not None and options.rows < 1:
        p.error(f"--rows is {options.rows}; expected at least 1")
    try:
        workers = workers_of(options)
        job, store = _job(options, workers), store_of(options.out)
        rows = [{"seed": seed} for seed in range(options.seed, options.seed + options.count)]
        outcome, _ = carry_out(job, rows, store, workers)
    except (FarmError, OSError) as reason:
        raise Refused(str(reason)) from None
    return finished(outcome, store)


def _job(options: argparse.Namespace, workers: Workers) -> Job:
    from ..world.families.labels import ARRAYS

    if (options.scene is None) != (options.policy is None):
        raise FarmError("--scene and --policy go together: a scene, and what acts on it")
    known = tuple(ARRAYS) if options.policy is None else ("depth", "instance")
    arrays = known if options.arrays is None else tuple(filter(None, options.arrays.split(",")))
    if unknown := [name for name in arrays if name not in known]:
        raise FarmError(f"--arrays names {', '.join(unknown)}; there are {', '.join(known)}")
    if options.policy is None:
        return ClipsJob(
            family=options.family,
            split=options.split,
            width=options.width,
            height=options.height,
            frames=options.frames,
            fps=options.fps,
            arrays=arrays,
            rows_per_block=options.rows or rows_per_block(CLIPS, options.count, workers),
        )
    return _episodes(options, arrays, workers)


def _episodes(options: argparse.Namespace, arrays: tuple[str, ...], workers: Workers) -> EpisodesJob:
    """The job of --scene and --policy, tried once before any worker begins. Raises FarmError."""
    from ..machine.parse import WIDGET, Unreadable, json_value
    from ..world.opening import read_scene, read_text
    from ..world.scene import SceneError
    from ..world.scene_file import dumps

    try:
        scene = dumps(read_scene(options.scene))
        policy = read_text(options.policy)
        json_value(policy, WIDGET)
        job = EpisodesJob(
            scene=scene,
            policy=policy,
            seconds=options.seconds,
            fps=options.fps,
            width=options.width,
            height=options.height,
            arrays=arrays,
            rows_per_block=options.rows or rows_per_block(EPISODES, options.count, workers),
        )
        stage(job)
    except (SceneError, OSError) as reason:
        raise FarmError(str(reason)) from None
    except Unreadable as reason:
        raise FarmError(f"{options.policy}: the text {reason}") from None
    return job
