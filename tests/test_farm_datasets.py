"""Clips, episodes, training shards and renders by the farm: the same as one at a time, and readable by others."""

import csv
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import vdit
from vdit.farm.jobs import FarmError
from vdit.farm.ledger import marks
from vdit.farm.shards import array_from, cut, rows_of
from vdit.farm.store import LocalFolder
from vdit.host import cli, folders
from vdit.world.video import read_video

pq = pytest.importorskip("pyarrow.parquet")
ROOT = Path(vdit.__path__[0])
SMALL = "--width 32 --height 32 --frames 5".split()


def clips(out, count, *more):
    assert cli.main(["simulate", "--count", str(count), *SMALL, "--out", str(out), "--rows", "3", *more]) == 0
    return [row for table in sorted(out.glob("data/*.parquet")) for row in rows_of(table)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("clips")
    return out, clips(out, 5, "--workers", "1")


def test_a_clip_of_the_farm_is_the_clip_of_its_seed(shards):
    from vdit.world.families.clip import make_clip

    out, rows = shards
    assert sorted(row["seed"] for row in rows) == list(range(5)) and len({row["key"] for row in rows}) == 5
    row = next(row for row in rows if row["seed"] == 3)
    clip = make_clip(3, split="test", width=32, height=32, frames=5, fps=8)
    assert np.array_equal(array_from(row["depth"]), clip.depth.numpy().astype(np.float16))
    assert np.array_equal(array_from(row["flow"]), clip.flow.numpy().astype(np.float16))
    assert np.array_equal(array_from(row["instance"]), clip.render.instance.numpy())
    assert np.array_equal(np.reshape(row["c2w"], (5, 4, 4)), clip.c2w)
    assert row["caption"] == clip.caption and json.loads(row["labels"])["family"] == row["family"]
    video = read_video(out / row["video"])[row["first_frame"] : row["first_frame"] + 5]
    assert np.abs(video.astype(float) - clip.render.rgb_uint8()).mean() < 4


def test_a_clip_is_cut_out_of_its_shard_without_encoding_it_anew(shards, tmp_path):
    out, rows = shards
    for row in rows:
        cut(out / row["video"], row["first_frame"], row["frames"], tmp_path / "clip.mp4")
        whole = read_video(out / row["video"])
        assert np.array_equal(read_video(tmp_path / "clip.mp4"), whole[row["first_frame"] :][: row["frames"]])


def test_the_same_command_twice_makes_nothing_and_more_clips_only_those(shards, capsys):
    out, _ = shards
    rows = clips(out, 7, "--workers", "1")
    assert "7 rows: 2 made" in capsys.readouterr().out
    assert sorted(row["seed"] for row in rows) == list(range(7))
    clips(out, 7, "--workers", "1")
    assert "0 made" in capsys.readouterr().out


def test_other_sizes_in_the_same_folder_are_refused(shards, capsys):
    out, _ = shards
    assert cli.main(["simulate", "--count", "1", "--width", "64", "--out", str(out), "--workers", "1"]) == 1
    assert "width: 32, now 64" in capsys.readouterr().err


def test_webdataset_shards_hold_each_clip_with_its_labels(shards, tmp_path, capsys):
    out, _ = shards
    assert cli.main(["export", str(out), "--as", "webdataset", "--out", str(tmp_path)]) == 0
    seen = {}
    for path in sorted(tmp_path.glob("shard-*.tar")):
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                key, _, suffix = name.partition(".")
                seen.setdefault(key, {})[suffix] = tar.extractfile(name).read()
    rows = {row["key"]: row for table in out.glob("data/*.parquet") for row in rows_of(table)}
    assert seen.keys() == rows.keys()
    for key, files in seen.items():
        assert set(files) == {"mp4", "json", "depth.npy", "instance.npy", "flow.npy", "visible.npy"}
        assert files["depth.npy"] == rows[key]["depth"]
        labels = json.loads(files["json"])
        assert labels["seed"] == rows[key]["seed"] and labels["labels"]["balls"] is not None


POLICY = {"vdit_policy": 1, "kind": "random", "hold_s": 0.2, "noise": 0.1, "task": "move the arm"}
ARM = ROOT / "workflows" / "inputs" / "vdit-robot-arm.xml"


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    pytest.importorskip("gymnasium")
    out = tmp_path_factory.mktemp("episodes")
    (out / "policy.json").write_text(json.dumps(POLICY))
    size = "--width 32 --height 32 --seconds 0.5 --fps 10 --count 5 --rows 2".split()
    given = ["--scene", str(ARM), "--policy", str(out / "policy.json"), "--out", str(out / "shards")]
    assert cli.main(["simulate", *size, *given]) == 0
    return out / "shards"


def test_an_episode_is_what_the_environment_gives(episodes):
    from vdit.gym.scene_env import SceneEnv

    rows = [row for table in episodes.glob("data/*.parquet") for row in rows_of(table)]
    assert sorted(row["seed"] for row in rows) == list(range(5)) and {row["task"] for row in rows} == {"move the arm"}
    row = next(row for row in rows if row["seed"] == 2)
    env = SceneEnv(ARM, max_seconds=0.5, fps=10, width=32, height=32)
    state, _ = env.reset(seed=2)
    action = np.reshape(np.array(row["action"], np.float32), (row["frames"], -1))
    for kept, done in zip(np.reshape(row["state"], (row["frames"], -1)), action, strict=True):
        assert np.array_equal(kept, state)
        state = env.step(done)[0]
    assert array_from(row["depth"]).shape == (row["frames"], 32, 32)


def test_a_lerobot_dataset_has_the_documented_layout_and_counts(episodes, tmp_path):
    out = tmp_path / "lerobot"
    assert cli.main(["export", str(episodes), "--as", "lerobot", "--out", str(out)]) == 0
    info = json.loads((out / "meta" / "info.json").read_text())
    frames = info["total_frames"] // 5
    assert (info["codebase_version"], info["total_episodes"], info["total_tasks"]) == ("v3.0", 5, 1)
    data = pq.read_table(sorted(out.glob("data/*/*.parquet"))).to_pydict()
    assert data["index"] == list(range(5 * frames)) and data["episode_index"] == sorted(data["episode_index"])
    assert data["next.done"] == ([False] * (frames - 1) + [True]) * 5
    listed = {name for name, kind in info["features"].items() if kind["dtype"] != "video"}
    assert listed == set(data)
    rows = {row["seed"]: row for table in episodes.glob("data/*.parquet") for row in rows_of(table)}
    told = pq.read_table(sorted(out.glob("meta/episodes/*/*.parquet"))).to_pylist()
    assert [e["episode_index"] for e in told] == list(range(5)) and sorted(e["vdit/seed"] for e in told) == [*range(5)]
    for e in told:
        at = slice(e["dataset_from_index"], e["dataset_to_index"])
        state = np.ravel(data["observation.state"][at])
        assert np.array_equal(state, np.array(rows[e["vdit/seed"]]["state"], np.float32))
        video = "videos/observation.images.camera"
        path = out / video / f"chunk-{e[f'{video}/chunk_index']:03d}" / f"file-{e[f'{video}/file_index']:03d}.mp4"
        begin = round(e[f"{video}/from_timestamp"] * info["fps"])
        assert len(read_video(path)[begin : begin + frames]) == frames == e["length"]
    stats = json.loads((out / "meta" / "stats.json").read_text())
    assert np.shape(stats["observation.images.camera"]["mean"]) == (3, 1, 1)
    assert np.allclose(stats["action"]["mean"], np.mean(data["action"], 0), atol=1e-5)
    assert np.allclose(stats["action"]["std"], np.std(np.array(data["action"], float), 0), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vdit_policy": 2}, "field 'vdit_policy': found 2; this VDiT reads 1"),
        ({"kind": "randm"}, "field 'kind': found .randm.; did you mean 'random'"),
        ({"noise": 2}, "field 'noise': found 2; expected a number from 0 to 1"),
        ({"hold_s": 0}, "hold_s is 0"),
        ({"hold": 1}, "no field is named 'hold'"),
        ({"kind": "sequence", "hold_s": None, "targets": {"trn": [[0, 1]]}}, "no command is named 'trn'"),
        ({"kind": "sequence", "hold_s": None, "targets": {"turn": [[1, 1], [0, 1]]}}, "expected one or more that grow"),
        ({"kind": "network", "hold_s": None, "layers": [{"weight": [[1.0]], "bias": [0.0]}]}, r"layers\[0\]: weight"),
        ({"actuators": ["trn"]}, "no actuator is named 'trn'"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_by_its_place(tmp_path, capsys, change, words):
    pytest.importorskip("gymnasium")
    import re

    policy = {key: value for key, value in {**POLICY, **change}.items() if value is not None}
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    given = ["--scene", str(ARM), "--policy", str(tmp_path / "policy.json"), "--out", str(tmp_path / "out")]
    assert cli.main(["simulate", *given]) == 1
    assert re.search(words, capsys.readouterr().err) and not (tmp_path / "out").exists()


def test_policies_give_what_they_say():
    pytest.importorskip("gymnasium")
    from vdit.gym.policies import read_policy
    from vdit.gym.scene_env import SceneEnv

    env = SceneEnv(ARM)
    state, _ = env.reset(seed=0)
    names, size = env.commands.names, len(env.commands.low)
    moves, _ = read_policy({"vdit_policy": 1, "kind": "sequence", "targets": {names[0]: [[0, 1.0], [2, 3.0]]}})
    assert moves.act(env.commands, state, 0.5, 7).tolist() == [1.5, *[0.0] * (size - 1)]
    layer = {"weight": np.zeros((size, len(state))).tolist(), "bias": [0.5] * size, "activation": "tanh"}
    network, _ = read_policy({"vdit_policy": 1, "kind": "network", "layers": [layer], "normalised": True})
    middle, half = (env.commands.low + env.commands.high) / 2, (env.commands.high - env.commands.low) / 2
    assert np.allclose(network.act(env.commands, state, 0.0, 0), middle + half * np.tanh(0.5))
    drawn, _ = read_policy({"vdit_policy": 1, "kind": "random", "hold_s": 0.5})
    first, same, later, other = (drawn.act(env.commands, state, t, s) for t, s in ((0, 1), (0.4, 1), (0.5, 1), (0, 2)))
    assert np.array_equal(first, same) and not np.array_equal(first, later) and not np.array_equal(first, other)


@pytest.mark.slow
def test_training_shards_are_those_of_the_plain_command(tmp_path, capsys):
    plain = ["train", "clips", "--size", "16", "--shards", "1", "--first", "1", "--out", str(tmp_path / "plain")]
    assert cli.main(plain) == 0
    farmed = ["train", "clips", "--size", "16", "--shards", "2", "--out", str(tmp_path / "farm"), "--workers", "2"]
    assert cli.main(farmed) == 0
    for name in ("clips-00001.npy", "clips-00001.json"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "farm" / name).read_bytes()
    capsys.readouterr()
    assert cli.main(farmed) == 0 and "2 rows: 0 made" in capsys.readouterr().out
    assert cli.main([*plain, "--workers", "1"]) == 0
    assert "1 shards are there" in capsys.readouterr().err


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    return tmp_path


GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Picture"}},
    "2": {
        "class_type": "ImageScale",
        "inputs": {"image": ["1", 0], "upscale_method": "area", "width": 16, "height": 16, "crop": "disabled"},
        "_meta": {"title": "Scale"},
    },
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
}


@pytest.fixture
def shots(base):
    from PIL import Image

    (base / "input").mkdir()
    (base / "pictures").mkdir()
    Image.new("RGB", (20, 20), "red").save(base / "input" / "a.png")
    Image.new("RGB", (20, 20), "blue").save(base / "pictures" / "b.png")
    (base / "graph.json").write_text(json.dumps(GRAPH))

    def run(rows, *more, columns=("name", "Picture.image", "Scale.width")):
        with open(base / "shots.csv", "w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        table = ["--table", str(base / "shots.csv"), "--base", str(base), "--out", str(base / "out"), *more]
        return cli.main(["run", str(base / "graph.json"), *table])

    return run


@pytest.mark.slow
def test_a_table_is_rendered_row_by_row_and_a_changed_row_again(base, shots, capsys):
    from PIL import Image

    rows = [["first", "", "16"], ["second", "pictures/b.png", "24"], ["third", "pictures/b.png", ""]]
    assert shots(rows) == 0 and "3 made" in capsys.readouterr().out
    listed = pq.read_table(base / "out" / "renders.parquet").to_pylist()
    assert [row["name"] for row in listed] == ["first", "second", "third"] and all(row["made"] for row in listed)
    assert [row["Scale.width"] for row in listed] == ["16", "24", None]
    files = [json.loads(row["files"])[0]["file"] for row in listed]
    pictures = [Image.open(base / "out" / file) for file in files]
    assert [(p.size, p.convert("RGB").getpixel((8, 8))) for p in pictures] == [
        ((16, 16), (255, 0, 0)), ((24, 16), (0, 0, 255)), ((16, 16), (0, 0, 255)),
    ]  # fmt: skip
    assert shots(rows) == 0 and "0 made" in capsys.readouterr().out
    Image.new("RGB", (20, 20), "green").save(base / "pictures" / "b.png")
    rows[0][2] = "18"
    assert shots(rows, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["made"], told["kept"]) == (3, 0)  # the width of one row, the picture of two
    assert len(marks(LocalFolder(base / "out"))) == 6


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        ([["a", "", "16"], ["b", "", "wide"]], ("name", "Picture.image", "Scale.width"), "row 2: .*no whole number"),
        ([["a", "nowhere.png", ""]], ("name", "Picture.image", "Scale.width"), "row 1: .*no file"),
        ([["a", "16"]], ("name", "Scale.wdth"), "row 1: .*no value 'wdth'"),
        ([["a", "16"], ["a", "18"]], ("name", "Scale.width"), "2 rows are named 'a'"),
        ([["a", "-1"]], ("name", "Scale.width"), "row 1: .*smaller than min"),
        ([], ("name", "Scale.width"), "holds no rows"),
        ([["a", "16", "more"]], ("name", "Scale.width"), "more cells than columns"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_before_anything_runs(base, shots, capsys, rows, columns, words):
    import re

    assert shots(rows, columns=columns) == 1 and re.search(words, capsys.readouterr().err, re.DOTALL)
    assert not list(base.glob("out/**/*.png"))


def test_tables_of_json_lines_and_parquet_hold_the_same(tmp_path):
    import pyarrow as pa
    from vdit.farm.tables import read_table

    rows = [{"name": "a", "Sample.seed": 7, "Sample.guidance": 1.5}, {"name": "b", "Sample.seed": 8, "Words.on": True}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(
        pa.Table.from_pylist([{"Words.on": None, "Sample.guidance": None, **row} for row in rows]),
        tmp_path / "t.parquet",
    )
    lines, table = read_table(tmp_path / "t.jsonl"), read_table(tmp_path / "t.parquet")
    assert [(s.name, dict(s.cells)) for s in lines] == [(s.name, dict(s.cells)) for s in table]
    assert dict(lines[1].cells) == {"Sample.seed": "8", "Words.on": "true"}
    with pytest.raises(FarmError, match="one of .csv"):
        read_table(tmp_path / "t.txt")


def test_a_training_set_without_its_codec_is_refused_at_once(tmp_path, capsys):
    words = ["train", "latents", "--codec", str(tmp_path / "codec"), "--out", str(tmp_path / "out"), "--workers", "2"]
    assert cli.main(words) == 1 and "--codec" in capsys.readouterr().err and not (tmp_path / "out").exists()
