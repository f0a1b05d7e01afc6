"""SkyReels-V2 Diffusion Forcing: a Wan transformer whose modulation depends on the frame rate.

SkyworkAI/SkyReels-V2, skyreels_v2_infer/modules/transformer.py: WanModel with inject_sample_info. Tensor names are
those of its files. Each frame has a noise level of its own, which WanTransformer takes as sigma [B, T].
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from ..functional import Linear
from ..wan import WanTransformer
from .config import SkyReelsConfig

RATES = 2  # of the embedding: 16 frames a second, and 24


class SkyReelsTransformer(WanTransformer):
    """`fps` [B] is 0 for 16 frames a second and 1 for 24; without it the modulation is Wan's."""

    config: SkyReelsConfig
    fps_embedding: nn.Embedding
    fps_projection: nn.Sequential

    def _own_modules(self) -> dict[str, nn.Module]:
        dim = self.config.dim
        projection = nn.Sequential(Linear(dim, dim), nn.SiLU(), Linear(dim, 6 * dim))
        return {"fps_embedding": nn.Embedding(RATES, dim), "fps_projection": projection}

    def _modulation(self, time: Tensor, fps: Tensor | None = None) -> Tensor:
        modulation = super()._modulation(time)
        if fps is None:
            return modulation
        rate = self.fps_projection(self.fps_embedding(fps.long()).to(time.dtype))  # [B, 6 D]
        return modulation + rate.unflatten(-1, (6, -1))[:, None]

    def _input_shapes(self, x: Tensor, sigma: Tensor) -> dict[str, tuple[object, tuple[int, ...]]]:
        return super()._input_shapes(x, sigma) | {"fps": (True, ())}

    def zero_optional_branches(self) -> None:
        """As WanTransformer's, and the frame rate changes nothing."""
        super().zero_optional_branches()
        nn.init.zeros_(cast(Linear, self.fps_projection[2]).weight)
