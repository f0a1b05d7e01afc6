"""JSON from outside: read once, within bounds, and refused by its place; what fuzzing found stays found."""

import json

import pytest
from vdit.control.brush import read_strokes
from vdit.control.span import ControlError
from vdit.host import files, folders
from vdit.host.api import io
from vdit.host.validation import InvalidPrompt, ListValue, convert, is_link, validate
from vdit.machine.parse import Bounds, Unreadable, check, json_value
from vdit.world.arrows import read_arrows
from vdit.world.scene import SceneError

HUGE = "1" * 4301


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_is_read_in_any_unicode_encoding(encoding):
    value = {"name": "Käse 球", "numbers": [1, -2.5, 2**64, True, None]}
    assert json_value(json.dumps(value, ensure_ascii=False).encode(encoding)) == value


@pytest.mark.parametrize(
    "text, said",
    [
        ("", r"is no JSON \(line 1, column 1, where the text ends"),
        ('{"a": 1,\n "b" 2}', r"line 2, column 6, near '2}'"),
        (f'{{\n"a": {HUGE}}}', "line 2, column 6, a number of 4,301 digits; at most 400"),
        ("[1e400]", "line 1, column 2, 1e400, which is larger"),
        ("[1, NaN]", "line 1, column 5, NaN, which is no number"),
        ('{"a": 1, "a": 2}', "the key 'a' twice"),
        ('{"a": {"b": ["x", "\\ud800"]}}', r"half a character \(\\ud800\) in a.b\[1\]"),
        ('{"\\udfff": 1}', "half a character"),
        ("[" * 100_000, "nested deeper than 100"),
        ("[" * 500 + "]" * 500, r"nested deeper than 100 levels, at \[0\]\[0\]"),
        (b'{"a": "\xe9"}', r"is no UTF-8 text at byte 7 \(line 1, 0xe9\)"),
        (b"\xff\xfe{", "is no UTF-16 text"),
    ],
)
def test_what_is_no_json_is_refused_by_its_place(text, said):
    with pytest.raises(Unreadable, match=said):
        json_value(text)


def test_what_is_larger_than_its_bounds_is_refused():
    with pytest.raises(Unreadable, match="more than 2,000,000 values"):
        json_value("[" + "[]," * 2_100_000 + "[]]")
    with pytest.raises(Unreadable, match="at most 64 are read"):
        json_value(b" " * 64_000_001)
    assert json_value('"' + "," * 3_000_000 + '"', Bounds(values=10)) == "," * 3_000_000


def test_nan_is_null_where_comfyui_reads_it_so():
    assert json_value('{"is_changed": NaN}', nan_is_null=True) == {"is_changed": None}


@pytest.mark.parametrize(
    "value, said",
    [
        ({"rows": [{"id": 1}, {"id": True}]}, r"rows\[1\].id must be a whole number or a string, found true"),
        ({"rows": [{}]}, r"rows\[0\].id must be .*, found null"),
        ({"rows": {}}, "rows must be a list, found {}"),
        ({"rows": [], "map": {"a": {"b": 5}}}, "map.a.b must be a string, found 5"),
        ([], r"it must be an object, found \[\]"),
    ],
)
def test_a_field_of_another_type_is_named_by_its_path(value, said):
    fields = {"": dict, "rows!": list, "rows[]!": dict, "rows[].id!": (int, str), "map": dict, "map.{}.b": str}
    with pytest.raises(Unreadable, match=said):
        check(value, fields)
    check({"rows": [{"id": "x"}], "map": None}, fields)


def test_numbers_of_thousands_of_digits_are_refused_by_every_drawing():
    with pytest.raises(SceneError, match="arrows: the text holds, at line 1.*4,301 digits"):
        read_arrows(f'{{"version": 1, "arrows": [{HUGE}]}}')
    with pytest.raises(ControlError, match="strokes: the text holds.*4,301 digits.*paint again"):
        read_strokes(f'{{"version": 1, "strokes": [{HUGE}]}}')


@pytest.mark.parametrize(
    "kind, value",
    [
        *(("INT", 2.7), ("INT", True), ("INT", "٣"), ("INT", "1_0"), ("INT", "7.5"), ("INT", None), ("INT", [])),
        *(("FLOAT", "nan"), ("FLOAT", False), ("FLOAT", "1_0"), ("FLOAT", {})),
        *(("STRING", 7), ("STRING", None), ("STRING", ["1", 0]), ("BOOLEAN", "false"), ("BOOLEAN", 5)),
    ],
)
def test_a_value_of_another_type_is_never_taken_for_one_that_it_is_not(kind, value):
    with pytest.raises((ValueError, TypeError)):
        convert(value, kind)


@pytest.mark.parametrize(
    "kind, value, made",
    [("INT", 7.0, 7), ("INT", "7", 7), ("FLOAT", 3, 3.0), ("FLOAT", "1e-3", 0.001), ("BOOLEAN", 1, True)],
)
def test_a_value_written_otherwise_is_taken_as_what_it_is(kind, value, made):
    assert convert(value, kind) == made


class Takes(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = [io.AnyType.Input("any", optional=True), io.Image.Input("image", optional=True)]
        return io.Schema(node_id="Takes", category="t", inputs=inputs, outputs=[], is_output_node=True)


def test_a_wrapped_list_stays_a_value_and_is_no_link():
    prompt = {"1": {"class_type": "Takes", "inputs": {"any": {"__value__": ["1", 0]}}}}
    value = validate(prompt, {"Takes": Takes}).prompt["1"]["inputs"]["any"]
    assert value == ["1", 0] and isinstance(value, ListValue) and not is_link(value)
    prompt["1"]["inputs"] = {"image": {"__value__": ["1", 0]}}
    with pytest.raises(InvalidPrompt, match="Needs a link from a node that gives IMAGE"):
        validate(prompt, {"Takes": Takes})


@pytest.mark.parametrize("content", [b"[1]", b"\xff", b'{"a": 1', b"5", b"null", b"[" * 100_000])
def test_a_broken_settings_file_is_set_aside_and_the_next_is_whole(tmp_path, monkeypatch, caplog, content):
    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))
    path = files.user_folder() / files.SETTINGS
    path.write_bytes(content)
    assert files._read_settings() == files.USUAL_SETTINGS and "Set aside" in caplog.text
    assert not path.exists() and path.with_name(f"{files.SETTINGS}.broken").read_bytes() == content
    files.write_settings({"Comfy.Locale": "ja"})
    assert files._read_settings()["Comfy.Locale"] == "ja"
