"""The picture that a shot of words alone opens with.

A video of words alone is soft, and its balls come and go: nothing is foretold for it. But what the model makes of a picture
holds together. So a shot of words is sampled twice: once for a picture that shows a ball, and once to go on from there.

The picture decides all that follows. So it is the teacher's, also for its students, and made in as many steps however many
the shot has: a preview begins with the picture that its render will begin with.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .settings import lattice_of

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 12  # in 20 as many pictures show a ball, in 6 a tenth fewer


def opens_with_a_picture(model: Any, conditioning: Any) -> bool:
    """Whether a picture is to be made first: words alone are told, and the model can foretell what becomes of a picture."""
    told = conditioning
    if getattr(model, "dynamics", None) is None or not model.config.draft or told.unforeseen:
        return False
    return all(given is None for given in (told.start, told.end, told.past, told.draft))


def opening_size(model: Any, width: int, height: int) -> tuple[int, int]:
    """The width and height at which that picture is made: of the shape asked for, with as many pixels as the model was trained
    on. Of others it knows little but what a picture shows; the picture is fitted to the shot as any other."""
    side, own = lattice_of(model).side, model.defaults["width"] * model.defaults["height"]
    scale = math.sqrt(own / (width * height))
    return tuple(max(side, round(n * scale / side) * side) for n in (width, height))


def begun_with(conditioning: Any, picture: Tensor | None) -> Any:
    """Words alone, and a picture [1,H,W,3] that was made of them, if there is one; what has pictures of its own as it is."""
    if picture is None or conditioning.start is not None or conditioning.end is not None:
        return conditioning
    return replace(conditioning, start=picture, strength=1.0, opened=True)


def opening_picture(model: Any, latent: Tensor) -> Tensor | None:
    """The first picture [1,H,W,3] in 0..1, in the 256 steps of a file, of a latent video [1,C,T',h,w] in raw scale that clearly
    shows a ball; None without one."""
    import torch

    dynamics = model.dynamics
    with torch.no_grad():
        for frames in model.codec.decode_stream(latent):
            picture = (frames[:, -1:].clamp(0, 1) * 255).round().cpu().float() / 255
            if dynamics.find(dynamics.look(picture), clear=True)[1].any():
                return picture[0]
    return None
