"""What a shot should show: as a person states it (Shot), and as a model has read it (Conditioning)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from .camera import CameraPath
    from .depth import DepthMaps
    from .flow import FlowField
    from .tracks import PointTracks

# ComfyUI's CONDITIONING: tokens [1,L,D] with notes that nodes have added.
TextConditioning: TypeAlias = "Sequence[tuple[Tensor, Mapping[str, object]]]"


class ClipVisionOutput(Protocol):
    """ComfyUI's CLIP_VISION_OUTPUT, of which Wan models read the features [1,257,1280] before the last layer."""

    penultimate_hidden_states: Tensor


class Controls(NamedTuple):
    """What steers the motion beside words and pictures; None where a control is not given."""

    camera: CameraPath | None = None
    depth: DepthMaps | None = None
    flow: FlowField | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Statement:
    """What a shot says before and after a model has read it.

    start [T,H,W,3]: the first picture(s), end [1,H,W,3]: the last one, in 0..1; strength 0..1: how firmly both hold.
    control_video [T,H,W,3], control_mask [T,H,W] (1: generate anew, 0: keep) and reference [N,H,W,3]: for Wan models.
    draft [T,H,W,3]: what the video will show, as a simulation drew it; draft_mask [T,H,W]: 1 where that is certain;
    draft_strength 0..1: a frame follows the draft while its noise level is above 1 - draft_strength.
    tracks: where points of the start picture go, for Wan I2V models; track_method: one of tracks.METHODS.
    """

    prompt: str = ""
    negative_prompt: str = ""
    start: Tensor | None = None
    end: Tensor | None = None
    strength: float = 1.0
    camera: CameraPath | None = None
    depth: DepthMaps | None = None
    flow: FlowField | None = None
    control_video: Tensor | None = None
    control_mask: Tensor | None = None
    reference: Tensor | None = None
    draft: Tensor | None = None
    draft_mask: Tensor | None = None
    draft_strength: float = 1.0
    tracks: PointTracks | None = None
    track_method: str = "ati"

    @property
    def controls(self) -> Controls:
        """Camera path, depth and flow together."""
        return Controls(self.camera, self.depth, self.flow)


@dataclass(frozen=True, eq=False, kw_only=True)
class Shot(Statement):
    """What a person asks for, unchecked; pictures are IMAGE, with or without alpha.

    positive, negative: ComfyUI's CONDITIONING in place of the prompts; clip_vision, clip_vision_end: CLIP features of
    start and end.
    """

    positive: TextConditioning | None = None
    negative: TextConditioning | None = None
    clip_vision: ClipVisionOutput | None = None
    clip_vision_end: ClipVisionOutput | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Conditioning(Statement):
    """A shot as a model has read it. Pictures and controls keep their own size until the video's is known.

    positive, negative: text context [1,L,D]; image: CLIP features [1,N,D] of start and end. remarks: what the user
    should know about how the inputs were read.
    """

    positive: Tensor
    negative: Tensor | None
    image: Tensor | None = None
    remarks: tuple[str, ...] = ()

    @property
    def words_alone(self) -> bool:
        """Whether neither a start nor an end picture is given."""
        return self.start is None and self.end is None
