"""Controls as the transformer reads them: camera rays, and depth and flow folded into latent cells.

A latent frame stands for four video frames; the first one for frame 0 alone, which is therefore repeated four times.
Training and sampling share these functions, so that both give the model the same signal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

POOL = 4  # depth and flow are averaged over POOL x POOL pixels before they are folded
SUBFRAMES = 4  # video frames of a latent frame
FLOW_UNIT = 16.0  # pixels a frame that the model reads as 1: one latent cell
RAY_CHANNELS = 6 * SUBFRAMES


def context_channels(spatial: int = 16) -> int:
    """Channels of `vace_context` for latent cells of `spatial` pixels: depth and flow (x, y) with their trust."""
    return 4 * SUBFRAMES * (spatial // POOL) ** 2 + 1


def by_latent_frame(frames: Tensor, temporal: int) -> Tensor:
    """Frames [temporal * k + 1, ...] -> [k + 1, temporal, ...]: the first latent frame stands for frame 0 alone."""
    import torch

    first = frames[:1].expand(temporal - 1, *frames.shape[1:])
    return torch.cat((first, frames)).view(-1, temporal, *frames.shape[1:])


def fold(maps: Tensor, cells: int) -> Tensor:
    """Per-frame maps [B, 4k+1, C, h*cells, w*cells] -> [B, C*4*cells*cells, k+1, h, w]; frame 0 is repeated."""
    import torch

    b, _, c, hh, ww = maps.shape
    maps = torch.cat((maps[:, :1].expand(-1, SUBFRAMES - 1, -1, -1, -1), maps), 1)
    x = maps.reshape(b, -1, SUBFRAMES, c, hh // cells, cells, ww // cells, cells)
    x = x.permute(0, 3, 2, 5, 7, 1, 4, 6)  # [B, C, sub, row, column, T', h, w]
    return x.reshape(b, c * SUBFRAMES * cells * cells, *x.shape[5:])


def pool(maps: Tensor) -> Tensor:
    """Area mean over POOL x POOL pixels: [..., H, W] -> [..., H/4, W/4]."""
    import torch

    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    return torch.nn.functional.avg_pool2d(flat, POOL).reshape(*maps.shape[:-2], *(n // POOL for n in maps.shape[-2:]))


def plucker(c2w: Tensor, fov_deg: Tensor, width: int, height: int, rays: int, spatial: int = 16) -> Tensor:
    """Plücker rays (o x d, d) [24, k+1, h*rays, w*rays] of a path [4k+1, 4, 4] relative to its first pose.

    fov_deg [T] vertical; rays: per side of a latent cell of `spatial` pixels (one per pixel when equal).
    Channel*4 + subframe, as in the camera adapter of Wan-Fun (aigc-apps/VideoX-Fun, wan_camera_adapter.py).
    """
    from ..geometry.camera import plucker_rays

    return fold(plucker_rays(c2w, fov_deg, width, height, spatial / rays).float()[None], 1)[0]


def vace_context(
    depth: Tensor | None, depth_trust: Tensor | None, flow: Tensor | None, flow_trust: Tensor | None, spatial: int = 16
) -> Tensor:
    """The VACE branch's input [B, context_channels, k+1, h, w] from pooled maps; None means that a control is absent.

    depth [B, 4k+1, 1, H/4, W/4]: inverse depth in 0..1, 1 near; depth_trust [B] in 0..1. flow [B, 4k, 2, H/4, W/4]:
    pixels a frame, at the earlier frame; flow_trust [B, 4k, 1, H/4, W/4] in 0..1, 0 where the model is free.
    Raises ValueError when both are None.
    """
    import torch

    if depth is not None:
        b, t, _, hh, ww = depth.shape
    elif flow is not None:
        b, t, hh, ww = len(flow), flow.shape[1] + 1, *flow.shape[3:]
    else:
        raise ValueError("vace_context needs depth, flow or both")
    cells = spatial // POOL
    if depth is None or depth_trust is None:
        depth, depth_trust = torch.zeros(b, t, 1, hh, ww), torch.zeros(b)
    else:
        depth = (2 * depth - 1) * (depth_trust > 0).float().view(b, 1, 1, 1, 1)
    if flow is None or flow_trust is None:
        flow, flow_trust = torch.zeros(b, t, 2, hh, ww), torch.zeros(b, t, 1, hh, ww)
    else:  # the last frame has no flow
        last = (0, 0, 0, 0, 0, 0, 0, 1)
        flow = torch.nn.functional.pad(flow * (flow_trust > 0) / FLOW_UNIT, last)
        flow_trust = torch.nn.functional.pad(flow_trust.expand(b, t - 1, 1, hh, ww), last)
    folded = fold(torch.cat((depth, flow, flow_trust), 2), cells)
    trust = depth_trust.view(b, 1, 1, 1, 1).expand(b, 1, *folded.shape[2:])
    return torch.cat((folded, trust), 1)
