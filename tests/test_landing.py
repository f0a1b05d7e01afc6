"""Where what flies will land, by its shadow: pictures of a ball over a floor, drawn here by rays and the formula."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from vdit.control.pictures import cover
from vdit.lift.landing import farther_by_shadows
from vdit.pipeline import body_drafts

KNOWN, SIDE, FOV, RADIUS, GRAVITY = 5, 128, 45.0, 0.2, 0.03  # lengths in heights of the eye, times in frames
UP = np.array([0.0, -np.cos(0.25), -np.sin(0.25)])  # the camera looks down a little
LIGHT = np.array([0.35, -0.9, -0.3]) / np.linalg.norm([0.35, -0.9, -0.3])
CENTER, VELOCITY = np.array([0.1, -0.8, 4.0]), np.array([0.03, 0.0, 0.0]) - 0.05 * UP


def flight(scale=1.0):
    """Centres [K, 3], the last first, of a ball that is taken to be at this share of its distance."""
    back = np.arange(KNOWN)[:, None]
    return scale * (CENTER - back * VELOCITY - back**2 / 2 * GRAVITY * UP)


def pictures(shadow=True, walks=0.0, noise=0.004):
    """Pictures uint8 [K, H, W, 3], the last one last, and where the ball is in them. walks: a dark patch of the floor
    goes so far in a frame, in no relation to the ball."""
    focal = 0.5 * SIDE / np.tan(np.radians(FOV) / 2)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    rays = np.stack(((x - SIDE / 2) / focal, (y - SIDE / 2) / focal, np.ones_like(x)), -1)
    down = -(rays @ UP)
    floor = rays / np.maximum(down, 1e-3)[..., None]
    rng, shown, covered = np.random.default_rng(2), [], []
    for k, center in enumerate(flight()[::-1]):
        light = np.where(down > 1e-3, 0.6 + 0.1 * np.sign(np.sin(6 * floor[..., 0]) * np.sin(6 * floor[..., 2])), 0.8)
        to_light = np.linalg.norm(np.cross(floor - center, LIGHT), axis=-1) / RADIUS
        if shadow:
            light = light * np.where(down > 1e-3, 1 - 0.5 * np.clip(2 * (1.2 - to_light), 0, 1), 1)
        light[90:110, 5 + round(k * walks) : 25 + round(k * walks)] *= 1.0 if walks == 0 else 0.6
        ball = np.linalg.norm(np.cross(rays / np.linalg.norm(rays, axis=-1, keepdims=True), center), axis=-1) < RADIUS
        image = np.where(ball[..., None], (0.8, 0.2, 0.1), light[..., None])
        shown.append(np.clip(255 * (image + rng.normal(0, noise, image.shape)), 0, 255).round().astype(np.uint8))
        covered.append(ball)
    return np.stack(shown), np.stack(covered)


def farther(shown, covered, way, radius, **told):
    """Of one ball."""
    return float(farther_by_shadows(shown, covered, way[None], np.array([radius]), **told)[0])


def found(scale, light=LIGHT, **how):
    shown, covered = pictures(**how)
    return farther(shown, covered, flight(scale), RADIUS * scale, up=UP, light=light, fov_deg=FOV)


@pytest.mark.parametrize("log_scale", [-0.25, -0.1, 0.0, 0.15])
@pytest.mark.parametrize("aside", [0.0, 0.2])
def test_a_shadow_tells_how_far_away_what_flies_is(log_scale, aside):
    light = LIGHT + np.array([aside, 0, 0])
    told = found(np.exp(log_scale), light / np.linalg.norm(light))
    assert abs(told + log_scale) < 0.06 + 0.35 * abs(log_scale), told  # The shadow has a weight below 1.


def test_where_no_shadow_is_seen_nothing_changes():
    assert found(0.8, shadow=False) == found(0.8, shadow=False, noise=0.0) == 0.0
    assert found(0.8, shadow=False, walks=3.0) == 0.0, "something else that is dark and moves"
    shown, covered = pictures()
    still = np.repeat(shown[-1:], KNOWN, 0)
    args = flight(0.8), 0.8 * RADIUS
    told = {"up": UP, "light": LIGHT, "fov_deg": FOV}
    assert farther(still, covered, *args, **told) == 0.0
    assert farther(np.zeros_like(shown), covered, *args, **told) == 0.0
    assert farther(shown, np.ones_like(covered), *args, **told) == 0.0
    sunk = flight() - 2 * UP
    assert farther(shown, covered, sunk, RADIUS, **told) == 0.0, "it is beneath the ground"


@pytest.mark.parametrize("size", [(64, 64), (320, 320), (256, 128)])
def test_pictures_of_other_sizes_tell_the_same(size):
    shown, covered = pictures()
    width, height = size
    larger = cover(torch.from_numpy(shown).float() / 255, width, height)
    mask = cover(torch.from_numpy(covered)[..., None].expand(-1, -1, -1, 3).float(), width, height)[..., 0] > 0.5
    fov = np.degrees(2 * np.arctan(np.tan(np.radians(FOV) / 2) * height / max(width, height)))
    images = (larger * 255).round().to(torch.uint8).numpy()
    told = farther(images, mask.numpy(), flight(0.82), 0.82 * RADIUS, up=UP, light=LIGHT, fov_deg=float(fov))
    assert 0.08 < told < 0.26, told


def test_gravity_and_what_flies_beside_it_go_with_a_body_that_is_moved(topple_truth):
    shown, covered = pictures()
    seen = topple_truth
    t = lambda *rows: torch.tensor(np.array(rows), dtype=torch.float32)  # noqa: E731
    scale, rests = 0.85, np.array([0.5, 0.1, 5.0])
    seen = replace(
        seen,
        kind=("sphere", "box"),
        covered=torch.from_numpy(covered).float(),
        center=t(scale * CENTER, rests),
        velocity=t(scale * VELOCITY, 0 * rests),
        half=t([scale * RADIUS] * 3, [0.2] * 3),
        foot=t(CENTER, rests),
        support=t([1.0, 0, 0], [0, 1.0, 0]),
        ground=t(*UP),
        light=t(*LIGHT),
        fov_deg=FOV,
        gravity=scale * GRAVITY,
        **{name: t(value, value) for name, value in (("fixed", 0.0), ("hinged", 0.0), ("sure", 1.0))},
    )
    made = body_drafts._landing(seen, shown, covered)
    factor = float(made.center[0].norm() / seen.center[0].norm())
    assert 1.05 < factor < 1.2 and made.gravity == pytest.approx(factor * seen.gravity, rel=1e-5)
    assert torch.allclose(made.velocity[0], factor * seen.velocity[0]) and torch.equal(made.center[1], seen.center[1])
    over = float(made.center[0] @ made.ground) + 1
    assert torch.allclose(
        made.foot[0] * (made.center[0] - over * made.ground)[2], made.center[0] - over * made.ground, atol=1e-5
    )
    assert torch.equal(made.foot[1], seen.foot[1])
    stands = replace(seen, support=t([0, 1.0, 0], [0, 1.0, 0]))
    assert body_drafts._landing(stands, shown, covered) is stands


@pytest.fixture(scope="module")
def topple_truth():
    """Any perception with all fields."""
    from vdit.training.data.body_labels import FINE, perfect, seen
    from vdit.world.families.objects import stage
    from vdit.world.families.varied import as_varied
    from vdit.world.simulate import simulate

    made = as_varied(stage(5004, "topple", split="validation"))
    return perfect(seen(made, simulate(made.scene, seconds=6 / 8, fps=8 * FINE), 0))
