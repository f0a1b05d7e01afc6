"""Videos and captions encoded as a Wan model reads them, one safetensors file a clip, and drawn in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...control.pictures import cover
from ...machine.writing import written
from ...model.files.load import load_wan
from ...model.world_model import WorldModel
from ...world.video import read_video
from ..launch import ALONE
from ..recipes import VideosRecipe

NO_WORDS = "without-words.safetensors"  # the empty caption's tokens, for guidance
DRAFT = ".draft"  # before the ending of a draft's file


@dataclass(frozen=True)
class WanClip:
    """One clip as a Wan model reads it."""

    video: Tensor  # [C, T, h, w] normalised latents
    context: Tensor  # [L, D] tokens of its caption
    draft: Tensor | None = None  # [C, T, h, w] normalised latents of a draft of it


def write_videos(recipe: VideosRecipe) -> None:
    """Encode a folder's videos; clips that are there already are kept. Raises ValueError for what is missing."""
    from tqdm import tqdm

    if recipe.model is None or recipe.vae is None or recipe.text_encoder is None:
        raise ValueError("name the model's files: --model, --vae and --text-encoder")
    videos = sorted(p for p in recipe.videos.glob("*.mp4") if not p.stem.endswith(DRAFT))
    if not videos:
        raise ValueError(f"no .mp4 in {recipe.videos}; expected NAME.mp4 with NAME.txt, its caption, beside it")
    for video in videos:
        if not video.with_suffix(".txt").is_file():
            raise ValueError(f"{video} has no caption: write it into {video.with_suffix('.txt').name} beside it")
    model = load_wan(
        recipe.model, codec_path=recipe.vae, text_path=recipe.text_encoder, tokenizer_path=recipe.tokenizer
    )
    for part in (model.require("codec", "training"), model.require("text", "training")):
        part.to(ALONE.computes_on(recipe.device))
    recipe.out.mkdir(parents=True, exist_ok=True)
    _write(recipe.out / NO_WORDS, {"context": _words(model, "")})
    for video in tqdm(videos, unit="video", desc="videos"):
        for number, tensors in _clips(model, recipe, video):
            path = recipe.out / f"{video.stem}-{number:03d}.safetensors"
            if not path.exists():
                _write(path, tensors())


def _clips(
    model: WorldModel, recipe: VideosRecipe, video: Path
) -> Iterator[tuple[int, Callable[[], dict[str, Tensor]]]]:
    """Number of each clip of a video, and a call that encodes it."""
    frames, context = read_video(video), video.with_suffix(".txt").read_text("utf-8").strip()
    draft_file = video.with_name(f"{video.stem}{DRAFT}.mp4")
    draft = read_video(draft_file) if draft_file.is_file() else None
    if draft is not None and len(draft) < len(frames):
        raise ValueError(
            f"{draft_file} has {len(draft)} frames, its video {len(frames)}; a draft is as long as its video"
        )
    if len(frames) < recipe.frames:
        raise ValueError(f"{video} has {len(frames)} frames; expected at least --frames, {recipe.frames}")

    def tensors(first: int) -> dict[str, Tensor]:
        span = slice(first, first + recipe.frames)
        named = {"video": frames[span], **({} if draft is None else {"draft": draft[span]})}
        found = {name: _latent(model, recipe, some) for name, some in named.items()}
        return {**found, "context": _words(model, context)}

    for number, first in enumerate(range(0, len(frames) - recipe.frames + 1, recipe.frames)):
        yield number, lambda first=first: tensors(first)


@torch.no_grad()
def _latent(model: WorldModel, recipe: VideosRecipe, frames: np.ndarray) -> Tensor:
    codec = model.require("codec", "training")
    pictures = cover(torch.from_numpy(frames).float() / 255, recipe.width, recipe.height)
    return codec.normalize(codec.encode(pictures[None].to(recipe.device)).float())[0].cpu()


@torch.no_grad()
def _words(model: WorldModel, caption: str) -> Tensor:
    return model.require("text", "training").encode([caption]).tokens[0].cpu()


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    with written(path) as part:
        save_file({name: value.contiguous() for name, value in tensors.items()}, part)


class WanVideos:
    """The clips of a folder, in an order that follows from the seed: no clip comes twice before all have come."""

    def __init__(self, folder: Path, seed: int):
        """Raises FileNotFoundError when there is none."""
        self.files = sorted(path for path in folder.glob("*.safetensors") if path.name != NO_WORDS)
        if not self.files or not (folder / NO_WORDS).is_file():
            raise FileNotFoundError(f"no clips in {folder}; make them with `vdit train videos`")
        self.no_words = _read(folder / NO_WORDS)["context"]
        self.seed = seed

    def clip(self, number: int) -> WanClip:
        """The clip that is taken as number `number` of the whole run, whoever takes it."""
        epoch, place = divmod(number, len(self.files))
        return WanClip(**_read(self.files[_order(len(self.files), self.seed, epoch)[place]]))

    def __len__(self) -> int:
        return len(self.files)


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> list[int]:
    return np.random.default_rng([seed, epoch]).permutation(count).tolist()


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)
