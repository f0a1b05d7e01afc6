"""The doors that text comes through, each with generated cases: workflows, prompts, widgets, scene files, options."""

import argparse
import copy
import json
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from mutations import Case, mutated
from oracle import Door
from vdit.control import brush, camera_files, moves, track_files
from vdit.control.span import ControlError
from vdit.host import catalog, overrides, studio, workflow
from vdit.host.validation import InvalidPrompt, is_link, validate
from vdit.lift import objects
from vdit.world import arrows, scene_file, words
from vdit.world.actions import Push, Throw
from vdit.world.scene import Body, Scene, SceneError, Shape, View

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("text-to-video", "motion-brush", "camera-orbit", "drop-it", "wan-4-step", "distill-preview", "robot-arm")
SCRATCH = Path("/dev/shm") if Path("/dev/shm").is_dir() else ROOT / "output"


@cache
def nodes() -> dict[str, type]:
    return catalog.load_nodes()


@cache
def infos() -> dict[str, dict]:
    return catalog.object_infos(nodes())


@cache
def workflows() -> dict[str, dict]:
    found = {name: ROOT / "workflows" / f"{name}.json" for name in SHIPPED}
    found |= {path.stem: path for path in sorted((ROOT / "subgraphs").glob("*.json"))}
    return {name: json.loads(path.read_text("utf-8")) for name, path in found.items()}


@cache
def prompts() -> dict[str, dict]:
    found = {name: workflow.to_prompt(copy.deepcopy(graph), infos()) for name, graph in workflows().items()}
    return found | {"body": {"prompt": found["text-to-video"], "extra_data": {"extra_pnginfo": {"workflow": {}}}}}


def stored(kind: str) -> dict[str, object]:
    """The JSON that the shipped workflows hold in widgets of a node type."""
    texts = {
        f"{name} {node['id']}": value
        for name, graph in workflows().items()
        for node in graph["nodes"]
        for value in (node.get("widgets_values") or [] if node["type"] == kind else [])
        if isinstance(value, str) and value.startswith("{")
    }
    return {name: json.loads(text) for name, text in texts.items()}


def same(a: object, b: object) -> bool:
    """Equal values of one JSON type: true is not 1, and "1" is not 1."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    numbers = [isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b)]
    return a == b and (all(numbers) or type(a) is type(b))


def _enter_file(case: Case) -> workflow.Workflow:
    path = SCRATCH / f"vdit-fuzz-{os.getpid()}.json"  # doors are tried side by side
    path.write_bytes(case.content.encode("utf-8", "surrogatepass") if isinstance(case.content, str) else case.content)
    return workflow.load(path, infos())


def enter_workflow(case: Case) -> tuple[workflow.Workflow, dict]:
    """The workflow, and the inputs of those of its nodes that may run."""
    loaded = _enter_file(case)
    checked = validate(loaded.prompt, nodes())
    return loaded, {} if checked.node_errors else checked.prompt


def wrong_workflow(case: Case, result: tuple[workflow.Workflow, dict]) -> str:
    """A node's values must stand in the file, or be its defaults; a number may be written as a text of that number."""
    loaded, prompt = result
    if loaded.ui is None or "nodes" not in loaded.ui:
        return wrong_prompt(case, result)
    graphs = [loaded.ui, *((loaded.ui.get("definitions") or {}).get("subgraphs") or [])]
    held = [v for graph in graphs for node in graph["nodes"] for v in _values(node.get("widgets_values"))]
    held += [_number(v) for v in held if isinstance(v, str)]
    for node_id, node in prompt.items():
        specs = overrides.shown_widgets(infos()[node["class_type"]], node["inputs"])
        for name, value in node["inputs"].items():
            default = overrides.default_value(specs[name]) if name in specs else None
            if not is_link(value) and not any(same(value, other) for other in (*held, default)):
                if not (isinstance(value, str) and any(isinstance(v, str) and "{" in v or v is None for v in held)):
                    return f"node {node_id}.{name}: {value!r:.60} is not in the file"
    return ""


def _values(values: object) -> list:
    return list(values.values()) if isinstance(values, dict) else values if isinstance(values, list) else []


def wrong_prompt(case: Case, result: tuple[workflow.Workflow, dict]) -> str:
    """What may run has the values of the file; a number may be written as a text of that number."""
    loaded, prompt = result
    for node_id, node in prompt.items():
        given = loaded.prompt[node_id].get("inputs") or {}
        for name, value in node["inputs"].items():
            value, said = _plain(value), _plain(given[name])
            if not same(value, said) and not (isinstance(said, str) and _number(said) == value):
                return f"node {node_id}.{name}: {said!r:.60} was taken as {value!r:.60}"
    return ""


def _plain(value: object) -> object:
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def _number(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def widget(read: Callable[[str], Any]) -> Callable[[Case], Any]:
    return lambda case: read(case.content)


def _stored(case: Case) -> dict:
    text = case.content.removeprefix("\ufeff")
    return json.loads(text) if text.strip() else {}


def wrong_strokes(case: Case, result: list[brush.Stroke]) -> str:
    return _differ(_stored(case).get("strokes", []), result)


def wrong_selection(case: Case, result: objects.Selection) -> str:
    rows = _stored(case).get("objects", [])
    drawn = [row.pop("strokes", []) for row in rows]
    named = [{**row, "name": row["name"].strip()} for row in rows]
    return _differ(named, result.objects) or "".join(map(_differ, drawn, [each.strokes for each in result.objects]))


def wrong_arrows(case: Case, result: tuple) -> str:
    return _differ(_stored(case).get("arrows", []), result)


def _differ(rows: list[dict], made: Sequence[object]) -> str:
    """Which stored fields the values made of them do not have."""
    found = [f"{len(rows)} rows are {len(made)}"] if len(rows) != len(made) else []
    for row, value in zip(rows, made, strict=False):
        found += [key for key in row if hasattr(value, key) and not same(row[key], getattr(value, key))]
    return ", ".join(found)


def enter_keys(case: Case) -> object:
    return moves.from_keys(moves.keys_of(case.content) or (moves.CameraKey(0),), 5)


def enter_camera(case: Case) -> object:
    return camera_files.from_text(case.content, "camera.json", 40.0, 5, None)


def enter_tracks(case: Case) -> object:
    return track_files.from_text(case.content, "tracks.json", (64, 48))


def wrong_again(write: Callable, read: Callable) -> Callable[[Case, Any], str]:
    """What was read, written and read again is the same text."""

    def wrong(case: Case, result: object) -> str:
        text = write(result)
        return "" if write(read(text)) == text else "read again it differs"

    return wrong


POSES = [[1, 0, 0, 0.1], [0, 1, 0, 0.2], [0, 0, 1, 0.3], [0, 0, 0, 1]]
KEYS = {
    "keys": {
        "version": 1,
        "keys": [
            {"t": 0, "position": [0, 0, 0], "look": [0, 0, 0], "fov_deg": 40, "ease": "linear"},
            {"t": 0.5, "position": [0, 0, 1], "look": [5, 0, 0]},
            {"t": 1, "position": [0.5, 0, 1], "look": [9, 2, 1], "fov_deg": 35.5},
        ],
    }
}
CAMERAS = {
    **KEYS,
    "poses": {"version": 1, "c2w": [POSES, POSES], "fov_deg": [40.0, 41.0], "strength": 0.5},
    "nerfstudio": {"camera_angle_x": 0.7, "w": 640, "h": 480, "frames": [{"transform_matrix": POSES}] * 2},
    "recammaster": {"frame0": {"cam01": "[1 0 0 0] [0 1 0 0] [0 0 1 0] [1 2 3 1]"}},
    "wan": [[0.9, 0.9, 0.5, 0.5, 0, 0, *sum(POSES, [])]] * 2,
}
PLACES = [{"x": 12, "y": 34.5}, {"x": 13, "y": 30}, {"x": -4, "y": 0}]
TRACKS = {
    "one": PLACES,
    "several": [PLACES, PLACES[:1], PLACES[:2]],
    "batch": [[PLACES, PLACES]],
    "texts": [json.dumps(PLACES), str(PLACES)],
    "own": {"version": 1, "width": 64, "height": 48, "fps": 8, "tracks": [[[1, 2], None, [3, 4]], [[5, 6]]]},
}
SCENE = Scene(
    view=View(np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 1], [0, 0, 0, 1]], float), 40.0),
    bodies=(
        Body(name="ball", shapes=(Shape(kind="sphere", size=(0.5,)),), position=(0, 3, 2)),
        Body(name="box", shapes=(Shape(kind="box", size=(0.5, 0.5, 0.5)),), position=(1, 3, 1)),
    ),
)
ACTIONS = (Push(body="ball", impulse=(1, 0, 0), time=0.5), Throw(body="box", velocity=(0, 1, 2)))
WORDS = (
    *"push throw the ball box to left right after 2 0,5 -2 seconds and then . drops 1e400 ² ٣ Ball it".split(),
    *"hard twice up until m/s , 3.5 at from spins slides ein 球 with wind gravity half the the".split(),
    *("\ud800", "9" * 4301, "\n", "\0", ""),
)


def enter_set(case: tuple[str, str]) -> workflow.Workflow:
    name, change = case
    loaded = workflow.read(copy.deepcopy(workflows()[name]), infos())
    overrides.apply(loaded, [change], infos())
    validate(loaded.prompt, nodes())
    return loaded


def wrong_set(case: tuple[str, str], loaded: workflow.Workflow) -> str:
    """The graph that is saved gives what is run, and --set changes no other node than it names."""
    before, now = prompts()[case[0]], loaded.prompt
    if workflow.to_prompt(json.loads(json.dumps(loaded.ui)), infos()) != now:
        return "the saved graph gives another prompt"
    others = [
        key
        for key, node in now.items()
        if {**node["inputs"], "filename_prefix": ""} != {**before[key]["inputs"], "filename_prefix": ""}
    ]
    return f"changed nodes {others}" if len(others) > 1 else ""


def settings_on_the_command_line() -> st.SearchStrategy[tuple[str, str]]:
    odd = ["9" * 4301, " 7 ", "", "\ud800", "\0", "a" * 5000, "../../etc/passwd"]
    plain = "7 -1 1e400 ² ٣ nan inf 0x10 1_0 ~ true TRUE 2 wan /etc /dev/null 0b1 1e3 7.0".split()
    values = st.one_of(st.sampled_from(plain + odd), st.text(max_size=8))
    names = [
        (name, f"{at}.{key}")
        for name, graph in workflows().items()
        for node_id, node in overrides.in_graph(workflow.opened(graph, infos())).items()
        for at in (node_id, node.title, node.type)
        for key in node.inputs
    ]
    damaged = st.sampled_from(["", ".", "=", "..", "x", "\ud800", "9" * 4301])
    return st.builds(
        lambda name, value, damage, at: (name[0], f"{name[1]}{damage}={value}" if at else f"{damage}{name[1]}={value}"),
        st.sampled_from(names),
        values,
        st.one_of(st.just(""), st.just(""), damaged),
        st.booleans(),
    )


def enter_words(case: str) -> object:
    return words.actions_from_words(case, SCENE)


def wrong_port(case: str, port: int) -> str:
    return "" if case.isascii() and case.isdigit() and int(case) == port else f"{port}"


def text_doors() -> list[Door]:
    drawn, marked, arrowed = stored("VDiTMotionBrush"), stored("VDiTSceneFromPicture"), stored("VDiTActions")
    scenes = {"scene": json.loads(scene_file.dumps(SCENE))}
    acts = {"actions": json.loads(scene_file.dumps_actions(ACTIONS))}
    word = st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), st.text(max_size=5))
    ports = st.one_of(st.text(max_size=6), st.integers(-9, 99999).map(str))
    ours, control, scene = (workflow.WorkflowError, InvalidPrompt), (ControlError,), (SceneError,)
    cameras_again = wrong_again(camera_files.to_json, lambda text: enter_camera(Case("", (), text)))
    tracks_again = wrong_again(track_files.to_json, lambda text: enter_tracks(Case("", (), text)))
    scenes_again = wrong_again(scene_file.dumps, scene_file.loads)
    actions_again = wrong_again(scene_file.dumps_actions, scene_file.loads_actions)
    read_objects, read_actions = widget(objects.read_selection), widget(scene_file.loads_actions)
    return [
        Door("workflows", mutated(workflows()), enter_workflow, ours, wrong_workflow),
        Door("prompts", mutated(prompts()), enter_workflow, ours, wrong_workflow),
        Door("brush", mutated(drawn, True), widget(brush.read_strokes), control, wrong_strokes, "stroke"),
        Door("camera path", mutated(KEYS, True), enter_keys, control, place="path"),
        Door("camera files", mutated(CAMERAS, True), enter_camera, control, cameras_again, "camera"),
        Door("tracks", mutated(TRACKS, True), enter_tracks, control, tracks_again, "track"),
        Door("objects", mutated(marked, True), read_objects, control, wrong_selection, "object|ground|light"),
        Door("arrows", mutated(arrowed, True), widget(arrows.read_arrows), scene, wrong_arrows, "arrow"),
        Door("scene files", mutated(scenes, True), widget(scene_file.loads), scene, scenes_again, "scene"),
        Door("action files", mutated(acts, True), read_actions, scene, actions_again, "actions"),
        Door("words", st.lists(word, max_size=14).map(" ".join), enter_words, scene),
        Door("--set", settings_on_the_command_line(), enter_set, ours, wrong_set, "--set|node"),
        Door("--port", ports, studio.port, (argparse.ArgumentTypeError,), wrong_port, "port"),
    ]
