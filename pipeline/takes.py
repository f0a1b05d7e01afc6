"""Takes: previews of a shot, sampled, decoded and timed in one go, and shown as they form, several side by side."""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Callable

from .decode import decode_frames
from .decode import expected
from .generate import generate
from .previews import PreviewBudget, pictures, predicted_video, reduced
from .quick_decode import resized

if TYPE_CHECKING:
    from torch import Tensor

    from ..drafting.draft import Draft
    from ..sampling.sample import Step

SEEDS = 2**64
KEPT = 8  # latents of the last takes
TILE = 192  # pixels, longest side of one take among several while they form


@dataclass(frozen=True)
class Take:
    """One video of a shot: latent [1,C,T',h,w] in the codec's raw scale, frames [T,H,W,3] 0..1, both on the CPU."""

    seed: int
    latent: Tensor
    frames: Tensor
    draft: Draft | None  # what they were expected to show
    opening: Tensor | None  # the start picture [1,H,W,3] that was made of words alone
    unforeseen: bool | str  # nothing was foretold, and why, see Conditioning
    seconds: float  # sampling and decoding
    first: float  # seconds until its first frame could be seen: foretold, or else decoded


def seeds_from(seed: int, count: int) -> list[int]:
    """The seeds of `count` takes: the given one and those that follow it."""
    return [(seed + i) % SEEDS for i in range(count)]


def take(
    model: Any,
    conditioning: Any,
    *,
    seed: int,
    frames: int,
    width: int,
    height: int,
    device: Any = "cpu",
    on_draft: Callable[[Draft], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_frames: Callable[[int, Tensor], None] | None = None,
    check: Callable[[], None] | None = None,
    **settings: Any,
) -> Take:
    """Sample and decode one video; settings as generate() takes them, by default the model's own.

    on_draft(draft) is told what is foretold, where something is, before it is sampled; on_frames(done, frames so far [n,H,W,3])
    is told after each of the T' latent frames and may raise to stop.
    """
    shape, heard = dict(frames=frames, width=width, height=height), []
    begin, first = time.perf_counter(), []

    def decoded(done: int, frames: Tensor) -> None:
        first.append(time.perf_counter() - begin)
        if on_frames is not None:
            on_frames(done, frames)

    def told(shot: Any) -> None:
        heard.append(shot)
        if shot.draft is not None:
            first.append(time.perf_counter() - begin)
            if on_draft is not None:
                on_draft(shot.draft)

    latent = generate(
        model, conditioning, seed=seed, device=device, on_told=told, on_step=on_step, check=check, **shape, **settings
    )
    (shot,) = heard
    draft = expected(model, shot, **shape)
    video = decode_frames(model.codec, latent, device, on_frames=decoded, draft=draft)
    opening = shot.start if shot.opened else None
    return Take(seed, latent, video, draft, opening, shot.unforeseen, time.perf_counter() - begin, first[0])


_kept: OrderedDict[tuple, tuple[Any, Any, Take]] = OrderedDict()
_lock = threading.Lock()


class Takes:
    """Takes of one shot. Those of late are not sampled again, only decoded: picking another costs next to nothing."""

    def __init__(self, model: Any, conditioning: Any, device: Any, forming: FormingTakes, check: Callable[[], None]):
        self.model, self.conditioning, self.device = model, conditioning, device
        self.forming, self.check = forming, check

    def take(self, seed: int, **settings: Any) -> Take:
        """As take(); its times are those of when it was made."""
        key = (id(self.model), id(self.conditioning), str(self.device), seed, *sorted(settings.items()))
        with _lock:
            model, conditioning, made = _kept.get(key) or (lambda: None, None, None)
        if model() is self.model and conditioning() is self.conditioning:
            on_frames = self.forming.on_frames
            frames = decode_frames(self.model.codec, made.latent, self.device, on_frames=on_frames, draft=made.draft)
            return replace(made, frames=frames)
        made = take(
            self.model, self.conditioning, seed=seed, device=self.device, on_draft=self.forming.on_draft,
            on_step=self.forming.on_step, on_frames=self.forming.on_frames, check=self.check, **settings,
        )  # fmt: skip
        with _lock:
            refs = weakref.ref(self.model), weakref.ref(self.conditioning)
            _kept[key] = (*refs, replace(made, frames=None))
            while len(_kept) > KEPT:
                _kept.popitem(last=False)
        return made


class FormingTakes:
    """Shows several takes while they are made, one after another, in the places where they will stand.

    update(done, pictures or None) hears of takes x (steps + latent frames) pieces of work. What is foretold, predicted videos
    after steps, then decoded frames as they come; the time that costs is kept within `share` of the rest.
    """

    def __init__(self, codec: Any, update: Callable, takes: int, steps: int, latent_frames: int, share: float = 0.05):
        self.codec, self.update, self.each = codec, update, steps + latent_frames
        self.shown: list[list] = [[] for _ in range(takes)]
        self.steps, self.current = steps, 0
        self.budget = PreviewBudget(share)

    def on_draft(self, draft: Draft) -> None:
        self._tell(0, lambda: pictures(reduced(draft.frames)))

    def on_step(self, step: Step) -> None:
        self._tell(step.done, lambda: pictures(predicted_video(self.codec, step)))

    def on_frames(self, done: int, frames: Tensor) -> None:
        last = self.steps + done == self.each
        before = self.shown[self.current]
        # What is not decoded yet keeps its predicted picture.
        self._tell(self.steps + done, lambda: pictures(frames) + before[len(frames) :], always=last)
        if last:
            self.current += 1

    def _tell(self, done: int, draw: Callable[[], list], always: bool = False) -> None:
        total = self.current * self.each + done
        if not (always and len(self.shown) > 1) and not self.budget.affordable():
            return self.update(total, None)
        with self.budget.spending():
            frames = draw()
            self.shown[self.current] = frames if len(self.shown) == 1 else [tile(frame) for frame in frames]
            self.update(total, beside(self.shown))


def tile(image: Any) -> Any:
    """A PIL image with its longer side TILE pixels."""
    scale = TILE / max(image.size)
    size = tuple(max(1, round(side * scale)) for side in image.size)
    return image if image.size == size else image.resize(size, resample=2)  # bilinear


def beside(takes: list[list]) -> list:
    """Tiles of several takes -> frames with all of them in two columns; dark where there is nothing yet."""
    if len(takes) == 1:
        return takes[0]
    from PIL import Image

    size = next(frames[0].size for frames in takes if frames)
    rows = (len(takes) + 1) // 2
    mosaic = []
    for t in range(max(map(len, takes))):
        image = Image.new("RGB", (2 * size[0], rows * size[1]), (24, 24, 24))
        for i, frames in enumerate(takes):
            if t < len(frames):
                image.paste(frames[t], ((i % 2) * size[0], (i // 2) * size[1]))
        mosaic.append(image)
    return mosaic


def film_strip(frames: Tensor, longest: int = 384, side: int = 4096) -> tuple[Tensor, int]:
    """Frames [T,H,W,3] in rows on one picture [rows*h, columns*w, 3], and the number of columns.

    Pictures are reduced to at most `longest` pixels a side, and further until the strip's width fits into `side`.
    """
    import math

    import torch

    count, height, width = frames.shape[:3]
    columns = math.ceil(math.sqrt(count))
    scale = min(1.0, longest / max(height, width), side / columns / max(height, width))
    if scale < 1.0:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        frames = resized(frames, size, "area")
    rows = math.ceil(count / columns)
    padded = torch.cat((frames, frames.new_zeros(rows * columns - count, *frames.shape[1:])))
    h, w = frames.shape[1:3]
    strip = padded.reshape(rows, columns, h, w, 3).permute(0, 2, 1, 3, 4).reshape(rows * h, columns * w, 3)
    return strip.clamp(0.0, 1.0), columns
