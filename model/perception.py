"""Perception: one network reads bodies of any shape, the ground, the camera and the light off one picture or five.

Instances are peaks of a map of centres (CenterNet, arXiv 1904.07850); each has its own small filters that draw its
mask (CondInst, arXiv 2003.05664). Every cell is supervised from the first step, where networks that match sets of
queries (DETR) need ten times the training. What a body is like is read from the features under its own mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..geometry.linalg import least_squares, norm
from ..geometry.moments import line_of, rotation_of, symmetric
from ..geometry.rotation import rotation_about
from .ground import Residual, block, upsample
from .region import RegionHead, Regions, cut, jittered, regions_of

KNOWN = 5  # frames
MOTION = 2 * (KNOWN - 1)  # numbers of motion_before
CELL = 4  # pixels a side of a cell of the map of centres
MASK_CELL = 2  # pixels a side of a cell of masks
PIXELS, MULTIPLE = 104 * 104, 32  # about so many pixels are read, in sides that are multiples of so many
MOST = 16  # bodies
KINDS = ("sphere", "box", "cylinder", "capsule", "cone", "ellipsoid", "hull", "compound")
ROUND = ("cylinder", "capsule", "cone")  # bodies of revolution about their last axis
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
# The speed at the last of four frames of what has a constant acceleration (a quadratic fit), of its mean speeds since
# each of those before, the latest first. The speed between the last two would be that of half a frame ago.
LATEST_SPEED = (0.65, 1.7, -1.35)
# Mean speeds that agree with one speed to so many picture heights, and such a share of the body's size, are of a body
# that keeps its speed: the fit of one number is three times as sure as that of LATEST_SPEED.
STEADY, STEADY_SHARE = 2e-4, 0.01
SAMPLES = 256  # cells of a mask, the surest, whose motion tells its body's speed
STRAY = 0.25  # of a body's size: pixels that seem to have come from so far aside were hidden, or lie beside it
# What flies, by probability, and bends its way downwards, tells gravity; its way may miss a parabola by such shares of
# a frame's bend, and the network be off by such a factor. Where both agree to a tenth or so, their mean is nearer.
FLIES, ACROSS, BEND_ERROR, MOST_OFF, AGREE = 0.6, 0.2, 0.4, 4.0, 0.2
STANDS = 0.004  # heights of the eye a frame, or radians: a camera that moves more bends all ways
SPEED_UNIT, SPIN_UNIT, CAMERA_UNIT = 0.05, 0.2, 0.02  # of a frame: what a one of the network's answer means


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Perceived:
    """What is seen in the last picture, in its camera's axes; lengths in heights of the eye over the ground, times in
    frames. N bodies, the surest first.

    masks [N, H, W] in 0..1; sure [N]; kind: of KINDS; sphere [N]: probability of that kind; center, half (extents along
    the axes), velocity, spin [N, 3]; rotation [N, 3, 3], columns are the axes; fixed, hinged [N] probabilities; anchor,
    hinge [N, 3]: point and axis; foot [N, 3]: way to the point of the ground beneath its centre; support [N, 3]: how
    sure that air, ground or another body holds it up; density [N], of wood's.
    inverse_depth [H/4, W/4]; ground [3]: its normal, at distance 1; light [3]; gravity; camera [6]: how it moves in a
    frame, way and turn; wall [4]: unit normal and inverse distance, None: none is seen.
    """

    masks: Tensor
    sure: Tensor
    kind: tuple[str, ...]
    sphere: Tensor
    center: Tensor
    rotation: Tensor
    half: Tensor
    velocity: Tensor
    spin: Tensor
    fixed: Tensor
    hinged: Tensor
    anchor: Tensor
    hinge: Tensor
    foot: Tensor
    support: Tensor
    density: Tensor
    inverse_depth: Tensor
    ground: Tensor
    fov_deg: float
    light: Tensor
    gravity: float
    camera: Tensor
    wall: Tensor | None


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

    def bodies_of(self, features: Features, picture: Tensor, cell: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """FIELDS [K, n] of bodies with mask probabilities [K, H/2, W/2], but velocity [K, 3] in place of closing; and
        bend [K, 3]: acceleration and error of Ways.

        distance and size come as log(1 / depth) and log(half extent / depth), the geometric mean of three; velocity in
        SPEED_UNIT and shares of the depth: across the view as optical flow tells it, along it as the network does.
        """
        at, place = self._at(features, picture, cell)
        share = F.avg_pool2d(masks[:, None], CELL // MASK_CELL)  # [K, 1, H/4, W/4]
        pooled = [_under(features.quarter, picture, share), _under(features.eighth, picture, F.avg_pool2d(share, 2))]
        near = _under(features.inverse_depth.detach()[:, None], picture, share).clamp_min(1e-3).log()
        area = share.mean((1, 2, 3)).clamp_min(1e-5) * features.centers.shape[2] / features.centers.shape[1]
        focal = features.scene["focal"].detach()[picture]
        angular = 0.5 * area.log()[:, None] - focal - 0.6  # a sphere's radius is .56 of the root of its area
        ray = 1 / focal.exp()  # of a picture height beside the middle, at depth one
        way = ways_of(features.motion, picture, masks, area.sqrt())
        moved = way.speed * ray
        slopes = _slopes(features.motion[:, :2], picture, masks) * (SPEED_UNIT / SPIN_UNIT)
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
        out["bend"] = torch.cat((way.acceleration, way.error), 1)
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
        bodies = self.bodies_of(features, picture, cell, masks)
        rows, columns = (n * CELL for n in features.centers.shape[1:])
        place = cell_places(rows, columns, CELL, cell.device).flatten(0, 1)[cell]
        return answer(features, place, odds, bodies, _sized(masks, height, width))


def answer(features: Features, place: Tensor, sure: Tensor, bodies: dict[str, Tensor], masks: Tensor) -> Perceived:
    """The network's numbers for one picture as a value on the CPU, with cells at places [N, 2]."""
    scene, bodies = ({n: x.cpu() for n, x in part.items()} for part in (features.scene, bodies))
    scene = {name: value[0] for name, value in scene.items()}
    place, sure, masks, inverse_depth = (x.cpu() for x in (place, sure, masks, features.inverse_depth[0]))
    focal = float(scene["focal"].exp())
    depth = (-bodies["distance"]).exp()
    at = place + bodies["offset"]
    center = torch.cat((at / focal * depth, depth), 1)
    kinds = tuple(KINDS[i] for i in bodies["kind"].argmax(1).tolist())
    rotation, half = shapes_of(kinds, bodies)
    hinge = torch.linalg.eigh(symmetric(bodies["hinge"]))[1][..., 2] if len(kinds) else bodies["apex"]
    wall = torch.cat((F.normalize(scene["wall"], dim=0), scene["wall_near"].exp()))
    return Perceived(
        masks=masks,
        sure=sure,
        kind=kinds,
        sphere=bodies["kind"].softmax(1)[:, KINDS.index("sphere")],
        center=center,
        rotation=rotation,
        half=half * depth,
        velocity=bodies["velocity"] * SPEED_UNIT * depth,
        spin=bodies["spin"] * SPIN_UNIT,
        fixed=bodies["fixed"][:, 0].sigmoid(),
        hinged=bodies["hinged"][:, 0].sigmoid(),
        anchor=center + bodies["anchor"] * depth,
        hinge=hinge,
        foot=torch.cat(((place + bodies["foot"]) / focal, torch.ones_like(depth)), 1),
        support=bodies["support"].softmax(1),
        density=bodies["density"][:, 0].exp(),
        inverse_depth=inverse_depth,
        ground=F.normalize(scene["ground"], dim=0),
        fov_deg=float(torch.rad2deg(2 * torch.atan(torch.tensor(0.5 / focal)))),
        light=F.normalize(scene["light"], dim=0),
        gravity=gravity_of(scene, bodies, sure, center),
        camera=scene["camera"] * CAMERA_UNIT,
        wall=wall if float(scene["walled"]) > 0 else None,
    )


def gravity_of(scene: dict[str, Tensor], bodies: dict[str, Tensor], sure: Tensor, center: Tensor) -> float:
    """Gravity in heights of the eye a squared frame: the network's, corrected by the acceleration of bodies that fly.

    Where the network misjudges the ground, it misjudges distances and gravity with it, and a body that was seen to fall
    would fall on at another rate. scene: SCENE_FIELDS [n]; bodies: FIELDS [N, n]; center [N, 3].
    """
    told, ground = float(scene["gravity"].exp()), F.normalize(scene["ground"], dim=0)
    flies = (bodies["support"].softmax(1)[:, 0] > FLIES) & (sure > FLIES)
    flies &= (bodies["hinged"][:, 0] < 0) & (bodies["fixed"][:, 0] < 0)
    depth = center[:, 2:]
    fall = center[:, :2] / depth * ground[2] - ground[:2]
    pull = fall / depth * scene["focal"].exp()  # [N, 2] in the picture, of a gravity of one
    bend, error = (bodies["bend"] * SPEED_UNIT).split((2, 1), 1)
    along = (bend * pull).sum(1) / norm(pull).square()
    across = norm(bend - along[:, None] * pull)
    flies &= (torch.maximum(across / ACROSS, error[:, 0] / BEND_ERROR) < norm(bend)) & (along > told / MOST_OFF)
    flies &= along < told * MOST_OFF
    if not flies.any() or float(scene["camera"].abs().max()) > STANDS / CAMERA_UNIT:
        return told
    seen = float(along[flies].log().median()) - math.log(told)
    agree = math.exp(-((seen / AGREE) ** 2))
    return told * math.exp(seen * (1 - agree / 2))


def shapes_of(kinds: tuple[str, ...], bodies: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Rotations [N, 3, 3] and half extents [N, 3], as shares of the depth, of bodies of these kinds."""
    if not kinds:
        return torch.zeros(0, 3, 3), torch.zeros(0, 3)
    second = symmetric(bodies["second"])
    values, rotation = torch.linalg.eigh(second)
    rotation = rotation * torch.linalg.det(rotation)[:, None, None].sign()
    boxes = torch.tensor([k == "box" for k in kinds])
    if boxes.any():
        rotation[boxes] = rotation_of(bodies["second"][boxes], bodies["fourth"][boxes])
    lathe = torch.tensor([k in ROUND for k in kinds])
    if lathe.any():
        axis = line_of(bodies["fourth"][lathe])
        apex = (axis * bodies["apex"][lathe]).sum(1, keepdim=True)
        axis = torch.where(apex < 0, -axis, axis)
        rotation[lathe] = _towards(axis)
    values = (rotation.transpose(1, 2) @ second @ rotation).diagonal(dim1=1, dim2=2).clamp_min(0.05)
    values[lathe, :2] = values[lathe, :2].mean(1, keepdim=True)
    sphere = torch.tensor([k == "sphere" for k in kinds])
    values[sphere] = 1.0
    return rotation, values / values.log().mean(1, keepdim=True).exp() * bodies["size"].exp()


def _towards(axis: Tensor) -> Tensor:
    """Rotations [N, 3, 3] whose last columns are these unit vectors [N, 3]."""
    up = torch.tensor([0.0, 0.0, 1.0]).expand_as(axis)
    across = torch.linalg.cross(up, axis)
    sin = across.norm(dim=1)
    across = torch.where(sin[:, None] > 1e-6, across, torch.tensor([1.0, 0.0, 0.0]))
    return rotation_about(F.normalize(across, dim=1), torch.atan2(sin, axis[:, 2]))


def cell_places(height: int, width: int, cell: int, device: torch.device) -> Tensor:
    """Middles [H/cell, W/cell, 2] (x, y) of cells, in picture heights from the picture's middle."""
    y = (torch.arange(height // cell, device=device) + 0.5) * cell / height - 0.5
    x = ((torch.arange(width // cell, device=device) + 0.5) * cell - width / 2) / height
    return torch.stack((x.expand(len(y), -1), y[:, None].expand(-1, len(x))), -1)


def peaks(centers: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Cells [N] (flat) of the likeliest centres of log-odds [h, w] that are the largest of 3x3, and probabilities."""
    largest = F.max_pool2d(centers[None, None], 3, 1, 1)[0, 0]
    odds = centers.where(centers == largest, -torch.inf).flatten()
    value, cell = odds.topk(most)
    return cell, value.sigmoid()


def resized(frames: Tensor) -> Tensor:
    """Pictures [K, H, W, 3] at about PIXELS pixels, in sides that are multiples of MULTIPLE."""
    height, width = frames.shape[1:3]
    scale = (PIXELS / (height * width)) ** 0.5
    rows, columns = (max(2, round(n * scale / MULTIPLE)) * MULTIPLE for n in (height, width))
    if (rows, columns) == (height, width):
        return frames
    x = F.interpolate(frames.permute(0, 3, 1, 2), (rows, columns), mode="bilinear", antialias=True)
    return x.permute(0, 2, 3, 1)


def _sized(masks: Tensor, height: int, width: int) -> Tensor:
    if not len(masks):
        return masks.new_zeros(0, height, width)
    return F.interpolate(masks[:, None], (height, width), mode="bilinear")[:, 0]


def _under(maps: Tensor, picture: Tensor, share: Tensor) -> Tensor:
    """Means [K, C] of maps [B, C, h, w] of pictures [K], weighted by shares [K, 1, h, w]."""
    weight = share.flatten(1)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-3)
    return torch.einsum("kcp,kp->kc", maps.flatten(2)[picture].float(), weight).to(maps.dtype)


def mean_speeds(motion: Tensor) -> Tensor:
    """Of ways since each frame before [B, MOTION, h, w], the latest first: the mean speed on each, a frame."""
    frames = torch.arange(1, KNOWN, device=motion.device).repeat_interleave(2)
    return motion / frames[:, None, None]


class Ways(NamedTuple):
    """How K bodies went through the picture, in SPEED_UNIT."""

    speed: Tensor  # [K, 2] at the last frame
    acceleration: Tensor  # [K, 2] a frame, the best constant one
    error: Tensor  # [K, 1]: by how much, at most, the way with that acceleration misses where they were


@torch.no_grad()
def ways_of(speeds: Tensor, picture: Tensor, masks: Tensor, side: Tensor) -> Ways:
    """Ways of bodies with masks [K, h, w] in pictures [K].

    speeds [B, MOTION, h, w]: mean_speeds in SPEED_UNIT; side [K]: of squares as large as the masks, in picture heights.
    """
    weight, pixel = masks.float().flatten(1).topk(min(SAMPLES, masks.shape[1:].numel()))  # [K, P]
    mean = speeds.float().flatten(2)[picture].gather(2, pixel[:, None].expand(-1, MOTION, -1))
    mean = mean.unflatten(1, (KNOWN - 1, 2))  # [K, frames before, 2, P]
    frames = torch.arange(1.0, KNOWN, device=mean.device)[:, None]  # [frames before, 1]
    unit = SPEED_UNIT / side[:, None]
    aside = (frames[..., None] * (mean - _median(mean, weight)[..., None])).norm(dim=2).amax(1)
    found = _median(mean, weight * (-(aside * unit / STRAY).square()).exp())
    steady = (frames**2 * found).sum(1) / (frames**2).sum()
    off = (frames * (found - steady[:, None])).norm(dim=2).amax(1)
    keeps = off * SPEED_UNIT < STEADY + STEADY_SHARE * side
    one, two, three = LATEST_SPEED
    quadratic = one * found[:, 0] + two * found[:, 1] + three * found[:, 2]
    # Least squares of the ways since each frame before: frames * speed - frames^2 / 2 * acceleration.
    of_way = torch.cat((frames, -(frames**2) / 2), 1)
    speed, acceleration = least_squares(of_way.expand(len(found), -1, -1), frames * found).unbind(1)
    fit = of_way @ torch.stack((speed, acceleration), 1)
    error = (frames * found - fit).norm(dim=2).amax(1, keepdim=True)
    return Ways(torch.where(keeps[:, None], steady, quadratic), acceleration, error)


def _median(values: Tensor, weight: Tensor) -> Tensor:
    """Medians [K, ...] of values [K, ..., P], weighted by [K, P]."""
    order = values.sort(-1)
    shape = (len(weight), *(1 for _ in values.shape[1:-1]), weight.shape[1])
    total = weight.view(shape).expand_as(order.indices).gather(-1, order.indices).cumsum(-1)
    place = (total < total[..., -1:] / 2).sum(-1, keepdim=True).clamp_max(values.shape[-1] - 1)
    return order.values.gather(-1, place)[..., 0]


def _slopes(motion: Tensor, picture: Tensor, masks: Tensor) -> Tensor:
    """How motion [B, 2, h, w] changes across masks [K, h, w] of pictures [K]: du/dx, du/dy, dv/dx, dv/dy [K, 4] a
    picture height, by least squares; small masks tell less."""
    height, width = masks.shape[1:]
    x, y = cell_places(height, width, 1, masks.device).flatten(0, 1).unbind(1)  # [P]
    weight = masks.float().flatten(1)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-3)

    def mean(values: Tensor) -> Tensor:  # sums of products, not matrix products: these would be in bfloat16
        return (weight * values).sum(1, keepdim=True)

    x, y = x - mean(x), y - mean(y)  # [K, P]
    own = 1 / height**2  # of a cell: what is smaller has no slope that can be measured
    xx, yy, xy = mean(x * x) + own, mean(y * y) + own, mean(x * y)
    out: list[Tensor] = []
    for moved in motion.float().flatten(2)[picture].unbind(1):  # u, v [K, P]
        with_x, with_y = mean(moved * x), mean(moved * y)
        out += [with_x * yy - with_y * xy, with_y * xx - with_x * xy]
    return torch.cat(out, 1) / (xx * yy - xy * xy)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))
