"""Clips of the simulated world as rows of a farm: a seed becomes a clip with depth, flow, masks, camera and labels."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from .jobs import Block, Json, Made, Row
from .shards import Column, ShardWriter

ROWS = 64  # clips of a shard: at 128x128 and 41 frames some 40 MB with all arrays


@dataclass(frozen=True)
class ClipsJob:
    """Clips as `vdit simulate` makes them: the row {"seed": s} becomes the clip of that seed."""

    family: str | None = None
    split: str = "test"
    width: int = 128
    height: int = 128
    frames: int = 41
    fps: int = 8
    arrays: tuple[str, ...] = ("depth", "instance", "flow", "visible")  # of world/families/labels.py:ARRAYS
    rows_per_block: int = ROWS
    name: str = "clips"
    version: int = 1  # of pixels and columns: another one is made anew

    def settings(self) -> dict[str, Json]:
        """All fields but how many rows share a file."""
        fields = dataclasses.asdict(self)
        return {key: value for key, value in fields.items() if key not in ("name", "rows_per_block")}

    def identity(self, row: Row) -> Json:
        """The whole row."""
        return row

    def opened(self) -> partial[Made]:
        """The function of a block."""
        import torch

        torch.set_num_threads(1)  # pictures of this size are drawn no faster by two, which wait for each other
        return partial(_make, self)


def columns_of(job: ClipsJob) -> dict[str, Column]:
    """The columns of the table beside those of every shard."""
    from ..world.families.labels import ARRAYS

    return {
        "seed": Column("whole", "of the clip"),
        "split": Column("text", "of seeds"),
        "family": Column("text", "kind of scene"),
        "caption": Column("text", "what happens, in words"),
        "c2w": Column(
            "numbers", "camera to world, T x 4 x 4 by rows: metres, OpenCV axes (x right, y down, z forward)"
        ),
        "fov_deg": Column("numbers", "vertical field of view, T"),
        "intrinsics": Column("numbers", "fx, fy, cx, cy in pixels, T x 4; pixel centres are at +0.5"),
        "labels": Column(
            "text", "JSON: balls, boxes, whose instance numbers are whose, gravity, restitution, camera move"
        ),
        **{name: Column("array", ARRAYS[name]) for name in job.arrays},
    }


def _make(job: ClipsJob, block: Block, folder: Path) -> Made:
    from ..world.families.clip import make_clip
    from ..world.families.labels import arrays_of, intrinsics_of, labels_of

    made, failed = dict[str, Json](), dict[str, str]()
    about: dict[str, Json] = {"job": job.name, **job.settings()}
    with ShardWriter(folder, f"clips-{block.name}", columns_of(job), Fraction(job.fps), about) as shard:
        for row, key in zip(block.rows, block.keys, strict=True):
            seed = row["seed"]
            assert isinstance(seed, int)
            try:
                clip = make_clip(
                    seed,
                    job.family,
                    split=job.split,
                    width=job.width,
                    height=job.height,
                    frames=job.frames,
                    fps=job.fps,
                )
                labels = labels_of(clip)
                camera = labels.pop("camera")  # its poses have columns of their own, with all their digits
                values = {
                    **{"seed": seed, "split": job.split, "family": clip.scene.family, "caption": clip.caption},
                    **{"c2w": clip.c2w.ravel(), "fov_deg": clip.fov_deg, "intrinsics": intrinsics_of(clip).ravel()},
                    "labels": json.dumps({**labels, "camera_move": camera["move"]}),
                    **arrays_of(clip, job.arrays),
                }
            except Exception as reason:  # one scene that cannot be made leaves the others as they are
                failed[key] = f"seed {seed}: {type(reason).__name__}: {reason}"
                continue
            shard.add(key, clip.render.rgb_uint8(), values)
            made[key] = seed
    return Made(made, failed)
