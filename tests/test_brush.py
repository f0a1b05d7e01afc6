"""The motion brush: strokes become flow, and flow moves the noise."""

import json
import math

import pytest
import torch
from vdit.control import ControlError
from vdit.control.brush import flow_from_strokes, place_at, profile, read_strokes
from vdit.control.flow import FlowField
from vdit.geometry.pixels import pixel_grid
from vdit.sampling.warped_noise import warped_noise

F64 = torch.float64


def warped(noise, field):
    return warped_noise(noise, field.flow, field.valid, field.strength, 4, 16)


def strokes(*each):
    return json.dumps({"version": 1, "strokes": list(each)})


# The brush


def test_the_painted_disc_travels_along_its_stroke():
    stroke = {"points": [[0.2, 0.5], [0.8, 0.5]], "radius": 0.1, "falloff": 0.0}
    field = flow_from_strokes(read_strokes(strokes(stroke)), 7, 64, 32)
    step = 0.6 * 64 / 6
    for t in range(6):
        told = field.valid[t] > 0
        assert torch.allclose(pixel_grid(64, 32)[told].mean(0), torch.tensor([12.8 + step * t, 16.0]), atol=0.6)
        assert torch.allclose(field.flow[t][told], torch.tensor([step, 0.0]), atol=1e-4)
        assert (field.flow[t][~told] == 0).all()
        assert told.sum() == pytest.approx(math.pi * 6.4**2, rel=0.1)


def test_a_bent_stroke_is_travelled_at_even_speed():
    (stroke,) = read_strokes(strokes({"points": [[0, 0], [0.1, 0], [0.5, 0], [0.5, 1]]}))
    place = place_at(stroke, torch.linspace(0, 1, 13), 100, 50)
    assert torch.allclose(place.diff(dim=0).norm(dim=-1)[:5], torch.tensor(100 / 12, dtype=F64).expand(5))
    assert (
        place[0].tolist() == [0, 0] and place[-1].tolist() == [50, 50] and place[6].tolist() == pytest.approx([50, 0])
    )


def test_a_stroke_acts_in_its_own_time_only():
    field = flow_from_strokes(
        read_strokes(strokes({"points": [[0.2, 0.5], [0.8, 0.5]], "start": 0.25, "end": 0.75})), 9, 32, 32
    )
    assert field.valid.amax((1, 2)).gt(0).tolist() == [False] * 2 + [True] * 4 + [False] * 2
    travelled = sum(field.flow[t, ..., 0].max().item() for t in range(8))
    assert travelled == pytest.approx(0.6 * 32, rel=1e-4)


def test_falloff_softens_the_edge():
    distance = torch.linspace(0, 1.2, 13)
    assert profile(distance, 0.0).tolist() == [1.0] * 10 + [1.0] + [0.0] * 2
    soft = profile(distance, 1.0)
    assert soft[0] == 1 and soft[5] == pytest.approx(0.5) and (soft.diff() <= 1e-6).all()
    half = profile(distance, 0.5)
    assert half[5] == 1 and half[7] < 1 and half[10] == pytest.approx(0, abs=1e-6)


def test_a_single_point_pins_a_place_and_a_still_background_has_zero_flow():
    pin = read_strokes(strokes({"points": [[0.5, 0.5]], "radius": 0.2}))
    free = flow_from_strokes(pin, 3, 32, 32)
    assert (free.flow == 0).all() and 0 < free.valid.mean() < 1
    still = flow_from_strokes(read_strokes(strokes({"points": [[0.2, 0.5], [0.8, 0.5]]})), 3, 32, 32, "still")
    assert (still.valid == 1).all() and (still.flow[:, 0] == 0).all() and still.flow.abs().max() > 1


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "strokes: the text is no JSON"),
        ("[]", r"found \[\]; expected an object; clear the brush"),
        ('{"version": 2, "strokes": []}', "field 'version': found 2; this VDiT reads 1"),
        (strokes(1), "field 'strokes', item 1: found 1; expected an object"),
        (strokes({"points": []}), "item 1, field 'points': found a list of 0; expected one of 1 to 2,000"),
        (strokes({}), "item 1: points missing; expected an object with points, radius"),
        (strokes({"points": [[0.5]]}), "field 'points', item 1: found a list of 1; expected one of 2"),
        (strokes({"points": [[0.5, 200]]}), "item 1, item 2: found 200; expected a share of the picture"),
        (strokes({"points": [[0.5, math.nan]]}), "line 1, column [0-9]+, NaN"),
        (strokes({"points": [[0.5, 0.5]], "radius": 0}), "field 'radius': found 0; expected a number from 0.001 to 1"),
        (strokes({"points": [[0.5, 0.5]], "falloff": "soft"}), 'field .falloff.: found "soft"'),
        (strokes({"points": [[0.5, 0.5]], "start": 0.5, "end": 0.5}), "start is 0.5 and end 0.5"),
        (strokes({"points": [[0.5, 0.5]]}, {"points": [[0.5, 0.5]], "radios": 1}), "item 2: no field .*mean 'radius'"),
        (strokes(*[{"points": [[0.5, 0.5]]}] * 201), "field 'strokes': found a list of 201; expected one of 0 to 200"),
    ],
)
def test_an_invalid_drawing_is_refused_by_stroke(text, said):
    with pytest.raises(ControlError, match=said):
        read_strokes(text)


# Warped noise


def steady(x, y, frames=9, side=64, **more):
    return FlowField(torch.tensor([x, y]).float().expand(frames - 1, side, side, 2), **more)


def noise_of(seed, channels=4, count=3, side=4):
    return torch.randn(1, channels, count, side, side, generator=torch.Generator().manual_seed(seed))


def correlation(a, b):
    return float((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt())


def test_noise_travels_with_the_flow():
    noise = noise_of(0, 64)
    moved = warped(noise, steady(4.0, 0.0))  # 16 pixels, one cell, in 4 frames
    assert torch.equal(moved[:, :, 0], noise[:, :, 0])
    assert correlation(moved[0, :, 1, :, 1:], moved[0, :, 0, :, :-1]) > 0.99
    assert abs(correlation(moved[0, :, 1, :, :1], moved[0, :, 0, :, :1])) < 0.2, "what comes in is new"


def test_noise_stays_where_flow_is_zero_and_is_the_seeds_own_where_flow_is_invalid():
    noise = noise_of(1, 64)
    rest = warped(noise, steady(0, 0))
    assert torch.allclose(rest[:, :, 2], noise[:, :, 0], atol=1e-5)
    free = warped(noise, steady(3, 1, valid=torch.zeros(8, 64, 64)))
    assert torch.allclose(free, noise, atol=1e-5)


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_moved_noise_is_standard_normal_and_white_in_every_frame(strength):
    torch.manual_seed(0)
    swirl = (pixel_grid(64, 64) - 32).flip(-1) * torch.tensor([0.12, -0.05])  # turns, gathers and spreads
    field = FlowField(swirl.expand(8, 64, 64, 2), (torch.rand(8, 64, 64) > 0.2).float(), strength)
    moved = torch.cat([warped(noise_of(s, 256), field) for s in range(4)], 1)[0]
    assert moved.mean().abs() < 0.02
    for frame in moved.unbind(1):  # [channels, h, w]: 1024 samples of each cell
        cells = frame.flatten(1)
        covariance = cells.T @ cells / len(cells)
        assert (covariance.diagonal() - 1).abs().max() < 0.2
        assert (covariance - covariance.diagonal().diag()).abs().max() < 0.17


def test_strength_is_how_much_of_the_noise_moves():
    noise = noise_of(2, 256)
    half = warped(noise, steady(0, 0, strength=0.6))
    assert correlation(half[:, :, 1], noise[:, :, 0]) == pytest.approx(0.6, abs=0.05)


def test_a_motion_slower_than_a_cell_adds_up():
    noise = noise_of(3, 64, count=9)
    moved = warped(noise, steady(0.5, 0.0, frames=33))  # half a pixel a frame: one cell in 32
    assert correlation(moved[0, :, 8, :, 1:], moved[0, :, 0, :, :-1]) > 0.95


def test_a_field_that_does_not_fit_the_noise_is_refused():
    with pytest.raises(
        ValueError, match="flow for 9 frames of 64x64 does not fit noise .* expected 13 frames of 64x64"
    ):
        warped(noise_of(0, count=4), steady(0, 0))
