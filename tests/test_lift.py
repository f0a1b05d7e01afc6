"""From a picture to a scene: what a person marks, masks without a network, bodies, plates."""

import json

import numpy as np
import pytest
from vdit.control.span import ControlError
from vdit.lift.objects import GroundHint, LightHint, Marked, Selection, Stroke, read_selection, write_selection
from vdit.lift.select import NothingFound, select

SELECTION = Selection(
    (
        Marked(name="cup", material="ceramic", thickness=0.1, box=(0.2, 0.1, 0.6, 0.8)),
        Marked(
            name="spoon",
            fixed=True,
            strokes=(Stroke(((0.5, 0.5), (0.6, 0.5)), 0.03), Stroke(((0.1, 0.1),), erase=True)),
        ),
    ),
    GroundHint(horizon=0.3, camera_height=1.2),
    LightHint(azimuth_deg=120.0, height_deg=50.0),
)


def test_a_selection_comes_back_from_its_text():
    assert read_selection(write_selection(SELECTION)) == SELECTION
    assert read_selection(" ") == Selection()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"objects": [{"name": "cup", "box": [0.5, 0, 0.1, 1]}]}, "object 1 .cup.: box"),
        ({"objects": [{"name": "cup", "box": [0, 0, float("nan"), 1]}]}, "box"),
        ({"objects": [{"name": ""}]}, "object 1: name"),
        ({"objects": [{"name": "cup", "material": "cheese"}]}, "material is 'cheese'"),
        ({"objects": [{"name": "cup"}, {"name": "cup"}]}, "two are named 'cup'"),
        ({"objects": [{"name": "cup", "strokes": [{"points": []}]}]}, "stroke 1"),
        ({"objects": [{"name": "cup", "strokes": [{"points": [[0, "a"]]}]}]}, "stroke 1: point 1"),
        ({"objects": [{"name": "cup", "color": 1}]}, "'color' is not known"),
        ({"ground": {"camera_height": 0}}, "camera_height"),
        ({"light": {"height_deg": True}}, "height_deg"),
        ({"version": 2}, "version"),
    ],
)
def test_a_selection_that_cannot_be_read_names_the_field(change, named):
    with pytest.raises(ControlError, match=named):
        read_selection(json.dumps({"version": 1, **change}))


def disc(width=320, height=200, centre=(150, 90), radius=50):
    """A picture of a red disc on a grey gradient with noise, and the disc's share of each pixel."""
    y, x = np.mgrid[:height, :width] + 0.5
    alpha = np.clip(radius + 0.5 - np.hypot(x - centre[0], y - centre[1]), 0, 1)
    noise = np.random.default_rng(0).normal(0, 3, (height, width, 3))
    back = np.stack([120 + 0.2 * x, 130 + 0.1 * y, 140 - 0.1 * x], -1) + noise
    front = np.array([200.0, 40.0, 30.0]) + noise
    picture = back + alpha[..., None] * (front - back)
    return np.clip(picture, 0, 255).astype(np.uint8), alpha


@pytest.mark.parametrize(
    ("box", "strokes"),
    [
        ((0.28, 0.15, 0.66, 0.75), ()),
        (None, (Stroke(((0.4, 0.4), (0.55, 0.5)), 0.04),)),
        (None, (Stroke(((0.47, 0.45),), 0.02),)),
        ((0.28, 0.15, 0.66, 0.75), (Stroke(((0.47, 0.45),), 0.02),)),
    ],
    ids=["box", "stroke", "click", "box and click"],
)
def test_a_disc_is_selected_to_its_edge(box, strokes):
    picture, alpha = disc()
    mask = select(picture, box, strokes)
    assert mask.dtype == np.float32 and mask.shape == alpha.shape
    assert np.minimum(mask, alpha).sum() / np.maximum(mask, alpha).sum() > 0.97


def test_erasing_takes_away():
    picture, alpha = disc()
    mask = select(picture, (0.28, 0.15, 0.66, 0.75), [Stroke(((0.3, 0.45), (0.45, 0.45)), 0.08, erase=True)])
    assert mask[90, 110:140].max() == 0
    assert mask[60, 150] > 0.9


def test_where_nothing_stands_out_it_says_so():
    flat = np.full((100, 120, 3), 90, np.uint8)
    with pytest.raises(NothingFound, match="paint over the object"):
        select(flat, (0.2, 0.2, 0.8, 0.8), [])
    with pytest.raises(ControlError, match="nothing is marked"):
        select(flat, None, [Stroke(((0.5, 0.5),), erase=True)])
