"""A video by the bundled model from words alone, as benches sample it: 128x128 pixels at 8 frames a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdit.host.api import NodeOutput

SIDE, FPS = 128, 8.0


def sampler(steps: int = 20, shift: float = 1.0) -> Callable[[float], NodeOutput]:
    """A function of seconds of video that samples "a red ball falls" and returns its latent; weights are loaded."""
    from vdit.host import api
    from vdit.nodes.encode import VDiTEncodeConditioning
    from vdit.nodes.load import BUNDLED, VDiTLoadModel
    from vdit.nodes.sample import VDiTSample

    model = VDiTLoadModel.execute(BUNDLED)[0]
    conditioning = VDiTEncodeConditioning.execute(model, "a red ball falls", "", 1.0)[0]
    settings = dict(steps=steps, guidance=1.0, shift=shift, solver="unipc", fps=FPS, width=SIDE, height=SIDE)

    def run(seconds: float) -> NodeOutput:
        return api.call(VDiTSample, dict(model=model, conditioning=conditioning, seed=1, seconds=seconds, **settings))

    return run
