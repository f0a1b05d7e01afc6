"""One sampling run: noise in, clean latent out; reproducible, observable, and stoppable between any two steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .held import HeldFrames, hold
from .solvers import RENOISING, SOLVERS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .draft_guidance import DraftGuidance
    from .types import Denoiser


@dataclass(frozen=True, eq=False)
class Step:
    """What on_step receives: `done` of `total` steps, the sigma it began at, the predicted x0 [B,C,T,h,w]."""

    done: int
    total: int
    sigma: float
    x0: Tensor


@dataclass(frozen=True)
class SampleOptions:
    """What only some runs need.

    model_sigma: the sigma that the model receives in place of the solver's (see schedule.model_sigma).
    frame_levels(sigma) [1 or B,T]: noise levels of frames that have their own when the clip is at sigma; the denoiser
    still receives the clip's. fresh_noise(): noise for the solvers that add it between steps, shaped as the first.
    draft: what the sampling begins from in place of pure noise; sigmas must be of its share of the schedule.
    """

    model_sigma: Callable[[float], float] = float
    frame_levels: Callable[[float], Tensor] | None = None
    fresh_noise: Callable[[], Tensor] | None = None
    draft: DraftGuidance | None = None


def noise_from_seed(
    seed: int, shape: Sequence[int], extra_frames: int = 0, device: torch.device | str = "cpu"
) -> Tensor:
    """Standard normal fp32 noise [B,C,T+extra_frames,h,w], drawn on the CPU: a seed means the same on every device.

    Extra frames (for end pictures) are drawn last, so that asking for them leaves the first T as they were.
    """
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)
    noise = torch.randn(tuple(shape), generator=generator, dtype=torch.float32)
    if extra_frames:
        extra = (*shape[:2], extra_frames, *shape[3:])
        noise = torch.cat([noise, torch.randn(extra, generator=generator, dtype=torch.float32)], dim=2)
    return noise.to(device)


def noise_after_seed(seed: int, shape: Sequence[int]) -> Callable[[], Tensor]:
    """Draws the noise [*shape] that follows the seed's first such draw: the same on every device."""
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)
    skipped = False

    def fresh() -> Tensor:
        nonlocal skipped
        if not skipped:
            torch.randn(tuple(shape), generator=generator)
            skipped = True
        return torch.randn(tuple(shape), generator=generator)

    return fresh


def sample(
    denoise: Denoiser,
    noise: Tensor,
    sigmas: Sequence[float],
    solver: str = "unipc",
    held: HeldFrames | None = None,
    on_step: Callable[[Step], None] | None = None,
    check: Callable[[], None] | None = None,
    options: SampleOptions = SampleOptions(),
) -> Tensor:
    """Solve from noise [B,C,T,h,w] at sigmas[0] to the latent at sigmas[-1].

    denoise(x, sigma [B,T]) -> velocity. check() is called before every evaluation and stops the run by raising; so may
    on_step. Raises ValueError for an unknown solver, FloatingPointError when the model gives NaN.
    """
    import torch

    if solver not in SOLVERS:
        raise ValueError(f"solver is {solver!r}; expected one of {', '.join(SOLVERS)}")
    fresh_noise, frame_levels = options.fresh_noise, options.frame_levels
    if solver in RENOISING and fresh_noise is None:
        raise ValueError(f"the solver {solver} adds noise between steps: give `fresh_noise`")
    draft = options.draft
    if draft is not None and draft.first == 0:
        return draft.latent.clone()
    field = denoise if draft is None else draft.follow(denoise, noise, sigmas)
    field = field if held is None else hold(field, held, noise)
    batch, frames, total = noise.shape[0], noise.shape[2], len(sigmas) - 1

    def velocity(x: Tensor, s: float) -> Tensor:
        if check is not None:
            check()
        v = field(x, torch.full((batch, frames), options.model_sigma(s), dtype=noise.dtype, device=noise.device))
        if not torch.isfinite(v).all():
            raise FloatingPointError(
                f"the model gave NaN or infinity at sigma {s:.3f}; its weights or the conditioning are damaged, "
                "or their precision is too low: try another file or fp32"
            )
        return v

    def level(s: float) -> Tensor:
        if frame_levels is None:
            return torch.tensor(s, dtype=torch.float64, device=noise.device)  # a scalar tensor: x keeps its dtype
        return frame_levels(s)[:, None, :, None, None]

    def report(i: int, x0: Tensor) -> None:
        if on_step is not None:
            on_step(Step(i + 1, total, float(sigmas[i]), x0))

    def drawn() -> Tensor:
        assert fresh_noise is not None
        fresh = fresh_noise().to(noise)  # what is held keeps the noise that its exact velocity is made of
        fresh = fresh if draft is None or draft.kept is None else noise.where(draft.kept, fresh)
        return fresh if held is None else noise.where(held.mask, fresh)

    x = noise if draft is None else draft.begin(noise, sigmas[0])
    x = SOLVERS[solver](velocity, x, sigmas, report, level, *([drawn] if solver in RENOISING else []))
    if held is not None and held.strength == 1.0 and sigmas[-1] == 0.0:
        x = held.latent.where(held.mask, x)  # exact to the bit, not to rounding
    return x
