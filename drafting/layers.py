"""Layers of a shot for compositing: background plate, occluders, and the shadows and a sprite of each ball.

They depend on the known pictures alone, so all drafts of a shot share them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.linalg import norm
from ..geometry.pixels import pixel_grid
from .camera_views import CameraViews, spheres_of
from .ground_plane import fit_floor, plane_inverse_depth, without_floor
from .lighting import ShadowReceiver, dilate, estimate_light, shading

# Occlusion of a ball fades in over this ratio of inverse depths (scene to ball centre): fully visible, fully hidden.
OCCLUSION = (1.02, 1.06)
OCCLUDED = sum(OCCLUSION) / 2  # ratio from which a ball counts as hidden
REFERENCE_HEIGHT = 128  # pixels: positions are predicted at this height; in larger pictures errors are as much larger
RIM, SOFT_RIM = 2.5, 6.0  # pixels cut out around a ball; the second in generated pictures, whose edges are soft
SHADOW_MARGIN = 2  # pixels at REFERENCE_HEIGHT around a shadow's edge that may be in it or not
SHADOW_THRESHOLD = 0.02  # share of the light that is blocked in a shadow
MIN_INVERSE_DEPTH = 1e-3  # 1 / metres
BEND = 0.03  # relative inverse depth off the mean of a cell's neighbours from which the cell is at an edge
COLOUR_SCALE = 0.05  # colour difference (of 1) of pixels of one surface, in upsampling
SMOOTHING_REACH, SMOOTHING_RANGE = 2, 0.08  # of the bilateral filter: cells to each side, relative inverse depth
VERTICAL_WEIGHT = 0.01  # of pixels above and below a hole, against those beside it: most edges are horizontal
INPAINT_RANGE, INPAINT_FLOOR = 0.1, 1e-3  # relative inverse depth of one surface; least weight of another's pixel
INPAINT_CHUNK = 4096  # pixels inpainted at a time, to bound memory
SPRITE_SIZE, SPRITE_RADII = 48, 1.2  # pixels a side of a sprite, and the radii to each side that it covers
MIXED_RIM = 1.0  # pixels inside a ball's rim where its colours are mixed with the background's


class SceneGeometry(NamedTuple):
    """Inverse depth (1 / metres along the optical axis) of all but the balls of a picture."""

    smooth: Tensor  # [H,W]
    sharp: Tensor  # [H,W] with edges where the picture has them: what may occlude balls
    floor: Tensor | None  # [3] plane, see fit_floor


def scene_geometry(inverse_depth: Tensor, picture: Tensor, focal: Tensor) -> SceneGeometry:
    """Refine inverse depth [H/4,W/4] by a picture [H,W,3] whose focal length is in pixels."""
    inverse_depth = _bilateral_filter(inverse_depth.clamp_min(MIN_INVERSE_DEPTH))
    floor = fit_floor(inverse_depth, focal * inverse_depth.shape[0] / len(picture))
    smooth = F.interpolate(inverse_depth[None, None], size=picture.shape[:2], mode="bilinear")[0, 0]
    return SceneGeometry(smooth, _upsample_at_edges(inverse_depth, smooth, picture), floor)


@dataclass(frozen=True, eq=False)
class Layers:
    """What a draft is composited from, in the view of the last known picture."""

    plate: Tensor  # [H,W,3] the background: the picture without balls and their shadows
    occluders: Tensor  # [H,W] inverse depth of what may occlude balls
    light: Tensor  # [3] see ShadowReceiver; zero where the picture shows no shadows
    receiver: ShadowReceiver | None  # of shadows, if the picture shows any
    sprites: list[Tensor]  # [1,3,SPRITE_SIZE,SPRITE_SIZE] the colours of each ball in even light


def extract_layers(
    geometry: SceneGeometry,
    pictures: Tensor,
    tracks: Tensor,
    light: Tensor,
    views: CameraViews,
    soft: bool,
    check: Callable[[], None] = lambda: None,
) -> Layers:
    """Separate pictures [k,H,W,3] with balls at tracks [k,N,4], far ones first, into layers.

    light [3]: a rough estimate of the light; views: from the last picture on; soft: edges in the pictures are soft.
    check: called between the steps, may raise to cancel.
    """
    height, width = pictures.shape[1:3]
    focal, last = views.focal[0], tracks[-1]
    found = estimate_light(pictures[-1], geometry.sharp, light, focal, last) if len(last) else None
    shown, shown_tracks = (pictures, tracks) if views.camera is None else (pictures[-1:], last[None])
    shadows = None
    if found is not None:
        receiver = ShadowReceiver(geometry.sharp, geometry.smooth, found, focal)
        shadows = receiver, receiver.shadows(*spheres_of(shown_tracks, views.centre, focal), check=check)
    rim = SOFT_RIM * height / REFERENCE_HEIGHT if soft else RIM
    occluders, background = geometry.sharp, geometry.smooth
    if geometry.floor is not None:
        floor = plane_inverse_depth(geometry.floor, views.focal[:1], (width, height))[0]
        occluders, background = without_floor(occluders, floor), background.maximum(floor)
    plate = _background_plate(shown, shown_tracks, rim, (geometry.sharp, background), shadows, check)
    if soft:  # depth is rough there: a closing fills the holes of occluders
        occluders = -dilate(-dilate(occluders[None], round(rim)), round(rim))[0]
    light = torch.zeros(3) if found is None else found
    tracked = tracks[:, 0, 2] > 0 if len(last) else slice(0)
    sprites = [
        _sprite(pictures[tracked], track, occluders, ball_shading(track, views, light, geometry.floor, later=False))
        for track in tracks[tracked].unbind(1)
    ]
    return Layers(plate, occluders, light, shadows[0] if shadows else None, sprites)


def sprite_offsets() -> Tensor:
    """Offsets [SPRITE_SIZE,SPRITE_SIZE,2] of a sprite's pixels from the ball's centre, in radii."""
    row = ((torch.arange(SPRITE_SIZE) + 0.5) * 2 / SPRITE_SIZE - 1) * SPRITE_RADII
    return torch.stack(torch.meshgrid(row, row, indexing="xy"), -1)


def ball_shading(track: Tensor, views: CameraViews, light: Tensor, floor: Tensor | None, later: bool) -> Tensor:
    """Brightness [F,SPRITE_SIZE,SPRITE_SIZE] of a ball at track [F,4]; later: see CameraViews.ball_cosines."""
    return shading(views.ball_cosines(track, sprite_offsets(), later), light, floor)


def draw_ball(sprite: Tensor, track: Tensor, video: Tensor, occluders: Tensor, coverage: Tensor) -> None:
    """Draw, in place, a ball's sprite [F,3,.,.] at track [F,4] into a video [F,H,W,3], behind occluders [F,H,W].

    coverage [F,H,W] becomes at least the share of each pixel that is drawn.
    """
    height, width = video.shape[1:3]
    reach = int(track[:, 2].max()) + 2  # only pixels near the ball are visited
    row = torch.arange(-reach, reach + 1) + 0.5
    corner = track[:, :2].floor()
    off = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1) + (corner - track[:, :2])[:, None, None]
    radius = track[:, 2, None, None]
    at = off / radius[..., None].clamp_min(1e-3) / SPRITE_RADII
    colours = F.grid_sample(sprite, at, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
    covered = disc_coverage(off[..., 0], off[..., 1], radius)
    x, y = (corner.long()[:, i, None] + row.floor().long() for i in (0, 1))  # [F, 2 reach + 1]
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None] & (covered > 0)
    frame, i, j = inside.nonzero(as_tuple=True)
    pixels = frame, y[frame, i], x[frame, j]
    ratio = occluders[pixels] * track[frame, 3]
    unoccluded = ((OCCLUSION[1] - ratio) / (OCCLUSION[1] - OCCLUSION[0])).clamp(0, 1)
    share = covered[inside] * unoccluded
    video[pixels] = video[pixels].lerp(colours[inside], share[:, None])
    coverage[pixels] = coverage[pixels].maximum(share)


def _sprite(pictures: Tensor, track: Tensor, occluders: Tensor, shade: Tensor) -> Tensor:
    """A ball's colours in even light, from pictures [k,H,W,3] with the ball at track [k,4] and shade [k,.,.].

    The median of the pictures that show a pixel, or the mean of the sprite where none does.
    """
    offsets = sprite_offsets()
    radius = track[:, 2, None, None, None]
    pure = 1 - MIXED_RIM / radius.clamp_min(2 * MIXED_RIM)  # radii from which on outwards colours are repeated
    inward = (pure / norm(offsets)[..., None].clamp_min(1e-3)).clamp_max(1)
    at = track[:, None, None, :2] + radius * offsets * inward
    at = 2 * at / torch.tensor([pictures.shape[2], pictures.shape[1]]) - 1

    def sample(maps: Tensor) -> Tensor:
        return F.grid_sample(maps, at, padding_mode="border", align_corners=False)

    hidden = sample(occluders.expand(len(at), 1, -1, -1)) * track[:, 3, None, None, None] > OCCLUDED
    hidden |= (at.abs() > 1).any(-1)[:, None]
    colours = (sample(pictures.permute(0, 3, 1, 2)) / shade[:, None]).masked_fill(hidden, torch.nan)
    sprite = colours.nanmedian(0, keepdim=True).values
    inside = (norm(offsets) < 1) & ~sprite.isnan().any(1)
    mean = sprite[..., inside[0]].mean(-1).nan_to_num(0.5)
    return torch.where(sprite.isnan(), mean[..., None, None], sprite)


def _background_plate(
    pictures: Tensor,
    tracks: Tensor,
    rim: float,
    depths: tuple[Tensor, Tensor],
    shadows: tuple[ShadowReceiver, Tensor] | None,
    check: Callable[[], None],
) -> Tensor:
    """Pictures [k,H,W,3] without the balls at tracks [k,N,4] and their shadows, as one background [H,W,3].

    Each pixel comes from the latest picture that shows it lit, else from the latest that shows it in a shadow [k,H,W],
    brightened, else it is inpainted. rim: pixels cut out around balls; depths: see _inpaint.
    """
    height, width = pictures.shape[1:3]
    if not tracks.shape[1]:
        return pictures[-1]
    tracked = tracks[:, 0, 2] > 0
    x, y = pixel_grid(width, height).unbind(-1)
    u, v, radius, _ = tracks[tracked][..., None, None].unbind(2)  # [k, N, 1, 1]
    uncovered = 1 - disc_coverage(x - u, y - v, radius, rim).amax(1)  # [k, H, W]
    sources = list(zip(pictures[tracked].flip(0), uncovered.flip(0)[..., None], strict=True))  # with pixels' weights
    if shadows is not None:
        receiver, shadow = shadows[0], shadows[1][tracked].flip(0)
        margin = round(SHADOW_MARGIN * max(1.0, height / REFERENCE_HEIGHT))
        lit, dark = ((dilate(x, margin) < SHADOW_THRESHOLD)[..., None].float() for x in (shadow, 1 - shadow))
        both = list(zip(sources, shadow, lit, dark, strict=True))
        sources = [(picture, w * share) for (picture, w), _, share, _ in both]
        sources += [(receiver.remove_shadow(picture, s), w * share) for (picture, w), s, _, share in both]
    plate, weight = torch.zeros(height, width, 3), torch.zeros(height, width, 1)
    for picture, w in sources:
        check()
        plate, weight = plate + (1 - weight) * w * picture, weight + (1 - weight) * w
    hole = weight[..., 0] < 1
    reach = 2 * round(float(tracks[-1, :, 2].max()) + rim)
    plate[hole] += (1 - weight[hole]) * _inpaint(plate, weight, depths, hole, reach, check)
    return plate


def _inpaint(
    plate: Tensor, weight: Tensor, depths: tuple[Tensor, Tensor], hole: Tensor, reach: int, check: Callable[[], None]
) -> Tensor:
    """Colours [n,3] for the n pixels of a hole [H,W], from pixels up to `reach` beside, above and below each.

    A pixel counts by its distance, its weight [H,W,1] (with which plate [H,W,3] is multiplied), and how near its
    inverse depth (depths[0] [H,W]) is to that behind the hole (depths[1] [H,W]).
    """
    step = torch.cat((torch.arange(-reach, 0), torch.arange(1, reach + 1)))
    share = step.square().reciprocal().float()
    share = torch.cat((share, VERTICAL_WEIGHT * share))
    across = torch.stack((torch.zeros_like(step), step), -1)
    steps, filled = torch.cat((across, across.flip(-1))), list[Tensor]()
    chunks = (torch.split(x, INPAINT_CHUNK) for x in (hole.nonzero(), depths[1][hole]))
    for at, behind in zip(*chunks, strict=True):
        check()
        sources = at[:, None] + steps  # [n, 4 reach, 2]
        rows, columns = (sources[..., i].clamp(0, n - 1) for i, n in enumerate(hole.shape))
        inside = (rows == sources[..., 0]) & (columns == sources[..., 1])
        off = depths[0][rows, columns] / behind[:, None] - 1
        each = (share * inside * ((-(off / INPAINT_RANGE).square()).exp() + INPAINT_FLOOR))[..., None]
        known = (each * weight[rows, columns]).sum(1)
        filled.append((each * plate[rows, columns]).sum(1) / known.clamp_min(1e-12))
    return torch.cat(filled)


def _upsample_at_edges(inverse_depth: Tensor, smooth: Tensor, picture: Tensor) -> Tensor:
    """Joint bilateral upsampling of inverse depth [h,w] to a picture [H,W,3], at edges of depth; `smooth` elsewhere."""
    (h, w), size = inverse_depth.shape, picture.shape[:2]
    colours = F.interpolate(picture.permute(2, 0, 1)[None], size=(h, w), mode="area")
    cells = F.pad(torch.cat((inverse_depth[None, None], colours), 1), (1,) * 4, mode="replicate")
    around = F.interpolate(F.unfold(cells, 3).view(1, 36, h, w), size=size, mode="nearest")[0].view(4, 9, *size)
    alike = (-(around[1:] - picture.permute(2, 0, 1)[:, None]).square().sum(0) / COLOUR_SCALE**2).softmax(0)
    mean = F.avg_pool2d(F.pad(inverse_depth[None, None], (1,) * 4, mode="replicate"), 3, 1)[0, 0]
    bends = (inverse_depth - mean).abs() > BEND * inverse_depth
    edge = F.max_pool2d(bends[None, None].float(), 3, 1, 1)
    edge = F.interpolate(edge, size=size, mode="nearest")[0, 0] > 0
    return torch.where(edge, (around[0] * alike).sum(0), smooth)


def _bilateral_filter(inverse_depth: Tensor) -> Tensor:
    """Inverse depth [h,w] smoothed over cells of about the same: on a plane it is linear in the picture."""
    side = 2 * SMOOTHING_REACH + 1
    around = F.unfold(F.pad(inverse_depth[None, None], (SMOOTHING_REACH,) * 4, mode="reflect"), side)
    around = around.view(-1, *inverse_depth.shape)
    weight = (-((around / inverse_depth - 1) / SMOOTHING_RANGE).square()).exp()
    weight = weight * weight.flip(0)  # symmetric, so that a slope stays as it is
    return (around * weight).sum(0) / weight.sum(0)


def disc_coverage(right: Tensor, down: Tensor, radius: Tensor, rim: float = 0.0) -> Tensor:
    """Share of a pixel at an offset that a disc of radius + rim covers, all in pixels; 0 where radius is 0."""
    return (radius + rim - (right.square() + down.square()).sqrt() + 0.5).clamp(0, 1) * (radius > 0)
