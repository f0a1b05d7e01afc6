"""A box means the main thing in it: whole where its colours are around it too, thin parts and all."""

import numpy as np
import pytest
from vdit.lift.objects import Stroke
from vdit.lift.select import select, soften

SHAPE = 300, 400


def grain(color, seed):
    return np.asarray(color, float) + np.random.default_rng(seed).normal(0, 6, (*SHAPE, 1))


def iou(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def face():
    """A face whose skin is nearly the wall's colour, with dark eyes and a nose that nothing else has."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    head = ((x - 200) / 110) ** 2 + ((y - 150) / 120) ** 2 < 1
    marks = np.zeros(SHAPE, bool)
    for cx, cy, r in ((160, 120, 18), (240, 120, 18), (200, 180, 15)):
        marks |= np.hypot(x - cx, y - cy) < r
    picture = np.where(head[..., None], grain((190, 150, 120), 0), grain((165, 150, 140), 1))
    return np.where(marks[..., None], (40, 70, 30), picture).clip(0, 255).astype(np.uint8), head


def chair():
    """A seat on four legs and a back of bars, each 6 pixels wide, before grass."""
    canvas = np.zeros(SHAPE, bool)
    canvas[160:180, 130:270] = True
    for x in (130, 264, 160, 234):
        canvas[180:260, x : x + 6] = True
    for x in (130, 175, 220, 264):
        canvas[50:160, x : x + 6] = True
    grass = grain((70, 130, 60), 2)
    return np.where(canvas[..., None], grain((150, 90, 50), 3), grass).clip(0, 255).astype(np.uint8), canvas


def share(x0, y0, x1, y1):
    return x0 / SHAPE[1], y0 / SHAPE[0], x1 / SHAPE[1], y1 / SHAPE[0]


@pytest.mark.parametrize("margin", [4, 30])
def test_a_box_around_a_face_takes_the_face_and_not_its_eyes(margin):
    picture, head = face()
    box = share(90 - margin, max(0, 30 - margin), 310 + margin, min(300, 270 + margin))
    assert iou(select(picture, box, ()) > 0.5, head) > 0.9


@pytest.mark.parametrize("margin", [4, 20])
def test_a_box_around_a_chair_leaves_out_what_is_seen_between_its_legs(margin):
    picture, truth = chair()
    box = share(130 - margin, 50 - margin, 270 + margin, 260 + margin)
    assert iou(select(picture, box, ()) > 0.5, truth) > 0.8


def test_one_click_takes_the_thing_around_it():
    picture, _ = face()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    mask = select(picture, None, [Stroke(((0.4, 0.4),), 0.03)]) > 0.5
    assert iou(mask, np.hypot(x - 160, y - 120) < 18) > 0.8


def test_a_dab_adds_what_a_box_missed_and_another_takes_away():
    picture, head = face()
    box = share(70, 10, 330, 290)
    assert not select(picture, box, [Stroke(((0.5, 0.5),), 0.1, erase=True)])[150, 200]
    assert select(picture, box, [Stroke(((0.1, 0.1),), 0.02)])[30, 40] == 1


def test_a_softened_edge_is_the_same_whatever_else_the_picture_holds():
    picture, head = face()
    soft = soften(picture, head.astype(np.float32), 4)
    changed = picture.copy()
    changed[:20] = 0
    assert np.array_equal(soften(changed, head.astype(np.float32), 4), soft)
    assert np.array_equal(soft[140:160, 190:210], np.ones((20, 20), np.float32)) and not soft[:20].any()
    assert (np.abs(soft - head) > 0.5).mean() < 0.01


def test_a_large_picture_gets_the_edge_of_the_small_one():
    picture, head = face()
    large = picture.repeat(6, 0).repeat(6, 1)
    soft = soften(large, head.repeat(6, 0).repeat(6, 1).astype(np.float32), 24)
    assert np.abs(soft[3::6, 3::6] - soften(picture, head.astype(np.float32), 4)).mean() < 0.01


def test_the_same_marks_give_the_same_mask():
    picture, _ = face()
    box = share(70, 10, 330, 290)
    assert np.array_equal(select(picture, box, ()), select(picture, box, ()))


def test_a_box_around_the_whole_picture_still_finds_the_thing_in_its_middle():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    head = ((x - 200) / 150) ** 2 + ((y - 150) / 130) ** 2 < 1
    picture = np.where(head[..., None], grain((190, 90, 60), 0), grain((120, 150, 170), 1)).clip(0, 255)
    assert iou(select(picture.astype(np.uint8), (0.0, 0.0, 1.0, 1.0), ()) > 0.5, head) > 0.9
