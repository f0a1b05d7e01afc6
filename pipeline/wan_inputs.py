"""The inputs of Wan models as each was trained to read them: beside the latents, in front of them, in branches.

Latents here are in the codec's normalised scale. A mask beside latents is 1 where a frame is known (Wan2.1,
image2video.py); VACE's is 1 where the video is generated (vace.py).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..control.pictures import PictureError, contain, cover, cover_masks
from ..control.signals import by_latent_frame
from ..control.span import ControlError, applies
from ..control.track_latents import ati, wanmove
from ..control.tracks import fitted as fitted_tracks
from ..sampling.draft_guidance import DraftGuidance
from ..sampling.held import HeldFrames
from .inputs import ModelInputs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..control.depth import DepthMaps
    from ..control.flow import FlowField
    from .values import Run

CLIP_TOKENS = 257  # CLIP features of one picture (ViT-H/14)
GRAY = 0.5  # the pixel value of an unknown frame: 0 in the codec's -1..1


class WanInputs(ModelInputs):
    """The inputs of one run of a Wan model. Raises ControlError and PictureError for what does not fit the clip."""

    def __init__(self, run: Run):
        model, conditioning, clip = run.model, run.conditioning, run.clip
        assert model.variant is not None
        super().__init__(model.space, conditioning.controls, clip)
        self.run, self.model, self.conditioning, self.device = run, model, conditioning, run.context.device
        self.config, self.task, self.rays = model.config, model.variant.task, model.config.camera_rays
        self.size, self.grid = (clip.width, clip.height), clip.latent_shape(self.space)[2:]
        ignored = conditioning.strength == 0
        self.start = None if ignored else self._start(conditioning.start)
        tracks = conditioning.tracks
        self.tracks = None if tracks is None else fitted_tracks(tracks, clip.frames, *self.size)
        self.end = None if ignored or conditioning.end is None else cover(conditioning.end, *self.size)
        self.video = self._frames_of(conditioning.control_video, "control_video")
        self.mask = self._frames_of(conditioning.control_mask, "control_mask")
        references = conditioning.reference if self.task == "vace" else None
        self.before = 0 if references is None else len(references)
        self.held = self._held()
        self.guidance = self._guidance()
        self.one_sigma = self.held is None
        self.constant = {"image": self._image(), "reference": self._reference()}

    def at(self, progress: float, device: torch.device | str) -> dict[str, Any]:
        """See ModelInputs."""
        named: dict[str, Any] = {name: value for name, value in self.constant.items() if value is not None}
        if self.config.reads_camera and self.camera is not None and applies(self.camera, progress):
            camera = self._once("camera", lambda: self._camera(self.rays), device)
            named |= {"camera": camera, "camera_scale": self.camera.strength}
        if self.task == "vace":
            named |= self._branch(progress, device)
        depth = applies(self.depth, progress)
        if self.config.in_channels > self.config.out_channels:
            named["beside"] = self._once(("beside", depth), lambda: self._beside(depth), device)
        return named

    def _start(self, pictures: Tensor | None) -> Tensor | None:
        if pictures is None:
            return None
        count, step = len(pictures), self.space.temporal
        if (count - 1) % step or count >= self.clip.frames:
            raise PictureError(
                f"start_image has {count} pictures; expected 1, or {step}*k + 1 of them, fewer than the video's "
                f"{self.clip.frames} frames"
            )
        return cover(pictures, *self.size)

    def _frames_of(self, frames: Tensor | None, name: str) -> Tensor | None:
        """Frames [T,H,W,3] or masks [T,H,W] in the video's size: one for each of its frames, or one for all."""
        if frames is None:
            return None
        if len(frames) not in (1, self.clip.frames):
            raise ControlError(
                f"{name} has {len(frames)} frames and the video {self.clip.frames}; make both of one length"
            )
        if frames.ndim == 3:  # masks
            frames = cover_masks(frames, *self.size)
        else:
            frames = cover(frames, *self.size)
        return frames.expand(self.clip.frames, *frames.shape[1:])

    def _encoded(self, pictures: Tensor) -> Tensor:
        """Latents [1,C,T',h,w] of pictures [T,H,W,3]."""
        return self.space.normalize(self._raw(pictures))

    def _raw(self, pictures: Tensor) -> Tensor:
        """The same in the codec's own scale."""
        codec = self.model.require("codec", "a picture or control video")
        return codec.encode(pictures[None].to(self.device)).float()

    def _held(self) -> HeldFrames | None:
        """TI2V-5B holds its first frames at sigma 0, and a causal T2V model goes on from them; models of the 2.1 codec
        read them beside the latents.
        """
        import torch

        if self.start is None or not self._holds():
            return None
        first = self._encoded(self.start)
        latent = torch.zeros(1, self.space.channels, *self.grid, device=self.device)
        latent[:, :, : first.shape[2]] = first
        held = torch.arange(latent.shape[2], device=self.device) < first.shape[2]
        return HeldFrames(latent, held, self.conditioning.strength)

    def _holds(self) -> bool:
        goes_on = self.model.causal is not None and self.task == "t2v"
        return goes_on or self.space.spatial >= 16

    def _guidance(self) -> DraftGuidance | None:
        """The shot's draft, with the references of a VACE model in front and held pictures as they are."""
        import torch

        if (draft := self.run.continuation.draft) is None:
            return None
        assert draft.latent is not None
        latent = self.space.normalize(draft.latent.float())
        if self.held is not None:
            latent = self.held.latent.where(self.held.mask, latent)
        hold = None
        if draft.coverage is not None:  # of a cell as of its least certain pixel
            side, coverage, (t, h, w) = self.space.spatial, draft.coverage[:], draft.coverage.shape
            cells = coverage.view(t, h // side, side, w // side, side).amin((2, 4))
            hold = by_latent_frame(cells, self.space.temporal).amin(1)[None, None].to(self.device)
        if self.before:
            references = self.conditioning.reference
            assert references is not None
            front = [self._encoded(contain(picture[None], *self.size)) for picture in references]
            latent = torch.cat((*front, latent), 2)
            hold = None if hold is None else torch.nn.functional.pad(hold, (0, 0, 0, 0, self.before, 0))
        return DraftGuidance(latent, 1.0 - draft.strength, hold)

    def _image(self) -> Tensor | None:
        """CLIP features; a Fun model without a picture reads zeros (VideoX-Fun, pipeline_wan_fun_control.py)."""
        import torch

        if not self.config.image_dim:
            return None
        given = self.conditioning.image
        return (torch.zeros(1, CLIP_TOKENS, self.config.image_dim) if given is None else given).to(self.device)

    def _reference(self) -> Tensor | None:
        """Latents [1,C,h,w] for the reference convolution: zeros where there is no picture, as VideoX-Fun has it."""
        import torch

        if not self.config.ref_channels:
            return None
        if self.conditioning.reference is None:
            return torch.zeros(1, self.config.ref_channels, *self.grid[1:], device=self.device)
        if len(self.conditioning.reference) != 1:
            raise PictureError(f"reference_image has {len(self.conditioning.reference)} pictures; this model reads 1")
        return self._encoded(cover(self.conditioning.reference, *self.size))[:, :, 0]

    def _beside(self, depth: bool) -> Tensor:
        """[1, in - out, T', h, w] of I2V, Fun-Control and Fun-Camera: the control's latents, then the known frames'."""
        import torch

        channels = self.config.out_channels
        parts = [self._control(depth)] if self.task == "control" else []
        masked = (self.config.in_channels - channels) % channels > 0
        parts.append(self._masked_pictures() if masked else self._first_picture())
        return torch.cat(parts, 1)

    def _control(self, with_depth: bool) -> Tensor:
        if (video := self.video) is not None:
            return self._once("video", lambda: self._encoded(video), self.device)
        if (depth := self.depth) is None or not with_depth:
            return self._zeros()
        return self._once("depth", lambda: self._encoded(depth_pictures(depth)), self.device)

    def _masked_pictures(self) -> Tensor:
        """4 channels of mask, then latents of the key pictures with grey frames between (first_last_frame2video.py)."""
        import torch

        if self.start is None and self.end is None:
            return torch.cat((self._zeros()[:, :4], self._zeros()), 1)
        count = self.clip.frames
        if self.model.causal is not None:  # pictures of a longer video would take memory, and its latents stay the same
            count = min(count, self.model.defaults["frames"])
        video, known = torch.full((count, *self.size[::-1], 3), GRAY), torch.zeros(self.clip.frames)
        self._place(video, known, 1.0)
        mask = (
            by_latent_frame(known, self.space.temporal)
            .T[None, :, :, None, None]
            .expand(-1, -1, *self.grid)
            .to(self.device)
        )
        raw, tracks = self._raw(video), self.tracks
        more = self.grid[0] - raw.shape[2]
        raw = torch.cat((raw, raw[:, :, -1:].expand(-1, -1, more, -1, -1)), 2) if more else raw
        if tracks is not None and self.conditioning.track_method == "wanmove":
            raw = wanmove(raw[0], tracks)[None]  # of both prompts, as the released code does
        latent = self.space.normalize(raw)
        if tracks is not None and self.conditioning.track_method == "ati":
            weights, made = ati(latent[0], tracks)
            mask, latent = weights.expand_as(mask), made[None]
        return torch.cat((mask, latent), 1)

    def _first_picture(self) -> Tensor:
        """Latents of the start picture, then zeros (VideoX-Fun, pipeline_wan_fun_control.py)."""
        latent = self._zeros()
        if self.start is not None:
            first = self._encoded(self.start)
            latent[:, :, : first.shape[2]] = first
        return latent

    def _zeros(self) -> Tensor:
        import torch

        return torch.zeros(1, self.space.channels, *self.grid, device=self.device)

    def _place(self, video: Tensor, mark: Tensor, value: float) -> None:
        """Write the key pictures into a video [T,H,W,3], and `value` into mark [T, ...] at their frames."""
        if self.start is not None:
            video[: len(self.start)], mark[: len(self.start)] = self.start, value
        if self.end is not None:
            video[-1:], mark[-1:] = self.end, value

    def _branch(self, progress: float, device: torch.device | str) -> dict[str, Any]:
        """VACE: the contexts that act now, each with its strength; without any control, one that leaves all frames
        free.
        """
        acting: dict[str, float] = {}
        if self.depth is not None and applies(self.depth, progress):
            acting["depth"] = self.depth.strength
        if self.flow is not None and self.flow.by_branch and applies(self.flow, progress):
            acting["flow"] = self.flow.strength
        if self.video is not None or not acting:
            acting["video"] = 1.0
        contexts = tuple(self._once(name, partial(self._context, name), device) for name in acting)
        return {"vace": contexts, "vace_scale": tuple(acting.values())}

    def _guide(self, name: str) -> Tensor:
        """Pictures [T,H,W,3] of the depth or the flow."""
        if name == "depth" and self.depth is not None:
            return depth_pictures(self.depth)
        assert self.flow is not None
        return flow_pictures(self.flow)

    def _context(self, name: str) -> Tensor:
        """VACE: latents to keep, latents to generate, 64 channels of mask [1, 96, references + T', h, w] (vace.py).

        Depth and flow lead where the mask is 1. Elsewhere their pictures would be kept as if they were the video's own
        pixels, so the control video stands there, and without one grey, which the model fills freely.
        """
        import torch

        mask = torch.ones(self.clip.frames, *self.size[::-1])
        video = torch.full((*mask.shape, 3), GRAY) if self.video is None else self.video.clone()
        if self.video is not None and self.mask is not None:
            mask = self.mask.clone()
        if name != "video":
            leads = torch.tensor(True) if self.mask is None else self.mask[..., None] > 0.5
            video = torch.where(leads, self._guide(name), video)
        self._place(video, mask, 0.0)
        free = (mask > 0.5).float()[..., None]
        keep, make = ((video - GRAY) * share + GRAY for share in (1 - free, free))
        cells = folded_mask(mask, self.grid).to(self.device)
        context = torch.cat((self._encoded(keep), self._encoded(make), cells), 1)
        references = self.conditioning.reference if self.before else None
        for picture in () if references is None else reversed(references):
            latent = self._encoded(contain(picture[None], *self.size))
            empty = torch.zeros_like(context[:, latent.shape[1] :, :1])
            context = torch.cat((torch.cat((latent, empty), 1), context), 2)
        return context


def depth_pictures(depth: DepthMaps) -> Tensor:
    """Depth [T,H,W,3] as VACE and Fun-Control were trained on it: grey, near is white."""
    return depth.inverse[..., None].expand(-1, -1, -1, 3)


def flow_pictures(flow: FlowField) -> Tensor:
    """Flow [T,H,W,3] as VACE was trained on it: RAFT's colours, each frame scaled to its own maximum, the first
    twice.
    """
    import torch

    from ..control.flow import FlowField
    from ..control.flow_colors import to_colors

    steps = [to_colors(FlowField(flow.flow[t : t + 1], flow.valid[t : t + 1])) for t in range(len(flow.flow))]
    return torch.cat([steps[0], *steps])


def folded_mask(mask: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """[T,H,W] -> [1, s*s, T', h, w], s = H/h: each cell's pixels as channels, nearest neighbour in time."""
    import torch

    _, h, w = grid
    s = mask.shape[1] // h
    cells = mask.view(len(mask), h, s, w, s).permute(2, 4, 0, 1, 3).reshape(1, s * s, len(mask), h, w)
    return torch.nn.functional.interpolate(cells, size=grid, mode="nearest-exact")
