"""Earlier pictures of a camera at rest show what bodies, and their shadows, hide in the last one."""

import numpy as np
import pytest
from vdit.lift.before import uncovered
from vdit.lift.shadow import rest_of_shadow

SIZE = 64
FLOOR = np.random.default_rng(0).integers(90, 160, (SIZE, SIZE, 1)) + np.array([0, 20, 40])


def flight(step, missed=(), color=(200, 40, 30)):
    """Five pictures in which a square flies `step` pixels a frame over its shadow, and where it is seen in them."""
    pictures, covered = np.repeat(FLOOR[None].astype(np.uint8), 5, 0), np.zeros((5, SIZE, SIZE), bool)
    for t in range(5):
        left = 4 + step * t
        shadow = pictures[t, 44:50, left : left + 12]
        shadow[:] = (shadow * 0.6).astype(np.uint8)
        pictures[t, 10:22, left : left + 12] = color
        covered[t, 10:22, left : left + 12] = t not in missed
    return pictures, covered


def off(pictures, found, where):
    """The share of pixels there that are known, and how far these are from the floor at most."""
    known = found.known & where
    return known.sum() / where.sum(), np.abs(found.picture.astype(int) - FLOOR).max(
        -1, where=known[..., None], initial=0
    )


def test_what_flew_by_and_its_shadow_are_gone():
    pictures, covered = flight(step=9)
    found = uncovered(pictures, covered)
    shadow = np.zeros_like(covered[-1])
    shadow[44:50, 40:52] = True
    for where in (covered[-1], shadow):
        share, error = off(pictures, found, where)
        assert share == 1 and error.max(initial=0) <= 1
    elsewhere = ~found.known
    assert (found.picture[elsewhere] == pictures[-1][elsewhere]).all() and found.known.mean() < 0.12


@pytest.mark.parametrize("missed", [(0,), (2,), (0, 1, 2, 3)])
def test_a_body_that_was_missed_is_not_taken_for_what_is_behind_it(missed):
    """It moves so little that it hides most of its place in all pictures."""
    pictures, covered = flight(step=1, missed=missed)
    share, error = off(pictures, uncovered(pictures, covered), covered[-1])
    assert share < 0.3 and error.max(initial=0) <= 1


def test_where_the_light_changes_nothing_was_shaded():
    pictures, covered = flight(step=9)
    pictures[-1] = (pictures[-1] * 0.8).astype(np.uint8)
    found = uncovered(pictures, covered)
    assert not found.known[50:].any()


def test_what_stands_still_stays_unknown():
    pictures, covered = flight(step=0)
    assert not uncovered(pictures, covered).known.any()


def test_the_rest_of_a_shadow_goes_with_the_part_that_is_known():
    """A slow body's shadow has hidden its middle in all pictures: that is darker than the ground, and of its colour."""
    picture = np.full((SIZE, SIZE, 3), (120, 130, 140), np.uint8)
    shadow, shaded, bodies = (np.zeros((SIZE, SIZE), bool) for _ in range(3))
    shadow[40:46, 20:34], shaded[40:46, 20:34], bodies[10:22, 20:32] = True, True, True
    shaded[41:45, 25:29] = False
    picture[shadow] = (72, 78, 84)
    picture[shaded], picture[bodies] = (120, 130, 140), (10, 10, 12)
    rest = rest_of_shadow(picture, shaded, bodies)
    assert rest[shadow & ~shaded].mean() > 0.6 and not (rest & bodies).any() and rest.sum() < 2 * shadow.sum()
    picture[shadow & ~shaded] = (120, 40, 40)  # a stain
    assert not rest_of_shadow(picture, shaded, bodies)[42:44, 26:28].all()
    assert not rest_of_shadow(picture, np.zeros_like(shaded), bodies).any()
