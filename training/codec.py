"""Trains the tiny codec on rendered clips: `vdit train codec`.

Latents carry noise of fixed size during training and pay for their energy, as in a VAE of fixed variance: so the
decoder forgives what diffusion leaves, and the latent space stays small and smooth.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..model.codec.tiny import TinyCodec, TinyCodecConfig
from ..model.precision import mixed
from .clips import as_frames, shard_paths
from .latents import load_codec
from .muon import with_muon
from .run import Run, cosine
from .textures import dead_leaves

NOISE, ENERGY = 0.05, 1e-3  # of raw latents
STILL = 0.02  # noise where latents stay what they were: no encoder will adapt to it
KEEP = 2.0  # weight of the squared latent error against an older codec
TEXTURES, RECOLORED = 1 / 16, 1 / 4  # shares of the clips
MOVING = 8.0  # weight of a pixel that changes, in the loss


def _crop(rng: np.random.Generator, clips: np.ndarray, frames: int, size: int) -> np.ndarray:
    """One random window [frames, size, size, 3] of a shard [N, T, H, W, 3]; half of them follow what moves."""
    clip = clips[rng.integers(len(clips))]
    t = rng.integers(len(clip) - frames + 1)
    room = clip.shape[1] - size
    corners = [(rng.integers(room + 1), rng.integers(room + 1)) for _ in range(5 if rng.random() < 0.6 else 1)]

    def motion(corner):
        y, x = corner
        ends = clip[[t, t + frames // 2, t + frames - 1], y : y + size : 2, x : x + size : 2].astype(np.int16)
        return np.abs(np.diff(ends, axis=0)).sum()

    y, x = max(corners, key=motion) if room else corners[0]
    return clip[t : t + frames, y : y + size, x : x + size]


def _batch(rng: np.random.Generator, shards: list[Path], count: int, frames: int, size: int) -> Tensor:
    """Frames [count, frames, size, size, 3] in 0..1, mirrored and with colours exchanged at random."""
    out = []
    for _ in range(count):
        if rng.random() < TEXTURES:
            clip = dead_leaves(rng, frames, size)
        else:
            clip = _crop(rng, np.load(shards[rng.integers(len(shards))], mmap_mode="r"), frames, size)
        clip = clip[:, :, ::-1] if rng.random() < 0.5 else clip
        clip = clip[..., rng.permutation(3)] if rng.random() < RECOLORED else clip
        out.append(np.ascontiguousarray(clip))
    return torch.from_numpy(np.stack(out)).float() / 255


def error_db(y: Tensor, x: Tensor) -> Tensor:
    """Mean over clips of the squared error in dB: each clip counts the same, however hard it is to keep.

    x, y [B, T, H, W, 3]. Pixels that change within the clip weigh MOVING times as much: balls are few pixels.
    """
    moves = (x - x.mean(1, keepdim=True)).abs().amax(-1, keepdim=True) > 0.08
    weight = 1 + (MOVING - 1) * moves
    error = ((y - x).square() * weight).flatten(1).sum(1) / (3 * weight).flatten(1).sum(1)
    return 10 * torch.log10(error + 1e-4).mean()


def motion_db(y: Tensor, x: Tensor) -> Tensor:
    """Mean over clips of the squared error in dB of what changes from frame to frame; x, y [B, T, H, W, 3].

    A ball drawn where it is on average of the four frames of a latent costs little in each of them, but much here.
    """
    error = (y.diff(dim=1) - x.diff(dim=1)).square().flatten(1).mean(1)
    return 10 * torch.log10(error + 1e-5).mean()


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of values in 0..1."""
    return float(-10 * torch.log10((a - b).square().mean().clamp_min(1e-10)))


def latent_distance(codec: TinyCodec, latent: Tensor, asked: Tensor) -> Tensor:
    """Mean squared difference of raw latents, in variances of their channels."""
    return (codec.normalize(latent) - codec.normalize(asked)).square().mean()


@torch.no_grad()
def validate(codec: TinyCodec, folder: Path, older: TinyCodec | None = None, count: int = 24) -> dict[str, float]:
    """Means over whole held-out clips: PSNR (dB), and the latent error against an older codec where there is one."""
    scores, errors = [], []
    for clip in np.load(shard_paths(folder)[0], mmap_mode="r")[:count]:
        x = as_frames(clip)
        latent = codec.encode(x)
        scores.append(psnr(codec.decode(latent), x))
        if older is not None:
            errors.append(float(latent_distance(codec, latent, older.encode(x)).sqrt()))
    found = {"held_out_psnr": round(float(np.mean(scores)), 2)}
    return found | ({"held_out_latent_error": round(float(np.mean(errors)), 4)} if errors else {})


def _begin(config: TinyCodecConfig, older: TinyCodec | None, only: str | None) -> TinyCodec:
    """A codec that begins as the older one, if there is any. A part that is trained alone has the config's shape, and begins
    as the older one where that has the like."""
    if older is None:
        return TinyCodec(config)
    seen = asdict(config if only == "encoder" else older.config)
    drawn = asdict(config if only == "decoder" else older.config)
    codec = TinyCodec(TinyCodecConfig(**drawn | {name: seen[name] for name in ("seen", "looks")}))
    fresh = codec.state_dict()
    kept = {n: v for n, v in older.state_dict().items() if n in fresh and v.shape == fresh[n].shape}
    codec.load_state_dict({**fresh, **kept})
    return codec


def train(
    clips: Path, held_out: Path, out: Path, *, steps: int, batch: int = 16, peak: float = 1.5e-3, seed: int = 0,
    config: TinyCodecConfig = TinyCodecConfig(), validate_every: int = 200, start_from: Path | None = None,
    only: str | None = None, muon: bool = False,
) -> TinyCodec:  # fmt: skip
    """Train for `steps`, resuming from `out` when it holds a state. The last fifth sees whole frames. Returns the codec.

    A fresh run begins at random, or with the weights of `start_from` (a run, or a bundle), and then keeps that one's
    latents: those made before, and teachers, stay good. only: "decoder" leaves the encoder as it is; "encoder" is asked for
    the older latents and nothing else. muon: for the convolutions, in place of AdamW. Raises ValueError when a part alone
    has nothing to start from.
    """
    from tqdm import trange

    if only is not None and start_from is None:
        raise ValueError(f"an {only} alone is trained beside the rest of a codec: say which with --start-from")
    shards = shard_paths(clips)
    if not shards or not shard_paths(held_out):
        raise FileNotFoundError(f"no clips-*.npy in {clips} or {held_out}; make them with `vdit train clips`")
    run = Run(out)
    torch.manual_seed(seed)
    older = None if start_from is None else load_codec(start_from, clips).requires_grad_(False)
    codec = _begin(config, older, only)
    for name, weight in codec.named_parameters():
        weight.requires_grad_(only is None or name.startswith(only))
    trained = [p for p in codec.parameters() if p.requires_grad]
    matrices = [p for p in trained if muon and p.ndim == 4]
    optimizers = with_muon(trained, matrices, peak, betas=(0.9, 0.99), weight_decay=1e-4)
    first, noise = 0, NOISE if older is None else STILL
    if state := run.load():
        codec.load_state_dict(state["codec"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        first = state["step"]
    else:
        run.log(event="start", config=asdict(codec.config), steps=steps, batch=batch, peak=peak, seed=seed,
                start_from=start_from and str(start_from), only=only, muon=muon)  # fmt: skip
    bar = trange(first, steps, initial=first, total=steps, desc="codec", unit="step")
    for step in bar:
        rng = np.random.default_rng([seed, step])
        whole = step >= steps * 4 // 5
        shards = shard_paths(clips) if step % 100 == 0 else shards
        x = _batch(rng, shards, *((max(1, batch // 4), 13, 128) if whole else (batch, 9, 64)))
        for group in (g for optimizer in optimizers for g in optimizer.param_groups):
            group["lr"] = cosine(step, steps, peak, warmup=50)
        told, loss = {}, torch.zeros(())
        with mixed():
            latent = codec.encode(x).float()
            y = (
                None
                if only == "encoder"
                else codec.decode(latent + noise * torch.randn_like(latent), clip=False).float()
            )
        if y is not None:
            motion = motion_db(y, x)
            loss = (error_db(y, x) + motion) / 10
            told = {"motion_db": round(motion.item(), 2)}
        if older is None:
            loss = loss + ENERGY * latent.square().mean()
        elif only != "decoder":
            with mixed():
                asked = older.encode(x).float()
            away = latent_distance(codec, latent, asked)
            loss = loss + KEEP * away
            told |= {"latent_error": round(away.item() ** 0.5, 4)}
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        state = {"codec": codec.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "step": step + 1,
                 "config": asdict(codec.config), "keeps": older is not None}  # fmt: skip
        run.save(state, force=step + 1 == steps)
        if step % 20 == 0:
            if y is not None:
                told["psnr"] = round(psnr(y.detach(), x), 2)
            run.log(step=step, loss=round(loss.item(), 5), **told)
            bar.set_postfix(told)
        if (step + 1) % validate_every == 0:
            run.log(step=step + 1, **validate(codec, held_out, older if only != "decoder" else None))
    return codec
