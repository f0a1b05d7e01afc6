"""Optical flow of a driving video, estimated with OpenCV's DIS (Kroeger et al., 2016)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.linalg import norm
from ..geometry.pixels import pixel_grid, sample_bilinear
from .flow import FlowField
from .pictures import as_pictures, cover
from .span import ControlError

if TYPE_CHECKING:
    from cv2.typing import MatLike

# A camera is taken to move if all but a share (STATIC) of the edges beside moving things moved by more than CARRIED
# picture heights in the known frames. Slower cameras do little harm. Of scenes of objects it flags 30 of 46 with a
# moving camera, and none of 64 with a camera at rest (seeds from 7000).
EDGE, LEAST_EDGES = 0.04, 0.02  # Smallest difference of brightness between cells; smallest share of cells with edges.
STATIC, CARRIED = 0.2, 0.003
UNCOVERED, BESIDE = (0.1, 2)  # Largest cover of a cell that is used, and of the cells this near to it.

QUALITIES = ("medium", "fast", "ultrafast")
MIN_SIDE = 256  # pixels: on smaller pictures the search pyramid of DIS has only two levels
MISSING = (
    "OpenCV is not installed, and flow from a video is measured with it: run `pip install "
    "opencv-python-headless==4.11.0.86` with the Python that runs the graph, and start it again"
)


class _DenseFlow(Protocol):
    """cv2.DISOpticalFlow, which OpenCV's stubs lack."""

    def calc(self, first: MatLike, second: MatLike, flow: None) -> MatLike: ...  # noqa: D102


def flow_from_video(
    images: Tensor,
    width: int,
    height: int,
    frames: int = 0,
    quality: str = "medium",
    check: bool = True,
    on_frame: Callable[[int], None] | None = None,
    cancel: Callable[[], None] = lambda: None,
) -> FlowField:
    """Flow [T-1,height,width,2] of IMAGE [T,H,W,3], fitted as start pictures are: resized to cover, cropped.

    frames: use the first so many (0: all). check: a pixel is valid only where forward and backward flow agree
    (Sundaram et al., 2010). on_frame(done) and cancel may raise to stop. Raises ControlError, also without OpenCV.
    """
    try:
        import cv2
    except ImportError as e:
        raise ControlError(MISSING) from e
    if quality not in QUALITIES:
        raise ControlError(f"flow from video: quality is {quality!r}; expected one of {', '.join(QUALITIES)}")
    if not isinstance(images, torch.Tensor) or images.ndim != 4:
        found = list(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ControlError(f"flow from video: the video is {found}; expected an IMAGE [frames, height, width, 3]")
    given = len(images)
    if frames and given < frames:
        raise ControlError(
            f"flow from video: the video has {given} frames and {frames} were asked for; give a longer video, or set "
            f"frames to {given} or 0"
        )
    images = images[: frames or given]
    if len(images) < 2:
        raise ControlError(f"flow from video: the video has {len(images)} frame; expected at least 2")
    pictures, _ = as_pictures(images, "flow from video: the video", cancel)
    # Measured at the source's own resolution where that is larger: motion of half a pixel is found then.
    source = min(pictures.shape[1] / height, pictures.shape[2] / width, 4.0, 1024 / max(width, height))
    scale = max(1.0, MIN_SIDE / min(width, height), source)
    size = (math.ceil(width * scale), math.ceil(height * scale))
    preset = getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{quality.upper()}")
    dis = cast("_DenseFlow", cv2.DISOpticalFlow_create(preset))  # pyright: ignore[reportAttributeAccessIssue] (no stub)

    def gray(t: int) -> MatLike:
        return cv2.cvtColor((cover(pictures[t : t + 1], *size)[0] * 255).round().byte().numpy(), cv2.COLOR_RGB2GRAY)

    fields: list[Tensor] = []
    valids: list[Tensor] = []
    now = gray(0)
    for t in range(len(pictures) - 1):
        following = gray(t + 1)
        forward = torch.from_numpy(dis.calc(now, following, None))
        valid = torch.ones(forward.shape[:2])
        if check:
            target = pixel_grid(*size) + forward
            backward = sample_bilinear(torch.from_numpy(dis.calc(following, now, None)), target)
            error = (forward + backward).square().sum(-1)
            length = forward.square().sum(-1) + backward.square().sum(-1)
            inside = ((target >= 0) & (target <= torch.tensor(size))).all(-1)
            valid = ((error < 0.01 * length + 0.5 * scale**2) & inside).float()
        small = FlowField(forward[None], valid[None]).resized(width, height)
        fields.append(small.flow)
        valids.append(small.valid)
        now = following
        if on_frame is not None:
            on_frame(t + 1)
    return FlowField(torch.cat(fields), torch.cat(valids))


def motion_before(frames: Tensor, known: int) -> Tensor:
    """How far each pixel of the last of frames [K, H, W, 3] came since each of the known-1 frames before, the latest
    first [H/2, W/2, 2 (known-1)] (x, y of each), in picture heights; zeros of frames that are not given. H and W are
    even. Flow from each frame to the one before is followed from pixel to pixel."""
    height, width = frames.shape[1:3]
    out = torch.zeros(height // 2, width // 2, 2 * (known - 1))
    if len(frames) == 1:
        return out
    flows = flow_from_video(frames.flip(0), width, height, check=False).flow
    came, grid = torch.zeros_like(flows[0]), pixel_grid(width, height)
    for i, back in enumerate(flows):
        came = came - sample_bilinear(back, grid - came)
        out[..., 2 * i : 2 * i + 2] = F.avg_pool2d(came.permute(2, 0, 1), 2).permute(1, 2, 0) / height
    return out


def camera_moves(frame: Tensor, motion: Tensor, covered: Tensor) -> bool:
    """Whether a camera moves, by what things at rest do in the picture.

    frame [H, W, 3]: the last one; motion [H/2, W/2, 2 n]: `motion_before` it; covered [K, h, w] of any size in 0..1:
    where there are things that may move in each picture.
    """
    cells = list(motion.shape[:2])
    hidden = F.interpolate(covered[None].float(), cells, mode="bilinear", antialias=True).amax(1)
    free = F.max_pool2d(hidden, 2 * BESIDE + 1, 1, BESIDE)[0] < UNCOVERED
    light = F.interpolate(frame.mean(-1)[None, None], cells, mode="bilinear", antialias=True)[0, 0]
    edges = torch.zeros_like(light)
    edges[1:] += (light[1:] - light[:-1]).abs()
    edges[:, 1:] += (light[:, 1:] - light[:, :-1]).abs()
    told = norm(motion[..., -2:])[free & (edges > EDGE)]
    return len(told) > LEAST_EDGES * edges.numel() and float(told.quantile(STATIC)) > CARRIED
