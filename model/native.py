"""Sparse self-attention for Wan models run by ComfyUI: replaces the attention call, or logs the reason why not.

Two hooks with ComfyUI's signatures: `around` wraps the transformer's forward and stores the token grid in that call's
transformer_options; the object itself is the `optimized_attention_override`, which reads it from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import ceil
from typing import Any

from torch import Tensor

from ..kernels import dispatch
from ..kernels.grid import Grid
from ..kernels.patterns import named_plan, pattern_named

GRID_KEY = "vdit_attention_grid"  # in transformer_options
MIN_TOKENS = 1024  # with fewer, dense attention is as fast, and text may be as long as the video

log = logging.getLogger("vdit")


class SparseAttention:
    """name, share: a pattern of kernels.patterns; patch: latent frames, rows, columns of a token.

    dense_above: steps with a sigma above it keep full attention. previous: the override before this one; it is called
    wherever attention stays dense. Raises ValueError on an unknown pattern.
    """

    def __init__(
        self,
        name: str,
        share: float,
        patch: tuple[int, int, int],
        dense_above: float = float("inf"),
        previous: Callable | None = None,
    ):
        pattern_named(name, share, Grid(1, 1, 1))
        self.name, self.share, self.patch = name, share, tuple(patch)
        self.dense_above, self.previous = dense_above, previous
        self._logged: set[str] = set()

    def around(self, executor: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (ComfyUI's)
        """Runs the transformer on latents x [B, C, T, h, w], with the token grid in its options."""
        options = kwargs.get("transformer_options") or next((a for a in reversed(args) if isinstance(a, dict)), None)
        if options is not None:
            sigma = options.get("sigmas")
            early = sigma is not None and float(sigma.max()) > self.dense_above
            options[GRID_KEY] = (
                None if early else tuple(ceil(n / p) for n, p in zip(x.shape[2:], self.patch, strict=False))
            )
        return executor(x, *args, **kwargs)

    def __call__(self, attend: Callable, q: Tensor, k: Tensor, v: Tensor, heads: int, *args, **kwargs) -> Tensor:
        """ComfyUI's attention call: q, k, v [B, L, heads * D], or [B, heads, L, D] with skip_reshape; alike out."""
        if q.shape != k.shape:  # cross-attention is not ours
            return self._dense(attend, q, k, v, heads, *args, **kwargs)
        split = kwargs.get("skip_reshape", False)
        plan, reason = self.plan(q, heads, split, args, kwargs)
        if plan is None:
            self._log_once(reason)
            return self._dense(attend, q, k, v, heads, *args, **kwargs)
        q, k, v = (t.transpose(1, 2) if split else t.unflatten(-1, (heads, -1)) for t in (q, k, v))
        y = dispatch.attention(q, k, v, plan)
        return y.transpose(1, 2) if kwargs.get("skip_output_reshape", False) else y.flatten(-2)

    def plan(self, q: Tensor, heads: int, split: bool, args: tuple, kwargs: dict):
        """(plan, "") or (None, why not; "" where nothing went wrong)."""
        options = kwargs.get("transformer_options") or {}
        if GRID_KEY not in options:
            return None, "the model did not say how its tokens lie: another node calls it in a way of its own"
        if options[GRID_KEY] is None:
            return None, ""  # one of the first steps
        (_, h, w), tokens = options[GRID_KEY], q.shape[2 if split else 1]
        if tokens < MIN_TOKENS:
            return None, f"{tokens} tokens are too few to gain from sparse attention"
        if (args and args[0] is not None) or kwargs.get("mask") is not None:
            return None, "the call brings a mask of its own"
        if tokens % (h * w):
            return None, f"{tokens} tokens are not whole frames of {h}x{w}"
        grid = tokens // (h * w), h, w  # a reference or appended frames count as frames
        plan = named_plan(self.name, self.share, grid, q.device)
        if plan is None:
            return None, ""  # the pattern shows everything
        d = q.shape[-1] if split else q.shape[-1] // heads
        name, reason = dispatch.choose(plan, q.device, q.dtype, d)
        if name == "reference" and q.device.type != "cpu":
            return None, reason
        return plan, ""

    def _dense(self, attend: Callable, *args, **kwargs) -> Tensor:
        return self.previous(attend, *args, **kwargs) if self.previous else attend(*args, **kwargs)

    def _log_once(self, reason: str) -> None:
        if reason and reason not in self._logged:
            self._logged.add(reason)
            log.warning("VDiTAttentionPatch: attention stays as it was: %s", reason)
