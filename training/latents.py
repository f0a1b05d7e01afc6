"""Clips simulated, rendered and encoded once, ahead of the teacher's training: latents, captions, controls.

A shard is a pure function of its number, so many machines can fill a folder. Every clip is stored twice, as it is and
mirrored (with left and right exchanged in its captions).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..control.camera import CameraPath
from ..control.depth import depth_from_metres
from ..control.signals import pool
from ..drafting.compositing import drafted
from ..drafting.draft import Draft
from ..model.codec.tiny import TinyCodec, TinyCodecConfig
from ..model.files.bundle import load_world_model
from ..model.precision import mixed
from ..pipeline.latent_preview import fit_preview_map
from ..world.caption import caption
from ..world.clip import Clip, make_clip
from .clips import as_frames, shard_paths
from .run import Run, save_atomic
from .shards import missing
from .tracks import ball_tracks, ground_behind, light_seen, showing

WORDINGS = 4  # captions kept for a clip
SHARD = 32  # clips a file, each stored twice
JUDGED = 0.015  # by how much the ground's distance is told wrong: the share's deviation
FLOW_STEP = 0.25  # pixels a frame that one count of a stored flow stands for
SHAPES = ((128, 128, 41),) * 7 + (
    (160, 96, 41),
    (96, 160, 41),
    (128, 128, 81),
)  # width, height, frames, by shard number


def mirrored(text: str) -> str:
    """The caption of the mirrored clip."""
    swap = {"left": "right", "right": "left"}
    return " ".join(swap.get(w.strip(","), w.strip(",")) + ("," if w.endswith(",") else "") for w in text.split(" "))


@torch.no_grad()
def measure_statistics(codec: TinyCodec, clips: Path, count: int = 192) -> None:
    """Set the codec's latent_mean and latent_std [C] from about `count` clips, spread over the folder's shards."""
    paths = _rendered(clips)
    each = max(1, count // len(paths))
    latents = [codec.encode(as_frames(clip)) for p in paths for clip in np.load(p, mmap_mode="r")[:each]]
    z = torch.cat(latents).transpose(0, 1).flatten(1)
    codec.latent_mean.copy_(z.mean(1))
    codec.latent_std.copy_(z.std(1).clamp_min(1e-3))


def _rendered(clips: Path) -> list[Path]:
    if not (paths := shard_paths(clips)):
        raise FileNotFoundError(f"no clips-*.npy in {clips}; make them with `vdit train clips`")
    return paths


def trained_codec(run: Path) -> tuple[TinyCodec, bool]:
    """The codec of a training run, and whether it keeps the latents of the one it began with. Raises FileNotFoundError."""
    if (state := Run(run).load()) is None:
        raise FileNotFoundError(f"no state.pt in {run}; train it with `vdit train codec`")
    codec = TinyCodec(TinyCodecConfig.told(state["config"])).eval().requires_grad_(False)
    codec.load_state_dict(state["codec"])
    return codec, any(state.get(word) for word in ("keeps", "only", "decoder_only"))  # the last two in older runs


def load_codec(run: Path, clips: Path) -> TinyCodec:
    """The codec of a training run, or a bundle's (.safetensors): as it is.

    A run's statistics, and its map for quick previews (fitted to a clip of each of 16 shards), are measured on `clips`
    the first time and kept beside its state. Where it keeps an older one's latents, the statistics stay what they were.
    """
    if run.suffix == ".safetensors":
        return load_world_model(run).codec
    codec, keeps = trained_codec(run)
    kept = run / "statistics.pt"
    if kept.exists():
        statistics = torch.load(kept, weights_only=True)
        codec.latent_mean.copy_(statistics["mean"])
        codec.latent_std.copy_(statistics["std"])
        codec.preview_map = statistics["preview_map"]
    else:
        if not keeps:
            measure_statistics(codec, clips)
        some = [as_frames(np.load(p, mmap_mode="r")[0]) for p in _rendered(clips)[:16]]
        codec.preview_map = fit_preview_map(codec, torch.cat(some))
        found = {"mean": codec.latent_mean, "std": codec.latent_std, "preview_map": codec.preview_map}
        save_atomic(found, kept)
    return codec


def write_shards(
    codec: TinyCodec, out: Path, first: int, count: int, *, split: str = "train", fps: float = 8.0
) -> None:
    """Fill shards number first .. first+count-1 with clips of seed number*SHARD+i; shards that exist are kept."""
    for number, path in missing(out, "latents", first, count, split):
        width, height, frames = SHAPES[number % len(SHAPES)]
        seeds = range(number * SHARD, (number + 1) * SHARD)
        clips = [make_clip(s, split=split, width=width, height=height, frames=frames, fps=fps) for s in seeds]
        rows = [row for clip in clips for row in (encoded(codec, clip), encoded(codec, clip, mirror=True))]
        stacked = {k: torch.stack([r[k] for r in rows]) for k in rows[0] if k != "captions"}
        save_atomic({**stacked, "captions": [r["captions"] for r in rows], "size": (width, height)}, path)


def misjudged(near: Tensor, seed: int) -> Tensor:
    """1 / metres [h, w] as the object dynamics tell it: a little off, more to one side."""
    scale, right, down = JUDGED * torch.randn(3, generator=torch.Generator().manual_seed(seed))
    (v, u) = (torch.linspace(-1, 1, n) for n in near.shape)
    return near * (1 + scale + right * u + down * v[:, None])


@torch.no_grad()
def encoded(codec: TinyCodec, clip: Clip, *, mirror: bool = False) -> dict:
    """What training needs of a clip: video [C,T',h,w] and last [C,1,h,w] latents (float16, normalised), captions,
    depth uint8 [T,1,H/4,W/4] (inverse, 255 near), flow int8 [T-1,2,H/4,W/4] in FLOW_STEP, c2w [T,4,4], fov_deg [T],
    tracks [T,TRACKED,4] of the balls (see ball_tracks), foretold [C+1,T',h,w]: the draft of the clip as its first `drafted`
    latent frames and its camera path foretell it (see Draft.told)."""
    images, scene = clip.render, clip.scene
    rgb, depth, flow = images.rgb, depth_from_metres(images.depth).inverse, clip.flow.permute(0, 3, 1, 2)
    c2w, ways = torch.tensor(scene.c2w), [caption(scene, i) for i in range(WORDINGS)]
    tracks = ball_tracks(clip)
    if mirror:
        flip = torch.diag(torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64))  # the world's x and the camera's
        rgb, depth, c2w, ways = rgb.flip(2), depth.flip(2), flip @ c2w @ flip, [mirrored(w) for w in ways]
        flow = flow.flip(3) * torch.tensor([-1.0, 1.0])[:, None, None]
        tracks[..., 0] = rgb.shape[2] - tracks[..., 0]
    x = (rgb * 255).round()[None] / 255  # as files hold colours
    known = 2 - (scene.seed + mirror) % 3 // 2
    begins = 4 * known - 3
    ground = misjudged(ground_behind(clip, begins - 1), scene.seed)
    path = CameraPath(c2w, torch.tensor(scene.fov_deg))
    shown = tracks[:, showing(clip, tracks, begins - 1)]
    ground, camera = ground.flip(1) if mirror else ground, path.since(begins - 1) if path.moves else None
    light = light_seen(clip, begins - 1)
    light = light * torch.tensor([-1.0, 1.0, 1.0]) if mirror else light
    draft = Draft(*drafted(x[0, :begins], shown, ground, light, camera))
    with mixed():
        video, last = (codec.normalize(codec.encode(part).float())[0] for part in (x, x[:, -1:]))
        foretold = draft.condition(codec, x.device)[0]
    return {
        "video": video.half(),
        "last": last.half(),
        "foretold": foretold.half(),
        "drafted": torch.tensor(known),
        "captions": ways,
        "depth": (pool(depth[:, None]) * 255).round().to(torch.uint8),
        "flow": (pool(flow) / FLOW_STEP).round().clamp(-127, 127).to(torch.int8),
        "c2w": c2w,
        "fov_deg": torch.tensor(scene.fov_deg),
        "tracks": tracks,
    }
