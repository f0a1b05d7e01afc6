"""Noise that is warped along optical flow: motion control that needs no trained branch.

After Burgert et al., "Go-with-the-Flow" (2025): a video model keeps the motion that is in its noise, well if it was
fine-tuned on such noise, else to some degree. Here particles of white noise move along the flow of every frame and are
summed into latent cells again.
"""

from __future__ import annotations

import torch
from torch import Tensor

SUBCELLS = 8  # particles per side of a latent cell: they move by fractions of a cell


def warped_noise(noise: Tensor, flow: Tensor, valid: Tensor, strength: float, temporal: int, spatial: int) -> Tensor:
    """Noise [B, C, T', h, w] whose every latent frame is the first one moved along the flow; standard normal as before.

    flow [T-1, H, W, 2] in pixels per frame and valid [T-1, H, W] in 0..1, of temporal * (T' - 1) + 1 = T frames of
    H = h * spatial by W = w * spatial pixels; else ValueError. A cell's correlation with the moved noise is
    strength * valid. The first latent frame keeps its bits; what is new in later ones comes from `noise`, so one seed
    still means one video.
    """
    _, _, count, h, w = noise.shape
    expected = (temporal * (count - 1), h * spatial, w * spatial)
    if tuple(flow.shape[:3]) != expected:
        raise ValueError(
            f"flow for {len(flow) + 1} frames of {flow.shape[2]}x{flow.shape[1]} does not fit noise "
            f"{list(noise.shape)}; expected {expected[0] + 1} frames of {expected[2]}x{expected[1]}"
        )
    correlation = strength * torch.nn.functional.interpolate(
        # The validity of the frame that a latent frame ends with; the last frame has no step of its own.
        torch.cat((valid[temporal::temporal], valid[-1:]))[:, None],
        size=(h * SUBCELLS, w * SUBCELLS),
        mode="area",
    ).flatten(1)
    out = [_warped(one, flow, correlation, temporal, spatial) for one in noise.float().cpu()]
    return torch.stack(out).to(noise)


def _warped(noise: Tensor, flow: Tensor, correlation: Tensor, temporal: int, spatial: int) -> Tensor:
    """Noise [C, T', h, w], warped; correlation [T'-1, subcells].

    Every particle lands in exactly one subcell, and a subcell of n particles is their sum over sqrt(n): cells stay
    independent and of unit variance whatever the flow. Subcells that no particle reaches take fresh noise.
    """
    channels, count, h, w = noise.shape
    seed = int(noise.reshape(-1)[:1].view(torch.int32).item()) & 0x7FFFFFFF  # other noise, other particles
    generator = torch.Generator().manual_seed(seed)
    size = spatial / SUBCELLS  # pixels
    rows, columns = h * SUBCELLS, w * SUBCELLS
    centres = _centres(rows, columns, size)

    def split(latent: Tensor) -> Tensor:
        """White noise [rows * columns, C] whose cells sum to `latent` [C, h, w] times SUBCELLS, exactly."""
        fine = torch.randn(channels, h, SUBCELLS, w, SUBCELLS, generator=generator)
        fine = fine - fine.mean((2, 4), keepdim=True) + latent[:, :, None, :, None] / SUBCELLS
        return fine.reshape(channels, -1).T

    value, position = split(noise[:, 0]), centres.clone()
    frames = [noise[:, 0]]
    for k in range(1, count):
        for step in flow[temporal * (k - 1) : temporal * k]:
            position = position + _sample_bilinear(step, position)
        inside = ((position >= 0) & (position < torch.tensor([w * spatial, h * spatial]))).all(-1)
        value, position = value[inside], position[inside]
        index = (position / size).floor().long()
        index = index[:, 1].clamp(0, rows - 1) * columns + index[:, 0].clamp(0, columns - 1)
        total = torch.zeros(rows * columns, channels).index_add_(0, index, value)
        landed = torch.zeros(rows * columns).index_add_(0, index, torch.ones(len(index)))
        fresh = split(noise[:, k])
        empty = landed == 0
        share = correlation[k - 1][:, None]
        moved = total / landed.clamp_min(1).sqrt()[:, None]
        mixed = torch.where(empty[:, None], fresh, share * moved + (1 - share.square()).sqrt() * fresh)
        value, position = torch.cat((value, fresh[empty])), torch.cat((position, centres[empty]))
        frames.append(mixed.T.reshape(channels, h, SUBCELLS, w, SUBCELLS).sum((2, 4)) / SUBCELLS)
    return torch.stack(frames, 1)


def _centres(rows: int, columns: int, size: float) -> Tensor:
    """Centres [rows * columns, 2] (x, y) of subcells in pixels."""
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) * size, (torch.arange(columns) + 0.5) * size, indexing="ij")
    return torch.stack((x, y), -1).reshape(-1, 2)


def _sample_bilinear(flow: Tensor, at: Tensor) -> Tensor:
    """Bilinear values [N, 2] of flow [H, W, 2] at pixel positions [N, 2]; outside, the border's."""
    normalized = at[None, None] / torch.tensor([flow.shape[1] / 2, flow.shape[0] / 2]) - 1
    sampled = torch.nn.functional.grid_sample(
        flow.permute(2, 0, 1)[None], normalized, padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0].T
