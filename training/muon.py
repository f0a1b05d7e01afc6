"""Muon: momentum, then the nearest orthogonal matrix, for the weight matrices of a transformer's blocks and for
convolutions.

torch.optim.Muon multiplies in bfloat16, three times slower than float32 on CPUs without such units, and one matrix at a
time. Here matrices of one shape go together, in whatever is fast. Newton-Schulz: Jordan et al., 2024; scale: Liu et
al., arXiv 2502.16982.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..model.precision import has_bfloat16
from .launch import ALONE, Team
from .parallel import full, like

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """Matrices [N, a, b] with singular values pushed towards 1 (Newton-Schulz)."""
    a, b, c = COEFFICIENTS
    tall = g.shape[1] > g.shape[2]
    x = g.transpose(1, 2) if tall else g
    x = x.bfloat16() if has_bfloat16(x.device) else x
    x = x / x.flatten(1).norm(dim=1).clamp_min(1e-7)[:, None, None]
    for _ in range(steps):
        square = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.transpose(1, 2) if tall else x).to(g.dtype)


def with_muon(
    adamw: torch.optim.AdamW, matrices: Sequence[Tensor], peak: float, team: Team = ALONE
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for matrices that it does not have, if there are any."""
    return [adamw, Muon(matrices, lr=peak, team=team)] if matrices else [adamw]


def block_optimizers(
    params: Mapping[str, Tensor], peak: float, muon: bool, team: Team = ALONE
) -> list[torch.optim.Optimizer]:
    """A transformer's: AdamW, and Muon for the matrices of its blocks where asked."""
    matrices = {n: p for n, p in params.items() if muon and "blocks." in n and p.ndim == 2}
    rest = [p for n, p in params.items() if n not in matrices]
    adamw = torch.optim.AdamW(rest, lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    return with_muon(adamw, list(matrices.values()), peak, team)


class Muon(torch.optim.Optimizer):
    """For matrices, and convolutions as matrices of their outputs; everything else belongs to AdamW. `lr` is comparable
    with AdamW's.

    A team's members, whose gradients are the same, each work out a part of the updates; of divided parameters they
    gather the gradients first, since an orthogonal matrix follows from the whole.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        team: Team = ALONE,
    ):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))
        self.team = team

    @torch.no_grad()
    def step(self) -> None:
        """One update of all parameters that have gradients."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault((p.shape[0], p.numel() // p.shape[0]), []).append(p)
            for shape, params in by_shape.items():
                momenta = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in params]
                grads = [p.grad for p in params if p.grad is not None]
                for m, grad in zip(momenta, grads, strict=True):
                    m.lerp_(grad, 1 - group["momentum"])
                nesterov = [g.lerp(m, group["momentum"]) for g, m in zip(grads, momenta, strict=True)]
                ahead = torch.stack([full(x).reshape(shape) for x in nesterov])
                mine, update = slice(self.team.rank, None, self.team.size), torch.zeros_like(ahead)
                update[mine] = orthogonal(ahead[mine])
                update = self.team.total(update)
                rate = 0.2 * group["lr"] * max(shape) ** 0.5
                for p, u in zip(params, update, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(like(u.view(p.shape), p), alpha=-rate)
