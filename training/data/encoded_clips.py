"""Clips simulated, rendered and encoded once, ahead of the teacher's training: latents, captions, controls, drafts.

A shard is a pure function of its number, so many machines can fill a folder. Every clip is stored twice, as it is and
mirrored (with left and right exchanged in its captions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...control.camera import CameraPath
from ...control.depth import depth_from_metres
from ...control.signals import pool
from ...drafting.compositing import Composition, composite
from ...drafting.draft import Draft
from ...model.codec.tiny import TinyCodec
from ...model.precision import mixed
from ...world.families.caption import caption
from ...world.families.clip import Clip, make_clip
from ..batches import drawn_ahead, workers_beside
from ..finished_runs import load_codec
from ..launch import ALONE
from ..recipes import LatentsRecipe
from ..run import save_atomic
from .shards import missing
from .tracks import ball_tracks, clip_background, light_in_camera, visible_balls

CAPTIONS = 4  # wordings stored for a clip
DEPTH_ERROR = 0.015  # deviation of the perceived ground distance, a share: near the object dynamics' median error
FLOW_STEP = 0.25  # pixels a frame that one count of a stored flow stands for


@dataclass(frozen=True)
class LatentFormat:
    """What a shard holds."""

    clips: int = 32  # a file, each stored twice
    shapes: tuple[tuple[int, int, int], ...] = (  # width, height, frames, by shard number
        *((128, 128, 41),) * 7,
        (160, 96, 41),
        (96, 160, 41),
        (128, 128, 81),
    )
    fps: float = 8.0


class Prepared(NamedTuple):
    """A clip that is to be encoded."""

    pictures: Tensor  # [1, T, H, W, 3] in 0..1
    draft: Draft  # predicted from the first `drafted` latent frames and the camera path
    # captions, depth uint8 [T,1,H/4,W/4] (inverse, 255 near), flow int8 [T-1,2,H/4,W/4] in FLOW_STEP, c2w [T,4,4],
    # fov_deg [T], tracks [T,TRACKED,4] of the balls (see ball_tracks), drafted
    row: dict


def mirrored(text: str) -> str:
    """The caption of the mirrored clip."""
    swap = {"left": "right", "right": "left"}
    return " ".join(swap.get(w.strip(","), w.strip(",")) + ("," if w.endswith(",") else "") for w in text.split(" "))


def write_encoded_clips(recipe: LatentsRecipe, form: LatentFormat = LatentFormat()) -> None:
    """Fill shards number first .. first+shards-1 with clips of seed number*clips+i; shards that exist are kept.

    Clips are made on CPU cores while another device encodes those before them.
    """
    device = ALONE.computes_on(recipe.device)
    codec = load_codec(recipe.codec, recipe.clips).to(device)
    for number, path in missing(recipe, "latents"):
        width, height, frames = form.shapes[number % len(form.shapes)]
        make = partial(make_clip, split=recipe.split, width=width, height=height, frames=frames, fps=form.fps)
        seeds = range(number * form.clips, (number + 1) * form.clips)
        made = drawn_ahead(partial(_both, make), seeds, torch.device("cpu"), workers_beside(device))
        rows = [encoded(codec, one) for both in made for one in both]
        stacked = {k: torch.stack([r[k] for r in rows]).cpu() for k in rows[0] if k != "captions"}
        save_atomic({**stacked, "captions": [r["captions"] for r in rows], "size": (width, height)}, path)


def _both(make: Callable[[int], Clip], seed: int) -> tuple[Prepared, Prepared]:
    """A clip and its mirror image."""
    clip = make(seed)
    return prepared(clip), prepared(clip, mirror=True)


def with_depth_error(inverse_depth: Tensor, seed: int) -> Tensor:
    """1 / metres [h, w] as the object dynamics might perceive it: a little off, more to one side."""
    scale, right, down = DEPTH_ERROR * torch.randn(3, generator=torch.Generator().manual_seed(seed))
    (v, u) = (torch.linspace(-1, 1, n) for n in inverse_depth.shape)
    return inverse_depth * (1 + scale + right * u + down * v[:, None])


def prepared(clip: Clip, *, mirror: bool = False) -> Prepared:
    """All that training needs of a clip, before its pictures are encoded."""
    images, scene = clip.render, clip.scene
    rgb, depth, flow = images.rgb, depth_from_metres(images.depth).inverse, clip.flow.permute(0, 3, 1, 2)
    c2w, captions = torch.tensor(scene.c2w), [caption(scene, i) for i in range(CAPTIONS)]
    tracks = ball_tracks(clip)
    known = (
        2 - (scene.seed + mirror) % 3 // 2
    )  # latent frames from which the draft is predicted: 2 in two clips of three
    first = 4 * known - 4  # the last known frame
    ground, light = with_depth_error(clip_background(clip, first), scene.seed), light_in_camera(clip, first)
    if mirror:
        flip = torch.diag(torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64))  # the world's x and the camera's
        rgb, depth, c2w, captions = rgb.flip(2), depth.flip(2), flip @ c2w @ flip, [mirrored(w) for w in captions]
        flow = flow.flip(3) * torch.tensor([-1.0, 1.0])[:, None, None]
        tracks[..., 0] = rgb.shape[2] - tracks[..., 0]
        ground, light = ground.flip(1), light * torch.tensor([-1.0, 1.0, 1.0])
    x = (rgb * 255).round()[None] / 255  # as files hold colours
    path = CameraPath(c2w, torch.tensor(scene.fov_deg))
    balls = tracks[:, visible_balls(clip, tracks, first)]
    camera = path.since(first) if path.moves else None
    draft = composite(Composition(x[0, : first + 1], balls, ground, light, camera))
    row = {
        "drafted": torch.tensor(known),
        "captions": captions,
        "depth": (pool(depth[:, None]) * 255).round().to(torch.uint8),
        "flow": (pool(flow) / FLOW_STEP).round().clamp(-127, 127).to(torch.int8),
        "c2w": c2w,
        "fov_deg": torch.tensor(scene.fov_deg),
        "tracks": tracks,
    }
    return Prepared(x, draft, row)


@torch.no_grad()
def encoded(codec: TinyCodec, clip: Prepared) -> dict:
    """A clip's row, with video [C,T',h,w] and last [C,1,h,w] latents (float16, normalised), and foretold [C+1,T',h,w]:
    the draft, encoded (see Draft)."""
    x = clip.pictures.to(codec.latent_mean.device)
    with mixed(x.device):
        video, last = (codec.normalize(codec.encode(part).float())[0] for part in (x, x[:, -1:]))
        foretold = clip.draft.condition(codec, x.device)[0]
    return {**clip.row, "video": video.half(), "last": last.half(), "foretold": foretold.half()}
