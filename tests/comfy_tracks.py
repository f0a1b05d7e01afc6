"""Run by a ComfyUI's python: latents rewritten along tracks, by its own nodes and by ours. Prints {claim: fault or ""}.

comfy_tracks.py /path/to/ComfyUI /folder/with/vdit
"""

from __future__ import annotations

import json
import sys
import traceback

core, packs = sys.argv[1:]
sys.argv[1:] = ["--cpu"]
sys.path[:0] = [core, packs]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.latent_formats  # noqa: E402
import torch  # noqa: E402
from comfy_extras import nodes_wan, nodes_wanmove  # noqa: E402
from vdit.control.track_files import from_text, to_points_text  # noqa: E402
from vdit.control.track_latents import ati, wanmove  # noqa: E402
from vdit.control.tracks import PointTracks, fitted, from_core, to_core  # noqa: E402

torch.set_num_threads(1)  # the core writes cells that tracks share in the order of its threads
WIDTH, HEIGHT = 160, 96
WAN = comfy.latent_formats.Wan21()
TEXT = [[torch.zeros(1, 1, 4), {}]]


class Codec:
    """A VAE that answers with the same random raw latent whatever it is given."""

    def __init__(self, frames):
        generator = torch.Generator().manual_seed(frames)
        shape = (1, 16, (frames - 1) // 4 + 1, HEIGHT // 8, WIDTH // 8)
        self.latent = WAN.process_out(torch.randn(shape, generator=generator))

    def encode(self, pictures):
        return self.latent.clone()


def random_tracks(frames, count, seed, hidden=0.2):
    """Points that wander, also out of the picture; all are seen within the first frame."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(1, count, 2, generator=generator) * torch.tensor([WIDTH - 1.0, HEIGHT - 1.0])
    steps = torch.randn(frames - 1, count, 2, generator=generator) * 6
    at = torch.cat((start, start + steps.cumsum(0)))
    visible = torch.rand(frames, count, generator=generator) >= hidden
    visible[0] = True
    return PointTracks(at, visible, (WIDTH, HEIGHT))


def same(ours, theirs, what):
    assert ours.shape == theirs.shape, f"{what}: {list(ours.shape)} and {list(theirs.shape)}"
    assert torch.equal(ours, theirs), f"{what} differs by {(ours - theirs).abs().max()}"


def by_the_node_of_wan_move(tracks, frames, strength):
    """concat_latent_image of positive and negative."""
    node, codec = nodes_wanmove.WanMoveTrackToVideo, Codec(frames)
    made = node.execute(
        TEXT, TEXT, codec, WIDTH, HEIGHT, frames, 1, strength, to_core(tracks), torch.rand(1, HEIGHT, WIDTH, 3)
    )
    return codec.latent, *(made.args[i][0][1]["concat_latent_image"] for i in (0, 1))


def wan_move_without_lots():
    """Tracks that meet: the core's order is that of a lot, which is taken away here."""
    lot = torch.randperm
    torch.randperm = lambda n, **_: torch.arange(n)
    try:
        for frames, count, strength in ((81, 300, 1.0), (49, 40, 1.0), (81, 300, 0.35), (5, 1, 1.0)):
            tracks = random_tracks(frames, count, seed=count)
            raw, positive, negative = by_the_node_of_wan_move(tracks, frames, strength)
            ours = wanmove(raw[0], fitted(tracks, frames, WIDTH, HEIGHT), strength)
            assert not torch.equal(ours, raw[0])
            same(ours[None], positive, f"positive, {count} tracks")
            same(ours[None], negative, f"negative, {count} tracks")
    finally:
        torch.randperm = lot


def wan_move_with_lots():
    """Tracks that never share a cell come out alike whatever the lot."""
    places = torch.stack(torch.meshgrid(torch.arange(8) * 16.0 + 4, torch.arange(5) * 16.0 + 4, indexing="ij"), -1)
    move = torch.arange(33)[:, None, None] * torch.tensor([1.0, 0.25])
    tracks = PointTracks(places.view(1, -1, 2) + move, torch.ones(33, 40, dtype=torch.bool))
    for seed in range(3):
        torch.manual_seed(seed)
        raw, positive, _ = by_the_node_of_wan_move(tracks, 33, 1.0)
        same(wanmove(raw[0], fitted(tracks, 33, WIDTH, HEIGHT))[None], positive, f"seed {seed}")


def the_core_s_own_tracks():
    """What the core's nodes generate and join is read, and what we give is joined and drawn."""
    generated = nodes_wanmove.GenerateTracks.execute(
        WIDTH, HEIGHT, 0.1, 0.2, 0.5, 0.5, 0.8, 0.7, 81, 5, 0.05, True, "ease_in_out"
    ).args[0]
    tracks = from_core(generated)
    same(tracks.at, generated["track_path"], "places")
    joined = nodes_wanmove.WanMoveConcatTrack.execute(to_core(random_tracks(81, 3, 1)), generated).args[0]
    assert from_core(joined).count == 8
    (shown,) = nodes_wanmove.WanMoveVisualizeTracks.execute(
        torch.zeros(81, HEIGHT, WIDTH, 3), 24, 4, 0.75, 4, to_core(tracks)
    ).args
    assert shown.shape == (81, HEIGHT, WIDTH, 3) and shown.amax() > 0.3
    masked = nodes_wanmove.WanMoveTracksFromCoords.execute(
        to_points_text(random_tracks(9, 2, 3)), torch.ones(9, 4, 4)
    ).args[0]
    assert from_core(masked).visible.shape == (9, 2)


def ati_formula():
    """The core's patch_motion and ours, on places of the video's own frames, hidden ones among them."""
    for frames, count, temperature, nearest in (
        (81, 300, 220.0, 2),
        (49, 7, 50.0, 5),
        (81, 1, 220.0, 2),
        (5, 2, 1e3, 10),
    ):
        latent, tracks = WAN.process_in(Codec(frames).latent), random_tracks(frames, count, seed=frames)
        size = torch.tensor([WIDTH, HEIGHT])
        at = (tracks.at - size / 2) / HEIGHT * 2
        seen = tracks.visible[..., None].float() * 2 - 1
        theirs = torch.cat((torch.zeros_like(seen), at, seen), -1)[None, None]
        mask, features = nodes_wan.patch_motion(theirs, latent, temperature, (4, 16), nearest)
        ours = ati(latent[0], tracks, temperature, nearest)
        same(ours[0].expand(4, -1, -1, -1)[None], mask, f"mask, {count} tracks")
        same(ours[1][None], features, f"features, {count} tracks")


def ati_node():
    """A text of 121 points a track, 5 s at 24 fps, by the whole node: for 81 frames it takes every third of 240."""
    for frames in (61, 81):
        tracks = random_tracks(121, 6, seed=5, hidden=0)
        if frames == 81:  # it takes frames 1, 3, 4, 6 ...: a half frame is rounded down, which pairs make alike
            tracks.at[2::3] = tracks.at[1::3]
        text, codec = to_points_text(tracks), Codec(frames)
        made = nodes_wan.WanTrackToVideo.execute(
            TEXT, TEXT, codec, text, WIDTH, HEIGHT, frames, 1, 220.0, 2, torch.rand(1, HEIGHT, WIDTH, 3)
        )
        read = fitted(from_text(text, "a text"), frames, WIDTH, HEIGHT)
        mask, features = ati(WAN.process_in(codec.latent)[0], read)
        given = made.args[0][0][1]
        same(-mask.expand(4, -1, -1, -1)[None] + 1.0, given["concat_mask"], f"mask, {frames} frames")
        same(WAN.process_out(features[None]), given["concat_latent_image"], f"latents, {frames} frames")


CLAIMS = {
    "Wan-Move's latents are those of the core's node, with tracks that meet": wan_move_without_lots,
    "Wan-Move's latents are those of the core's node, whatever its lots": wan_move_with_lots,
    "tracks go to the core's nodes and come from them": the_core_s_own_tracks,
    "ATI's mask and latents are those of the core's patch_motion": ati_formula,
    "ATI's mask and latents are those of the core's node, from one text": ati_node,
}
RESULTS = {}
for words, check in CLAIMS.items():
    try:
        check()
        RESULTS[words] = ""
    except Exception:
        RESULTS[words] = traceback.format_exc()
print(json.dumps(RESULTS))
