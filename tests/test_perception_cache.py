"""What pictures were seen to show is kept for the next takes of their shot."""

import gc

import pytest
import torch
from vdit.model.object_dynamics import ObjectDynamics
from vdit.drafting import perception as kept
from vdit.drafting.perception import KEPT, looked


class Counts(ObjectDynamics):
    looks = 0

    def look(self, frames):
        self.looks += 1
        return super().look(frames)


@pytest.fixture
def dynamics():
    torch.manual_seed(0)
    return Counts().eval().requires_grad_(False)


def picture(shade=0.5, count=1):
    return torch.full((count, 32, 32, 3), shade)


@torch.no_grad()
def test_the_same_pictures_are_looked_at_once_whatever_tensor_holds_them(dynamics):
    first = looked(dynamics, picture(), True, False)
    again = looked(dynamics, picture().clone(), True, False)
    assert dynamics.looks == 1 and again is first
    fresh = dynamics.look(picture()[None])
    assert all(torch.equal(a, b) for a, b in zip(first.seen, fresh))


@torch.no_grad()
@pytest.mark.parametrize("other", [
    (picture(0.6), True, False), (picture(count=5), False, False), (picture(), True, True), (picture().view(1, 64, 16, 3), True, False),
])  # fmt: skip
def test_what_else_is_asked_is_looked_at(dynamics, other):
    looked(dynamics, picture(), True, False)
    looked(dynamics, *other)
    assert dynamics.looks == 2


@torch.no_grad()
def test_the_shots_of_late_are_kept_and_go_with_their_model(dynamics):
    for i in range(KEPT):
        looked(dynamics, picture(i / 10), True, False)
    looked(dynamics, picture(0.0), True, False)  # used again: it stays
    looked(dynamics, picture(0.9), True, False)
    assert dynamics.looks == KEPT + 1 and len(kept._kept[dynamics]) == KEPT
    looked(dynamics, picture(0.0), True, False)
    assert dynamics.looks == KEPT + 1
    looked(dynamics, picture(0.1), True, False)
    assert dynamics.looks == KEPT + 2
    other = Counts().eval()
    looked(other, picture(0.9), True, False)
    assert other.looks == 1
    before = len(kept._kept)
    del other
    gc.collect()
    assert len(kept._kept) == before - 1


def test_what_is_made_of_a_look_is_made_once():
    made = []
    look = kept.Look(None, None, kept.ROOM // 3)  # there is room for three
    make = lambda: made.append(0) or len(made)  # noqa: E731
    assert look.once("it", make, torch.ones(2), True) == look.once("it", make, torch.ones(2), True) == 1
    assert look.once("it", make, torch.ones(3), True) == 2 and look.once("it", make, torch.ones(2), False) == 3
    assert look.once("it", make, torch.ones(2), True) == 1
    assert look.once("it", make, 7) == 4 and look.once("it", make, torch.ones(2), True) == 5  # the others made room
