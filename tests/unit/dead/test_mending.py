"""Bodies are taken apart and put together without loss, paths set what they name, and what is still wrong is found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dead.letters import body, letter

from penstock.dead.bodies import Body, BodyUnreadable, body_lines, split_body
from penstock.dead.mending import Checker, EditableLetter, Mended, Mender, NotMended, load_hook
from penstock.dead.paths import PathMisses, parse_assignment
from penstock_schemas.headers import CONTENT_LENGTH, Header
from penstock_schemas.limits import Limits

REQUEST = b'{"id":"a","inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1.5]}]}'


@given(st.dictionaries(st.text(max_size=5), st.integers(-5, 5)), st.binary(min_size=1, max_size=40))
def test_a_body_put_together_comes_apart_the_same(document: dict[str, Any], raw: bytes) -> None:
    again = split_body(Body(document, raw).encode(), ())
    assert again == Body(document, raw)


@pytest.mark.parametrize(
    ("value", "length", "document", "raw"),
    [
        (b'{"a":1}', None, {"a": 1}, b""),
        (b'{"a":1}\n', None, {"a": 1}, b""),
        (b'{"a":1}\n\x00\n\xff', None, {"a": 1}, b"\x00\n\xff"),
        (b'{\n  "a": 1\n}\n', None, {"a": 1}, b""),
        (b'{"a":1}\n{"b":2}', None, {"a": 1}, b'{"b":2}'),
        (b'{"a":1}\x00\x01', b"7", {"a": 1}, b"\x00\x01"),
        (b'{"a":\n1}\x00', b"8", {"a": 1}, b"\x00"),
    ],
)
def test_the_json_ends_where_the_contract_says(value: bytes, length: bytes | None, document: Any, raw: bytes) -> None:
    headers = [] if length is None else [(CONTENT_LENGTH.lower(), length)]
    assert split_body(value, headers) == Body(document, raw)


@pytest.mark.parametrize("value", [None, b"", b"garbage", b"[1]", b'{"a":1', b"\xff\n\x00", b"3\n"])
def test_a_body_without_an_object_is_told_of(value: bytes | None) -> None:
    with pytest.raises(BodyUnreadable):
        split_body(value, ())


def test_a_length_that_cannot_be_is_told_of() -> None:
    for length in (b"9", b"x", b"1" * 30):
        with pytest.raises(BodyUnreadable, match=CONTENT_LENGTH):
            split_body(b'{"a":1}', [(CONTENT_LENGTH, length)])


def test_a_body_is_shown_with_its_tensors_cut_short() -> None:
    inline = Body({"inputs": [{"name": "x", "data": [[[number] * 10 for number in range(10)]]}]}, b"")
    shown = "".join(line.strip() for line in body_lines(inline))
    assert f'"data": [[[{", ".join("0" * 10)}],[{", ".join("1" * 6)}, "…"],"…"]]' in shown, "nested as it is"
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    assert any("…" in line for line in body_lines(Body({"inputs": [{"data": deep}]}, b"")))
    whole = Body({"inputs": [{"data": [[], [1.5, "a"]]}]}, b"")
    assert not any("…" in line for line in body_lines(whole))
    raw = split_body(body(), ())
    assert any('"x" FP32 [1, 4]: 16 bytes: 1, 1, 1, 1' in line for line in body_lines(raw))
    odd = Body({"inputs": [{"name": "x", "datatype": "BYTES", "parameters": {"binary_data_size": 3}}, 7]}, b"12345")
    assert any("add up to 3" in line for line in body_lines(odd))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('model_version="3"', {"a": [{"b": 1}], "model_version": "3"}),
        (".a[0].b=[1,2]", {"a": [{"b": [1, 2]}]}),
        ("a[0]=null", {"a": [None]}),
        ("parameters.timeout=5", {"a": [{"b": 1}], "parameters": {"timeout": 5}}),
        ('["odd name"].x="a=b"', {"a": [{"b": 1}], "odd name": {"x": "a=b"}}),
        ('a[0]["c d"]=1', {"a": [{"b": 1, "c d": 1}]}),
        (".a[0].b = [1, 2] ", {"a": [{"b": [1, 2]}]}),
    ],
)
def test_paths_set_what_they_name(text: str, wanted: Any) -> None:
    document: dict[str, Any] = {"a": [{"b": 1}]}
    parse_assignment(text).apply(document)
    assert document == wanted


@pytest.mark.parametrize("text", ["a[1]=1", "a.b=1", "a[0].b.c=1", "a[0][0]=1", "c[0]=1"])
def test_paths_that_lead_nowhere_say_where_they_end(text: str) -> None:
    with pytest.raises(PathMisses):
        parse_assignment(text).apply({"a": [{"b": 1}]})


@pytest.mark.parametrize("text", ["", "a", "=1", "[0]=1", "a..b=1", "a b=1", "a[x]=1", "a[-1]=1", "a[0]b=1", "a=", "a=text"])
def test_assignments_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--set"):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("model_name=digits", "--set 'model_name=\"digits\"'"),
        ("inputs[0].shape = 1,8,8", "--set 'inputs[0].shape=[1,8,8]'"),
        ("inputs[0]=.inputs[0].image", "--edit"),
    ],
)
def test_what_is_no_json_is_told_how_it_would_be_right(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        parse_assignment(text)


def test_what_is_set_is_not_shared_between_letters() -> None:
    assignment = parse_assignment("parameters={}")
    first: dict[str, Any] = {}
    assignment.apply(first)
    first["parameters"]["timeout"] = 1
    second: dict[str, Any] = {}
    assignment.apply(second)
    assert second == {"parameters": {}}


def test_a_mended_body_keeps_its_raw_tensors_and_loses_its_length_header() -> None:
    line, _, raw = body().partition(b"\n")
    value = line + raw
    dead = letter(value=value, original=[(CONTENT_LENGTH, b"%d" % len(line)), ("trace", b"t")])
    mended = Mender([parse_assignment('model_version="1"')]).mend(dead)
    assert isinstance(mended, Mended)
    assert mended.value is not None
    head, _, rest = mended.value.partition(b"\n")
    assert (orjson.loads(head)["model_version"], rest) == ("1", raw)
    assert mended.headers == [("trace", b"t")]
    assert Checker(Limits()).problem(mended.value, b"a1", mended.headers) is None


def test_fields_that_were_not_there_are_told_apart_from_those_that_were() -> None:
    paths = ("model_version", "inputs[0].name", "inputs[0].nosuch.deep", 'inputs[0]["nosuch"].more', "model_name")
    mended = Mender([parse_assignment(f'{path}="1"') for path in paths]).mend(letter())
    assert isinstance(mended, Mended)
    assert mended.new == ("model_version", "inputs[0].nosuch.deep", "inputs[0].nosuch.more")


def test_what_is_not_changed_goes_as_it_was() -> None:
    own: list[Header] = [(CONTENT_LENGTH, b"%d" % len(REQUEST))]
    dead = letter(value=REQUEST, original=own)
    mended = Mender([parse_assignment('id="a"')], lambda one: one.value).mend(dead)
    assert mended == Mended(REQUEST, own)
    assert Mender([]).mend(letter(value=None)) == Mended(None, [])


def test_the_function_sees_what_was_set_and_may_leave_letters_out() -> None:
    seen: list[str] = []

    def edit(one: EditableLetter) -> bytes | None:
        seen.append(one.document()["model_version"])
        return None if one.id == "b" else one.replaced({**one.document(), "id": "new"}, raw=b"12")

    mender = Mender([parse_assignment('model_version="7"')], edit)
    mended = mender.mend(letter("a"))
    assert isinstance(mended, Mended)
    assert split_body(mended.value, ()).raw == b"12"
    left = mender.mend(letter("b"))
    assert isinstance(left, NotMended)
    assert left.dropped
    assert seen == ["7", "7"]


def test_a_function_that_raises_or_answers_nonsense_is_a_reason() -> None:
    def broken(one: EditableLetter) -> bytes | None:
        raise KeyError(one.id)

    left = Mender([], broken).mend(letter("a"))
    assert isinstance(left, NotMended)
    assert not left.dropped
    assert re.search(r"^edit raised KeyError: 'a' \(line \d+ of test_mending\.py\)$", left.message)
    nonsense: Any = lambda one: "text"  # noqa: E731
    left = Mender([], nonsense).mend(letter("a"))
    assert isinstance(left, NotMended)
    assert left.message.startswith("edit returned str; it must return the body as bytes, which letter.replaced(request) makes")
    left = Mender([parse_assignment("a=1")]).mend(letter(value=b"garbage"))
    assert isinstance(left, NotMended)


def test_a_body_that_is_still_wrong_is_found() -> None:
    error = Checker(Limits()).problem(REQUEST.replace(b'"FP32"', b'"FP33"'), b"a", ())
    assert error is not None
    assert error.code.value == "invalid_job"
    assert Checker(Limits()).problem(REQUEST, b"a", [("ce_deadline", b"2020-01-01T00:00:00Z")]) is None


def test_a_hook_is_loaded_or_said_to_be_wrong(tmp_path: Path) -> None:
    good = tmp_path / "good.py"
    good.write_text("def edit(letter):\n    return letter.value\n")
    dead = letter()
    assert load_hook(good)(EditableLetter(dead, dead.body)) == dead.body
    wrong = {"a.py": "1 +", "b.py": "x = 1", "c.txt": "", "d.py": "raise SystemError('no')", "e.py": "async def edit(x): pass"}
    for name, text in wrong.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=r"--edit"):
            load_hook(tmp_path / name)
    with pytest.raises(ValueError, match=r"--edit"):
        load_hook(tmp_path / "missing.py")
