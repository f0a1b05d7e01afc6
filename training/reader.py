"""Trains the codec's reader, which tells where balls are in pictures, on rendered clips: `vdit train reader`.

It stands beside encoder and decoder and changes neither, so latents and teachers stay good.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..model.checkpoint import load_world_model
from ..model.codec.tiny import StateReader, TinyCodec
from .clips import shard_paths
from .precision import mixed
from .run import Run, cosine
from .state import WIDTH, as_shown

FRESH = 50  # steps after which other shards are opened


class Shards:
    """Pictures of some shards and what they show, in memory: uint8 [N, 3, H, W] and tracks and shares as ball_tracks."""

    def __init__(self, paths: list[Path]):
        self.frames = torch.cat([torch.from_numpy(np.load(p)).flatten(0, 1).permute(0, 3, 1, 2) for p in paths])
        notes = [np.load(p.with_suffix(".npz")) for p in paths]
        self.tracks, self.seen = (torch.cat([torch.from_numpy(n[k]).flatten(0, 1) for n in notes]) for k in ("tracks", "seen"))

    def some(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [n, 3, H, W] in -1..1 and the bumps [n, 1, H/16, W/16] that a perfect reader would tell."""
        height, width = self.frames.shape[2:]
        state = as_shown(self.tracks[rows, None], self.seen[rows, None], (width, height))
        return self.frames[rows].float() / 127.5 - 1, state[:, :1, 0]


@torch.no_grad()
def lost(reader: StateReader, shards: Shards, every: int = 7) -> float:
    """The share of the energy of what should be told that a reader has wrong, of every so many pictures."""
    wrong = energy = 0.0
    for rows in torch.arange(0, len(shards.frames), every).split(64):
        pictures, bumps = shards.some(rows)
        wrong += (reader(pictures) - bumps).square().sum().item()
        energy += bumps.square().sum().item()
    return wrong / max(energy, 1e-12)


def train(
    clips: Path, held_out: Path, out: Path, *, steps: int, batch: int = 48, peak: float = 2e-3, seed: int = 0,
    validate_every: int = 500,
) -> StateReader:  # fmt: skip
    """Train for `steps`, resuming from `out` when it holds a state. Returns the reader. Raises FileNotFoundError."""
    from tqdm import trange

    paths, others = ([p for p in shard_paths(folder) if p.with_suffix(".npz").exists()] for folder in (clips, held_out))
    if not paths or not others:
        raise FileNotFoundError(f"no clips-*.npy with their tracks in {clips} or {held_out}; make them with `vdit train clips`")
    run, check = Run(out), Shards(others[:2])
    torch.manual_seed(seed)
    reader, first = StateReader(), 0
    optimizer = torch.optim.AdamW(reader.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    if state := run.load():
        reader.load_state_dict(state["reader"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    else:
        run.log(event="start", steps=steps, batch=batch, peak=peak, seed=seed, shards=len(paths))
    data = None
    bar = trange(first, steps, initial=first, total=steps, desc="reader", unit="step")
    for step in bar:
        rng = np.random.default_rng([seed, step])
        if data is None or step % FRESH == 0:
            data = Shards([paths[i] for i in rng.choice(len(paths), size=min(4, len(paths)), replace=False)])
        pictures, bumps = data.some(torch.from_numpy(rng.integers(len(data.frames), size=batch)))
        if rng.random() < 0.5:
            pictures, bumps = pictures.flip(3), bumps.flip(3)
        for group in optimizer.param_groups:
            group["lr"] = cosine(step, steps, peak, warmup=100, floor=0.0)
        with mixed():
            told = reader(pictures)
        loss = (told.float() - bumps).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        state = {"reader": reader.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
        run.save(state, force=step + 1 == steps)
        if (step + 1) % validate_every == 0 or step + 1 == steps:
            share = lost(reader, check)
            # Two bumps that lie d apart differ by about d^2 / (2 WIDTH^2) of their energy.
            run.log(step=step + 1, loss=round(loss.item(), 5), held_out_lost=round(share, 5),
                    off_px=round(WIDTH * (2 * share) ** 0.5, 3))  # fmt: skip
            bar.set_postfix(lost=f"{share:.4f}")
    return reader


def load_reader(source: Path) -> StateReader:
    """The reader of a training run, or of a bundle's codec (.safetensors). Raises FileNotFoundError, ValueError."""
    if source.suffix == ".safetensors":
        codec = load_world_model(source).codec
        if not codec.config.state:
            raise ValueError(f"the codec of {source} has no reader; train one with `vdit train reader`")
        return codec.reader
    if (state := Run(source).load() if source.is_dir() else None) is None:
        raise FileNotFoundError(f"no state.pt in {source}; train a reader with `vdit train reader`")
    reader = StateReader()
    reader.load_state_dict(state["reader"])
    return reader


def with_reader(codec: TinyCodec, reader: StateReader | None) -> TinyCodec:
    """The same codec with this reader and its channels, or without any."""
    c = replace(codec.config, state=reader is not None)
    made = TinyCodec(c)
    more = made.channels - c.channels
    weights = {n: v for n, v in codec.state_dict().items() if not n.startswith("reader.")}
    mean, std = weights["latent_mean"][: c.channels], weights["latent_std"][: c.channels]
    weights["latent_mean"], weights["latent_std"] = torch.cat((mean, mean.new_zeros(more))), torch.cat((std, std.new_ones(more)))
    if codec.preview_map is not None:
        kept = codec.preview_map[: 1 + c.channels]
        weights["preview_map"] = made.preview_map = torch.cat((kept, kept.new_zeros(more, kept.shape[1])))
    if reader is not None:
        weights |= {f"reader.{n}": v for n, v in reader.state_dict().items()}
    made.load_state_dict(weights)
    return made.eval().requires_grad_(False)
