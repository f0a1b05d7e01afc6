"""Conditionings laid out as each Wan model was trained to read them: beside the latents, in front of them, in branches.

Everything here is in the codec's normalised scale. A mask that lies beside latents is 1 where a frame is known
(Wan2.1, image2video.py), VACE's is 1 where the video is made anew (vace.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..control.fit import fitted
from ..control.pictures import PictureError, contain, cover
from ..control.span import ControlError, applies
from .inputs import Controls
from ..sampling.held import KnownFrames

if TYPE_CHECKING:
    from torch import Tensor

CLIP_TOKENS = 257  # features of a picture
GRAY = 0.5  # a pixel that says nothing: 0 in the codec's -1..1


class WanControls(Controls):
    """The controls of one run of a Wan model. Raises ControlError and PictureError for what does not fit the clip.

    before: latent frames of references in front of the clip, to be dropped at the end; known: frames to hold.
    """

    def __init__(self, model: Any, conditioning: Any, frames: int, width: int, height: int, device: Any):
        given = conditioning.camera, conditioning.depth, conditioning.flow
        self.camera, self.depth, self.flow = fitted(*given, frames, width, height)
        self.model, self.told, self.device = model, conditioning, device
        self.codec, self.config, self.task = model.space, model.config, model.variant.task
        self.frames, self.size, self.rays, self.extra = frames, (width, height), model.config.camera_rays, 0
        idle = conditioning.strength == 0
        self.start = None if idle else self._start(conditioning.start)
        self.end = None if idle or conditioning.end is None else cover(conditioning.end, width, height)
        self.video = self._long_enough(conditioning.control_video, "control_video")
        self.mask = self._long_enough(conditioning.control_mask, "control_mask")
        references = conditioning.reference if self.task == "vace" else None
        self.before = 0 if references is None else len(references)
        self._built: dict = {}
        self.known = self._known()
        self.one_sigma = self.known is None
        self.always = {"image": self._image(), "reference": self._reference()}

    def __bool__(self) -> bool:
        return True

    def at(self, place: float, device: Any) -> dict[str, Any]:
        """The transformer's keyword arguments in the step that begins at `place`; "beside": more channels for x."""
        named = {name: value for name, value in self.always.items() if value is not None}
        if self.rays and applies(self.camera, place):
            named |= {"camera": self._once("camera", self._camera, device), "camera_scale": self.camera.strength}
        if self.task == "vace":
            named |= self._branch(place, device)
        depth = applies(self.depth, place)
        if self.config.in_channels > self.config.out_channels:
            named["beside"] = self._once(("beside", depth), lambda: self._beside(depth), device)
        return named

    # Pictures

    def _start(self, pictures: Tensor | None) -> Tensor | None:
        if pictures is None:
            return None
        count, step = len(pictures), self.codec.temporal
        if (count - 1) % step or count >= self.frames:
            raise PictureError(
                f"start_image has {count} pictures; expected 1, or {step}*k + 1 of them, fewer than the video's "
                f"{self.frames} frames"
            )
        return cover(pictures, *self.size)

    def _long_enough(self, frames: Tensor | None, name: str) -> Tensor | None:
        """A control's frames in the video's size: as many as it has, or one, which then stands for all."""
        if frames is None:
            return None
        if len(frames) not in (1, self.frames):
            raise ControlError(f"{name} has {len(frames)} frames and the video {self.frames}; make both of one length")
        if frames.ndim == 3:  # masks
            frames = cover(frames[..., None].expand(-1, -1, -1, 3), *self.size)[..., 0]
        else:
            frames = cover(frames, *self.size)
        return frames.expand(self.frames, *frames.shape[1:])

    def _encoded(self, pictures: Tensor) -> Tensor:
        """Latents [1,C,T',h,w] of pictures [T,H,W,3]."""
        codec = self.model.require("codec", "a picture or control video")
        return codec.normalize(codec.encode(pictures[None].to(self.device)).float())

    def _known(self) -> KnownFrames | None:
        """TI2V-5B and its kin hold their first frames at sigma 0; other models read them beside the latents."""
        import torch

        if self.start is None or self.codec.spatial < 16:
            return None
        first = self._encoded(self.start)
        latent = torch.zeros(1, self.codec.channels, *self._grid(), device=self.device)
        latent[:, :, : first.shape[2]] = first
        held = torch.arange(latent.shape[2], device=self.device) < first.shape[2]
        return KnownFrames(latent, held, self.told.strength)

    def _grid(self) -> tuple[int, int, int]:
        width, height = self.size
        return ((self.frames - 1) // self.codec.temporal + 1, height // self.codec.spatial, width // self.codec.spatial)

    def _image(self) -> Tensor | None:
        """CLIP features; a Fun model without a picture reads zeros (VideoX-Fun, pipeline_wan_fun_control.py)."""
        import torch

        if not self.config.image_dim:
            return None
        given = self.told.image
        return (torch.zeros(1, CLIP_TOKENS, self.config.image_dim) if given is None else given).to(self.device)

    def _reference(self) -> Tensor | None:
        """Latents [1,C,h,w] for the reference convolution: zeros where there is no picture, as VideoX-Fun has it."""
        import torch

        if not self.config.ref_channels:
            return None
        if self.told.reference is None:
            return torch.zeros(1, self.config.ref_channels, *self._grid()[1:], device=self.device)
        if len(self.told.reference) != 1:
            raise PictureError(f"reference_image has {len(self.told.reference)} pictures; this model reads 1")
        return self._encoded(cover(self.told.reference, *self.size))[:, :, 0]

    # Channels beside the latents: I2V, Fun-Control, Fun-Camera

    def _beside(self, depth: bool) -> Tensor:
        """[1, in - out, T', h, w]: the control's latents if the model has one, then the known frames' (with a mask)."""
        import torch

        channels = self.config.out_channels
        parts = [self._control(depth)] if self.task == "control" else []
        masked = (self.config.in_channels - channels) % channels > 0
        parts.append(self._masked_pictures() if masked else self._first_picture())
        return torch.cat(parts, 1)

    def _control(self, depth: bool) -> Tensor:
        if self.video is not None:
            return self._once("video", lambda: self._encoded(self.video), self.device)
        if self.depth is None or not depth:
            return self._nothing()
        return self._once("depth", lambda: self._encoded(depth_pictures(self.depth)), self.device)

    def _masked_pictures(self) -> Tensor:
        """[mask of 4, latents of the known pictures with gray between] (Wan2.1, first_last_frame2video.py)."""
        import torch

        if self.start is None and self.end is None:
            return torch.cat((self._nothing()[:, :4], self._nothing()), 1)
        video, known = torch.full((self.frames, *self.size[::-1], 3), GRAY), torch.zeros(self.frames)
        self._place(video, known, 1.0)
        steps = self.codec.temporal
        mask = torch.cat((known[:1].expand(steps - 1), known)).view(-1, steps).T  # the first frame is a cell of its own
        mask = mask[None, :, :, None, None].expand(-1, -1, *self._grid()).to(self.device)
        return torch.cat((mask, self._encoded(video)), 1)

    def _first_picture(self) -> Tensor:
        """Latents of the start picture alone, nothing behind them (VideoX-Fun, pipeline_wan_fun_control.py)."""
        latent = self._nothing()
        if self.start is not None:
            first = self._encoded(self.start)
            latent[:, :, : first.shape[2]] = first
        return latent

    def _nothing(self) -> Tensor:
        import torch

        return torch.zeros(1, self.codec.channels, *self._grid(), device=self.device)

    def _place(self, video: Tensor, mark: Tensor, value: float) -> None:
        """Puts the key pictures into a video [T,H,W,3] and `value` into mark [T, ...] where they lie."""
        if self.start is not None:
            video[: len(self.start)], mark[: len(self.start)] = self.start, value
        if self.end is not None:
            video[-1:], mark[-1:] = self.end, value

    # VACE

    def _branch(self, place: float, device: Any) -> dict[str, Any]:
        """The contexts that act now, each with its strength; without any control one that leaves all frames free."""
        acting = {}
        if applies(self.depth, place):
            acting["depth"] = self.depth.strength
        if applies(self.flow, place) and self.flow.by_branch:
            acting["flow"] = self.flow.strength
        if self.video is not None or not acting:
            acting["video"] = 1.0
        contexts = tuple(self._once(name, lambda name=name: self._context(name), device) for name in acting)
        return {"vace": contexts, "vace_scale": tuple(acting.values())}

    def _context(self, name: str) -> Tensor:
        """[1, 96, references + T', h, w]: latents to keep, latents to make anew, mask of 64 (Wan2.1, vace.py)."""
        import torch

        shown = {"depth": lambda: depth_pictures(self.depth), "flow": lambda: flow_pictures(self.flow)}
        video = self.video if name == "video" else shown[name]()
        mask = torch.ones(self.frames, *self.size[::-1])
        if video is None:
            video = torch.full((*mask.shape, 3), GRAY)
        elif self.mask is not None:
            mask = self.mask.clone()
        video = video.clone()
        self._place(video, mask, 0.0)
        anew = (mask > 0.5).float()[..., None]
        keep, make = ((video - GRAY) * share + GRAY for share in (1 - anew, anew))
        cells = folded_mask(mask, self._grid()).to(self.device)
        context = torch.cat((self._encoded(keep), self._encoded(make), cells), 1)
        for picture in reversed(self.told.reference if self.before else []):
            latent = self._encoded(contain(picture[None], *self.size))
            empty = torch.zeros_like(context[:, latent.shape[1] :, :1])
            context = torch.cat((torch.cat((latent, empty), 1), context), 2)
        return context


def depth_pictures(depth: Any) -> Tensor:
    """Depth as VACE and Fun-Control have seen it: grey, white near, [T,H,W,3]."""
    return depth.inverse[..., None].expand(-1, -1, -1, 3)


def flow_pictures(flow: Any) -> Tensor:
    """Flow as VACE has seen it [T,H,W,3]: RAFT's colour wheel, each frame to its own fastest, the first frame twice."""
    import torch

    from ..control.wheel import to_colors

    steps = [to_colors(type(flow)(flow.flow[t : t + 1], flow.valid[t : t + 1])) for t in range(len(flow.flow))]
    return torch.cat([steps[0], *steps])


def folded_mask(mask: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """[T,H,W] -> [1, s*s, T', h, w], s = H/h: each cell's pixels as channels, the nearest frame in time."""
    import torch

    _, h, w = grid
    s = mask.shape[1] // h
    cells = mask.view(len(mask), h, s, w, s).permute(2, 4, 0, 1, 3).reshape(1, s * s, len(mask), h, w)
    return torch.nn.functional.interpolate(cells, size=grid, mode="nearest-exact")
