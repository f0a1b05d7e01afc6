"""The forming video, shown while it is sampled, for at most a fixed share of the sampling time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..drafting import agreement
from ..machine.pace import PreviewBudget
from .decode import WARM_UP, warmed_up
from .latent_preview import LatentPreview, reduced, resized

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ..drafting import Draft
    from .values import Block, Progress

SHOWN = 129  # frames of a preview at most, 16 s at 8 frames/s: of a longer video every k-th is shown
AT_ONCE = 11  # latent frames drawn at once, 41 frames; with 33, a preview of 120 s takes 105 MB more than one of 30 s
Update = Callable[[int, "list[Image] | None"], None]  # (work done, pictures of the video or None where none are due)


class FormingVideo:
    """An on_step that gives update(done, pictures) the predicted clean video, as sharp as the draft where both
    agree.
    """

    def __init__(self, preview: LatentPreview, update: Update):
        self.preview, self.update, self.budget = preview, update, PreviewBudget()

    def __call__(self, step: Progress) -> None:
        """See Hooks.on_step."""
        if not self.budget.affordable():
            return self.update(step.done, None)
        with self.budget.spending():
            self.update(step.done, pictures(predicted_video(self.preview, step)))


class FormingBlocks:
    """Hooks for a causal model: gives update(done, pictures) the blocks that are made, each before the next is begun.

    steps: of a block; `done` is counted as causal.work_of does.
    """

    def __init__(self, preview: LatentPreview, update: Update, steps: int):
        self.preview, self.update, self.steps = preview, update, steps
        self.shown: list[Image] = []
        self.past: Tensor | None = None

    def on_step(self, step: Progress) -> None:
        """See Hooks."""
        self.update(step.done, None)

    def on_block(self, block: Block) -> None:
        """See Hooks."""
        import torch

        temporal, draft = self.preview.codec.temporal, block.expected
        latent = block.latent if self.past is None else torch.cat((self.past, block.latent), 2)
        start = block.frames.stop - latent.shape[2]
        known = 0 if self.past is None else (self.past.shape[2] - 1) * temporal + 1
        if draft is not None and (draft.latent is None or draft.latent.shape[2] != block.total):
            draft = None
        small = _small(self.preview, latent, draft, slice(start, block.frames.stop), known)
        every = -(-(temporal * (block.total - 1) + 1) // SHOWN)
        self.shown += pictures(small[-(start * temporal + known) % every :: every])
        self.past = latent[:, :, -WARM_UP:].clone()
        self.update(block.frames.stop * self.steps, [*self.shown])


def pictures(frames: Tensor) -> list[Image]:
    """Frames [T,H,W,3] in 0..1 -> PIL images."""
    from PIL import Image

    return [Image.fromarray(frame) for frame in (frames * 255).round().byte().cpu().numpy()]


def drafted(draft: Draft) -> Tensor:
    """The draft's frames [T,H,W,3], small; every k-th of a long one."""
    import torch

    count = len(draft.frames)
    if count <= SHOWN:
        return reduced(draft.frames[:])
    return torch.cat([reduced(draft.frames[i : i + 1]) for i in range(0, count, -(-count // SHOWN))])


def predicted_video(preview: LatentPreview, step: Progress) -> Tensor:
    """The video [T,H,W,3] that a step predicts, taken from the draft where the two agree; small, see LatentPreview.

    Of a long video every k-th frame, so that a preview takes little memory.
    """
    import torch

    x0, draft, temporal = step.x0, step.draft, preview.codec.temporal
    if draft is not None and (draft.latent is None or draft.latent.shape != x0.shape):
        draft = None
    every = -(-(temporal * (x0.shape[2] - 1) + 1) // SHOWN)
    shown: list[Tensor] = []
    for part, known in warmed_up(x0.shape[2], AT_ONCE, temporal):
        small, at = _small(preview, x0[:, :, part], draft, part, known), part.start * temporal + known
        shown.append(small[-at % every :: every].clone() if every > 1 else small)
    return shown[0] if len(shown) == 1 else torch.cat(shown)


def _small(preview: LatentPreview, latent: Tensor, draft: Draft | None, part: slice, known: int) -> Tensor:
    """The small frames of the latent frames `part` of a video but the first `known`, as predicted_video has them."""
    small = preview(latent)
    if draft is None or draft.latent is None:
        return small[known:]
    share = agreement(small, preview(draft.latent[:, :, part]))[known:]
    at = part.start * preview.codec.temporal + known
    frames = reduced(draft.frames[at : at + len(share)])
    small, share = (resized(x.cpu(), frames.shape[1:3], "bilinear") for x in (small[known:], share))
    return small.lerp(frames, share)
