"""VDiT: a diffusion transformer over space-time patches, in the Wan architecture with its native tensor names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..kernels.dispatch import fuses
from ..kernels.grid import Grid
from ..kernels.patterns import named_plan
from .config import HEAD_DIM, VDiTConfig
from .layers import Block, CameraAdapter, Head, Layout, VaceBlock, sinusoid
from .rope import axis_tables, rope_table


class VDiT(nn.Module):
    def __init__(self, config: VDiTConfig = VDiTConfig()):
        super().__init__()
        c = self.config = config
        self.attention = c.attention  # may be set to another at any time: no weight depends on it
        self.patch_embedding = nn.Conv3d(c.in_channels, c.dim, c.patch, c.patch)
        self.text_embedding = nn.Sequential(nn.Linear(c.text_dim, c.dim), nn.GELU("tanh"), nn.Linear(c.dim, c.dim))
        self.time_embedding = nn.Sequential(nn.Linear(c.freq_dim, c.dim), nn.SiLU(), nn.Linear(c.dim, c.dim))
        if c.flow_map:
            self.delta_embedder = nn.Sequential(nn.Linear(c.freq_dim, c.dim), nn.SiLU(), nn.Linear(c.dim, c.dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(c.dim, 6 * c.dim))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.head = Head(c)
        if c.camera_rays:
            self.control_adapter = CameraAdapter(c)
        if c.vace_layers:
            self.vace_patch_embedding = nn.Conv3d(c.vace_channels, c.dim, c.patch, c.patch)
            self.vace_blocks = nn.ModuleList(VaceBlock(c, first=i == 0) for i in range(len(c.vace_layers)))

    def forward(
        self, x: Tensor, sigma: Tensor, context: Tensor, camera: Tensor | None = None, vace: Tensor | None = None,
        camera_scale: float = 1.0, vace_scale: float = 1.0, *, target: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Velocity (noise - x0) [B, C, T, h, w] of normalised latents x at noise level sigma; ValueError on misfits.

        sigma [B], or [B, T] per latent frame (known frames at 0), in 0..1; context [B, M, text_dim], M <= text_len;
        camera: Plücker rays [B, 24, T, h*rays, w*rays], its effect times camera_scale;
        vace: control input [B, vace_channels, T, h, w], its hints times vace_scale.
        target, flow maps only: the sigma to go to, as sigma is given; the velocity u is then the average on the way,
        x_target = x - (sigma - target) * u. None stays at sigma: the velocity of this moment.
        """
        self._check(x, sigma, context, camera, vace, target)
        c = self.config
        grid = tuple(n // p for n, p in zip(x.shape[2:], c.patch))
        x = _tokens(self.patch_embedding, x)  # [B, T, S, D]
        if camera is not None:
            x = x + camera_scale * self.control_adapter(camera)
        context = nn.functional.pad(context, (0, 0, 0, c.text_len - context.shape[1]))
        context = self.text_embedding(context)
        time = self._time(sigma, target)  # [B, T or 1, D]
        modulation = self.time_projection(time).unflatten(-1, (6, c.dim))
        layout = self._layout(grid, x)
        hints = self._hints(x, vace, modulation, context, layout) if vace is not None else {}
        for i, block in enumerate(self.blocks):
            x = block(x, modulation, context, layout)
            if i in hints:
                x = x + vace_scale * hints[i]
        return self._unpatchify(self.head(x, time), grid)

    def _time(self, sigma: Tensor, target: Tensor | None) -> Tensor:
        embed = lambda net, s: net(sinusoid(1000 * s.reshape(len(s), -1), self.config.freq_dim))  # noqa: E731
        time = embed(self.time_embedding, sigma)
        if not self.config.flow_map:
            return time
        # Both sigmas share the modulation by a fixed gate (AnyFlow, arXiv 2605.13724; diffusers, transformer_anyflow.py).
        return time.lerp(embed(self.delta_embedder, sigma if target is None else target), self.config.delta_gate)

    def _layout(self, grid: tuple[int, int, int], x: Tensor) -> Layout:
        plan = named_plan(*self.attention, grid, x.device)
        axes = axis_tables(grid, HEAD_DIM, x.device) if fuses(x, HEAD_DIM) else None
        return Layout(Grid(*grid), rope_table(grid, HEAD_DIM, x.device), plan, axes)

    def _hints(self, x: Tensor, vace: Tensor, modulation: Tensor, context: Tensor, layout: Layout) -> dict[int, Tensor]:
        """What the control branch adds behind each block that it serves."""
        hints, y = {}, _tokens(self.vace_patch_embedding, vace)
        for i, (layer, block) in enumerate(zip(self.config.vace_layers, self.vace_blocks)):
            y = block(block.before_proj(y) + x if i == 0 else y, modulation, context, layout)
            hints[layer] = block.after_proj(y)
        return hints

    def _unpatchify(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """[B, T, S, pt*ph*pw*C] -> [B, C, T*pt, H*ph, W*pw]."""
        b, (t, h, w), (pt, ph, pw) = len(x), grid, self.config.patch
        x = x.reshape(b, t, h, w, pt, ph, pw, -1).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.reshape(b, -1, t * pt, h * ph, w * pw)

    def _check(
        self, x: Tensor, sigma: Tensor, context: Tensor, camera: Tensor | None, vace: Tensor | None, target: Tensor | None
    ) -> None:
        c = self.config
        if target is not None and not c.flow_map:
            raise ValueError("the transformer is no flow map: it has no module for `target`")
        if target is not None and target.shape != sigma.shape:
            raise ValueError(f"target has shape {tuple(target.shape)}; expected sigma's, {tuple(sigma.shape)}")
        for name, given, has, shape in (
            ("camera", camera, c.camera_rays, (24, x.shape[2], *(n * c.camera_rays for n in x.shape[3:]))),
            ("vace", vace, c.vace_channels, (c.vace_channels, *x.shape[2:])),
        ):
            if given is not None and not has:
                raise ValueError(f"the transformer has no module for `{name}`")
            if given is not None and tuple(given.shape) != (len(x), *shape):
                raise ValueError(f"{name} has shape {tuple(given.shape)}; expected {(len(x), *shape)}")
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


def _tokens(embed: nn.Conv3d, x: Tensor) -> Tensor:
    """Patches of [B, C, T, h, w] as tokens [B, T, S, D]."""
    return embed(x).flatten(3).permute(0, 2, 3, 1)


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
    if model.config.camera_rays:  # controls start without effect
        nn.init.zeros_(model.control_adapter.conv.weight)
        nn.init.zeros_(model.control_adapter.residual_blocks[0].conv2.weight)
    for block in getattr(model, "vace_blocks", ()):
        nn.init.zeros_(block.after_proj.weight)
    return model
