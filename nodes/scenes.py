"""What several nodes of scenes share: scenes of either kind, cameras along a path, what is shown of a scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import io, ui

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.camera import CameraPath
    from ..world.arrays import Floats
    from ..world.families.clip import Clip
    from ..world.footage import Footage
    from ..world.motion import Motion
    from ..world.scene import Scene


def as_scene(scene: Scene | Clip) -> Scene:
    """The scene of bodies, of whichever node made it."""
    from ..world.families.bodies import to_scene
    from ..world.families.clip import Clip

    return to_scene(scene) if isinstance(scene, Clip) else scene


def picture_of(scene: Scene) -> list:
    """The scene's picture, saved for the widget that draws over it (web/picture.js)."""
    import torch

    if scene.plate is not None:
        picture = torch.from_numpy(scene.plate.picture)[None].float() / 255
    else:
        from ..world.filming import Filming, filmed

        picture = filmed(scene, (), Filming(seconds=0.01, fps=1.0))[1].rgb[:1]
    return ui.ImageSaveHelper.save_images(picture, "vdit_scene", io.FolderType.temp, None, 1)


def cameras_along(
    scene: Scene, path: CameraPath | None, frames: int, size: tuple[int, int]
) -> tuple[Floats | None, Floats | None]:
    """Poses [T, 4, 4] and fields of view [T] of the scene's own view moved along a path; None without one.

    size: width and height of the video, which crops the view as without a path. The path's zoom counts, not its field
    of view. Raises ValueError for a path of another length.
    """
    if path is None:
        return None, None
    if path.frames != frames and not path.stretch:
        raise ValueError(
            f"the camera path has {path.frames} poses, the simulation {frames} frames; make one of the other's length"
        )
    from ..geometry.camera import focal_length, fov_from_focal
    from ..world.drawing.camera import scene_camera

    moved = path.resampled(frames).relative()
    focal = focal_length(moved.fov_deg)
    zoomed = focal / focal[0] * scene_camera(scene, *size)[0].focal
    return scene.view.c2w @ moved.c2w.numpy(), fov_from_focal(zoomed, size[1]).numpy()


def mask_named(footage: Footage, name: str) -> Tensor:
    """Mask [T, H, W] of the body of that name; of all that can move where it is empty. Raises SceneError."""
    from ..world.scene import SceneError

    if not name:
        return footage.mask
    if name not in footage.names:
        raise SceneError(f"mask_of: nothing is named {name!r}; there are {', '.join(footage.names) or 'no bodies'}")
    return (footage.instance == footage.names.index(name) + 1).float()


def summary(motion: Motion, footage: Footage) -> list[str]:
    """What happened, in two lines: size and length, then breaks and the hardest impact."""
    import numpy as np

    scene, (frames, height, width) = motion.scene, footage.depth.shape
    view = np.asarray(scene.view.c2w, float)
    depths = [float((np.asarray(body.position) - view[:3, 3]) @ view[:3, 2]) for body in scene.bodies]
    ends = list(dict.fromkeys(f"{depth:.2g}" for depth in (min(depths), max(depths)))) if depths else []
    away = f"; bodies are {' to '.join(ends)} m away" if ends else ""
    lines = [f"{frames} frames of {width}x{height} at {motion.fps:g} fps{away}"]
    broken = [f"{event.body} breaks at {event.time:.2f} s" for event in motion.events if event.kind == "break"]
    hits = [event for event in motion.events if event.kind == "impact"]
    if hits:
        hardest = max(hits, key=lambda event: event.impulse)
        other = f" meets {hardest.other}" if hardest.other else " lands"
        lines.append(
            f"{len(hits)} impacts; hardest: {hardest.body}{other} at {hardest.time:.2f} s, {hardest.impulse:.3g} Ns"
        )
    return lines + broken[:5]
