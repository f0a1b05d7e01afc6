"""VDiTConfig: sizes and optional modules of a transformer, one dataclass for every variant of the architecture."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_DIM = 128  # in every released variant; loaders derive the head count from it


@dataclass(frozen=True)
class VDiTConfig:
    """Defaults are those of the bundled model; field names are those of its file's header."""

    dim: int = 256
    ffn_dim: int = 768
    layers: int = 6
    in_channels: int = 32
    out_channels: int = 32
    text_dim: int = 128
    text_len: int = 32  # tokens of cross-attention, zero-padded as in Wan
    freq_dim: int = 256  # of the sinusoidal embedding of the noise level
    patch: tuple[int, int, int] = (1, 2, 2)  # latent frames, rows, columns in a token
    eps: float = 1e-6
    image_dim: int = 0  # width of CLIP image features; 0: no image branch
    image_tokens: int = 0  # image tokens with learned positions (first and last frame); 0: none
    ref_channels: int = 0  # latent channels of a reference picture; 0: no reference convolution
    camera_rays: int = 0  # camera rays a side per latent cell; 0: no camera adapter
    vace_channels: int = 0  # input channels of the VACE control branch; 0: no branch
    vace_layers: tuple[int, ...] = ()  # indices of the blocks that the branch adds to
    places: bool = False  # VDiT: adds an absolute position embedding to each token
    draft: bool = False  # VDiT: conditioned on latents of a draft of the video
    carry: bool = False  # VDiT: each frame is conditioned on the latest known one (sigma 0)
    flow_map: bool = False  # a student: predicts the average velocity between two sigmas
    delta_gate: float = 0.25  # weight of the second sigma in the time embedding (AnyFlow)

    attention: tuple[str, float] = ("full", 1.0)  # pattern of kernels.patterns, and the share of a window

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
        """Attention heads."""
        return self.dim // HEAD_DIM

    @property
    def reads_camera(self) -> bool:
        """Whether it has a module for a camera path."""
        return self.camera_rays > 0

    @property
    def branches(self) -> int:
        """Copies of the tokens that are kept beside the main path's in every block."""
        return int(bool(self.vace_layers))
