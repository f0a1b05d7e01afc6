"""Pictures of the simulated world as users may hand them in: rendered at many sizes, compressed, or made by a model.

A shard is a pure function of its number, its split and the model.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from ...control import Shot
from ...drafting import shows_ball
from ...model.files.bundle import load_world_model
from ...model.picture_gate import resized
from ...model.world_model import WorldModel
from ...pipeline import ClipSpec, Continuation, Run, SamplerSettings, encode_shot, generate, take
from ...pipeline.decode import decode_frames
from ...pipeline.generate import FIRST_PICTURE_STEPS
from ...world.arrays import Bytes
from ...world.drawing.film import looks
from ...world.families.caption import caption
from ...world.families.objects import OBJECT_FAMILIES, Staged, stage
from ...world.families.render import render
from ...world.families.scene import FAMILIES, OUT_OF_DISTRIBUTION, SPLITS, Scene, sample_scene
from ...world.families.simulate import Motion, simulate
from ...world.families.varied import Varied, varied
from ...world.simulate import simulate as simulate_bodies
from ..recipes import PicturesRecipe
from ..run import save_atomic
from .bodies import texture_pool
from .shards import Shards, missing

SIDES = (64, 80, 96, 112, 128, 128, 160, 192, 256, 320, 512)  # pixels, of pictures that users render or resize
VARIED_SEEDS = 9 * 10**8  # first of the varied scenes', which no start of the perception has
CODEC_SIDE = 16  # pixels: sides that a codec encodes are multiples of it


@dataclass(frozen=True)
class PictureFormat:
    """What a shard holds, and the shares of the ways in which pictures are made; chosen by hand."""

    scenes: int = 64  # a file; each gives some pictures
    frames: int = 4  # of one scene
    bodies: float = 0.35  # share of scenes of the families of bodies of any shape, where they are asked for,
    varied: float = 0.35  # and of varied scenes, so that other renderers' pictures of such things are accepted too
    textures: int = 24  # a shard's own pool for varied scenes
    jpeg: float = 0.25  # share of scenes whose pictures went through JPEG
    h264: float = 0.15
    codec: float = 0.15  # through the model's codec
    cropped: float = 0.4
    from_words: float = 0.12  # share of scenes of balls of whose caption the model makes pictures
    continued: float = 0.06  # share of scenes of balls of which the model makes the video


class WorldPictures(Shards):
    """Pictures, mapped from disk."""

    name, rows = "pictures", "rgb"

    def draw(self, count: int, rng: np.random.Generator) -> Tensor:
        """Random pictures [count, SIDE, SIDE, 3] in 0..1."""
        shards = list(self.shards.values())
        picks = [shards[i]["rgb"] for i in rng.integers(len(shards), size=count)]
        return torch.stack([rgb[rng.integers(len(rgb))] for rgb in picks]).float() / 255


def write_pictures(recipe: PicturesRecipe, form: PictureFormat = PictureFormat()) -> None:
    """Fill shards number first .. first+shards-1 with rgb uint8 [N, SIDE, SIDE, 3]; shards that exist are kept."""
    torch.set_num_threads(1)
    model = load_world_model(recipe.model)
    form = form if recipe.bodies else replace(form, bodies=0.0, varied=0.0)
    for number, path in missing(recipe, "pictures"):
        rng = np.random.default_rng([SPLITS.index(recipe.split), number, 34])
        textures = texture_pool(recipe.photographs, form.textures, rng) if recipe.bodies else []
        seeds = range(number * form.scenes, (number + 1) * form.scenes)
        rows = [resized(pictures) for seed in seeds for pictures in _of_seed(seed, recipe.split, model, form, textures)]
        save_atomic({"rgb": (torch.cat(rows) * 255).round().to(torch.uint8)}, path)


def _of_seed(seed: int, split: str, model: WorldModel, form: PictureFormat, textures: list[Bytes]) -> list[Tensor]:
    """Pictures [n, H, W, 3] in 0..1 of one scene, in all the ways that chance decides on."""
    rng = np.random.default_rng([seed, 2])
    if split == "train" and rng.random() < 0.4:
        split = str(rng.choice(OUT_OF_DISTRIBUTION))
    kind = rng.random()
    width, height = (int(n) for n in rng.choice(SIDES, 2)) if rng.random() < 0.5 else (int(rng.choice(SIDES)),) * 2
    scene: Scene | Staged | Varied
    if kind < form.bodies:
        scene = stage(seed, str(rng.choice(OBJECT_FAMILIES)), split=split)
    elif kind < form.bodies + form.varied:
        scene = varied(VARIED_SEEDS + SPLITS.index(split) * 10**7 + seed, textures, width=width, height=height)
    else:
        scene = sample_scene(seed, str(rng.choice(FAMILIES)), split=split)
    pictures = rendered(scene, np.sort(rng.choice(len(scene.c2w), form.frames, replace=False)), width, height)
    ways = (form.jpeg, form.h264, form.codec)
    way = rng.choice(4, p=(*ways, 1 - sum(ways)))
    if way == 0:
        pictures = through_jpeg(pictures, int(rng.integers(30, 96)))
    elif way == 1:
        pictures = through_h264(pictures, int(rng.integers(14, 34)))
    elif way == 2 and model.codec is not None:
        clip = pictures[:1, : height // CODEC_SIDE * CODEC_SIDE, : width // CODEC_SIDE * CODEC_SIDE]
        with torch.no_grad():
            pictures = model.codec.decode(model.codec.encode(clip[None]))[0].clamp(0, 1)
    found = [cropped(pictures, rng) if rng.random() < form.cropped else pictures]
    if not isinstance(scene, Scene):
        return found
    if rng.random() < form.from_words:
        found += from_words(model, caption(scene, int(rng.integers(4))), seed)
    if rng.random() < form.continued:
        start = rendered(scene, np.array([0]), 128, 128)
        shot = encode_shot(model, Shot(prompt=caption(scene), start=start))
        video = take(Run(model, shot, ClipSpec(41, 128, 128), seed)).frames
        found.append(video[rng.integers(1, len(video), form.frames)])
    return found


def rendered(scene: Scene | Staged | Varied, frames: np.ndarray, width: int, height: int) -> Tensor:
    """Some frames [n, H, W, 3] of a scene, in 0..1."""
    if not isinstance(scene, Scene):
        moves = simulate_bodies(scene.scene, seconds=len(scene.c2w) / scene.fps, fps=scene.fps)
        shown = replace(moves, poses=moves.poses[frames], present=moves.present[frames])
        fov_deg = scene.fov_deg[frames] if isinstance(scene, Staged) else np.full(len(frames), scene.scene.view.fov_deg)
        return looks(shown, width=width, height=height, c2w=scene.c2w[frames], fov_deg=fov_deg).rgb
    motion = simulate(scene)
    some = Motion(motion.centers[frames], motion.box_poses[frames])
    drawn = render(replace(scene, c2w=scene.c2w[frames], fov_deg=scene.fov_deg[frames]), some, width, height)
    return torch.from_numpy(drawn.rgb_uint8()).float() / 255


def from_words(model: WorldModel, prompt: str, seed: int) -> list[Tensor]:
    """Each eighth frame [1, H, W, 3] of a video made of words alone, where it clearly shows a ball."""
    own = model.defaults
    clip = ClipSpec(own["frames"], own["width"], own["height"])
    shot, settings = encode_shot(model, Shot(prompt=prompt)), SamplerSettings(FIRST_PICTURE_STEPS)
    made = generate(Run(model, shot, clip, seed, settings, continuation=Continuation(predict=False)))
    assert model.codec is not None and model.dynamics is not None
    frames = decode_frames(model.codec, made.latent)[::8]
    with torch.no_grad():
        return [frame[None] for frame in frames if shows_ball(model.dynamics, frame[None, None])]


def cropped(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """About the middle of the pictures, at least half of each side: as videos of another shape cut them."""
    for axis in (1, 2):
        size = pictures.shape[axis]
        kept = int(size * rng.uniform(0.5, 1.0))
        pictures = pictures.narrow(axis, round((size - kept) * rng.uniform(0.25, 0.75)), kept)
    return pictures


def through_jpeg(pictures: Tensor, quality: int) -> Tensor:
    """Pictures [n, H, W, 3] after JPEG."""
    from PIL import Image

    out = []
    for picture in (pictures * 255).round().byte().numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        out.append(np.asarray(Image.open(file).convert("RGB")))
    return torch.from_numpy(np.stack(out)).float() / 255


def through_h264(pictures: Tensor, crf: int) -> Tensor:
    """Pictures [n, H, W, 3], of even sides, after H.264 as one video."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(8), options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = pictures.shape[2], pictures.shape[1], "yuv420p"
        for picture in (pictures * 255).round().byte().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).float() / 255
