"""Random draws that follow from a seed and a step alone, so that a resumed run draws what an unbroken one would."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch


class RandomStreams(NamedTuple):
    """NumPy's generator for choices, and torch's for tensors."""

    rng: np.random.Generator
    generator: torch.Generator

    @classmethod
    def of(cls, *seed: int) -> RandomStreams:
        """Both from one seed, for instance (seed, step, rank)."""
        rng = np.random.default_rng(seed)
        return cls(rng, torch.Generator().manual_seed(int(rng.integers(2**62))))

    @classmethod
    def fixed(cls, seed: int) -> RandomStreams:
        """Each seeded by itself, for diagnostics that draw the same every time."""
        return cls(np.random.default_rng(seed), torch.Generator().manual_seed(seed))

    def on(self, device: torch.device) -> torch.Generator:
        """The generator of tensors that are born on a device: torch's own on a CPU, else one that follows from it."""
        if device.type == "cpu":
            return self.generator
        return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=self.generator)))
