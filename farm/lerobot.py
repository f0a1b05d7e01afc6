"""Shards as a LeRobot dataset, codebase v3.0: frames in Parquet, episodes one after another in mp4, meta/ beside them.

The layout is that of https://github.com/huggingface/lerobot (src/lerobot/datasets): a clip or an episode is an episode.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .driver import Outcome, Workers, carry_out
from .jobs import Block, Json, Made, Row
from .ledger import marks, put_json
from .lerobot_stats import Stats, aggregated, as_json, stats_of
from .shards import array_from
from .sources import Source, blocks_of, metadata_of, rows_of_source, sources
from .store import LocalFolder, Store

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "v3.0"
CAMERA = "observation.images.camera"
CHUNK = 1000  # files of a folder
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA, VIDEO, EPISODES = f"data/{PLACE}.parquet", f"videos/{{video_key}}/{PLACE}.mp4", f"meta/episodes/{PLACE}.parquet"


@dataclass(frozen=True)
class LeRobotJob:
    """Files of shards: the row is a shard, with the numbers of its first episode and of its tasks."""

    folder: str
    rows_per_block: int = 1
    name: str = "lerobot"

    def settings(self) -> dict[str, Json]:
        """The version of the layout."""
        return {"codebase_version": VERSION}

    def identity(self, row: Row) -> Json:
        """The shard, which is named by its content, and all its numbers."""
        return {name: row[name] for name in ("block", "file", "first", "tasks")}

    def opened(self) -> Callable[[Block, Path], Made]:
        """The function of a block."""
        return partial(_make, Path(self.folder))


def export(source: LocalFolder, target: Store, workers: Workers) -> Outcome:
    """Write the dataset; meta/info.json comes last, when all shards are there. Raises FarmError."""
    _, shards = sources(source)
    tasks: dict[str, int] = {}
    rows = [
        {**row, "tasks": [[task, tasks.setdefault(task, len(tasks))] for task in _tasks(source.folder, shard)]}
        for row, shard in zip(blocks_of(shards), shards, strict=True)
    ]
    outcome, plan = carry_out(LeRobotJob(str(source.folder)), rows, target, workers)
    if not outcome.failed:
        notes = {key: note for mark in marks(target) for key, note in mark.rows.items()}
        _write_meta(source.folder, shards, tasks, [cast("dict[str, Any]", notes[key]) for key in plan.keys], target)
    return outcome


def _tasks(folder: Path, shard: Source) -> list[str]:
    """What is done in a shard's episodes, each once: captions, or the policy's task."""
    import pyarrow.parquet as pq

    column = task_column(pq.read_schema(folder / shard.table).names)
    return list(dict.fromkeys(pq.read_table(folder / shard.table, columns=[column])[column].to_pylist()))


def task_column(names: Iterable[str]) -> str:
    """The column that says what happens."""
    return "task" if "task" in set(names) else "caption"


def _make(source: Path, block: Block, folder: Path) -> Made:
    (row,), (key,) = block.rows, block.keys
    try:
        return Made({key: _shard(source, row, folder)}, {})
    except Exception as reason:
        return Made({}, {key: f"{row['table']}: {type(reason).__name__}: {reason}"})


def _shard(source: Path, row: Row, folder: Path) -> Json:
    """Write one shard's files; the notes that meta/ is made of."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ..world.video import read_video

    number, first = cast(int, row["file"]), cast(int, row["first"])
    tasks = {str(task): index for task, index in cast("list[list[Any]]", row["tasks"])}
    chunk, file = divmod(number, CHUNK)
    at = {"chunk_index": chunk, "file_index": file}
    paths = {name: folder / pattern.format(**at, video_key=CAMERA)
             for name, pattern in (("data", DATA), ("video", VIDEO), ("episodes", EPISODES))}  # fmt: skip
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / str(row["video"]), paths["video"])
    clips = rows_of_source(source, str(row["table"]))
    pictures = read_video(paths["video"])
    tables, episodes, stats = [], [], []
    for i, clip in enumerate(clips):
        task = clip[task_column(clip)]
        frames = _frames(clip, first + i, tasks[task])
        shown = pictures[clip["first_frame"] : clip["first_frame"] + clip["frames"]]
        found = {**{name: stats_of(array) for name, array in frames.items() if array.ndim < 3},
                 CAMERA: stats_of(shown, pictures=True)}  # fmt: skip
        tables.append(_table(frames))
        stats.append(found)
        episodes.append(_episode(clip, first + i, task, at, found))
    pq.write_table(pa.concat_tables(tables), paths["data"], compression="zstd", row_group_size=clips[0]["frames"])
    pq.write_table(pa.Table.from_pylist(episodes), paths["episodes"], compression="zstd")
    return {
        "episodes": len(clips),
        "frames": sum(clip["frames"] for clip in clips),
        "stats": as_json(aggregated(stats)),
    }


def _frames(clip: Mapping[str, Any], episode: int, task: int) -> dict[str, np.ndarray]:
    """The columns of an episode's frames, by feature."""
    count = clip["frames"]
    step = np.arange(count)
    found: dict[str, np.ndarray] = {}
    if "state" in clip:
        found["observation.state"] = np.array(clip["state"], np.float32).reshape(count, -1)
        found["action"] = np.array(clip["action"], np.float32).reshape(count, -1)
        found["next.done"] = step == count - 1
    pose, focal = np.array(clip["c2w"], np.float32), np.array(clip["intrinsics"], np.float32)
    found["observation.camera_pose"] = np.broadcast_to(pose.reshape(-1, 16), (count, 16))
    found["observation.camera_intrinsics"] = np.broadcast_to(focal.reshape(-1, 4), (count, 4))
    if clip.get("depth") is not None:
        found["observation.depth"] = array_from(clip["depth"]).astype(np.float32)
    if clip.get("instance") is not None:
        found["observation.instance"] = array_from(clip["instance"])
    found["timestamp"] = (step / clip["fps"]).astype(np.float32)
    found["frame_index"] = step
    found["episode_index"] = np.full(count, episode)
    found["index"] = episode * count + step  # all episodes of a folder are of one length
    found["task_index"] = np.full(count, task)
    return found


def _table(frames: Mapping[str, np.ndarray]) -> pa.Table:
    """Scalars as they are, vectors as lists of one length, pictures as lists of rows: as `datasets` stores them."""
    import pyarrow as pa

    def column(array: np.ndarray) -> pa.Array:
        made = pa.array(np.ascontiguousarray(array).reshape(-1))
        if array.ndim == 2:
            return pa.FixedSizeListArray.from_arrays(made, array.shape[1])
        for i in reversed(range(1, array.ndim)):
            offsets = np.arange(0, np.prod(array.shape[: i + 1], dtype=np.int64) + 1, array.shape[i], dtype=np.int32)
            made = pa.ListArray.from_arrays(pa.array(offsets), made)
        return made

    return pa.table({name: column(array) for name, array in frames.items()})


def _episode(clip: Mapping[str, Any], episode: int, task: str, at: Mapping[str, int], stats: Stats) -> dict[str, Any]:
    count, fps = clip["frames"], clip["fps"]
    places = {
        f"{kind}/{name}": number
        for kind in ("data", f"videos/{CAMERA}", "meta/episodes")
        for name, number in at.items()
    }
    return {
        **{"episode_index": episode, "tasks": [task], "length": count},
        **{"dataset_from_index": episode * count, "dataset_to_index": (episode + 1) * count},
        **places,
        f"videos/{CAMERA}/from_timestamp": clip["first_frame"] / fps,
        f"videos/{CAMERA}/to_timestamp": (clip["first_frame"] + count) / fps,
        **{"vdit/key": clip["key"], "vdit/seed": clip["seed"], "vdit/labels": clip["labels"]},
        **{f"stats/{name}/{of}": v for name, values in as_json(stats).items() for of, v in values.items()},
    }


def features_of(frames: Mapping[str, np.ndarray], clip: Mapping[str, Any], about: Mapping[str, Json]) -> dict[str, Any]:
    """meta/info.json's features: type, shape and names of each."""
    names: dict[str, Any] = {
        "observation.state": about.get("state_names"),
        "action": about.get("action_names"),
        "observation.camera_pose": [f"c2w {i} {j}" for i in range(4) for j in range(4)],
        "observation.camera_intrinsics": ["fx", "fy", "cx", "cy"],
        "observation.depth": ["height", "width"],
        "observation.instance": ["height", "width"],
    }
    found: dict[str, Any] = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape[1:]) or [1], "names": names.get(name)}
        for name, array in frames.items()
    }
    width, height, fps = clip["width"], clip["height"], int(clip["fps"])
    info = {"video.height": height, "video.width": width, "video.codec": "h264", "video.pix_fmt": "yuv420p"}
    info |= {"video.is_depth_map": False, "video.fps": fps, "video.channels": 3, "has_audio": False}
    shape = {"shape": [height, width, 3], "names": ["height", "width", "channels"]}
    return {CAMERA: {"dtype": "video", **shape, "info": info}, **found}


def _write_meta(
    folder: Path, shards: list[Source], tasks: dict[str, int], notes: list[dict[str, Any]], target: Store
) -> None:
    clip = rows_of_source(folder, shards[0].table)[0]
    about = metadata_of(folder, shards[0].table)
    episodes = sum(note["episodes"] for note in notes)
    put_json(target, "meta/stats.json", as_json(aggregated([note["stats"] for note in notes])))
    _write_tasks(tasks, target)
    info = {
        **{"codebase_version": VERSION, "robot_type": "vdit", "fps": int(clip["fps"]), "chunks_size": CHUNK},
        **{
            "total_episodes": episodes,
            "total_frames": sum(note["frames"] for note in notes),
            "total_tasks": len(tasks),
        },
        **{"data_files_size_in_mb": 100, "video_files_size_in_mb": 500, "splits": {"train": f"0:{episodes}"}},
        **{"data_path": DATA, "video_path": VIDEO, "features": features_of(_frames(clip, 0, 0), clip, about)},
    }
    put_json(target, "meta/info.json", info)


def _write_tasks(tasks: Mapping[str, int], target: Store) -> None:
    """meta/tasks.parquet: task_index by task, which pandas reads as the index of the table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_type, "metadata": None}
        for name, kind, numpy_type in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    table = pa.table({"task_index": pa.array(tasks.values(), pa.int64()), "task": pa.array(tasks, pa.string())})
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "tasks.parquet"
        pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), file)
        target.put("meta/tasks.parquet", file)
