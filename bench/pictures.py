"""Seven pictures, each lifted, pushed, dropped and broken: python -m vdit.bench.pictures FOLDER [NAME ...]

Four photographs of scikit-image, marked by boxes and strokes as a user marks them (the motorcycle with its true
disparity), and three drawn pictures with their own masks. For each story it prints what happened, how frame 0 differs
from the picture, and the time of lifting, of simulating and of drawing; FOLDER/NAME.png shows a row of frames for each.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import skimage
import torch

from ..lift.images import nearest_outside
from ..lift.objects import Marked, Selection, Stroke
from ..lift.picture import Given, lift
from ..world.drawing.film import film
from ..world.scene import Scene
from ..world.simulate import simulate
from ..world.words import actions_from_words
from .drawn import drawn
from .outlined import photograph

SECONDS, FPS, SHOWN = 2.5, 16, 6
Strokes = tuple[Stroke, ...]


def stroke(size: float, *points: tuple[float, float], erase: bool = False) -> Stroke:
    """A brush stroke through points in shares of the picture."""
    return Stroke(points=points, size=size, erase=erase)


@dataclass(frozen=True)
class Case:
    """A picture: a file of scikit-image with marked objects, or a drawn one with its own masks; who acts in it."""

    file: str = ""
    marked: tuple[Marked, ...] = ()
    materials: dict[str, str] = field(default_factory=dict)
    actor: str = ""
    disparity: bool = False


CASES = {
    "coffee": Case(
        "coffee.png",
        (
            Marked(
                name="cup",
                material="ceramic",
                box=(0.18, 0.03, 0.75, 0.85),
                strokes=(
                    stroke(0.05, (0.4, 0.1), (0.38, 0.5), (0.4, 0.65), (0.48, 0.5), (0.6, 0.3)),
                    stroke(0.03, (0.38, 0.62), (0.36, 0.68)),
                    stroke(0.1, (0.6, 0.6), (0.6, 0.75), erase=True),
                    stroke(0.04, (0.64, 0.45), (0.69, 0.2), erase=True),
                ),
            ),
        ),
        actor="cup",
    ),
    "rocket": Case(
        "rocket.jpg",
        (
            Marked(
                name="rocket",
                material="steel",
                box=(0.46, 0.25, 0.545, 0.985),
                strokes=(stroke(0.02, (0.5, 0.31), (0.502, 0.4), (0.502, 0.9)),),
            ),
        ),
        actor="rocket",
    ),
    "motorcycle": Case(
        "motorcycle_left.png",
        (
            Marked(
                name="motorcycle",
                material="steel",
                box=(0.1, 0.22, 0.93, 0.98),
                strokes=(
                    stroke(0.02, (0.2, 0.7), (0.17, 0.8), (0.25, 0.9), (0.33, 0.85), (0.35, 0.75)),
                    stroke(0.02, (0.72, 0.62), (0.7, 0.8), (0.78, 0.9), (0.87, 0.8), (0.86, 0.65)),
                    stroke(0.05, (0.35, 0.5), (0.5, 0.55), (0.65, 0.5)),
                ),
            ),
        ),
        actor="motorcycle",
        disparity=True,
    ),
    "chelsea": Case(
        "chelsea.png",
        (
            Marked(
                name="cat",
                material="rubber",
                box=(0.02, 0.02, 0.75, 0.99),
                strokes=(
                    stroke(0.1, (0.25, 0.2), (0.3, 0.5), (0.45, 0.3), (0.6, 0.6), (0.4, 0.85)),
                    stroke(0.06, (0.2, 0.12), (0.3, 0.2)),
                    stroke(0.06, (0.62, 0.12), (0.58, 0.25)),
                ),
            ),
        ),
        actor="cat",
    ),
    "glass": Case(materials={"glass": "glass"}, actor="glass"),
    "chair": Case(materials={"chair": "wood"}, actor="chair"),
    "desk": Case(materials={"ball": "rubber", "tin": "steel"}, actor="tin"),
}
STORIES = {
    "lifted": "",
    "pushed": "the {0} is pushed hard to the right",
    "dropped": "the {0} is dropped",
    "broken": "the {0} falls to the left and breaks",
}


def given(name: str, case: Case) -> tuple[np.ndarray, Given]:
    """The picture uint8 [H, 832, 3], and what the lift is given of it."""
    if not case.file:
        picture, masks = drawn(name)
        image = torch.from_numpy(picture)[None] / 255
        objects = ", ".join(f"{n}: {case.materials[n]}" if n in case.materials else n for n in masks)
        return picture, Given(image=image, masks=torch.from_numpy(np.stack([*masks.values()])), names=objects)
    picture = photograph(case.file)
    depth = None
    if case.disparity:
        with np.load(Path(skimage.__file__).parent / "data" / "motorcycle_disp.npz") as file:
            disparity = file["arr_0"].astype(np.float32)
        nearest = nearest_outside(~(np.isfinite(disparity) & (disparity > 0)))
        filled = cv2.resize(disparity[nearest], picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        depth = torch.from_numpy(filled / filled.max())[None, ..., None].expand(-1, -1, -1, 3)
    image = torch.from_numpy(picture)[None] / 255
    return picture, Given(image=image, selection=Selection(case.marked), depth=depth)


def strip(scene: Scene, picture: np.ndarray, words: str) -> tuple[np.ndarray, str]:
    """A row of frames of what the words do to the scene, and a line of figures."""
    start = time.process_time()
    actions, said = actions_from_words(words, scene)
    motion = simulate(scene, actions, seconds=SECONDS, fps=FPS)
    simulated = time.process_time()
    seen = film(motion, width=picture.shape[1], height=picture.shape[0])
    frames = (seen.rgb.numpy() * 255).round().astype(np.uint8)
    filled = scene.plate.filled if scene.plate is not None else np.zeros(picture.shape[:2], bool)
    difference = np.abs(frames[0].astype(int) - picture)
    row = [
        cv2.resize(frames[i], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for i in np.linspace(0, len(frames) - 1, SHOWN).astype(int)
    ]
    events = ", ".join(f"{e.kind} {e.body} {e.time:.2f} s" for e in motion.events[:3]) or "no events"
    figures = (
        f"frame 0 differs by at most {difference[~filled].max()}, {difference.max()} where filled; {events}; "
        f"{len(motion.parts)} parts; {simulated - start:.1f} s, drawn in {time.process_time() - simulated:.1f} s"
    )
    return np.concatenate(row, 1), "; ".join((figures, *said, *motion.remarks))


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or CASES:
        case = CASES[name]
        picture, what = given(name, case)
        start = time.process_time()
        lifted = lift(what)
        print(
            f"{name}: lifted in {time.process_time() - start:.1f} s of processor; {'; '.join(lifted.remarks)}",
            flush=True,
        )
        rows = []
        for story, words in STORIES.items():
            row, figures = strip(lifted.scene, picture, words.format(case.actor))
            rows.append(row)
            print(f"  {story}: {figures}", flush=True)
        cv2.imwrite(str(folder / f"{name}.png"), np.concatenate(rows)[..., ::-1])


if __name__ == "__main__":
    main()
