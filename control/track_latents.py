"""Point tracks as I2V models read them: the latent of the start picture is rewritten along the tracks.

Both ways need no weights of their own, but models that were trained with them: ATI (bytedance/ATI, motion_patch.py)
and Wan-Move (ali-vilab/Wan-Move, wan/modules/trajectory.py). Results are those of ComfyUI's WanTrackToVideo and
WanMoveTrackToVideo to the bit, except where two tracks of Wan-Move meet in a cell: there it draws lots, and here the
later one wins.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .tracks import PointTracks

TEMPERATURE = 220.0  # as ATI was released: a track's weight falls to 1/e at .067 of half the short side
NEAREST_TRACKS = 2  # as ATI was released: how many tracks one cell is made of
SUBFRAMES = 4  # video frames of a latent frame of Wan 2.1
UNSEEN = 1e-5  # keeps the mean over a latent frame's places finite where a point is seen in none


def ati(
    latent: Tensor, tracks: PointTracks, temperature: float = TEMPERATURE, nearest: int = NEAREST_TRACKS
) -> tuple[Tensor, Tensor]:
    """The mask [T',h,w] beside the latents, 1 known and more where tracks meet, and the latents rewritten.

    latent [C,T',h,w], normalised: the start picture, then grey. tracks: of the 4*(T'-1)+1 video frames, with their
    size. Each later cell becomes the features that its nearest tracks have in the first frame, by a Gaussian of the
    distance; what is left of its weight stays.
    """
    _, frames, h, w = latent.shape
    assert tracks.size is not None, "tracks are fitted to the video first"
    size = torch.tensor(tracks.size, dtype=torch.float32)
    at = ((tracks.at - size / 2) / min(tracks.size) * 2).to(latent.device)  # the short side runs from -1 to 1
    seen = tracks.visible[..., None].float().to(latent.device)
    edges = torch.tensor([w / min(h, w), h / min(h, w)], device=latent.device)
    first = _sampled(latent[:, 0], (at[0] / edges).clamp(-1, 1))

    times = seen[1:].view(frames - 1, SUBFRAMES, -1, 1).sum(1)
    places = (at[1:] * seen[1:]).view(frames - 1, SUBFRAMES, -1, 2).sum(1) / (times + UNSEEN)
    strength = times.clamp(0, 1)[..., 0]
    x, y = (torch.linspace(-n / min(h, w), n / min(h, w), n, device=latent.device) for n in (w, h))
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[:, :, None]  # [h, w, 1, 2]

    made, mask = latent.clone(), torch.ones(frames, h, w, device=latent.device)
    for t in range(frames - 1):  # one after the other: all at once would take T' times the memory
        distance = (places[t] - grid).pow(2).sum(-1)
        weight = torch.exp(-distance * temperature) * strength[t]
        weight, which = weight.topk(min(nearest, weight.shape[-1]), -1)
        features = (first[which] * weight[..., None]).sum(-2).permute(2, 0, 1)
        mask[t + 1] = weight.sum(-1)
        made[:, t + 1] = features + latent[:, t + 1] * (1 - mask[t + 1].clamp(0, 1))
    return mask, made


def _sampled(picture: Tensor, at: Tensor) -> Tensor:
    """[N,C] of a picture [C,h,w] at places [N,2] in -1..1, bilinear, zero beyond the edge."""
    found = torch.nn.functional.grid_sample(
        picture[None], at.to(picture.dtype)[None, None], mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return found[0, :, 0].T


def wanmove(latent: Tensor, tracks: PointTracks, strength: float = 1.0) -> Tensor:
    """The latents with each track's cell of the first frame copied to where the track is later.

    latent [C,T',h,w], raw as the codec gives it. tracks: of the 4*(T'-1)+1 video frames, with their size; every fourth
    frame counts. strength: 1 copies, less mixes with what is there. A track that is not seen within the first frame
    has nothing to be copied and is left out (ComfyUI's node would copy the last cell of the picture).
    """
    channels, frames, h, w = latent.shape
    assert tracks.size is not None, "tracks are fitted to the video first"
    width, height = tracks.size
    at = tracks.at[::SUBFRAMES]
    inside = tracks.inside(width, height)[::SUBFRAMES]
    cells = (at / torch.tensor([width / w, height / h])).floor().long()
    cells = torch.where(inside, cells[..., 1] * w + cells[..., 0], 0)  # [T', N]
    number = torch.arange(tracks.count).expand(frames - 1, -1)
    number = torch.where(inside[1:] & inside[:1], number, -1)
    winner = torch.full((frames - 1, h * w), -1).scatter_reduce(1, cells[1:], number, "amax")
    reached, source = winner >= 0, cells[0, winner.clamp_min(0)]
    flat = latent.reshape(channels, frames, h * w)
    features = flat[:, 0, source.to(latent.device)]  # [C, T'-1, h*w]
    moved = flat[:, 1:] + (features - flat[:, 1:]) * strength
    later = torch.where(reached.to(latent.device), moved, flat[:, 1:])
    return torch.cat((flat[:, :1], later), 1).view_as(latent)
