"""The words that a scene's grammar knows, and how text names its bodies."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from .scene import Scene

# Each word stands for the first of its line; forms of a verb are listed, so that a misspelt one is noticed.
VERB_FORMS = {
    "fall": "falls fell fallen falling collapses collapse",
    "topple": "topples toppled toppling tip tips tipped tumble tumbles",
    "drop": "drops dropped dropping released release",
    "push": "pushes pushed pushing shove shoved shoves",
    "throw": "throws threw thrown throwing toss tossed hurled launched fly flies flying flung",
    "roll": "rolls rolled rolling",
    "slide": "slides slid sliding glides glide",
    "spin": "spins spun spinning rotate rotates rotating turn turns twirls whirls",
    "bounce": "bounces bounced bouncing jump jumps jumping hop hops",
    "lift": "lifts lifted rise rises rising raised",
    "move": "moves moved moving drag drags dragged pull pulls pulled",
    "strike": "strikes struck hit hits knock knocks knocked bump bumps bumped",
    "break": "breaks broke broken breaking shatter shatters shattered shattering crack cracks smash smashes smashed",
    "blow": "blows blowing blown",
}
# In the picture: (to the right, up, towards the viewer).
DIRECTIONS = {
    "left": ((-1, 0, 0), "leftward leftwards"),
    "right": ((1, 0, 0), "rightward rightwards"),
    "up": ((0, 1, 0), "upward upwards above"),
    "down": ((0, -1, 0), "downward downwards"),
    "forward": ((0, 0, 1), "forwards closer nearer front"),
    "away": ((0, 0, -1), "back backward backwards behind"),
    "clockwise": ((1, 0, 0), ""),
    "counterclockwise": ((-1, 0, 0), "anticlockwise"),
}
STRENGTHS = {
    1.6: "hard strongly forcefully violently fast quickly rapidly powerfully heavily",
    0.6: "gently softly slowly lightly slightly carefully",
}
NUMBERS = {"half": 0.5, "one": 1, "a": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8, "ten": 10}
UNITS = {"second": 1.0, "seconds": 1.0, "sec": 1.0, "s": 1.0, "ms": 0.001, "minute": 60.0}
EVERYTHING = {"everything", "all", "everyone", "objects", "things", "bodies"}
PRONOUNS = {"it", "they", "them", "itself", "both"}
AT = {"towards", "toward", "to", "at", "into", "against", "on", "onto"}
AND = {"and", "or", "while", "but", "so", "also", "plus"}
THEN_WORDS = {"then", "afterwards", "next", "finally", "later"}
PASSIVE = {"is", "are", "was", "were", "be", "being", "been", "get", "gets", "got"}
ARTICLES = {"the", "a", "an", "of"}
FILLERS = (
    PASSIVE
    | ARTICLES
    | set(
        "its their has have in out off there with which that "
        "pieces apart side ground floor wind viewer camera us me direction immediately now suddenly simultaneously "
        "together meanwhile again start beginning "
        "do does did will would shall should can could must happen happens".split()
    )
)
GRAMMAR = {"by", "from", "after", "for", "very", "impact"} | AT | AND | THEN_WORDS | PRONOUNS | EVERYTHING | {"over"}
# The verb that follows does not happen; so do words that end in "n't".
NEGATIONS = set("not never no nothing nobody none cannot without neither nor".split())
# What is said to do this does nothing.
STILL = set("stay stays stayed staying remain remains remained remaining still motionless".split())
# Verbs of a motion of their own: over what they go, they do not strike it.
GOING = {"throw", "roll", "slide", "bounce", "lift", "move", "fall", "drop"}
IMPACT = re.compile(
    r"\b(?:when|once|as)\b[^.,;]*?\b(?:hits?|lands?|strikes?|touches)\b(?:\s+(?:on\s+)?(?:the\s+)?(?:ground|floor))?"
    r"|\b(?:on|upon|at)\s+(?:impact|landing)\b"
)


def _by_form() -> dict[str, tuple[str, object]]:
    """Every word of the grammar but names, fillers and prepositions -> (kind, value)."""
    known: dict[str, tuple[str, object]] = {}
    for verb, forms in VERB_FORMS.items():
        known |= dict.fromkeys((verb, *forms.split()), ("verb", verb))
    for word, (vector, forms) in DIRECTIONS.items():
        known |= dict.fromkeys((word, *forms.split()), ("direction", vector))
    for factor, forms in STRENGTHS.items():
        known |= dict.fromkeys(forms.split(), ("strength", factor))
    return known


KNOWN = _by_form()
VERBS = tuple(VERB_FORMS)


def number(word: str) -> float | None:
    """The value of digits or of a number in words; None for any other word."""
    return float(word) if word[-1:].isdecimal() else NUMBERS.get(word)


def quoted(names: Sequence[str]) -> str:
    """Names in quotation marks, for a remark."""
    return ", ".join(f"“{name}”" for name in names) or "no bodies"


def split(text: str) -> list[str]:
    """Words in lower case, numbers ("2", ".5", "0,5", "-2") and punctuation."""
    joined = IMPACT.sub(" onimpact ", text.lower().replace("’", "'").replace("−", "-").replace("_", " "))
    joined = re.sub(r"(?<!\S)-(?=[\d.])", " −", joined).replace("-", " ")  # the sign of a number, and hyphens
    joined = re.sub(r"(?<=\d),(?=\d{1,2}(?!\d))", ".", joined)
    words = re.findall(r"−?\d*\.?\d+|[^\W\d_]+(?:'[^\W\d_]+)?|[.,;:!?\n]", joined)
    return [word.replace("−", "-") for word in words]


def _singular(word: str) -> str:
    for ending, single in (("ies", "y"), ("ses", "s"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 1 and not word.endswith("ss"):
            return word[: -len(ending)] + single
    return word


def is_plural(said: Sequence[str]) -> bool:
    """Whether the last of the words is a plural."""
    return _singular(said[-1]) != said[-1]


def named(scene: Scene, said: Sequence[str]) -> tuple[str, ...]:
    """The bodies that words name: by the whole name, else by its end without a number ("cup" of "red cup 2").

    A plural names all of them; several for a singular: it is ambiguous.
    """
    if not said:
        return ()
    names = {body.name: split(body.name) for body in scene.bodies}
    exact = tuple(name for name, words in names.items() if words == list(said))
    if exact:
        return exact
    wanted = [*said[:-1], _singular(said[-1])]
    found: list[str] = []
    for name, words in names.items():
        stem = [w for w in words if not w[:1].isdigit()] or words
        stem = [*stem[:-1], _singular(stem[-1])]
        if stem[-len(wanted) :] == wanted:
            found.append(name)
    return tuple(found)


def nearest(word: str, scene: Scene) -> str:
    """A remark on a word that the grammar does not know, with the known words most like it."""
    names = [body.name.lower() for body in scene.bodies]
    alike = difflib.get_close_matches(word, [*names, *KNOWN, *GRAMMAR], n=3, cutoff=0.55)
    hint = f"nearest known: {', '.join(alike)}" if alike else f"the scene has {quoted([b.name for b in scene.bodies])}"
    return f"the word “{word}” is not known and ignored; {hint}"
