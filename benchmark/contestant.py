"""What the benchmark needs of a model: callables that turn a simulated clip into frames or latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

    from ..world.arrays import Floats
    from ..world.families.clip import Clip

Frames = npt.NDArray[np.float32]  # [T, H, W, 3], 0..1


class ShownClip(Protocol):
    """A simulated clip as models are given it, of balls or of bodies: what is said of it, and what its camera sees."""

    @property
    def caption(self) -> str:
        """What happens, in words."""
        ...

    @property
    def rgb(self) -> Tensor:
        """Its pictures [T, H, W, 3], 0..1."""
        ...

    @property
    def depth(self) -> Tensor:
        """Metres along the optical axis [T, H, W]."""
        ...

    @property
    def flow(self) -> Tensor:
        """Forward optical flow [T-1, H, W, 2], pixels a frame."""
        ...

    @property
    def c2w(self) -> Floats:
        """The camera's poses [T, 4, 4]."""
        ...

    @property
    def fov_deg(self) -> Floats:
        """Its vertical fields of view [T]."""
        ...


class Predictor(Protocol):
    """Continues a clip, of which it may use the caption, the known frames and the controls that it is named for."""

    def __call__(self, clip: ShownClip, known_frames: Tensor, seed: int) -> Tensor | Frames:
        """Known frames [k, H, W, 3] -> frames [T, H, W, 3] of the clip's length, 0..1."""
        ...


@dataclass(frozen=True)
class Contestant:
    """A model to be scored."""

    name: str
    predict: Predictor
    controlled: Mapping[str, Predictor] = field(
        default_factory=dict[str, Predictor]
    )  # given the clip's camera, depth, flow
    roundtrip: Callable[[Tensor], Tensor] | None = None  # frames [T,H,W,3] through the model's codec and back
    parts: Mapping[str, Predictor] = field(
        default_factory=dict[str, Predictor]
    )  # what only a part of it makes: its draft, its transformer
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])  # JSON; a run goes on only with the same ones
    device: str = "cpu"


@dataclass(frozen=True)
class PreviewVideo:
    """One sampled video."""

    latent: npt.NDArray[np.float32]  # [C, T', h, w], normalised as the sampler sees it
    frames: Frames
    seconds: float  # sampled and decoded
    first_frame_s: float  # until the first frame could be shown
    first_picture: Frames | None = None  # [H, W, 3] start picture that was generated from words alone


class Render(Protocol):
    """Samples a clip's caption and first frames in so many steps; solver None: the model's own."""

    def __call__(self, clip: Clip, seed: int, steps: int, solver: str | None) -> PreviewVideo:
        """Sample and decode one video."""
        ...


class Decode(Protocol):
    """Decodes a latent that an earlier run stored."""

    def __call__(self, clip: Clip, seed: int, latent: npt.NDArray[np.float32], first_picture: Frames | None) -> Frames:
        """Latent [C, T', h, w] -> frames [T, H, W, 3]."""
        ...


@dataclass(frozen=True)
class PreviewModel:
    """A model whose few-step previews are compared with its teacher's render."""

    name: str
    render: Render
    decode: Decode
    known: int = 1  # first frames of the clip that it is given; 0: words alone
    drafts: bool = True  # conditioned on drafts of the predicted motion
    device: str = "cpu"
