"""How well plates are filled behind bodies: python -m vdit.bench.lift fill [FOLDER for pictures]

Blobs where nothing stands are hidden in photographs of scikit-image (832 wide), filled, and compared with what was
there: PSNR; PSNR after a blur of 8 pixels (are the colours right?); log of mean gradients inside over the true ones
(0 is as sharp as the picture, below 0 is blurred); seconds of processor time.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from ..lift import plate
from ..lift.images import blurred, painted

WIDTH = 832


def photographs() -> dict[str, np.ndarray]:
    """Photographs uint8 [H, 832, 3] by name."""
    folder = Path(skimage.data.__file__).parent
    names = (
        "coffee.png",
        "rocket.jpg",
        "chelsea.png",
        "motorcycle_left.png",
        "astronaut.png",
        "brick.png",
        "gravel.png",
        "grass.png",
    )
    out = {}
    for name in names:
        image = cv2.imread(str(folder / name))[..., ::-1]
        size = (WIDTH, round(image.shape[0] * WIDTH / image.shape[1]))
        out[name.split(".")[0]] = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC))
    return out


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


def fill(look: str | None) -> None:
    print(f"{'method':28}{'PSNR':>8}{'blurred':>9}{'gradients':>11}{'seconds':>9}")
    for name, method in plate.METHODS.items():
        scores, seconds = [], []
        for title, image in photographs().items():
            hole = np.any([blob(image.shape[:2], *spec, i) for i, spec in enumerate(BLOBS[title])], axis=0)
            start = time.process_time()
            done = method(np.where(hole[..., None], 0, image).astype(np.uint8), hole, np.zeros(hole.shape, np.int64))
            seconds.append(time.process_time() - start)
            sharp = np.log(gradient(done)[hole].mean() / gradient(image)[hole].mean())
            soft = psnr(blurred(done.astype(np.float32), 8)[hole], blurred(image.astype(np.float32), 8)[hole])
            scores.append((psnr(done[hole], image[hole]), soft, sharp))
            if look:
                Path(look).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(f"{look}/{title}-{name.replace(' ', '-')}.png", done[..., ::-1])
        mean = np.mean(scores, axis=0)
        print(f"{name:28}{mean[0]:8.2f}{mean[1]:9.2f}{mean[2]:11.2f}{np.mean(seconds):9.2f}")


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "fill"
    {"fill": fill}[what](sys.argv[2] if len(sys.argv) > 2 else None)
