"""Plain words become actions: "the cup falls to the left and breaks, then the ball rolls gently towards the bottle"."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from .actions import Action, Actions
from .arrays import Floats
from .extent import center_of_mass
from .scene import Body, Scene, SceneError
from .verbs import NEEDS_FREEDOM, Doing, along, blow, do_verb, toward_viewer, up
from .vocabulary import (
    AND,
    ARTICLES,
    AT,
    EVERYTHING,
    FILLERS,
    GOING,
    GRAMMAR,
    KNOWN,
    NEGATIONS,
    PASSIVE,
    PRONOUNS,
    STILL,
    THEN_WORDS,
    UNITS,
    VERBS,
    is_plural,
    named,
    nearest,
    number,
    quoted,
    split,
)

LONGEST = 2000  # characters
LATEST = 3600.0  # seconds
THEN = 1.0  # seconds that "then" lets pass after the beginning of what was said before


@dataclass
class _Clause:
    """One verb, with what is said beside it, while it is read."""

    subject: tuple[str, ...] = ()
    verb: str = ""
    passive: bool = False
    direction: Floats | None = None
    target: str | None = None
    objects: tuple[str, ...] = ()
    sign: float = 1.0  # -1: away from the target
    strength: float = 1.0
    time: float | None = None
    later: float | None = None  # seconds after the clause before
    duration: float | None = None
    impact: bool = False
    over: bool = False  # "knocked over"
    unclear: bool = False  # it names bodies that are not clear, which was remarked
    stranger: bool = False  # an unknown word stands where its subject may be
    untold: bool = False  # an unknown word stands where the verb of its subject may be
    still: bool = False  # the text says that its subject does not move
    new_sentence: bool = False
    negated: bool = False  # it is said not to happen


@dataclass
class _Reader:
    """The words, read from left to right into clauses."""

    scene: Scene
    words: list[str]
    remarks: list[str] = field(default_factory=list[str])
    unknown: dict[str, str] = field(default_factory=dict[str, str])  # word -> remark
    clauses: list[_Clause] = field(default_factory=list[_Clause])
    now: _Clause = field(default_factory=lambda: _Clause(new_sentence=True))
    mentioned: tuple[str, ...] = ()
    at: int = 0
    named_to: int = 0  # behind the last word that names a body
    negative: bool = False  # "not" was said, and no verb since
    still_not: bool = False  # the clause before was negated: "does not fall or break"

    def read(self) -> list[_Clause]:
        while self.at < len(self.words):
            start = self.at
            before = self.words[start - 1] if start else ""
            bodies = self._bodies()
            if bodies is not None:
                self._take_bodies(bodies, start)
            elif not self._time(before):
                self._word(self.words[self.at], before)
                self.at += 1
        self._close(sentence=True)
        said = set(filter(str.isalpha, self.words))
        foreign = len(self.unknown) > max(2, len(said) / 2) or (self.unknown and not "".join(self.unknown).isascii())
        if not self.clauses and foreign:  # another language: one remark
            example = (
                f"the {self.scene.bodies[0].name} falls to the left" if self.scene.bodies else "wind from the left"
            )
            self.remarks.append(f"{quoted([*self.unknown])} are not known; write plain English, like “{example}”")
        else:
            self.remarks += self.unknown.values()
        return self.clauses

    def _close(self, sentence: bool) -> None:
        """Ends a clause, or hands what has no verb yet to its neighbour."""
        now, negative, self.negative = self.now, self.negative, False
        again = now.later is not None and now.direction is not None and not now.subject
        if again and self.clauses and (sentence or self.words[self.at] in THEN_WORDS):  # "rolls left and then right"
            now.verb, now.passive = now.verb or self.clauses[-1].verb, now.passive or self.clauses[-1].passive
        self.still_not = now.negated and not sentence
        if now.verb:
            self.clauses.append(now)
            self.now = _Clause(new_sentence=sentence)
        elif negative or now.still:  # "but the spoon does not", "and the spoon stays"
            self.now = _Clause(new_sentence=sentence)
        elif sentence:
            if self.clauses and not now.new_sentence:
                _add_modifiers(self.clauses[-1], now)
            elif now.subject:
                self._remark_untold()
            self.now = _Clause(new_sentence=True)

    def _remark_untold(self) -> None:
        self.remarks.append(f"nothing is said to happen to {quoted(self.now.subject)}; verbs: {', '.join(VERBS)}")

    def _bodies(self) -> tuple[str, ...] | None:
        """The bodies that the next words name, if they do; moves on behind them."""
        word = self.words[self.at]
        for length in range(min(6, len(self.words) - self.at), 0, -1):
            said = self.words[self.at : self.at + length]
            found = named(self.scene, said)
            if len(found) > 1 and not is_plural(said):
                self.remarks.append(f"“{' '.join(said)}” may be {' or '.join(found)}: say which")
                self.at += length
                return ()
            if found:
                self.at += length
                return found
        if word in PRONOUNS and self.mentioned:
            self.at += 1
            return self.mentioned
        if word in EVERYTHING:
            rest = [w for w in self.words[self.at + 1 : self.at + 4] if w not in ARTICLES]
            self.at += 1
            if rest and named(self.scene, rest[:1]):
                return self._bodies_behind_articles()
            return tuple(body.name for body in self.scene.bodies if not body.fixed)
        return None

    def _bodies_behind_articles(self) -> tuple[str, ...] | None:
        while self.words[self.at] in ARTICLES:
            self.at += 1
        return self._bodies()

    def _take_bodies(self, bodies: tuple[str, ...], start: int) -> None:
        now = self.now
        self.mentioned = bodies or self.mentioned
        self.named_to = self.at
        now.unclear |= not bodies
        lead = next((w for w in reversed(self.words[: self.at]) if w in GRAMMAR or w in KNOWN), "")
        place = self._place(start)
        if not now.verb:
            if place and now.subject:  # "the ball near the box rolls"
                self.remarks.append(f"{quoted(bodies)} after “{place}” is not understood and ignored")
                return
            if now.untold:  # "the ball melts and the box falls": the box alone
                self._remark_untold()
                now.subject, now.untold = (), False
            now.subject += bodies
        elif lead == "by" and now.passive:
            now.subject, now.objects, now.verb = bodies, now.subject, "strike" if now.verb != "break" else "break"
        elif bodies and (lead in AT or lead == "from"):
            now.target, now.sign = bodies[0], -1.0 if lead == "from" else 1.0
        elif place or KNOWN.get(lead, ("verb",))[0] != "verb":  # "around the bottle", "in front of the bottle"
            self.remarks.append(f"{quoted(bodies)} after “{place or lead}” is not understood and ignored")
        else:
            now.objects += bodies

    def _place(self, start: int) -> str:
        """The unknown word before "the bottle", or "over" where something goes over it; "" for neither."""
        at = start
        while at and self.words[at - 1] in ARTICLES:
            at -= 1
        word = self.words[at - 1] if at else ""
        return word if (word in self.unknown and at < start) or (word == "over" and self.now.verb in GOING) else ""

    def _time(self, before: str) -> bool:
        """Reads "after 2 seconds", "for a second", "half a second later"; False where there is no such thing."""
        words = self.words[self.at : self.at + 3]
        value = number(words[0])
        words = [w for w in words[1:] if w not in ("a", "an")] if words[0] == "half" else words[1:]
        if value is None or not words or words[0] not in UNITS:
            return False
        self.at += self.words[self.at :].index(words[0]) + 1
        seconds = value * UNITS[words[0]]
        if not 0 <= seconds <= LATEST:
            raise SceneError(f"words: {seconds:g} seconds; expected 0 to {LATEST:g}")
        if before == "for":
            self.now.duration = seconds
        elif self.at < len(self.words) and self.words[self.at] == "later":
            self._close(sentence=False)
            self.now.later = seconds
            self.at += 1
        elif self.now.later is not None:
            self.now.later = seconds
        else:
            self.now.time = seconds
        return True

    def _word(self, word: str, before: str) -> None:
        now = self.now
        kind, value = KNOWN.get(word, ("", None))
        if word in (".", ";", "!", "?", ":", "\n"):
            self._close(sentence=True)
        elif word == "," or word in AND:
            self._close(sentence=False)
            self.still_not &= word != "but"
        elif word in NEGATIONS or word.endswith("n't"):
            self.negative = True
        elif word == "onimpact":
            now.impact = True
        elif word == "over":
            now.over = True
        elif word in THEN_WORDS:
            self._close(sentence=False)
            self.now.later = THEN
        elif kind == "verb":
            negative = self.negative
            if now.verb:  # "the cup falls breaks", or a noun that is also a verb
                self._close(sentence=False)
                now = self.now
            now.verb, now.passive = str(value), before in PASSIVE
            now.negated = negative or (self.still_not and not now.subject)
            self.negative = False
        elif kind == "direction":
            vector = np.asarray(value, float) * (-1 if self._just_said("from") else 1)
            now.direction = vector if now.direction is None else now.direction + vector
        elif kind == "strength":
            assert isinstance(value, float)
            now.strength *= value ** (1.5 if before == "very" else 1.0)
        elif word in STILL:
            now.still = True
        elif word not in FILLERS and word not in GRAMMAR:
            self.unknown[word] = nearest(word, self.scene)
            since = self.words[self.named_to : self.at]
            now.untold |= bool(now.subject) and all(KNOWN.get(w, ("",))[0] == "strength" for w in since)
            now.stranger |= not now.verb and not now.subject
        elif word in ("towards", "toward") and not self._body_follows():
            toward = np.array([0.0, 0.0, 1.0])
            now.direction = toward if now.direction is None else now.direction + toward

    def _just_said(self, word: str) -> bool:
        return word in [w for w in self.words[max(0, self.at - 3) : self.at] if w not in ARTICLES][-1:]

    def _body_follows(self) -> bool:
        rest = [w for w in self.words[self.at + 1 : self.at + 8] if w not in ARTICLES]
        return any(named(self.scene, rest[:length]) for length in range(1, 7)) or rest[:1] in (["it"], ["them"])


def _add_modifiers(clause: _Clause, more: _Clause) -> None:
    """What stands behind a comma or "and" without a verb of its own belongs to the verb before it."""
    if more.direction is not None:
        clause.direction = more.direction + (0 if clause.direction is None else clause.direction)
    clause.strength *= more.strength
    clause.time = clause.time if more.time is None else more.time
    clause.duration = clause.duration if more.duration is None else more.duration
    clause.impact |= more.impact
    clause.objects += more.subject
    clause.unclear |= more.unclear


def actions_from_words(text: str, scene: Scene) -> tuple[Actions, tuple[str, ...]]:
    """Actions that the words say, and remarks on what they left out. Raises SceneError for too long a text.

    Directions are the picture's; towards and away go along the ground. Magnitudes follow from each body's size, mass
    and friction (verbs.py). A sentence begins at once, its clauses together, unless a time or "then" is said.
    """
    if len(text) > LONGEST:
        raise SceneError(f"words: {len(text):,} characters; expected at most {LONGEST:,}")
    reader = _Reader(scene, split(text))
    clauses = reader.read()
    remarks = reader.remarks
    actions: list[Action] = []
    previous = _Clause()
    started = 0.0
    for clause in clauses:
        clause = _with_subject(clause, previous, scene)
        if clause.unclear:
            continue
        if clause.negated:
            who = f" to {quoted(clause.subject)}" if clause.subject else ""
            remarks.append(f"“{clause.verb}” is said not to happen{who}, and not done; gravity and blows still act")
            previous = replace(clause, verb="")
            continue
        time = clause.time if clause.time is not None else started + clause.later if clause.later is not None else None
        follows = clause.verb == "break" and clause.time is None and _sets_going(previous, clause.subject)
        if follows and not clause.new_sentence:
            clause.impact, time = True, started
        elif time is None:
            time = 0.0 if clause.new_sentence else started  # "after a second the cup falls and the ball rolls"
        done, more = _done(clause, scene, time)
        actions += done
        remarks += [remark for remark in more if remark not in remarks]
        previous, started = clause, time
    if text.strip() and not clauses and not remarks:
        remarks.append(f"the words say nothing that happens; verbs: {', '.join(VERBS)}")
    return tuple(actions), tuple(remarks)


def _with_subject(clause: _Clause, previous: _Clause, scene: Scene) -> _Clause:
    """The clause with the subject that it leaves out: its object, that of the clause before, or the only body."""
    if clause.subject or clause.verb == "blow":
        return clause
    if clause.stranger:
        return replace(clause, unclear=True)
    if clause.objects:  # "push the cup"
        return replace(clause, subject=clause.objects, objects=(), passive=True)
    if previous.subject and not clause.new_sentence:
        broken = clause.verb == "break" and previous.objects
        return replace(clause, subject=previous.objects if broken else previous.subject)
    movable = tuple(body.name for body in scene.bodies if not body.fixed)
    return replace(clause, subject=movable if len(movable) == 1 else ())


def _sets_going(previous: _Clause, subject: tuple[str, ...]) -> bool:
    """Whether what was said before leads to an impact of the same bodies."""
    return previous.verb not in ("", "break", "blow") and bool(
        set(subject) & {*previous.subject, *previous.objects, previous.target}
    )


def in_world(scene: Scene, vector: Floats) -> Floats:
    """The unit vector of a direction (right, up, towards the viewer) of the picture."""
    right = along(scene, np.asarray(scene.view.c2w, float)[:3, 0])
    out = vector[0] * right + vector[1] * up(scene) + vector[2] * toward_viewer(scene)
    return out / max(float(np.linalg.norm(out)), 1e-9)


def _done(clause: _Clause, scene: Scene, time: float) -> tuple[list[Action], list[str]]:
    """The actions of one clause, and remarks."""
    given = clause.direction
    direction = in_world(scene, given) if given is not None and np.any(given) else None
    if clause.verb == "blow":
        done, more = blow(scene, direction, clause.strength, time, clause.duration)
        return [*done], [*more]
    if not clause.subject:
        return [], [f"“{clause.verb}” is said of nothing; the scene has {quoted([b.name for b in scene.bodies])}"]
    verb = "break at impact" if clause.verb == "break" and clause.impact else clause.verb
    if clause.over and clause.passive and verb in ("strike", "push"):
        verb = "topple"
    pairs: list[tuple[str, str, Body | None]] = []
    target = None if clause.target is None else scene.body(clause.target)
    if clause.objects:  # "the ball hits the cup", "the ball breaks the vase"
        pairs += [(name, "strike", scene.body(other)) for name in clause.subject for other in clause.objects]
    elif verb == "strike" and target is None and not clause.passive:
        return [], [f"nothing is said that {quoted(clause.subject)} {'hit' if clause.subject[1:] else 'hits'}"]
    else:
        pairs += [(name, "push" if verb == "strike" and target is None else verb, target) for name in clause.subject]
    actions: list[Action] = []
    remarks: list[str] = []
    for name, what, at in pairs:
        body = scene.body(name)
        if body.fixed and what in NEEDS_FREEDOM:
            remarks.append(f"“{name}” is fixed and cannot {what}; make it movable, or say that it falls")
            continue
        if at is body:
            at = None
        way = direction
        if at is not None and clause.sign < 0:  # away from the target
            way = along(scene, center_of_mass(body) - center_of_mass(at))
            at = None
        do = Doing(
            scene=scene,
            body=body,
            direction=way,
            target=at,
            strength=clause.strength,
            time=time,
            duration=clause.duration,
            outcome="break" if clause.verb == "break" else "topple" if clause.over or clause.verb == "topple" else "",
        )
        done, more = do_verb(what, do)
        actions += done
        remarks += more
    return actions, remarks
