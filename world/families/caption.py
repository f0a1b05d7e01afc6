"""Words for a scene: what is there, what happens, how the camera moves, in many wordings from a closed vocabulary."""

from __future__ import annotations

import re

import numpy as np

from .scene import BALL_COLORS, BOX_COLORS, FLOOR_COLORS, SPLITS, Ball, Scene

# Ways to say a thing are separated by bars; {side}, {box}, {wall} and {other} are filled in.
_SIZE = {"small": "small|little", "large": "large|big"}
_VERBS = {
    "fall": "falls down and bounces|drops to the floor and bounces|falls and bounces on the floor|drops and bounces",
    "throw": "is thrown to the {side} and bounces|flies to the {side} and bounces|jumps to the {side}",
    "roll": "rolls to the {side}|moves to the {side} along the floor|rolls across the floor to the {side}",
    "behind": "rolls to the {side} behind {box}|passes behind {box} to the {side}|rolls behind {box} to the {side}",
    "arc": "flies to the {side} behind {box}|is thrown to the {side} behind {box}|bounces to the {side} behind {box}",
    "wall": "rolls behind {box}, hits {wall} and comes back|rolls to the {side} behind {box} and bounces off {wall}",
    "collide": "rolls to the {side} and hits {other}|hits {other}|collides with {other}",
    "stack": "rolls to the {side} and hits a stack of boxes|knocks over a stack of boxes|rolls into a tower of boxes",
    "slope": "rolls down a slope to the {side}|rolls down {box}|rolls down a ramp and across the floor",
    "push": "rolls to the {side} and pushes {box}|pushes {box} to the {side}|hits {box} and pushes it",
    "look": "lies on the floor|rests on the floor|stays on the floor",
}
_CAMERA = {
    "still": "the camera is still|the camera does not move|static camera|",
    "orbit": "the camera orbits to the {side}|the camera circles to the {side}",
    "pan": "the camera pans to the {side}|the camera turns to the {side}",
    "tilt": "the camera tilts {side}|the camera looks {side}",
    "roll": "the camera rolls to the {side}",
    "move in": "the camera moves in|the camera moves closer",
    "move out": "the camera moves out|the camera moves back",
    "slide": "the camera slides to the {side}|the camera moves to the {side}",
    "rise": "the camera rises|the camera moves up",
    "sink": "the camera sinks|the camera moves down",
    "zoom": "the camera zooms {side}",
    "free": "the camera moves|moving camera|",
}
_MORE_WORDS = (
    "a an ball box and on off near with there too lies falls left right lie rest stay wall an empty room in out up "
    "down zooms zoom"
)
SMALL, LARGE = 0.39, 0.48  # metres: radii of balls below and above which their size may be said


def choose(rng: np.random.Generator, ways: str) -> str:
    """One of the ways to say a thing, which bars separate."""
    return str(rng.choice(ways.split("|")))


def _noun(b: Ball, rng: np.random.Generator) -> str:
    size = ""
    if rng.random() < 0.4 and not SMALL <= b.radius <= LARGE:
        size = choose(rng, _SIZE["small" if b.radius < SMALL else "large"]) + " "
    return f"{'an' if not size and b.color == 'orange' else 'a'} {size}{b.color} ball"


def caption(scene: Scene, wording: int = 0) -> str:
    """One English sentence or two for the scene; `wording` picks among the ways to say it."""
    rng = np.random.default_rng([SPLITS.index(scene.split), scene.seed, 7, wording])
    box, wall = [f"a {b.color} box" for b in scene.boxes[:2]] + [""] * (2 - len(scene.boxes[:2]))
    nouns = [_noun(b, rng) for b in scene.balls]
    if scene.family == "look":
        text = _still_life(nouns, box, rng)
    else:
        first = scene.balls[0]
        side = (
            "right" if first.velocity[0] > 0 or (scene.family == "slope" and scene.boxes[0].pitch_deg > 0) else "left"
        )
        other = nouns[1] if len(nouns) > 1 else ""
        words = dict(side=side, box=box, wall=wall.replace(" box", " wall"), other=other)
        text = f"{nouns[0]} {choose(rng, _VERBS[scene.family]).format(**words)}"
        if other and scene.family == "fall":
            text += f", {other} falls too"
        if box and scene.family == "throw":
            text += f" off {box}" if "bounces" in text else f" near {box}"
    camera = camera_words(scene.camera_move, rng)
    if rng.random() < 0.35:
        text += f", on a {scene.floor.color} floor"
    return f"{text}, {camera}" if camera else text


def camera_words(move: str, rng: np.random.Generator) -> str:
    """What the camera does, in words; may be none."""
    key = move if move in _CAMERA else move.split()[0]
    return choose(rng, _CAMERA[key]).format(side=move.split()[-1])


def _still_life(nouns: list[str], box: str, rng: np.random.Generator) -> str:
    """Words for a scene in which nothing moves but the camera."""
    if not nouns:
        return f"{box} on an empty floor" if box else choose(rng, "an empty floor|an empty room")
    verb = choose(rng, _VERBS["look"])
    if len(nouns) > 1:
        verb = verb.replace("lies", "lie").replace("rests", "rest").replace("stays", "stay")
    subject = ", ".join(nouns[:-1]) + " and " + nouns[-1] if len(nouns) > 1 else nouns[0]
    return f"{subject} {verb}" + (f" with {box}" if box else "")


def vocabulary() -> list[str]:
    """Every word a caption can hold, sorted."""
    phrases = [*_SIZE.values(), *_VERBS.values(), *_CAMERA.values(), *BALL_COLORS, *BOX_COLORS, *FLOOR_COLORS]
    return sorted({w for p in [*phrases, _MORE_WORDS] for w in re.findall(r"[a-z]+", re.sub(r"\{.*?\}", " ", p))})
