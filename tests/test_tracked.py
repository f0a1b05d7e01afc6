"""How far bodies came by their masks: whole, hidden, cut, lost; and what is made of it beside optical flow."""

import pytest
import torch
from vdit.model.tracked import Tracked, came_by_masks
from vdit.model.ways import KNOWN, MOTION, SPEED_UNIT, ways_of

ROWS = 64  # cells of masks; a picture has twice as many pixels
RED, BLUE = torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.1, 0.2, 0.8])


def square(left, top=24, side=12, color=RED):
    return left, top, side, color


def seen(*squares):
    """A picture [3, ROWS, ROWS] of squares, the later ones in front, and their masks of what is seen of each."""
    picture, owner = torch.full((3, ROWS, ROWS), 0.5), torch.full((ROWS, ROWS), -1)
    for i, (left, top, side, color) in enumerate(squares):
        part = slice(top, top + side), slice(max(left, 0), max(left + side, 0))
        picture[(slice(None), *part)] = color[:, None, None]
        owner[part] = i
    return picture, (owner == torch.arange(len(squares))[:, None, None]).float()


def came(clips):
    """By came_by_masks, of what is seen in each of five frames, the latest last; in cells."""
    pictures, masks = zip(*(seen(*frame) for frame in reversed(clips)), strict=True)
    found = came_by_masks(torch.stack(pictures), masks)
    return Tracked(found.came * ROWS, found.guessed)


def way(t):
    """Cells that a square has come in t frames, faster and faster."""
    return round(4 * t + 0.5 * t * t)


def test_what_is_whole_is_where_its_mask_is():
    clips = [(square(2 + way(t)), square(40, 4, 9, BLUE)) for t in range(KNOWN)]
    found = came(clips)
    assert found.came[0, :, 0].tolist() == [way(4) - way(4 - k) for k in range(1, KNOWN)]
    assert not found.came[0, :, 1].any() and not found.came[1].any() and not found.guessed.any()


def test_what_begins_to_be_hidden_goes_on_as_it_came():
    """A tall box stands in front: in the last picture half of the square is behind it."""
    clips = [(square(2 + 6 * t), square(32, 10, 40, BLUE)) for t in range(KNOWN)]
    found = came(clips)
    assert found.came[0, :, 0].tolist() == pytest.approx([6, 12, 18, 24], abs=1e-4)
    assert found.guessed.tolist()[0] == 1


def test_what_only_touches_another_body_is_seen_as_it_is():
    """It has been stopped by the box: it does not go on."""
    clips = [(square(left), square(32, 10, 40, BLUE)) for left in (2, 8, 14, 20, 20)]
    found = came(clips)
    assert found.came[0, :, 0].tolist() == pytest.approx([0, 6, 12, 18], abs=1e-4) and not found.guessed[0]


@pytest.mark.parametrize(
    "first", [(square(-6),), (square(2, color=BLUE),), ()], ids=["cut by the border", "of another colour", "not there"]
)
def test_where_it_is_not_seen_nothing_is_told(first):
    found = came([first, *((square(6 + 6 * t),) for t in range(KNOWN - 1))]).came
    assert found[0, :3, 0].tolist() == [6, 12, 18] and found[0, 3].isnan().all()
    assert came([(square(6),)] * 4 + [()]).came.shape == (0, 4, 2)


def speed(flow, masks, guessed=0):
    """By ways_of, in cells a frame, of a body that came these ways to the right [KNOWN - 1], in cells."""
    motion = torch.zeros(1, MOTION, ROWS, ROWS)
    frames = torch.arange(1, KNOWN)
    motion[0, ::2, 20:40, 20:40] = (torch.tensor(flow) / frames / ROWS / SPEED_UNIT)[:, None, None]
    mask = torch.zeros(1, ROWS, ROWS)
    mask[0, 20:40, 20:40] = 1
    ways = torch.zeros(1, KNOWN - 1, 2)
    ways[0, :, 0] = torch.tensor(masks) / ROWS
    tracked = Tracked(ways, torch.tensor([guessed]))
    found = ways_of(motion, torch.zeros(1, dtype=torch.long), mask, torch.tensor([0.3]), tracked).speed
    return float(found[0, 0]) * SPEED_UNIT * ROWS


@pytest.mark.parametrize(
    ("masks", "guessed", "expected"),
    [
        ([6.0, 12.0, 18.0, 24.0], 0, 6.0),  # flow has lost it
        ([6.0, 12.0, 18.0, 24.0], 1, 6.0),
        ([6.0, 11.0, 15.0, 18.0], 0, 6.5),  # and it gains half a cell a frame
        ([6.0, 9.0, 18.0, 21.0], 0, 1.0),  # no way that a body goes: flow is believed
        ([6.0, 12.0, 18.0, float("nan")], 0, 1.0),
        ([1.1, 2.2, 3.3, 4.4], 2, 1.0),  # a guess from long ago is no better than flow
    ],
)
def test_masks_are_believed_where_they_go_evenly(masks, guessed, expected):
    assert speed([1.0, 2.0, 3.0, 4.0], masks, guessed) == pytest.approx(expected, abs=0.02)


def test_masks_and_flow_that_nearly_agree_both_count():
    assert 1.0 < speed([1.0, 2.0, 3.0, 4.0], [1.1, 2.2, 3.3, 4.4]) < 1.1
