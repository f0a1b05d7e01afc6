"""Trains the tiny codec on rendered clips: `vdit train codec`.

The recipe: reconstruct short crops, then whole frames, so that both pictures and what changes between them come out
right (error in dB, so that each clip counts the same). Latents carry noise of fixed size and pay for their energy, as
in a VAE of fixed variance (arXiv 1312.6114): so the decoder forgives what diffusion leaves, and the latent space stays
small and smooth. A codec that begins as an older one is asked for that one's latents: latents and teachers made before
stay good.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...model.codec.tiny import TinyCodec, TinyCodecConfig
from ...model.precision import mixed
from ..batches import Batches, Turn
from ..data.clips import as_frames, clip_files
from ..data.textures import dead_leaves
from ..finished_runs import load_codec
from ..launch import ALONE
from ..learning_rate import cosine
from ..muon import with_muon
from ..recipes import CodecRecipe
from ..run import Run
from ..trainer import Loss, Progress, Schedule, Task, TrainedWeights, Trainer


@dataclass(frozen=True)
class CodecSettings:
    """Numbers of the recipe, chosen by hand where nothing else is said."""

    crop: tuple[int, int] = (9, 64)  # frames, pixels a side
    whole: tuple[int, int] = (13, 128)  # the same, late in the run
    whole_from: float = 0.8  # of the steps, see _CodecTask.loss
    noise: float = 0.05  # deviation, in raw latents
    noise_fixed: float = 0.02  # the same where latents stay what they were: no encoder will adapt to it
    energy: float = 1e-3  # weight of the mean squared latent
    kept_latents: float = 2.0  # weight of the squared latent error against the older codec, in channel variances
    textures: float = 1 / 16  # share of clips that are drifting dead leaves
    recolored: float = 1 / 4  # share of clips whose colour channels are exchanged
    moving: float = 8.0  # weight of a pixel that changes
    changes: float = 0.08  # difference from the clip's mean, of 0..1, from which a pixel counts as changing
    validation_clips: int = 24


SETTINGS = CodecSettings()
CONFIG = TinyCodecConfig()  # what ships


def _crop(rng: np.random.Generator, clips: np.ndarray, frames: int, size: int) -> np.ndarray:
    """One random window [frames, size, size, 3] of a shard [N, T, H, W, 3]; half of them follow what moves."""
    clip = clips[rng.integers(len(clips))]
    t = rng.integers(len(clip) - frames + 1)
    room = clip.shape[1] - size
    corners = [(rng.integers(room + 1), rng.integers(room + 1)) for _ in range(5 if rng.random() < 0.6 else 1)]

    def motion(corner: tuple[int, int]) -> int:
        y, x = corner
        ends = clip[[t, t + frames // 2, t + frames - 1], y : y + size : 2, x : x + size : 2].astype(np.int16)
        return np.abs(np.diff(ends, axis=0)).sum()

    y, x = max(corners, key=motion) if room else corners[0]
    return clip[t : t + frames, y : y + size, x : x + size]


def _batch(rng: np.random.Generator, shards: list[Path], count: int, frames: int, size: int) -> Tensor:
    """Frames uint8 [count, frames, size, size, 3], mirrored and with colours exchanged at random."""
    out = []
    for _ in range(count):
        if rng.random() < SETTINGS.textures:
            clip = dead_leaves(rng, frames, size)
        else:
            clip = _crop(rng, np.load(shards[rng.integers(len(shards))], mmap_mode="r"), frames, size)
        clip = clip[:, :, ::-1] if rng.random() < 0.5 else clip
        clip = clip[..., rng.permutation(3)] if rng.random() < SETTINGS.recolored else clip
        out.append(np.ascontiguousarray(clip))
    return torch.from_numpy(np.stack(out))


def error_db(y: Tensor, x: Tensor) -> Tensor:
    """Mean over clips of the squared error in dB: each clip counts the same, however hard it is to keep.

    x, y [B, T, H, W, 3]. Pixels that change within the clip weigh `moving` times as much: balls are few pixels.
    """
    moves = (x - x.mean(1, keepdim=True)).abs().amax(-1, keepdim=True) > SETTINGS.changes
    weight = 1 + (SETTINGS.moving - 1) * moves
    error = ((y - x).square() * weight).flatten(1).sum(1) / (3 * weight).flatten(1).sum(1)
    return 10 * torch.log10(error + 1e-4).mean()


def motion_db(y: Tensor, x: Tensor) -> Tensor:
    """Mean over clips of the squared error in dB of what changes from frame to frame; x, y [B, T, H, W, 3].

    A ball drawn where it is on average of the four frames of a latent costs little in each of them, but much here.
    """
    error = (y.diff(dim=1) - x.diff(dim=1)).square().flatten(1).mean(1)
    return 10 * torch.log10(error + 1e-5).mean()


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of values in 0..1."""
    return -10 * torch.log10((a - b).square().mean().clamp_min(1e-10))


def latent_distance(codec: TinyCodec, latent: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of raw latents, in variances of their channels."""
    return (codec.normalize(latent) - codec.normalize(wanted)).square().mean()


@torch.no_grad()
def validate(codec: TinyCodec, folder: Path, older: TinyCodec | None = None) -> dict[str, float]:
    """Means over whole held-out clips: PSNR (dB), and the latent error against an older codec where there is one."""
    scores, errors, device = [], [], codec.latent_mean.device
    for clip in np.load(clip_files(folder)[0], mmap_mode="r")[: SETTINGS.validation_clips]:
        x = as_frames(clip).to(device)
        latent = codec.encode(x)
        scores.append(float(psnr(codec.decode(latent), x)))
        if older is not None:
            errors.append(float(latent_distance(codec, latent, older.encode(x)).sqrt()))
    found = {"held_out_psnr": round(float(np.mean(scores)), 2)}
    return found | ({"held_out_latent_error": round(float(np.mean(errors)), 4)} if errors else {})


def _initial(config: TinyCodecConfig, older: TinyCodec | None, only: str | None) -> TinyCodec:
    """A codec with the weights of the older one, if there is any. A part that is trained alone has the config's shape,
    and the older one's weights where those have the same shape."""
    if older is None:
        return TinyCodec(config)
    encoder = asdict(config if only == "encoder" else older.config)
    decoder = asdict(config if only == "decoder" else older.config)
    codec = TinyCodec(TinyCodecConfig(**decoder | {name: encoder[name] for name in ("seen", "looks")}))
    fresh = codec.state_dict()
    same = {n: v for n, v in older.state_dict().items() if n in fresh and v.shape == fresh[n].shape}
    codec.load_state_dict({**fresh, **same})
    return codec


class CropSource:
    """Crops of clips, late in the run whole frames of a quarter as many."""

    def __init__(self, recipe: CodecRecipe):
        self.recipe, self.files = recipe, clip_files(recipe.clips)

    def __call__(self, turn: Turn) -> Tensor:
        """Frames uint8 [B, T, H, W, 3]."""
        recipe, rng = self.recipe, np.random.default_rng([self.recipe.seed, turn.step])
        whole = turn.step >= int(SETTINGS.whole_from * recipe.steps)
        count, (frames, size) = (max(1, recipe.batch // 4), SETTINGS.whole) if whole else (recipe.batch, SETTINGS.crop)
        return _batch(rng, self.files, count, frames, size)

    def refresh(self) -> None:
        """Take in clips that came since."""
        self.files = clip_files(self.recipe.clips)


class _CodecTask(Task):
    """The codec's training, as the trainer sees it."""

    name = "codec"

    def __init__(self, recipe: CodecRecipe, config: TinyCodecConfig):
        self.recipe, self.device = recipe, ALONE.computes_on(recipe.device)
        self.batches = Batches(CropSource(recipe), self.device, ALONE)
        clip_files(recipe.held_out)
        torch.manual_seed(recipe.seed)
        self.older = None
        if recipe.start_from is not None:
            self.older = load_codec(recipe.start_from, recipe.clips).requires_grad_(False).to(self.device)
        self.codec = _initial(config, self.older, recipe.only).to(self.device)
        for name, weight in self.codec.named_parameters():
            weight.requires_grad_(recipe.only is None or name.startswith(recipe.only))
        params = [p for p in self.codec.parameters() if p.requires_grad]
        kernels = [p for p in params if recipe.muon and p.ndim == 4]
        rest = [p for p in params if not (recipe.muon and p.ndim == 4)]
        adamw = torch.optim.AdamW(rest, lr=recipe.peak, betas=(0.9, 0.99), weight_decay=1e-4)
        optimizers = with_muon(adamw, kernels, recipe.peak)
        self.trained = TrainedWeights(self.codec.state_dict(keep_vars=True), optimizers, [params])

    def learning_rate(self, now: Progress) -> float:
        return cosine(now.step, self.recipe.steps, self.recipe.peak, warmup=50)

    def loss(self, now: Progress) -> Loss:
        """Reconstruction error, and what latents pay."""
        codec, only, x = self.codec, self.recipe.only, self.batches.of(now.turn).float() / 255
        noise = SETTINGS.noise if self.older is None else SETTINGS.noise_fixed
        parts, loss, y = {}, torch.zeros(()), None
        with mixed(self.device):
            latent = codec.encode(x).float()
            if only != "encoder":
                y = codec.decode(latent + noise * torch.randn_like(latent), clip=False).float()
        if y is not None:
            motion = motion_db(y, x)
            loss = (error_db(y, x) + motion) / 10
            parts = {"motion_db": motion.detach(), "psnr": psnr(y.detach(), x)}
        if self.older is None:
            loss = loss + SETTINGS.energy * latent.square().mean()
        elif only != "decoder":
            with mixed(self.device):
                wanted = self.older.encode(x).float()
            distance = latent_distance(codec, latent, wanted)
            loss = loss + SETTINGS.kept_latents * distance
            parts["latent_error"] = distance.detach().sqrt()
        return Loss(loss, len(x), parts)

    def validate(self) -> dict[str, float]:
        older = self.older if self.recipe.only != "decoder" else None
        return validate(self.codec, self.recipe.held_out, older)

    def start_row(self) -> dict[str, object]:
        return {"config": asdict(self.codec.config)}

    def state(self, now: Progress) -> dict[str, object]:
        return {
            "codec": self.codec.state_dict(),
            "optimizers": [o.state_dict() for o in self.trained.optimizers],
            "config": asdict(self.codec.config),
            "keeps": self.older is not None,
        }

    def load_state(self, state: dict) -> None:
        self.trained.load(state["codec"], {}, state["optimizers"])


def train(recipe: CodecRecipe, config: TinyCodecConfig = CONFIG, validate_every: int = 200) -> None:
    """Carry out a recipe, resuming where its folder holds a state. Raises FileNotFoundError without clips, and
    ValueError where a part alone has nothing to start from."""
    if recipe.only is not None and recipe.start_from is None:
        raise ValueError(f"an {recipe.only} alone is trained beside the rest of a codec: say which with --start-from")
    schedule = Schedule(steps=recipe.steps, log_every=20, validate_every=validate_every)
    Trainer(_CodecTask(recipe, config), recipe, Run(recipe.out), schedule).fit()
