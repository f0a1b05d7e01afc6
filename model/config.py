"""Sizes of the transformer, one dataclass for every variant of the Wan architecture."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_DIM = 128  # in every released variant; loaders derive the head count from it


@dataclass(frozen=True)
class VDiTConfig:
    """Defaults are what the small model is trained at. `text_len` tokens reach cross-attention, zero-padded as in Wan."""

    dim: int = 256
    ffn_dim: int = 768
    layers: int = 6
    in_channels: int = 32
    out_channels: int = 32
    text_dim: int = 128
    text_len: int = 32
    freq_dim: int = 256
    patch: tuple[int, int, int] = (1, 2, 2)  # latent frames, rows, columns in a token
    eps: float = 1e-6
    image_dim: int = 0  # of CLIP image features; 0: no image branch
    image_tokens: int = 0  # image tokens that have learned positions (first and last frame); 0: no such positions
    ref_channels: int = 0  # latent channels of a reference picture; 0: no reference convolution
    camera_rays: int = 0  # camera rays a side for each latent cell; 0: no camera adapter
    vace_channels: int = 0  # of the control branch's input; 0: no such branch
    vace_layers: tuple[int, ...] = ()  # blocks that receive a hint from the branch, 0 the first
    places: bool = False  # each token is told its own place in the video, beside rotary positions
    draft: bool = False  # each frame is told a draft of it, cell by cell
    carry: bool = False  # each frame is told the latest known one (sigma 0), cell by cell
    flow_map: bool = False  # a student: predicts the average velocity on the way to a second sigma
    delta_gate: float = 0.25  # share of that second sigma in the time embedding; AnyFlow's value

    attention: tuple[str, float] = ("full", 1.0)  # what sees what: a name of kernels.patterns, and a window's share

    def __post_init__(self):
        if self.dim % HEAD_DIM:
            raise ValueError(f"dim is {self.dim}; it must be a multiple of the head size, {HEAD_DIM}")
        object.__setattr__(self, "patch", tuple(self.patch))  # JSON gives a list
        object.__setattr__(self, "vace_layers", tuple(self.vace_layers))
        object.__setattr__(self, "attention", tuple(self.attention))
        if self.image_tokens and not self.image_dim:
            raise ValueError(f"{self.image_tokens} image tokens have positions, but there is no image branch")
        served = all(0 <= n < self.layers for n in self.vace_layers)
        if bool(self.vace_channels) != bool(self.vace_layers) or not served:
            raise ValueError(
                f"vace_layers {self.vace_layers} with {self.vace_channels} channels do not fit {self.layers} layers"
            )

    @property
    def heads(self) -> int:
        return self.dim // HEAD_DIM
