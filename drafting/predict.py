"""What will happen, foretold from the first pictures of a shot by the model's object dynamics, and drafted for its
transformer: balls go on as they are seen to move, as words and noise decide, or as depth and flow say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Sequence

from ..control.camera_motion import camera_from_depth, camera_from_flow
from ..control.conditioning import Controls
from .endpoint_search import DRAWS, Way, arriving, chances, ends_of, rests
from .draft import Draft
from .perception import Look, PerceptionCache
from .compositing import End, drafted
from .control_tracking import Steering
from .camera_views import FOV_DEG, Views

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.camera import CameraPath
    from ..control.depth import DepthMaps
    from ..control.flow import FlowField

LEAP = 0.5  # radii aside at which a ball that is found again by its silhouette says nothing of its speed


class NoPrediction(Exception):
    """No draft can be predicted; the message says why, and what to do."""


@dataclass(frozen=True, eq=False)
class DraftRequest:
    """What a draft of a video is predicted from, all at the video's size.

    pictures [k,H,W,3]: its first frames, one or at least ObjectDynamics.known; frames: its length. words: token ids of
    the prompt, and noise [1,C,T',h,w] the clip's: they decide what one picture leaves open. controls: fitted to the
    clip, the camera path from the last picture on; end [H,W,3]: its last frame. generated: the picture was made by the
    model, its edges are soft. """

    pictures: Tensor
    frames: int
    words: Sequence[int] = ()
    noise: Tensor | None = None
    controls: Controls = Controls()
    end: Tensor | None = None
    generated: bool = False


def predict_draft(dynamics: Any, request: DraftRequest, cache: PerceptionCache | None = None) -> Draft:
    """The draft of a video. Raises NoPrediction where balls cannot come to the end picture, where the camera moves and
    no path, flow or depth says how, and where depth or flow move more than balls and no camera explains it."""
    r = request
    future = foreseen(
        dynamics, r.pictures, r.frames, r.words, r.noise, *r.controls, r.end, r.generated, cache=cache
    )
    return Draft(*drafted(r.pictures, *future, soft=r.generated), travels=future.camera is not None)


def shows_ball(dynamics: Any, picture: Tensor) -> bool:
    """Whether a generated picture [1,1,H,W,3] clearly shows a ball."""
    return bool(dynamics.find(dynamics.look(picture), clear=True)[1].any())


class Future(NamedTuple):
    tracks: Tensor  # [frames, N, 4] centre u, v and radius in pixels, depth in metres, of balls as each frame's camera sees them
    near: Tensor  # [H/4, W/4] 1 / metres of what else the last picture shows
    light: Tensor  # [3] about where its light comes from, see Sunlight
    camera: CameraPath | None  # from the last picture on; None: it rests
    look: Look  # at the pictures
    end: End | None  # where the camera comes to, if that is told


def foreseen(
    dynamics: Any, pictures: Tensor, frames: int, words: Sequence[int] = (), noise: Tensor | None = None,
    camera: CameraPath | None = None, depth: DepthMaps | None = None, flow: FlowField | None = None,
    end: Tensor | None = None, clear: bool = False, cache: PerceptionCache | None = None,
) -> Future:  # fmt: skip
    """What becomes of the balls of pictures [k,H,W,3]; tracks are zeros in frames before the last `known` pictures.
    camera: the path from the last picture on; without one, flow or depth of the whole picture tell it. Raises
    NoPrediction where the camera moves and nothing says how, and where depth or flow, fitted to the video, move more
    than balls.

    k is 1, and ids of words and the clip's noise decide how fast balls are, or at least dynamics.known. end: a last
    picture [H,W,3], to which balls come where neither depth nor flow lead them; NoPrediction where they do not, or its
    camera is another and no path leads there. clear: what might be a ball is none.
    """
    import torch

    cache = PerceptionCache() if cache is None else cache
    known, (count, height, width) = dynamics.known, pictures.shape[:3]
    single = count < known
    with torch.no_grad():
        look = cache.look(dynamics, pictures if single else pictures[-known:], single, clear)
        seen, start = look.seen, look.start
        balls = start.balls
        if single:
            free = noise[0, :3, 0].flatten(1).T.float().cpu()  # of the known frame, which needs none
            speeds = look.once("speeds", lambda: dynamics.imagine(start, torch.tensor([list(words)])), *words)
            each = torch.arange(balls.place.shape[1]) % len(free)  # the smallest videos have few cells
            balls = dynamics.aimed(balls, speeds.draw(free[None, each]))
        there = balls.radius[0, :, 0] > 0
        balls = balls._make(x[:, there] for x in balls)
        radius, depths, missing = balls.radius[0], start.depth[0, there].exp(), None  # [N, 1]
        last = None if end is None else cache.look(dynamics, end[None], True, False)
        if end is not None and depth is None and flow is None:  # which lead there
            if camera is None and not rests(pictures[-1], end):
                raise NoPrediction(
                    "start and end picture seem to be of different views; wire a camera path that leads from the one to the "
                    "other (VDiT Camera Path), or take an end picture of the same view"
                )
            views = Views(camera, width, height)
            way = Way(dynamics, seen, frames - count, pictures[-1], balls, depths, ends_of(end, last), views)
            drawn = speeds.draw(chances(noise, DRAWS, len(there), 3))[:, there] if single else None
            found = arriving(way, balls, drawn, noise)
            if found is None:
                raise NoPrediction(
                    "balls of the start picture do not come to where the end picture shows them, at any speed that was tried; "
                    "try another seed or length, and see that both show the same balls"
                )
            balls, missing = found
        scale, high, centre = seen.scale, seen.scale[1], torch.tensor([width / 2, height / 2])
        discs = torch.cat((balls.place[0] * scale + centre, radius * high), -1)
        camera = _followed(look, camera, depth, flow, discs, single, count)
        views = Views(camera, width, height)
        steering = None
        if depth is not None or flow is not None:
            steering = Steering(flow, depth, seen.ground[0], views, count - 1, (width, height))
        past = start.past[0, there].transpose(0, 1)[-min(count, known) :]
        begun = torch.cat((past * scale + centre, torch.cat((radius * high, depths), -1).expand(len(past), -1, -1)), -1)
        path = _led(dynamics, seen, balls, depths, steering, range(count, frames), centre)
        place, size = path.split((2, 1), -1)
        if missing is not None:
            place = place + missing * torch.linspace(0, 1, len(place) + 1)[1:, None, None]
        far = depths * radius / size.clamp_min(1e-3)
        behind = slice(1, None)
        place, away = views.seen(place * scale + centre, far, behind)
        size = size * high * far / away.clamp_min(0.1) * views.zoom(behind) * (away > 0.1)
        tracks = torch.cat((begun, torch.cat((place, size, away), -1)))
    tracks = torch.nn.functional.pad(tracks, (0, 0, 0, 0, frames - len(tracks), 0))
    if steering is not None and not steering.only_balls_move(tracks):
        raise NoPrediction(
            f"{'depth' if flow is None else 'optical flow'} tells of more that moves than balls and a camera"
        )
    met = None if end is None or camera is None else _met(end, last)
    return Future(tracks, seen.ground[0], seen.light[0], camera, look, met)


def _followed(
    look: Look, camera: CameraPath | None, depth: DepthMaps | None, flow: FlowField | None, discs: Tensor, single: bool,
    count: int,
) -> CameraPath | None:  # fmt: skip
    """The path of the camera from the last of `count` pictures on: as told, or as flow or depth tell it, which show
    balls at discs [N,3] there. Raises NoPrediction where it moves and nothing does."""
    ground, moves = look.seen.ground[0], not single and bool(look.seen.camera_moves > 0)
    if camera is None and flow is not None:
        camera = camera_from_flow(flow, ground, count - 1, FOV_DEG, discs)
    elif camera is None and depth is not None and moves:
        camera = camera_from_depth(depth, ground, count - 1, FOV_DEG, discs)
    if camera is None and moves:
        raise NoPrediction(
            "the camera of the start pictures moves, and nothing says where to; wire a camera path (VDiT Camera Path), "
            "depth or optical flow"
        )
    return camera


def _led(
    dynamics: Any, seen: Any, balls: Any, depths: Tensor, steering: Steering | None, frames: range, centre: Tensor
) -> Tensor:  # fmt: skip
    """Places and radii [F,N,3] in UNITS of balls, so many metres far at first [N,1], in frames to come: as the dynamics
    move them, led by what is told."""
    import torch

    path, scale, radius = [], seen.scale, balls.radius[0]
    for frame in frames:
        before = balls.place
        balls = dynamics.move(balls, seen.around)
        if steering is not None:
            place, size = balls.place[0] * scale + centre, balls.radius[0]
            far = depths * radius / size.clamp_min(1e-3)
            told, sure = steering.step(frame, before[0] * scale + centre, place, size * scale[1], far)
            if steering.flow is None:
                sure = sure * ((told - place).norm(dim=-1, keepdim=True) < LEAP * size * scale[1])
            now = (told[None] - centre) / scale
            turn = torch.nn.functional.pad(sure * (now - balls.place), (0, 1))
            balls = balls._replace(place=now, speed=balls.speed + turn)
        path.append(torch.cat((balls.place[0], balls.radius[0]), -1))
    return torch.stack(path)


def _met(picture: Tensor, look: Look) -> End:
    """What an end picture [H,W,3] shows, at a look."""
    import torch

    seen, (balls, depth), centre = (
        look.seen,
        (look.start.balls, look.start.depth[0]),
        torch.tensor(picture.shape[1::-1]) / 2,
    )
    tracks = torch.cat((balls.place[0] * seen.scale + centre, balls.radius[0] * seen.scale[1], depth.exp()), -1)
    return End(picture, tracks[tracks[:, 2] > 0], seen.ground[0], seen.light[0], look)
