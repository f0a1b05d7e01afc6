"""Control tracking: balls follow the depth maps and optical flow that a person gives.

Flow moves a ball by the mean over its disc; its silhouette, in depth or in the flow, then corrects the position by
template matching.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..control.camera_motion import still_scene_flow
from ..control.depth import DepthMaps
from ..control.flow import FlowField
from ..geometry.linalg import norm
from ..geometry.pixels import pixel_grid
from ..geometry.pose import fit_scale
from .camera_views import CameraViews
from .layers import OCCLUDED

FLOW_SPREAD = 0.5  # radii from a ball's centre to the four other places where its flow is read
FRONT = 0.89  # radii by which the visible surface of a ball is nearer than its centre, on average
MIN_MOTION = 0.5  # pixels a frame from which a pixel moves
MOVES_WHOLLY = 0.99  # share of the pixels around a place that must move for it to count as moving
NEAR_BALL = 2.5, 4.0  # radii, and pixels more, around a ball whose motion is attributed to it
MIN_CONTRAST = 0.02  # inverse depth (0..1) by which a ball is nearer than anything that was behind it
MIN_RELATIVE_CONTRAST = 0.05  # the same relative to the scene, where the camera moves
MAX_SILHOUETTE = 0.25  # share of a picture above which silhouettes are not those of balls alone
SEARCH_STEPS = 4  # positions tried to each side in template matching
FINE, NORMAL, WIDE = 0.25, 1.5, 4.0  # pixels between these
MIN_MATCH = 0.35  # score (share of the disc that is silhouette, less what lies beside it) of a match
DISTANCE_COST = 0.005  # score that a pixel of distance costs
# Confidence in a match rises from 0 to 1 between these visible shares of a disc: what a box leaves visible of a ball
# would move it off its course.
VISIBLE_SHARE = 0.5, 0.9
FLOW_PRIORITY = 0.8  # weight that a silhouette loses where flow moves the ball: matches jitter by a quarter of a pixel


class Discs(NamedTuple):
    """Balls as a camera sees them, in pixels and metres."""

    position: Tensor  # [N,2]
    radius: Tensor  # [N,1]
    depth: Tensor  # [N,1]


class ControlTracker:
    """Tracks balls through controls. flow, depth: at the video's size (width, height), or None.

    inverse_depth [h,w]: 1 / metres of all but the balls in the last known picture, which is frame number `last`; views:
    from it on.
    """

    def __init__(
        self,
        flow: FlowField | None,
        depth: DepthMaps | None,
        inverse_depth: Tensor,
        views: CameraViews,
        last: int,
        size: tuple[int, int],
    ):
        self.views, self.last, self.size = views, last, size
        self.scene = views.inverse_depths(inverse_depth)  # [1 + F,h,w], or [1,h,w] of a still camera
        self.flow_maps: Tensor | None = None  # [T-1,4,H,W] flow (x, y), valid, and whether the pixel moves
        self.silhouettes: Tensor | None = None  # [F,H,W] of the frames after the last known one
        self._at_rest: Tensor | bool = False  # [N,1] whether flow held balls at rest in the frame before
        self._dense = False  # whether flow is given everywhere, as of the balls' visible surfaces; else it was painted
        if flow is not None:
            moving = norm(flow.flow) > MIN_MOTION
            self.flow_maps = torch.stack((*flow.flow.unbind(-1), flow.valid, moving), 1)
            self._dense = bool(flow.valid.min() > 0.5)
        if depth is not None:
            self.silhouettes = self._nearer_than_scene(depth.inverse)
        elif flow is not None and self._dense:
            self.silhouettes = self._moving_in_scene(flow.flow)

    def _nearer_than_scene(self, inverse: Tensor) -> Tensor:
        """Where inverse depth [T,H,W] of unknown scale is nearer than the scene without balls."""
        later = inverse[self.last + 1 :]
        if self.views.camera is None:
            return (later > inverse.amin(0) + MIN_CONTRAST).float()
        scene = F.interpolate(self.scene[:, None], size=inverse.shape[1:], mode="bilinear")[:, 0]
        scale, offset = fit_scale(inverse[self.last].flatten(), scene[0].flatten())
        scene = F.max_pool2d(scene[1:], 5, 1, 2)  # tolerates edges that are a little off
        return ((later - offset) / scale > scene * (1 + MIN_RELATIVE_CONTRAST)).float()

    def _moving_in_scene(self, flow: Tensor) -> Tensor:
        """Where flow [T-1,H,W,2] is not explained by the camera."""
        flow = flow[self.last :]
        if self.views.camera is not None:
            flow = flow - still_scene_flow(self.views.camera, 1 / self.scene).resized(*self.size).flow
        return (norm(flow[1:]) > MIN_MOTION).float()

    def step(self, frame: int, before: Tensor, after: Tensor, radius: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Correct predicted positions `after` [N,2] in a frame; `before` [N,2] were those of the frame before.

        Returns positions [N,2] and the confidence in the controls [N,1], 0..1. All in the reference camera, in pixels;
        radius [N,1], depth [N,1] in metres.
        """
        confidence, since = after.new_zeros(len(after), 1), frame - 1 - self.last
        if self.flow_maps is not None:
            after, confidence = self._follow_flow(self.flow_maps[frame - 1], since, before, after, radius, depth)
            self._at_rest = (confidence > 0) & (norm(after - before)[:, None] < 3 * MIN_MOTION)
        if self.silhouettes is not None and since < len(self.silhouettes):
            now, z = self.views.to_frame(after, depth, since + 1)
            size = radius * depth / z * self.views.zoom(since + 1)
            then = self.views.to_frame(before, depth, since + 1)[0]
            discs = Discs(now, size, z)
            found, sure = self._match_silhouette(self.silhouettes[since][None], self._scene_at(since + 1), discs, then)
            now = now.lerp(found, sure * (1 - FLOW_PRIORITY * confidence))
            after, confidence = self.views.to_reference(now, z, since + 1), confidence.maximum(sure)
        return after, confidence

    def _scene_at(self, since: int) -> Tensor:
        return self.scene[since if len(self.scene) > 1 else 0]

    def _sample(self, maps: Tensor, at: Tensor) -> Tensor:
        """Values [...,C] of maps [C,h,w] of the whole picture at pixel positions [...,2]; 0 outside."""
        grid = (2 * at / torch.tensor(self.size) - 1).view(1, 1, -1, 2)
        values = F.grid_sample(maps[None], grid, align_corners=False)
        return values[0, :, 0].T.view(*at.shape[:-1], -1)

    def _occluded(self, scene: Tensor, at: Tensor, balls: Discs) -> Tensor:
        """Which of the positions at [N,...,2] of each ball the scene [h,w] or another ball occludes."""
        position, radius, depth = balls
        rows = (-1, *[1] * (at.ndim - 2))
        by_scene = self._sample(scene[None], at)[..., 0] * depth.view(rows) > OCCLUDED
        nearer = depth.T + radius.T * depth.T / self.views.focal[0] < depth  # [N, others]: by more than a radius
        covered = norm(at[..., None, :] - position) < radius[:, 0]
        return by_scene | (covered & nearer.view(*rows, len(position))).any(-1)

    def _follow_flow(
        self, maps: Tensor, since: int, before: Tensor, after: Tensor, radius: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Positions [N,2] after a step of flow, and their confidence [N,1]; maps [4,H,W]: flow, valid, moving."""
        views = self.views
        (then, far), (now, z) = (views.to_frame(p, depth, since + i) for i, p in enumerate((before, after)))
        offsets = FLOW_SPREAD * torch.tensor([(0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)])
        at = then[:, None] + offsets * radius[:, None]
        flow, weight, moving = torch.split(self._sample(maps, at), [2, 1, 1], -1)  # [N,5,.]
        weight = weight * ~self._occluded(self._scene_at(since), at, Discs(then, radius, far))[..., None]
        # Where a ball moves, a place at rest belongs to an occluder, and at an occluder's edge the flow is of neither.
        moving = weight * (moving > MOVES_WHOLLY)
        resting = (norm(after - before)[:, None] < 2 * MIN_MOTION) | self._at_rest
        weight = torch.where((moving.sum(1, keepdim=True) > 0) | ~resting[:, None], moving, weight)
        motion = (flow * weight).sum(1) / weight.sum(1).clamp_min(1e-3)
        if self._dense:  # flow is of the ball's front, which moves farther in the picture than its centre
            front = 1 - FRONT * radius * depth / (views.focal[0] * far.clamp_min(0.1))
            infinity = torch.full_like(z, 1e4)  # moves as the camera rotates, at any depth
            rotation = views.to_frame(views.to_reference(then, infinity, since), infinity, since + 1)[0] - then
            motion = front * motion + (1 - front) * rotation
        confidence = (weight.sum(1) / 2).clamp_max(1)
        return views.to_reference(now.lerp(then + motion, confidence), z, since + 1), confidence

    def _match_silhouette(self, silhouette: Tensor, scene: Tensor, balls: Discs, then: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [N,2] where balls match a silhouette [1,H,W] best, and their confidence [N,1].

        The search is around the predicted positions; where nothing matches, it widens around these, and around `then`
        [N,2], the positions in the frame before.
        """
        position, radius, _ = balls
        row = torch.arange(-float(SEARCH_STEPS), SEARCH_STEPS + 1.0)
        steps = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1).flatten(0, 1)
        row = torch.linspace(-1, 1, 13)
        template = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1).flatten(0, 1) * 1.3  # radii, with a rim
        disc = norm(template) < 1
        weight = torch.where(disc, 1.0, -0.5)

        def best(around: Tensor, spacing: float) -> tuple[Tensor, Tensor, Tensor]:
            """Positions [N,2], scores and visible shares [N,1]."""
            centres = around[:, None] + steps * spacing  # [N,81,2]
            at = centres[:, :, None] + template * radius[:, None, None]
            inside = self._sample(silhouette, at)[..., 0]
            visible = ~self._occluded(scene, at, balls)
            score = (weight * visible * torch.where(disc, 2 * inside - 1, inside)).sum(-1) / disc.sum()
            score = score - DISTANCE_COST * norm(centres - position[:, None])
            score, which = score.max(1, keepdim=True)
            share = (visible & disc).sum(-1).gather(1, which) / disc.sum()
            return centres.gather(1, which[..., None].expand(-1, -1, 2))[:, 0], score, share

        found, score, _ = best(position, NORMAL)
        for around in (position, then):
            if (score > MIN_MATCH).all():
                break
            other, other_score, _ = best(around, WIDE)
            better = (score <= MIN_MATCH) & (other_score >= MIN_MATCH)
            found, score = torch.where(better, other, found), torch.where(better, other_score, score)
        found, _, share = best(found, FINE)
        confidence = ((share - VISIBLE_SHARE[0]) / (VISIBLE_SHARE[1] - VISIBLE_SHARE[0])).clamp(0, 1)
        return found, (score > MIN_MATCH) * confidence

    def only_balls_move(self, tracks: Tensor) -> bool:
        """Whether the motion that the controls show is that of balls at tracks [T,N,4], or close to them."""
        if self.silhouettes is not None and self.silhouettes.mean() > MAX_SILHOUETTE:
            return False
        if self.flow_maps is None or self.views.camera is not None:
            return True
        valid, moving = self.flow_maps[self.last :, 2:].unbind(1)
        moving = (moving > 0) & (valid > 0.5)
        u, v = pixel_grid(*self.size).unbind(-1)
        x, y, radius, _ = tracks[self.last : -1, :, :, None, None].unbind(2)
        close = ((u - x).square() + (v - y).square()).sqrt() < NEAR_BALL[0] * radius + NEAR_BALL[1]
        return bool((moving & close.any(1)).sum() >= 0.5 * moving.sum())
