"""What will happen, foretold from the first pictures of a shot by the model's object dynamics and drafted for its
transformer: the last picture with its balls moved to where they will be.

A draft knows nothing of what hides a ball, of shadows and of what a ball has hidden. (The like from a cloud of points, for
camera paths: GEN3C, arXiv 2503.03751.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Sequence

from ..control.pictures import cover
from .sample import noise_from_seed

if TYPE_CHECKING:
    from torch import Tensor

RIM = 2.5  # pixels beyond a ball's disc that are taken for it where it is cut out
SPRITE, EDGE = 48, 1.2  # pixels a side of a ball's own picture, and the radii that it holds each way


def foretold(
    model: Any, conditioning: Any, frames: int, width: int, height: int, seed: int | None = None,
    noise: Tensor | None = None,
) -> Any:  # fmt: skip
    """The conditioning with a `draft`, where the model can make one; else as it is.

    Five pictures show how things move. One does not: the words and the clip's noise [1,C,T',h,w], or that of a seed, then
    decide. Nothing is foretold where something else says how things move (an end picture, depth, optical flow), or where
    the camera moves.
    """
    dynamics, told = getattr(model, "dynamics", None), conditioning
    others = any(c is not None and c.strength > 0 for c in (told.depth, told.flow))
    if dynamics is None or not model.config.draft or told.draft is not None or others:
        return told
    if told.start is None or told.end is not None or told.past is not None or told.strength < 1:
        return told
    single = len(told.start) < dynamics.known
    if frames <= len(told.start) or (single and seed is None and noise is None):
        return told
    if told.camera is not None and told.camera.strength > 0 and told.camera.moves:
        return told
    pictures = cover(told.start[:1] if single else told.start, width, height)
    if single and noise is None:
        space = model.space
        cells = height // space.spatial, width // space.spatial
        noise = noise_from_seed(seed, (1, space.channels, (frames - 1) // space.temporal + 1, *cells))
    words = model.text.token_ids(told.prompt)[0] if single else []
    tracks = ball_tracks(dynamics, pictures, frames, words, noise)
    return told if tracks is None else replace(told, draft=drafted(pictures, tracks))


def ball_tracks(
    dynamics: Any, pictures: Tensor, frames: int, words: Sequence[int] = (), noise: Tensor | None = None
) -> Tensor | None:  # fmt: skip
    """Tracks [frames, N, 4] (centre u, v and radius in pixels, depth in metres) of the balls of pictures [k,H,W,3]: of
    frames before the last `known` pictures, zeros. None where the camera moves.

    k is 1, and ids of words and the clip's noise decide how fast balls are, or at least dynamics.known.
    """
    import torch

    known, (count, height, width) = dynamics.known, pictures.shape[:3]
    single = count < known
    shown = pictures.expand(known, -1, -1, -1) if single else pictures[-known:]
    with torch.no_grad():
        seen = dynamics.look(shown[None])
        if not single and bool(seen.camera_moves > 0):
            return None
        start = dynamics.start(seen, *dynamics.find(seen), (width, height), single)
        balls = start.balls
        if single:
            free = noise[0, :3, 0].flatten(1).T.float().cpu()  # of the known frame, which needs none
            speeds = dynamics.imagine(start, torch.tensor([list(words)]))
            balls = balls._replace(speed=speeds.draw(free[None, : balls.place.shape[1]]))
        path = dynamics(balls, seen.around, frames - count)
    place = torch.cat((start.past[0].transpose(0, 1)[-min(count, known) :], path[0].transpose(0, 1)))  # [T, N, 2]
    scale, centre = height / dynamics.units, torch.tensor([width / 2, height / 2])
    still = torch.cat((balls.radius[0] * scale, start.depth[0].exp()), -1).expand(len(place), -1, -1)
    tracks = torch.cat((place * scale + centre, still), -1)
    return torch.nn.functional.pad(tracks[:, balls.radius[0, :, 0] > 0], (0, 0, 0, 0, frames - len(tracks), 0))


def drafted(pictures: Tensor, tracks: Tensor) -> Tensor:
    """A draft [T,H,W,3] of the video that begins with pictures [k,H,W,3], whose balls go along tracks [T,N,4]."""
    import torch
    from torch.nn import functional as F

    count, height, width = pictures.shape[:3]
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")

    def disc(right: Tensor, down: Tensor, radius: Tensor, beyond: float = 0.0) -> Tensor:
        """How far balls cover pixels so far from their centres; radius 0: no ball."""
        return (radius + beyond - (right.square() + down.square()).sqrt() + 0.5).clamp(0, 1) * (radius > 0)

    last = tracks[count - 1]
    there = last[:, 2] > 0
    order = torch.argsort(last[there, 3], descending=True)  # far ones first
    tracks, last = tracks[:, there][:, order], last[there][order]
    if not len(last):
        return torch.cat((pictures, pictures[-1:].expand(len(tracks) - count, -1, -1, -1)))
    tracked = tracks[:count, 0, 2] > 0
    seen, shown = tracks[:count][tracked], pictures[tracked]
    x, y, radius, _ = seen[..., None, None].unbind(2)  # [k, N, 1, 1]
    free = 1 - disc(u - x, v - y, radius, RIM).amax(1)  # [k, H, W]
    ground, sure = torch.zeros(height, width, 3), torch.zeros(height, width, 1)
    for picture, clear in zip(shown.flip(0), free.flip(0)[..., None]):  # the latest that shows it
        ground, sure = ground + (1 - sure) * clear * picture, sure + (1 - sure) * clear
    far = int(last[:, 2].max() + 2 * RIM)  # from where what no picture shows is filled
    box, both = 2 * far + 1, torch.cat((ground, sure), -1).permute(2, 0, 1)[None]
    both = F.avg_pool2d(F.avg_pool2d(F.pad(both, (far,) * 4), (box, 1), 1), (1, box), 1)[0].permute(1, 2, 0)
    fill = both[..., :3] / both[..., 3:].clamp_min(1e-3)
    video = (ground + (1 - sure) * fill).repeat(len(tracks) - count, 1, 1, 1)
    pixel = (torch.arange(SPRITE) + 0.5) * 2 / SPRITE - 1
    square = torch.stack(torch.meshgrid(pixel, pixel, indexing="xy"), -1) * EDGE  # in radii
    look = lambda maps, at: F.grid_sample(maps, at, padding_mode="border", align_corners=False)  # noqa: E731
    for then, ball in zip(seen.transpose(0, 1), tracks[count:].transpose(0, 1)):
        place, radius = then[:, None, None, :2], then[:, 2, None, None, None]
        at = 2 * (place + square * radius) / torch.tensor([width, height]) - 1
        # What hides the ball in a few of the pictures is not the ball.
        sprite = look(shown.permute(0, 3, 1, 2), at).median(0, keepdim=True).values
        reach = int(ball[:, 2].max()) + 2
        row = torch.arange(-reach, reach + 1) + 0.5
        corner = ball[:, :2].floor()  # only what is near the ball is painted
        off = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1) + (corner - ball[:, :2])[:, None, None]
        size = ball[:, 2, None, None]
        painted = look(sprite.expand(len(off), -1, -1, -1), off / size[..., None].clamp_min(1e-3) / EDGE).permute(0, 2, 3, 1)
        shares = disc(*off.unbind(-1), size)[..., None]  # [T, h, w, 1]
        for picture, patch, share, (x, y) in zip(video, painted, shares, (corner.long() - reach).tolist()):
            left, top, right, bottom = max(x, 0), max(y, 0), min(x + len(row), width), min(y + len(row), height)
            if left < right and top < bottom:
                inside = slice(top - y, bottom - y), slice(left - x, right - x)
                picture[top:bottom, left:right].lerp_(patch[inside], share[inside])
    return torch.cat((pictures, video))
