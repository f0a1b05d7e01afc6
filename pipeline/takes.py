"""Takes: previews of a shot, sampled, decoded and timed in one go, and shown as they form, several side by side."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..machine.pace import PreviewBudget
from .decode import decode_frames
from .decode_blocks import BlockDecoder
from .generate import generate
from .latent_preview import LatentPreview, resized
from .previews import Update, drafted, pictures, predicted_video
from .values import Hooks, Progress, Result, Run

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ..control.conditioning import Conditioning
    from ..drafting import Draft

SEEDS = 2**64
TILE = 192  # pixels, longest side of one take among several while they form


@dataclass(frozen=True, eq=False)
class Take:
    """One video of a shot: frames [T,H,W,3] in 0..1 on the CPU, how it was made, and how long that took.

    seconds: sampling and decoding; first: seconds until its first frame could be seen, predicted or else decoded.
    """

    seed: int
    result: Result
    frames: Tensor
    seconds: float
    first: float


def seeds_from(seed: int, count: int) -> list[int]:
    """The seeds of `count` takes: the given one and those that follow it."""
    return [(seed + i) % SEEDS for i in range(count)]


def take(run: Run) -> Take:
    """Sample, decode and time one video; errors as generate()'s."""
    begin, shown = time.perf_counter(), list[float]()
    context, hooks = run.context, run.context.hooks

    def on_draft(draft: Draft) -> None:
        shown.append(time.perf_counter() - begin)
        hooks.on_draft(draft)

    def on_frames(done: int, frames: Tensor) -> None:
        shown.append(time.perf_counter() - begin)
        hooks.on_frames(done, frames)

    codec = run.model.require("codec", "a take")
    blocks = BlockDecoder(codec, on_frames)
    timed = replace(context, hooks=replace(hooks, on_draft=on_draft, on_frames=on_frames, on_block=blocks))
    result = generate(replace(run, context=timed))
    frames = blocks.frames
    if run.model.causal is None:
        frames = decode_frames(codec, result.latent, result.expected, timed)
    return Take(run.seed or 0, result, frames, time.perf_counter() - begin, shown[0])


class TakeCache:
    """The last takes of one model, without their frames: picking another of them costs only its decoding."""

    LIMIT = 8  # takes

    def __init__(self):
        self._takes: OrderedDict[tuple[object, ...], tuple[weakref.ref[Conditioning], Take]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, run: Run) -> Take:
        """As take(); of a take that is still here the times are those of when it was made."""
        shot = run.conditioning
        key = (id(run.model), id(shot), str(run.context.device), run.seed, run.clip, run.settings)
        with self._lock:
            owner, made = self._takes.get(key, (None, None))
        if owner is not None and made is not None and owner() is shot:
            codec = run.model.require("codec", "a take")
            return replace(made, frames=decode_frames(codec, made.result.latent, made.result.expected, run.context))
        made = take(run)
        with self._lock:
            self._takes[key] = weakref.ref(shot), replace(made, frames=made.frames[:0])
            while len(self._takes) > self.LIMIT:
                self._takes.popitem(last=False)
        return made


class FormingTakes:
    """Hooks that show several takes while they are made, one after another, each in the place where it will stand.

    update(done, pictures or None) counts takes x (steps + latent frames) pieces of work. Shown are the draft, predicted
    videos after steps, then decoded frames as they come, as far as the budget allows. causal: each block is shown when
    it is decoded; steps are then counted as causal.work_of does.
    """

    def __init__(
        self,
        preview: LatentPreview,
        update: Update,
        takes: int,
        steps: int,
        latent_frames: int,
        budget: PreviewBudget | None = None,
        causal: bool = False,
    ):
        self.preview, self.update, self.work, self.causal = preview, update, steps + latent_frames, causal
        self.sampled, self.decoded, self.drawn = 0, 0, 0  # of the current take: steps, latent frames, frames shown
        self.shown: list[list[Image]] = [[] for _ in range(takes)]
        self.current = 0
        self.budget = budget or PreviewBudget()

    def hooks(self, check: Callable[[], None]) -> Hooks:
        """To be passed to the takes."""
        return Hooks(self.on_draft, self.on_step, self.on_frames, check=check)

    def on_draft(self, draft: Draft) -> None:
        """See Hooks."""
        self._show(lambda: pictures(drafted(draft)))

    def on_step(self, step: Progress) -> None:
        """See Hooks."""
        self.sampled = step.done
        if self.causal:
            return self.update(self._done(), None)
        return self._show(lambda: pictures(predicted_video(self.preview, step)))

    def on_frames(self, done: int, frames: Tensor) -> None:
        """See Hooks. Frames that are not decoded yet keep their predicted picture."""
        self.decoded, before, drawn = done, self.shown[self.current], self.drawn
        last = self._done() == (self.current + 1) * self.work

        def draw() -> list[Image]:
            self.drawn = len(frames)
            return before[:drawn] + pictures(frames[drawn:]) + before[len(frames) :]

        self._show(draw, always=self.causal or (last and len(self.shown) > 1))
        if last:
            self.current += 1
            self.sampled = self.decoded = self.drawn = 0

    def _done(self) -> int:
        return self.current * self.work + self.sampled + self.decoded

    def _show(self, draw: Callable[[], list[Image]], always: bool = False) -> None:
        if not always and not self.budget.affordable():
            return self.update(self._done(), None)
        with self.budget.spending():
            frames = draw()
            self.shown[self.current] = frames if len(self.shown) == 1 else [tile(frame) for frame in frames]
            self.update(self._done(), side_by_side(self.shown))


def tile(image: Image) -> Image:
    """The image with its longer side TILE pixels."""
    scale = TILE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image if image.size == (width, height) else image.resize((width, height), resample=2)  # bilinear


def side_by_side(takes: list[list[Image]]) -> list[Image]:
    """Tiles of several takes -> frames with all of them in two columns; dark where there is nothing yet."""
    if len(takes) == 1:
        return takes[0]
    from PIL.Image import new

    width, height = next(frames[0].size for frames in takes if frames)
    rows = (len(takes) + 1) // 2
    mosaic: list[Image] = []
    for t in range(max(map(len, takes))):
        image = new("RGB", (2 * width, rows * height), (24, 24, 24))
        for i, frames in enumerate(takes):
            if t < len(frames):
                image.paste(frames[t], ((i % 2) * width, (i // 2) * height))
        mosaic.append(image)
    return mosaic


def film_strip(frames: Tensor, longest: int = 384, side: int = 4096) -> tuple[Tensor, int]:
    """Frames [T,H,W,3] in rows on one picture [rows*h, columns*w, 3], and the number of columns.

    Frames are reduced to at most `longest` pixels a side, and further until the strip is at most `side` pixels wide.
    """
    import torch

    count, height, width = frames.shape[:3]
    columns = math.ceil(math.sqrt(count))
    scale = min(1.0, longest / max(height, width), side / columns / max(height, width))
    if scale < 1.0:
        frames = resized(frames, (max(1, round(height * scale)), max(1, round(width * scale))), "area")
    rows = math.ceil(count / columns)
    padded = torch.cat((frames, frames.new_zeros(rows * columns - count, *frames.shape[1:])))
    h, w = frames.shape[1:3]
    strip = padded.reshape(rows, columns, h, w, 3).permute(0, 2, 1, 3, 4).reshape(rows * h, columns * w, 3)
    return strip.clamp(0.0, 1.0), columns
