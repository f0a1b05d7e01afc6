"""Perception of bodies: labels are what physics and geometry say, its numbers mean them, and its training resumes."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from vdit.control.flow_from_video import camera_moves, motion_before
from vdit.geometry.camera_numpy import focal_length
from vdit.geometry.moments import fourth_moments, line_of, rotation_of, second_moments
from vdit.model.cells import MASK_CELL, cell_places, resized
from vdit.model.files.beside import BODIES
from vdit.model.perceived import KINDS, answer, braking_of, gravity_of, kinds_of
from vdit.model.perception import BodyPerception, PerceptionConfig
from vdit.model.ways import MOTION, SPEED_UNIT, mean_speeds, ways_of
from vdit.training.bundle import bundle
from vdit.training.data.bodies import Bodies, BodiesFormat, texture_pool, write_bodies
from vdit.training.data.body_batches import BodyBatches, batch, mirrored
from vdit.training.data.body_labels import FINE, KNOWN, principal, seen
from vdit.training.finished_runs import grown, trained_perception
from vdit.training.recipes import BodiesRecipe, BundleRecipe, PerceptionRecipe
from vdit.training.tasks import bodies as task
from vdit.training.tasks.body_losses import cells_of, losses, targets, total
from vdit.training.tasks.body_scores import average_precision, scores
from vdit.world.drawing.background import plane_depths
from vdit.world.drawing.camera import Camera
from vdit.world.families.varied import SHAPES, VARIED_FAMILIES, varied
from vdit.world.footage import FAR
from vdit.world.scene import Shape
from vdit.world.simulate import simulate

SMALL = PerceptionConfig(widths=(16, 16, 16, 16), frame=8, body=32)
TOY = BodiesFormat(starts=8, latest=6, sizes=((64, 64),), textures=4)


def shown(family, seed, start=0, **changes):
    made = varied(seed, family=family, frames=start + KNOWN + 1, plain=True)
    made = replace(made, **changes)
    seconds = ((start + KNOWN) * FINE + 1) / (made.fps * FINE)
    return made, seen(made, simulate(made.scene, seconds=seconds, fps=made.fps * FINE), start)


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bodies")
    write_bodies(BodiesRecipe(folder, shards=2, photographs=folder / "none"), TOY)
    return folder


@pytest.mark.parametrize("half", [(1.0, 1.0, 1.0), (0.5, 0.5, 1.2), (0.4, 0.7, 1.2)])
def test_moments_tell_a_boxs_axes_even_where_sizes_are_equal(half):
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(200, 3, 3, generator=generator))[0]
    found = rotation_of(second_moments(axes, torch.tensor(half).expand(200, 3)), fourth_moments(axes))
    cos = (found.transpose(1, 2) @ axes).abs().amax(2)
    assert torch.rad2deg(torch.arccos(cos.clamp(max=1))).max() < 0.2
    assert torch.allclose(torch.linalg.det(found), torch.ones(200), atol=1e-4)


def test_moments_are_the_same_for_all_rotations_that_look_the_same():
    axes = torch.linalg.qr(torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(1)))[0]
    swapped = axes[..., [1, 2, 0]] * torch.tensor((-1.0, 1.0, -1.0))
    assert torch.allclose(fourth_moments(axes), fourth_moments(swapped), atol=1e-6)
    line = axes[..., :1]
    assert ((line_of(fourth_moments(line)) * line[..., 0]).sum(-1).abs() > 0.9999).all()


@pytest.mark.parametrize("family", VARIED_FAMILIES)
def test_each_family_gives_the_same_labels_again(family):
    (made, a), (_, b) = shown(family, 3), shown(family, 3)
    assert made.family == family and a is not None and b is not None
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert (a["pixels"] > 0).sum() == a["instance"].max() and np.isfinite(a["center"]).all()


def test_what_falls_freely_gains_gravity_times_the_time():
    made = varied(5, family="fall", frames=KNOWN + 1, plain=True)
    scene = replace(made.scene, gravity=(0.0, 0.0, -1.0))
    thrown = [replace(b, velocity=(0.0, 0.0, 0.0), spin=(0.0, 0.0, 0.0)) for b in scene.bodies]
    made = replace(made, scene=replace(scene, bodies=tuple(thrown)), fps=8.0)
    labels = seen(made, simulate(made.scene, seconds=(4.5 * FINE) / (8 * FINE), fps=8 * FINE), 0)
    falling = labels["pixels"] > 0
    up = labels["velocity"][falling] @ labels["ground"]
    assert falling.sum() and np.allclose(up, -labels["gravity"] * (KNOWN - 1), rtol=0.01)


def test_centers_lie_in_their_masks_at_their_depth():
    for seed in range(3):
        _, labels = shown("roll", seed)
        for i in np.flatnonzero(labels["pixels"] > 100):
            x, y = labels["center"][i, :2] / labels["center"][i, 2] * labels["focal"] * 128 + 64
            if 4 < x < 124 and 4 < y < 124 and KINDS[int(labels["kind"][i])] == "sphere":
                assert labels["instance"][int(y), int(x)] == i + 1
                near = labels["inverse_depth"][int(y) // 4, int(x) // 4]
                assert 1 / near == pytest.approx(labels["center"][i, 2] - labels["half"][i, 0], rel=0.08)


def test_the_box_of_equal_moments_of_a_box_is_itself():
    parts = [Shape(kind="box", size=(0.1, 0.2, 0.15), position=(0, 0, z)) for z in (-0.15, 0.15)]
    center, axes, half = principal(tuple(parts), "compound")
    assert np.allclose(center, 0) and np.allclose(np.sort(half), (0.1, 0.2, 0.3))
    assert abs(axes[:, np.argmax(half)]) == pytest.approx((0, 0, 1))


def test_true_numbers_are_answered_as_the_true_bodies(starts):
    """targets() and answer() are inverses, up to what looks the same."""
    shard = next(iter(Bodies.load(starts).shards.values()))
    labels = {k: v[:8].clone() for k, v in shard.items()}
    made = batch(labels.pop("rgb").float() / 255, labels, torch.zeros(8, dtype=torch.bool))
    cell = cells_of(made)
    wanted = targets(made, cell)
    with torch.no_grad():
        features = BodyPerception(SMALL)(made.frames, made.labels["motion"])
    for i in range(8):
        own = made.picture == i
        kinds = made.of_bodies("kind").long()[own]
        told = {name: value[own] for name, value in wanted.items()}
        told["kind"] = torch.nn.functional.one_hot(kinds, len(KINDS)).float()
        told |= {name: made.of_bodies(name)[own][:, None] for name in ("fixed", "hinged")}
        told["support"] = torch.nn.functional.one_hot(made.of_bodies("support").long()[own], 3).float()
        told |= {"bend": torch.zeros(len(kinds), 3), "came": torch.zeros(len(kinds), 4, 2)}
        scene = {name: value[i] for name, value in features.scene.items()}
        scene |= {"focal": made.labels["focal"][i, None].log()}
        place = cell_places(64, 64, 4, cell.device).flatten(0, 1)[cell[own]]
        sure, masks = torch.ones(int(own.sum())), torch.zeros(int(own.sum()), 64, 64)
        found = answer(scene, features.inverse_depth[i], told, place, sure, masks, masks.amax(0, keepdim=True))
        assert torch.allclose(found.center, made.of_bodies("center")[own], atol=1e-4)
        assert torch.allclose(found.velocity, made.of_bodies("velocity")[own], atol=1e-4)
        ground = made.labels["ground"][i]
        beneath = found.foot * (-1 / (found.foot @ ground))[:, None]  # on the ground, one height of the eye below
        up = made.of_bodies("center")[own] - beneath
        assert torch.allclose(up, (up @ ground)[:, None] * ground, atol=1e-3)
        half, axes = made.of_bodies("half")[own], made.of_bodies("axes")[own]
        for n, kind in enumerate(found.kind):
            given = axes[n] @ torch.diag(half[n]) @ axes[n].T
            again = found.rotation[n] @ torch.diag(found.half[n]) @ found.rotation[n].T
            assert torch.allclose(again, given, atol=0.02 * float(half[n].max())), kind


def test_a_mirror_shows_the_mirrored_bodies(starts):
    shard = next(iter(Bodies.load(starts).shards.values()))
    labels = {k: v[:4].clone() for k, v in shard.items()}
    flips = torch.tensor([True, False, True, False])
    once = mirrored(labels, flips)
    assert torch.equal(once["center"][0, :, 0], -labels["center"][0, :, 0])
    assert torch.equal(once["rgb"][1], labels["rgb"][1])
    assert torch.equal(once["motion"][0, :, 0], labels["motion"][0, :, -1] * torch.tensor((-1.0, 1.0) * (KNOWN - 1)))
    assert all(torch.equal(v, labels[k]) for k, v in mirrored(once, flips).items())


def test_pictures_are_perceived_alike_where_gradients_are_off_for_good():
    """As in ComfyUI, whose nodes run in inference mode."""
    torch.manual_seed(0)
    model, pictures, motion = BodyPerception(SMALL), torch.rand(KNOWN, 64, 64, 3), torch.zeros(32, 32, MOTION)
    for part in (model.found[1].bias, model.body[4].bias):
        part.data += torch.linspace(0, 1, len(part))  # sure of boxes
    model.body[4].bias.data[KINDS.index("box")] = 9.0
    with torch.inference_mode():
        inside = model.perceive(pictures, motion, sure=0.0)
    outside = model.perceive(pictures, motion, sure=0.0)
    assert "box" in inside.kind and torch.equal(inside.rotation, outside.rotation)


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (90, 400)])
def test_pictures_of_any_size_are_answered_at_their_size(size):
    model = BodyPerception(SMALL)
    pictures = torch.rand(KNOWN, *size, 3)
    found = model.perceive(pictures, torch.zeros(32, 32, MOTION), sure=0.0)
    assert found.masks.shape[1:] == size and len(found.kind) == len(found.center) <= 16
    assert torch.isfinite(found.center).all() and torch.isfinite(found.rotation).all()
    assert found.ground.norm() == pytest.approx(1)
    alone = [model.perceive(picture[None], torch.zeros(32, 32, MOTION), sure=0.0).masks.amax(0) for picture in pictures]
    # The largest of resized masks, or the other way.
    assert torch.allclose(found.covered[:-1], torch.stack(alone[:-1]), atol=0.01)
    assert torch.allclose(found.covered[-1], found.masks.amax(0), atol=0.01)
    assert not model.perceive(pictures, torch.zeros(32, 32, MOTION), sure=1.0).covered.any()


def accelerated(t):
    """Way in pixels of what moves at 2 pixels a frame now and gains 0.8 a frame."""
    return 2.0 * t + 0.4 * t * t


def test_motion_is_followed_from_frame_to_frame():
    texture = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 164, 264, generator=torch.Generator().manual_seed(3)), 5)
    texture = torch.nn.functional.interpolate(texture, (640, 1040), mode="bicubic")[0].clamp(
        0, 1
    )  # of a tenth of a pixel
    starts = [round(200 + 10 * (accelerated(-4) - accelerated(t))) for t in (-4, -3, -2, -1, 0)]
    frames = [torch.nn.functional.avg_pool2d(texture[:, :, x : x + 640], 10).permute(1, 2, 0) for x in starts]
    motion = motion_before(torch.stack(frames), KNOWN)[8:24, 8:24].mean((0, 1)) * 64
    true = [way for k in range(1, KNOWN) for way in (-accelerated(-k), 0.0)]
    assert motion.tolist() == pytest.approx(true, abs=0.15)
    assert speed_of(motion) == pytest.approx([2.0, 0.0], abs=0.15)
    assert not motion_before(torch.stack(frames)[-1:], KNOWN).any()


@pytest.mark.parametrize(
    "pan, walks, moves", [(0, 0, False), (0, 3, False), (2, 0, True), (2, 3, True), (-1, -3, True)]
)
def test_a_camera_moves_that_carries_on_what_nothing_covers(pan, walks, moves):
    """pan, walks: pixels a frame of a wall with a pattern, and of a block before it; its mask is the block's."""
    noise = torch.rand(1, 3, 100, 140, generator=torch.Generator().manual_seed(5))
    wall = torch.nn.functional.avg_pool2d(noise, 5, 1)[0]
    frames, covered = torch.zeros(KNOWN, 96, 96, 3), torch.zeros(KNOWN, 96, 96)
    for t in range(KNOWN):
        across = slice(30 + (pan + walks) * (t - 2), 62 + (pan + walks) * (t - 2))
        frames[t] = wall[:, :, 20 - pan * t :][:, :96, :96].permute(1, 2, 0)
        frames[t, 30:70, across] = torch.tensor([0.9, 0.2, 0.1])
        covered[t, 30:70, across] = 1.0
    assert camera_moves(frames[-1], motion_before(frames, KNOWN), covered) == moves
    plain = torch.full_like(frames, 0.5)
    assert not camera_moves(plain[-1], motion_before(plain, KNOWN), covered), "nothing is seen to move"


def speed_of(ways, mask=None, pixels=64.0):
    """By ways_of, in pixels a frame, of a square of 16 x 16 cells that came these ways [MOTION] or
    [MOTION, 16, 16], in pixels of a picture of 64 rows."""
    whole = torch.zeros(1, MOTION, 32, 32)
    whole[0, :, 8:24, 8:24] = ways if ways.ndim == 3 else ways[:, None, None]
    if mask is None:
        mask = torch.zeros(1, 32, 32)
        mask[:, 8:24, 8:24] = 1.0
    speeds = mean_speeds(whole / pixels) / SPEED_UNIT
    found = ways_of(speeds, torch.zeros(1, dtype=torch.long), mask, torch.tensor([0.5])).speed
    return (found[0] * SPEED_UNIT * pixels).tolist()


def test_the_speed_of_a_constant_acceleration_is_that_of_the_last_frame():
    ways = torch.tensor([-accelerated(-k) for k in range(1, KNOWN)]).repeat_interleave(2)
    assert speed_of(ways) == pytest.approx([2.0, 2.0], abs=1e-4)


def test_an_even_speed_is_that_of_all_frames():
    """Flow is off by a tenth of a pixel in one frame; the quadratic fit alone would be off by as much."""
    ways = torch.tensor([3.0, 0.0, 6.0, 0.0, 9.0, 0.0, 12.0, 0.0])
    ways[2] += 0.1
    assert speed_of(ways) == pytest.approx([3.0 + 0.2 / 30, 0.0], abs=1e-4)


def test_what_lies_beside_a_body_and_what_was_hidden_leave_its_speed_alone():
    ways = torch.tensor([3.0, 1.0, 6.0, 2.0, 9.0, 3.0, 12.0, 4.0])[:, None, None].repeat(1, 16, 16)
    ways[4:, :, :5] = 0.0  # three frames ago another thing hid a third of it
    mask = torch.zeros(1, 32, 32)
    mask[:, 8:24, 5:24] = 1.0  # which reaches over what stands beside it
    assert speed_of(ways, mask) == pytest.approx([3.0, 1.0], abs=1e-4)
    assert all(math.isfinite(v) for v in speed_of(ways, 0 * mask))


@pytest.mark.parametrize("told", [0.5, 0.8, 2.0])
@pytest.mark.parametrize("beneath", [0.7, 1.0, 1.2])
def test_what_is_seen_to_fall_tells_gravity_and_how_far_it_is(told, beneath):
    """A body falls in the middle of the picture of a camera that looks level, three eye heights away, at a focal length
    of one picture height. told: the gravity that the network predicts, beneath: the distance of the ground beneath the
    body, as shares of the true ones."""
    true, distance = 0.06, 3.0
    scene = {
        "gravity": torch.tensor([math.log(true * told)]),
        "ground": torch.tensor([0.0, -1.0, 0.0]),
        "focal": torch.zeros(1),
        "camera": torch.zeros(6),
    }
    bend = torch.tensor([[0.0, true / distance, 0.0]]) / SPEED_UNIT
    bodies = {"support": torch.tensor([[9.0, 0.0, 0.0]]), "hinged": torch.full((1, 1), -5.0), "bend": bend}
    bodies |= {"fixed": bodies["hinged"], "size": torch.full((1, 1), math.log(0.1))}
    sure, center = torch.ones(1), torch.tensor([[0.0, 0.0, 2.0]])  # which the network alone takes to be nearer
    foot = torch.tensor([[0.0, 1 / (distance * beneath), 1.0]])
    gravity, farther = gravity_of(scene, bodies, sure, center, foot)
    assert gravity == pytest.approx(true * math.sqrt(told * beneath))
    assert gravity / (2.0 * float(farther)) == pytest.approx(true / distance)  # it falls on as it was seen to
    stands = {**bodies, "support": torch.tensor([[0.0, 9.0, 0.0]])}
    moving, sideways = {**scene, "camera": torch.ones(6)}, {**bodies, "bend": bend[:, [1, 0, 2]]}
    for others in ((scene, stands), (moving, bodies), (scene, sideways)):
        gravity, farther = gravity_of(*others, sure, center, foot)
        assert gravity == pytest.approx(true * told) and float(farther) == 1


def test_what_flies_is_no_farther_than_the_ground():
    """Its way bends so little that it would be beneath the ground, which it is seen against."""
    scene = {
        "gravity": torch.tensor([math.log(0.06)]),
        "ground": torch.tensor([0.0, -1.0, 0.0]),
        "focal": torch.zeros(1),
        "camera": torch.zeros(6),
    }
    bodies = {"support": torch.tensor([[9.0, 0.0, 0.0]]), "hinged": torch.full((1, 1), -5.0)}
    bodies |= {"fixed": bodies["hinged"], "size": torch.full((1, 1), math.log(0.1))}
    bodies["bend"] = torch.tensor([[0.0, 0.01, 0.0]]) / SPEED_UNIT
    center = torch.tensor([[0.0, 0.6, 2.0]])
    farther = gravity_of(scene, bodies, torch.ones(1), center, torch.tensor([[0.0, 0.4, 1.0]]))[1]
    at = center[0] * farther
    assert 1 - float(at[1]) == pytest.approx(0.1 * float(at[2]))  # it touches the ground, one below the eye


@pytest.mark.parametrize(
    "braked, speed, error, found",
    [(0.45, 0.04, 0.001, 0.45), (0.0, 0.04, 0.001, 0.0), (0.45, 0.004, 0.0, None), (0.45, 0.04, 0.02, None)],
)
def test_what_slows_down_over_the_ground_is_braked(braked, speed, error, found):
    """A body moves across the view of a level camera with a focal length of two picture heights, three eye heights
    away. speed and error in picture heights; found: the share of gravity, None where the picture does not tell it."""
    gravity, distance, focal = 0.03, 3.0, 2.0
    scene = {"focal": torch.tensor([math.log(focal)]), "camera": torch.zeros(6)}
    bend = torch.tensor([[-braked * gravity / distance * focal, 0.0, error]]) / SPEED_UNIT
    bodies = {
        "velocity": torch.tensor([[speed / focal, 0.0, 0.0]]) / SPEED_UNIT,
        "bend": bend,
        "support": torch.tensor([[0.0, 9.0, 0.0]]),
        "fixed": torch.full((1, 1), -5.0),
        "hinged": torch.full((1, 1), -5.0),
    }
    seen = braking_of(scene, bodies, torch.zeros(1, 2), torch.tensor([[gravity / distance]]))
    assert seen.isnan().all() if found is None else float(seen) == pytest.approx(found, abs=1e-4)
    for unseen in ({**scene, "camera": torch.ones(6)}, scene):
        flies = bodies if unseen is not scene else {**bodies, "support": torch.tensor([[9.0, 0.0, 0.0]])}
        assert braking_of(unseen, flies, torch.zeros(1, 2), torch.tensor([[0.01]])).isnan().all()


def test_what_is_not_braked_rolls_and_no_ball_slides():
    odds = torch.zeros(5, len(KINDS))
    odds[:, KINDS.index("hull")], odds[:, KINDS.index("cylinder")] = 2.0, 1.5
    odds[3, KINDS.index("cylinder")] = -9.0  # a box on wheels, say
    odds[4, KINDS.index("sphere")] = 5.0
    found = kinds_of(odds, torch.tensor([math.nan, 0.02, 0.45, 0.02, 0.45]))
    assert [KINDS[i] for i in found] == ["hull", "cylinder", "hull", "hull", "hull"]


def test_a_network_goes_on_from_one_whose_layers_read_less():
    torch.manual_seed(0)
    first, model = BodyPerception(SMALL), BodyPerception(SMALL)
    for own in (first.motion.weight, first.region.look[0][0].weight):
        own.data[:, own.shape[1] // 2 :] = 0
    smaller = first.state_dict()
    for name in ("motion.weight", "region.look.0.0.weight"):
        smaller[name] = smaller[name][:, : smaller[name].shape[1] // 2]
    grown(smaller, model)
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="nothing for motion.weight"):
        grown({n: v for n, v in smaller.items() if n != "motion.weight"}, model)
    with pytest.raises(ValueError, match="there are more.weight, which the network lacks"):
        grown({**smaller, "more.weight": smaller["motion.weight"]}, model)
    with pytest.raises(ValueError, match="begin with a run of the same network"):
        grown(first.state_dict(), BodyPerception(replace(SMALL, body=16)))


def test_five_equal_pictures_are_read_as_one():
    model, picture = BodyPerception(SMALL), torch.rand(1, 1, 64, 96, 3)
    one, five = (model(x, torch.zeros(1, 32, 48, MOTION)) for x in (picture, picture.expand(-1, KNOWN, -1, -1, -1)))
    assert torch.allclose(one.centers, five.centers, atol=1e-4)
    assert resized(torch.rand(1, 96, 96, 3)).shape == resized(torch.rand(1, 128, 128, 3)).shape == (1, 96, 96, 3)


def test_average_precision_is_the_area_under_the_curve():
    assert average_precision([(0.9, True), (0.5, True)], 2) == 1.0
    assert average_precision([(0.9, False), (0.5, True)], 1) == 0.5
    assert average_precision([(0.9, True)], 2) == 0.5


def test_masks_are_learned_from_a_few_pictures(starts):
    """Loss and the network's masks agree on where a body is."""
    torch.manual_seed(0)
    model, shard = BodyPerception(SMALL), next(iter(Bodies.load(starts).shards.values()))
    labels = {k: v[:2].clone() for k, v in shard.items()}
    made = batch(labels.pop("rgb").float() / 255, labels, torch.zeros(2, dtype=torch.bool))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    first = None
    for _ in range(40):
        loss = total(losses(model, made))
        first = first or float(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5 * first
    cell = cells_of(made)
    with torch.no_grad():
        found = model.masks_of(model(made.frames, made.labels["motion"]), made.picture, cell) > 0
    true = made.masks()[:, ::MASK_CELL, ::MASK_CELL]
    largest = made.of_bodies("pixels").argmax()
    assert (found & true)[largest].sum() > 0.5 * (found | true)[largest].sum()


def test_the_training_goes_on_where_it_stopped_and_is_scored_by_shape(starts, tmp_path):
    none = tmp_path / "none"
    recipe = PerceptionRecipe(starts, starts, none, tmp_path / "run", minutes=0.03, batch=4)
    task.train(recipe, SMALL)
    before = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    task.train(replace(recipe, minutes=before["seconds"] / 60 + 0.05), SMALL)
    after = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert after["step"] > before["step"] > 0 and after["seconds"] > before["seconds"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    ends = [row for row in rows if row.get("event") == "end"]
    assert len(ends) == 2 and {"iou", "ap50", "recall", "iou_single"} <= ends[-1].keys()
    assert any(name.startswith("iou_") and name[4:] in SHAPES for name in ends[-1])
    model, facts = trained_perception(tmp_path / "run")
    begun = task._PerceptionTask(replace(recipe, out=tmp_path / "other", start_from=tmp_path / "run"), SMALL)
    assert all(torch.equal(p, after["average"][name]) and p.requires_grad for name, p in begun.model.named_parameters())
    file = tmp_path / "toy-bodies.safetensors"
    BODIES.save(BodyPerception(SMALL), file, {})
    other, made = BODIES.load(file), tmp_path / "made" / "toy.safetensors"
    bundle(BundleRecipe(perception=tmp_path / "run", average_with=file, out=made))
    mean = (model.found[1].bias + other.found[1].bias) / 2
    assert torch.allclose(BODIES.load(BODIES.path(made)).found[1].bias, mean, atol=0.01)
    with pytest.raises(FileNotFoundError, match="vdit train perception"):
        task._PerceptionTask(replace(recipe, start_from=tmp_path / "nowhere"), SMALL)
    assert facts["steps"] == after["step"] and model.perceive(
        torch.rand(1, 64, 64, 3), torch.zeros(32, 32, MOTION)
    ).masks.shape[1:] == (64, 64)


def test_photographs_hold_no_bodies_to_be_found(starts, tmp_path):
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    drawn = [BodyBatches(starts, tmp_path).draw(16, np.random.default_rng(seed)) for seed in range(6)]
    assert any(b.empty.any() for b in drawn)
    assert not any(b.empty[b.picture].any() for b in drawn)
    assert len(texture_pool(tmp_path, 4, np.random.default_rng(0))) == 4


def test_scores_of_a_network_that_knows_nothing_are_low(starts):
    held_out = BodyBatches(starts, None).held_out(16)
    assert scores(BodyPerception(SMALL), held_out)["iou"] < 0.3


def test_a_wall_may_end_below_the_sky_and_its_top_is_no_horizon():
    """Above a low wall the sky is seen, which is farther away; labels tell the wall as before."""
    rng = np.random.default_rng(3)
    textures = texture_pool(None, 4, rng)
    ends = 0
    for seed in range(40):
        made = varied(seed, textures, width=64, height=64, frames=6)
        plate, backdrop = made.scene.plate, made.scene.backdrop
        if plate is None or plate.depth is None:
            continue
        assert backdrop is not None and plate.depth.shape == (64, 64)
        up = plate.depth[: 64 // 2].max(1)
        ends += bool((up >= FAR).any() and (plate.depth < FAR).any())
    assert ends >= 5


def test_a_wall_may_have_the_colour_of_the_ground():
    """Where they meet, only their textures tell; in other scenes colours tell too."""
    rng = np.random.default_rng(3)
    textures = texture_pool(None, 4, rng)
    apart = []
    for seed in range(60):
        made = varied(seed, textures, width=64, height=64, frames=6)
        scene = made.scene
        if scene.plate is None or scene.backdrop is None:
            continue
        camera = Camera(np.asarray(scene.view.c2w), float(focal_length(scene.view.fov_deg, 64)), 64, 64)
        depth, ground = plane_depths(scene, camera)
        near = depth < FAR if scene.plate.depth is None else np.isclose(scene.plate.depth, depth, rtol=1e-4)
        if min((near & ground).sum(), (near & ~ground).sum()) > 100:
            floor, wall = (scene.plate.image[near & part].mean(0) for part in (ground, ~ground))
            apart.append(float(np.ptp(wall - floor)))  # of colour, not of brightness
    assert len(apart) > 12 and 0.4 < np.mean(np.array(apart) < 12) < 0.7
