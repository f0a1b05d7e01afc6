"""Prediction of a draft by simulation: bodies of any shape, perceived in five pictures, become a scene that moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..drafting import Draft, PerceptionCache
from ..drafting.draft import HELD, drawn
from ..drafting.perception import Memo
from ..geometry.level import foot_of
from ..geometry.linalg import norm
from ..world.families.scene import FRICTION, GRAVITY, RESTITUTION

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.camera import CameraPath
    from ..lift.rod import Rod
    from ..model.perceived import Perceived
    from ..model.perception import BodyPerception
    from ..world.arrays import Bools, Bytes, Floats
    from ..world.drawing.film import Looks
    from ..world.scene import Scene
    from .values import ClipSpec

FPS = 8.0  # of videos that have no clock
SURE = 0.5  # probability that it is there from which a body is asked whether it moves,
BALL = 0.5  # and up to which it may be a ball: of balls in 320 clips one is taken for another body
MOVING = 0.03  # of its size a frame, from which on a body moves
FIXED = 0.5  # probability from which it never will
MAY_HANG = 0.02  # probability of a hinge from which on a rod is looked for, which then makes sure of it


@dataclass(frozen=True, eq=False)
class BodyShot:
    """What pictures show of bodies: a scene, None where none is to be moved; drafts that came of it."""

    scene: Scene | None
    memo: Memo


def draft_of_bodies(
    perception: BodyPerception,
    pictures: Tensor,
    clip: ClipSpec,
    camera: CameraPath | None = None,
    cache: PerceptionCache | None = None,
    check: Callable[[], None] = lambda: None,
    *,
    balls: bool = False,
) -> Draft | None:
    """The draft of a clip that begins with pictures [k, H, W, 3] of its size, at least KNOWN; None where nothing
    moves, nothing but balls can, or the camera of the pictures moves.

    balls: they are moved, too, where there is nothing else, and bounce and grip as in their families; left out, their
    own dynamics are to be asked. camera: the path from the last picture on, in metres of the simulated world; None: it
    is still. check: may raise to cancel. Raises SceneError where no scene comes of it.
    """
    fps = clip.fps or FPS
    cache = PerceptionCache() if cache is None else cache  # an empty one is false
    seen = lambda: _seen(perception, pictures, fps, balls, check)  # noqa: E731
    shot = cache.recall(perception, pictures, seen, fps, balls)
    scene = shot.scene
    if scene is None:
        return None
    path = [] if camera is None else [camera.c2w, camera.fov_deg]
    drawn_now = lambda: _drawn(scene, pictures, clip.frames, fps, camera, check)  # noqa: E731
    return shot.memo.get("draft", drawn_now, clip.frames, *path, pictures=clip.frames)


def _seen(perception: BodyPerception, pictures: Tensor, fps: float, balls: bool, check: Callable[[], None]) -> BodyShot:
    """What the last KNOWN of the pictures show."""
    import torch

    from ..control.flow_from_video import camera_moves, motion_before
    from ..lift.before import uncovered
    from ..lift.pendulum import hung
    from ..lift.perceived import STUFF, scene_from_perception
    from ..lift.seen import MASKED, looks_like
    from ..model.cells import resized
    from ..model.ways import KNOWN

    memo = Memo(pictures[0, ..., 0].numel())
    latest, (height, width) = pictures[-KNOWN:], pictures.shape[1:3]
    small = resized(latest)
    motion = motion_before(small, KNOWN)
    seen = perception.perceive(latest, motion)
    if not is_moved(seen, balls) or camera_moves(small[-1], motion, seen.covered):
        return BodyShot(None, memo)
    check()
    images = (latest * 255).round().to(torch.uint8).numpy()
    covered = seen.covered.numpy() > MASKED
    seen = _landing(seen, images, covered)
    check()
    only_balls = all(kind == "sphere" for kind, fixed in zip(seen.kind, seen.fixed, strict=True) if fixed < FIXED)
    eye_m = GRAVITY / (seen.gravity * fps**2)
    material = replace(STUFF, restitution=RESTITUTION, friction=FRICTION) if only_balls else STUFF
    rods = _rods(seen, images, check)
    hinged = seen.hinged.index_fill(0, torch.tensor(list(rods), dtype=torch.long), 1.0)
    seen = replace(seen, hinged=hinged)
    scene = scene_from_perception(seen, fps=fps, width=width, height=height, eye_m=eye_m, material=material)
    masks = seen.masks.numpy()
    for rod in rods.values():
        for back in range(len(images)):
            covered[-1 - back] |= rod.mask(height, width, back)
    before = uncovered(images, covered)
    return BodyShot(looks_like(hung(scene, rods, fps), images[-1], masks, check, before, rods), memo)


def _landing(seen: Perceived, images: Bytes, covered: Bools) -> Perceived:
    """Moves flying bodies to the distances that their shadows indicate.

    images uint8 [K, H, W, 3]; covered [K, H, W]: the pixels of bodies.

    The curvature of a path tells gravity over distance, so gravity changes with the mean of the distances. A flying
    body without a visible shadow moves by that mean.
    """
    import torch

    from ..lift.landing import farther_by_shadows
    from ..lift.perceived import AIR

    flies = (seen.support.argmax(1) == AIR) & (seen.fixed < FIXED) & (seen.hinged < FIXED) & (seen.sure > SURE)
    if not flies.any():
        return seen
    frames = torch.arange(float(len(images)))[:, None]
    ways = seen.center[flies, None] - frames * seen.velocity[flies, None]
    ways -= frames**2 / 2 * seen.gravity * seen.ground
    told = farther_by_shadows(
        images,
        covered,
        ways.numpy(),
        seen.half[flies].log().mean(1).exp().numpy(),
        up=seen.ground.numpy(),
        light=seen.light.numpy(),
        fov_deg=seen.fov_deg,
    )
    if not told.any():
        return seen
    mean = float(told[told != 0].mean())
    farther = torch.ones(len(seen.kind), 1)
    farther[flies, 0] = torch.from_numpy(told).float().where(torch.from_numpy(told != 0), mean).exp()
    center, half, velocity = seen.center * farther, seen.half * farther, seen.velocity * farther
    foot = torch.where(flies[:, None], foot_of(center, seen.ground), seen.foot)
    return replace(seen, center=center, foot=foot, half=half, velocity=velocity, gravity=seen.gravity * math.exp(mean))


def _rods(seen: Perceived, images: Bytes, check: Callable[[], None]) -> dict[int, Rod]:
    """What bodies that may have a hinge hang on, by their numbers, where pictures uint8 [K, H, W, 3] show it."""
    from ..lift.rod import rod_of

    rods: dict[int, Rod] = {}
    for i, hinged in enumerate(seen.hinged):
        if float(hinged) <= MAY_HANG:
            continue
        check()
        rod = rod_of(images, seen.masks[i].numpy(), seen.came[i].numpy())
        if rod is not None:
            rods[i] = rod
    return rods


def _drawn(
    scene: Scene, pictures: Tensor, count: int, fps: float, camera: CameraPath | None, check: Callable[[], None]
) -> Draft:
    """The draft of `count` frames that begins with pictures, in the last of which the scene is as it is given."""
    import torch

    from ..world.drawing.film import looks, looks_of_moments
    from ..world.simulate import simulate, simulated

    known = len(pictures)
    more = count - known + 1  # frames of the motion, of which the first is the last picture
    seconds, width, height = more / fps, scene.width, scene.height
    c2w: Floats | None = None
    fov_deg: Floats | None = None
    if camera is not None:
        c2w = scene.view.c2w @ camera.relative().c2w[:more].numpy()
        fov_deg = (camera.fov_deg[:more] / camera.fov_deg[0] * scene.view.fov_deg).numpy()

    def after(shown: Tensor, later: Looks, skipped: int = 0) -> tuple[Tensor, Tensor]:
        """Frames and coverage: pictures, and then what is drawn of the motion."""
        cover = (later.instance[skipped:] > 0).float()
        return torch.cat((shown, later.rgb[skipped:])), torch.cat((torch.zeros_like(shown[..., 0]), cover))

    if count <= HELD:  # each frame is drawn while the next is simulated
        moments = simulated(scene, seconds=seconds, fps=fps, check=check)
        seen = looks_of_moments(scene, moments, more, width=width, height=height, c2w=c2w, fov_deg=fov_deg, check=check)
        frames, cover = after(pictures, seen[1], 1)
        return Draft(frames, cover, camera_moves=camera is not None)
    motion = simulate(scene, seconds=seconds, fps=fps, check=check)

    def draw(first: int, stop: int) -> tuple[Tensor, Tensor]:
        """Frames and coverage from number `first` to `stop`."""
        shown = pictures[first:stop]
        begin, end = max(1, first - known + 1), stop - known + 1
        if end <= begin:
            return shown, torch.zeros_like(shown[..., 0])
        part = replace(motion, poses=motion.poses[begin:end], present=motion.present[begin:end])
        seen_from, zoom = (None if x is None else x[begin:end] for x in (c2w, fov_deg))
        return after(shown, looks(part, width=width, height=height, c2w=seen_from, fov_deg=zoom))

    frames, cover = drawn((count, height, width), draw)
    return Draft(frames, cover, camera_moves=camera is not None)


def is_moved(seen: Perceived, balls: bool = False) -> bool:
    """Whether anything moves where there are bodies that can and are no balls, or, with balls, that can: a ball that
    flies at a pile must move the pile. Of balls alone, in their own world, their dynamics know more."""
    asked = (seen.fixed < FIXED) & (seen.sure > SURE)
    if not balls:
        asked &= seen.sphere < BALL
    return bool(_moving(seen).any()) and bool(asked.any())


def _moving(seen: Perceived) -> Tensor:
    """Which bodies [N] move."""
    return (norm(seen.velocity) > MOVING * seen.half.log().mean(1).exp()) & (seen.fixed < FIXED)
