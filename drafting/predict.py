"""Prediction of a draft from the first pictures of a shot, by the model's object dynamics.

Balls go on as they move in the pictures, as the prompt and noise decide, or as depth and optical flow show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..control.camera import CameraPath
from ..control.camera_motion import camera_from_depth, camera_from_flow
from ..control.conditioning import Controls
from ..geometry.linalg import norm
from .camera_views import DEFAULT_FOV_DEG, CameraViews
from .compositing import Composition, composite
from .control_tracking import ControlTracker
from .draft import Draft
from .endpoint_search import SAMPLES, Endpoints, cycled, same_view, search_velocities, targets_in
from .perception import PerceivedShot, PerceptionCache

if TYPE_CHECKING:
    from ..model.object_dynamics import Balls, ObjectDynamics, Perception

# Radii by which a silhouette may move a ball for its velocity to change, too: a ball that reappears farther away was
# mispredicted before, and the distance says nothing of its velocity.
MAX_CORRECTION = 0.5


class NoPrediction(Exception):  # noqa: N818  (an answer, not a failure)
    """No draft can be predicted; the message says why, and what to do."""


@dataclass(frozen=True, eq=False)
class DraftRequest:
    """What a draft of a video is predicted from, all at the video's size.

    pictures [k,H,W,3]: its first frames, one or at least ObjectDynamics.known; frames: its length. words (token ids of
    the prompt) and noise [1,C,T',h,w] (the clip's) decide what one picture leaves open; noise also seeds the search for
    an end picture. controls: fitted to the clip, the camera path from the last picture on; end [H,W,3]: its last frame.
    generated: the model made the picture, so its edges are soft.
    """

    pictures: Tensor
    frames: int
    words: Sequence[int] = ()
    noise: Tensor | None = None
    controls: Controls = Controls()
    end: Tensor | None = None
    generated: bool = False

    def require_noise(self) -> Tensor:
        """The noise. Raises ValueError where there is none."""
        if self.noise is None:
            raise ValueError("a draft from one picture, or to an end picture, needs the clip's noise")
        return self.noise


def predict_draft(
    dynamics: ObjectDynamics,
    request: DraftRequest,
    cache: PerceptionCache | None = None,
    check: Callable[[], None] = lambda: None,
) -> Draft:
    """Draft of a video. check: called between the steps of the drawing, may raise to cancel.

    Raises NoPrediction where balls cannot reach the end picture, where the camera moves and no path, flow or depth says
    how, and where depth or flow move more than balls and no camera explains it.
    """
    return composite(predict_motion(dynamics, request, PerceptionCache() if cache is None else cache), check)


def shows_ball(dynamics: ObjectDynamics, picture: Tensor) -> bool:
    """Whether a generated picture [1,1,H,W,3] clearly shows a ball."""
    return bool(dynamics.detect(dynamics.perceive(picture), clear=True)[1].any())


@torch.no_grad()
def predict_motion(dynamics: ObjectDynamics, request: DraftRequest, cache: PerceptionCache) -> Composition:
    """What the draft of a request shows. Its tracks are zero before the last `known` pictures.

    Raises NoPrediction, see predict_draft.
    """
    pictures, (camera, depth, flow) = request.pictures, request.controls
    known, (count, height, width) = dynamics.known, pictures.shape[:3]
    single = count < known
    shot = cache.perceive(dynamics, pictures if single else pictures[-known:], single, request.generated)
    perception, start = shot.perception, shot.start
    balls, present = start.balls, start.balls.radius[0, :, 0] > 0
    candidates = None
    if single:
        ids = torch.tensor([list(request.words)])
        velocities = shot.memo.get("velocities", lambda: dynamics.velocities(start, ids), *request.words)
        noise = request.require_noise()
        cells = noise[0, :3, 0].flatten(1).T.float().cpu()  # of the known frame, whose latent needs no noise
        each = torch.arange(len(present)) % len(cells)  # the smallest videos have fewer cells than balls
        balls = dynamics.with_velocity(balls, velocities.sample(cells[None, each]))
        if request.end is not None:
            candidates = velocities.sample(cycled(noise, SAMPLES, len(present), 3))[:, present]
    balls = balls._make(x[:, present] for x in balls)
    radius, depths, missing = balls.radius[0], start.log_depth[0, present].exp(), None  # [N, 1]
    end = None
    if request.end is not None:
        end_shot = cache.perceive(dynamics, request.end[None], True, False)
        end = _end_composition(request.end, end_shot)
        if depth is None and flow is None:  # which would lead to it
            if camera is None and not same_view(pictures[-1], request.end):
                raise NoPrediction(
                    "start and end picture seem to be of different views; wire a camera path that leads from the one "
                    "to the other (VDiT Camera Path), or take an end picture of the same view"
                )
            targets, views = targets_in(request.end, end_shot), CameraViews(camera, width, height)
            ahead, noise = request.frames - count, request.require_noise()
            search = Endpoints(dynamics, perception, ahead, pictures[-1], balls, depths, targets, views)
            found = search_velocities(search, candidates, noise)
            if found is None:
                raise NoPrediction(
                    "balls of the start picture do not come to where the end picture shows them, at any speed that was "
                    "tried; try another seed or length, and see that both show the same balls"
                )
            balls, missing = found
    scale, centre = perception.pixels_per_unit, torch.tensor([width / 2, height / 2])
    pixel_radius = radius * scale[1]
    discs = torch.cat((balls.position[0] * scale + centre, pixel_radius), -1)
    camera = _camera_path(perception, request.controls, discs, single, count - 1)
    views, tracker = CameraViews(camera, width, height), None
    if depth is not None or flow is not None:
        tracker = ControlTracker(flow, depth, perception.inverse_depth[0], views, count - 1, (width, height))
    path = _rollout(dynamics, perception, balls, depths, tracker, range(count, request.frames), centre)
    position, size = path[..., :2], path[..., 2:]
    if missing is not None:
        position = position + missing * torch.linspace(0, 1, len(position) + 1)[1:, None, None]
    depth_then = depths * radius / size.clamp_min(1e-3)
    later = slice(1, None)
    position, away = views.to_frame(position * scale + centre, depth_then, later)
    size = size * scale[1] * depth_then / away.clamp_min(0.1) * views.zoom(later) * (away > 0.1)
    past = start.positions[0, present].transpose(0, 1)[-min(count, known) :] * scale + centre
    past = torch.cat((past, torch.cat((pixel_radius, depths), -1).expand(len(past), -1, -1)), -1)
    tracks = torch.cat((past, torch.cat((position, size, away), -1)))
    tracks = F.pad(tracks, (0, 0, 0, 0, request.frames - len(tracks), 0))
    if tracker is not None and not tracker.only_balls_move(tracks):
        name = "depth" if flow is None else "optical flow"
        raise NoPrediction(f"{name} shows more motion than that of balls and a camera")
    return Composition(
        pictures, tracks, perception.inverse_depth[0], perception.light[0], camera,
        None if camera is None else end, request.generated, shot.memo,
    )  # fmt: skip


def _camera_path(
    perception: Perception, controls: Controls, discs: Tensor, single: bool, last: int
) -> CameraPath | None:
    """The camera path from the last picture, number `last`, on: given, or fitted to flow or depth; None: it is still.

    discs [N,3]: balls in that picture. Raises NoPrediction where the camera moves and nothing says how.
    """
    (camera, depth, flow), inverse_depth = controls, perception.inverse_depth[0]
    moves = not single and bool(perception.camera_moves > 0)
    if camera is None and flow is not None:
        camera = camera_from_flow(flow, inverse_depth, last, DEFAULT_FOV_DEG, discs)
    elif camera is None and depth is not None and moves:
        camera = camera_from_depth(depth, inverse_depth, last, DEFAULT_FOV_DEG, discs)
    if camera is None and moves:
        raise NoPrediction(
            "the camera of the start pictures moves, and nothing says where to; wire a camera path (VDiT Camera Path), "
            "depth or optical flow"
        )
    return camera


def _rollout(
    dynamics: ObjectDynamics,
    perception: Perception,
    balls: Balls,
    depths: Tensor,
    tracker: ControlTracker | None,
    frames: range,
    centre: Tensor,
) -> Tensor:
    """Positions and radii [F,N,3] in UNITS of balls [1,N] in the frames to come, corrected by the tracker.

    depths [N,1]: metres, at first; centre [2]: of the picture, in pixels.
    """
    path: list[Tensor] = []
    scale, radius = perception.pixels_per_unit, balls.radius[0]
    for frame in frames:
        before = balls.position
        balls = dynamics.advance(balls, perception.scene_features)
        if tracker is not None:
            position, size = balls.position[0] * scale + centre, balls.radius[0]
            depth = depths * radius / size.clamp_min(1e-3)
            tracked, confidence = tracker.step(frame, before[0] * scale + centre, position, size * scale[1], depth)
            if tracker.flow_maps is None:
                correction = norm(tracked - position)[:, None]
                confidence = confidence * (correction < MAX_CORRECTION * size * scale[1])
            corrected = (tracked[None] - centre) / scale
            change = F.pad(confidence * (corrected - balls.position), (0, 1))
            balls = balls._replace(position=corrected, velocity=balls.velocity + change)
        path.append(torch.cat((balls.position[0], balls.radius[0]), -1))
    return torch.stack(path)


def _end_composition(picture: Tensor, shot: PerceivedShot) -> Composition:
    """An end picture [H,W,3] alone, with the balls that were perceived in it."""
    perception, balls, centre = shot.perception, shot.start.balls, torch.tensor(picture.shape[1::-1]) / 2
    scale, depth = perception.pixels_per_unit, shot.start.log_depth.exp()
    tracks = torch.cat((balls.position * scale + centre, balls.radius * scale[1], depth), -1)  # [1,N,4]
    return Composition(picture[None], tracks, perception.inverse_depth[0], perception.light[0], memo=shot.memo)
