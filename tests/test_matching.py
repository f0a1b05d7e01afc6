"""Where optical flow loses a body, its template finds it in earlier pictures."""

import pytest
import torch
from vdit.model.matching import mended

SIZE, SIDE = 64, 14


def clip(step, wall=None):
    """A plain square on a textured ground in five pictures, 3 channels, and its mask [1, H/2, W/2] in the last."""
    ground = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 0.4 - 0.2
    frames = ground.repeat(5, 1, 1, 1)
    for t in range(5):
        left = 2 + step * t
        frames[t, :, 20 : 20 + SIDE, left : left + SIDE] = torch.tensor([0.8, -0.6, -0.5])[:, None, None]
    if wall is not None:
        frames[:-1, :, :, :wall] = 0.9
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 20 : 20 + SIDE, 2 + step * 4 : 2 + step * 4 + SIDE] = 1
    pictures = torch.cat((frames[-1], (frames[:-1] - frames[-1]).flatten(0, 1)))[None]
    return pictures, torch.nn.functional.avg_pool2d(mask, 2)


def told(step, share):
    """Ways [1, 4, 2] in picture heights, of which flow tells a share."""
    return torch.tensor([[[step * k * share / SIZE, 0.0] for k in range(1, 5)]])


@pytest.mark.parametrize("share", [0.75, 0.8, 1.25])
def test_a_body_that_flow_loses_is_found(share):
    pictures, masks = clip(step=7)
    came = mended(pictures, torch.zeros(1, dtype=torch.long), masks, told(7, share))
    assert came[0, :, 0].mul(SIZE).tolist() == pytest.approx([7, 14, 21, 28], abs=0.4)
    assert came[0, :, 1].abs().max() * SIZE < 0.4


def test_what_flow_tells_rightly_stays():
    pictures, masks = clip(step=5)
    came = told(5, 1.0) + 0.1 / SIZE
    assert torch.equal(mended(pictures, torch.zeros(1, dtype=torch.long), masks, came), came)


def test_what_was_hidden_is_not_looked_for_in_vain():
    """Of what stood behind a wall in all pictures before the last, nothing is known better than what flow tells."""
    pictures, masks = clip(step=5, wall=45)
    came = told(5, 0.8)
    assert torch.equal(mended(pictures, torch.zeros(1, dtype=torch.long), masks, came), came)
    assert mended(pictures, torch.zeros(0, dtype=torch.long), masks[:0], came[:0]).shape == (0, 4, 2)
