"""The foreign world: another engine and another renderer move and show what the labels say."""

import numpy as np
import pytest
import torch
from vdit.benchmark.foreign_world import FOREIGN_FAMILIES, GRAVITY, foreign_motion, foreign_scene
from vdit.benchmark.scores import score
from vdit.benchmark.selection import Format, take

KNOWN = 5


def test_scenes_follow_from_their_seed_and_families_are_named():
    for family in FOREIGN_FAMILIES:
        a, b, other = foreign_scene(3, family), foreign_scene(3, family), foreign_scene(4, family)
        assert np.array_equal(a.things[0].position, b.things[0].position) and a.caption == b.caption
        assert not np.array_equal(a.things[0].position, other.things[0].position)
    with pytest.raises(ValueError, match="foreign-fall"):
        foreign_scene(0, "fall")


def test_what_is_missing_is_named_with_the_extra(monkeypatch):
    import vdit.benchmark.foreign_world as world

    monkeypatch.setattr(world, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install vdit\[foreign\]"):
        foreign_motion(foreign_scene(0, "foreign-fall"), 2, 8.0)


def test_the_foreign_world_is_for_test_only():
    with pytest.raises(ValueError, match="test only"):
        take("foreign-balls", "foreign-fall", "train", 1, Format(64, 64))


def suited(family, suite):
    pytest.importorskip("pydrake")
    pytest.importorskip("embreex")
    for seed in range(40):
        found = take(suite, family, "test", seed, Format(96, 96))
        if not isinstance(found, str):
            return found
    raise AssertionError("no scene suits")


@pytest.mark.slow
def test_a_ball_falls_as_gravity_says_and_bounces():
    pytest.importorskip("pydrake")
    scene = foreign_scene(3, "foreign-fall")
    height = foreign_motion(scene, 60, 40.0)[:, 0, 2, 3] - scene.things[0].size[0]
    t = np.arange(12) / 40
    assert np.allclose(height[:12], height[0] - GRAVITY * t**2 / 2, atol=0.02)
    assert height.min() > -0.05 and height[height.argmin() :].max() > 0.3 * height[0]


@pytest.mark.slow
@pytest.mark.parametrize("family, suite", [("foreign-fall", "foreign-balls"), ("foreign-topple", "foreign-bodies")])
def test_the_truth_scores_high_and_what_stands_still_low(family, suite):
    _, labels = suited(family, suite)
    assert score(suite, labels.truth, labels).value > 0.8
    still = np.copy(labels.truth)
    still[KNOWN:] = still[KNOWN - 1]
    assert score(suite, still, labels).value < 0.5
    assert score(suite, np.full_like(labels.truth, 0.5), labels).value == 0


@pytest.mark.slow
def test_its_flow_leads_to_the_same_thing():
    clip, _ = suited("foreign-slide", "foreign-bodies")
    instance = torch.from_numpy(clip.footage.instance.astype(np.float32))
    n = instance.shape[1]
    v, u = torch.meshgrid(torch.arange(n) + 0.5, torch.arange(n) + 0.5, indexing="ij")
    at = (torch.stack((u, v), -1) + clip.flow) / n * 2 - 1
    there = torch.nn.functional.grid_sample(instance[1:, None], at, mode="nearest", align_corners=False)[:, 0]
    moving = (instance[:-1] > 0) & (clip.flow.norm(dim=-1) > 0.5)
    assert moving.sum() > 50 and (there[moving] > 0).float().mean() > 0.9
