"""Noise that moves with the flow: a way to steer motion that needs no trained branch.

The idea is that of Burgert et al., "Go-with-the-Flow" (2025): a video model keeps the motion that is in its noise,
well when it was fine-tuned on such noise, else only to some degree. Here particles of white noise are carried along
every frame's flow and counted into cells again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .flow import FlowField, look_up

CELLS = 8  # a side that a latent cell is divided into: particles move by fractions of it


def warped_noise(noise: Tensor, field: FlowField, temporal: int, spatial: int) -> Tensor:
    """Noise [B,C,T',h,w] whose every latent frame is its first one moved along the flow; standard normal as before.

    `field` has the clip's size (h*spatial, w*spatial) and length (temporal*(T'-1) + 1 frames). The correlation with
    the moved noise is field.strength where the flow is told and 0 where the model is free. The first frame keeps its
    bits; what is new in a later frame comes from `noise`, so a seed still means one video.
    """
    batch, channels, count, h, w = noise.shape
    if field.frames != temporal * (count - 1) + 1 or tuple(field.flow.shape[1:3]) != (h * spatial, w * spatial):
        raise ValueError(
            f"flow for {field.frames} frames of {field.flow.shape[2]}x{field.flow.shape[1]} does not fit noise "
            f"{list(noise.shape)}; expected {temporal * (count - 1) + 1} frames of {w * spatial}x{h * spatial}"
        )
    out = [_moved(one, field, temporal, spatial) for one in noise.float().cpu()]
    return torch.stack(out).to(noise)


def _moved(noise: Tensor, field: FlowField, temporal: int, spatial: int) -> Tensor:
    """noise [C,T',h,w].

    Every particle lands in exactly one cell and a cell of n particles is their sum over sqrt(n): cells therefore stay
    independent and of unit variance whatever the flow; cells that nothing reached take fresh noise.
    """
    channels, count, h, w = noise.shape
    seed = noise.reshape(-1)[:1].view(torch.int32).item() & 0x7FFFFFFF  # another noise, other particles
    generator = torch.Generator().manual_seed(seed)
    cell = spatial / CELLS
    rows, columns = h * CELLS, w * CELLS
    centres = _centres(rows, columns, cell)

    def split(latent: Tensor) -> Tensor:
        """Fine white noise [rows*columns, C] whose cells sum to `latent` [C,h,w] times CELLS, exactly."""
        fine = torch.randn(channels, h, CELLS, w, CELLS, generator=generator)
        fine = fine - fine.mean((2, 4), keepdim=True) + latent[:, :, None, :, None] / CELLS
        return fine.reshape(channels, -1).T

    value, place = split(noise[:, 0]), centres.clone()
    frames = [noise[:, 0]]
    for k in range(1, count):
        for t in range(temporal * (k - 1), temporal * k):
            place = place + look_up(field.flow[t], place)
        inside = ((place >= 0) & (place < torch.tensor([w * spatial, h * spatial]))).all(-1)
        value, place = value[inside], place[inside]
        index = (place / cell).floor().long()
        index = index[:, 1].clamp(0, rows - 1) * columns + index[:, 0].clamp(0, columns - 1)
        total = torch.zeros(rows * columns, channels).index_add_(0, index, value)
        landed = torch.zeros(rows * columns).index_add_(0, index, torch.ones(len(index)))
        fresh = split(noise[:, k])
        empty = (landed == 0)[:, None]
        # Free cells, and the share that strength leaves, are independent of everything before.
        told = field.valid[min(temporal * k, len(field.flow) - 1)][None, None]
        share = field.strength * torch.nn.functional.interpolate(told, size=(rows, columns), mode="area").reshape(-1, 1)
        moved = total / landed.clamp_min(1).sqrt()[:, None]
        mixed = torch.where(empty, fresh, share * moved + (1 - share.square()).sqrt() * fresh)
        value, place = torch.cat((value, fresh[empty[:, 0]])), torch.cat((place, centres[empty[:, 0]]))
        frames.append(mixed.T.reshape(channels, h, CELLS, w, CELLS).sum((2, 4)) / CELLS)
    return torch.stack(frames, 1)


def _centres(rows: int, columns: int, cell: float) -> Tensor:
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) * cell, (torch.arange(columns) + 0.5) * cell, indexing="ij")
    return torch.stack((x, y), -1).reshape(-1, 2)
