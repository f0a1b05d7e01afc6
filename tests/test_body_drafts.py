"""Drafts by simulation: what is perceived in five pictures moves on as the simulator has it, in the picture's look."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from vdit.benchmark.bodies import BODY_SUITES
from vdit.benchmark.body_labels import label_bodies
from vdit.control.moves import move
from vdit.drafting import PerceptionCache
from vdit.geometry.camera_numpy import axis_rotation, focal_length
from vdit.lift import seen as seen_module
from vdit.lift.perceived import STUFF
from vdit.model.ways import MOTION
from vdit.pipeline.body_drafts import draft_of_bodies, is_moved
from vdit.pipeline.values import ClipSpec
from vdit.training.data.body_labels import FINE, KNOWN, perfect, seen
from vdit.world.drawing.film import looks
from vdit.world.families.objects import play, stage
from vdit.world.families.scene import RESTITUTION
from vdit.world.families.varied import as_varied
from vdit.world.scene import Projected
from vdit.world.simulate import simulate


class TrueEyes(torch.nn.Module):
    """Perceives what is there, and counts how often it is asked."""

    def __init__(self, truth):
        super().__init__()
        self.truth, self.asked = truth, 0

    def perceive(self, frames, motion):
        self.asked += 1
        assert len(frames) == KNOWN and motion.shape[2] == MOTION
        covered = self.truth.covered.expand(len(frames), -1, -1)  # as in the last picture: nothing has left its place
        return replace(self.truth, covered=covered)


def looked_round(clip, degrees):
    """The first pictures of a clip from a camera that pans by so many degrees in a frame, as it stands in the last."""
    first = replace(clip.motion, poses=clip.motion.poses[:KNOWN], present=clip.motion.present[:KNOWN])
    c2w = np.stack([clip.c2w[0]] * KNOWN)
    c2w[:, :3, :3] = c2w[:, :3, :3] @ axis_rotation(1, degrees * (np.arange(KNOWN) - KNOWN + 1.0))
    return looks(first, width=128, height=128, c2w=c2w, fov_deg=clip.fov_deg[:KNOWN]).rgb


@pytest.fixture(scope="module")
def topple():
    """A clip in which a thing falls over, and what there is to perceive in its first pictures."""
    staged = stage(5004, "topple", split="validation")
    made = as_varied(staged)
    labels = seen(made, simulate(made.scene, seconds=6 / 8, fps=8 * FINE), 0)
    return play(staged), perfect(labels)


def test_a_thing_that_is_perceived_rightly_falls_as_the_simulator_has_it(topple):
    clip, truth = topple
    labels = label_bodies(clip)
    draft = draft_of_bodies(TrueEyes(truth), clip.rgb[:KNOWN], ClipSpec(labels.frames, 128, 128, 8.0))
    assert torch.equal(draft.frames[:KNOWN], clip.rgb[:KNOWN]) and not draft.camera_moves
    assert draft.frames.min() >= 0 and draft.frames.max() <= 1
    score = BODY_SUITES["bodies-physics"].score(draft.frames.numpy().astype(np.float32), labels, KNOWN)
    assert score.value == 1, score.checks
    assert not draft.coverage[:KNOWN].any() and 0 < draft.coverage[-1].mean() < 0.5


def test_what_turns_is_lit_anew(topple, monkeypatch):
    """Its picture shows it in the light that fell on it as it stood."""
    clip, truth = topple
    size, off = ClipSpec(25, 128, 128, 8.0), []
    moved = clip.footage.instance[24] > 0
    for _ in range(2):
        draft = draft_of_bodies(TrueEyes(truth), clip.rgb[:KNOWN], size)
        off.append(float((draft.frames[24] - clip.rgb[24])[moved].square().mean()))
        # With the picture's own light, and not lit again.
        monkeypatch.setattr(seen_module, "_light_on", lambda _, i, masks, __: (np.ones_like(masks[i]), masks[i] > 1))
        monkeypatch.setattr(seen_module, "Projected", lambda image, view, lit: Projected(image, view))
    assert off[0] < 0.5 * off[1]


def test_a_rod_swings_with_what_hangs_on_it():
    """What is perceived of a pendulum's hinge is far off; the rod in the pictures tells where it is."""
    staged = stage(8015, "swing", split="validation")
    made, clip = as_varied(staged), play(staged)
    truth = perfect(seen(made, simulate(made.scene, seconds=6 / 8, fps=8 * FINE), 0))
    view = staged.scene.view
    local = (clip.motion.poses[:KNOWN, 0, :3, 3] - view.c2w[:3, 3]) @ view.c2w[:3, :3]
    at = local[:, :2] / local[:, 2:] * float(focal_length(view.fov_deg, 1.0))
    came = torch.from_numpy(at[-1] - at[-2::-1])[None].float()
    wrong = replace(truth, came=came, anchor=truth.anchor + torch.tensor([0.3, 0.1, 0.2]))
    drafts = [
        draft_of_bodies(TrueEyes(eyes), clip.rgb[:KNOWN], ClipSpec(33, 128, 128, 8.0)).frames
        for eyes in (wrong, replace(wrong, came=torch.full_like(came, torch.nan)))
    ]
    swings = clip.footage.instance[:33] > 0
    assert swings[KNOWN:, :45].any(2).any(0).sum() > 10  # the rod reaches high up
    with_rod, without = (float((d - clip.rgb[:33])[swings].square().mean()) for d in drafts)
    assert with_rod < 0.01 and with_rod < 0.3 * without, (with_rod, without)


def test_what_another_thing_hides_of_a_body_comes_out_whole():
    """Of a thing that flies behind a box the last known picture shows the half that is not behind it yet."""
    staged = stage(7015, "hide", split="validation")
    made, clip = as_varied(staged), play(staged)
    truth = perfect(seen(made, simulate(made.scene, seconds=6 / 8, fps=8 * FINE), 0))
    labels = label_bodies(clip)
    look = labels.looks[0]
    assert 0.1 < look.visible[KNOWN - 1] < 0.8
    draft = draft_of_bodies(TrueEyes(truth), clip.rgb[:KNOWN], ClipSpec(labels.frames, 128, 128, 8.0))
    score = BODY_SUITES["bodies-permanence"].score(draft.frames.numpy().astype(np.float32), labels, KNOWN)
    assert score.value == 1, score.checks


def test_where_a_ball_moves_or_nothing_does_others_decide(topple):
    clip, truth = topple
    size, count = ClipSpec(9, 128, 128, 8.0), len(truth.kind)
    still = replace(truth, velocity=0 * truth.velocity)
    fixed = replace(truth, fixed=torch.ones(count))
    unsure = replace(truth, sure=torch.full((count,), 0.4))
    perhaps = replace(truth, sphere=torch.full((count,), 0.8))
    balls = replace(truth, kind=("sphere",) * count, sphere=torch.ones(count))
    for seen_so in (still, fixed, unsure, perhaps, balls):
        assert draft_of_bodies(TrueEyes(seen_so), clip.rgb[:KNOWN], size) is None
        moved = draft_of_bodies(TrueEyes(seen_so), clip.rgb[:KNOWN], size, balls=True) is not None
        assert moved == (seen_so is balls or seen_so is perhaps)
    assert draft_of_bodies(TrueEyes(truth), clip.rgb[:KNOWN], size) is not None


def test_what_a_ball_flies_at_is_moved_with_it(topple):
    _, truth = topple
    fields = ("sure", "sphere", "velocity", "half", "fixed")
    two = replace(truth, kind=("sphere", "box"), **{n: torch.cat((getattr(truth, n),) * 2)[:2] for n in fields})
    two.sphere[0], two.velocity[1] = 1.0, 0.0
    assert is_moved(two)
    two.fixed[1] = 1.0
    assert not is_moved(two) and is_moved(two, balls=True)
    two.sure[0] = 0.4
    assert not is_moved(two, balls=True)


def test_balls_alone_bounce_as_balls_do_and_others_as_wood(topple, monkeypatch):
    clip, truth = topple
    made = []
    monkeypatch.setattr("vdit.pipeline.body_drafts._drawn", lambda scene, *_: made.append(scene))
    count = len(truth.kind)
    balls = replace(truth, kind=("sphere",) * count, sphere=torch.ones(count))
    for seen_so in (balls, truth):
        draft_of_bodies(TrueEyes(seen_so), clip.rgb[:KNOWN], ClipSpec(9, 128, 128, 8.0), balls=True)
    assert [scene.ground.material.restitution for scene in made] == [RESTITUTION, STUFF.restitution]


def test_a_camera_path_is_followed_from_pictures_of_a_camera_at_rest(topple):
    clip, truth = topple
    size, path = ClipSpec(9, 128, 128, 8.0), move("pan", 1.0, frames=5)
    for degrees in (-3, 0.5, 3):  # in a frame
        turned = looked_round(clip, degrees)
        assert draft_of_bodies(TrueEyes(truth), turned, size, path) is None, "its motion is lent to all that is seen"
    assert draft_of_bodies(TrueEyes(truth), looked_round(clip, 0.0), size) is not None
    still, panned = (draft_of_bodies(TrueEyes(truth), clip.rgb[:KNOWN], size, p) for p in (None, path))
    assert panned.camera_moves and (panned.frames[-1] - still.frames[-1]).abs().mean() > 0.02


def test_takes_of_a_shot_share_what_was_perceived_and_drawn(topple):
    clip, truth = topple
    eyes, cache, size = TrueEyes(truth), PerceptionCache(), ClipSpec(9, 128, 128, 8.0)
    first, again = (draft_of_bodies(eyes, clip.rgb[:KNOWN].clone(), size, cache=cache) for _ in range(2))
    longer = draft_of_bodies(eyes, clip.rgb[:KNOWN], replace(size, frames=13), cache=cache)
    assert again is first and eyes.asked == 1 and len(longer.frames) == 13


def test_a_long_draft_is_drawn_where_it_is_looked_at(topple):
    clip, truth = topple
    short, long = (
        draft_of_bodies(TrueEyes(truth), clip.rgb[:KNOWN], ClipSpec(count, 128, 128, 8.0)) for count in (41, 137)
    )
    assert not isinstance(long.frames, torch.Tensor) and len(long.frames) == 137
    assert torch.equal(long.frames[30:40], short.frames[30:40]) and torch.equal(long.frames[:3], clip.rgb[:3])
