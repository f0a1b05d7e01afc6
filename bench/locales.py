"""Writes locales/<language>/: names and tooltips of nodes (nodeDefs.json) and titles of workflows (main.json).

    python -m vdit.bench.locales    after a name or a tooltip has changed; says what has no translation yet

locales/table.json holds, for each English text of the nodes' schemas and each workflow's name, its Chinese, Japanese
and Korean: {"names": {...}, "texts": {...}, "workflows": {...}}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from vdit.nodes import NODES

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ROOT / "locales"
TABLE = LOCALES / "table.json"
LANGUAGES = ("zh", "ja", "ko")
PREFIX = "VDiT "  # of every node's name, and of no other
PACK = "vdit"  # the folder that the registry's installers make, by which the editor knows the pack's workflows

Table = dict[str, dict[str, list[str]]]


def english() -> dict[str, set[str]]:
    """All that is translated: "names" of nodes, inputs and outputs; "texts": descriptions, tooltips; "workflows"."""
    files = {path.stem for path in (ROOT / "workflows").glob("*.json")}
    found: dict[str, set[str]] = {"names": set(), "texts": set(), "workflows": files}
    for kind, text, _ in entries():
        found[kind].add(text)
    return found


def entries() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """("names" or "texts", the English, the keys that lead to it in nodeDefs.json) of every node."""
    for node in NODES:
        schema = node.GET_SCHEMA()
        name = schema.node_id
        yield "names", (schema.display_name or name).removeprefix(PREFIX), (name, "display_name")
        yield "texts", schema.description, (name, "description")
        for entry in schema.inputs:
            yield "names", entry.id, (name, "inputs", entry.id, "name")
            yield "texts", entry.tooltip or "", (name, "inputs", entry.id, "tooltip")
        for i, output in enumerate(schema.outputs):
            yield "names", output.display_name or "", (name, "outputs", str(i), "name")
            yield "texts", output.tooltip or "", (name, "outputs", str(i), "tooltip")


def node_defs(table: Table, language: str) -> dict:
    """nodeDefs.json of a language. Raises KeyError for a text that the table lacks."""
    column, made = LANGUAGES.index(language), {}
    for kind, text, keys in entries():
        translated = escaped(table[kind][text][column])
        inner = made
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = PREFIX + translated if keys[-1] == "display_name" else translated
    return made


def main_messages(table: Table, language: str) -> dict:
    """main.json of a language: titles in the template browser."""
    column = LANGUAGES.index(language)
    titles = {name: escaped(texts[column]) for name, texts in table["workflows"].items()}
    return {"templateWorkflows": {"template": {PACK: titles}}}


def files(table: Table) -> dict[Path, str]:
    """Every file of locales/ that is made, with its text."""
    makers = {"nodeDefs.json": node_defs, "main.json": main_messages}
    return {
        LOCALES / language / name: written(make(table, language))
        for language in LANGUAGES
        for name, make in makers.items()
    }


def escaped(text: str) -> str:
    """The text as vue-i18n's message format shows it: braces, @, $ and | are its syntax."""
    return "".join(f"{{'{letter}'}}" if letter in "{}@$|" else letter for letter in text)


def missing(table: Table) -> list[str]:
    """Texts of the nodes that the table lacks."""
    return sorted(text for kind, texts in english().items() for text in texts - table[kind].keys())


def written(value: object) -> str:
    """JSON as the files here have it."""
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def main() -> int:
    """Writes the files, or prints the texts to translate and returns 1."""
    table = json.loads(TABLE.read_text("utf-8"))
    lacking = missing(table)
    if lacking:
        print(f"{TABLE.relative_to(ROOT)} has no translation of:", *lacking, sep="\n- ")
        return 1
    table = {kind: {text: table[kind][text] for text in sorted(texts)} for kind, texts in english().items()}
    TABLE.write_text(written(table), "utf-8")
    for path, text in files(table).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
