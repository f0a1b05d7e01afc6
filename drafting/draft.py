"""What a video is expected to show, and how it keeps what the codec would lose.

A codec blurs what it keeps in a 96th of the numbers. What the start pictures show, and a draft moves on from them, is
known sharply: where a video's latents show what the draft's own show, it is the draft. Elsewhere (where something comes
to light, or happens otherwise) it is what the codec decodes. """

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..control.signals import fold
from .lighting import grown

if TYPE_CHECKING:
    from torch import Tensor

ALIKE = (
    0.075,
    0.15,
)  # root mean square over AROUND small pixels a side: up to the first it is the draft, from the second not
AROUND = 5
BEYOND = (
    3  # small pixels to each side of what differs that are not the draft, either: a ball's rim there would stay behind
)


@dataclass(frozen=True, eq=False)
class Draft:
    """A draft of a video: frames [T,H,W,3] in 0..1, and how much of a ball each pixel shows, balls [T,H,W] in 0..1
    (None: no balls). latent [1,C,T',h,w]: the frames' raw latents, None until encoded(). travels: the camera moves."""

    frames: Tensor
    balls: Tensor | None = None
    latent: Tensor | None = None
    travels: bool = False

    def encoded(self, codec: Any, device: Any) -> Draft:
        """The same draft with its latent on the device, in the codec's raw scale."""
        import torch

        if self.latent is not None:
            return replace(self, latent=self.latent.to(device))
        encode = getattr(codec, "encode_roughly", codec.encode)  # in bfloat16 where that is fast: good enough for drafts
        with torch.no_grad():
            return replace(self, latent=encode(self.frames[None].to(device)))

    def part(self, at: int, count: int) -> Draft:
        """`count` frames from number `at` on; beyond the end the last one stands still. The part is not encoded."""
        import torch

        def cut(x: Tensor) -> Tensor:
            part = x[at : at + count]
            return torch.cat((part, x[-1:].expand(count - len(part), *x.shape[1:])))

        return Draft(cut(self.frames), None if self.balls is None else cut(self.balls), travels=self.travels)

    def condition(self, codec: Any, device: Any) -> Tensor:
        """The transformer's `draft` input [1,C+1,T',h,w], see VDiT.forward: where the draft shows a ball, it is
        certain."""
        import torch

        latent = codec.normalize(self.encoded(codec, device).latent)
        there = torch.ones_like(latent[:, :1])
        if self.balls is not None:
            rows = self.balls.to(device).unflatten(1, (-1, codec.spatial)).amax(2)
            balls = rows.unflatten(2, (-1, codec.spatial)).amax(3)[:, None]  # a fifth of max_pool2d's time
            there += fold(balls[None], 1).amax(1, keepdim=True) > 0.5
        return torch.cat((latent, there), 1)


def agreement(made: Tensor, drafted: Tensor) -> Tensor:
    """How far small frames [T,h,w,3] of a video and of its draft agree: [T,h,w,1], 0 to 1."""
    from torch.nn import functional as F

    height, width = made.shape[1:3]
    red, green, blue = (made - drafted).square().unbind(-1)
    off = F.pad(red + green + blue, (AROUND // 2,) * 4, mode="replicate")
    off = sum(off[:, i : i + height] for i in range(AROUND))  # a tenth of avg_pool2d's time
    off = (sum(off[..., i : i + width] for i in range(AROUND)) / (3 * AROUND**2)).sqrt()
    if bool((off > ALIKE[0]).any()):  # else it is the draft throughout
        off = grown(off, BEYOND)
    return ((ALIKE[1] - off) / (ALIKE[1] - ALIKE[0])).clamp(0, 1)[..., None]
