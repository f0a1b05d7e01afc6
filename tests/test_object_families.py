"""The families of objects: what their names say happens, exactly as their depth, masks and flow tell it."""

import numpy as np
import pytest
import torch
from vdit.nodes import simulate as node
from vdit.world.families.objects import OBJECT_FAMILIES, UNSEEN_PAIRS, play, stage
from vdit.world.families.scene import FAMILIES, sample_scene
from vdit.world.families.shapes import lowest

SMALL = dict(split="test", width=64, height=64)


def upright(pose):
    """How far a body's z axis points up, 1 to -1."""
    return pose[..., 2, 2]


def test_old_families_are_drawn_without_a_name_and_new_ones_only_by_theirs():
    assert {sample_scene(seed).family for seed in range(60)} <= set(FAMILIES)
    assert not set(FAMILIES) & set(OBJECT_FAMILIES)
    assert [*FAMILIES] == node.FAMILIES and [*OBJECT_FAMILIES] == node.OBJECT_FAMILIES
    with pytest.raises(ValueError, match="topple"):
        stage(0, "toppel")


@pytest.mark.parametrize("family", OBJECT_FAMILIES)
def test_a_seed_gives_the_same_scene_and_another_split_another_one(family):
    a, b, other = stage(5, family, **SMALL), stage(5, family, **SMALL), stage(5, family, split="train")
    assert a.caption == b.caption and [x.position for x in a.scene.bodies] == [x.position for x in b.scene.bodies]
    assert [x.position for x in a.scene.bodies] != [x.position for x in other.scene.bodies]
    assert len({x.name for x in a.scene.bodies}) == len(a.scene.bodies)


@pytest.mark.parametrize("family", OBJECT_FAMILIES)
def test_bodies_start_on_or_above_the_floor(family):
    for seed in range(12):
        for body in stage(seed, family, **SMALL).scene.bodies:
            assert lowest(body) > -1e-9, (seed, body.name)


@pytest.mark.parametrize("seed", range(4))
def test_what_topples_lies_and_what_rocks_stands(seed):
    clip = play(stage(seed, "topple", fps=4, frames=13, **SMALL))
    falls = "rock" not in clip.staged.caption
    assert (upright(clip.motion.poses[-1, 0]) < 0.7) == falls


def test_dominoes_fall_one_after_another():
    motion = play(stage(1, "dominoes", fps=16, frames=49, **SMALL)).motion
    fallen = upright(motion.poses) < 0.8  # [T, P]
    first = fallen.argmax(0)
    assert fallen[-1].all() and (np.diff(first) >= 0).all() and first[-1] > first[0]


def test_a_slide_stops_and_a_swing_comes_back():
    slide = play(stage(1, "slide", frames=33, **SMALL)).motion.poses[:, 0, 0, 3]
    assert abs(slide[8] - slide[0]) > 0.5 and abs(slide[-1] - slide[-2]) < 1e-3
    swing = np.diff(play(stage(1, "swing", frames=33, **SMALL)).motion.poses[:, 0, 0, 3])
    assert (np.diff(np.sign(swing[np.abs(swing) > 0.02])) != 0).sum() >= 1


def test_depth_masks_and_flow_belong_to_the_motion():
    clip = play(stage(2, "tumble", frames=9, split="test", width=96, height=64))
    seen = clip.footage
    assert ((seen.instance > 0) == (seen.mask > 0.5)).float().mean() > 0.995
    v, u = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    at = (torch.stack((u, v), -1) + seen.flow) / torch.tensor([96.0, 64.0]) * 2 - 1
    there = torch.nn.functional.grid_sample(seen.depth[1:, None], at, mode="nearest", align_corners=False)[:, 0]
    moving = seen.visible & (seen.instance[:-1] > 0)
    assert moving.sum() > 100
    assert ((there - seen.depth[:-1]).abs()[moving] < 0.35).float().mean() > 0.98


def test_unseen_pairs_of_kind_and_colour_are_kept_for_their_split():
    def pairs(split):
        names = [b.name for seed in range(40) for b in stage(seed, "tumble", split=split).scene.bodies]
        return {(name.split()[1], name.split()[0]) for name in names}

    assert not pairs("train") & UNSEEN_PAIRS and pairs("ood-color") & UNSEEN_PAIRS


def test_the_node_gives_objects_with_all_their_truth():
    out = node.VDiTSimulateScene.execute("strike", 3, "test", 9, 8.0, 64, 64, 5, "still").args
    images, start, depth, flow, masks, camera, caption, fps, scene = out
    assert images.shape == (9, 64, 64, 3) and start.shape[0] == 5 and depth.shape == images.shape
    assert flow.flow.shape == (8, 64, 64, 2) and masks.shape == (9, 64, 64) and camera.frames == 9
    assert scene.bodies and caption.startswith("a")
