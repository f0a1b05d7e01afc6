"""A motion becomes footage: each frame drawn once, all outputs written in place."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..footage import Footage, Tracks
from ..motion import ended
from ..scene import SceneError
from .background import Background, Backgrounds
from .camera import cameras
from .flow import Seen, flow
from .layers import draw_parts
from .rest import RestPicture, shadow_weights
from .shadows import Shadows
from .stage import Stage, grown, set_stage
from .surfaces import surfaces
from .tracks import carriers, follow, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future

    from ..arrays import Bools, Bytes, Floats
    from ..motion import Moment, Motion, Part
    from ..scene import Scene
    from .camera import Camera
    from .surfaces import Surfaces
    from .tracks import Points

# Frames drawn at a time: 1.6 times as fast on two cores, as fast as before where shards are many (bench/draft.py).
WORKERS = 2
MOST_INSTANCES = 255  # instances are bytes
SMALLEST, LARGEST = 16, 8192  # pixels along a side


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: fields as Footage has them, without the axis of frames.

    flow and visible lead to the next frame; None in the last one. tracks_at [N, 2], tracks_visible [N].
    """

    index: int
    rgb: Floats
    depth: Floats
    instance: Bytes
    mask: Floats
    flow: Floats | None
    visible: Bools | None
    tracks_at: Floats
    tracks_visible: Bools


@dataclass(frozen=True, eq=False)
class Buffers:
    """Where frames are written: one array [K, H, W, ...] for each output; frame t at t modulo K."""

    rgb: Floats
    depth: Floats
    instance: Bytes
    mask: Floats
    flow: Floats
    visible: Bools


def film(
    motion: Motion,
    *,
    width: int,
    height: int,
    c2w: Floats | None = None,
    fov_deg: Floats | None = None,
    check: Callable[[], None] | None = None,
    on_frame: Callable[[Frame], None] | None = None,
) -> Footage:
    """Draw a motion at width x height from cameras c2w [T, 4, 4], fov_deg [T] (None: the scene's own still view).

    check is called before each frame, and may raise to cancel; on_frame is given each frame as soon as it is done.
    Raises SceneError where size, camera or a mesh cannot be drawn.
    """
    _check_motion(motion)
    frames = len(motion.poses)
    return film_moments(
        motion.scene,
        motion.moments(),
        frames,
        width=width,
        height=height,
        c2w=c2w,
        fov_deg=fov_deg,
        check=check,
        on_frame=on_frame,
    )[1]


def film_moments(
    scene: Scene,
    moments: Generator[Moment, None, Motion],
    frames: int,
    *,
    width: int,
    height: int,
    c2w: Floats | None = None,
    fov_deg: Floats | None = None,
    check: Callable[[], None] | None = None,
    on_frame: Callable[[Frame], None] | None = None,
) -> tuple[Motion, Footage]:
    """Draw a motion of so many frames while it comes to be, as `film` draws one that is known; the motion and what is
    seen of it. Each moment is asked for while earlier ones are drawn.
    """
    import torch

    check = check or (lambda: None)
    film_cameras, remark = cameras(scene, frames, width, height, c2w, fov_deg)
    buffers = _buffers(frames, width, height)
    at: list[Floats] = []
    visible: list[Bools] = []
    run = _Run(scene, moments, film_cameras, buffers, check)
    for frame in run.frames(check):
        at.append(frame.tracks_at)
        visible.append(frame.tracks_visible)
        if on_frame is not None:
            on_frame(frame)
    return ended(moments), Footage(
        rgb=torch.from_numpy(buffers.rgb),
        depth=torch.from_numpy(buffers.depth),
        instance=torch.from_numpy(buffers.instance),
        mask=torch.from_numpy(buffers.mask),
        flow=torch.from_numpy(buffers.flow[: frames - 1]),
        visible=torch.from_numpy(buffers.visible[: frames - 1]),
        tracks=Tracks(
            at=torch.from_numpy(np.stack(at).astype(np.float32)),
            visible=torch.from_numpy(np.stack(visible)),
            part=torch.from_numpy(run.points.part),
        ),
        names=run.names,
        c2w=np.stack([c.c2w for c in film_cameras]),
        fov_deg=np.array([float(np.degrees(2 * np.arctan(height / 2 / c.focal))) for c in film_cameras]),
        remarks=(remark,) if remark else (),
    )


def stream(
    motion: Motion, *, width: int, height: int, c2w: Floats | None = None, fov_deg: Floats | None = None
) -> Iterator[Frame]:
    """Draw a motion frame by frame, as film does, in the memory of three frames: copy what is to be kept."""
    _check_motion(motion)
    film_cameras, _ = cameras(motion.scene, len(motion.poses), width, height, c2w, fov_deg)
    yield from _Run(motion.scene, motion.moments(), film_cameras, _buffers(3, width, height)).frames(None)


def _buffers(frames: int, width: int, height: int) -> Buffers:
    """Zeros that take memory only where they are written: a still camera's background has no flow and no mask."""
    if not (SMALLEST <= width <= LARGEST and SMALLEST <= height <= LARGEST):
        raise SceneError(
            f"a picture of {width}x{height} cannot be drawn: each side takes {SMALLEST} to {LARGEST} pixels"
        )
    shape = (frames, height, width)
    return Buffers(
        np.empty((*shape, 3), np.float32),
        np.empty(shape, np.float32),
        np.zeros(shape, np.uint8),
        np.zeros(shape, np.float32),
        np.zeros((*shape, 2), np.float32),
        np.zeros(shape, bool),
    )


class _Run:
    """What is prepared once for all frames of a motion, and for parts when they appear."""

    def __init__(
        self,
        scene: Scene,
        moments: Generator[Moment, None, Motion],
        film_cameras: tuple[Camera, ...],
        buffers: Buffers,
        check: Callable[[], None] = lambda: None,
    ):
        self.scene, self.moments, self.cameras, self.buffers = scene, moments, film_cameras, buffers
        self.first = _finite(next(moments))
        camera = film_cameras[0]
        check()
        self.surfaces = surfaces(self.first.parts, camera)
        self.background = Backgrounds(scene, self.surfaces, self.first, camera.width, camera.height)
        check()
        self.shadows = Shadows(scene, self.surfaces, self.first)
        self.names = _names(scene, self.first.parts)
        self.instances = _instances(self.names, self.first.parts)
        check()
        self.rest: RestPicture | None = None
        if scene.plate is not None and any(c.same(self.background.still) for c in film_cameras):
            # Only what was cut out of the picture is in the picture.
            parts = self.surfaces.parts
            rest = np.stack([np.asarray(s.part.rest, np.float64) for s in parts] or [np.zeros((4, 4))])
            cut = [p for p, s in enumerate(parts) if s.cutout is not None and self.first.present[p]]
            stage = set_stage(self.surfaces, scene.light, self.background.still, rest, tuple(cut))
            background = self.background.seen_by(stage.camera)
            check()
            rgb = np.array(background.rgb)
            part = self._compose(stage, background, rgb)[1]
            self.rest = RestPicture(scene.plate, stage, rgb, part)

    def frames(self, check: Callable[[], None] | None) -> Iterator[Frame]:
        """Each frame, when the one after it is drawn: flow needs both."""
        total = len(self.cameras)
        drawn = self._drawn()
        present: tuple[int, ...] | None = None
        carrier = np.zeros(0, np.int64)
        before: tuple[Seen, Floats, Bools] | None = None
        for t in range(total + 1):
            if check is not None:
                check()
            now: tuple[Seen, Floats, Bools] | None = None
            if t < total:
                seen = next(drawn)
                if t == 0:
                    self.points: Points = spread(seen)
                if present != seen.stage.present:
                    present = seen.stage.present
                    carrier = carriers(self.points, seen.stage.surfaces, present)
                now = (seen, *follow(self.points, carrier, seen))
            if before is not None:
                yield self._finish(t - 1, before, now[0] if now else None)
            before = now

    def _drawn(self) -> Iterator[Seen]:
        """All frames, drawn ahead in threads as far as the buffers reach, while the next moment comes to be in this."""
        total = len(self.cameras)
        ahead = min(total, WORKERS if len(self.buffers.rgb) == total else 1)
        begun: deque[Future[Seen]] = deque()
        with ThreadPoolExecutor(ahead, "vdit-draw") as pool:
            try:
                for t in range(total + ahead):
                    job = (self._next(t), self.surfaces) if t < total else None
                    seen = begun.popleft().result() if t >= ahead else None
                    if job is not None:
                        begun.append(pool.submit(self._draw, t, *job))
                    if seen is not None:
                        yield seen
            finally:
                for late in begun:
                    late.cancel()

    def _next(self, t: int) -> Moment:
        """Moment t, whose new parts are prepared."""
        moment = _finite(next(self.moments)) if t else self.first
        if len(moment.parts) > len(self.surfaces.parts):
            self.surfaces = surfaces(moment.parts, self.cameras[0], self.surfaces)
            self.shadows.cast_by(self.surfaces)
            self.instances = _instances(self.names, moment.parts)
        return moment

    def _finish(self, t: int, drawn: tuple[Seen, Floats, Bools], then: Seen | None) -> Frame:
        b, k = self.buffers, t % len(self.buffers.rgb)
        moved = visible = None
        if then is not None:
            now = drawn[0]
            if now.stage.surfaces is not then.stage.surfaces:
                now = now._replace(stage=grown(now.stage, then.stage.surfaces))
            moved, visible = b.flow[k], b.visible[k]
            if len(b.rgb) < len(self.cameras):
                moved[...] = 0  # a buffer that was used before
            flow(now, then, moved, visible)
        return Frame(t, b.rgb[k], b.depth[k], b.instance[k], b.mask[k], moved, visible, drawn[1], drawn[2])

    def _draw(self, t: int, moment: Moment, among: Surfaces) -> Seen:
        """Draw frame t into its buffers."""
        b, k = self.buffers, t % len(self.buffers.rgb)
        drawn = np.array([s.part.appearance is not None for s in among.parts], bool)
        poses = np.asarray(moment.poses, np.float64)
        present = tuple(np.flatnonzero(moment.present & drawn).tolist())
        stage = set_stage(among, self.scene.light, self.cameras[t], poses, present)
        background = self.background.seen_by(stage.camera)
        rgb, depth = b.rgb[k], b.depth[k]
        rgb[...] = background.rgb
        depth[...] = background.depth
        # From elsewhere the plate is seen, from which the shadows at the feet of the bodies were taken.
        in_picture = self.scene.plate is not None and stage.camera.same(self.background.still)
        weights = shadow_weights(among, stage.poses, stage.present, in_picture)
        self.shadows.darken(rgb, background, stage.poses, weights)
        at, part, z, mask = self._compose(stage, background, rgb)
        if self.rest is not None:
            self.rest.correct(stage, rgb, part)
        on = np.flatnonzero(part.ravel() >= 0)
        depth.ravel()[on] = z
        if len(b.rgb) < len(self.cameras):
            b.mask[k][...], b.instance[k][...] = 0, 0
        b.mask[k].ravel()[at] = mask
        b.instance[k].ravel()[on] = self.instances[part.ravel()[on]]
        return Seen(stage, part, depth)

    def _compose(self, stage: Stage, background: Background, rgb: Floats):
        """Lay the parts over rgb [H, W, 3] in place; gives hit pixels, part [H, W], depths of those, masks of hits."""
        layers, at = draw_parts(stage, background.hides)
        flat = rgb.reshape(-1, 3)
        flat[at] = flat[at] * layers.through[:, None] + layers.rgb
        part = np.full(rgb.shape[:2], -1, np.int16)
        part.ravel()[at] = layers.part
        return at, part, layers.depth[layers.part >= 0], layers.mask


def _names(scene: Scene, parts: tuple[Part, ...]) -> tuple[str, ...]:
    """Names of the instances 1, 2, ...: bodies, then links. Raises SceneError for more than are told apart."""
    names = [b.name for b in scene.bodies]
    names += [n for n in dict.fromkeys(p.body for p in parts) if n not in set(names)]
    if len(names) > MOST_INSTANCES:
        raise SceneError(f"the scene has {len(names)} bodies and links; at most {MOST_INSTANCES} are told apart")
    return tuple(names)


def _instances(names: tuple[str, ...], parts: tuple[Part, ...]) -> Bytes:
    """The instance of each part [P]."""
    number = {name: i + 1 for i, name in enumerate(names)}
    return np.array([number[p.body] for p in parts], np.uint8)


def _finite(moment: Moment) -> Moment:
    if not np.isfinite(moment.poses[moment.present]).all():
        raise SceneError("the motion has poses that are not finite: the simulation has come apart")
    return moment


def _check_motion(motion: Motion) -> None:
    expected = (len(motion.poses), len(motion.parts))
    if len(motion.poses) == 0 or motion.poses.shape != (*expected, 4, 4) or motion.present.shape != expected:
        raise SceneError(
            f"the motion has poses {list(motion.poses.shape)} and presence {list(motion.present.shape)} for "
            f"{len(motion.parts)} parts; expected [T, {len(motion.parts)}, 4, 4] and [T, {len(motion.parts)}]"
        )
