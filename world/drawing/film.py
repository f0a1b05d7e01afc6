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
from .camera import cameras
from .drawer import Buffers, Drawer, buffers_of
from .flow import Seen, flow
from .stage import grown
from .tracks import carriers, follow, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future

    from torch import Tensor

    from ..arrays import Bools, Bytes, Floats
    from ..motion import Moment, Motion
    from ..scene import Scene
    from .camera import Camera
    from .surfaces import Surfaces
    from .tracks import Points

# Frames drawn at a time: 1.6 times as fast on two cores, as fast as before where shards are many (bench/draft.py).
WORKERS = 2


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Looks:
    """What is seen of a motion, without what leads from frame to frame: fields as Footage has them."""

    rgb: Tensor
    depth: Tensor
    instance: Tensor


def looks(
    motion: Motion,
    *,
    width: int,
    height: int,
    c2w: Floats | None = None,
    fov_deg: Floats | None = None,
    check: Callable[[], None] | None = None,
) -> Looks:
    """What `film` draws of a motion, without flow and tracks, which take a sixth of its time."""
    _check_motion(motion)
    moments, frames = motion.moments(), len(motion.poses)
    return looks_of_moments(
        motion.scene, moments, frames, width=width, height=height, c2w=c2w, fov_deg=fov_deg, check=check
    )[1]


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
    buffers = buffers_of(frames, width, height)
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
        names=run.drawer.names,
        c2w=np.stack([c.c2w for c in film_cameras]),
        fov_deg=np.array([float(np.degrees(2 * np.arctan(height / 2 / c.focal))) for c in film_cameras]),
        remarks=(remark,) if remark else (),
    )


def looks_of_moments(
    scene: Scene,
    moments: Generator[Moment, None, Motion],
    frames: int,
    *,
    width: int,
    height: int,
    c2w: Floats | None = None,
    fov_deg: Floats | None = None,
    check: Callable[[], None] | None = None,
) -> tuple[Motion, Looks]:
    """What `film_moments` draws, without flow and tracks."""
    import torch

    check = check or (lambda: None)
    film_cameras, _ = cameras(scene, frames, width, height, c2w, fov_deg)
    buffers = buffers_of(frames, width, height)
    for _ in _Run(scene, moments, film_cameras, buffers, check).drawn():
        check()
    rgb, depth, instance = (torch.from_numpy(x) for x in (buffers.rgb, buffers.depth, buffers.instance))
    return ended(moments), Looks(rgb=rgb, depth=depth, instance=instance)


def stream(
    motion: Motion, *, width: int, height: int, c2w: Floats | None = None, fov_deg: Floats | None = None
) -> Iterator[Frame]:
    """Draw a motion frame by frame, as film does, in the memory of three frames: copy what is to be kept."""
    _check_motion(motion)
    film_cameras, _ = cameras(motion.scene, len(motion.poses), width, height, c2w, fov_deg)
    yield from _Run(motion.scene, motion.moments(), film_cameras, buffers_of(3, width, height)).frames(None)


class _Run:
    """All frames of a motion: what each shows, and what leads from it to the next."""

    def __init__(
        self,
        scene: Scene,
        moments: Generator[Moment, None, Motion],
        film_cameras: tuple[Camera, ...],
        buffers: Buffers,
        check: Callable[[], None] = lambda: None,
    ):
        self.moments, self.cameras, self.buffers = moments, film_cameras, buffers
        self.first = next(moments)
        self.drawer = Drawer(scene, self.first, film_cameras, check)

    def frames(self, check: Callable[[], None] | None) -> Iterator[Frame]:
        """Each frame, when the one after it is drawn: flow needs both."""
        total = len(self.cameras)
        drawn = self.drawn()
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

    def drawn(self) -> Iterator[Seen]:
        """All frames, drawn ahead in threads as far as the buffers reach, while the next moment comes to be in this."""
        total = len(self.cameras)
        ahead = min(total, WORKERS if len(self.buffers.rgb) == total else 1)
        begun: deque[Future[Seen]] = deque()
        with ThreadPoolExecutor(ahead, "vdit-draw") as pool:
            try:
                for t in range(total + ahead):
                    job = self._next(t) if t < total else None
                    seen = begun.popleft().result() if t >= ahead else None
                    if job is not None:
                        k, used = t % len(self.buffers.rgb), len(self.buffers.rgb) < total
                        begun.append(pool.submit(self.drawer.draw, *job, self.cameras[t], self.buffers, k, used))
                    if seen is not None:
                        yield seen
            finally:
                for late in begun:
                    late.cancel()

    def _next(self, t: int) -> tuple[Moment, Surfaces]:
        """Moment t, and its parts prepared."""
        moment = next(self.moments) if t else self.first
        return moment, self.drawer.prepared(moment)

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


def _check_motion(motion: Motion) -> None:
    expected = (len(motion.poses), len(motion.parts))
    if len(motion.poses) == 0 or motion.poses.shape != (*expected, 4, 4) or motion.present.shape != expected:
        raise SceneError(
            f"the motion has poses {list(motion.poses.shape)} and presence {list(motion.present.shape)} for "
            f"{len(motion.parts)} parts; expected [T, {len(motion.parts)}, 4, 4] and [T, {len(motion.parts)}]"
        )
