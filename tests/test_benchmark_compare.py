"""Systems side by side on one page, made of reports that people share."""

import copy
import json
import re

import pytest
from vdit.benchmark import cli

SHARE = {"clips": 50, "percent": 80.0, "low": 67.0, "high": 88.8}
REPORT = {
    "suite_version": 1,
    "plan": {"seed": 7, "count": 50, "form": {"width": 832, "height": 480, "fps": 8.0, "known": 1, "frames": None}},
    "settings": {"model": "wan", "steps": 20, "matched_by": {"name": 50}},
    "scores": {"model": {"physics": {"test": {"all": SHARE, "fall": SHARE}}}, "static": {"physics": {}}},
}


def changed(path, value, report=REPORT):
    report = copy.deepcopy(report)
    *groups, last = path.split(".")
    at = report
    for name in groups:
        at = at[name]
    at[last] = value
    return report


def compare(tmp_path, *reports):
    names = []
    for i, report in enumerate(reports):
        names.append(tmp_path / f"{i}.json")
        names[-1].write_text(json.dumps(report))
    assert cli.main(["--compare", *map(str, names), "--out", str(tmp_path)]) == 0
    return (tmp_path / "results.html").read_text("utf-8")


def test_systems_measured_alike_share_a_table_and_its_columns(tmp_path):
    text = compare(tmp_path, REPORT, changed("settings.model", "ltx"))
    assert text.count("<table>") == 1 and text.count("<small>test, 50 clips") == 1
    assert text.count("80.0%") == 2 and text.count("95%: 67.0 to 88.8") == 2
    assert re.findall(r"<tr><th>(\w+)<small>", text) == ["wan", "ltx"] and "steps 20" in text and "published" in text
    assert "fall" not in text and "static" not in text


@pytest.mark.parametrize(
    "path, value",
    [
        ("plan.seed", 8),
        ("plan.count", 49),
        ("plan.form.width", 848),
        ("plan.form.known", 5),
        ("plan.form.frames", 25),
        ("suite_version", 2),
    ],
)
def test_systems_measured_in_another_way_get_a_table_of_their_own(tmp_path, capsys, path, value):
    assert compare(tmp_path, REPORT, changed(path, value)).count("<table>") == 2
    assert "measured in 2 ways, which are not comparable" in capsys.readouterr().out


def test_a_run_that_is_not_finished_gets_a_column_of_its_own(tmp_path):
    text = compare(tmp_path, REPORT, changed("scores.model.physics.test.all", SHARE | {"clips": 12}))
    assert text.count("<table>") == 1 and "test, 50 clips" in text and "test, 12 clips" in text
    assert text.count("<td>-</td>") == 2


def test_what_a_shared_file_says_cannot_become_a_part_of_the_page(tmp_path):
    text = compare(tmp_path, changed("settings.model", "<script>alert(1)</script>"))
    assert "<script>" not in text and "&lt;script&gt;" in text


@pytest.mark.parametrize(
    "report, says",
    [
        ([], "must be an object"),
        ({"scores": {}}, "says no suite_version"),
        (changed("plan.seed", "7"), r"plan\.seed must be a whole number"),
        (changed("settings.model", None), r"settings\.model must be a string"),
        (changed("scores.model", {}), "holds no scored clips"),
        (changed("scores.model", {"beauty": {}}), "'beauty', which this VDiT does not know"),
        (changed("scores.model.physics.test.all", SHARE | {"percent": 101}), "expected low, per cent, high"),
        (changed("scores.model.physics.test.all", SHARE | {"low": None}), "expected low, per cent, high"),
        (changed("scores.model.physics.test.all", SHARE | {"high": "88"}), r"high must be a number"),
    ],
)
def test_a_file_that_is_no_report_is_refused_by_its_field(tmp_path, capsys, report, says):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(report))
    assert cli.main(["--compare", str(path), "--out", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert str(path) in told and re.search(says, told), told
    assert not (tmp_path / "results.html").exists()


def test_a_missing_file_and_options_of_a_measurement_are_refused(tmp_path, capsys):
    assert cli.main(["--compare", str(tmp_path / "none.json")]) == 1
    assert "there is no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["--compare", "a.json", "--seed", "4"])
    assert "leave out all but --out" in capsys.readouterr().err
