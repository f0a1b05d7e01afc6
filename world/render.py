"""Ray-cast renderer for spheres, boxes, a tiled floor and a back wall: exact colour, depth and instance masks.

Every quantity broadcasts over [frames, pixels]: what does not move (a still camera's rays, boxes) keeps a frame axis of
one and is worked out once. Pixels on an edge are then re-shot with four rays each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .scene import BALL_COLORS, BOX_COLORS, FLOOR_COLORS, Scene

FAR = 1e6
FLOOR_ID, WALL_ID, FIRST_BALL_ID, FIRST_BOX_ID = 0, 1, 10, 100  # instance ids; balls and boxes count up from theirs
AMBIENT, SUN = 0.50, 0.60


@dataclass
class Render:
    rgb: Tensor  # [T, H, W, 3] float, 0..1
    depth: Tensor  # [T, H, W] metres along the optical axis
    instance: Tensor  # [T, H, W] uint8: FLOOR_ID, WALL_ID, FIRST_BALL_ID + i, FIRST_BOX_ID + i

    def rgb_uint8(self) -> np.ndarray:
        """The colours as files hold them: [T, H, W, 3] uint8."""
        return (self.rgb.numpy() * 255).round().astype(np.uint8)


def camera_rays(c2w: Tensor, u: Tensor, v: Tensor, width: int, height: int, fov_deg: float) -> tuple[Tensor, Tensor]:
    """Origins [..., 3] and directions [..., 3] with unit length along the optical axis, at pixel positions u, v.

    c2w [..., 4, 4] (OpenCV axes); u, v in pixels with centres at +0.5; fov_deg is vertical.
    """
    focal = 0.5 * height / np.tan(np.radians(fov_deg) / 2)
    local = torch.stack(((u - width / 2) / focal, (v - height / 2) / focal, torch.ones_like(u)), -1)
    return c2w[..., :3, 3], (c2w[..., :3, :3] @ local[..., None])[..., 0]


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
    """Ray parameter (FAR: no hit) and outward normal [..., 3] at the entry point; rot [3, 3] is box-to-world."""
    shape = torch.broadcast_shapes(o.shape, d.shape)
    depth, normal = torch.full(shape[:-1], FAR), torch.zeros(shape)
    # Few rays pass near a box: the slabs are worked out only inside its bounding sphere.
    away = center - o
    along = (away * d).sum(-1)
    miss2 = (away * away).sum(-1) - along * along / (d * d).sum(-1)  # squared distance of the line from the centre
    where = (miss2 < (half * half).sum()).expand(shape[:-1]).nonzero(as_tuple=True)
    lo, ld = (o.expand(shape)[where] - center) @ rot, d.expand(shape)[where] @ rot
    inverse = 1.0 / torch.where(ld.abs() < 1e-9, 1e-9, ld)
    enter, axis = ((-half * ld.sign() - lo) * inverse).max(-1)
    leave = ((half * ld.sign() - lo) * inverse).amin(-1)
    depth[where] = torch.where((enter < leave) & (enter > 1e-4), enter, FAR)
    normal[where] = -(torch.nn.functional.one_hot(axis, 3).float() * ld.sign()) @ rot.T
    return depth, normal


def _tiles(x: Tensor, y: Tensor, footprint: Tensor, tile: float) -> Tensor:
    """Checker in -1..1, each edge widened to the pixel's footprint in metres, fading to 0 where a pixel holds a tile."""

    def wave(p: Tensor) -> Tensor:
        triangle = 1 - ((p / tile) % 2 - 1).abs() * 2  # -1..1, slope 2/tile
        return (triangle * tile / (2 * footprint)).clamp(-1, 1) * (1 - footprint / tile).clamp(0, 1)

    return wave(x) * wave(y)


class _Tracer:
    """Shades rays of one scene. `centers` of the balls broadcast against the rays' leading axes."""

    def __init__(self, scene: Scene, width: int, height: int):
        self.scene = scene
        self.light = torch.tensor(scene.light, dtype=torch.float32)
        self.pixel = 2 * np.tan(np.radians(scene.fov_deg) / 2) / height  # angular size of a pixel, rad
        self.boxes = []
        for b in scene.boxes:
            a = np.radians(b.yaw_deg)
            rot = torch.tensor([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]], dtype=torch.float32)
            self.boxes.append((torch.tensor(b.center), rot, torch.tensor(b.half), torch.tensor(BOX_COLORS[b.color])))

    def _background(self, o: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Floor, wall and boxes: depth, albedo, normal, instance."""
        floor = self.scene.floor
        color, wall_color = torch.tensor(FLOOR_COLORS[floor.color]), torch.tensor(FLOOR_COLORS[floor.wall_color])
        oy, oz, dy, dz = o[..., 1], o[..., 2], d[..., 1], d[..., 2]
        t_floor = torch.where(dz < -1e-6, -oz / dz.clamp_max(-1e-6), FAR)
        t_wall = torch.where(dy > 1e-6, (floor.wall_y - oy) / dy.clamp_min(1e-6), FAR)
        depth = torch.minimum(t_floor, t_wall)
        on_floor = t_floor < t_wall
        p = o + d * depth[..., None]
        footprint = self.pixel * depth * (1 + 0.6 / dz.abs().clamp_min(0.05))  # a floor pixel is long in depth
        tile = _tiles(p[..., 0], p[..., 1], footprint, floor.tile)
        shade = 1 - floor.contrast * (0.5 + 0.5 * tile)
        wall = wall_color * (0.75 + 0.05 * p[..., 2:3].clamp(0, 5))
        albedo = torch.where(on_floor[..., None], color * shade[..., None], wall)
        normal = torch.where(on_floor[..., None], torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, -1.0, 0.0]))
        instance = torch.where(on_floor, FLOOR_ID, WALL_ID).to(torch.uint8)
        for i, (center, rot, half, box_color) in enumerate(self.boxes):
            t, n = _hit_box(o, d, center, rot, half)
            closer = t < depth
            depth = torch.where(closer, t, depth)
            albedo = torch.where(closer[..., None], box_color, albedo)
            normal = torch.where(closer[..., None], n, normal)
            instance = torch.where(closer, FIRST_BOX_ID + i, instance).to(torch.uint8)
        return depth, albedo, normal, instance

    def trace(self, o: Tensor, d: Tensor, centers: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Colour [..., 3], depth, instance, shadow (bool) for rays o, d [..., 3]."""
        light = self.light
        depth, albedo, normal, instance = self._background(o, d)
        p = o + d * depth[..., None] + 1e-3 * normal
        to_light = (normal * light).sum(-1).clamp_min(0)
        box_shadow = torch.zeros_like(depth, dtype=torch.bool)
        for center, rot, half, _ in self.boxes:
            box_shadow |= _hit_box(p, light, center, rot, half)[0] < FAR
        shadow = box_shadow
        one = torch.ones(())
        for center, ball in zip(centers, self.scene.balls):
            shadow = shadow | (_hit_sphere(p, light, one, center, ball.radius) < FAR)
        sun = SUN * to_light * ~shadow
        rgb = albedo * (AMBIENT + sun)[..., None]

        dd = (d * d).sum(-1)
        for i, (center, ball) in enumerate(zip(centers, self.scene.balls)):
            t = _hit_sphere(o, d, dd, center, ball.radius)
            closer = t < depth  # broadcasts depth to every frame
            where = closer.nonzero(as_tuple=True)
            depth = torch.minimum(t, depth)
            rgb, instance = rgb.expand(*depth.shape, 3), instance.expand(depth.shape)
            if i == 0:
                rgb, instance, shadow = rgb.clone(), instance.clone(), shadow.expand(depth.shape).clone()
            if not len(where[0]):
                continue
            full = depth.shape
            at = lambda x: x.expand(*full, x.shape[-1])[where]  # noqa: E731
            hit = at(o) + at(d) * depth[where][:, None]
            n = (hit - at(center)) / ball.radius
            lambert = (n @ light).clamp_min(0)
            start = hit + 1e-3 * n
            dark = torch.zeros_like(lambert, dtype=torch.bool)
            for box_center, rot, half, _ in self.boxes:
                dark |= _hit_box(start, light, box_center, rot, half)[0] < FAR
            for j, (other, other_ball) in enumerate(zip(centers, self.scene.balls)):
                if j != i:
                    dark |= _hit_sphere(start, light, one, at(other), other_ball.radius) < FAR
            view = -at(d) / at(d).norm(dim=-1, keepdim=True)
            gloss = ((2 * (n @ light)[:, None] * n - light) * view).sum(-1).clamp_min(0) ** 24
            lit = (~dark).float()
            sky = 0.75 + 0.25 * n[:, 2]  # the floor side is darker
            color = torch.tensor(BALL_COLORS[ball.color])
            rgb[where] = color * (AMBIENT * sky + SUN * lambert * lit)[:, None] + (0.25 * gloss * lit)[:, None]
            instance[where] = FIRST_BALL_ID + i
            shadow[where] = dark | (lambert <= 0)
        return rgb, depth, instance, shadow


def render(scene: Scene, centers: np.ndarray, width: int, height: int, *, frames_at_once: int = 21) -> Render:
    """Images of a scene whose ball centres [T, N, 3] are known. Sizes in pixels, at least 8."""
    if min(width, height) < 8:
        raise ValueError(f"size is {width}x{height} pixels; at least 8x8 is needed")
    tracer = _Tracer(scene, width, height)
    c2w = torch.tensor(scene.c2w, dtype=torch.float32)
    moving = bool((c2w[1:] != c2w[:1]).any())
    where = torch.tensor(centers, dtype=torch.float32)  # [T, N, 3]
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    u, v = u.reshape(1, -1), v.reshape(1, -1)
    out = []
    for a in range(0, scene.frames, frames_at_once):
        pose = c2w[a : a + frames_at_once]
        part = where[a : a + frames_at_once]
        count = len(pose)
        pose = pose if moving else pose[:1]
        o, d = camera_rays(pose[:, None], u.expand(len(pose), -1), v.expand(len(pose), -1), width, height, scene.fov_deg)
        balls = [part[:, n, None] for n in range(part.shape[1])]  # [F, 1, 3] each
        rgb, depth, instance, shadow = tracer.trace(o, d, balls)
        shape = (count, height, width)
        rgb = rgb.expand(count, -1, 3).reshape(*shape, 3).clone()
        depth, instance, shadow = (x.expand(count, -1).reshape(shape) for x in (depth, instance, shadow))
        _smooth_edges(tracer, rgb, instance.int() * 2 + shadow, pose, part, u, v)
        out.append((rgb.clamp_(0, 1), depth, instance))
    return Render(*(torch.cat(x) for x in zip(*out)))


def _smooth_edges(tracer: _Tracer, rgb: Tensor, label: Tensor, pose: Tensor, part: Tensor, u: Tensor, v: Tensor) -> None:
    """Replace pixels beside another instance or a shadow's border by the mean of four rays, in place."""
    frames, height, width = label.shape
    edge = torch.zeros_like(label, dtype=torch.bool)
    across, down = label[:, :, 1:] != label[:, :, :-1], label[:, 1:] != label[:, :-1]
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    frame, pixel = edge.reshape(frames, -1).nonzero(as_tuple=True)
    if not len(frame):
        return
    pose = pose.expand(frames, 4, 4)[frame]
    balls = [part[frame, n] for n in range(part.shape[1])]
    total = 0
    for du, dv in ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125)):  # rotated grid
        o, d = camera_rays(pose, u[0, pixel] + du, v[0, pixel] + dv, width, height, tracer.scene.fov_deg)
        total = total + tracer.trace(o, d, balls)[0]
    rgb.view(frames, -1, 3)[frame, pixel] = total / 4
