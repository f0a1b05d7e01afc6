"""A camera path drawn: from above, from the side, its angles and its field of view over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..geometry.camera import focal_length
from ..geometry.rotation import yaw_pitch_roll_of
from .camera import CameraPath

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MISSING = "matplotlib is not installed, so the path is not drawn: pip install matplotlib==3.11.2 and restart"


def angles_deg(camera: CameraPath) -> Tensor:
    """Yaw (right), pitch (up) and roll (clockwise) [T,3] in degrees, relative to the first frame."""
    return yaw_pitch_roll_of(camera.relative().c2w[:, :3, :3])


def plot(camera: CameraPath) -> Tensor | None:
    """IMAGE [1,480,960,3]: the path in metres from above and from the side, and its angles. None without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    path = camera.relative()
    position = path.c2w[:, :3, 3].numpy()
    figure = Figure(figsize=(9.6, 4.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    above, side, angles = figure.subplots(1, 3)
    reach = max(0.5, float(abs(position).max()))
    for axes, across, up, label in (
        (above, 0, 2, ("x, right (m)", "z, forward (m)")),
        (side, 2, 1, ("z, forward (m)", "y, up (m)")),
    ):
        sign = -1 if up == 1 else 1  # y points down; a picture's up is up
        axes.plot(position[:, across], sign * position[:, up], color="#3b76af", linewidth=1.5)
        for t in torch.linspace(0, path.frames - 1, min(path.frames, 7)).round():
            _draw_frustum(axes, path, int(t), across, up, sign, 0.16 * reach)
        middle = [(values.max() + values.min()) / 2 for values in (position[:, across], sign * position[:, up])]
        axes.set_xlim(middle[0] - 1.35 * reach, middle[0] + 1.35 * reach)
        axes.set_ylim(middle[1] - 1.35 * reach, middle[1] + 1.35 * reach)
        axes.set(aspect="equal", xlabel=label[0], ylabel=label[1])
        axes.grid(alpha=0.25)
    above.set_title("from above", fontsize=10)
    side.set_title("from the side", fontsize=10)
    for values, name, color in zip(
        angles_deg(path).T,
        ("yaw (right)", "pitch (up)", "roll (clockwise)"),
        ("#3b76af", "#ef8536", "#519e3e"),
        strict=True,
    ):
        angles.plot(values.numpy(), label=name, color=color)
    angles.plot(
        (path.fov_deg - path.fov_deg[0]).numpy(),
        label=f"field of view - {path.fov_deg[0]:.3g}°",
        color="#999",
        linestyle=":",
    )
    angles.set_title("degrees", fontsize=10)
    angles.set_xlabel("frame")
    angles.grid(alpha=0.25)
    angles.legend(fontsize=7, loc="best")
    kind = "stretches to the clip" if camera.stretch else "one pose a frame"
    figure.suptitle(f"{path.frames} frames, {kind}; strength {camera.strength:g}", fontsize=11)
    canvas.draw()
    pixels = torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8)
    width, height = canvas.get_width_height()
    return pixels.reshape(1, height, width, 4)[..., :3].float() / 255


def _draw_frustum(axes: Axes, path: CameraPath, t: int, across: int, up: int, sign: int, size: float) -> None:
    """A triangle from the camera's position in its viewing direction."""
    focal = focal_length(path.fov_deg[t])
    spread = size / max(1.0, float(focal)) * 1.2
    tip = path.c2w[t, :3, 3]
    side = path.c2w[t, :3, 0 if up == 2 else 1]
    ahead = path.c2w[t, :3, 2]
    corners = torch.stack((tip, tip + size * ahead + spread * side, tip + size * ahead - spread * side, tip))
    first = t == 0
    axes.fill(
        corners[:, across].numpy(),
        sign * corners[:, up].numpy(),
        facecolor="#519e3e" if first else "#3b76af",
        alpha=0.55 if first else 0.3,
        edgecolor="#234",
        linewidth=0.6,
    )
