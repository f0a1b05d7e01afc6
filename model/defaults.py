"""Sampling defaults of the bundled models; a bundle's header may override each of them."""

from __future__ import annotations

DEFAULTS = dict(fps=8.0, frames=41, width=128, height=128, steps=20, guidance=3.0, shift=1.0, solver="unipc")
STUDENT_DEFAULTS = {**DEFAULTS, "steps": 4, "guidance": 1.0, "solver": "euler"}  # distillation includes the guidance
