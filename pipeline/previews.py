"""The forming video, shown while it is sampled, for at most a fixed share of the sampling time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable

from ..drafting.draft import agreement
from .quick_decode import LONG_SIDE, quick_decode, resized

if TYPE_CHECKING:
    from torch import Tensor

    from ..sampling.sample import Step


class PreviewBudget:
    """Keeps time spent on previews within `share` of the time spent on everything else since construction.

    Ask `affordable()`, then do the work inside `with budget.spending():`. The first preview goes ahead
    unmeasured; each later one waits until the sampling has earned what the latest cost.
    """

    def __init__(self, share: float = 0.05, clock: Callable[[], float] = time.perf_counter):
        self.share, self.clock = share, clock
        self.start = clock()
        self.spent = 0.0
        self.latest = 0.0

    def affordable(self) -> bool:
        sampling = self.clock() - self.start - self.spent
        return self.spent + self.latest <= self.share * sampling

    @contextmanager
    def spending(self):
        begin = self.clock()
        try:
            yield
        finally:
            cost = self.clock() - begin
            self.spent += cost
            self.latest = cost


class Forming:
    """An on_step that tells update(done, pictures): the predicted clean video as a list of PIL images, or None.

    Pictures come from a linear map of each latent cell to a few pixels a side and `temporal` frames: about 50
    times cheaper than the codec's decoder, and enough to see colours, places and motion. Where they show what a draft
    foretells, they are as sharp as it.
    """

    def __init__(self, codec: Any, update: Callable, share: float = 0.05):
        self.codec, self.update = codec, update
        self.budget = PreviewBudget(share)

    def __call__(self, step: Step) -> None:
        if not self.budget.affordable():
            return self.update(step.done, None)
        with self.budget.spending():
            self.update(step.done, pictures(predicted_video(self.codec, step)))


def pictures(frames: Tensor) -> list:
    """Frames [T,H,W,3] in 0..1 -> PIL images."""
    from PIL import Image

    return [Image.fromarray(frame) for frame in (frames * 255).round().byte().cpu().numpy()]


def predicted_video(codec: Any, step: Step) -> Tensor:
    """The video [T,H,W,3] that a step predicts, of the draft where the two agree; its long side at most LONG_SIDE pixels."""
    small, draft = quick_decode(codec, step.x0), step.draft
    if draft is None or draft.latent is None or draft.latent.shape != step.x0.shape:
        return small
    same = agreement(small, quick_decode(codec, draft.latent))
    frames = reduced(draft.frames)
    small, same = (resized(x.cpu(), frames.shape[1:3], "bilinear") for x in (small, same))
    return small.lerp(frames, same)


def reduced(frames: Tensor) -> Tensor:
    """Frames [T,H,W,3], their long side at most LONG_SIDE pixels."""
    scale = min(1.0, LONG_SIDE / max(frames.shape[1:3]))
    return frames if scale == 1 else resized(frames, [round(side * scale) for side in frames.shape[1:3]], "area")
