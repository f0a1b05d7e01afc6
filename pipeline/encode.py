"""From a shot as a person states it to the conditioning of one model: words encoded, pictures and controls checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..control.conditioning import Conditioning, Shot
from ..control.fit import check_agreement
from ..control.native import image_features, text_tokens
from ..control.pictures import PictureError, as_masks, as_pictures
from ..control.span import ControlError
from ..control.tracks import METHODS, fitted
from .family import family_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ..model.world_model import WorldModel

MAX_PROMPT = 2000  # characters; more than any text encoder here reads


def encode_shot(model: WorldModel, shot: Shot, check: Callable[[], None] = lambda: None) -> Conditioning:
    """Words by the model's text encoder or from ComfyUI's CONDITIONING, pictures and controls checked.

    check: called for each few frames, may raise to cancel. Raises ValueError for a prompt over 2000 characters or a
    strength outside 0..1, PictureError for pictures, ControlError for what disagrees or the model does not read.
    """
    family_of(model).check(model, shot)
    check_agreement(shot.controls)
    if not 0.0 <= shot.strength <= 1.0:
        raise ValueError(f"strength is {shot.strength}; expected 0 (ignore the pictures) to 1 (hold them)")
    remarks: list[str] = []
    start = _pictures(shot.start, "start_image", remarks, check)
    end = _pictures(shot.end, "end_image", remarks, check)
    control_video = _pictures(shot.control_video, "control_video", remarks, check)
    reference = _pictures(shot.reference, "reference_image", remarks, check)
    draft, draft_mask = _draft(shot, remarks, check)
    start = draft[:1] if start is None and draft is not None else start
    if end is not None and end.shape[0] != 1:
        raise PictureError(f"end_image has {end.shape[0]} pictures; expected 1")
    _check_tracks(shot, start)
    if shot.strength == 0.0 and (start is not None or end is not None):
        remarks.append("strength is 0: the pictures have no influence")
    positive, negative = _words(model, shot, remarks)
    return Conditioning(
        positive=positive,
        negative=negative,
        prompt=shot.prompt,
        negative_prompt=shot.negative_prompt,
        start=start,
        end=end,
        strength=shot.strength,
        camera=shot.camera,
        depth=shot.depth,
        flow=shot.flow,
        image=image_features(shot.clip_vision, shot.clip_vision_end, model.config.image_dim),
        control_video=control_video,
        control_mask=None if shot.control_mask is None else as_masks(shot.control_mask, "control_mask"),
        reference=reference,
        draft=draft,
        draft_mask=draft_mask,
        draft_strength=shot.draft_strength,
        tracks=shot.tracks,
        track_method=shot.track_method,
        remarks=tuple(remarks),
    )


def _pictures(image: Tensor | None, name: str, remarks: list[str], check: Callable[[], None]) -> Tensor | None:
    if image is None:
        return None
    pictures, more = as_pictures(image, name, check)
    remarks += more
    return pictures


def _check_tracks(shot: Shot, start: Tensor | None) -> None:
    """Raise ControlError for tracks that no clip could follow; whether they fit its size is known when that is."""
    if shot.track_method not in METHODS:
        raise ControlError(f"track_method is {shot.track_method!r}; expected one of {', '.join(METHODS)}")
    if shot.tracks is None:
        return
    if start is not None and len(start) != 1:
        raise ControlError(
            f"start_image has {len(start)} pictures, and tracks carry what one shows: wire one, or remove `tracks`"
        )
    if shot.tracks.size is not None:
        fitted(shot.tracks, shot.tracks.frames, *shot.tracks.size)


def _draft(shot: Shot, remarks: list[str], check: Callable[[], None]) -> tuple[Tensor | None, Tensor | None]:
    """The draft and where it is certain; neither at strength 0. Raises ControlError and PictureError."""
    if not 0.0 <= shot.draft_strength <= 1.0:
        raise ControlError(f"draft_strength is {shot.draft_strength:g}; expected 0 (ignore the draft) to 1 (follow it)")
    if shot.draft is None and shot.draft_mask is not None:
        raise ControlError("draft_mask says where a draft is certain; wire the video to `draft` too")
    draft = _pictures(shot.draft, "draft", remarks, check)
    if draft is None or shot.draft_strength == 0:
        remarks += ["draft_strength is 0: the draft has no influence"] * (draft is not None)
        return None, None
    if len(draft) < 2:
        raise ControlError("draft is a single picture; expected a video: wire a picture to `start_image`")
    if shot.draft_mask is None:
        return draft, None
    mask = as_masks(shot.draft_mask, "draft_mask", "0 (the model decides) to 1 (as the draft shows it)")
    if len(mask) not in (1, len(draft)):
        raise ControlError(
            f"draft_mask has {len(mask)} frames and draft {len(draft)}; give one for each, or one for all"
        )
    return draft, mask.expand(len(draft), *mask.shape[1:])


def _words(model: WorldModel, shot: Shot, remarks: list[str]) -> tuple[Tensor, Tensor | None]:
    """Context [1,L,D] of prompt and negative prompt; CONDITIONING that is wired takes their place."""
    import torch

    prompts = {"prompt": shot.prompt, "negative_prompt": shot.negative_prompt}
    wired = {"prompt": shot.positive, "negative_prompt": shot.negative}
    for name, words in prompts.items():
        if len(words) > MAX_PROMPT:
            raise ValueError(f"{name} has {len(words):,} characters; expected at most {MAX_PROMPT:,}: shorten it")
        if wired[name] is not None and words.strip():
            remarks.append(f"{name} is not read: CONDITIONING is wired in its place")
    config = model.config
    tokens = {
        name: text_tokens(value, name, config.text_dim, config.text_len, remarks)
        for name, value in wired.items()
        if value is not None
    }
    to_encode = [name for name in prompts if name not in tokens]
    if to_encode and (model.text is not None or "prompt" in to_encode):
        encoder = model.require("text", "VDiT Encode Conditioning")
        with torch.no_grad():
            encoding = encoder.encode([prompts[name] for name in to_encode])
        for word, nearest in encoding.unknown:
            hint = f"; nearest known: {', '.join(nearest)}" if nearest else ""
            remarks.append(f"the model does not know the word “{word}” and ignores it{hint}")
        if encoding.cut:
            remarks.append(
                f"the prompts are {encoding.cut} {encoding.unit} longer than the model reads; the last ones are ignored"
            )
        tokens |= {name: encoding.tokens[i : i + 1] for i, name in enumerate(to_encode)}
    return _same_length(tokens["prompt"], tokens.get("negative_prompt"))


def _same_length(a: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Both padded with zeros to the longer one, as the models pad them anyway, so that they fit into one batch."""
    from torch.nn.functional import pad

    if b is None or a.shape[1] == b.shape[1]:
        return a, b
    longest = max(a.shape[1], b.shape[1])
    return pad(a, (0, 0, 0, longest - a.shape[1])), pad(b, (0, 0, 0, longest - b.shape[1]))
