"""The tables of docs/scale.md, each number from a formula that the page states: python -m vdit.bench.scale_page

Writes them into the page between its marks; tests/test_scale_page.py holds the page to them. Nothing is measured here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
GPUS = (1, 8, 64, 1000)
NODE = 8  # GPUs that NVLink joins
EFFICIENCY = 0.4  # share of the peak that training steps of this kind reach; the page says where that is from
CLIPS = 1_000_000
HOUR = 3600.0


@dataclass(frozen=True)
class Gpu:
    """Vendor's data sheet: dense bf16 FLOP/s, bytes, bytes/s of memory, NVLink and network, one direction each."""

    name: str
    flops: float
    memory: float
    bandwidth: float
    link: float
    network: float
    dollars: float  # an hour: an assumption, put your own in


@dataclass(frozen=True)
class Model:
    """A transformer of the Wan family and its clip: latent frames x rows x columns of tokens."""

    name: str
    dim: int
    ffn: int
    layers: int
    grid: tuple[int, int, int]

    @property
    def parameters(self) -> float:
        """N = L (8 d^2 + 2 d f): four matrices each of self- and cross-attention, two of the feed-forward network."""
        return self.layers * (8 * self.dim**2 + 2 * self.dim * self.ffn)

    @property
    def tokens(self) -> int:
        """S."""
        frames, rows, columns = self.grid
        return frames * rows * columns

    @property
    def forward(self) -> float:
        """FLOPs of one call: 2 N S in matrices, 4 L S^2 d in attention."""
        return 2 * self.parameters * self.tokens + 4 * self.layers * self.tokens**2 * self.dim

    @property
    def step(self) -> float:
        """FLOPs of a training step of one clip: forward, again for recomputation, and twice that backward."""
        return 4 * self.forward


A100 = Gpu("A100 80 GB", 312e12, 80e9, 2.0e12, 300e9, 25e9, 1.5)
H100 = Gpu("H100 80 GB", 989e12, 80e9, 3.35e12, 450e9, 50e9, 2.5)
B200 = Gpu("B200 180 GB", 2250e12, 180e9, 8.0e12, 900e9, 50e9, 4.5)
KINDS = (A100, H100, B200)
SMALL = Model("Wan 1.3B", 1536, 8960, 30, (21, 30, 52))
LARGE = Model("Wan 14B", 5120, 13824, 40, (21, 30, 52))
MODELS = (SMALL, LARGE)


def states(model: Model, gpus: int) -> float:
    """Bytes of fp32 weights, gradients and AdamW's two moments on each of n GPUs: 16 N / n."""
    return 16 * model.parameters / gpus


def gathered(model: Model) -> float:
    """Bytes of the two blocks in bf16 that are whole at a time: the one that computes and the next."""
    return 2 * 2 * model.parameters / model.layers


def activations(model: Model, context: int = 1) -> float:
    """Bytes of what checkpointing keeps, 2 L S d / C, and of one block at work, 2 (8 d + 2 f) S / C."""
    kept = 2 * model.layers * model.tokens * model.dim
    return (kept + 2 * (8 * model.dim + 2 * model.ffn) * model.tokens) / context


def memory(model: Model, gpus: int, context: int = 1) -> float:
    """Bytes on each GPU."""
    return states(model, gpus) + gathered(model) + activations(model, context)


def sharding_bytes(model: Model, gpus: int) -> float:
    """Bytes that each GPU sends in a step of one clip: bf16 weights gathered twice, fp32 gradients scattered once."""
    return (2 + 2 + 4) * model.parameters * (gpus - 1) / gpus


def context_bytes(model: Model, context: int) -> float:
    """Bytes that each GPU sends in a step for context parallelism: q, k, v and the result, thrice, in each layer."""
    return 3 * 4 * model.layers * 2 * model.tokens * model.dim / context * (context - 1) / context


def step_seconds(model: Model, gpu: Gpu, gpus: int, efficiency: float = 1.0) -> tuple[float, float]:
    """Seconds of a step of one clip a GPU: with all sending hidden behind computing, and with none of it hidden."""
    computing = model.step / (gpu.flops * efficiency) + 28 * model.parameters / gpus / gpu.bandwidth
    sending = sharding_bytes(model, gpus) / (gpu.link if gpus <= NODE else gpu.network)
    return max(computing, sending), computing + sending


def training_hours(model: Model, gpu: Gpu, gpus: int) -> float:
    """Hours in which so many GPUs see a million clips once, nothing hidden."""
    return CLIPS / gpus * step_seconds(model, gpu, gpus, EFFICIENCY)[1] / HOUR


def render_seconds(model: Model, gpu: Gpu, calls: int) -> float:
    """GPU seconds of one clip of so many calls of the network."""
    return calls * model.forward / (gpu.flops * EFFICIENCY)


# Measured on one core of an EPYC: python -m vdit.bench.farm
CORE_SECONDS = 0.37  # of a clip of 41 frames at 128x128 with all arrays
CLIP_BYTES = 1.2e6  # of it in a shard
CORE_DOLLARS = 0.04  # an hour of one core: an assumption
STORE_DOLLARS = 0.023  # a GB and month: an assumption


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def gb(value: float) -> str:
    return short(value / 1e9)


def short(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def power(value: float) -> str:
    digits, _, exponent = f"{value:.2e}".partition("e+")
    return f"{digits} x 10^{int(exponent)}"


def models_table() -> str:
    rows = [(m.name, power(m.parameters), f"{m.tokens:,}", power(m.forward), power(m.step)) for m in MODELS]
    return table(("model, 81 frames of 832x480", "N", "S", "FLOPs of a call", "FLOPs of a step"), rows)


def memory_table() -> str:
    def fits(value: float) -> str:
        found = [gpu.name.split()[0] for gpu in KINDS if value <= gpu.memory]
        return ", ".join(found) or "none"

    rows = [
        (
            m.name,
            str(g),
            *(gb(v) for v in (states(m, g), gathered(m), activations(m), memory(m, g))),
            fits(memory(m, g)),
        )
        for m in MODELS
        for g in GPUS
    ]
    head = ("model", "GPUs (n)", "states, GB", "gathered, GB", "activations, GB", "together, GB", "fits")
    return table(head, rows)


def bytes_table() -> str:
    rows = [
        (m.name, str(g), gb(sharding_bytes(m, g)), gb(context_bytes(m, 2)), gb(context_bytes(m, 8)))
        for m in MODELS
        for g in GPUS
    ]
    head = ("model", "GPUs", "shards, GB", "one clip on C = 2, GB", "on C = 8, GB")
    return table(head, rows)


def steps_table() -> str:
    def cell(m: Model, gpu: Gpu, g: int) -> str:
        if memory(m, g) > gpu.memory:
            return "does not fit"
        best, (hidden, shown) = step_seconds(m, gpu, g)[0], step_seconds(m, gpu, g, EFFICIENCY)
        return f"{short(best)} / {short(hidden)} / {short(shown)}"

    rows = [(m.name, str(g), *(cell(m, gpu, g) for gpu in KINDS)) for m in MODELS for g in GPUS]
    return table(("model", "GPUs", *(gpu.name for gpu in KINDS)), rows)


def training_table() -> str:
    def cell(m: Model, gpu: Gpu, g: int) -> str:
        if memory(m, g) > gpu.memory:
            return "does not fit"
        hours = training_hours(m, gpu, g)
        return f"{short(hours)} h, ${hours * g * gpu.dollars:,.0f}"

    rows = [(m.name, str(g), *(cell(m, gpu, g) for gpu in KINDS)) for m in MODELS for g in GPUS]
    return table(("model", "GPUs", *(gpu.name for gpu in KINDS)), rows)


def clips_table() -> str:
    hours, size = CLIPS * CORE_SECONDS / HOUR, CLIPS * CLIP_BYTES
    rows = [
        (
            "simulated, 41 frames of 128x128",
            f"{hours:,.0f} core hours",
            f"${hours * CORE_DOLLARS:,.0f}",
            f"{size / 1e12:.2f} TB, ${size / 1e9 * STORE_DOLLARS:,.0f} a month",
        )
    ]
    for m in MODELS:
        for calls, how in ((100, "50 steps with guidance"), (4, "4 steps")):
            hours = CLIPS * render_seconds(m, H100, calls) / HOUR
            rows.append((f"{m.name}, {how}", f"{hours:,.0f} H100 hours", f"${hours * H100.dollars:,.0f}", ""))
    return table(("a million clips", "time", "cost", "store"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "models": models_table,
    "memory": memory_table,
    "bytes": bytes_table,
    "steps": steps_table,
    "training": training_table,
    "clips": clips_table,
}


def filled(page: str) -> str:
    """The page with each table between its marks made anew."""
    for name, make in TABLES.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        parts = between.split(page)
        assert len(parts) == 4, f"{PAGE}: expected one place for the table {name!r}"
        page = f"{parts[0]}{parts[1]}{make()}\n{parts[2]}{parts[3]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
