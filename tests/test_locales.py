"""Chinese, Japanese and Korean names and tooltips: whole, made from one table, in words that the editor can show."""

import json
import re

import pytest
from vdit.bench import locales
from vdit.nodes import NODES, discovery

HELP = locales.ROOT / "web" / "docs"
TABLE = json.loads(locales.TABLE.read_text("utf-8"))
SCRIPTS = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff\u4e00-\u9fff]", "ko": r"[\uac00-\ud7af]"}


def test_every_english_text_of_the_nodes_has_its_translations_and_none_is_left_over():
    """After a change of a name or tooltip: add the texts to locales/table.json, run python -m vdit.bench.locales."""
    assert locales.missing(TABLE) == []
    for kind, texts in locales.english().items():
        assert TABLE[kind].keys() - texts == set()
        assert [text for text, row in TABLE[kind].items() if len(row) != len(locales.LANGUAGES) or not all(row)] == []


def test_the_files_are_what_the_table_makes():
    for path, text in locales.files(TABLE).items():
        assert path.read_text("utf-8") == text, f"{path}: run python -m vdit.bench.locales"


@pytest.mark.parametrize("language", locales.LANGUAGES)
def test_tooltips_are_in_the_language_and_keep_the_english_figures(language):
    column = locales.LANGUAGES.index(language)
    for english, row in TABLE["texts"].items():
        text = row[column]
        assert re.search(SCRIPTS[language], text), text
        lost = set(re.findall(r"\d{3,}|[A-Za-z]+_\w+", english)) & set(re.findall(r"\d{3,}|\w+\.\w+", english))
        assert [figure for figure in lost if figure not in text] == []


def test_braces_reach_the_reader():
    """vue-i18n reads {name} as a value to fill in; {'{'} is a brace."""
    assert locales.escaped('{"a": 1} | @b') == "{'{'}\"a\": 1{'}'} {'|'} {'@'}b"


def test_what_is_folded_away_and_the_words_to_search_by_belong_to_inputs_and_nodes_that_exist():
    schemas = {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in NODES}
    assert schemas.keys() == discovery.SEARCH_ALIASES.keys()
    for name, folded in discovery.ADVANCED.items():
        assert set(folded) <= {entry.id for entry in schemas[name].inputs}
    for name, count in (("VDiTSample", 5), ("VDiTLoadModel", 2)):
        widgets = [entry for entry in schemas[name].inputs if hasattr(entry, "default")]
        assert sum("advanced" not in entry.as_dict() for entry in widgets) == count


@pytest.mark.parametrize("page", sorted(HELP.glob("*/*.md")), ids=lambda page: f"{page.parent.name} {page.stem}")
def test_a_translated_help_page_has_the_rows_headings_and_code_of_the_english_one(page):
    """After a change of an English page: change its translations too."""
    english, text = (path.read_text("utf-8") for path in (page.parent.with_suffix(".md"), page))
    assert page.stem in locales.LANGUAGES and re.search(SCRIPTS[page.stem], text.splitlines()[0])
    for pattern in (r"(?m)^\|", r"(?m)^#+ "):
        assert len(re.findall(pattern, text)) == len(re.findall(pattern, english))
    code = [" ".join(span.split()) for span in english.split("`")[1::2] if len(span) > 12]
    assert [span for span in code if span not in " ".join(text.split())] == []
