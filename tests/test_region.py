"""The second look at a body: its own part of the pictures, alike wherever it is and however large it is seen."""

import pytest
import torch
from vdit.model.cells import MASK_CELL, cell_places
from vdit.model.perception import FIELDS, BodyPerception, PerceptionConfig
from vdit.model.region import REACH, SIDE, RegionHead, cut, regions_of
from vdit.model.ways import MOTION, SPEED_UNIT

SMALL = PerceptionConfig(widths=(16, 16, 16, 16), frame=8, body=32, region=16)


def disc(x, y, radius, height=128, width=192):
    """A disc [height, width] in 0..1 at pixels, soft at its rim."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return (radius + 0.5 - torch.hypot(columns - x, rows - y)).clamp(0, 1)


def found(mask):
    height, width = mask.shape
    return regions_of(mask[None], cell_places(height, width, 1, torch.device("cpu")), 1 / height)


@pytest.mark.parametrize(("x", "y", "radius"), [(96, 64, 10), (40.3, 90.8, 14), (150, 30, 24)])
def test_a_region_is_centered_on_its_body_and_as_large_as_it(x, y, radius):
    mask = disc(x, y, radius)
    regions = found(mask)
    wanted = torch.tensor([(x - 96) / 128, (y - 64) / 128])
    assert (regions.middle[0] - wanted).norm() * 128 < 0.05
    assert regions.radius.item() * 128 == pytest.approx(radius, rel=0.02)


def test_bodies_look_alike_in_their_regions_wherever_they_are_and_however_large():
    small, large = (disc(x, y, r) for x, y, r in ((60, 70, 9), (120.5, 50.25, 18)))
    looks = [cut(mask[None, None], torch.zeros(1, dtype=torch.long), found(mask))[0, 0] for mask in (small, large)]
    assert looks[0].shape == (SIDE, SIDE)
    assert (looks[0] - looks[1]).abs().mean() < 0.02
    area = looks[1].mean() * (2 * REACH) ** 2  # in squared radii
    assert area.item() == pytest.approx(torch.pi, rel=0.03)


def test_outside_of_the_picture_a_region_is_zero():
    mask = disc(4, 64, 10)
    seen = cut(torch.ones(1, 1, 128, 192), torch.zeros(1, dtype=torch.long), found(mask))[0, 0]
    assert seen[:, 0].max() == 0
    assert seen[:, -1].min() == 1


def test_in_training_regions_lie_and_reach_a_little_otherwise():
    torch.manual_seed(0)
    model = BodyPerception(SMALL).requires_grad_(False)
    features = model(torch.rand(1, 5, 64, 96, 3), torch.zeros(1, 32, 48, MOTION))
    masks, cell, picture = disc(12, 16, 6, 32, 48)[None], torch.tensor([4 * 24 + 6]), torch.zeros(1, dtype=torch.long)
    learning = (True, True, False, False)
    offsets = [model.train(now).bodies_of(features, picture, cell, masks)["offset"] for now in learning]
    assert not torch.equal(offsets[0], offsets[1]) and torch.equal(offsets[2], offsets[3])
    assert (offsets[0] - offsets[2]).norm() < 0.6 * 12 / 64  # pixels of a radius


def test_a_new_head_adds_nothing():
    torch.manual_seed(0)
    head = RegionHead(4, 7, 16, 5)
    assert head(torch.randn(3, 4, SIDE, SIDE), torch.randn(3, 7)).abs().max() == 0


def test_what_a_head_says_of_lengths_is_in_radii_of_its_body():
    torch.manual_seed(0)
    model = BodyPerception(SMALL).eval().requires_grad_(False)
    frames, motion = torch.rand(1, 5, 64, 96, 3), torch.zeros(1, 32, 48, MOTION)
    features = model(frames, motion)
    masks = torch.stack([disc(12, 16, r, 32, 48) for r in (4, 8)])
    cell, picture = torch.tensor([4 * 24 + 6] * 2), torch.zeros(2, dtype=torch.long)
    before = model.bodies_of(features, picture, cell, masks)
    names = list(FIELDS)
    at = sum(FIELDS[n] for n in names[: names.index("closing")])
    model.region.last[-1].bias[at] = 1.0  # one radius a frame away from the camera
    after = model.bodies_of(features, picture, cell, masks)
    gained = (after["velocity"] - before["velocity"])[:, 2] * SPEED_UNIT * features.scene["focal"].exp()[0]
    radius = regions_of(masks, cell_places(64, 96, MASK_CELL, cell.device), 1 / 64).radius[:, 0]
    assert torch.allclose(gained, radius, rtol=1e-4)
    assert gained[1] > 1.9 * gained[0]
    for name in set(names) - {"closing"}:
        assert torch.equal(after[name], before[name])
