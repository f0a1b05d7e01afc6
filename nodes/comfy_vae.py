"""Codecs exchanged with ComfyUI: ours behind the interface of its VAE, its VAE behind that of our codecs.

Imported through nodes/comfy.py only, where ComfyUI is.
"""

# pyright: reportMissingImports=false
# ruff: noqa: ANN401  ComfyUI's own objects have no types here
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import comfy.model_management as management
import comfy.sd
import torch
from torch import Tensor

from ..model.codec.base import Codec, LatentSpec
from . import comfy_memory

PAST = 6  # latents ahead of a block of a causal rollout, which a native VAE decodes anew


class CodecVAE(comfy.sd.VAE):
    """A codec of ours for VAE Decode, VAE Encode and every node that takes a VAE."""

    def __init__(self, codec: Any):  # not the parent's: it builds a native model from a file
        step, spatial = codec.temporal, codec.spatial
        self.first_stage_model = codec
        self.device, self.output_device = management.vae_device(), management.intermediate_device()
        self.patcher = comfy_memory.patcher_of(codec, self.device)
        self.vae_dtype = next(codec.parameters()).dtype
        self.latent_channels, self.latent_dim, self.output_channels = codec.channels, 3, 3
        self.upscale_ratio = (lambda n: max(0, (n - 1) * step + 1), spatial, spatial)
        self.downscale_ratio = (lambda n: max(0, (n - 1) // step + 1), spatial, spatial)
        self.upscale_index_formula = self.downscale_index_formula = (step, spatial, spatial)
        self.not_video, self.disable_offload, self.size, self.extra_1d_channel = False, False, None, None

    def encode(self, pixel_samples: Tensor) -> Tensor:
        """A video [T, H, W, 3 or 4] in 0..1 -> raw latents [1, C, T', h, w]; [B, T, H, W, C] as well."""
        video = pixel_samples if pixel_samples.ndim == 5 else pixel_samples[None]
        return self._run(lambda codec: codec.encode(video[..., :3].to(self.device, self.vae_dtype)))

    def decode(self, samples_in: Tensor, vae_options: dict = {}) -> Tensor:  # noqa: B006  as ComfyUI's
        """Raw latents [B, C, T', h, w] -> videos [B, T, H, W, 3] in 0..1."""
        latent = samples_in if samples_in.ndim == 5 else samples_in.unsqueeze(2)
        latent = latent.to(self.device, self.vae_dtype)

        def decoded(codec: Any) -> Tensor:
            stream = codec.decode_stream(latent)  # each piece leaves the device before the next one is made
            return torch.cat([frames.to(self.output_device, torch.float32) for frames in stream], 1)

        return self._run(decoded)

    def encode_tiled(self, pixel_samples: Tensor, tile_x: int | None = None, **other: Any) -> Tensor:
        """As encode, in tiles of so many pixels."""
        return self._tiled(tile_x, lambda: self.encode(pixel_samples))

    def decode_tiled(self, samples: Tensor, tile_x: int | None = None, **other: Any) -> Tensor:
        """As decode, in tiles of so many latent cells."""
        return self._tiled(tile_x and tile_x * self.first_stage_model.spatial, lambda: self.decode(samples))

    def _tiled(self, pixels: int | None, work: Callable[[], Tensor]) -> Tensor:
        """With tiles of so many pixels where the codec can. It streams over time by itself, which needs no option."""
        codec = self.first_stage_model
        if not hasattr(codec, "tile"):
            return work()
        before, codec.tile = codec.tile, pixels or codec.tile
        try:
            return work()
        finally:
            codec.tile = before

    def _run(self, work: Callable[[Any], Tensor]) -> Tensor:
        comfy_memory.load([self.first_stage_model], self.device)
        return work(self.first_stage_model).to(self.output_device, torch.float32)


class NativeCodec(Codec):
    """A native video VAE with the interface of our codecs. It loads itself and decodes in tiles when memory is short.

    Its decoder cannot be asked for a part of a video: decode_stream decodes all of it first.
    """

    def __init__(self, vae: Any, latent_format: Any):
        mean = latent_format.latents_mean.flatten().float()
        std = latent_format.latents_std.flatten().float() / latent_format.scale_factor
        spatial, temporal = vae.spacial_compression_decode(), vae.temporal_compression_decode()
        super().__init__(LatentSpec("this VAE", spatial, tuple(mean.tolist()), tuple(std.tolist()), temporal))
        self.vae = vae
        self.preview_map = self._preview(latent_format)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames [1, T, H, W, 3] in 0..1 -> raw latents [1, C, T', h, w]."""
        self.latent_frames(frames.shape[1])
        return torch.cat([self.vae.encode(video) for video in frames]).to(frames.device)

    def decode(self, latent: Tensor, *, clip: bool = True) -> Tensor:
        """Raw latents [B, C, T', h, w] -> frames [B, T, H, W, 3] in 0..1."""
        return self.vae.decode(latent).to(latent.device)

    def decode_stream(self, latent: Tensor, chunk: int = 1, *, clip: bool = True) -> Iterator[Tensor]:
        """The frames of `decode` in pieces, `chunk` latents each."""
        frames = self.decode(latent)
        step = chunk * self.temporal
        yield frames[:, : step - self.temporal + 1]
        yield from frames[:, step - self.temporal + 1 :].split(step, 1)

    def begin_decoding(self) -> Callable[[Tensor], Tensor]:
        """As Codec's, each block decoded behind the latest PAST latents, so that its frames differ a little."""
        past: Tensor | None = None

        def decode(latent: Tensor) -> Tensor:
            nonlocal past
            known = 0 if past is None else past.shape[2]
            whole = latent if past is None else torch.cat((past, latent), 2)
            past = whole[:, :, -PAST:].clone()
            return self.decode(whole)[:, known and (known - 1) * self.temporal + 1 :]

        return decode

    def _preview(self, latent_format: Any) -> Tensor | None:
        """ComfyUI's latent colours as a preview_map: every pixel of a cell has the cell's colour."""
        if latent_format.latent_rgb_factors is None:
            return None
        factors = torch.tensor(latent_format.latent_rgb_factors) / self.latent_std[:, None]  # of raw latents
        bias = torch.tensor(latent_format.latent_rgb_factors_bias or [0.0] * 3) - self.latent_mean @ factors
        colour = torch.cat((bias[None] + 1, factors)) / 2  # -1..1 to 0..1
        return colour.repeat(1, self.temporal * (self.spatial // 2) ** 2)


def codec_of(vae: Any, formats: Mapping[str, Any]) -> Codec:
    """The codec behind a native VAE; formats: native latent formats. Raises ValueError for a VAE of another family."""
    if isinstance(vae, CodecVAE):
        return vae.first_stage_model
    steps = getattr(vae, "temporal_compression_decode", lambda: None)()
    known = next((f for f in formats.values() if f.latent_channels == getattr(vae, "latent_channels", 0)), None)
    if steps is None or known is None or vae.spacial_compression_decode() != (16 if known.latent_channels == 48 else 8):
        raise ValueError(
            f"this VAE is {type(getattr(vae, 'first_stage_model', vae)).__name__}, not Wan's: load "
            "wan_2.1_vae.safetensors or wan2.2_vae.safetensors with Load VAE"
        )
    return NativeCodec(vae, known())
