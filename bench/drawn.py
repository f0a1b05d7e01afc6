"""Pictures of things that are hard to cut out, drawn with their masks: a drinking glass, a chair, a cluttered desk."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

WIDTH, HEIGHT = 832, 480
HORIZON = 230
SUPER = 3  # sub-samples along each axis


def room(rng: np.random.Generator, wall: tuple[int, int, int], floor: tuple[int, int, int]) -> np.ndarray:
    """A wall with a soft light on it and a floor of planks, float [H, W, 3] in 0..255."""
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    image = np.float32(wall) * (1.05 - 0.35 * np.hypot(u / WIDTH - 0.35, v / HEIGHT - 0.2))[..., None]
    image += cv2.GaussianBlur(rng.normal(0, 20, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 9)[..., None]
    away = HEIGHT / np.maximum(v - HORIZON, 1)
    plank = np.floor((u - WIDTH / 2) * away / WIDTH * 3)
    shade = rng.uniform(-18, 18, 4001)[np.clip(plank + 2000, 0, 4000).astype(int)]
    grain = cv2.GaussianBlur(rng.normal(0, 40, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), sigmaX=1, sigmaY=7)
    ground = np.float32(floor) + (shade + grain + 0.1 * (v - HORIZON))[..., None]
    seen = np.clip((v - HORIZON) / 2, 0, 1)[..., None]
    return image * (1 - seen) + ground * seen


def coverage(draw: Callable[[np.ndarray], object]) -> np.ndarray:
    """Antialiased opacity [H, W] of what `draw` paints with 255 at SUPER times the size."""
    canvas = np.zeros((HEIGHT * SUPER, WIDTH * SUPER), np.uint8)
    draw(canvas)
    return cv2.resize(canvas.astype(np.float32) / 255, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def polygon(*points: tuple[float, float]) -> np.ndarray:
    """Opacity of a polygon of pixels (x, y)."""
    return coverage(lambda c: cv2.fillPoly(c, [np.round(np.array(points) * SUPER).astype(np.int32)], 255))


def ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Opacity of a filled ellipse."""
    center, radii = (round(x * SUPER), round(y * SUPER)), (round(rx * SUPER), round(ry * SUPER))
    return coverage(lambda c: cv2.ellipse(c, center, radii, 0, 0, 360, 255, -1))


def bar(a: tuple[float, float], b: tuple[float, float], width: float) -> np.ndarray:
    """Opacity of a straight bar."""
    along = np.subtract(b, a) / np.hypot(*np.subtract(b, a))
    side = np.array([-along[1], along[0]]) * width / 2
    return polygon(*(tuple(np.add(p, s)) for p, s in ((a, side), (b, side), (b, -side), (a, -side))))


def paint(image: np.ndarray, opacity: np.ndarray, color: np.ndarray | tuple[float, float, float]) -> None:
    """Lay a colour, or a picture, over the image."""
    image += opacity[..., None] * (np.float32(color) - image)


def shadow(image: np.ndarray, x: float, y: float, rx: float, ry: float) -> None:
    """A soft contact shadow."""
    image *= 1 - 0.55 * cv2.GaussianBlur(ellipse(x, y, rx, ry), (0, 0), 5)[..., None]


def glass(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A tumbler that shows the room through itself, bent and tinted."""
    image = room(rng, (205, 196, 178), (124, 88, 62))
    shadow(image, 424, 400, 62, 12)
    body = np.maximum(polygon((356, 150), (484, 150), (462, 398), (378, 398)), ellipse(420, 396, 42, 9))
    body = np.maximum(body, ellipse(420, 150, 64, 11))
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    bent = cv2.remap(image.astype(np.float32), u + 0.9 * (420 - u) * (np.abs(u - 420) / 60) ** 2, v, cv2.INTER_LINEAR)
    rim = 0.78 + 0.2 * np.clip(1 - np.abs(np.abs(u - 420) - 52) / 12, 0, 1)
    paint(image, body, bent * rim[..., None] + np.float32((6, 16, 18)))
    for x, foot in ((372, 385), (466, 455)):
        paint(image, 0.55 * bar((x, 168), (foot, 380), 5), (255, 255, 255))
    paint(image, 0.6 * np.clip(ellipse(420, 150, 64, 11) - ellipse(420, 150, 61, 8.5), 0, 1), (250, 255, 255))
    paint(image, 0.4 * ellipse(420, 388, 38, 7), (60, 70, 72))
    return image, {"glass": body}


def chair(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A wooden chair with legs of 7 to 9 pixels."""
    image = room(rng, (150, 168, 186), (142, 130, 118))
    shadow(image, 415, 412, 118, 15)
    legs = [((331, 262), (322, 418), 9), ((354, 262), (352, 392), 7), ((492, 262), (498, 418), 9)]
    bars = [*legs, ((474, 262), (470, 390), 7), ((334, 90), (334, 268), 9), ((372, 82), (370, 262), 8)]
    bars += [((332, 100), (374, 90), 10), ((333, 140), (372, 132), 8), ((333, 184), (371, 176), 8)]
    whole = np.maximum.reduce(
        [*(bar(*b) for b in bars), polygon((322, 256), (368, 246), (512, 248), (522, 270), (318, 276))]
    )
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    wood = np.float32((158, 84, 46)) * (0.75 + 0.35 * (u - 310) / 210)[..., None]
    paint(image, whole, wood + 14 * np.sin(v / 3 + u / 11)[..., None])
    return image, {"chair": whole}


def desk(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Five things that hide each other, some of the colour of what is behind them."""
    image = room(rng, (96, 116, 106), (168, 148, 126))
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    things: dict[str, np.ndarray] = {}

    def put(name: str, opacity: np.ndarray, color: np.ndarray) -> None:
        for other in things:
            things[other] = things[other] * (1 - opacity)
        things[name] = opacity
        paint(image, opacity, color)

    def box(name: str, x0: float, y0: float, x1: float, y1: float, color: tuple[int, int, int], ground: bool) -> None:
        if ground:
            shadow(image, (x0 + x1) / 2 + 8, y1 - 1, (x1 - x0) * 0.56, 8)
        label = polygon((x0 + 14, y0 + 18), (x1 - 14, y0 + 18), (x1 - 14, y0 + 40), (x0 + 14, y0 + 40))
        face = np.float32(color) * (1.1 - 0.3 * (u - x0) / (x1 - x0))[..., None]
        put(name, polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1)), face + 40 * label[..., None])

    box("blue book", 190, 150, 320, 352, (52, 74, 150), True)
    box("tin", 285, 262, 420, 398, (176, 148, 70), True)
    box("red box", 300, 200, 396, 263, (168, 62, 54), False)
    box("green carton", 520, 196, 604, 380, (84, 128, 92), True)
    shadow(image, 662, 424, 38, 8)
    ball = np.float32((222, 104, 60)) * (1.15 - np.hypot(u - 648, v - 370) / 90)[..., None].clip(0.35)
    put("ball", ellipse(660, 386, 38, 38), ball)
    return image, things


def drawn(name: str, seed: int = 3) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The picture uint8 [480, 832, 3] of "glass", "chair" or "desk", and its masks [480, 832] in 0..1 by name."""
    rng = np.random.default_rng(seed)
    image, masks = {"glass": glass, "chair": chair, "desk": desk}[name](rng)
    image = image + rng.normal(0, 2, image.shape)
    return np.clip(image, 0, 255).round().astype(np.uint8), masks
