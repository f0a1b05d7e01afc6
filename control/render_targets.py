"""What video models want of a render with holes: side lengths, frame counts, colour of the holes, side of the mask."""

from __future__ import annotations

from dataclasses import dataclass

from .span import ControlError

GREY, BLACK, WHITE, AROUND = "mid-grey", "black", "white", "colours around"
FILLS = (GREY, BLACK, WHITE, AROUND)


@dataclass(frozen=True)
class RenderTarget:
    """cell: sides are multiples of it, in pixels; frames are rest + k * step. fill: one of FILLS.

    seen_is_1: the mask is 1 where the picture is seen, not in the holes.
    """

    cell: int
    step: int
    rest: int
    fill: str
    seen_is_1: bool = False


# VACE: control_video is 0.5 where control_masks is 1, which is generated (ComfyUI WanVaceToVideo). Uni3C: the points
# are drawn on 0 of -1..1, which is mid-grey (ewrfcas/Uni3C cam_render.py), its mask 1 in holes. LTX: attention_mask of
# LTXVAddGuide is 1 where the guide counts. MiniMax H3: a reference or guide video has no mask, 17k + 5 frames.
TARGETS = {
    "VACE": RenderTarget(16, 4, 1, GREY),
    "Uni3C": RenderTarget(16, 4, 1, GREY),
    "LTX": RenderTarget(32, 8, 1, AROUND, seen_is_1=True),
    "MiniMax H3": RenderTarget(32, 17, 5, AROUND),
    "any size": RenderTarget(1, 1, 1, GREY),
}


def check_target(name: str, frames: int | None, width: int, height: int) -> None:
    """Raise ControlError for frames (None: not known yet) or sides in pixels (0: open) that a target does not take,
    with those that it does.
    """
    target = TARGETS.get(name)
    if target is None:
        raise ControlError(f"camera render: no model is named {name!r}; expected one of {', '.join(TARGETS)}")
    over = 0 if frames is None else (frames - target.rest) % target.step
    if frames is not None and (frames < target.rest or over):
        below = max(target.rest, frames - over)
        raise ControlError(
            f"camera render: {frames} frames do not suit {name}, which takes {target.step}k + {target.rest}; "
            f"choose {below} or {below + target.step}"
        )
    for side, pixels in (("width", width), ("height", height)):
        if pixels % target.cell:
            below = max(1, pixels // target.cell) * target.cell
            raise ControlError(
                f"camera render: {side} is {pixels} pixels; {name} takes multiples of {target.cell}: choose {below} or "
                f"{below + target.cell}"
            )
