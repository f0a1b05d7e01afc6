"""What a video is expected to show, and how it keeps what the codec would lose.

A codec blurs what it keeps in a 96th of the numbers. What the start pictures show, and a draft moves on from them, is known
sharply: where the decoded video shows what the decoded draft shows, it is the draft. Elsewhere (in a shadow, where something
comes to light) it stays as it was decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..control.pictures import cover
from .settings import is_wan

if TYPE_CHECKING:
    from torch import Tensor

ALIKE = 0.05, 0.15  # root mean square over AROUND pixels a side: up to the first it is the draft, from the second not
AROUND = 5


@dataclass(eq=False)
class Draft:
    """frames [T,H,W,3] in 0..1; latent [1,C,T',h,w], raw, is theirs as soon as it was asked for."""

    frames: Tensor
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

        part = self.frames[at : at + count]
        return Draft(torch.cat((part, self.frames[-1:].expand(count - len(part), -1, -1, -1))))

    def shows(self, shape: tuple[int, ...]) -> bool:
        """Whether it is of frames [T,H,W,3]."""
        return tuple(self.frames.shape) == tuple(shape)


def expected(model: Any, conditioning: Any, frames: int, width: int, height: int) -> Draft | None:
    """The draft of a conditioning, or else its start pictures, of which the last stands still; None without any, and for
    Wan models, whose codecs blur little and take long."""
    if conditioning.draft is not None or conditioning.start is None or is_wan(model):
        return conditioning.draft
    return Draft(cover(conditioning.start, width, height)[:frames]).part(0, frames)


def restored(made: Tensor, again: Tensor, draft: Tensor) -> Tensor:
    """Frames [T,H,W,3], of the draft where they agree with `again`: the draft's after encoding and decoding."""
    from torch.nn import functional as F

    off = (made - again).square().mean(-1)[:, None]
    off = F.avg_pool2d(F.pad(off, (AROUND // 2,) * 4, mode="replicate"), AROUND, 1)[:, 0].sqrt()
    same = ((ALIKE[1] - off) / (ALIKE[1] - ALIKE[0])).clamp(0, 1)[..., None]
    return made.lerp(draft, same)
