"""One sampling run: noise in, clean latent out; reproducible, watchable, and stoppable between any two steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Sequence

from .held import KnownFrames, hold
from .solvers import RENOISING, SOLVERS

if TYPE_CHECKING:
    from torch import Tensor

    from ..drafting.draft import Draft


@dataclass(frozen=True)
class Step:
    """What a watcher is told after a step: `done` of `total` steps, the sigma it began at, predicted x0 [B,C,T,h,w], and the
    draft that it was told, if any."""

    done: int
    total: int
    sigma: float
    x0: Tensor
    draft: Draft | None = None


def noise_from_seed(seed: int, shape: Sequence[int], extra_frames: int = 0, device="cpu") -> Tensor:
    """Standard normal fp32 noise [B,C,T+extra_frames,h,w], drawn on the CPU: a seed means the same on every device.

    Extra frames (for end pictures) are drawn last, so that asking for them leaves the first T as they were.
    """
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)
    noise = torch.randn(tuple(shape), generator=generator, dtype=torch.float32)
    if extra_frames:
        behind = (*shape[:2], extra_frames, *shape[3:])
        noise = torch.cat([noise, torch.randn(behind, generator=generator, dtype=torch.float32)], dim=2)
    return noise.to(device)


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    sigmas: Sequence[float],
    solver: str = "unipc",
    known: KnownFrames | None = None,
    on_step: Callable[[Step], None] | None = None,
    check: Callable[[], None] | None = None,
    *,
    seen: Callable[[float], float] = float,
    fresh: Callable[[], Tensor] | None = None,
    level: Callable[[float], Tensor] | None = None,
) -> Tensor:
    """Solve from noise [B,C,T,h,w] at sigmas[0] to the latent at sigmas[-1].

    denoise(x, sigma [B,T]) -> v, told seen(sigma). `check` is called before every evaluation and stops the run by
    raising; so may on_step. fresh() is noise for the solvers that draw it on the way. level(sigma) [1 or B,T]: noise
    levels of frames that have their own when the clip is at sigma; denoise is told the clip's all the same.
    Raises ValueError for an unknown solver, FloatingPointError when the model gives NaN.
    """
    import torch

    if solver not in SOLVERS:
        raise ValueError(f"solver is {solver!r}; expected one of {', '.join(SOLVERS)}")
    if solver in RENOISING and fresh is None:
        raise ValueError(f"the solver {solver} needs noise on its way: give `fresh`")
    field = denoise if known is None else hold(denoise, known, noise)
    batch, frames, total = noise.shape[0], noise.shape[2], len(sigmas) - 1

    def velocity(x: Tensor, s: float) -> Tensor:
        if check is not None:
            check()
        v = field(x, torch.full((batch, frames), seen(s), dtype=noise.dtype, device=noise.device))
        if not torch.isfinite(v).all():
            raise FloatingPointError(
                f"the model gave NaN or infinity at sigma {s:.3f}; its weights or the conditioning are damaged, "
                "or their precision is too low: try another file or fp32"
            )
        return v

    def at(s: float) -> Tensor:
        if level is None:
            return torch.tensor(s, dtype=torch.float64, device=noise.device)  # without dimensions: x keeps its dtype
        return level(s)[:, None, :, None, None]

    def report(i: int, x0: Tensor) -> None:
        if on_step is not None:
            on_step(Step(i + 1, total, float(sigmas[i]), x0))

    def held_noise() -> Tensor:  # known frames keep the noise that their velocity is made of
        drawn = fresh().to(noise)
        return drawn if known is None else noise.where(known.held[None, None, :, None, None], drawn)

    x = SOLVERS[solver](velocity, noise, sigmas, report, at, *([held_noise] if solver in RENOISING else []))
    if known is not None and known.strength == 1.0 and sigmas[-1] == 0.0:
        x = known.latent.where(known.held[None, None, :, None, None], x)  # to the bit, not to rounding
    return x
