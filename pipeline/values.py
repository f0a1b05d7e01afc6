"""The values of one run: what is asked for (ClipSpec, SamplerSettings, Hooks), and what comes out (Result)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..control.conditioning import Conditioning
    from ..drafting import Draft, PerceptionCache
    from ..kernels.processes import Processes
    from ..model.codec.base import Codec
    from ..model.world_model import WorldModel
    from .devices import Devices


@dataclass(frozen=True)
class ClipSpec:
    """Length in frames, size in pixels and frames per second of a video; fps 0 where no clock is needed."""

    frames: int
    width: int
    height: int
    fps: float = 0.0

    def latent_shape(self, space: Codec) -> tuple[int, int, int, int, int]:
        """[1, C, T', h, w] of the video's latent."""
        latent_frames = (self.frames - 1) // space.temporal + 1
        return (1, space.channels, latent_frames, self.height // space.spatial, self.width // space.spatial)


@dataclass(frozen=True)
class SamplerSettings:
    """What a person may choose about sampling; None is the model's own.

    guidance_low: of a model with two experts, in low noise; None follows guidance if that is given. frame_lag: see
    sampling.frame_levels.
    """

    steps: int | None = None
    guidance: float | None = None
    shift: float | None = None
    solver: str | None = None
    scheduler: str | None = None
    guidance_low: float | None = None
    frame_lag: float | None = None


@dataclass(frozen=True)
class RunSettings:
    """SamplerSettings with every choice made, see settings.resolve."""

    steps: int
    guidance: float
    guidance_low: float
    shift: float
    solver: str
    scheduler: str
    frame_lag: float

    def as_report(self) -> dict[str, int | float | str]:
        """The settings as reports have them, where frame_lag is called `rise`."""
        return {"rise" if name == "frame_lag" else name: value for name, value in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class Progress:
    """What Hooks.on_step receives: `done` of `total` steps, the predicted clean latent x0 [1,C,T',h,w] in raw scale,
    and the draft that the transformer is conditioned on.
    """

    done: int
    total: int
    x0: Tensor
    draft: Draft | None = None


@dataclass(frozen=True, eq=False)
class Block:
    """What Hooks.on_block receives: a block of a causal rollout, finished before the next one is begun.

    frames: the numbers of its latent frames, of `total`; latent [1,C,n,h,w] in raw scale. expected: see Result.
    """

    frames: range
    total: int
    latent: Tensor
    expected: Draft | None = None


def ignore(*_: object) -> None:
    """A hook that does nothing."""


@dataclass(frozen=True)
class Hooks:
    """Called while a run goes on; each may stop it by raising.

    on_draft: when a draft was predicted, before sampling. on_step: after each step. on_frames(latent frames done,
    frames so far [n,H,W,3]): while decoding; the frames are not to be changed. on_block: of a causal model, for each
    block before the next is begun. check: before every model call.
    """

    on_draft: Callable[[Draft], None] = ignore
    on_step: Callable[[Progress], None] = ignore
    on_frames: Callable[[int, Tensor], None] = ignore
    on_block: Callable[[Block], None] = ignore
    check: Callable[[], None] = ignore


@dataclass(frozen=True)
class RunContext:
    """Where a run computes, whom it calls, and the cache of what pictures show, if runs share one.

    processes: that make this run together, each with the same Run; all get the same result. devices: of this process,
    which compute each call of the transformer together; the first is `device`. One of the two, or neither.
    """

    device: torch.device | str = "cpu"
    hooks: Hooks = Hooks()
    perception: PerceptionCache | None = None
    processes: Processes | None = None
    devices: Devices | None = None


ON_CPU = RunContext()  # without hooks


@dataclass(frozen=True, eq=False)
class Continuation:
    """What a run takes over from an earlier one.

    first_picture [1,H,W,3]: made from words alone, it stands for the missing start picture. past: raw latents
    [1,C,k,h,w] that follow the start pictures (the bundled model only). draft: part of a longer video's draft. predict:
    whether a draft may be predicted, and a first picture be made, where there is none.
    """

    first_picture: Tensor | None = None
    past: Tensor | None = None
    draft: Draft | None = None
    predict: bool = True


@dataclass(frozen=True, eq=False)
class Run:
    """One video to be made: by which model, of what, how long and large, with which seed and settings, and where.

    seed None: the noise is an external sampler's.
    """

    model: WorldModel
    conditioning: Conditioning
    clip: ClipSpec
    seed: int | None = None
    settings: SamplerSettings = SamplerSettings()
    context: RunContext = ON_CPU
    continuation: Continuation = Continuation()


@dataclass(frozen=True, eq=False)
class Result:
    """What a run made, and everything that its caller may ask about it.

    latent [1,C,T',h,w] in the codec's raw scale, on the CPU. draft: what the transformer was conditioned on;
    no_draft_reason: why none could be predicted, for the user. expected: frames that decoding may use where the latent
    agrees with them: the draft, or else the start pictures standing still. first_picture: made from words alone.
    draft_remarks: how the shot's own draft was fitted.
    """

    latent: Tensor
    settings: RunSettings
    draft: Draft | None = None
    no_draft_reason: str | None = None
    expected: Draft | None = None
    first_picture: Tensor | None = None
    draft_remarks: tuple[str, ...] = ()

    @property
    def remarks(self) -> list[str]:
        """What the user should know about how the video was made."""
        return [*self.draft_remarks, *no_motion(self.no_draft_reason)]


def no_motion(reason: str | None) -> list[str]:
    """The remark for the user where no draft could be predicted."""
    return [] if reason is None else [f"No motion was predicted, the transformer alone made this: {reason}"]
