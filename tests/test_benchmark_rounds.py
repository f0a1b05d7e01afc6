"""Any graph scored by running it: clips as lists, videos taken back, a few a run; and lists in the host."""

import json
from dataclasses import replace

import pytest
import torch
from vdit.benchmark import rounds, selection
from vdit.benchmark.runner import Plan, taken_again
from vdit.benchmark.selection import Format
from vdit.benchmark.tracking import FramesError
from vdit.host import api
from vdit.host.executor import Executor, NodeFailed
from vdit.host.validation import validate
from vdit.machine.limits import TooLarge
from vdit.nodes import benchmark_rounds as nodes

io = api.io


class Simulator(io.ComfyNode):
    """Stands for a video model that knows what happens; at 16 frames a second, with every moment twice."""

    @classmethod
    def define_schema(cls):
        inputs = [nodes.VDiTClip.Input("clip"), io.Int.Input("frames", default=1), io.String.Input("words")]
        return io.Schema("Simulator", inputs=inputs, outputs=[io.Image.Output()])

    @classmethod
    def execute(cls, clip, frames, words):
        assert "ball" in words
        truth = taken_again(clip.part, clip.round.plan.form, clip.seed, lambda: None)[1].truth
        return io.NodeOutput(torch.from_numpy(truth).repeat_interleave(2, 0)[:frames])


KINDS = {cls.__name__: cls for cls in (nodes.VDiTBenchmarkClips, nodes.VDiTBenchmarkScores, Simulator)}
CLIPS = {
    "name": "perfect",
    "suite": "physics",
    "count": 3,
    "seed": 5,
    "split": "test",
    "known_frames": 1,
    "width": 64,
    "height": 64,
    "fps": "16",
    "length": 0,
    "clips_at_once": 2,
}


def graph(**changed):
    return {
        "clips": {"class_type": "VDiTBenchmarkClips", "inputs": CLIPS | changed},
        "model": {
            "class_type": "Simulator",
            "inputs": {"clip": ["clips", 3], "frames": ["clips", 6], "words": ["clips", 1]},
        },
        "scores": {"class_type": "VDiTBenchmarkScores", "inputs": {"images": ["model", 0], "clips": ["clips", 3]}},
    }


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(nodes, "save_place", lambda prefix: tmp_path / prefix)
    return tmp_path


def run(executor, **changed):
    return executor.run(validate(graph(**changed), KINDS))


def test_a_graph_is_scored_in_as_many_runs_as_it_takes(output):
    executor = Executor(KINDS)
    first = run(executor)
    assert "2 clips scored. 1 clips are left: run the graph again" in first.ui["scores"]["vdit_line"][0]
    second = run(Executor(KINDS))  # ComfyUI was started anew
    assert "3 clips scored. All clips are scored." in second.ui["scores"]["vdit_line"][0]
    report = json.loads(second.nodes["scores"].outputs[1])
    found = report["scores"]["model"]["physics"]["test"]["all"]
    assert found["percent"] == 100 and found["clips"] == 3
    assert report["settings"] == {"model": "perfect", "frames_judged": "every 2"} and report["suite_version"]
    assert json.loads((output / "benchmark" / "perfect" / "report.json").read_text()) == report
    third = run(executor)
    assert "All clips of perfect are scored." in third.ui["clips"]["vdit_line"][0]
    assert "scores" not in third.ui, "nothing is left to make"


def test_a_run_that_fails_loses_only_its_own_clips(output, monkeypatch):
    taken = []

    def take_back(ticket, video, check, real=rounds.take_back):
        if len(taken) == 1:
            raise RuntimeError("the power went off")
        taken.append(ticket)
        return real(ticket, video, check)

    monkeypatch.setattr(rounds, "take_back", take_back)
    with pytest.raises(NodeFailed, match="the power went off"):
        run(Executor(KINDS))
    monkeypatch.undo()
    monkeypatch.setattr(nodes, "save_place", lambda prefix: output / prefix)
    done = run(Executor(KINDS), clips_at_once=100)
    given = done.nodes["clips"].outputs[3]
    assert len(given) == 2 and taken[0] not in given and "3 clips scored" in done.ui["scores"]["vdit_line"][0]


def test_other_settings_under_the_same_name_are_refused(output):
    run(Executor(KINDS), count=1)
    with pytest.raises(NodeFailed, match=r"plan\.seed.*name another folder"):
        run(Executor(KINDS), count=1, seed=6)


def test_a_video_that_does_not_fit_is_refused_and_not_kept(output):
    made = nodes.VDiTBenchmarkClips.execute(**CLIPS | {"count": 1})
    ticket, frames = made[3][0], made[6][0]
    assert frames == 81 and made[0][0].shape == (1, 64, 64, 3)
    with pytest.raises(FramesError, match="41 frames; make 81"):
        nodes.VDiTBenchmarkScores.execute([torch.zeros(41, 64, 64, 3)], [ticket])
    with pytest.raises(FramesError, match="128x64 pixels, the clip is 64x64"):
        nodes.VDiTBenchmarkScores.execute([torch.zeros(81, 64, 128, 3)], [ticket])
    with pytest.raises(ValueError, match="2 videos came for 1 clips"):
        nodes.VDiTBenchmarkScores.execute([torch.zeros(81, 64, 64, 3)] * 2, [ticket])
    assert not list(output.rglob("results/**/*.json"))


def test_clips_in_which_too_little_happens_are_refused_with_what_would_do(output, monkeypatch):
    monkeypatch.setattr(selection, "RULES", replace(selection.RULES, tries=3))
    with pytest.raises(ValueError, match=r"no bounce .* set length to 25 or more .* under another name"):
        nodes.VDiTBenchmarkClips.execute(**CLIPS | {"length": 9})


def test_a_round_that_does_not_fit_is_refused_with_what_does(output, monkeypatch):
    plan = Plan(5, 24, ("physics",), form=Format(832, 480, known=1))
    asked = rounds.Round("model", plan, output, step=2)
    asked.check_room(4, 10e9, 10e9)
    with pytest.raises(TooLarge, match=r"4 videos of 81 frames of 832x480 .* what fits: clips_at_once 2$"):
        asked.check_room(4, 2.5e9, 10e9)
    asked.check_room(2, 2.5e9, 10e9)
    with pytest.raises(TooLarge, match="what fits: a smaller width and height"):
        asked.check_room(1, 1e9, 10e9)
    with pytest.raises(TooLarge, match=r"kept of 24 clips .* lower count, width and height"):
        asked.check_room(1, 10e9, 1e6)
    monkeypatch.setattr(nodes, "main_room", lambda: 1e6)
    with pytest.raises(TooLarge, match="can be had"):
        nodes.VDiTBenchmarkClips.execute(**CLIPS)


@pytest.mark.parametrize("name, says", [(" ", "name is empty"), ("../..", "name")])
def test_names_that_are_no_folder_are_refused(name, says):
    assert says in str(nodes.VDiTBenchmarkClips.validate_inputs(name=name))
    assert "expected 0, or 9 to 81" in str(nodes.VDiTBenchmarkClips.validate_inputs(name="a", length=4))
    assert "expected 0, or 9 to 81" in str(nodes.VDiTBenchmarkClips.validate_inputs(name="a", length=82))


# Lists in the host


class Numbers(io.ComfyNode):
    """Gives one number after another."""

    @classmethod
    def define_schema(cls):
        outputs = [io.Int.Output(is_output_list=True), io.Int.Output()]
        return io.Schema("Numbers", inputs=[io.Int.Input("count", default=3, min=0)], outputs=outputs)

    @classmethod
    def execute(cls, count):
        return io.NodeOutput([10 * i for i in range(count)], 7)


class Add(io.ComfyNode):
    """Adds two."""

    @classmethod
    def define_schema(cls):
        inputs = [io.Int.Input("a", default=0), io.Int.Input("b", default=0)]
        return io.Schema("Add", inputs=inputs, outputs=[io.Int.Output()])

    @classmethod
    def execute(cls, a, b):
        return io.NodeOutput(a + b, ui={"sum": [a + b]})


class Collect(io.ComfyNode):
    """Takes all at once."""

    @classmethod
    def define_schema(cls):
        inputs = [io.Int.Input("a", default=0), io.Int.Input("b", default=0)]
        return io.Schema("Collect", inputs=inputs, outputs=[io.Int.Output()], is_output_node=True, is_input_list=True)

    @classmethod
    def execute(cls, a, b):
        return io.NodeOutput(len(a), ui={"all": [[a, b]]})


LISTS = {cls.__name__: cls for cls in (Numbers, Add, Collect)}


def lists(count, **inputs):
    prompt = {
        "n": {"class_type": "Numbers", "inputs": {"count": count}},
        "m": {"class_type": "Numbers", "inputs": {"count": 2}},
        "add": {"class_type": "Add", "inputs": {"a": ["n", 0], "b": 1} | inputs},
        "all": {"class_type": "Collect", "inputs": {"a": ["add", 0], "b": ["n", 1]}},
    }
    return Executor(LISTS).run(validate(prompt, LISTS))


def test_a_node_runs_once_for_each_entry_and_a_node_of_lists_once():
    done = lists(3)
    assert done.ui["all"]["all"] == [[[1, 11, 21], [7]]] and done.ui["add"]["sum"] == [1, 11, 21]
    assert done.nodes["all"].outputs == (3,), "what follows a node of lists runs once"
    assert Numbers.object_info()["output_is_list"] == [True, False] and Collect.object_info()["is_input_list"]


def test_the_shorter_list_repeats_its_last_entry():
    assert lists(4, b=["m", 0]).ui["add"]["sum"] == [0, 20, 30, 40]


def test_an_empty_list_is_refused_by_name():
    with pytest.raises(NodeFailed, match="a is an empty list"):
        lists(0)
