"""What a run settles before it samples: a first picture where there are words alone, and a draft of what will happen.

A video of words alone is soft and its objects come and go, but what the bundled model makes of a picture holds
together. So such a shot is sampled twice: once for a picture that shows a ball, and once to go on from there. That
picture decides all that follows, so the teacher makes it for its students too, in a fixed number of steps: a preview
begins with the picture that its render will begin with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..control.fit import evenly, fitted
from ..control.pictures import cover, cover_masks
from ..drafting import Draft, DraftRequest, NoPrediction, predict_draft, shows_ball
from ..sampling import noise_from_seed
from ..world.scene import SceneError
from .body_drafts import draft_of_bodies
from .family import family_of
from .settings import lattice_of
from .values import ClipSpec, Run

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.conditioning import Conditioning
    from ..model.world_model import WorldModel

TO_MOVE = "To move what the picture shows, draw the objects: VDiT Scene From Picture"
OTHER_WORLD = (
    "the {} picture is not of the simulated world that this model knows (balls and boxes on a floor before a wall); it "
    f"would see balls where there are none. {TO_MOVE}"
)
UNMOVED = f"nothing that moves is seen in the start pictures, or their camera moves: nothing is predicted. {TO_MOVE}"
BODIES_NEED = (
    "how bodies go on is predicted from {} start pictures, without an end picture, depth or flow; the shot has {}. "
    f"{TO_MOVE}"
)


class Prediction(NamedTuple):
    """A draft, or the reason why there is none; neither where no draft was called for. remarks: how it was fitted."""

    draft: Draft | None = None
    reason: str | None = None
    remarks: tuple[str, ...] = ()


def wants_first_picture(run: Run) -> bool:
    """Whether a picture is made first: there are words alone, and the model can predict what follows a picture."""
    before = run.continuation
    return (
        before.predict
        and run.conditioning.words_alone
        and before.past is before.draft is before.first_picture is None
        and family_of(run.model).can_predict(run.model)
    )


def first_picture_clip(maker: WorldModel, run: Run) -> ClipSpec:
    """The clip from which the first picture is taken: the run's shape, with as many pixels as the maker was trained on.

    It has the maker's own length, unless controls are given for the whole clip.
    """
    side, pixels = lattice_of(maker).side, maker.defaults["width"] * maker.defaults["height"]
    scale = math.sqrt(pixels / (run.clip.width * run.clip.height))
    width, height = (max(side, round(n * scale / side) * side) for n in (run.clip.width, run.clip.height))
    uncontrolled = all(control is None for control in run.conditioning.controls)
    return ClipSpec(maker.defaults["frames"] if uncontrolled else run.clip.frames, width, height)


def first_picture_of(model: WorldModel, latent: Tensor) -> Tensor | None:
    """The first frame [1,H,W,3] of a latent video [1,C,T',h,w] in raw scale that clearly shows a ball, or None.

    Its values are rounded to 8 bits, so that a saved picture gives the same video.
    """
    import torch

    assert model.dynamics is not None
    with torch.no_grad():
        for frames in model.require("codec", "a first picture").decode_stream(latent):
            picture = (frames[:, -1:].clamp(0, 1) * 255).round().cpu().float() / 255
            if knows(model, picture[0]) and shows_ball(model.dynamics, picture):
                return picture[0]
    return None


def knows(model: WorldModel, pictures: Tensor) -> bool:
    """Whether pictures [k,H,W,3] show the world of balls that the model predicts; without a gate any picture does."""
    return model.gate is None or model.gate.accepts(pictures)


def knows_bodies(model: WorldModel, pictures: Tensor) -> bool:
    """Whether bodies of any shape may be perceived in pictures [k,H,W,3]."""
    return model.bodies_gate is None or model.bodies_gate.accepts(pictures)


def begun(run: Run) -> Run:
    """The run with the continuation's first picture as its start picture, where words stand alone."""
    picture = run.continuation.first_picture
    if picture is None or not run.conditioning.words_alone:
        return run
    return replace(run, conditioning=replace(run.conditioning, start=picture, strength=1.0))


def given_draft(
    model: WorldModel, conditioning: Conditioning, clip: ClipSpec, check: Callable[[], None] = lambda: None
) -> Prediction:
    """The draft that a shot brings, for a clip: cropped to its shape, evenly stretched to its length.

    It begins with the start pictures. In another world than the model's own, which it cannot improve, all is certain.
    check: may raise to cancel.
    """
    import torch

    video, mask, start = conditioning.draft, conditioning.draft_mask, conditioning.start
    assert video is not None
    check()
    frames = cover(evenly(video, clip.frames), clip.width, clip.height, check)
    if start is not None:
        frames = torch.cat((cover(start[: clip.frames], clip.width, clip.height), frames[len(start) :]))
    check()
    coverage = None if mask is None else cover_masks(evenly(mask, clip.frames), clip.width, clip.height, check)
    check()
    remarks: list[str] = []
    if not knows(model, frames[[0, -1]]):
        coverage = torch.ones(frames.shape[:3])
        blurs = "; below draft_strength 1 it blurs what it does not know" * (conditioning.draft_strength < 1)
        remarks.append(f"the draft is not of the simulated world that this model knows: it keeps it as it is{blurs}")
    if len(video) != clip.frames:
        pace = (len(video) - 1) / (clip.frames - 1)
        stretched = f"the draft's {len(video)} frames are stretched over the video's {clip.frames}"
        remarks.append(f"{stretched}: {pace:.3g} of them for each of the video's")
    return Prediction(Draft(frames, coverage, strength=conditioning.draft_strength), remarks=tuple(remarks))


def predict(run: Run, noise: Tensor | None = None) -> Prediction:
    """The draft of a clip: the shot's own, or one predicted from the start pictures where the model can.

    Five pictures show how things move. One does not: the words and the clip's noise [1,C,T',h,w], by default the
    seed's, then decide. Controls that act only in part, and windows that go on from latents, get no draft.
    """
    model, conditioning, clip, before = run.model, run.conditioning, run.clip, run.continuation
    start, end, dynamics = conditioning.start, conditioning.end, model.dynamics
    if before.draft is None and conditioning.draft is not None:
        return given_draft(model, conditioning, clip, run.context.hooks.check)
    if not family_of(model).can_predict(model) or not before.predict or before.draft is not None:
        return Prediction(before.draft)
    if dynamics is None or start is None or before.past is not None or conditioning.strength < 1:
        return Prediction()
    if clip.frames <= len(start):
        return Prediction()
    controls = fitted(conditioning.controls, clip.frames, clip.width, clip.height)
    partial = [c for c in controls if c is not None and (c.strength, c.start, c.end) != (1, 0, 1)]
    if partial or (controls.flow is not None and controls.flow.by_noise):
        return Prediction()
    single = len(start) < dynamics.known
    pictures = cover(start[:1] if single else start, clip.width, clip.height)
    last = None if end is None else cover(end, clip.width, clip.height)[-1]
    camera = controls.camera
    if camera is not None:
        camera = camera.since(0 if single else len(start) - 1) if camera.moves else None
    alone = not single and end is None and controls.flow is None and controls.depth is None
    own = knows(model, pictures[-1:])  # the world in which the dynamics of balls know more
    bodies = model.bodies if model.bodies is not None and knows_bodies(model, pictures[-1:]) else None
    if bodies is not None and alone:
        try:
            draft = draft_of_bodies(
                bodies, pictures, clip, camera, run.context.perception, run.context.hooks.check, balls=not own
            )
        except (NoPrediction, SceneError) as reason:
            return Prediction(reason=str(reason))
        if draft is not None:
            return Prediction(draft)
    if not own:
        other = UNMOVED if alone else BODIES_NEED.format(dynamics.known, _given(conditioning))
        return Prediction(reason=OTHER_WORLD.format("start") if bodies is None else other)
    if last is not None and not knows(model, last[None]):
        return Prediction(reason=OTHER_WORLD.format("end"))
    if noise is None and (single or end is not None):
        if run.seed is None:
            return Prediction()
        noise = noise_from_seed(run.seed, clip.latent_shape(model.space))
    request = DraftRequest(
        pictures=pictures,
        frames=clip.frames,
        words=_word_ids(model, conditioning.prompt) if single else [],
        noise=noise,
        controls=controls._replace(camera=camera),
        end=last,
        generated=start is before.first_picture,
    )
    try:
        return Prediction(predict_draft(dynamics, request, run.context.perception, run.context.hooks.check))
    except NoPrediction as reason:
        return Prediction(reason=str(reason))


def _given(conditioning: Conditioning) -> str:
    """A shot's number of start pictures, and what else it has that says how they go on."""
    controls = conditioning.controls
    count = 0 if conditioning.start is None else len(conditioning.start)
    more = {"an end picture": conditioning.end, "depth": controls.depth, "flow": controls.flow}
    return ", ".join((str(count), *(name for name, value in more.items() if value is not None)))


def _word_ids(model: WorldModel, prompt: str) -> list[int]:
    """Numbers of the prompt's words in the bundled vocabulary."""
    from ..model.text import WordEncoder

    encoder = model.require("text", "a draft")
    assert isinstance(encoder, WordEncoder)
    return encoder.token_ids(prompt)[0]
