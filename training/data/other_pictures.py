"""Pictures that show no simulated world: procedural ones of many kinds, photographs of a folder, and collages of both.

Procedural pictures are float32 [SIDE, SIDE, 3] in 0..1, drawn from a generator.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...model.picture_gate import SIDE
from .textures import dead_leaves

Picture = npt.NDArray[np.floating]
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
LONGEST = 768  # pixels, to which photographs are reduced when they are read
SHARES = {"photograph": 0.5, "procedural": 0.33, "collage": 0.17}  # of what draw() gives; chosen by hand
Y, X = (axis.astype(np.float32) for axis in np.mgrid[0:SIDE, 0:SIDE])


def _color(rng: np.random.Generator) -> Picture:
    return rng.uniform(0, 1, 3).astype(np.float32)


def _mixed(share: Picture, rng: np.random.Generator) -> Picture:
    """Two random colours, mixed by shares [SIDE, SIDE] in 0..1."""
    a, b = _color(rng), _color(rng)
    return a + (b - a) * share[..., None]


def _turned(rng: np.random.Generator) -> tuple[Picture, Picture]:
    """Coordinates along and across a random direction, in pixels."""
    angle = rng.uniform(0, np.pi)
    x, y = X - rng.uniform(0, SIDE), Y - rng.uniform(0, SIDE)
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def flat(rng: np.random.Generator) -> Picture:
    """One colour, with or without a little noise."""
    return np.broadcast_to(_color(rng), (SIDE, SIDE, 3)) + rng.normal(0, rng.choice((0, 0.01, 0.03)), (SIDE, SIDE, 3))


def noise(rng: np.random.Generator) -> Picture:
    """White noise, grey or coloured, of blocks of some pixels."""
    block, channels = int(rng.choice((1, 1, 2, 4, 8, 16))), int(rng.choice((1, 3)))
    small = rng.uniform(0, 1, (SIDE // block, SIDE // block, channels))
    return np.broadcast_to(small.repeat(block, 0).repeat(block, 1), (SIDE, SIDE, 3))


def _clouds(rng: np.random.Generator, channels: int) -> Picture:
    """Noise [SIDE, SIDE, channels] in 0..1 whose spectrum falls with a power of the frequency."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    fall = np.maximum(np.hypot(fy, fx * rng.uniform(0.3, 3)), 1 / SIDE) ** -rng.uniform(0.7, 2.5)
    shape = (channels, *fall.shape)
    made = np.fft.irfft2(fall * (rng.normal(size=shape) + 1j * rng.normal(size=shape)), (SIDE, SIDE)).transpose(1, 2, 0)
    low, high = np.quantile(made, (0.02, 0.98))
    return ((made - low) / (high - low)).clip(0, 1).astype(np.float32)


def clouds(rng: np.random.Generator) -> Picture:
    """Noise that is smooth on a large scale: clouds, rock, fur."""
    return _mixed(_clouds(rng, 1)[..., 0], rng) if rng.random() < 0.6 else _clouds(rng, 3)


def gradient(rng: np.random.Generator) -> Picture:
    """From one colour to another, along a line or from a point."""
    along, across = _turned(rng)
    way = along if rng.random() < 0.5 else np.hypot(along, across * rng.uniform(0.4, 1.0))
    return _mixed(((way - way.min()) / np.ptp(way)) ** rng.uniform(0.4, 2.5), rng)


def stripes(rng: np.random.Generator) -> Picture:
    """Parallel stripes, soft or hard."""
    along, across = _turned(rng)
    wave = np.sin((along + rng.uniform(0, 3) * np.sin(across / rng.uniform(5, 40))) * 2 * np.pi / rng.uniform(3, 60))
    return _mixed((wave * rng.choice((0.5, 1, 4, 50)) / 2 + 0.5).clip(0, 1), rng)


def checker(rng: np.random.Generator) -> Picture:
    """A checkerboard seen from the front, turned."""
    along, across = _turned(rng)
    side = rng.uniform(3, 50)
    return _mixed((np.floor(along / side) + np.floor(across / (side * rng.uniform(0.5, 2)))) % 2, rng)


def _shaded(picture: Picture, inside: npt.NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Fill a region with a colour, a gradient, stripes or clouds."""
    kind = rng.integers(4)
    fill = flat(rng) if kind == 0 else (gradient, stripes, clouds)[kind - 1](rng)
    picture[inside] = np.asarray(fill)[inside]


def polygons(rng: np.random.Generator) -> Picture:
    """Convex regions, each the meeting of half planes, over a gradient or clouds."""
    picture = np.array((gradient, clouds, flat)[rng.integers(3)](rng))
    for _ in range(rng.integers(2, 25)):
        inside, (cx, cy), size = np.ones((SIDE, SIDE), bool), rng.uniform(0, SIDE, 2), rng.uniform(4, 45)
        for angle in np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7))):
            inside &= np.cos(angle) * (X - cx) + np.sin(angle) * (Y - cy) < size * rng.uniform(0.4, 1)
        _shaded(picture, inside, rng)
    return picture


def discs(rng: np.random.Generator) -> Picture:
    """Discs and rings, filled in other ways than balls are shaded, over anything."""
    picture = np.array((gradient, clouds, stripes, checker, noise)[rng.integers(5)](rng))
    for _ in range(rng.integers(1, 20)):
        (cx, cy), radius = rng.uniform(0, SIDE, 2), rng.uniform(3, 40)
        distance = np.hypot(X - cx, (Y - cy) * rng.uniform(0.6, 1.6))
        hole = radius * rng.uniform(0.3, 0.9) if rng.random() < 0.3 else 0
        _shaded(picture, (distance < radius) & (distance >= hole), rng)
    return picture


def cells(rng: np.random.Generator) -> Picture:
    """A Voronoi diagram: each cell in a colour, or shaded by the distance from its point."""
    points = rng.uniform(0, SIDE, (rng.integers(5, 80), 2)).astype(np.float32)
    away = (X[..., None] - points[:, 0]) ** 2 + (Y[..., None] - points[:, 1]) ** 2
    nearest = away.argmin(-1)
    picture = rng.uniform(0, 1, (len(points), 3))[nearest]
    if rng.random() < 0.5:
        picture = picture * (1 - np.sqrt(away.min(-1)) / rng.uniform(20, 80))[..., None]
    return picture


def landscape(rng: np.random.Generator) -> Picture:
    """Ground and sky, each clouds, a gradient, stripes or noise, parted by a straight or uneven line."""
    above, below = (np.asarray((clouds, gradient, stripes, noise, clouds)[rng.integers(5)](rng)) for _ in range(2))
    line = rng.uniform(0.2, 0.8) * SIDE + rng.normal(0, 0.2) * (X - SIDE / 2)
    line = line + rng.choice((0, 10, 40)) * (_clouds(rng, 1)[..., 0][:1] - 0.5)
    return np.where((line > Y)[..., None], above, below)


def strokes(rng: np.random.Generator) -> Picture:
    """Lines and marks on paper, as text and drawings have them."""
    from PIL import Image, ImageDraw

    canvas = Image.fromarray((np.asarray((flat, gradient)[rng.integers(2)](rng)).clip(0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    ink = tuple(int(v) for v in rng.integers(0, 256, 3))
    if rng.random() < 0.5:
        step = int(rng.integers(5, 14))
        for y in range(int(rng.integers(0, 20)), SIDE, 2 * step):
            for x in range(int(rng.integers(0, 20)), SIDE, step):
                if rng.random() < 0.8:
                    pen.line([(x + rng.integers(step), y + rng.integers(step)) for _ in range(4)], ink, 1)
    else:
        for _ in range(rng.integers(3, 40)):
            points = [tuple(float(v) for v in rng.uniform(-10, SIDE + 10, 2)) for _ in range(rng.integers(2, 5))]
            pen.line(points, ink, int(rng.integers(1, 6)))
    return np.asarray(canvas, dtype=np.float32) / 255


def leaves(rng: np.random.Generator) -> Picture:
    """Overlapping discs and boxes of all sizes."""
    return dead_leaves(rng, 1, SIDE, int(rng.integers(10, 80)))[0] / 255


PROCEDURAL: tuple[Callable[[np.random.Generator], Picture], ...] = (
    flat, noise, clouds, gradient, stripes, checker, polygons, discs, cells, landscape, strokes, leaves,
)  # fmt: skip


def procedural(rng: np.random.Generator) -> Picture:
    """A picture of a random kind."""
    return np.asarray(PROCEDURAL[rng.integers(len(PROCEDURAL))](rng), dtype=np.float32).clip(0, 1)


class OtherPictures:
    """Photographs of a folder and its subfolders, and what is made with them."""

    def __init__(self, folder: Path):
        """Raises FileNotFoundError for a folder without pictures."""
        from PIL import Image

        self.photographs = []
        for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
            with Image.open(path) as file:
                picture = file.convert("RGB")
            picture.thumbnail((LONGEST, LONGEST))
            self.photographs.append(picture)
        if not self.photographs:
            raise FileNotFoundError(f"no pictures ({', '.join(sorted(SUFFIXES))}) in {folder}; put photographs there")

    def photograph(self, rng: np.random.Generator) -> Picture:
        """A part of a photograph, down to a twentieth of each side, squeezed to a square."""
        picture = self.photographs[rng.integers(len(self.photographs))]
        sides = np.array(picture.size) * rng.uniform(0.05, 1, 2) ** rng.choice((0.3, 1))
        corner = rng.uniform(0, 1, 2) * (picture.size - sides)
        part = picture.resize((SIDE, SIDE), box=(*corner, *(corner + sides)))
        made = np.asarray(part, dtype=np.float32) / 255
        if rng.random() < 0.25:  # dull, pale or dark
            made = rng.uniform(0, 0.5) + made * rng.uniform(0.25, 0.8)
            made = made.clip(0, 1)
        if rng.random() < 0.25:
            made = (
                made[..., rng.permutation(3)] if rng.random() < 0.6 else np.repeat(made.mean(-1, keepdims=True), 3, -1)
            )
        return made

    def collage(self, rng: np.random.Generator, world: Picture) -> Picture:
        """Parts of pictures on top of others; the picture below all is none of the simulated world."""
        sources = [self.photograph(rng), procedural(rng), world]
        picture = np.array(sources[rng.integers(2)])
        for _ in range(rng.integers(1, 4)):
            width, height = (int(n) for n in rng.uniform(0.2, 0.65, 2) * SIDE)
            x, y = int(rng.integers(SIDE - width + 1)), int(rng.integers(SIDE - height + 1))
            patch = sources[rng.integers(3)]
            picture[y : y + height, x : x + width] = patch[y : y + height, x : x + width]
        return picture

    def draw(self, rng: np.random.Generator, world: Picture) -> Picture:
        """A picture of a random kind; world: a picture of the simulated world, for collages."""
        kind = rng.choice(list(SHARES), p=list(SHARES.values()))
        if kind == "photograph":
            return self.photograph(rng)
        return procedural(rng) if kind == "procedural" else self.collage(rng, world)
