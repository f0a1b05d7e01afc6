"""What Scene From Picture says of marks and masks that are probably not what was meant."""

import numpy as np
import pytest
import torch
from test_lift import disc
from vdit.lift.objects import Marked, Selection, Stroke
from vdit.lift.picture import Given, lift
from vdit.world.scene import SceneError

WIDE, CLOSE = (0.05, 0.05, 0.95, 0.98), (0.28, 0.15, 0.66, 0.75)


@pytest.mark.parametrize(
    ("box", "strokes", "doubted"),
    [(WIDE, (), True), (CLOSE, (), False), (WIDE, (Stroke(((0.47, 0.45),), 0.04),), False)],
)
def test_a_box_of_which_little_is_taken_is_remarked(box, strokes, doubted):
    picture = torch.from_numpy(disc()[0])[None].float() / 255
    selection = Selection((Marked(name="ball", box=box, strokes=strokes),))
    remarks = lift(Given(image=picture, selection=selection)).remarks
    assert any("of the box around 'ball' is taken" in remark for remark in remarks) == doubted


@pytest.mark.parametrize(
    ("box", "cut"), [(CLOSE, ""), ((0.28, 0.15, 0.55, 0.75), "right"), ((0.28, 0.15, 0.66, 0.6), "bottom")]
)
def test_what_goes_on_beyond_its_box_is_remarked(box, cut):
    picture = torch.from_numpy(disc()[0])[None].float() / 255
    remarks = lift(Given(image=picture, selection=Selection((Marked(name="ball", box=box),)))).remarks
    said = [remark for remark in remarks if "seems to go on beyond" in remark]
    assert bool(said) == bool(cut) and all(f"beyond the {cut} of its box" in remark for remark in said)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_a_mask_of_specks_is_lifted_while_pixels_are_left_around_them(share):
    specks = torch.from_numpy((np.random.default_rng(0).random((1, 200, 320)) < share).astype(np.float32))
    picture = torch.from_numpy(disc()[0])[None].float() / 255
    assert lift(Given(image=picture, masks=specks)).scene.bodies


def test_a_mask_of_specks_everywhere_is_refused():
    specks = torch.from_numpy((np.random.default_rng(0).random((1, 200, 320)) < 0.9).astype(np.float32))
    picture = torch.from_numpy(disc()[0])[None].float() / 255
    with pytest.raises(SceneError, match="no pixel from which"):
        lift(Given(image=picture, masks=specks))
