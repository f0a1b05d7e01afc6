"""A motion becomes footage: each frame drawn once, all outputs written in place."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..footage import Footage, Tracks
from ..scene import SceneError
from .background import Background, Backgrounds
from .camera import cameras
from .flow import Seen, flow
from .layers import draw_parts
from .rest import RestPicture, shadow_weights
from .shadows import Shadows
from .stage import Stage, set_stage
from .surfaces import surfaces
from .tracks import carriers, follow, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..arrays import Bools, Bytes, Floats
    from ..motion import Motion
    from .camera import Camera
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
    import torch

    frames = len(motion.poses)
    film_cameras, remark = cameras(motion.scene, frames, width, height, c2w, fov_deg)
    buffers = _buffers(frames, width, height)
    at: list[Floats] = []
    visible: list[Bools] = []
    run = _Run(motion, film_cameras, buffers)
    for frame in run.frames(check):
        at.append(frame.tracks_at)
        visible.append(frame.tracks_visible)
        if on_frame is not None:
            on_frame(frame)
    return Footage(
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
    film_cameras, _ = cameras(motion.scene, len(motion.poses), width, height, c2w, fov_deg)
    yield from _Run(motion, film_cameras, _buffers(3, width, height)).frames(None)


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
    """What is prepared once for all frames of a motion."""

    def __init__(self, motion: Motion, film_cameras: tuple[Camera, ...], buffers: Buffers):
        self.motion, self.cameras, self.buffers = motion, film_cameras, buffers
        first = film_cameras[0]
        self.poses = np.asarray(motion.poses, np.float64)
        _check_motion(motion, self.poses)
        self.surfaces = surfaces(motion, first)
        self.drawn = np.array([s.part.appearance is not None for s in self.surfaces.parts], bool)
        self.background = Backgrounds(motion.scene, self.surfaces, self.poses[0], first.width, first.height)
        self.shadows = Shadows(motion.scene, self.surfaces)
        self.names, self.instances = _instances(motion)
        self.rest: RestPicture | None = None
        if motion.scene.plate is not None and any(c.same(self.background.still) for c in film_cameras):
            # Only what was cut out of the picture is in the picture.
            rest = np.stack([np.asarray(s.part.rest, np.float64) for s in self.surfaces.parts] or [np.zeros((4, 4))])
            cut = [p for p, s in enumerate(self.surfaces.parts) if s.cutout is not None and motion.present[0, p]]
            stage = set_stage(self.surfaces, motion.scene.light, self.background.still, rest, tuple(cut))
            background = self.background.seen_by(stage.camera)
            rgb = np.array(background.rgb)
            part = self._compose(stage, background, rgb)[1]
            self.rest = RestPicture(motion.scene.plate, stage, rgb, part)

    def frames(self, check: Callable[[], None] | None) -> Iterator[Frame]:
        """Each frame, when the one after it is drawn: flow needs both."""
        total = len(self.poses)
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
                    carrier = carriers(self.points, self.surfaces, present)
                now = (seen, *follow(self.points, carrier, seen))
            if before is not None:
                yield self._finish(t - 1, before, now[0] if now else None)
            before = now

    def _drawn(self) -> Iterator[Seen]:
        """All frames, drawn ahead in threads as far as the buffers reach."""
        total = len(self.poses)
        ahead = min(total, WORKERS if len(self.buffers.rgb) == total else 1)
        with ThreadPoolExecutor(ahead, "vdit-draw") as pool:
            begun = deque(pool.submit(self._draw, t) for t in range(ahead))
            try:
                for t in range(ahead, total + ahead):
                    seen = begun.popleft().result()
                    if t < total:
                        begun.append(pool.submit(self._draw, t))
                    yield seen
            finally:
                for late in begun:
                    late.cancel()

    def _finish(self, t: int, drawn: tuple[Seen, Floats, Bools], then: Seen | None) -> Frame:
        b, k = self.buffers, t % len(self.buffers.rgb)
        moved = visible = None
        if then is not None:
            moved, visible = b.flow[k], b.visible[k]
            if len(b.rgb) < len(self.poses):
                moved[...] = 0  # a buffer that was used before
            flow(drawn[0], then, moved, visible)
        return Frame(t, b.rgb[k], b.depth[k], b.instance[k], b.mask[k], moved, visible, drawn[1], drawn[2])

    def _stage(self, t: int, camera: Camera) -> Stage:
        present = np.flatnonzero(self.motion.present[t] & self.drawn)
        light = self.motion.scene.light
        return set_stage(self.surfaces, light, camera, self.poses[t], tuple(present.tolist()))

    def _draw(self, t: int) -> Seen:
        """Draw frame t into its buffers."""
        b, k = self.buffers, t % len(self.buffers.rgb)
        stage = self._stage(t, self.cameras[t])
        background = self.background.seen_by(stage.camera)
        rgb, depth = b.rgb[k], b.depth[k]
        rgb[...] = background.rgb
        depth[...] = background.depth
        # From elsewhere the plate is seen, from which the shadows at the feet of the bodies were taken.
        in_picture = self.motion.scene.plate is not None and stage.camera.same(self.background.still)
        weights = shadow_weights(self.surfaces, stage.poses, stage.present, in_picture)
        self.shadows.darken(rgb, background, stage.poses, weights)
        at, part, z, mask = self._compose(stage, background, rgb)
        if self.rest is not None:
            self.rest.correct(stage, rgb, part)
        on = np.flatnonzero(part.ravel() >= 0)
        depth.ravel()[on] = z
        if len(b.rgb) < len(self.poses):
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


def _instances(motion: Motion) -> tuple[tuple[str, ...], Bytes]:
    """Names of the instances 1, 2, ..., and the instance of each part [P]."""
    names = [b.name for b in motion.scene.bodies]
    names += [n for n in dict.fromkeys(p.body for p in motion.parts) if n not in set(names)]
    if len(names) > MOST_INSTANCES:
        raise SceneError(f"the scene has {len(names)} bodies and links; at most {MOST_INSTANCES} are told apart")
    number = {name: i + 1 for i, name in enumerate(names)}
    return tuple(names), np.array([number[p.body] for p in motion.parts], np.uint8)


def _check_motion(motion: Motion, poses: Floats) -> None:
    expected = (len(poses), len(motion.parts))
    if len(poses) == 0 or poses.shape != (*expected, 4, 4) or motion.present.shape != expected:
        raise SceneError(
            f"the motion has poses {list(poses.shape)} and presence {list(motion.present.shape)} for "
            f"{len(motion.parts)} parts; expected [T, {len(motion.parts)}, 4, 4] and [T, {len(motion.parts)}]"
        )
    if not np.isfinite(poses[motion.present]).all():
        raise SceneError("the motion has poses that are not finite: the simulation has come apart")
