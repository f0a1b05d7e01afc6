"""Pictures are perceived once for all takes of a shot."""

import gc

import pytest
import torch
from vdit.drafting.perception import MAX_PIXELS, MAX_SHOTS, Memo, PerceptionCache
from vdit.model.object_dynamics import ObjectDynamics


class Counts(ObjectDynamics):
    calls = 0

    def perceive(self, frames):
        self.calls += 1
        return super().perceive(frames)


@pytest.fixture
def dynamics():
    torch.manual_seed(0)
    return Counts().eval().requires_grad_(False)


def picture(shade=0.5, count=1):
    return torch.full((count, 32, 32, 3), shade)


@torch.no_grad()
def test_the_same_pictures_are_perceived_once_whatever_tensor_holds_them(dynamics):
    cache = PerceptionCache()
    first = cache.perceive(dynamics, picture(), True, False)
    again = cache.perceive(dynamics, picture().clone(), True, False)
    assert dynamics.calls == 1 and again is first
    fresh = dynamics.perceive(picture()[None])
    assert all(torch.equal(a, b) for a, b in zip(first.perception, fresh, strict=True))


@torch.no_grad()
@pytest.mark.parametrize(
    "other",
    [
        (picture(0.6), True, False),
        (picture(count=5), False, False),
        (picture(), True, True),
        (picture().view(1, 64, 16, 3), True, False),
    ],
)
def test_anything_else_is_perceived_anew(dynamics, other):
    cache = PerceptionCache()
    cache.perceive(dynamics, picture(), True, False)
    cache.perceive(dynamics, *other)
    assert dynamics.calls == 2


@torch.no_grad()
def test_the_latest_shots_stay_cached_as_long_as_their_model(dynamics):
    cache = PerceptionCache()
    for i in range(MAX_SHOTS):
        cache.perceive(dynamics, picture(i / 10), True, False)
    cache.perceive(dynamics, picture(0.0), True, False)  # used again: it stays
    cache.perceive(dynamics, picture(0.9), True, False)
    assert dynamics.calls == MAX_SHOTS + 1 and len(cache) == MAX_SHOTS
    cache.perceive(dynamics, picture(0.0), True, False)
    assert dynamics.calls == MAX_SHOTS + 1
    cache.perceive(dynamics, picture(0.1), True, False)
    assert dynamics.calls == MAX_SHOTS + 2
    other = Counts().eval()
    cache.perceive(other, picture(0.9), True, False)
    assert other.calls == 1 and len(cache) == MAX_SHOTS + 1
    del other
    gc.collect()
    assert len(cache) == MAX_SHOTS


def test_values_derived_from_a_perception_are_computed_once():
    made = []
    memo = Memo(MAX_PIXELS // 3)  # there is room for three
    make = lambda: made.append(0) or len(made)  # noqa: E731
    assert memo.get("it", make, torch.ones(2), True) == memo.get("it", make, torch.ones(2), True) == 1
    assert memo.get("it", make, torch.ones(3), True) == 2 and memo.get("it", make, torch.ones(2), False) == 3
    assert memo.get("it", make, torch.ones(2), True) == 1
    assert memo.get("it", make, 7) == 4 and memo.get("it", make, torch.ones(2), True) == 5  # the others made room
