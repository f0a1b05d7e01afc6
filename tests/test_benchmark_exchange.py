"""Clips exported for other programs, and scores of the videos that come back."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from vdit.benchmark import cli, made, measure, runner
from vdit.benchmark.exchange import MANIFEST, ManifestError, export, read_manifest
from vdit.benchmark.files import OtherRunError
from vdit.benchmark.selection import Format, take
from vdit.benchmark.tracking import FramesError
from vdit.world.video import write_h264

FORM = Format(64, 64, known=1)
PLAN = runner.Plan(seed=5, count=2, suites=("physics",), form=FORM)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export(PLAN, tmp_path_factory.mktemp("export"))


def truth(clip):
    taken = take(clip.suite, clip.family, clip.split, clip.seed, FORM)
    return np.round(taken[1].truth * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def videos(exported):
    return {clip.name: truth(clip) for clip in exported.clips}


@pytest.fixture
def folder(exported, videos, tmp_path):
    """The simulator's own clips, as a program that works faultlessly would save them."""
    for name, frames in videos.items():
        write_h264(tmp_path / f"{name}.mp4", frames, 8, 18)
    return tmp_path


def test_an_export_holds_pictures_words_and_what_to_make(exported):
    first = exported.clips[0]
    assert (first.width, first.height, first.frames, first.fps) == (64, 64, 41, 8.0) and "ball" in first.words
    assert exported.pictures_of(first).shape == (1, 64, 64, 3)
    table = (exported.folder / "clips.csv").read_text().splitlines()
    assert len(table) == 1 + len(exported.clips) and table[1].startswith(first.name)
    assert read_manifest(exported.folder) == exported


def test_a_stopped_export_goes_on_and_ends_alike(exported, tmp_path):
    def stop(done, total, doing):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(PLAN, tmp_path, stop)
    assert not (tmp_path / MANIFEST).exists()
    assert export(PLAN, tmp_path).clips == exported.clips
    with pytest.raises(OtherRunError, match=r"plan\.seed"):
        export(runner.Plan(seed=6, count=2, suites=("physics",), form=FORM), tmp_path)


@pytest.mark.slow
def test_the_simulators_own_clips_come_back_through_h264_and_new_names_with_full_scores(tmp_path, capsys):
    out = tmp_path / "export"
    size = ["--width", "64", "--height", "64"]
    assert cli.main(["--export", str(out), "--seed", "5", "--count", "1", *size]) == 0
    (tmp_path / "videos").mkdir()
    for i, clip in enumerate(reversed(read_manifest(out).clips)):
        write_h264(tmp_path / "videos" / f"output_{i:05d}.mp4", truth(clip), 8, 18)
    call = ["--frames", str(tmp_path / "videos"), "--manifest", str(out), "--name", "perfect", "--out"]
    assert cli.main([*call, str(tmp_path / "scores")]) == 0
    report = json.loads((tmp_path / "scores" / "report.json").read_text())
    found = {suite: splits["test"]["all"]["percent"] for suite, splits in report["scores"]["model"].items()}
    assert found["permanence"] == 100 and found["physics"] == 100 and found["coherence"] >= 99
    assert report["settings"]["model"] == "perfect" and report["settings"]["matched_by"] == {"first frame": 3}
    assert "physics accuracy" in capsys.readouterr().out


def test_scores_of_videos_are_kept_and_of_other_videos_refused(exported, folder, videos, tmp_path, monkeypatch):
    out, read = tmp_path / "out", []
    monkeypatch.setattr(measure, "frames", lambda one: read.append(one) or made.frames(one))
    first = measure.score_made(exported, made.find(exported, folder), "x", out)
    again = measure.score_made(exported, made.find(exported, folder), "x", out)
    assert first == again and len(read) == len(exported.clips), "the second time nothing is read again"
    assert first[0]["scores"]["model"]["physics"]["test"]["all"]["percent"] == 100
    still = exported.clips[0].name
    write_h264(folder / f"{still}.mp4", videos[still][:1].repeat(41, 0), 8, 18)
    with pytest.raises(OtherRunError, match=r"settings\.videos"):
        measure.score_made(exported, made.find(exported, folder), "x", out)


def test_a_video_of_twice_the_rate_is_judged_every_second_frame(exported, folder, videos):
    name = exported.clips[0].name
    double = videos[name].repeat(2, 0)[:81]
    double[1::2] = 0  # what lies between the clip's moments is not judged
    write_h264(folder / f"{name}.mp4", double, 16, 10)
    found = made.find(exported, folder)[name]
    assert found.step == 2
    assert np.abs(made.frames(found) - videos[name] / 255).mean() < 0.05


def test_folders_of_frames_are_read_in_the_order_of_their_numbers(exported, folder, videos):
    name = exported.clips[0].name
    (folder / f"{name}.mp4").unlink()
    (folder / name).mkdir()
    for i, frame in enumerate(videos[name]):
        Image.fromarray(frame).save(folder / name / f"frame_{i}.png")  # 10 sorts before 2 as text
    found = made.find(exported, folder)[name]
    assert np.array_equal(made.frames(found), videos[name].astype(np.float32) / 255)


def test_a_table_of_names_wins_over_what_files_are_called(exported, folder):
    one, other = (clip.name for clip in exported.clips)
    (folder / "names.json").write_text(json.dumps({f"{one}.mp4": other, f"{other}.mp4": one}))
    found = made.find(exported, folder)
    assert found[one].path.stem == other and found[one].by == made.TABLE


def _short(path, frames):
    write_h264(path, frames[:25], 8, 18)


def _fast(path, frames):
    write_h264(path, frames, 25, 18)


def _header(path, frames):
    write_h264(path, frames, 24, 18)


def _wide(path, frames):
    write_h264(path, frames[:, :32], 8, 18)


def _none(path, frames):
    path.unlink()


def _damaged(path, frames):
    path.write_bytes(b"no video")


def _twice(path, frames):
    shutil.copy(path, path.with_name(f"{path.stem}_00002.mp4"))


def _stranger(path, frames):
    write_h264(path.with_name("a.mp4"), 255 - frames, 8, 18)
    path.unlink()


def _too_many(path, frames):
    shutil.copy(path, path.with_name("b.mp4"))


def _unknown(path, frames):
    path.with_name("names.json").write_text(json.dumps({path.name: "physics-test-fall-1"}))


def _list(path, frames):
    path.with_name("names.json").write_text("[1]")


@pytest.mark.parametrize(
    "spoil, says",
    [
        (_short, r"25 frames at 8 a second, .* 41 frames at 8, 5.12 s: make 41 frames, or .*--frames 25"),
        (_fast, r"25 frames a second, .*make it at 8 or a whole multiple .*--rate 8"),
        (_header, r"41 frames at 24 a second, .*make 121 frames.*If its header is wrong, say --rate 8"),
        (_wide, r"64x32 pixels, the clip is 64x64: crop .*--width 64 --height 32"),
        (_none, r"is missing: make it of pictures/.*\.png and its words \(.*ball"),
        (_damaged, r"cannot be read as a video .*save it again as mp4"),
        (_twice, r"both are physics-.*move one of them away"),
        (_stranger, r"a\.mp4 has no clip's name, and its first frame .*names\.json(.|\n)*is missing"),
        (_too_many, r"b\.mp4 is a video too many"),
        (_unknown, r"names\.json: .* is said to be 'physics-test-fall-1', which is no clip"),
        (_list, r"names\.json .*expected \{file: clip"),
    ],
)
def test_what_cannot_be_scored_is_named_with_what_would_do(exported, folder, videos, spoil, says):
    name = exported.clips[0].name
    spoil(folder / f"{name}.mp4", videos[name])
    with pytest.raises(FramesError, match=says):
        made.find(exported, folder)


def test_all_faults_are_told_at_once(exported, folder, videos):
    one, other = (clip.name for clip in exported.clips)
    _short(folder / f"{one}.mp4", videos[one])
    _none(folder / f"{other}.mp4", None)
    with pytest.raises(FramesError, match=rf"25 frames(.|\n)*{other} is missing"):
        made.find(exported, folder)
    for name in (one, other):
        (folder / f"{name}.mp4").unlink(missing_ok=True)
    with pytest.raises(FramesError, match="neither videos"):
        made.find(exported, folder)
    with pytest.raises(FramesError, match="is not a folder"):
        made.find(exported, folder / "none")


def test_a_wrong_header_is_overruled_by_a_rate(exported, folder, videos):
    name = exported.clips[0].name
    _header(folder / f"{name}.mp4", videos[name])
    assert made.find(exported, folder, rate=8)[name].step == 1


@pytest.mark.parametrize(
    "change, says",
    [
        ({"vdit_benchmark_export": 2}, "has layout 2, this VDiT reads 1"),
        ({"suite_version": 9}, "suite version 9, this VDiT scores version 1: export again"),
        ({"clips": [1]}, r"clips\[0\] must be"),
        ({"clips": []}, "holds no clips"),
        ({"plan": {"seed": 1}}, "plan.count must be"),
        ({"left_out": None}, "left_out must be"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused_by_its_field(exported, tmp_path, change, says):
    facts = json.loads((exported.folder / MANIFEST).read_text()) | change
    (tmp_path / MANIFEST).write_text(json.dumps(facts))
    with pytest.raises(ManifestError, match=says):
        read_manifest(tmp_path)


def test_a_manifest_reaches_no_file_outside_of_its_folder(exported, tmp_path):
    facts = json.loads((exported.folder / MANIFEST).read_text())
    facts["clips"][0]["pictures"] = ["../secret.png"]
    (tmp_path / MANIFEST).write_text(json.dumps(facts))
    with pytest.raises(ManifestError, match="outside of its folder"):
        read_manifest(tmp_path)
    with pytest.raises(ManifestError, match="there is no manifest"):
        read_manifest(tmp_path / "none")


def test_clips_that_are_drawn_otherwise_today_are_not_scored(exported, folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(exported.folder, copy)
    manifest = read_manifest(copy)
    path = copy / manifest.clips[0].pictures[0]
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    with pytest.raises(ManifestError, match="is not what this version of VDiT draws"):
        measure.score_made(manifest, made.find(exported, folder), "x", tmp_path / "out")


@pytest.mark.parametrize(
    "options, says",
    [
        (["--export", "x", "--steps", "4"], "--steps: no model of this pack is run"),
        (["--export", "x", "--suite", "speed"], "--export is for permanence"),
        (["--export", "x", "--out", "y"], "leave out --out"),
        (["--frames", "x", "--seed", "4"], "scores the clips of the manifest"),
        (["--rate", "4"], "go with --frames DIR"),
        (["--frames", "x", "--rate", "0"], "expected above 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, says, capsys):
    with pytest.raises(SystemExit):
        cli.main(options)
    assert says in capsys.readouterr().err
