"""Everything the sampler is told besides noise: encoded words, key pictures, camera, depth and flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .fit import check_agreement, check_model
from .pictures import PictureError, as_pictures, cover

if TYPE_CHECKING:
    from torch import Tensor

    from .camera import CameraPath
    from .depth import DepthMaps
    from .flow import FlowField

MAX_PROMPT = 2000  # characters; more than any text encoder here reads


@dataclass(frozen=True)
class Conditioning:
    """One shot, stated. Pictures and controls keep their own size; the sampler fits them to the video's.

    positive, negative: text context [1,L,D]; start [T,H,W,3], end [1,H,W,3] in 0..1 or None; strength 0..1.
    remarks: what the user should know about how the inputs were read.
    """

    positive: Tensor
    negative: Tensor
    prompt: str = ""
    negative_prompt: str = ""
    start: Tensor | None = None
    end: Tensor | None = None
    strength: float = 1.0
    remarks: tuple[str, ...] = field(default=())
    camera: CameraPath | None = None
    depth: DepthMaps | None = None
    flow: FlowField | None = None

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
            if known >= count:
                raise PictureError(
                    f"start_image has {pictures} pictures but the video only {(count - 1) * codec.temporal + 1} "
                    "frames; nothing would be left to make"
                )
            latent[:, :, :known] = self._encoded(codec, self.start, width, height, device)
            held[:known] = True
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
) -> Conditioning:
    """Encode words with the model's text encoder and check the pictures (IMAGE [T,H,W,3 or 4], 0..1).

    Raises ValueError for a prompt over 2000 characters or a strength outside 0..1, PictureError for pictures,
    ControlError for controls that disagree or that the model has no module for.
    """
    import torch

    check_model(model.config, camera, depth, flow)
    check_agreement(camera, depth, flow)

    for name, words in (("prompt", prompt), ("negative_prompt", negative_prompt)):
        if len(words) > MAX_PROMPT:
            raise ValueError(f"{name} has {len(words):,} characters; expected at most {MAX_PROMPT:,}: shorten it")
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength is {strength}; expected 0 (ignore the pictures) to 1 (hold them)")
    remarks: list[str] = []
    if start is not None:
        start, said = as_pictures(start, "start_image")
        remarks += said
    if end is not None:
        end, said = as_pictures(end, "end_image")
        remarks += said
        if end.shape[0] != 1:
            raise PictureError(f"end_image has {end.shape[0]} pictures; expected 1")
    if strength == 0.0 and (start is not None or end is not None):
        remarks.append("strength is 0: the pictures have no influence")

    with torch.no_grad():
        encoding = model.text.encode([prompt, negative_prompt])
    for word, nearest in encoding.unknown:
        hint = f"; nearest known: {', '.join(nearest)}" if nearest else ""
        remarks.append(f"the model does not know the word “{word}” and ignores it{hint}")
    if encoding.cut:
        remarks.append(f"the prompts are {encoding.cut} words longer than the model reads; the last ones are ignored")
    return Conditioning(
        positive=encoding.tokens[:1],
        negative=encoding.tokens[1:],
        prompt=prompt,
        negative_prompt=negative_prompt,
        start=start,
        end=end,
        strength=strength,
        remarks=tuple(remarks),
        camera=camera,
        depth=depth,
        flow=flow,
    )
