"""Device memory of a model: bytes of weights and of activations, and smaller options where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from .config import VDiTConfig

GIB = 1 << 30
CARDS = {  # GB -> one of that size
    8: "RTX 4060", 12: "RTX 4070", 16: "RTX 4080", 24: "RTX 4090", 32: "RTX 5090", 48: "L40S", 80: "H100", 141: "H200",
}  # fmt: skip
RESERVE = 1 << 30  # for the driver, kernels' workspaces and what the allocator cannot use
STORED = {"fp8": 1.0, "gguf Q8_0": 34 / 32, "gguf Q4_K_M": 4.9 / 8}  # bytes a weight, of files people have


def activation_bytes(config: VDiTConfig, grid: Sequence[int], batch: int = 1, itemsize: int = 2) -> int:
    """Peak bytes of activations in a forward of latents [batch, C, *grid], without weights.

    Counted op by op (tests): in attention, x, queries, keys, values and the result, rotated in float32; or x, y and a
    quarter of the feed-forward's hidden tokens. Fused kernels need less.
    """
    tokens = batch * prod(-(-n // p) for n, p in zip(grid, config.patch, strict=False))
    branch = itemsize * config.branches  # a branch's tokens are alive together with the main path's
    attention = config.dim * (21 + itemsize + branch)
    feed = config.dim * (3 * itemsize + branch) + config.ffn_dim * itemsize // 4
    return tokens * max(attention, feed)


def cache_bytes(config: VDiTConfig, grid: Sequence[int], itemsize: int = 2) -> int:
    """Bytes of the keys and values of latents [1, C, *grid] in a KV cache (kv_cache.KVCache)."""
    tokens = prod(-(-n // p) for n, p in zip(grid, config.patch, strict=False))
    return 2 * (config.layers + len(config.vace_layers)) * tokens * config.dim * itemsize


@dataclass(frozen=True)
class Estimate:
    """Bytes that a model needs on its device for one video."""

    weights: int  # of the transformer; of the larger of two experts
    block: int  # of its largest block: what streaming holds twice
    rest: int  # of everything else, always on the device
    activations: int
    codec: int = 0  # its weights and one step of decoding
    parameters: int = 0
    video: tuple[int, int, int] = (0, 0, 0)  # frames, width, height
    smaller: dict[str, int] = field(default_factory=dict)  # a smaller video -> its activations

    @property
    def whole(self) -> int:
        """With every weight on the device."""
        return max(self.weights + self.activations, self.codec) + RESERVE

    @property
    def streamed(self) -> int:
        """The least: blocks wait in main memory, two at a time are on the device."""
        return max(self.rest + 2 * self.block + self.activations, self.codec) + RESERVE

    def fits(self, free: int) -> bool:
        """Whether it runs on a device with so many bytes free, streamed if need be."""
        return self.streamed <= free

    def cards(self) -> str:
        """The smallest usual cards for it, whole and streamed."""
        whole, streamed = (_card(n) for n in (self.whole, self.streamed))
        return f"fits {whole}" + (f", streamed {streamed}" if streamed != whole else "")

    def sentence(self, free: int) -> str:
        """What it needs, whether that fits, and if not what would."""
        frames, width, height = self.video
        need = (
            f"{frames} frames of {width}x{height} need {_gib(self.whole)}: {_gib(self.weights)} of weights and "
            f"{_gib(self.activations)} to compute in; {_gib(free)} are free"
        )
        if self.whole <= free:
            return need
        if self.streamed <= free:
            return f"{need}. Blocks are streamed from main memory, which is slower"
        would = [f"{name} ({_gib(self._with(n))})" for name, n in self.smaller.items() if self._with(n) <= free][:1]
        if self.parameters and not would:
            for name, size in STORED.items():
                share = size * self.parameters / self.weights
                if share < 0.9 and self.rest + 2 * self.block * share + self.activations + RESERVE <= free:
                    would.append(f"{name} weights")
        would += [f"a card like {_card(self.streamed)[2:]}"]
        return f"{need}. Even streamed it takes {_gib(self.streamed)}. What would fit: {', or '.join(would)}"

    def _with(self, activations: int) -> int:
        return max(self.rest + 2 * self.block + activations, self.codec) + RESERVE


def estimate(
    config: VDiTConfig, sizes: Mapping[str, int], frames: int, width: int, height: int, *, spatial: int = 8,
    temporal: int = 4, batch: int = 1, itemsize: int = 2, codec: int = 0, parameters: int = 0,
) -> Estimate:  # fmt: skip
    """The need of a transformer for a video; sizes: bytes of its tensors by native name, as they lie in memory.

    batch: videos at a time (guidance asks for large ones one by one); itemsize: bytes of an activation; codec: bytes
    that decoding takes.
    """
    blocks: dict[str, int] = {}
    for name, size in sizes.items():
        if name.startswith(("blocks.", "vace_blocks.")):
            key = ".".join(name.split(".")[:2])
            blocks[key] = blocks.get(key, 0) + size

    def act(frames: int, width: int, height: int) -> int:
        grid = ((frames - 1) // temporal + 1, height // spatial, width // spatial)
        return activation_bytes(config, grid, batch, itemsize)

    weights = sum(sizes.values())
    step = 2 * spatial
    smaller = {}
    for f, share in ((frames, 0.75), (frames, 0.5), ((frames - 1) // 2 // temporal * temporal + 1, 0.5)):
        w, h = (max(step, int(n * share) // step * step) for n in (width, height))
        smaller[f"{f} frames of {w}x{h}"] = act(f, w, h)
    return Estimate(
        weights,
        max(blocks.values(), default=0),
        weights - sum(blocks.values()),
        act(frames, width, height),
        codec,
        parameters,
        (frames, width, height),
        smaller,
    )


def _gib(n: float) -> str:
    return f"{n / GIB:.3g} GiB"


def _card(need: int) -> str:
    size = next((gb for gb in CARDS if need <= gb * 0.93 * GIB), None)  # a card's system keeps a little
    return f"a {size} GB card ({CARDS[size]})" if size else f"more than one card ({_gib(need)})"
