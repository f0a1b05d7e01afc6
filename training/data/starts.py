"""Starts of clips and where their balls go, in batches: what the object dynamics learn from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...geometry.camera import focal_length
from ...model.object_dynamics import CELL, KNOWN, UNITS, cell_centres, crop_width, resize
from ...model.text import WordEncoder
from ...world.families.caption import vocabulary
from ...world.families.render import AMBIENT, SUN
from ...world.families.scene import GRAVITY
from .encoded_clips import mirrored
from .scenes import FPS
from .shards import Shards
from .tracks import VISIBLE_SHARE

NO_CAPTION = 0.12  # share of clips without a caption, as the transformer's
SOFT_SHARE = 0.35  # share of batches of one picture that are softened, as generated pictures are; chosen by hand
SOFT_PIXELS = (2.0, 6.0)  # detail finer than so many pixels is taken out


@dataclass
class Starts:
    """A batch of starts; lengths in UNITS, all of the last known frame but places."""

    frames: Tensor  # [B, KNOWN, H, W, 3] in 0..1, framed as the model sees them
    place: Tensor  # [B, T, N, 2] in the camera of the last known frame, of the known ones in their own
    radius: Tensor  # [B, N]; 0: no ball
    grows: Tensor  # [B, T, N] log of its radius, in the last known camera, over that in the last known frame
    depth: Tensor  # [B, N] log metres
    pull: Tensor  # [B, N, 3] see Balls
    ground: Tensor  # [B, H/CELL, W/CELL] 1 / metres of what is no ball in the last known frame
    light: Tensor  # [B, 3] see Ground.forward
    shows: Tensor  # [B, N] share of a ball's disc that is seen
    valid: Tensor  # [B, T, N] whether the place is known
    moves: Tensor  # [B] 1 where the camera does
    words: Tensor  # [B, L] ids of a caption, -1 behind it
    size: tuple[int, int]
    single: bool  # the first frame alone is known, and stands for all of them


@dataclass
class Scenes(Shards):
    """Starts of clips, mapped from disk."""

    encoder: WordEncoder = field(default_factory=lambda: WordEncoder(vocabulary()))

    name, rows = "scenes", "rgb"

    def draw(self, count: int, rng: np.random.Generator, single: bool = False) -> Starts:
        """A random batch of one size, half of it mirrored, from some shards of that size."""
        names = list(self.shards)
        size = self.shards[names[rng.integers(len(names))]]["size"]
        alike = [n for n in names if self.shards[n]["size"] == size]
        picks = [self.shards[alike[i]] for i in rng.integers(len(alike), size=8)]
        rows = [torch.from_numpy(np.sort(rng.permutation(len(s["rgb"]))[: count // 8])) for s in picks]
        mirror = torch.from_numpy(rng.random(count // 8 * 8) < 0.5)
        return self.batch(list(zip(picks, rows, strict=True)), mirror, single, rng)

    def batch(
        self,
        picks: list[tuple[dict, Tensor]],
        mirror: Tensor | None = None,
        single: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Starts:
        """Rows of shards, those that `mirror` [B] names mirrored. rng: draws each caption's wording and leaves some
        out."""
        get = lambda key: torch.cat([s[key][rows] for s, rows in picks])  # noqa: E731
        frames, c2w, fov, centers, radius, lasts = (
            get(k) for k in ("rgb", "c2w", "fov_deg", "centers", "radius", "frames")
        )
        width, height = picks[0][0]["size"]
        count, last = centers.shape[1], KNOWN - 1
        mirrors = mirror if mirror is not None else torch.zeros(len(frames), dtype=torch.bool)
        words = self._words([s["captions"][i // 2] for s, rows in picks for i in rows.tolist()], mirrors, rng)
        if single:
            rows = torch.cat((torch.zeros(KNOWN, dtype=torch.long), torch.arange(1, count - last)))
            camera = torch.zeros(count, dtype=torch.long)
            frames, now = frames[:, :1].expand_as(frames), 0
        else:
            rows = torch.arange(count)
            camera, now = rows.clamp_max(last), last
        centers = centers[:, rows]
        local = torch.einsum("btji,btnj->btni", c2w[:, camera, :3, :3], centers - c2w[:, camera, None, :3, 3])
        focal = focal_length(fov[:, camera], UNITS)  # in UNITS
        depth = local[..., 2].clamp_min(0.3)
        place = local[..., :2] / depth[..., None] * focal[:, :, None, None]
        ground = get("ground")[:, 0 if single else 1].float()
        axes = c2w[:, now, :3, :3]
        light = SUN / AMBIENT * (get("light")[:, None] @ axes)[:, 0]
        down = -GRAVITY / FPS**2 * axes[:, 2] / torch.stack((*[torch.ones(len(axes))] * 2, focal[:, now]), -1)
        pull = down[:, None] / radius.clamp_min(1e-3)[..., None]
        if mirror is not None:
            frames = torch.where(mirror.view(-1, 1, 1, 1, 1), frames.flip(3), frames)
            place = torch.where(mirror.view(-1, 1, 1, 1), place * torch.tensor([-1.0, 1.0]), place)
            ground = torch.where(mirror.view(-1, 1, 1), ground.flip(2), ground)
            other = torch.tensor([-1.0, 1.0, 1.0])
            light = torch.where(mirror[:, None], light * other, light)
            pull = torch.where(mirror.view(-1, 1, 1), pull * other, pull)
        exists = radius > 0
        sizes = focal[..., None] * radius[:, None] / (depth.square() - radius.square()[:, None]).clamp_min(1e-2).sqrt()
        size, grows = sizes[:, last], (sizes / sizes[:, last : last + 1].clamp_min(1e-3)).clamp_min(1e-3).log()
        disc = np.pi * (size * height / UNITS).square()
        shows = get("area")[:, now] / disc.clamp_min(1.0)
        valid = exists[:, None] & (rows < lasts[:, None])[..., None] & (local[..., 2] > 0.5)
        turned = (c2w[:, :KNOWN] - c2w[:, last:KNOWN]).abs().flatten(1).amax(1)
        moves = (turned > 1e-3) | ((fov[:, :KNOWN] - fov[:, last:KNOWN]).abs().amax(1) > 1e-2)
        frames, share = resize(frames.float() / 255)
        if single and rng is not None and rng.random() < SOFT_SHARE:
            frames = softened(frames, rng.uniform(*SOFT_PIXELS))
        height, width = frames.shape[2:4]
        ground = crop_width(ground, 1 / share, (height // CELL, width // CELL))
        size, grows, pull, shows = size * exists, grows * exists[:, None], pull * exists[..., None], shows * exists
        balls = dict(place=place, radius=size, grows=grows, pull=pull, shows=shows, valid=valid)
        scene = dict(depth=depth[:, last].log(), ground=ground, light=light, moves=moves.float(), words=words)
        return Starts(frames, **balls, **scene, size=(width, height), single=single)

    def _words(self, captions: list[list[str]], mirror: Tensor, rng: np.random.Generator | None) -> Tensor:
        """Word ids [B, L] of captions, of which each has some wordings."""
        ids = []
        for wordings, flipped in zip(captions, mirror.tolist(), strict=True):
            text = wordings[0] if rng is None else "" if rng.random() < NO_CAPTION else str(rng.choice(wordings))
            ids.append(self.encoder.token_ids(mirrored(text) if flipped else text)[0])
        return self.encoder.batch_ids(ids)


def softened(frames: Tensor, pixels: float) -> Tensor:
    """Frames [B, K, H, W, 3] that are the same for all K, without what is finer than so many pixels."""
    x = frames[:, 0].permute(0, 3, 1, 2)
    small = [round(n / pixels) for n in x.shape[2:]]
    x = F.interpolate(F.interpolate(x, small, mode="bilinear", antialias=True), x.shape[2:], mode="bicubic").clamp(0, 1)
    return x.permute(0, 2, 3, 1)[:, None].expand_as(frames)


def cell_of(place: Tensor, size: tuple[int, int], jitter: Tensor | float = 0.0) -> Tensor:
    """Numbers [B, N] of the cells at places [B, N, 2]."""
    width, height = size
    middle = torch.stack((place[..., 0] * height / UNITS + width / 2, place[..., 1] * height / UNITS + height / 2), -1)
    column, row = (middle / CELL + jitter).floor().unbind(-1)
    rows, columns = height // CELL, width // CELL
    return (row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)).long()


def heat(batch: Starts) -> Tensor:
    """Where balls that show are in the last known frame: [B, h, w], 1 in a ball's own cell and less beside it."""
    width, height = batch.size
    centres = cell_centres(height, width, batch.place.device)[None, :, :, None]
    away = (centres - batch.place[:, None, None, KNOWN - 1]).square().sum(-1)
    step = CELL * UNITS / height
    bump = torch.exp(-away / (2 * (0.7 * step) ** 2)) * (batch.shows > VISIBLE_SHARE)[:, None, None]
    return bump.amax(-1)
