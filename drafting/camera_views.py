"""A shot's last known picture, and the cameras behind it: what the one shows, as the others see it, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from ..geometry.camera import focal_length
from ..geometry.reproject import reproject

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.camera import CameraPath

FOV_DEG = 40.0  # of a camera that no path tells
RIM = 1  # pixels around what comes to light
ASIDE = 1.5  # times as far as what is beside a hole must be what is above or below it, to count for more


class Views:
    """Places in the camera of a shot's last known picture, and in those behind it."""

    def __init__(self, camera: CameraPath | None, width: int, height: int):
        """camera: the path from the last known picture on; None: it rests."""
        import torch

        self.centre, self.camera = torch.tensor([width / 2, height / 2]), camera
        fov = torch.tensor([FOV_DEG]) if camera is None else camera.fov_deg
        self.focal = focal_length(fov, height).float()  # pixels; one for all where it rests
        if camera is not None:
            self.to = (torch.linalg.inv(camera.c2w) @ camera.c2w[0]).float()

    def seen(self, place: Tensor, depth: Tensor, frame: int | slice) -> tuple[Tensor, Tensor]:
        """Places [N,2] (pixels) and depths [N,1] (metres) of the first camera as that of so many frames later sees them; or
        those of many frames [F,N,.] as the camera of each does."""
        if self.camera is None:
            return place, depth
        to = self.to[frame]
        at = in_space(place, depth, self.centre, self.focal[0]) @ to[..., :3, :3].mT + to[..., None, :3, 3]
        z = at[..., 2:].clamp_min(0.1)
        return at[..., :2] / z * self.focal[frame, None, None] + self.centre, at[..., 2:]

    def zoom(self, frame: int | slice) -> Tensor | float:
        """How much larger things are at the same distance than in the first camera."""
        return 1.0 if self.camera is None else self.focal[frame, None, None] / self.focal[0]

    def back(self, place: Tensor, depth: Tensor, frame: int) -> Tensor:
        """Places [N,2] in the first camera of those in a later one."""
        if self.camera is None:
            return place
        at = in_space(place, depth, self.centre, self.focal[frame])
        at = (at - self.to[frame, :3, 3]) @ self.to[frame, :3, :3]
        return at[..., :2] / at[..., 2:].clamp_min(0.1) * self.focal[0] + self.centre

    def balls(self, tracks: Tensor) -> tuple[Tensor, Tensor]:
        """Centres [F,N,3] and radii [F,N] in metres, in the first camera, of balls that those behind it see at tracks [F,N,4]."""
        if self.camera is None:
            return balls_of(tracks, self.centre, self.focal)
        centres, radii = balls_of(tracks, self.centre, self.focal[1:, None, None])
        return (centres - self.to[1:, None, :3, 3]) @ self.to[1:, :3, :3], radii

    def at_the_end(self, centres: Tensor) -> Tensor:
        """Points [...,3] in metres of the first camera in the last one."""
        return centres @ self.to[-1, :3, :3].T + self.to[-1, :3, 3]

    def nears(self, near: Tensor) -> Tensor:
        """1 / metres [h,w] of the first camera as it and those behind it see them [F,h,w]; one for all where they rest."""
        import torch

        if self.camera is None:
            return near[None]
        return torch.cat((near[None], 1 / reproject(1 / near, self.camera.c2w, self.camera.fov_deg)[0]))

    def turned(self) -> Views:
        """The cameras of a path from its last one back."""
        return Views(self.camera.reversed(), *(2 * self.centre).int().tolist())

    def planes(self, plane: Tensor) -> Tensor:
        """A plane [3] of the first camera (see floor_of) in those of a path behind it [F,3]."""
        turned = self.to[1:, :3, :3] @ plane
        return turned / (1 + (turned * self.to[1:, :3, 3]).sum(-1, keepdim=True)).clamp_min(1e-3)

    def facing(self, tracks: Tensor, spots: Tensor, later: bool) -> Callable[[Tensor], Tensor]:
        """How far balls at tracks [F,4] face a way [3] of the first camera at spots [h,w,2] of their discs, in radii: a cosine
        [F,h,w]. That camera sees them, or is where those behind it are `later`. Beyond a disc, as at its rim."""
        import torch

        moved = later and self.camera is not None
        focal = self.focal[1:, None] if moved else self.focal[:1]
        away = in_space(tracks[:, :2], torch.ones(len(tracks), 1), self.centre, focal)
        away = away / away.norm(dim=-1, keepdim=True)
        right = torch.tensor([1.0, 0.0, 0.0]) - away[:, :1] * away
        right = right / right.norm(dim=-1, keepdim=True)
        axes = torch.stack((right, torch.linalg.cross(away, right), away), 1)
        axes = axes @ self.to[1:, :3, :3] if moved else axes
        spots = spots / spots.norm(dim=-1, keepdim=True).clamp_min(1)
        bulge = (1 - spots.square().sum(-1, keepdim=True)).clamp_min(0).sqrt()
        normals = torch.cat((spots, -bulge), -1)
        return lambda way: torch.einsum("hwi,fi->fhw", normals, axes @ way)


class Walk:
    """How the cameras of a path see what the first one shows at 1 / metres near [H,W].

    `nears` [F,H,W]: 1 / metres as those behind it see them; `shows` [F,H,W]: whether the first one's picture does, too.
    """

    def __init__(self, views: Views, near: Tensor):
        from torch.nn import functional as F

        metres, came_from, fits = reproject(1 / near, views.camera.c2w, views.camera.fov_deg)
        self.nears, self._at = 1 / metres, came_from / views.centre - 1
        sure = F.max_pool2d((~fits)[:, None].float(), 2 * RIM + 1, 1, RIM)[:, 0] == 0  # at rims colours are mixed
        inside = (self._at.abs() < 1).all(-1)
        self.shows = sure & inside
        self._holes, self._beside = _beside(self.nears, self.shows, inside & ~fits)

    def seen(self, video: Tensor) -> Tensor:
        """What a video [F,H,W,3] of the first camera looks like in those behind it. What lies outside of its picture mirrors what
        is inside: of streaks of its edge nobody sees how they move. What comes out from behind something is as what is beside."""
        from torch.nn import functional as F

        video = F.grid_sample(video.permute(0, 3, 1, 2), self._at, padding_mode="reflection", align_corners=False)
        video = video.permute(0, 2, 3, 1)
        video[self._holes] = video[self._beside]
        return video


def _beside(nears: Tensor, shows: Tensor, hole: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Where holes [F,H,W] are, and for each the nearest pixel to one of its sides that shows something: to the left or right, as
    most edges of a scene lie across, where that is farther away; but above or below where it is `ASIDE` times as far there."""
    import torch

    frame, *at = hole.nonzero(as_tuple=True)
    least = torch.full(frame.shape, torch.inf)
    places = list(at)  # where nothing is shown around, all stays
    for axis in (2, 1):
        size = hole.shape[axis]
        line = torch.arange(size).view(-1, *[1] * (2 - axis)).expand(hole.shape)
        before = line.where(shows, -1).cummax(axis).values
        behind = line.where(shows, size).flip(axis).cummin(axis).values.flip(axis)
        for nearest in (before, behind):
            there, along = list(at), nearest[(frame, *at)]
            there[axis - 1] = along.clamp(0, size - 1)
            near = nears[(frame, *there)] * (1.0 if axis == 2 else ASIDE)
            better = (along >= 0) & (along < size) & (near < least)
            least = near.where(better, least)
            places = [new.where(better, old) for new, old in zip(there, places)]
    return (frame, *at), (frame, *places)


def in_space(place: Tensor, depth: Tensor, centre: Tensor, focal: Tensor) -> Tensor:
    """Points [...,3] in metres that a camera of so many pixels' focal length sees at places [...,2], depth [...,1]."""
    import torch

    return torch.cat(((place - centre) / focal * depth, depth), -1)


def balls_of(tracks: Tensor, centre: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
    """Centres [...,3] and radii [...] in metres of balls of tracks [...,4] in cameras of focal lengths [...,1] in pixels."""
    place, radius, depth = tracks.split((2, 1, 1), -1)
    return in_space(place, depth, centre, focal), (radius * depth / focal)[..., 0]
