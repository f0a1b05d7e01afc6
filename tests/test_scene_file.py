"""Scene files: every field comes back to the last bit, and what is wrong is named by its place."""

import dataclasses
import inspect
import json
import math

import numpy as np
import pytest
from vdit.world import actions, checks, scene
from vdit.world.records import ACTIONS, APPEARANCES
from vdit.world.scene import (
    MATERIALS,
    Body,
    Colored,
    Joint,
    Light,
    Material,
    Mechanism,
    Mesh,
    Plane,
    Plate,
    Projected,
    Scene,
    SceneError,
    Shape,
    Textured,
    View,
)
from vdit.world.scene_file import dumps, dumps_actions, loads, loads_actions

RNG = np.random.default_rng(4)
TURN = (math.cos(0.3), 0.0, math.sin(0.3), 0.0)


def pixels(*shape: int):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def full_scene() -> Scene:
    """Every field of every class set, to something other than its default."""
    c2w = np.eye(4)
    c2w[:3, 3] = 0.1, 1 / 3, -2.0
    view = View(c2w, 41.7)
    hull = Shape(kind="hull", vertices=RNG.normal(size=(9, 3)), position=(0.1, 0.2, 1 / 7), rotation=TURN)
    surface = Mesh(RNG.normal(size=(5, 3)), np.array([[0, 1, 2], [2, 3, 4]]), RNG.random((5, 2)))
    moves = dict(velocity=(1.0, 2.0, 3.0), spin=(0.1, 0.2, 0.3))
    ball = Shape(kind="sphere", size=(0.2,))
    photo, blue = (Projected(pixels(4, 6, 4), view, pixels(4, 6, 1)[..., 0], 0.5), Colored((0.1, 0.0, 1.0)))
    bodies = (
        Body(name="cup", shapes=(hull,), position=(1.0, 2.0, 3.0), rotation=TURN, appearance=photo),
        Body(
            name="a box",
            shapes=(Shape(kind="box", size=(0.1, 0.2, 0.3)), Shape(kind="capsule", size=(0.1, 0.4))),
            position=(0.0, 0.0, 1e-17),
            material=Material("own", 123.4, 0.3, 0.2, toughness=7.0),
            appearance=Textured(pixels(3, 5, 3)),
            surface=surface,
            mass=2.5,
            joint=Joint(kind="slide", anchor=(1.0, 0.0, 0.0), axis=(0.0, 1.0, 0.0), range=(-0.1, 0.2), damping=0.7),
            **moves,
        ),
        Body(
            name="table",
            shapes=(ball,),
            position=(0.0, 0.0, 0.0),
            material=MATERIALS["ice"],
            appearance=None,
            fixed=True,
        ),
        Body(name="b", shapes=(ball,), position=(5.0, 0.0, 0.0), appearance=blue),
    )
    colors = ((0.0, 0.0, 0.5), (1.0, 1.0, 1.0))
    own = dict(colors=colors, tile=0.25, solid=False)
    plane = Plane(normal=(0.0, 0.6, 0.8), offset=-0.3, material=MATERIALS["rubber"], **own)
    plate = Plate(pixels(6, 8, 3), pixels(6, 8, 3), RNG.random((6, 8)) < 0.5, RNG.random((6, 8), dtype=np.float32) + 1)
    return Scene(
        **dict(bodies=bodies, view=view, width=640, height=360, ground=plane, backdrop=plane, plate=plate),
        light=Light((0.0, -0.6, 0.8), 0.4, 0.2, 0.3),
        gravity=(0.0, 0.1, -1.62),
        mechanism=Mechanism("<mujoco/>", {"m.obj": bytes(range(256))}),
    )


def same(a: object, b: object) -> None:
    assert type(a) is type(b) or isinstance(a, (int, float)) and isinstance(b, (int, float))
    if isinstance(a, np.ndarray):
        assert a.shape == b.shape and (a == b).all()
    elif dataclasses.is_dataclass(a):
        for f in dataclasses.fields(a):
            same(getattr(a, f.name), getattr(b, f.name))
    elif isinstance(a, tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert a == b


def test_every_field_comes_back_to_the_last_bit():
    before = full_scene()
    after = loads(dumps(before))
    same(before, after)
    assert dumps(after) == dumps(before)


def test_the_full_scene_leaves_no_field_at_its_default():
    """So that a field that is added later cannot be forgotten above."""
    seen: dict[type, set[str]] = {}

    def visit(value: object) -> None:
        if dataclasses.is_dataclass(value):
            for f in dataclasses.fields(value):
                content = getattr(value, f.name)
                array = isinstance(content, np.ndarray)
                if array or content != f.default:
                    seen.setdefault(type(value), set()).add(f.name)
                visit(content)
        elif isinstance(value, tuple):
            for item in value:
                visit(item)

    visit(full_scene())
    kinds = {c for _, c in inspect.getmembers(scene, dataclasses.is_dataclass)}
    assert {c: {f.name for f in dataclasses.fields(c)} for c in kinds} == seen


def test_large_arrays_come_back_to_the_last_bit():
    mesh = Mesh(RNG.normal(size=(30_000, 3)), RNG.integers(0, 30_000, (40_000, 3)))
    ball = Shape(kind="sphere", size=(0.2,))
    body = Body(name="a", shapes=(ball,), position=(0.0, 0.0, 0.0), fixed=True, surface=mesh)
    before = dataclasses.replace(full_scene(), bodies=(body,))
    same(before, loads(dumps(before)))


def test_a_short_file_takes_the_defaults():
    text = """{"vdit_scene": 1, "view": {"c2w": [[1,0,0,0],[0,0,1,-5],[0,-1,0,1],[0,0,0,1]], "fov_deg": 40},
        "bodies": [{"name": "cup", "shapes": [{"kind": "sphere", "size": [0.1]}], "position": [0, 0, 1],
        "material": "glass", "appearance": {"type": "colored", "rgb": [1, 0, 0]}}]}"""
    found = loads(text)
    assert found.body("cup").material is MATERIALS["glass"] and found.ground == Plane() and found.gravity[2] == -9.81


def test_all_appearances_and_actions_have_a_name_in_json():
    """The unions of scene.py and actions.py are text at run time."""
    assert {c.__name__ for c in APPEARANCES} == set(scene.Appearance.split(" | "))
    assert {c.__name__ for c in ACTIONS} == set(actions.Action.split(" | "))


def test_actions_come_back():
    given = (
        actions.Push(body="a", impulse=(1.0, 0.0, 0.0), at=(0.0, 0.0, 1 / 3)),
        actions.Actuate(actuator="elbow", targets=((0.0, 0.1), (1.0, 0.2))),
        actions.Drag(body="a", path=((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))),
    )
    assert loads_actions(dumps_actions(given)) == given
    wrong = dumps_actions(given).replace('"push"', '"pusch"')
    with pytest.raises(SceneError, match="field 'actions', item 1, field 'type': found \"pusch\"; did you mean 'push'"):
        loads_actions(wrong)


def wrong(path: str, value: object):
    """The full scene's JSON with one value replaced."""
    found = json.loads(dumps(full_scene()))
    *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    at = found
    for key in way:
        at = at[key]
    at[last] = value
    return json.dumps(found)


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("bodys", [], "no field is named 'bodys'; did you mean 'bodies'"),
        ("bodies.1.colour", 1, "field 'bodies', item 2 .'a box'.: no field is named 'colour'"),
        ("bodies.0.position", [1, 2], "item 1 .'cup'., field 'position': found a list of 2; expected one of 3"),
        ("bodies.0.position.1", "2", 'item 1 .*, field .position., item 2: found "2"; expected a number'),
        ("bodies.0.position.1", True, "expected a number"),
        ("bodies.0.shapes.0.vertices.0.0", "1", "numbers in rows of equal length"),
        ("bodies.1.surface.faces.0.0", 0.5, "int64 numbers in rows"),
        ("bodies.0.position.1", 10**400, "line [0-9]+, column [0-9]+, a number of 401 digits"),
        ("bodies.0.position.1", 1e9, "body 'cup', position"),
        ("bodies.0.shapes.0.kind", "hul", "did you mean 'hull'"),
        ("bodies.0.shapes.0.vertices", [[0, 0, 0]] * 5, "the hull is flat"),
        ("bodies.0.shapes.0.vertices", [[0, 0], [1]], "rows of equal length"),
        ("bodies.0.shapes.0.vertices", [[0, 0]] * 5, "5 x 2 values; expected N x 3"),
        ("bodies.1.shapes.0.size", [0.1, 0.2], "2 sizes; a box has 3"),
        ("bodies.1.shapes.0.size.0", 0, "size in metres"),
        ("bodies.0.rotation", [1, 1, 0, 0], "has the length 1.414; expected 1"),
        ("bodies.0.material", "glas", "did you mean 'glass'"),
        ("bodies.0.material", {"name": "x"}, "density, friction, restitution missing"),
        ("bodies.0.appearance.type", "painted", 'field .type.: found "painted"; known: colored, textured'),
        ("bodies.0.appearance.image", "cup.png", "expected text that starts with 'data:image/png;base64,"),
        ("bodies.0.appearance.image", "data:image/png;base64,aGVsbG8=", "no PNG that can be read"),
        ("bodies.0.name", "b", "2 bodies are named 'b'"),
        ("bodies.1.surface.faces.0.0", 5, "faces name vertices 1 to 5; there are 0 to 4"),
        ("bodies.1.mass", -1, "mass in kg"),
        ("plate.filled", "data:image/png;base64,!", "no base64"),
        ("view.c2w.0.0", 2.0, "no rotation"),
        ("width", 5000, "5000 pixels; expected 8 to 4096"),
        ("width", 640.0, "field 'width': found 640.0; expected a whole number"),
        ("vdit_scene", 2, "field 'vdit_scene': found 2; this VDiT reads 1"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(path: str, value: object, message: str):
    with pytest.raises(SceneError, match=message):
        loads(wrong(path, value), "my.json")


@pytest.mark.parametrize("text", ["", "[1", "[]", "{}", '{"vdit_scene": NaN}', "[" * 100_000])
def test_what_is_no_scene_is_refused(text: str):
    with pytest.raises(SceneError, match="my.json"):
        loads(text, "my.json")


def test_a_depth_that_is_not_finite_is_refused():
    plate = full_scene().plate
    depth = plate.depth.copy()
    depth[0, 0] = np.nan
    with pytest.raises(SceneError, match="plate, depth"):
        checks.check(dataclasses.replace(full_scene(), plate=dataclasses.replace(plate, depth=depth)))
