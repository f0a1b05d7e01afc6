"""Ray-cast renderer for spheres, boxes, a tiled floor and a back wall: exact colour, depth and instance masks.

Every quantity broadcasts over [frames, pixels]: what does not move (a still camera's rays, fixed boxes) keeps a frame
axis of one and is computed once. Pixels on an edge are then sampled again with four rays each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...geometry.camera import world_rays
from ...geometry.camera_numpy import pixel_size
from ...geometry.pixels import pixel_grid
from ..arrays import Bytes
from .scene import BALL_COLORS, BOX_COLORS, FLOOR_COLORS, Scene
from .simulate import Motion, box_rotation

FAR = 1e6  # ray parameter of a ray that hits nothing, metres along the optical axis
SKIN = 1e-3  # metres above a surface from which its shadow ray starts, so that the surface does not shadow itself
FLOOR_ID, WALL_ID, FIRST_BALL_ID, FIRST_BOX_ID = 0, 1, 10, 100  # instance ids; balls and boxes count up from theirs
AMBIENT, SUN = 0.50, 0.60  # light from everywhere, and of a face square to the sun, as factors of the albedo
GLOSS, SHININESS = 0.25, 24  # height and exponent of a ball's Phong highlight
SUBPIXELS = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))  # rotated grid of four rays a pixel
Where = tuple[Tensor, ...]  # index tensors, one an axis, of the rays that hit something


@dataclass(frozen=True)
class Render:
    """Images of T frames."""

    rgb: Tensor  # [T, H, W, 3] float, 0..1
    depth: Tensor  # [T, H, W] metres along the optical axis
    instance: Tensor  # [T, H, W] uint8: FLOOR_ID, WALL_ID, FIRST_BALL_ID + i, FIRST_BOX_ID + i

    def rgb_uint8(self) -> Bytes:
        """The colours as files hold them: [T, H, W, 3] uint8."""
        return (self.rgb * 255).round().byte().numpy()


def _at(where: Where, rays: torch.Size, values: Tensor, dims: int = 1) -> Tensor:
    """Values [N, ...] at so many rays; their last `dims` axes are kept, those before broadcast to the rays'."""
    return values.expand(*rays, *values.shape[values.ndim - dims :])[where]


def _hit_sphere(o: Tensor, d: Tensor, dd: Tensor, center: Tensor, radius: float) -> Tensor:
    """Ray parameter of the entry point, FAR where the sphere is missed or behind; dd is |d|^2."""
    ox, oy, oz = (o - center).unbind(-1)
    dx, dy, dz = d.unbind(-1)
    b = ox * dx + oy * dy + oz * dz
    c = ox * ox + oy * oy + oz * oz - radius * radius
    disc = b * b - dd * c
    t = (-b - disc.clamp_min(0).sqrt()) / dd
    return torch.where((disc > 0) & (t > 1e-4), t, FAR)


def _hit_box(o: Tensor, d: Tensor, center: Tensor, rot: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Ray parameter (FAR: no hit) and outward normal [..., 3] at the entry point; rot [..., 3, 3] is box-to-world."""
    # Few rays pass near a box: the slabs are intersected only inside its bounding sphere.
    away = center - o
    along = (away * d).sum(-1)
    miss2 = (away * away).sum(-1) - along * along / (d * d).sum(-1)  # squared distance of the line from the centre
    rays = miss2.shape
    depth, normal = torch.full(rays, FAR), torch.zeros(*rays, 3)
    where: Where = (miss2 < (half * half).sum()).nonzero(as_tuple=True)
    each = rot.ndim > 2  # a rotation for each ray
    rot = _at(where, rays, rot, 2) if each else rot

    def to_box(x: Tensor) -> Tensor:
        return (x[:, None, :] @ rot)[:, 0] if each else x @ rot

    lo, ld = to_box(-_at(where, rays, away)), to_box(_at(where, rays, d))
    inverse = 1.0 / torch.where(ld.abs() < 1e-9, 1e-9, ld)
    enter, axis = ((-half * ld.sign() - lo) * inverse).max(-1)
    leave = ((half * ld.sign() - lo) * inverse).amin(-1)
    depth[where] = torch.where((enter < leave) & (enter > 1e-4), enter, FAR)
    face = -torch.nn.functional.one_hot(axis, 3).float() * ld.sign()
    normal[where] = (rot @ face[..., None])[..., 0] if each else face @ rot.T
    return depth, normal


def _tiles(x: Tensor, y: Tensor, footprint: Tensor, tile: float) -> Tensor:
    """Checker in -1..1: edges as wide as the pixel's footprint (metres), fading to 0 where a pixel holds a tile."""

    def wave(p: Tensor) -> Tensor:
        triangle = 1 - ((p / tile) % 2 - 1).abs() * 2  # -1..1, slope 2/tile
        return (triangle * tile / (2 * footprint)).clamp(-1, 1) * (1 - footprint / tile).clamp(0, 1)

    return wave(x) * wave(y)


class _Body(NamedTuple):
    """One box as the tracer holds it; center [..., 3] and rot [..., 3, 3] (box to world) broadcast against rays."""

    instance: int
    color: Tensor  # [3]
    half: Tensor  # [3], metres
    center: Tensor
    rot: Tensor


class _Traced(NamedTuple):
    """What rays [...] hit."""

    rgb: Tensor  # [..., 3]
    depth: Tensor
    instance: Tensor  # uint8
    shadow: Tensor  # bool


class _Tracer:
    """Shades rays of one scene. Centres and poses of what moves broadcast against the rays' leading axes."""

    def __init__(self, scene: Scene, height: int, check: Callable[[], None]):
        self.scene, self.check = scene, check
        self.light = torch.tensor(scene.light, dtype=torch.float32)
        self.pixel = pixel_size(scene.fov_deg.min(), height)  # metres at 1 m of depth
        self.fixed = [
            self._body(i, torch.tensor(b.center), torch.tensor(box_rotation(b), dtype=torch.float32))
            for i, b in enumerate(scene.boxes)
            if b.mass is None
        ]

    def _body(self, i: int, center: Tensor, rot: Tensor) -> _Body:
        box = self.scene.boxes[i]
        return _Body(FIRST_BOX_ID + i, torch.tensor(BOX_COLORS[box.color]), torch.tensor(box.half), center, rot)

    def _background(self, o: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Floor, wall and fixed boxes: depth, albedo, normal, instance."""
        floor = self.scene.floor
        color, wall_color = torch.tensor(FLOOR_COLORS[floor.color]), torch.tensor(FLOOR_COLORS[floor.wall_color])
        oy, oz, dy, dz = o[..., 1], o[..., 2], d[..., 1], d[..., 2]
        t_floor = torch.where(dz < -1e-6, -oz / dz.clamp_max(-1e-6), FAR)
        t_wall = torch.where(dy > 1e-6, (floor.wall_y - oy) / dy.clamp_min(1e-6), FAR)
        depth = torch.minimum(t_floor, t_wall)
        on_floor = t_floor < t_wall
        p = o + d * depth[..., None]
        footprint = self.pixel * depth * (1 + 0.6 / dz.abs().clamp_min(0.05))  # a floor pixel is long in depth
        self.check()
        tile = _tiles(p[..., 0], p[..., 1], footprint, floor.tile)
        shade = 1 - floor.contrast * (0.5 + 0.5 * tile)
        wall = wall_color * (0.75 + 0.05 * p[..., 2:3].clamp(0, 5))
        albedo = torch.where(on_floor[..., None], color * shade[..., None], wall)
        normal = torch.where(on_floor[..., None], torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, -1.0, 0.0]))
        instance = torch.where(on_floor, FLOOR_ID, WALL_ID).to(torch.uint8)
        for box in self.fixed:
            self.check()
            t, n = _hit_box(o, d, box.center, box.rot, box.half)
            closer = t < depth
            depth = torch.where(closer, t, depth)
            albedo = torch.where(closer[..., None], box.color, albedo)
            normal = torch.where(closer[..., None], n, normal)
            instance = torch.where(closer, box.instance, instance).to(torch.uint8)
        return depth, albedo, normal, instance

    def _in_shadow(self, p: Tensor, centers: list[Tensor], boxes: list[_Body], skip: int = -1) -> Tensor:
        """Whether the light is hidden from points p [..., 3] (bool); ball number `skip` casts none."""
        one = torch.ones(())
        dark = torch.zeros(p.shape[:-1], dtype=torch.bool)
        for box in self.fixed + boxes:
            self.check()
            dark = dark | (_hit_box(p, self.light, box.center, box.rot, box.half)[0] < FAR)
        for j, ball in enumerate(self.scene.balls):
            self.check()
            if j != skip:
                dark = dark | (_hit_sphere(p, self.light, one, centers[j], ball.radius) < FAR)
        return dark

    def trace(self, o: Tensor, d: Tensor, centers: list[Tensor], poses: dict[int, Tensor]) -> _Traced:
        """Shade rays o, d [..., 3]; centers [..., 3] of the balls, poses [..., 4, 4] of the movable boxes by number."""
        boxes = [self._body(i, pose[..., :3, 3], pose[..., :3, :3]) for i, pose in poses.items()]
        depth, albedo, normal, instance = self._background(o, d)
        self.check()
        shadow = self._in_shadow(o + d * depth[..., None] + SKIN * normal, centers, boxes)
        self.check()
        sun = SUN * (normal * self.light).sum(-1).clamp_min(0) * ~shadow
        rgb = albedo * (AMBIENT + sun)[..., None]
        self.check()
        rays = shadow.shape  # of every frame, wherever something moves
        depth, instance = depth.expand(rays).clone(), instance.expand(rays).clone()
        rgb = rgb.expand(*rays, 3).clone()

        def in_shadow(start: Tensor, where: Where, skip: int = -1) -> Tensor:
            moved = [b._replace(center=_at(where, rays, b.center), rot=_at(where, rays, b.rot, 2)) for b in boxes]
            return self._in_shadow(start, [_at(where, rays, c) for c in centers], moved, skip)

        for box in boxes:
            self.check()
            t, n = _hit_box(o, d, box.center, box.rot, box.half)
            where: Where = (t < depth).nonzero(as_tuple=True)
            if len(where[0]):
                depth[where], n = t.expand(rays)[where], n.expand(*rays, 3)[where]
                self.check()
                dark = in_shadow(_at(where, rays, o) + _at(where, rays, d) * depth[where][:, None] + SKIN * n, where)
                sun = SUN * (n @ self.light).clamp_min(0) * ~dark
                rgb[where], instance[where], shadow[where] = box.color * (AMBIENT + sun)[:, None], box.instance, dark
        self.check()
        dd = (d * d).sum(-1)
        for i, ball in enumerate(self.scene.balls):
            self.check()
            t = _hit_sphere(o, d, dd, centers[i], ball.radius)
            where = (t < depth).nonzero(as_tuple=True)
            if not len(where[0]):
                continue
            self.check()
            depth[where] = t.expand(rays)[where]
            ray = _at(where, rays, d)
            hit = _at(where, rays, o) + ray * depth[where][:, None]
            n = (hit - _at(where, rays, centers[i])) / ball.radius
            lambert = (n @ self.light).clamp_min(0)
            dark = in_shadow(hit + SKIN * n, where, skip=i)
            view = -torch.nn.functional.normalize(ray, dim=-1)
            gloss = ((2 * (n @ self.light)[:, None] * n - self.light) * view).sum(-1).clamp_min(0) ** SHININESS
            lit = (~dark).float()
            sky = 0.75 + 0.25 * n[:, 2]  # the side towards the floor gets less of the ambient light
            color = torch.tensor(BALL_COLORS[ball.color])
            rgb[where] = color * (AMBIENT * sky + SUN * lambert * lit)[:, None] + (GLOSS * gloss * lit)[:, None]
            instance[where] = FIRST_BALL_ID + i
            shadow[where] = dark | (lambert <= 0)
        return _Traced(rgb, depth, instance, shadow)


def render(
    scene: Scene,
    motion: Motion,
    width: int,
    height: int,
    *,
    frames_at_once: int = 21,
    check: Callable[[], None] = lambda: None,
) -> Render:
    """Images of a scene whose motion is known. Sizes in pixels, at least 8. Raises ValueError.

    check: called for each body that rays are sent to, may raise to cancel.
    """
    if min(width, height) < 8:
        raise ValueError(f"size is {width}x{height} pixels; at least 8x8 is needed")
    tracer = _Tracer(scene, height, check)
    c2w, fov = torch.tensor(scene.c2w, dtype=torch.float32), torch.tensor(scene.fov_deg, dtype=torch.float32)
    moving = bool((c2w[1:] != c2w[:1]).any() or (fov[1:] != fov[:1]).any())
    centers = torch.tensor(motion.centers, dtype=torch.float32)  # [T, N, 3]
    poses = torch.tensor(motion.box_poses, dtype=torch.float32)  # [T, M, 4, 4]
    movable = [i for i, b in enumerate(scene.boxes) if b.mass is not None]
    pixels = pixel_grid(width, height).view(-1, 2)
    chunks: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, scene.frames, frames_at_once):
        part = slice(start, start + frames_at_once)
        at, box_at = centers[part], poses[part]
        pose, angle = (c2w[part], fov[part]) if moving else (c2w[:1], fov[:1])
        o, d = world_rays(pose[:, None], angle[:, None], pixels, width, height)
        traced = tracer.trace(o, d, list(at[:, :, None].unbind(1)), {i: box_at[:, i, None] for i in movable})
        count = len(at)
        shape = (count, height, width)
        check()
        rgb = traced.rgb.expand(count, -1, 3).reshape(*shape, 3).clone()
        depth, instance, shadow = (x.expand(count, -1).reshape(shape) for x in traced[1:])
        frame, pixel = _edges(instance.int() * 2 + shadow)
        if len(frame):
            pose, angle = pose.expand(count, 4, 4)[frame], angle.expand(count)[frame]
            balls, boxes = list(at[frame].unbind(1)), {i: box_at[frame, i] for i in movable}
            total = torch.zeros(len(frame), 3)
            for offset in SUBPIXELS:
                o, d = world_rays(pose, angle, pixels[pixel] + torch.tensor(offset), width, height)
                total = total + tracer.trace(o, d, balls, boxes).rgb
            rgb.view(count, -1, 3)[frame, pixel] = total / len(SUBPIXELS)
        chunks.append((rgb.clamp_(0, 1), depth, instance))
    rgb, depth, instance = zip(*chunks, strict=True)
    return Render(torch.cat(rgb), torch.cat(depth), torch.cat(instance))


def _edges(label: Tensor) -> Where:
    """Frame and pixel numbers beside another label (instance, or a shadow's border)."""
    edge = torch.zeros_like(label, dtype=torch.bool)
    across, down = label[:, :, 1:] != label[:, :, :-1], label[:, 1:] != label[:, :-1]
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    return edge.flatten(1).nonzero(as_tuple=True)
