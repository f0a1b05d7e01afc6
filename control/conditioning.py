"""Everything the sampler is told besides noise: encoded words, key pictures and their features, and controls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .fit import check_agreement, check_model
from .native import image_features, text_tokens
from .pictures import PictureError, as_masks, as_pictures, cover
from .span import ControlError
from .tasks import READERS, check_task

if TYPE_CHECKING:
    from torch import Tensor

    from .camera import CameraPath
    from .depth import DepthMaps
    from .flow import FlowField

MAX_PROMPT = 2000  # characters; more than any text encoder here reads


@dataclass(frozen=True)
class Conditioning:
    """One shot, stated. Pictures and controls keep their own size; the sampler fits them to the video's.

    positive, negative: text context [1,L,D]; start [T,H,W,3], end [1,H,W,3] in 0..1 or None; strength 0..1. past: raw
    latents [1,C,k,h,w] of what comes behind the start pictures, for a video that goes on from another, not of Wan models;
    draft: what the model itself foretells, a sampling.draft.Draft; unforeseen: it is not to, or was asked and cannot, and
    says why; opened: it made the start picture, too, of words alone.
    image: CLIP features [1,N,D] of the key pictures; control_video [T,H,W,3] in 0..1, control_mask [T,H,W] (1: make
    anew), reference [N,H,W,3]: for Wan models. remarks: what the user should know about how the inputs were read.
    """

    positive: Tensor
    negative: Tensor | None
    prompt: str = ""
    negative_prompt: str = ""
    start: Tensor | None = None
    end: Tensor | None = None
    strength: float = 1.0
    remarks: tuple[str, ...] = field(default=())
    camera: CameraPath | None = None
    depth: DepthMaps | None = None
    flow: FlowField | None = None
    image: Tensor | None = None
    control_video: Tensor | None = None
    control_mask: Tensor | None = None
    reference: Tensor | None = None
    past: Tensor | None = None
    draft: Any = None
    unforeseen: bool | str = False
    opened: bool = False

    def known_latents(self, codec: Any, count: int, width: int, height: int, device: Any) -> tuple[Tensor, Tensor]:
        """Raw-scale latents [1,C,count(+1),h,w] and held [count(+1)] bool; the +1 carries the end picture.

        Raises PictureError when the start pictures do not fit a video of `count` latent frames.
        """
        import torch

        frames = count + (self.end is not None)
        grid = (height // codec.spatial, width // codec.spatial)
        latent = torch.zeros(1, codec.channels, frames, *grid, device=device)
        held = torch.zeros(frames, dtype=torch.bool, device=device)
        if self.start is not None:
            pictures = self.start.shape[0]
            known = (pictures - 1) // codec.temporal + 1
            if (pictures - 1) % codec.temporal:
                below = (known - 1) * codec.temporal + 1
                raise PictureError(
                    f"start_image has {pictures} pictures; expected 1, or {codec.temporal}*k + 1 of them: "
                    f"the nearest are {below} and {below + codec.temporal}"
                )
            behind = 0 if self.past is None else self.past.shape[2]
            if known + behind >= count:
                raise PictureError(
                    f"start_image has {pictures + codec.temporal * behind} pictures but the video only "
                    f"{(count - 1) * codec.temporal + 1} "
                    "frames; nothing would be left to make"
                )
            if self.draft is not None:  # which begins with them
                latent[:, :, :known] = self.draft.encoded(codec, device)[:, :, :known]
            else:
                latent[:, :, :known] = self._encoded(codec, self.start, width, height, device)
            if behind:
                latent[:, :, known : known + behind] = self.past.to(device)
            held[: known + behind] = True
        if self.end is not None:
            latent[:, :, count:] = self._encoded(codec, self.end, width, height, device)
            held[count] = True
        return latent, held

    @staticmethod
    def _encoded(codec: Any, pictures: Tensor, width: int, height: int, device: Any) -> Tensor:
        return codec.encode(cover(pictures, width, height)[None].to(device)).float()


def encode_conditioning(
    model: Any,
    prompt: str,
    negative_prompt: str = "",
    start: Tensor | None = None,
    end: Tensor | None = None,
    strength: float = 1.0,
    camera: CameraPath | None = None,
    depth: DepthMaps | None = None,
    flow: FlowField | None = None,
    *,
    positive: Any = None,
    negative: Any = None,
    clip_vision: Any = None,
    clip_vision_end: Any = None,
    control_video: Tensor | None = None,
    control_mask: Tensor | None = None,
    reference: Tensor | None = None,
) -> Conditioning:
    """Words by the model's text encoder or ComfyUI's CONDITIONING, pictures (IMAGE [T,H,W,3 or 4], 0..1) checked.

    positive, negative: CONDITIONING in place of prompts; clip_vision(_end): CLIP_VISION_OUTPUT of start and end.
    Raises ValueError for a prompt over 2000 characters or a strength outside 0..1, PictureError for pictures,
    ControlError for what disagrees or the model does not read.
    """
    given = {
        "start_image": start, "end_image": end, "camera": camera, "depth": depth, "flow": flow,
        "clip_vision_output": clip_vision, "clip_vision_output_end": clip_vision_end, "control_video": control_video,
        "control_mask": control_mask, "reference_image": reference,
    }  # fmt: skip
    if getattr(model, "variant", None) is not None:
        check_task(model, given, strength)
    else:
        check_model(model.config, camera, depth, flow)
        for name in list(given)[5:]:
            if given[name] is not None:
                raise ControlError(
                    f"this checkpoint does not read `{name}`: load {READERS[name]}, or remove that input"
                )
    check_agreement(camera, depth, flow)
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength is {strength}; expected 0 (ignore the pictures) to 1 (hold them)")
    remarks: list[str] = []
    start, end, control_video, reference = (
        _pictures(given[name], name, remarks)
        for name in ("start_image", "end_image", "control_video", "reference_image")
    )
    if end is not None and end.shape[0] != 1:
        raise PictureError(f"end_image has {end.shape[0]} pictures; expected 1")
    if strength == 0.0 and (start is not None or end is not None):
        remarks.append("strength is 0: the pictures have no influence")
    words, no_words = _words(model, prompt, negative_prompt, positive, negative, remarks)
    return Conditioning(
        positive=words,
        negative=no_words,
        prompt=prompt,
        negative_prompt=negative_prompt,
        start=start,
        end=end,
        strength=strength,
        remarks=tuple(remarks),
        camera=camera,
        depth=depth,
        flow=flow,
        image=image_features(clip_vision, clip_vision_end, getattr(model.config, "image_dim", 0)),
        control_video=control_video,
        control_mask=None if control_mask is None else as_masks(control_mask, "control_mask"),
        reference=reference,
    )


def _pictures(image: Tensor | None, name: str, remarks: list[str]) -> Tensor | None:
    if image is None:
        return None
    pictures, said = as_pictures(image, name)
    remarks += said
    return pictures


def _words(
    model: Any, prompt: str, negative_prompt: str, positive: Any, negative: Any, remarks: list[str]
) -> tuple[Tensor, Tensor | None]:
    """Tokens of prompt and negative prompt; CONDITIONING that is wired takes their place."""
    import torch

    prompts = {"prompt": prompt, "negative_prompt": negative_prompt}
    wired = {"prompt": positive, "negative_prompt": negative}
    for name, words in prompts.items():
        if len(words) > MAX_PROMPT:
            raise ValueError(f"{name} has {len(words):,} characters; expected at most {MAX_PROMPT:,}: shorten it")
        if wired[name] is not None and words.strip():
            remarks.append(f"{name} is not read: CONDITIONING is wired in its place")
    config = model.config
    tokens = {
        name: text_tokens(value, name, config.text_dim, config.text_len, remarks)
        for name, value in wired.items() if value is not None
    }  # fmt: skip
    unread = [name for name in prompts if name not in tokens]
    if unread and (model.text is not None or "prompt" in unread):
        encoder = model.text if model.text is not None else model.require("text", "VDiT Encode Conditioning")
        with torch.no_grad():
            encoding = encoder.encode([prompts[name] for name in unread])
        for word, nearest in encoding.unknown:
            hint = f"; nearest known: {', '.join(nearest)}" if nearest else ""
            remarks.append(f"the model does not know the word “{word}” and ignores it{hint}")
        if encoding.cut:
            remarks.append(
                f"the prompts are {encoding.cut} {encoding.unit} longer than the model reads; the last ones are ignored"
            )
        tokens |= {name: encoding.tokens[i : i + 1] for i, name in enumerate(unread)}
    return _same_length(tokens["prompt"], tokens.get("negative_prompt"))


def _same_length(a: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Both padded with zeros to the longer one, as models pad them anyway: they then go through in one batch."""
    import torch

    if b is None or a.shape[1] == b.shape[1]:
        return a, b
    longest = max(a.shape[1], b.shape[1])
    return tuple(torch.nn.functional.pad(t, (0, 0, 0, longest - t.shape[1])) for t in (a, b))
