"""The camera path that optical flow or depth maps tell of a scene whose distances are known in one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .camera import FOV_DEG, CameraPath, about, axis_angle, focal_of, fov_of
from .depth import DepthMaps
from .flow import FlowField, grid, look_up

ROUNDS = 4  # of Gauss-Newton a frame; the last pose is near
LEAST_SHIFT = 1.5  # pixels by which half of a scene must have moved in the end; else the camera rests
LEAST_POINTS = 40  # that must still be in the picture
MOST_POINTS = 400  # that are followed
FITS = 1.5  # pixels that half of them may be off
DEEP = 0.05  # share that half of them may be off in distance
CLOSE = 0.015  # share that is little
EDGE = 0.1  # share by which neighbours may differ in distance
SOFT = 0.015  # picture heights over which depth maps are blurred
LEAST_NEAR = 1e-3  # 1 / metres of a depth map
ROWS = 32  # of points in a depth map
ZOOMS = 0.05  # how firmly the focal length stays what it is: a camera that goes nearer sees almost alike
RESTS = 0.01  # and all else, where distances do not tell: along a wall they stay what they are
DEGREE = 3  # of a path in time that depth tells

Heed = Callable[[Tensor], Tensor]
Rows = tuple[Tensor, Tensor]  # what is off [N,k], and how a pose's seven numbers change it [N,k,7]


def path_of_flow(
    flow: FlowField, near: Tensor, first: int, fov_deg: float, apart: Tensor | None = None
) -> CameraPath | None:  # fmt: skip
    """The path from frame `first` on, at identity there; None where the scene rests, or no camera explains the flow.

    near [h,w]: 1 / metres of frame `first`, which may be smaller than the flow; apart [N,3]: discs (x, y and radius in
    pixels) that move by themselves. Points are followed along the flow until it is not told or leads out of the picture; each
    frame's camera is fitted to where they are.
    """
    height, width = flow.flow.shape[1:3]
    at, space, focal, centre = _points(near, width, height, fov_deg, apart)
    if len(at) < LEAST_POINTS:
        return None
    there, ways, known = at, [], torch.ones(len(at), dtype=torch.bool)
    for step, told in zip(flow.flow[first:], flow.valid[first:]):
        move = look_up(torch.cat((step, told[..., None]), -1), there)
        there = there + move[:, :2]
        known = known & (move[:, 2] > 0.5) & (there > 0).all(-1) & (there < 2 * centre).all(-1)
        ways.append((there, known))
    if not known.any() or (there - at)[known].norm(dim=-1).median() < LEAST_SHIFT:
        return None

    def seen(there: Tensor, known: Tensor) -> Callable[[Tensor, float], Rows]:
        points, places = space[known], ((there - centre) / focal)[known].double()

        def rows(pose: Tensor, scale: float) -> Rows:
            flat, _, turn = _projected(points, pose, scale)
            return places - flat, turn

        return rows

    ready = (seen(*way) if way[1].sum() >= LEAST_POINTS else None for way in ways)
    return _path(ready, FITS / focal, fov_deg, torch.tensor([1e-9] * 6 + [ZOOMS]), _huber)


def path_of_depth(
    depth: DepthMaps, near: Tensor, first: int, fov_deg: float, apart: Tensor | None = None
) -> CameraPath | None:  # fmt: skip
    """As path_of_flow, of maps that need not be in metres: frame `first` tells which these are.

    Maps are blurred: beside an edge they then say how far away it is, which tells much of what the distances of walls and
    floors leave open. In the rest frames would each go their own way: a camera is taken to go evenly, each number of its pose a
    polynomial in time.
    """
    height, width = depth.inverse.shape[1:]
    at, space, focal, centre = _points(near, width, height, fov_deg, apart)
    if len(at) < LEAST_POINTS:
        return None
    a, b = scale_of(look_up(depth.inverse[first][..., None], at)[:, 0], 1 / space[:, 2].float())
    told = ((depth.inverse[first:] - b) / a).clamp_min(LEAST_NEAR)  # 1 / metres
    cell = max(1, height // ROWS)
    middle = slice(cell // 2, None, cell)
    at, space, focal, centre = _points(told[0, middle, middle], width, height, fov_deg, apart, edge=torch.inf)
    soft = _soft(told, SOFT * height)
    even = look_up(soft[0][..., None], at)[:, 0].double() * space[:, 2]  # 1, but beside edges
    maps = torch.stack((soft, *torch.gradient(soft, dim=(2, 1))), -1)[1:]

    def seen(told: Tensor) -> Callable[[Tensor, float], Rows]:
        def rows(pose: Tensor, scale: float) -> Rows:
            flat, local, turn = _projected(space, pose, scale)
            places = (flat * focal).float() + centre
            inside = ((places > 2) & (places < 2 * centre - 2)).all(-1)
            x, y, z = local.unbind(-1)
            value, right, down = look_up(told, places).double().unbind(-1)
            zero = torch.zeros_like(x)
            away = torch.stack((zero, zero, torch.ones_like(x), y, -x, zero, zero), -1)
            change = (
                z[:, None] * focal * (right[:, None] * turn[:, 0] + down[:, None] * turn[:, 1]) + value[:, None] * away
            )
            return ((even - value * z)[:, None])[inside], change[:, None][inside]

        return rows

    path = _path(map(seen, maps), DEEP, fov_deg, torch.tensor([RESTS] * 6 + [1.0]), _geman)
    return None if path is None else _even(path)


def _soft(maps: Tensor, sigma: float) -> Tensor:
    """Maps [T,h,w], blurred: beside an edge they then tell how far it is."""
    reach = int(2.5 * sigma) + 1
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    pad, conv = torch.nn.functional.pad, torch.nn.functional.conv2d
    rows = conv(pad(maps[:, None], (reach, reach, reach, reach), mode="replicate"), kernel)
    return conv(rows, kernel.transpose(2, 3))[:, 0]


def _even(path: CameraPath) -> CameraPath:
    """The path nearest to one whose numbers are polynomials in time."""
    fov, (axis, angle) = path.fov_deg, axis_angle(path.c2w[:, :3, :3])
    numbers = torch.cat((path.c2w[:, :3, 3], axis * angle[:, None], (fov - fov[0])[:, None]), 1)
    time = torch.linspace(0, 1, path.frames, dtype=torch.float64)
    powers = torch.stack([time**k for k in range(1, DEGREE + 1)], 1)
    numbers = powers @ torch.linalg.lstsq(powers, numbers).solution
    return CameraPath(_poses(numbers[:, :6]), (fov[0] + numbers[:, 6]).clamp(*FOV_DEG))


def _poses(numbers: Tensor) -> Tensor:
    """Matrices [N,4,4] of places and turns (axes times angles) [N,6]."""
    place, turn = numbers.split(3, 1)
    angle, poses = turn.norm(dim=-1), torch.eye(4, dtype=numbers.dtype).repeat(len(numbers), 1, 1)
    poses[:, :3, :3], poses[:, :3, 3] = about(turn / angle.clamp_min(1e-12)[:, None], angle), place
    return poses


def _huber(off: Tensor) -> Tensor:
    """Weights [N] of what is so far off [N]."""
    return (1.5 * off.median().clamp_min(1e-4) / off.clamp_min(1e-9)).clamp_max(1)


def _geman(off: Tensor) -> Tensor:
    """Geman and McClure's weights [N]. Floors are most of a picture and tell least: Huber's, which go by what most are off,
    heed little else, and orbits stayed unseen."""
    return (1 + (off / CLOSE).square()).square().reciprocal()


def scale_of(told: Tensor, true: Tensor) -> tuple[float, float]:
    """a and b with which a * true + b is what is told [N], but for some."""
    told, true = told.double(), true.double()
    rows, weight = torch.stack((true, torch.ones_like(true)), 1), torch.ones_like(true)
    for _ in range(8):
        found = torch.linalg.lstsq(rows * weight[:, None], told * weight).solution
        weight = _huber((rows @ found - told).abs()).sqrt()
    return float(found[0].clamp_min(1e-3)), float(found[1])


def _path(ready: Iterator, fits: float, fov_deg: float, rests: Tensor, heed: Heed) -> CameraPath | None:
    """A path of one pose for each frame's rows; None where one has none, or half of it is more off than `fits`."""
    pose, scale = torch.eye(4, dtype=torch.float64), 1.0
    poses, scales = [pose], [scale]
    for rows in ready:
        if rows is None:
            return None
        pose, scale, off = _fitted(rows, pose, scale, rests, heed)
        if not off < fits:
            return None
        poses.append(pose)
        scales.append(scale)
    focal = focal_of(torch.tensor(fov_deg)) * torch.tensor(scales)
    return CameraPath(torch.linalg.inv(torch.stack(poses)), fov_of(focal))


def _points(
    near: Tensor, width: int, height: int, fov_deg: float, apart: Tensor | None, edge: float = EDGE
) -> tuple[Tensor, Tensor, float, Tensor]:  # fmt: skip
    """Places [N,2] in pixels and in space [N,3] of what is not in a disc nor beside an edge, where neighbours differ by a share
    of more than `edge`; focal length and centre in pixels."""
    h, w = near.shape
    at = grid(w, h) * torch.tensor([width / w, height / h])
    pool = torch.nn.functional.max_pool2d
    largest, least = pool(near[None], 3, 1, 1)[0], -pool(-near[None], 3, 1, 1)[0]
    good = largest < least * (1 + 2 * edge)
    for x, y, radius in [] if apart is None else apart.tolist():
        good &= (at - torch.tensor([x, y])).norm(dim=-1) > 1.3 * radius + 1
    some = slice(None, None, max(1, int(good.sum()) // MOST_POINTS))
    at, near = at[good][some], near[good][some]
    focal, centre = float(focal_of(torch.tensor(fov_deg))) * height / 2, torch.tensor([width / 2, height / 2])
    return at, torch.cat(((at - centre) / focal, torch.ones(len(at), 1)), -1).double() / near[:, None], focal, centre


def _projected(space: Tensor, pose: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Where a camera (world to camera [4,4], zoom) sees points [N,3]: in focal lengths [N,2], in its space [N,3], and how
    the former changes [N,2,7] with a small step (x y z), turn (x y z) and zoom."""
    local = space @ pose[:3, :3].T + pose[:3, 3]
    z = local[:, 2].clamp_min(0.1)
    x, y, near, zero = local[:, 0] / z, local[:, 1] / z, 1 / z, torch.zeros_like(z)
    right = torch.stack((near, zero, -x * near, -x * y, 1 + x * x, -y, x), -1)
    down = torch.stack((zero, near, -y * near, -1 - y * y, x * y, x, y), -1)
    return scale * torch.stack((x, y), -1), local, scale * torch.stack((right, down), 1)


def _fitted(
    rows: Callable[[Tensor, float], Rows], pose: Tensor, scale: float, rests: Tensor, heed: Heed
) -> tuple[Tensor, float, float]:  # fmt: skip
    """The camera at which little is off, from a guess, by Gauss-Newton with weights; and the median of what is.
    rests [7]: how firmly each number stays as guessed, and the zoom at 1."""
    first = rests.new_zeros(7).double()
    for _ in range(ROUNDS):
        rest, change = rows(pose, scale)
        if len(rest) < LEAST_POINTS:
            return pose, scale, torch.inf
        off = rest.norm(dim=-1)
        weight = heed(off)[:, None, None]
        change, rest = change.flatten(0, 1), (weight[..., 0] * rest).flatten()
        square = (
            weight.expand(-1, len(change) // len(off), -1).flatten(0, 1) * change
        ).T @ change + rests.double().diag()
        first[6] = scale - 1
        found = torch.linalg.solve(square, change.T @ rest - rests.double() * first)
        first[:6] += found[:6]
        pose, scale = _poses(found[None, :6])[0] @ pose, scale * float(1 + found[6].clamp(-0.5, 0.5))
    return pose, scale, float(off.median())
