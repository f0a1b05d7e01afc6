"""The executor and the checks before it, on small nodes of our own."""

import asyncio
import threading

import pytest
from vdit.host import running
from vdit.host.api import io
from vdit.host.executor import Executor, NodeFailed
from vdit.host.validation import InvalidPrompt, validate

calls: list[str] = []


@pytest.fixture(autouse=True)
def fresh_calls():
    calls.clear()


class Number(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema("Number", inputs=[io.Int.Input("value", default=1, min=0, max=100)], outputs=[io.Int.Output()])

    @classmethod
    def execute(cls, value):
        calls.append(f"Number {value}")
        return io.NodeOutput(value)


class Add(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            "Add",
            inputs=[io.Int.Input("a"), io.Int.Input("b"), io.Combo.Input("mode", ["plus", "minus"])],
            outputs=[io.Int.Output(), io.String.Output()],
        )

    @classmethod
    async def execute(cls, a, b, mode):
        await asyncio.sleep(0)
        calls.append("Add")
        return io.NodeOutput(a + b if mode == "plus" else a - b, "words")


class Show(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            "Show", inputs=[io.Int.Input("number", force_input=True)], is_output_node=True, hidden=[io.Hidden.unique_id]
        )

    @classmethod
    def execute(cls, number):
        calls.append(f"Show {number}")
        return io.NodeOutput(ui={"text": [f"{number} at {cls.hidden.unique_id}"]})


class Slow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema("Slow", inputs=[io.Int.Input("number")], outputs=[io.Int.Output()])

    @classmethod
    def execute(cls, number):
        update = running.progress(200)
        for step in range(200):
            calls.append("Slow step")
            update(step + 1, preview="picture" if step == 0 else None)
        return io.NodeOutput(number)


class Broken(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema("Broken", inputs=[io.Int.Input("number")], outputs=[io.Int.Output()])

    @classmethod
    def execute(cls, number):
        raise RuntimeError("the disk is full")


class Watched(io.ComfyNode):
    mark = 0

    @classmethod
    def define_schema(cls):
        return io.Schema("Watched", inputs=[io.String.Input("file")], outputs=[io.Int.Output()])

    @classmethod
    def validate_inputs(cls, file):
        return True if file != "missing" else "no such file: missing"

    @classmethod
    def fingerprint_inputs(cls, file):
        return cls.mark

    @classmethod
    def execute(cls, file):
        calls.append("Watched")
        return io.NodeOutput(7)


NODES = {cls.__name__: cls for cls in (Number, Add, Show, Slow, Broken, Watched)}


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def sum_prompt(a=2, b=3, mode="plus"):
    return {
        "1": node("Number", value=a),
        "2": node("Number", value=b),
        "3": node("Add", a=["1", 0], b=["2", 0], mode=mode),
        "4": node("Show", number=["3", 0]),
    }


def run(executor, prompt, **options):
    return executor.run(validate(prompt, NODES), **options)


def errors_of(prompt, node_id=None):
    with pytest.raises(InvalidPrompt) as caught:
        validate(prompt, NODES)
    return caught.value.node_errors[node_id]["errors"] if node_id else caught.value


def test_each_node_runs_once_after_its_sources():
    prompt = sum_prompt()
    prompt["5"] = node("Show", number=["3", 0])
    result = run(Executor(NODES), prompt)
    assert calls == ["Number 2", "Number 3", "Add", "Show 5", "Show 5"]
    assert result.ui == {"4": {"text": ["5 at 4"]}, "5": {"text": ["5 at 5"]}}


def test_changing_one_value_reruns_only_what_depends_on_it():
    executor = Executor(NODES)
    run(executor, sum_prompt())
    calls.clear()
    result = run(executor, sum_prompt(b=4))
    assert calls == ["Number 4", "Add", "Show 6"]
    assert result.cached == ["1"]


def test_a_run_without_a_change_shows_its_outputs_again():
    executor, events = Executor(NODES), []
    run(executor, sum_prompt())
    calls.clear()
    run(executor, sum_prompt(), listener=lambda event, data: events.append((event, data)))
    assert calls == []
    assert [data["output"] for event, data in events if event == "executed"] == [{"text": ["5 at 4"]}]


def test_inputs_that_a_node_does_not_know_change_nothing():
    executor, prompt = Executor(NODES), sum_prompt()
    run(executor, prompt)
    prompt["4"]["inputs"]["video-preview"] = ""
    assert run(executor, prompt).cached == ["1", "2", "3", "4"]


def test_a_fingerprint_that_changes_reruns_the_node():
    executor, prompt = Executor(NODES), {"1": node("Watched", file="a"), "2": node("Show", number=["1", 0])}
    run(executor, prompt)
    run(executor, prompt)
    assert calls.count("Watched") == 1
    Watched.mark += 1
    run(executor, prompt)
    assert calls.count("Watched") == 2


def test_cancel_stops_at_the_running_step_and_keeps_what_was_done():
    executor, stop, events = Executor(NODES), threading.Event(), []
    prompt = {"1": node("Number", value=5), "2": node("Slow", number=["1", 0]), "3": node("Show", number=["2", 0])}

    def cancel_at_step_3(event, data):
        events.append(event)
        if event == "progress" and data["value"] == 3:
            stop.set()

    with pytest.raises(running.Interrupted):
        run(executor, prompt, stop=stop, listener=cancel_at_step_3)
    assert calls == ["Number 5", *["Slow step"] * 3]
    assert events[-1] == "execution_interrupted" and "preview" in events
    calls.clear()
    with pytest.raises(running.Interrupted):
        run(executor, prompt, stop=stop)
    assert calls == []  # node 1 was remembered


def test_a_failing_node_is_named_with_its_reason():
    events = []
    with pytest.raises(NodeFailed, match="the disk is full") as caught:
        run(
            Executor(NODES),
            {"1": node("Broken", number=5), "2": node("Show", number=["1", 0])},
            listener=lambda event, data: events.append((event, data)),
        )
    report = caught.value.report
    assert (report["node_id"], report["node_type"], report["exception_type"]) == ("1", "Broken", "RuntimeError")
    assert report["current_inputs"] == {"number": [5]}
    assert events[-1] == ("execution_error", report)


def test_progress_ends_full_and_events_come_in_comfyuis_order():
    events = []
    run(Executor(NODES), sum_prompt(), listener=lambda event, data: events.append((event, data)))
    names = [event for event, _ in events]
    assert names[:2] == ["execution_start", "execution_cached"] and names[-1] == "execution_success"
    last = [data for event, data in events if event == "progress_state"][-1]
    assert {state["state"] for state in last["nodes"].values()} == {"finished"}


@pytest.mark.parametrize(
    ("change", "node_id", "kind", "words"),
    [
        ({"1": node("Number", value=101)}, "1", "value_bigger_than_max", "101"),
        ({"1": node("Number", value=-1)}, "1", "value_smaller_than_min", "-1"),
        ({"1": node("Number", value="many")}, "1", "invalid_input_type", "INT"),
        ({"1": node("Number", value=float("inf"))}, "1", "invalid_input_type", "INT"),
        ({"1": node("Number")}, "1", "required_input_missing", "missing"),
        ({"3": node("Add", a=["1", 0], b=["2", 0], mode="times")}, "3", "value_not_in_list", "not in list"),
        ({"4": node("Show", number=["3", 1])}, "4", "return_type_mismatch", "mismatch"),
        ({"4": node("Show", number=["3", 9])}, "4", "bad_linked_input", "output"),
        ({"4": node("Show", number=["77", 0])}, "4", "bad_linked_input", "not in the prompt"),
        ({"1": node("Watched", file="missing")}, "1", "custom_validation_failed", "alidation"),
    ],
)
def test_bad_input_is_refused_on_its_node(change, node_id, kind, words):
    (reason,) = errors_of({**sum_prompt(), **change}, node_id)
    assert reason["type"] == kind and words in reason["message"]


def test_a_cycle_is_refused_without_running_anything():
    prompt = sum_prompt()
    prompt["1"] = node("Add", a=["3", 0], b=["2", 0], mode="plus")
    refused = errors_of(prompt)
    (reasons,) = [entry["errors"] for entry in refused.node_errors.values()]
    assert reasons[0]["type"] == "dependency_cycle" and "Cut one link" in str(refused)
    assert calls == []


def test_a_missing_node_is_named_with_what_to_do():
    refused = errors_of({**sum_prompt(), "9": node("KSampler")})
    assert "KSampler" in str(refused) and "Install the pack" in str(refused)
    assert refused.node_errors["9"]["class_type"] == "KSampler"


def test_a_prompt_without_an_output_is_refused():
    assert errors_of({"1": node("Number", value=1)}).error["type"] == "prompt_no_outputs"
    assert errors_of({}).error["type"] == "no_prompt"


def test_a_bad_branch_does_not_hold_up_a_good_one():
    prompt = {**sum_prompt(), "8": node("Number", value=500), "9": node("Show", number=["8", 0])}
    checked = validate(prompt, NODES)
    assert checked.outputs == ["4"]
    assert checked.node_errors["8"]["dependent_outputs"] == ["9"]


def test_only_the_targets_of_a_partial_run_are_executed():
    prompt = {**sum_prompt(), "8": node("Number", value=50), "9": node("Show", number=["8", 0])}
    Executor(NODES).run(validate(prompt, NODES, targets=["9"]))
    assert calls == ["Number 50", "Show 50"]
