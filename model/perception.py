"""Perception: one network reads bodies of any shape, the ground, the camera and the light off one picture or five.

Instances are peaks of a map of centres (CenterNet, arXiv 1904.07850); each has its own small filters that draw its
mask (CondInst, arXiv 2003.05664). Every cell is supervised from the first step, where networks that match sets of
queries (DETR) need ten times the training. What a body is like is read from the features under its own mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cells import CELL, MASK_CELL, cell_places, peaks, resized, sized
from .ground import Residual, block, upsample
from .perceived import KINDS, SPIN_UNIT, Perceived, answer
from .region import RegionHead, Regions, cut, jittered, regions_of
from .tracked import Tracked, came_by_masks
from .ways import KNOWN, MOTION, SPEED_UNIT, mean_speeds, slopes_of, ways_of

MOST = 16  # bodies
SURE = 0.3  # probability of a centre from which there is a body
FIELDS = {  # numbers of a body, and how many
    **{"kind": len(KINDS), "offset": 2, "distance": 1, "size": 1, "second": 6, "fourth": 15, "apex": 3, "closing": 1},
    **{"spin": 3, "fixed": 1, "hinged": 1, "anchor": 3, "hinge": 6, "quality": 1},
    **{"foot": 2, "support": 3, "density": 1},
}
SCENE_FIELDS = {"ground": 3, "focal": 1, "light": 3, "gravity": 1, "camera": 6, "walled": 1, "wall": 3, "wall_near": 1}
FIRST = ("offset", "foot", "closing")  # numbers of the first look that the second one is given in radii of the body
TOLD = 12  # numbers that a body is read from: inverse depth, size, motion, its slopes, focal length, ground
REGION_MAPS = 3 * KNOWN + 4 + MOTION  # pictures, and where there are any; own mask, those of others, inverse depth


@dataclass(frozen=True)
class PerceptionConfig:
    """Sizes of the network, as its file names them."""

    widths: tuple[int, int, int, int] = (48, 80, 128, 176)  # features at 1/4, 1/8, 1/16 and 1/32 of the size
    frame: int = 16  # features of each frame's difference from the last
    mask: int = 8  # features that masks are drawn from, and of the filters that draw them
    body: int = 256  # of what is known of a body
    region: int = 256  # of what a second look at it tells


class Features(NamedTuple):
    """What the network makes of pictures [B] of H x W pixels."""

    quarter: Tensor  # [B, C, H/4, W/4]
    eighth: Tensor  # [B, C, H/8, W/8]
    whole: Tensor  # [B, C]
    masks: Tensor  # [B, mask, H/2, W/2]
    centers: Tensor  # [B, H/4, W/4] log-odds of a body's centre
    inverse_depth: Tensor  # [B, H/4, W/4] of everything, in 1 / heights of the eye
    motion: Tensor  # [B, MOTION, H/2, W/2]: mean speeds since each frame before, in SPEED_UNIT
    pictures: Tensor  # [B, 3 KNOWN, H, W]: the last, and how the others differ from it
    scene: dict[str, Tensor]  # of SCENE_FIELDS [B, n]


class BodyPerception(nn.Module):
    """A U-net of four levels over the last picture and the differences of those before; heads for cells and bodies."""

    def __init__(self, config: PerceptionConfig = PerceptionConfig()):
        super().__init__()
        c = self.config = config
        fine, middle, coarse, whole = c.widths
        self.picture = nn.Sequential(nn.Conv2d(3 * CELL**2, fine, 1), nn.SiLU(), nn.Conv2d(fine, fine, 3, padding=1))
        # Without bias: where nothing differs, nothing is added.
        self.change = nn.Sequential(
            nn.Conv2d(3 * CELL**2, c.frame, 3, padding=1, bias=False),
            nn.SiLU(),
            nn.Conv2d(c.frame, c.frame, 1, bias=False),
        )
        self.changes = nn.Conv2d((KNOWN - 1) * c.frame, fine, 1, bias=False)
        self.motion = nn.Conv2d(MOTION * (CELL // MASK_CELL) ** 2, fine, 1, bias=False)
        self.where = nn.Linear(2, fine, bias=False)
        self.quarter = nn.Sequential(nn.SiLU(), Residual(fine))
        self.eighth = nn.Sequential(block(fine, middle, 2), Residual(middle))
        self.sixteenth = nn.Sequential(block(middle, coarse, 2), Residual(coarse))
        self.lowest = nn.Sequential(block(coarse, whole, 2), Residual(whole))
        self.everywhere = nn.Linear(whole, whole)
        self.up_sixteenth, self.join_sixteenth = nn.Conv2d(whole, coarse, 1), Residual(coarse)
        self.up_eighth, self.join_eighth = nn.Conv2d(coarse, middle, 1), Residual(middle)
        self.up_quarter, self.join_quarter = nn.Conv2d(middle, fine, 1), Residual(fine)
        self.found = nn.Sequential(block(fine, fine), nn.Conv2d(fine, 1, 1))
        nn.init.constant_(self.found[1].bias, -4.0)  # type: ignore[arg-type]  # few cells hold a centre
        self.near = nn.Conv2d(fine, 1, 3, padding=1)
        self.detail = nn.Conv2d(3 * MASK_CELL**2, 16, 3, padding=1)
        self.outline = nn.Sequential(nn.SiLU(), block(16 + fine // 2, 24), nn.Conv2d(24, c.mask, 1))
        self.to_outline = nn.Conv2d(fine, fine // 2, 1)
        self.scene = _mlp(2 * whole, 192, sum(SCENE_FIELDS.values()))
        filters = c.mask * (c.mask + 2) + c.mask + c.mask * c.mask + c.mask + c.mask + 1
        self.filters = _mlp(fine + middle + 2, 128, filters)
        self.body = nn.Sequential(
            nn.Linear(2 * (fine + middle) + whole + 2 + TOLD, c.body),
            nn.SiLU(),
            nn.Linear(c.body, c.body),
            nn.SiLU(),
            nn.Linear(c.body, sum(FIELDS.values())),
        )
        known = 2 * (fine + middle) + whole + 2 + TOLD + sum(FIELDS.values()) + sum(FIELDS[n] for n in FIRST) + 1
        self.region = RegionHead(REGION_MAPS, known, c.region, sum(FIELDS.values()))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on a CPU

    def forward(self, frames: Tensor, motion: Tensor) -> Features:
        """Read frames [B, K, H, W, 3] in 0..1, K one or KNOWN; H and W are multiples of MULTIPLE.

        motion [B, H/2, W/2, MOTION]: how far each pixel of the last frame came since each frame before, the latest
        first, in picture heights, as optical flow tells it; zeros of one frame.
        """
        b, count, height, width, _ = frames.shape
        moved = mean_speeds(motion.permute(0, 3, 1, 2)) / SPEED_UNIT
        pictures = 2 * frames.permute(0, 1, 4, 2, 3) - 1
        last = pictures[:, -1]
        differs = (pictures[:, :-1] - last[:, None]).flatten(1, 2)
        x = self.picture(F.pixel_unshuffle(last, CELL))
        if count > 1:
            changes = F.pixel_unshuffle(differs.unflatten(1, (count - 1, 3)).flatten(0, 1), CELL)
            each = self.change(changes.contiguous(memory_format=torch.channels_last))
            x = x + self.changes(each.unflatten(0, (b, count - 1)).flatten(1, 2))
            x = x + self.motion(F.pixel_unshuffle(moved, CELL // MASK_CELL))
        places = cell_places(height, width, CELL, frames.device)
        quarter = self.quarter(x + self.where(places).permute(2, 0, 1))
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        low = self.lowest(sixteenth)
        low = F.silu(low + self.everywhere(low.mean((2, 3)))[:, :, None, None])
        sixteenth = self.join_sixteenth(sixteenth + upsample(self.up_sixteenth(low)))
        eighth = self.join_eighth(eighth + upsample(self.up_eighth(sixteenth)))
        quarter = self.join_quarter(quarter + upsample(self.up_quarter(eighth)))
        detail = self.detail(F.pixel_unshuffle(last, MASK_CELL))
        masks = self.outline(torch.cat((detail, upsample(self.to_outline(quarter))), 1))
        ends = torch.cat((low.mean((2, 3)), low.amax((2, 3))), 1)
        scene = dict(zip(SCENE_FIELDS, self.scene(ends).float().split(list(SCENE_FIELDS.values()), 1), strict=True))
        return Features(
            quarter,
            eighth,
            low.mean((2, 3)),
            masks,
            self.found(quarter)[:, 0].float(),
            (self.near(quarter)[:, 0].float() - 1).clamp(-8, 4).exp(),
            moved,
            F.pad(torch.cat((last, differs), 1), (0, 0, 0, 0, 0, 3 * (KNOWN - count))),
            scene,
        )

    def masks_of(self, features: Features, picture: Tensor, cell: Tensor) -> Tensor:
        """Log-odds [K, H/2, W/2] of masks of bodies with centres in cells [K] (flat) of pictures [K] of the batch."""
        c = self.config.mask
        at, place = self._at(features, picture, cell)
        filters = self.filters(torch.cat((at, place), 1)).float()
        sizes = (c * c, c * 2, c, c * c, c, c, 1)
        w1, w1_place, b1, w2, b2, w3, b3 = filters.split(sizes, 1)
        height, width = features.masks.shape[2:]
        places = cell_places(height * MASK_CELL, width * MASK_CELL, MASK_CELL, cell.device).flatten(0, 1)  # [P, 2]
        relative = 4 * (places[None] - place[:, None].float())  # [K, P, 2]
        x = features.masks.float().flatten(2)[picture]  # [K, c, P]
        x = w1.view(-1, c, c) @ x + w1_place.view(-1, c, 2) @ relative.transpose(1, 2) + b1[..., None]
        x = w2.view(-1, c, c) @ F.relu(x) + b2[..., None]
        x = w3[:, None] @ F.relu(x) + b3[..., None]
        return x.view(-1, height, width)

    def bodies_of(
        self, features: Features, picture: Tensor, cell: Tensor, masks: Tensor, tracked: Tracked | None = None
    ) -> dict[str, Tensor]:
        """FIELDS [K, n] of bodies with mask probabilities [K, H/2, W/2], but velocity [K, 3] in place of closing; and
        of Ways bend [K, 3], acceleration and error, and came [K, KNOWN - 1, 2].

        distance and size come as log(1 / depth) and log(half extent / depth), the geometric mean of three; velocity in
        SPEED_UNIT and shares of the depth: across the view as optical flow tells it, and tracked where it is given (see
        ways_of), along it as the network does.
        """
        at, place = self._at(features, picture, cell)
        share = F.avg_pool2d(masks[:, None], CELL // MASK_CELL)  # [K, 1, H/4, W/4]
        pooled = [_under(features.quarter, picture, share), _under(features.eighth, picture, F.avg_pool2d(share, 2))]
        near = _under(features.inverse_depth.detach()[:, None], picture, share).clamp_min(1e-3).log()
        area = share.mean((1, 2, 3)).clamp_min(1e-5) * features.centers.shape[2] / features.centers.shape[1]
        focal = features.scene["focal"].detach()[picture]
        angular = 0.5 * area.log()[:, None] - focal - 0.6  # a sphere's radius is .56 of the root of its area
        ray = 1 / focal.exp()  # of a picture height beside the middle, at depth one
        way = ways_of(features.motion, picture, masks, area.sqrt(), tracked)
        moved = way.speed * ray
        slopes = slopes_of(features.motion[:, :2], picture, masks) * (SPEED_UNIT / SPIN_UNIT)
        told = torch.cat((near, angular, focal, features.scene["ground"].detach()[picture], moved, slopes), 1)
        x = torch.cat((at, *pooled, features.whole[picture], place, told.to(at.dtype)), 1)
        out = dict(zip(FIELDS, self.body(x).float().split(list(FIELDS.values()), 1), strict=True))
        regions = self._regions(features, masks)
        maps = self._maps(features, picture, masks, near, regions)
        out = self._looked_at_again(out, maps, x, regions, place.float(), ray, angular)
        out["distance"] = out["distance"] + near
        out["size"] = out["size"] + angular
        seen = moved + place.float() * ray * out["closing"]  # of what moves along its ray the picture shows only this
        turns = (slopes[:, 2:3] - slopes[:, 1:2]) / 2  # about the optical axis: the curl of the motion
        out["spin"] = torch.cat((out["spin"][:, :2], out["spin"][:, 2:] + turns), 1)
        out["velocity"] = torch.cat((seen, out.pop("closing")), 1)
        out["bend"], out["came"] = torch.cat((way.acceleration, way.error), 1), way.came
        return out

    def _regions(self, features: Features, masks: Tensor) -> Regions:
        height, width = features.pictures.shape[2:]
        found = regions_of(masks, cell_places(height, width, MASK_CELL, masks.device), 1 / height)
        return jittered(found) if self.training else found

    def _looked_at_again(
        self,
        first: dict[str, Tensor],
        maps: Tensor,
        x: Tensor,
        regions: Regions,
        place: Tensor,
        ray: Tensor,
        size: Tensor,
    ) -> dict[str, Tensor]:
        """FIELDS as a second look at maps of regions corrects them; a body's centre is first taken to be its mask's.

        x: what the first look was told; place, ray, size: of its cell, of a picture height at depth one, of its mask
        (logarithm).
        """
        aside, radius = regions.middle - place, regions.radius
        units = {"offset": radius, "foot": radius, "closing": radius * ray / SPEED_UNIT, "anchor": radius * ray}
        own = [(first[name] - (0 if name == "closing" else aside)) / units[name] for name in FIRST]
        known = [x, *first.values(), torch.cat(own, 1).clamp(-9, 9), (radius * ray).log() - size]
        more = self.region(maps, torch.cat(known, 1).detach()).float().split(list(FIELDS.values()), 1)
        out = {**first, "offset": aside, "foot": first["foot"] - first["offset"] + aside}
        return {name: out[name] + value * units.get(name, 1.0) for name, value in zip(FIELDS, more, strict=True)}

    def _maps(self, features: Features, picture: Tensor, masks: Tensor, near: Tensor, regions: Regions) -> Tensor:
        """What is seen around bodies [K, REGION_MAPS, SIDE, SIDE], in units of their own."""
        own = cut(masks[:, None], torch.arange(len(masks), device=masks.device), regions)
        all_masks = masks.new_zeros(len(features.pictures), *masks.shape[1:]).index_add(0, picture, masks)
        others = cut(all_masks[:, None], picture, regions) - own
        depth = features.inverse_depth.detach().clamp_min(1e-3).log()[:, None]
        depth = (cut(depth, picture, regions) - near[..., None, None]).clamp(-2, 2)
        moved = cut(features.motion, picture, regions) * (SPEED_UNIT / regions.radius)[..., None, None]
        seen = cut(F.pad(features.pictures, (0, 0, 0, 0, 0, 1), value=1.0), picture, regions)
        return torch.cat((seen, own, others, depth, moved), 1)

    def _at(self, features: Features, picture: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Features [K, C] at cells, and where these are [K, 2] in picture heights from the middle."""
        height, width = features.centers.shape[1:]
        row, column = cell // width, cell % width
        fine = features.quarter[picture, :, row, column]
        middle = features.eighth[picture, :, row // 2, column // 2]
        place = cell_places(height * CELL, width * CELL, CELL, cell.device).flatten(0, 1)[cell]
        return torch.cat((fine, middle), 1), place.to(fine.dtype)

    @torch.no_grad()
    def perceive(self, frames: Tensor, motion: Tensor, sure: float = SURE) -> Perceived:
        """What is seen in pictures [K, H, W, 3] in 0..1 of any size: the last of them, K one or KNOWN.

        motion [h, w, MOTION]: as forward takes it, of any size.
        """
        height, width = frames.shape[1:3]
        device = self.where.weight.device
        frames, motion = resized(frames.to(device)), motion.to(device).permute(2, 0, 1)[None]
        cells = [n // MASK_CELL for n in frames.shape[1:3]]
        if list(motion.shape[2:]) != cells:
            motion = F.interpolate(motion, cells, mode="bilinear", antialias=True)
        features = self(frames[None], motion.permute(0, 2, 3, 1))
        cell, odds = peaks(features.centers[0], MOST)
        kept = odds > sure
        cell, odds = cell[kept], odds[kept]
        picture = torch.zeros_like(cell)
        masks = self.masks_of(features, picture, cell).sigmoid()
        before = self._masks_before(frames, sure)
        small = F.avg_pool2d(frames.permute(0, 3, 1, 2), MASK_CELL).flip(0)
        tracked = came_by_masks(small, [masks, *before[::-1]]) if before else None
        bodies = self.bodies_of(features, picture, cell, masks, tracked)
        rows, columns = (n * CELL for n in features.centers.shape[1:])
        place = cell_places(rows, columns, CELL, cell.device).flatten(0, 1)[cell]
        scene = {name: value[0] for name, value in features.scene.items()}
        none = masks.new_zeros(1, *masks.shape[1:])
        covered = torch.stack([torch.cat((none, each)).amax(0) for each in (*before, masks)])
        masks, covered = sized(masks, height, width), sized(covered, height, width)
        return answer(scene, features.inverse_depth[0], bodies, place, odds, masks, covered)

    def _masks_before(self, frames: Tensor, sure: float) -> list[Tensor]:
        """Masks [K, H/2, W/2] of bodies in each of frames [K, H, W, 3] but the last, each seen by itself."""
        earlier = frames[:-1]
        if not len(earlier):
            return []
        rows, columns = (n // MASK_CELL for n in frames.shape[1:3])
        features = self(earlier[:, None], frames.new_zeros(len(earlier), rows, columns, MOTION))
        out: list[Tensor] = []
        for k, centers in enumerate(features.centers):
            cell, odds = peaks(centers, MOST)
            cell = cell[odds > sure]
            out.append(self.masks_of(features, torch.full_like(cell, k), cell).sigmoid())
        return out


def _under(maps: Tensor, picture: Tensor, share: Tensor) -> Tensor:
    """Means [K, C] of maps [B, C, h, w] of pictures [K], weighted by shares [K, 1, h, w]."""
    weight = share.flatten(1)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-3)
    return torch.einsum("kcp,kp->kc", maps.flatten(2)[picture].float(), weight).to(maps.dtype)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))
