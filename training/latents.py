"""Clips encoded once, ahead of the teacher's training: latents, captions, and the statistics that normalise them.

Every clip is stored twice, as it is and mirrored (with left and right exchanged in its captions).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..model.codec.tiny import TinyCodec, TinyCodecConfig
from ..sampling import fit_preview_map
from ..world.caption import caption
from ..world.scene import sample_scene
from .clips import as_frames, shard_paths
from .run import Run, save_atomic

WORDINGS = 4  # captions kept for a clip


def mirrored(text: str) -> str:
    """The caption of the mirrored clip."""
    swap = {"left": "right", "right": "left"}
    return " ".join(swap.get(w.strip(","), w.strip(",")) + ("," if w.endswith(",") else "") for w in text.split(" "))


def measure_statistics(codec: TinyCodec, clips: Path, count: int = 192) -> None:
    """Set the codec's latent_mean and latent_std [C] from about `count` clips, spread over the folder's shards.

    Its map for quick previews is fitted to one clip of each of the first 16 shards.
    """
    paths = shard_paths(clips)
    if not paths:
        raise FileNotFoundError(f"no clips-*.npy in {clips}; make them with `vdit train clips`")
    each = max(1, count // len(paths))
    with torch.no_grad():
        latents = [codec.encode(as_frames(clip)) for p in paths for clip in np.load(p, mmap_mode="r")[:each]]
    z = torch.cat(latents).transpose(0, 1).flatten(1)
    codec.latent_mean.copy_(z.mean(1))
    codec.latent_std.copy_(z.std(1).clamp_min(1e-3))
    some = [as_frames(np.load(p, mmap_mode="r")[0]) for p in paths[:16]]
    codec.preview_map = fit_preview_map(codec, torch.cat(some))


def load_codec(run: Path, clips: Path) -> TinyCodec:
    """The codec of a training run, with statistics measured on `clips` the first time and kept beside its state."""
    folder = Run(run)
    state = folder.load()
    if state is None:
        raise FileNotFoundError(f"no state.pt in {run}; train it with `vdit train codec`")
    codec = TinyCodec(TinyCodecConfig(**state["config"])).eval().requires_grad_(False)
    codec.load_state_dict(state["codec"])
    kept = folder.folder / "statistics.pt"
    if kept.exists():
        statistics = torch.load(kept, weights_only=True)
        codec.latent_mean.copy_(statistics["mean"])
        codec.latent_std.copy_(statistics["std"])
        codec.preview_map = statistics["preview_map"]
    else:
        measure_statistics(codec, clips)
        found = {"mean": codec.latent_mean, "std": codec.latent_std, "preview_map": codec.preview_map}
        save_atomic(found, kept)
    return codec


@torch.no_grad()
def encode_shards(codec: TinyCodec, clips: Path, out: Path, *, split: str = "train") -> int:
    """Write latents-*.pt (float16, normalised) for every clip shard that has none yet. Returns how many were made."""
    from tqdm import tqdm

    out.mkdir(parents=True, exist_ok=True)
    targets = {p: out / p.with_suffix(".pt").name.replace("clips", "latents") for p in shard_paths(clips)}
    todo = {p: target for p, target in targets.items() if not target.exists()}
    for path, target in tqdm(todo.items(), unit="shard", desc="latents"):
        rgb, notes = np.load(path, mmap_mode="r"), json.loads(path.with_suffix(".json").read_text())
        video, last, captions = [], [], []
        for clip, note in zip(rgb, notes):
            scene = sample_scene(note["seed"], split=split, frames=len(clip))
            ways = [caption(scene, i) for i in range(WORDINGS)]
            for side, words in ((clip, ways), (clip[:, :, ::-1], [mirrored(w) for w in ways])):
                x = as_frames(side)
                video.append(codec.normalize(codec.encode(x))[0].half())
                last.append(codec.normalize(codec.encode(x[:, -1:]))[0].half())
                captions.append(words)
        save_atomic({"video": torch.stack(video), "last": torch.stack(last), "captions": captions}, target)
    return len(todo)


def latent_paths(folder: Path) -> list[Path]:
    return sorted(Path(folder).glob("latents-*.pt"))


@dataclass
class Latents:
    video: Tensor  # [N, C, T, h, w] float16, normalised
    last: Tensor  # [N, C, 1, h, w]: the last frame as a picture of its own
    captions: list[list[str]]

    @staticmethod
    def load(folder: Path) -> Latents:
        """All shards of a folder, in memory (a 5-s clip is 45 kB). Raises FileNotFoundError when there is none."""
        parts = [torch.load(p, weights_only=True) for p in latent_paths(folder)]
        if not parts:
            raise FileNotFoundError(f"no latents-*.pt in {folder}; make them with `vdit train latents`")
        return Latents(
            torch.cat([p["video"] for p in parts]),
            torch.cat([p["last"] for p in parts]),
            [c for p in parts for c in p["captions"]],
        )

    def __len__(self) -> int:
        return len(self.video)
