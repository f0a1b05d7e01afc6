"""WanTransformer: the diffusion transformer of the Wan family, with its native tensor names."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from ..kernels.dispatch import fuses
from ..kernels.grid import Grid
from ..kernels.patterns import named_plan
from ..kernels.plan import BlockPlan, Pattern, plan
from .config import HEAD_DIM, VDiTConfig
from .functional import Linear, add, patchify
from .kv_cache import KVCache
from .layers import Block, CameraAdapter, CameraSignal, Context, Head, ImageEmbedding, Layout, VaceBlock, sinusoid
from .rope import axis_tables, rope_table
from .transformer import Transformer

TokenGrid = tuple[int, int, int]  # frames, rows and columns of tokens
T = TypeVar("T")
WanModel = TypeVar("WanModel", bound="WanTransformer")
TextCache = dict[nn.Module, Context]  # transformer -> its embedded text, with the keys and values of each block


class Past(NamedTuple):
    """The cache of a causal rollout, and the number of the latent frame at which the block at hand begins."""

    cache: KVCache
    first: int


class WanTransformer(Transformer):
    """Patch embedding, blocks with adaLN modulation from the noise level, and a linear head (arXiv 2503.20314).

    Optional modules follow from the config: image features, a reference picture, a camera adapter, a VACE control
    branch and the second time embedding of a flow map.
    """

    def __init__(self, config: VDiTConfig):
        super().__init__()
        c = self.config = config
        self.attention = c.attention
        self.pattern: Pattern | None = None  # in place of the pattern that `attention` names
        self.patch_embedding = nn.Conv3d(c.in_channels, c.dim, c.patch, c.patch)
        self.text_embedding = nn.Sequential(Linear(c.text_dim, c.dim), nn.GELU("tanh"), Linear(c.dim, c.dim))
        self.time_embedding = nn.Sequential(Linear(c.freq_dim, c.dim), nn.SiLU(), Linear(c.dim, c.dim))
        if c.flow_map:
            self.delta_embedder = nn.Sequential(Linear(c.freq_dim, c.dim), nn.SiLU(), Linear(c.dim, c.dim))
        self.time_projection = nn.Sequential(nn.SiLU(), Linear(c.dim, 6 * c.dim))
        self.blocks = nn.ModuleList(self._block() for _ in range(c.layers))
        self.head = Head(c)
        if c.image_dim:
            self.img_emb = ImageEmbedding(c)
        if c.ref_channels:
            self.ref_conv = nn.Conv2d(c.ref_channels, c.dim, c.patch[1:], c.patch[1:])
        if c.camera_rays:
            self.control_adapter = CameraAdapter(c)
        for name, module in self._own_modules().items():
            self.add_module(name, module)
        if c.vace_layers:
            self.vace_patch_embedding = nn.Conv3d(c.vace_channels, c.dim, c.patch, c.patch)
            self.vace_blocks = nn.ModuleList(VaceBlock(c, first=i == 0) for i in range(len(c.vace_layers)))

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of activations."""
        return self.patch_embedding.weight.dtype

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        context: Tensor,
        camera: Tensor | None = None,
        vace: Tensor | tuple[Tensor, ...] | None = None,
        camera_scale: float = 1.0,
        vace_scale: float | tuple[float, ...] = 1.0,
        *,
        target: Tensor | None = None,
        image: Tensor | None = None,
        reference: Tensor | None = None,
        text_cache: TextCache | None = None,
        past: Past | None = None,
        **own: Tensor | None,
    ) -> Tensor:
        """Velocity (noise - x0) [B, C, T, h, w] of normalised latents x at noise level sigma; ValueError on misfits.

        sigma: [B], or [B, T] per latent frame (known frames at 0), in 0..1; context: [B, M, text_dim], M <= text_len.
        camera: Plücker rays [B, 24, T, h*rays, w*rays]; vace: control input [B, vace_channels, T, h, w], or tuples of
        several and their scales; image: CLIP features [B, N, image_dim]; reference: latents [B, ref_channels, h, w].
        target: for flow maps, the sigma to step to, shaped as sigma; the result is then the average velocity u, with
        x_target = x - (sigma - target) * u. None means target = sigma, the instantaneous velocity.
        text_cache: a dict to pass to all steps of a run without gradients in which context and image stay the same.
        past: x is one block of a causal rollout, which sees itself and what the cache holds, whatever the pattern.
        own: the inputs that a subclass adds.
        """
        c = self.config
        optional = dict(camera=camera, vace=vace, target=target, image=image, reference=reference)
        self._check(x, sigma, context, **optional, **own)
        grid = cast(TokenGrid, tuple(n // p for n, p in zip(x.shape[2:], c.patch, strict=False)))
        if past is not None and reference is not None:
            raise ValueError("a reference picture stands before the video, where a causal rollout has no place for it")
        tokens = self._embed(x, sigma, grid, 0 if past is None else past.first, **own)  # [B, T, S, D]
        signal = None
        if camera is not None:
            tokens, signal = self._see(tokens, camera, camera_scale)
        time = self._embed_time(sigma, target)  # [B, T or 1, D]
        if reference is not None:
            grid, tokens, time = self._prepend_reference(reference, grid, tokens, time)
        conditions = (
            self._modulation(time, **own),
            self._context(context, image, text_cache),
            self._layout(grid, tokens, past)._replace(camera=signal),
        )
        branch: dict[int, VaceBlock] = {}
        hints: list[Tensor] = []
        if vace is not None:
            branch = dict(zip(c.vace_layers, cast("list[VaceBlock]", self.vace_blocks), strict=False))
            hints = [self._first_hint(control, tokens) for control in _as_tuple(vace)] if branch else []
        for i, block in enumerate(self.blocks):
            tokens = block(tokens, *conditions)
            for n, scale in enumerate(_as_tuple(vace_scale) if i in branch else ()):
                hints[n] = branch[i](hints[n], *conditions)
                tokens = add(tokens, branch[i].after_proj(hints[n]), scale)
        velocity = self.head(tokens, time)
        if reference is not None:
            grid, tokens, velocity = (grid[0] - 1, *grid[1:]), tokens[:, 1:], velocity[:, 1:]
        return self._finish(self._unpatchify(velocity, grid).to(x.dtype), tokens, grid, x, sigma, **own)

    def zero_optional_branches(self) -> None:
        """Set the output projections of the head and of all control branches to zero: at first they have no effect."""
        nn.init.zeros_(self.head.head.weight)
        if self.config.camera_rays:
            nn.init.zeros_(self.control_adapter.conv.weight)
            nn.init.zeros_(cast(Any, self.control_adapter.residual_blocks[0]).conv2.weight)
        if self.config.vace_layers:
            for block in cast("list[VaceBlock]", self.vace_blocks):
                nn.init.zeros_(block.after_proj.weight)

    def _own_modules(self) -> dict[str, nn.Module]:
        """A subclass's modules by name. Registered before the VACE branch: a bundle's digest depends on the order."""
        return {}

    def _block(self) -> Block:
        """A new block of the main path."""
        return Block(self.config)

    def _see(self, tokens: Tensor, camera: Tensor, strength: float) -> tuple[Tensor, CameraSignal | None]:
        """The tokens with the camera added, and what of it each block reads."""
        return add(tokens, self.control_adapter(camera.to(tokens.dtype)), strength), None

    def _modulation(self, time: Tensor, **own: Tensor | None) -> Tensor:
        """Embedded noise levels [B, T or 1, D] -> shift, scale and gate of the blocks [B, T or 1, 6, D]."""
        return self.time_projection(time).unflatten(-1, (6, self.config.dim))

    def _embed(self, x: Tensor, sigma: Tensor, grid: TokenGrid, first: int, **own: Tensor | None) -> Tensor:
        """Latents x [B, C, T, h, w] -> tokens [B, T, S, D]; first: the number of x's first frame."""
        return patchify(self.patch_embedding, x.to(self.dtype))

    def _finish(
        self, velocity: Tensor, tokens: Tensor, grid: TokenGrid, x: Tensor, sigma: Tensor, **own: Tensor | None
    ) -> Tensor:
        """The velocity to return, from the head's and from the tokens [B, T, S, D] behind the last block."""
        return velocity

    def _input_shapes(self, x: Tensor, sigma: Tensor) -> dict[str, tuple[object, tuple[int, ...]]]:
        """Optional input -> (true if there is a module that reads it, its shape behind the batch)."""
        c = self.config
        return {
            "camera": (c.camera_rays, (24, x.shape[2], *(n * c.camera_rays for n in x.shape[3:]))),
            "vace": (c.vace_channels, (c.vace_channels, *x.shape[2:])),
            "target": (c.flow_map, tuple(sigma.shape[1:])),
            "image": (c.image_dim, (c.image_tokens, c.image_dim)),
            "reference": (c.ref_channels, (c.ref_channels, *x.shape[3:])),
        }

    def _embed_time(self, sigma: Tensor, target: Tensor | None) -> Tensor:
        """Noise levels [B] or [B, T] -> [B, T or 1, D]."""

        def embed(net: nn.Sequential, s: Tensor) -> Tensor:
            return net(sinusoid(1000 * s.reshape(len(s), -1), self.config.freq_dim).to(self.head.modulation.dtype))

        time = embed(self.time_embedding, sigma)
        if not self.config.flow_map:
            return time
        # Both sigmas share the modulation by a fixed gate (AnyFlow, arXiv 2605.13724; diffusers' transformer_anyflow).
        return time.lerp(embed(self.delta_embedder, sigma if target is None else target), self.config.delta_gate)

    def _layout(self, grid: TokenGrid, tokens: Tensor, past: Past | None = None) -> Layout:
        device = tokens.device
        if past is not None:
            place = past.cache.place(past.first, grid, device)
            return Layout(Grid(*grid), rope_table(grid, HEAD_DIM, device, past.first), past=place)
        axes = axis_tables(grid, HEAD_DIM, device) if fuses(tokens, HEAD_DIM) else None
        own = None if self.pattern is None else plan(Grid(*grid), self.pattern, device=device)
        return Layout(Grid(*grid), rope_table(grid, HEAD_DIM, device), own or self._plan(grid, device), axes)

    def _plan(self, grid: TokenGrid, device: torch.device) -> BlockPlan | None:
        """Which tokens attend to which; None: full attention."""
        return named_plan(*self.attention, grid, device)

    def _first_hint(self, vace: Tensor, tokens: Tensor) -> Tensor:
        first = cast(VaceBlock, self.vace_blocks[0])
        return add(first.before_proj(patchify(self.vace_patch_embedding, vace.to(tokens.dtype))), tokens)

    def _context(self, text: Tensor, image: Tensor | None, cache: TextCache | None) -> Context:
        """Text zero-padded to text_len as in Wan, where one zero token stands for all of them; image features."""
        if cache is not None and self in cache:
            return cache[self]
        used = text.shape[1] if torch.compiler.is_compiling() else _used_tokens(text)
        zeros = self.config.text_len - used
        text = nn.functional.pad(text[:, :used], (0, 0, 0, min(zeros, 1))).to(self.dtype)
        image = self.img_emb(image.to(self.dtype)) if image is not None else None
        context = Context(self.text_embedding(text), max(zeros, 1), image, None if cache is None else {})
        if cache is not None:
            cache[self] = context
        return context

    def _prepend_reference(
        self, reference: Tensor, grid: TokenGrid, tokens: Tensor, time: Tensor
    ) -> tuple[TokenGrid, Tensor, Tensor]:
        """A picture's tokens as one more frame before the first, at the time of the last (aigc-apps/VideoX-Fun)."""
        tokens = torch.cat((patchify(self.ref_conv, reference[:, :, None].to(tokens.dtype)), tokens), 1)
        time = time if time.shape[1] == 1 else torch.cat((time[:, -1:], time), 1)
        return (grid[0] + 1, *grid[1:]), tokens, time

    def _unpatchify(self, x: Tensor, grid: TokenGrid) -> Tensor:
        """[B, T, S, pt*ph*pw*C] -> [B, C, T*pt, H*ph, W*pw]."""
        b, (t, h, w), (pt, ph, pw) = len(x), grid, self.config.patch
        x = x.reshape(b, t, h, w, pt, ph, pw, -1).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.reshape(b, -1, t * pt, h * ph, w * pw)

    def _check(self, x: Tensor, sigma: Tensor, context: Tensor, **given: Tensor | tuple[Tensor, ...] | None) -> None:
        c = self.config
        if x.ndim != 5 or x.shape[1] != c.in_channels:
            raise ValueError(f"latents have shape {tuple(x.shape)}; expected [B, {c.in_channels}, T, h, w]")
        if any(n % p for n, p in zip(x.shape[2:], c.patch, strict=False)):
            raise ValueError(f"a latent grid of {tuple(x.shape[2:])} does not divide into patches of {c.patch}")
        if sigma.shape not in ((len(x),), (len(x), x.shape[2] // c.patch[0])):
            raise ValueError(f"sigma has shape {tuple(sigma.shape)}; expected [{len(x)}] or one for each latent frame")
        if context.ndim != 3 or context.shape[2] != c.text_dim or context.shape[1] > c.text_len:
            raise ValueError(
                f"text tokens have shape {tuple(context.shape)}; expected [B, at most {c.text_len}, {c.text_dim}]"
            )
        shapes = self._input_shapes(x, sigma)
        for name, value in given.items():
            if value is None:
                continue
            module, shape = shapes.get(name, (False, ()))
            if not module:
                verb = "is no flow map: it has" if name == "target" else "has"
                raise ValueError(f"the transformer {verb} no module for `{name}`")
            for one in _as_tuple(value):
                if name == "image" and not c.image_tokens:  # features of any number of tokens
                    shape = (*one.shape[1:2], c.image_dim)
                if tuple(one.shape) != (len(x), *shape):
                    raise ValueError(f"{name} has shape {tuple(one.shape)}; expected {(len(x), *shape)}")


def init_weights(model: WanModel, seed: int) -> WanModel:
    """Fresh weights for training: Xavier for matrices; the head and all control branches start at zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if p.ndim >= 2 and "modulation" not in name:
            nn.init.xavier_uniform_(p.data.view(len(p), -1), generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(p)
        elif "modulation" in name:
            p.data.normal_(0, model.config.dim**-0.5, generator=generator)
    model.zero_optional_branches()
    return model


def _as_tuple(value: T | tuple[T, ...]) -> tuple[T, ...]:
    return value if isinstance(value, tuple) else (value,)


def _used_tokens(text: Tensor) -> int:
    """Number of text tokens [B, M, C] up to the last one that is not zero throughout."""
    numbers = torch.arange(1, text.shape[1] + 1, device=text.device)
    return int((text.any(-1).any(0) * numbers).amax()) if len(numbers) else 0  # one number leaves the device
