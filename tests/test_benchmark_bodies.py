"""Scores of bodies of any shape: what their controls score, how looks are told apart, what is printed beside them."""

import numpy as np
import pytest
from vdit.benchmark import cli, measure, runner
from vdit.benchmark.bodies import BODY_SUITES, judged
from vdit.benchmark.body_controls import BODY_CONTROLS, BodySource
from vdit.benchmark.body_labels import label_bodies, places
from vdit.benchmark.contestant import Contestant
from vdit.benchmark.report import table
from vdit.benchmark.scores import score
from vdit.benchmark.selection import Format, draw, take
from vdit.world.families.objects import OBJECT_FAMILIES, play, stage

KNOWN = 5
SEEDS = {  # of the split test; each can be judged
    ("bodies-physics", "topple"): 1506263171,
    ("bodies-physics", "swing"): 1430033483,
    ("bodies-physics", "barrel"): 962475578,
    ("bodies-permanence", "hide"): 1426771855,
}
_taken: dict = {}


def taken(suite, family):
    """One clip and its labels; made once a session."""
    if (suite, family) not in _taken:
        _taken[suite, family] = take(suite, family, "test", SEEDS[suite, family])
    return _taken[suite, family]


def judge(suite, family, control):
    clip, labels = taken(suite, family)
    frames = BODY_CONTROLS[control].make(BodySource(clip, labels, KNOWN, np.random.default_rng(0)))
    return score(suite, frames, labels, KNOWN)


def test_every_family_of_the_scores_can_be_drawn():
    assert {f for suite in BODY_SUITES.values() for f in suite.families} <= set(OBJECT_FAMILIES)


@pytest.mark.parametrize("control", ["static", "blank", "linear", "vanish", "recolour"])
@pytest.mark.parametrize("suite, family", [("bodies-physics", "topple"), ("bodies-permanence", "hide")])
def test_what_is_wrong_fails(suite, family, control):
    assert judge(suite, family, control).value == 0


@pytest.mark.parametrize("control", ["simulator", "blur + noise", "h264 crf 23"])
@pytest.mark.parametrize("suite, family", [("bodies-physics", "topple"), ("bodies-permanence", "hide")])
def test_the_simulator_passes_through_noise_and_codec(suite, family, control):
    found = judge(suite, family, control)
    assert found.value == 1, found.checks


@pytest.mark.slow
def test_a_swing_at_another_pace_or_in_another_order_is_wrong():
    for control in ("time x0.7", "time x1.3", "shuffled"):
        assert judge("bodies-physics", "swing", control).value == 0, control


def test_what_rolls_goes_on_straight_and_nothing_else_does():
    assert judge("bodies-physics", "barrel", "linear").value == 1
    assert judge("bodies-physics", "barrel", "static").value == 0


def test_a_tilted_bar_is_where_it_is_and_lies_as_it_lies():
    y, x = np.mgrid[0:64, 0:64] + 0.5
    angle = np.radians(30)
    along = (x - 40) * np.cos(angle) + (y - 20) * np.sin(angle)
    across = (y - 20) * np.cos(angle) - (x - 40) * np.sin(angle)
    bar = (np.abs(along) < 12) & (np.abs(across) < 3)
    found = places(np.stack((bar, np.zeros_like(bar))))
    assert np.allclose(found.center[0], (40, 20), atol=0.1)
    assert np.degrees(found.direction[0]) == pytest.approx(30, abs=1.5)
    assert found.stretch[0] == pytest.approx(4, abs=0.3)
    assert found.area[1] == 0 and np.isnan(found.center[1]).all() and np.isnan(found.direction[1])


def test_dominoes_of_one_colour_are_one_look():
    clip = play(stage(1, "dominoes", split="test", frames=9))
    labels = label_bodies(clip)
    assert len(labels.looks) == 2 and sum(labels.count) == len(clip.staged.scene.bodies)
    assert not (labels.looks[0].ball & labels.looks[1].ball).any()
    assert labels.looks[0].truth is labels.truth


def test_a_hidden_body_is_told_as_hidden_and_not_judged():
    _, labels = taken("bodies-permanence", "hide")
    look = labels.looks[0]
    assert look.hidden.any() and not look.ball[look.hidden].any()
    assert np.isfinite(look.center[look.hidden]).all(), "its place is known where it is hidden"
    assert not judged(labels, 0, KNOWN)[look.hidden].any()


def test_scores_of_balls_and_of_bodies_refuse_each_others_clips():
    _, bodies = taken("bodies-physics", "topple")
    with pytest.raises(ValueError, match="another kind"):
        score("physics", bodies.truth, bodies)
    _, balls = next(draw("physics", "fall", "test", 1, 1, Format(64, 64)))
    with pytest.raises(ValueError, match="another kind"):
        score("bodies-physics", balls.truth, balls)
    with pytest.raises(ValueError, match="the body|moves|hidden|ball|look"):
        score("bodies-permanence", bodies.truth, bodies)
    with pytest.raises(ValueError, match="unknown"):
        score("bodies-beauty", bodies.truth, bodies)


def test_a_run_prints_the_parts_of_a_model_and_two_controls_beside_its_score(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "draw", lambda *a, **k: iter([taken("bodies-physics", "topple")]))

    def right(clip, known, seed):
        return clip.rgb

    def still(clip, known, seed):
        frames = clip.rgb.clone()
        frames[len(known) :] = known[-1]
        return frames

    plan = runner.Plan(1, 1, ("bodies-physics",), form=Format())
    contestant = Contestant("m", right, parts={"draft only": still, "transformer only": right})
    report, results = measure.measure(plan, contestant, tmp_path, speed=False)
    values = {r["who"]: r["value"] for r in results}
    assert values == {"model": 1, "draft only": 0, "transformer only": 1, "simulator": 1, "static": 0}
    text = table(report)
    assert "B'  physics of bodies" in text and all(who in text for who in values)
    assert report["failed_checks"]["static"]["bodies-physics"]["on its path"] == 1


def test_the_command_knows_the_suite_by_one_name(tmp_path, monkeypatch):
    asked = []

    def measured(plan, contestant, out, **_):
        asked.append(plan.suites)
        return {"scores": {}}, []

    monkeypatch.setattr(measure, "measure", measured)
    call = ["--suite", "bodies", "--count", "1", "--out", str(tmp_path)]
    assert cli.main(call, lambda file, **settings: Contestant("none", lambda *a: None)) == 0
    assert asked == [tuple(BODY_SUITES)]
