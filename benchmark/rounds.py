"""The suite in rounds: clips that have no score yet are handed out, and the videos made of them are taken back.

What is scored stays in the folder, so that a graph which is run again goes on with the clips that are left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from ..machine.limits import TooLarge
from .files import claim, read_json
from .report import Report, summary
from .runner import Check, ClipResult, Part, Plan, clips, judged, noise_seed, result_path, taken_again
from .scores import SUITE_VERSION
from .selection import Tally
from .tracking import FramesError, validated_frames

WHO = "model"  # the name of its videos in the run's files, as of all systems
FRAME_BYTES = 12  # of memory for a pixel of a video: three channels of float32
# Of memory for a pixel of a judged frame, while its clip is drawn again, labelled and scored: 62 at 832x480, 85 at
# 416x240 (`python -m vdit.bench.rounds`).
SCORING_BYTES = 90
# Of the disk for a pixel of a judged frame: the video and the truth in H.264 at CRF 16. Two of the simulated world's
# plain videos take .012, noise .82; ten times the former is left for what a model draws.
KEPT_BYTES = 0.12
GB = 1e9


@dataclass(frozen=True)
class Round:
    """Who is scored on what: the run's folder, and how many of its frames come to one of the clips'."""

    system: str
    plan: Plan
    folder: Path
    step: int = 1  # every step-th frame is judged

    @property
    def run(self) -> Path:
        """Where results are kept."""
        return self.folder / WHO

    @property
    def settings(self) -> dict[str, object]:
        """What is noted beside the scores."""
        return {"model": self.system, "frames_judged": f"every {self.step}" if self.step > 1 else "all"}

    def length(self, part: Part) -> int:
        """Frames of a video of this part."""
        return self.made(self.plan.form.frames_of(part.suite))

    def made(self, judged: int) -> int:
        """Frames that a video must have of which so many are judged."""
        return (judged - 1) * self.step + 1

    def check_room(self, at_once: int, memory: float, disk: float) -> None:
        """Raise TooLarge, with what fits, where that many videos at once need more than `memory` bytes, or what the
        whole run keeps more than `disk` bytes.
        """
        form, parts = self.plan.form, list(self.plan.parts())
        pixels, judged = form.width * form.height, max(form.frames_of(part.suite) for part in parts)
        one, scoring = pixels * self.made(judged) * FRAME_BYTES, pixels * judged * SCORING_BYTES
        if (need := at_once * one + scoring) > memory:
            most = int((memory - scoring) // one)
            fits = f"clips_at_once {most}" if most > 0 else "a smaller width and height, or a shorter suite or length"
            raise TooLarge(
                f"{at_once} videos of {self.made(judged)} frames of {form.width}x{form.height} and their scores need "
                f"about {need / GB:,.3g} GB of memory, and {memory / GB:,.3g} GB can be had; what fits: {fits}"
            )
        kept = pixels * KEPT_BYTES * sum(part.count * form.frames_of(part.suite) for part in parts)
        if kept > disk:
            raise TooLarge(
                f"the videos that are kept of {self.plan.clips} clips can take {kept / GB:,.3g} GB, and the disk of "
                f"{self.folder} has {disk / GB:,.3g} GB free: free some space on it, or lower count, width and height"
            )


@dataclass(frozen=True)
class Ticket:
    """One clip that was handed out: what says where its video's score belongs."""

    round: Round
    part: Part
    seed: int  # of the scene


@dataclass(frozen=True)
class Handed:
    """One clip as a graph is given it."""

    ticket: Ticket
    pictures: Tensor  # [known, H, W, 3], 0..1
    words: str
    noise_seed: int
    frames: int  # that the video must have


def hand_out(asked: Round, most: int, on_done: Callable[[int], None], check: Check) -> list[Handed]:
    """The next clips without a score, at most `most` of them (0: all). on_done: called with how many were drawn.

    Clips of a part are drawn when its turn comes. Raises OtherRunError where the folder holds another run, ValueError
    where no clip of this length can be judged.
    """
    claim(asked.run, {"plan": asdict(asked.plan), "settings": asked.settings})
    handed: list[Handed] = []
    drawn = 0
    for part in asked.plan.parts():
        if most and len(handed) >= most:
            break
        for seed, clip_of in clips(asked.run, part, asked.plan, Tally(), check):
            drawn += 1
            on_done(drawn)
            if (most and len(handed) >= most) or result_path(asked.run, WHO, part, seed).is_file():
                continue
            clip, labels = clip_of()
            pictures = clip.rgb[: asked.plan.form.known].float().clone()
            ticket = Ticket(asked, part, seed)
            handed.append(Handed(ticket, pictures, clip.caption, noise_seed(labels), asked.length(part)))
    if not drawn:
        raise ValueError(_nothing(asked))
    return handed


def _nothing(asked: Round) -> str:
    """Why no clip was taken, and what would help."""
    reasons: Counter[str] = Counter()
    for part in asked.plan.parts():
        known = cast("dict[str, dict[str, int]]", read_json(asked.run / "clips" / f"{part.name}.json") or {})
        reasons.update(known.get("left_out", {}))
    often = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(2))
    return (
        f"none of {sum(reasons.values())} clips tried can be judged: {often}. In short ones too little happens: "
        "set length to 25 or more on VDiT Benchmark Clips, under another name, or lower known_frames"
    )


def take_back(ticket: Ticket, video: Tensor, check: Check) -> ClipResult:
    """Score the video [T, H, W, 3] of one clip and keep the result. Raises FramesError for one that does not fit."""
    asked, need = ticket.round, ticket.round.length(ticket.part)
    if not need <= len(video) < need + asked.step:
        raise FramesError(
            f"the video has {len(video)} frames; make {need} of them, as the frames output of VDiT Benchmark Clips says"
        )
    taken = taken_again(ticket.part, asked.plan.form, ticket.seed, check)
    frames = validated_frames(video[:: asked.step], taken[1])
    return judged(ticket.part, frames, taken, asked.plan.form.known, ticket.seed, WHO, asked.run)


def report(asked: Round) -> tuple[Report, list[ClipResult]]:
    """The scores so far, with how many clips of each part were asked for and drawn."""
    results: list[ClipResult] = []
    drawn: dict[str, dict[str, object]] = {}
    for part in asked.plan.parts():
        known = read_json(asked.run / "clips" / f"{part.name}.json")
        if known is None:
            drawn[part.name] = {"asked": part.count, "taken": part.count, "left_out": {}}  # not drawn yet
            continue
        drawn[part.name] = {"asked": part.count, "taken": len(known["seeds"]), "left_out": known["left_out"]}
        found = (read_json(result_path(asked.run, WHO, part, seed)) for seed in known["seeds"])
        results += [cast("ClipResult", result) for result in found if result is not None]
    made = summary(results)
    made |= {"suite_version": SUITE_VERSION, "plan": asdict(asked.plan), "settings": asked.settings, "drawn": drawn}
    return made, results


def missing(made: Report, results: list[ClipResult]) -> int:
    """How many clips have no score yet."""
    return sum(part["taken"] for part in made.get("drawn", {}).values()) - len(results)
