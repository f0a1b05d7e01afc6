"""VDiT: a diffusion transformer over space-time patches, in the Wan architecture with its native tensor names."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..kernels.dispatch import fuses
from ..kernels.grid import Grid
from ..kernels.patterns import named_plan
from .config import HEAD_DIM, VDiTConfig
from .layers import Block, CameraAdapter, Context, Head, ImageEmbedding, Layout, PlaceEmbedding, VaceBlock, sinusoid
from .lean import Linear, add, patches
from .rope import axis_tables, rope_table

LEAST = 1e-3  # sigma that velocities are made with, at least


class VDiT(nn.Module):
    def __init__(self, config: VDiTConfig = VDiTConfig()):
        super().__init__()
        c = self.config = config
        self.attention = c.attention  # may be set to another at any time: no weight depends on it
        self.patch_embedding = nn.Conv3d(c.in_channels, c.dim, c.patch, c.patch)
        self.text_embedding = nn.Sequential(Linear(c.text_dim, c.dim), nn.GELU("tanh"), Linear(c.dim, c.dim))
        self.time_embedding = nn.Sequential(Linear(c.freq_dim, c.dim), nn.SiLU(), Linear(c.dim, c.dim))
        if c.flow_map:
            self.delta_embedder = nn.Sequential(Linear(c.freq_dim, c.dim), nn.SiLU(), Linear(c.dim, c.dim))
        self.time_projection = nn.Sequential(nn.SiLU(), Linear(c.dim, 6 * c.dim))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.head = Head(c)
        if c.image_dim:
            self.img_emb = ImageEmbedding(c)
        if c.ref_channels:
            self.ref_conv = nn.Conv2d(c.ref_channels, c.dim, c.patch[1:], c.patch[1:])
        if c.camera_rays:
            self.control_adapter = CameraAdapter(c)
        if c.places:
            self.place_embedding = PlaceEmbedding(c)
        if c.carry:
            self.carry_embedding = nn.Conv3d(c.in_channels + 1, c.dim, c.patch, c.patch, bias=False)
        if c.draft:
            self.draft_embedding = nn.Conv3d(c.in_channels + 1, c.dim, c.patch, c.patch, bias=False)
            self.draft_trust = Linear(c.dim, math.prod(c.patch))
        if c.vace_layers:
            self.vace_patch_embedding = nn.Conv3d(c.vace_channels, c.dim, c.patch, c.patch)
            self.vace_blocks = nn.ModuleList(VaceBlock(c, first=i == 0) for i in range(len(c.vace_layers)))

    @property
    def dtype(self) -> torch.dtype:
        """What activations are computed in."""
        return self.patch_embedding.weight.dtype

    def forward(
        self, x: Tensor, sigma: Tensor, context: Tensor, camera: Tensor | None = None,
        vace: Tensor | tuple[Tensor, ...] | None = None,
        camera_scale: float = 1.0, vace_scale: float | tuple[float, ...] = 1.0, *,
        target: Tensor | None = None, image: Tensor | None = None, reference: Tensor | None = None,
        draft: Tensor | None = None, kept: dict | None = None,
    ) -> Tensor:  # fmt: skip
        """Velocity (noise - x0) [B, C, T, h, w] of normalised latents x at noise level sigma; ValueError on misfits.

        sigma [B], or [B, T] per latent frame (known frames at 0), in 0..1; context [B, M, text_dim], M <= text_len;
        camera: Plücker rays [B, 24, T, h*rays, w*rays], its effect times camera_scale;
        vace: control input [B, vace_channels, T, h, w], its hints times vace_scale; of several, a tuple each;
        image: CLIP features [B, N, image_dim]; reference: a picture's latents [B, ref_channels, h, w];
        draft: latents of a draft of the video, and 1 where there is one, else 0 [B, C+1, T, h, w]; 2 where it is certain;
        kept: of a run without gradients, in all of whose steps context and image are these: what is made of them, for the next.
        target, flow maps only: the sigma to go to, as sigma is given; the velocity u is then the average on the way,
        x_target = x - (sigma - target) * u. None stays at sigma: the velocity of this moment.
        """
        self._check(
            x, sigma, context, camera=camera, vace=vace, target=target, image=image, reference=reference, draft=draft
        )
        c, given, noisy = self.config, x.dtype, x
        grid = tuple(n // p for n, p in zip(x.shape[2:], c.patch))
        seen = carried(x, sigma) if c.carry and sigma.ndim == 2 else None
        x = patches(self.patch_embedding, x.to(self.dtype))  # [B, T, S, D]
        if c.places:
            x = add(x, self.place_embedding(grid, x))
        if seen is not None:
            x = add(x, patches(self.carry_embedding, seen.to(x.dtype)))
        if draft is not None:
            x = add(x, patches(self.draft_embedding, redrawn(draft, seen).to(x.dtype)))
        if camera is not None:
            x = add(x, self.control_adapter(camera.to(x.dtype)), camera_scale)
        time = self._time(sigma, target)  # [B, T or 1, D]
        if reference is not None:
            grid, x, time = self._refer(reference, grid, x, time)
        modulation = self.time_projection(time).unflatten(-1, (6, c.dim))
        rest = modulation, self._context(context, image, kept), self._layout(grid, x)
        branch = dict(zip(c.vace_layers, self.vace_blocks)) if vace is not None else {}
        hints = [self._first_hint(v, x) for v in _several(vace)] if branch else []
        for i, block in enumerate(self.blocks):
            x = block(x, *rest)
            for n, scale in enumerate(_several(vace_scale) if i in branch else ()):
                hints[n] = branch[i](hints[n], *rest)
                x = add(x, branch[i].after_proj(hints[n]), scale)
        trust = None if draft is None else self._unpatchify(self._trust(x), grid)  # log-odds
        x = self.head(x, time)
        if reference is not None:
            grid, x = (grid[0] - 1, *grid[1:]), x[:, 1:]
        x = self._unpatchify(x, grid).to(given)
        return x if draft is None else towards(draft, trust.to(given), noisy, sigma, x)

    def _time(self, sigma: Tensor, target: Tensor | None) -> Tensor:
        def embed(net: nn.Sequential, s: Tensor) -> Tensor:
            return net(sinusoid(1000 * s.reshape(len(s), -1), self.config.freq_dim).to(self.head.modulation.dtype))

        time = embed(self.time_embedding, sigma)
        if not self.config.flow_map:
            return time
        # Both sigmas share the modulation by a fixed gate (AnyFlow, arXiv 2605.13724; diffusers' transformer_anyflow).
        return time.lerp(embed(self.delta_embedder, sigma if target is None else target), self.config.delta_gate)

    def _trust(self, x: Tensor) -> Tensor:
        """Log-odds with which a draft is to be trusted in each latent cell, of tokens x [B, T, S, D]: [B, T, S, patch]."""
        return self.draft_trust(nn.functional.layer_norm(x, x.shape[-1:]))

    def _layout(self, grid: tuple[int, int, int], x: Tensor) -> Layout:
        plan = named_plan(*self.attention, grid, x.device)
        axes = axis_tables(grid, HEAD_DIM, x.device) if fuses(x, HEAD_DIM) else None
        return Layout(Grid(*grid), rope_table(grid, HEAD_DIM, x.device), plan, axes)

    def _first_hint(self, vace: Tensor, x: Tensor) -> Tensor:
        return add(self.vace_blocks[0].before_proj(patches(self.vace_patch_embedding, vace.to(x.dtype))), x)

    def _context(self, text: Tensor, image: Tensor | None, kept: dict | None) -> Context:
        """Text zero-padded to text_len as in Wan, where one zero stands for all of them; image features beside it."""
        if kept:
            return kept[self]
        used = text.shape[1] if torch.compiler.is_compiling() else _filled(text)
        zeros = self.config.text_len - used
        text = nn.functional.pad(text[:, :used], (0, 0, 0, min(zeros, 1))).to(self.dtype)
        image = self.img_emb(image.to(self.dtype)) if image is not None else None
        context = Context(self.text_embedding(text), max(zeros, 1), image, kept)
        if kept is not None:
            kept[self] = context
        return context

    def _refer(self, reference: Tensor, grid: tuple[int, int, int], x: Tensor, time: Tensor) -> tuple:
        """A picture's tokens as one more frame before the first, at the time of the last (aigc-apps/VideoX-Fun)."""
        x = torch.cat((patches(self.ref_conv, reference[:, :, None].to(x.dtype)), x), 1)
        time = time if time.shape[1] == 1 else torch.cat((time[:, -1:], time), 1)
        return (grid[0] + 1, *grid[1:]), x, time

    def _unpatchify(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """[B, T, S, pt*ph*pw*C] -> [B, C, T*pt, H*ph, W*pw]."""
        b, (t, h, w), (pt, ph, pw) = len(x), grid, self.config.patch
        x = x.reshape(b, t, h, w, pt, ph, pw, -1).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.reshape(b, -1, t * pt, h * ph, w * pw)

    def _check(self, x: Tensor, sigma: Tensor, context: Tensor, **given: Tensor | tuple[Tensor, ...] | None) -> None:
        c = self.config
        if x.ndim != 5 or x.shape[1] != c.in_channels:
            raise ValueError(f"latents have shape {tuple(x.shape)}; expected [B, {c.in_channels}, T, h, w]")
        if any(n % p for n, p in zip(x.shape[2:], c.patch)):
            raise ValueError(f"a latent grid of {tuple(x.shape[2:])} does not divide into patches of {c.patch}")
        if sigma.shape not in ((len(x),), (len(x), x.shape[2] // c.patch[0])):
            raise ValueError(f"sigma has shape {tuple(sigma.shape)}; expected [{len(x)}] or one for each latent frame")
        if context.ndim != 3 or context.shape[2] != c.text_dim or context.shape[1] > c.text_len:
            raise ValueError(
                f"text tokens have shape {tuple(context.shape)}; expected [B, at most {c.text_len}, {c.text_dim}]"
            )
        image = given["image"]
        tokens = [c.image_tokens] if c.image_tokens or image is None else image.shape[1:2]
        has = {
            "camera": (c.camera_rays, (24, x.shape[2], *(n * c.camera_rays for n in x.shape[3:]))),
            "vace": (c.vace_channels, (c.vace_channels, *x.shape[2:])),
            "target": (c.flow_map, tuple(sigma.shape[1:])),
            "image": (c.image_dim, (*tokens, c.image_dim)),
            "reference": (c.ref_channels, (c.ref_channels, *x.shape[3:])),
            "draft": (c.draft, (c.in_channels + 1, *x.shape[2:])),
        }
        for name, value in given.items():
            module, shape = has[name]
            if value is not None and not module:
                what = "is no flow map: it has" if name == "target" else "has"
                raise ValueError(f"the transformer {what} no module for `{name}`")
            for one in _several(value) if value is not None else ():
                if tuple(one.shape) != (len(x), *shape):
                    raise ValueError(f"{name} has shape {tuple(one.shape)}; expected {(len(x), *shape)}")


def _several(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _filled(text: Tensor) -> int:
    """Text tokens [B, M, C] before the last that is not zero throughout."""
    rows = text.any(-1).any(0).nonzero()
    return int(rows[-1]) + 1 if len(rows) else 0


def carried(x: Tensor, sigma: Tensor) -> Tensor:
    """[B, C+1, T, h, w]: at each latent frame the latest known one up to it (sigma [B, T] is 0 there), and whether there
    is one. What rests, most of a picture, then needs no attention to be found again."""
    places = torch.arange(x.shape[2], device=x.device).expand(len(x), -1)
    latest = torch.where(sigma == 0, places, -1).cummax(1).values[:, None, :, None, None]
    there = (latest >= 0).to(x.dtype).expand(-1, 1, -1, *x.shape[3:])
    return torch.cat((x.gather(2, latest.clamp_min(0).expand_as(x)) * there, there), 1)


def redrawn(draft: Tensor, seen: Tensor | None) -> Tensor:
    """A draft [B, C+1, T, h, w] less what `carried` tells of the same frames: where nothing moves, nothing."""
    latent, there = draft[:, :-1], draft[:, -1:].clamp(max=1)
    return torch.cat(((latent if seen is None else latent - seen[:, :-1]) * there, there), 1)


def towards(draft: Tensor, trust: Tensor, x: Tensor, sigma: Tensor, velocity: Tensor) -> Tensor:
    """A velocity that leads to a draft [B, C+1, T, h, w] where it is trusted (log-odds [B, 1, T, h, w]), at sigma 1 wholly and
    the less the nearer to 0; straight to it where it is certain.

    What rests and what is only moved then need not pass through the transformer, which is narrow.
    """
    there, away = draft[:, -1:], x - draft[:, :-1]
    sigma = sigma.view(len(x), 1, -1, 1, 1)
    trust = trust.sigmoid() * there.clamp(max=1)
    led = (1 - sigma * trust) * velocity + trust * away
    return torch.where(there > 1, away / sigma.clamp_min(LEAST), led)


def init_weights(model: VDiT, seed: int) -> VDiT:
    """Fresh weights for training: Xavier for matrices; head and controls start at zero. Returns the model."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if p.ndim >= 2 and "modulation" not in name:
            nn.init.xavier_uniform_(p.data.view(len(p), -1), generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(p)
        elif "modulation" in name:
            p.data.normal_(0, model.config.dim**-0.5, generator=generator)
    nn.init.zeros_(model.head.head.weight)
    if model.config.places:
        nn.init.zeros_(model.place_embedding.proj.weight)
    if model.config.carry:
        nn.init.zeros_(model.carry_embedding.weight)
    if model.config.draft:
        nn.init.zeros_(model.draft_embedding.weight)
        nn.init.zeros_(model.draft_trust.weight)
        nn.init.constant_(model.draft_trust.bias, 2.0)
    if model.config.camera_rays:  # controls start without effect
        nn.init.zeros_(model.control_adapter.conv.weight)
        nn.init.zeros_(model.control_adapter.residual_blocks[0].conv2.weight)
    for block in getattr(model, "vace_blocks", ()):
        nn.init.zeros_(block.after_proj.weight)
    return model
