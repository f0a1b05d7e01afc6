"""What a video is expected to show, and how it keeps what the codec would lose.

A codec blurs what it keeps in a 96th of the numbers. What the start pictures show, and a draft moves on from them, is known
sharply: where the decoded video shows what the decoded draft shows, it is the draft. Elsewhere (in a shadow, where something
comes to light) it stays as it was decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..control.pictures import cover
from ..control.signals import fold
from .settings import is_wan

if TYPE_CHECKING:
    from torch import Tensor

ALIKE = 0.05, 0.15  # root mean square over AROUND pixels a side: up to the first it is the draft, from the second not
AROUND = 5
# Added to the log-odds with which the transformer trusts a draft where it draws a ball. It was trained with drafts that hid
# none, learned to doubt balls before a box, and let them come out frames too late.
BALLS = 2.0


@dataclass(eq=False)
class Draft:
    """frames [T,H,W,3] in 0..1, balls [T,H,W] where they show some (None: nowhere); latent [1,C,T',h,w], raw, is theirs as
    soon as it was asked for."""

    frames: Tensor
    balls: Tensor | None = None
    latent: Tensor | None = None

    def encoded(self, codec: Any, device: Any) -> Tensor:
        """The frames as latents [1,C,T',h,w], in the codec's raw scale."""
        import torch

        if self.latent is None:
            with torch.no_grad():
                self.latent = codec.encode(self.frames[None].to(device)).float()
        return self.latent.to(device)

    def part(self, at: int, count: int) -> Draft:
        """So many frames from one on; behind the end the last one stands still."""
        import torch

        def cut(x: Tensor) -> Tensor:
            part = x[at : at + count]
            return torch.cat((part, x[-1:].expand(count - len(part), *x.shape[1:])))

        return Draft(cut(self.frames), None if self.balls is None else cut(self.balls))

    def told(self, codec: Any, device: Any) -> Tensor:
        """As the transformer reads it [1,C+1,T',h,w], see VDiT.forward: a ball that is drawn, it is to draw."""
        import torch

        latent = codec.normalize(self.encoded(codec, device))
        there = torch.ones_like(latent[:, :1])
        if self.balls is not None:
            balls = torch.nn.functional.max_pool2d(self.balls[:, None].to(device), codec.spatial)
            there += BALLS * (fold(balls[None], 1).amax(1, keepdim=True) > 0.5)
        return torch.cat((latent, there), 1)


def expected(model: Any, conditioning: Any, frames: int, width: int, height: int) -> Draft | None:
    """The draft of a conditioning, or else its start pictures, of which the last stands still; None without any, and for
    Wan models, whose codecs blur little and take long."""
    if conditioning.draft is not None or conditioning.start is None or is_wan(model):
        return conditioning.draft
    return Draft(cover(conditioning.start, width, height)).part(0, frames)


def restored(made: Tensor, again: Tensor, draft: Tensor) -> Tensor:
    """Frames [T,H,W,3], of the draft where they agree with `again`: the draft's after encoding and decoding."""
    return made.lerp(draft, agreement(made, again))


def agreement(made: Tensor, again: Tensor) -> Tensor:
    """How far frames [T,H,W,3] agree: [T,H,W,1], 0 to 1."""
    from torch.nn import functional as F

    off = (made - again).square().mean(-1)[:, None]
    off = F.avg_pool2d(F.pad(off, (AROUND // 2,) * 4, mode="replicate"), AROUND, 1)[:, 0].sqrt()
    return ((ALIKE[1] - off) / (ALIKE[1] - ALIKE[0])).clamp(0, 1)[..., None]
