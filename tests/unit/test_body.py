"""Requests are read one way, or not at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.errors import InvalidRequest
from penia_proxy.wire import body
from penia_proxy.wire.body import DEPTH_MAX, count, flag, model_of, read_object, set_member


@pytest.mark.fault("C4")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"{'a': 1}",
        b'{"a": 1} {"b": 2}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"max_tokens": 1, "max_tokens": 90000}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": [{"\\u0062": 1, "b": 2}]}',
        b"\xff\xfe{\x00}\x00",
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": "ä"}'.encode("latin-1"),
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a":' * 100_000,
        b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1),
    ],
)
def test_what_parsers_could_read_two_ways_is_refused(body: bytes) -> None:
    """Not JSON, another encoding, duplicate keys at any depth, bottomless nesting: none of it is a request."""
    with pytest.raises(InvalidRequest):
        read_object(body)


def test_depth_up_to_the_limit_is_read() -> None:
    """The depth limit itself is allowed."""
    body = b'{"a":' * DEPTH_MAX + b"1" + b"}" * DEPTH_MAX

    assert read_object(body)


def test_refusals_do_not_quote_the_body() -> None:
    """Nothing of a prompt gets into an error."""
    with pytest.raises(InvalidRequest) as refused:
        read_object(b'{"secret prompt": secret}')

    assert "secret" not in str(refused.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)


@given(
    members=st.dictionaries(st.text(), json_values, max_size=5),
    name=st.sampled_from(["stream_options", 'quo"te', "ü"]) | st.text(),
    value=json_values,
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_setting_a_member_changes_that_member_only(
    members: dict[str, object], name: str, value: object, indent: int | None, *, ascii_only: bool
) -> None:
    """For any object, the result says what was set, and everything else as before."""
    body = json.dumps(members, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        read_object(body)
    except InvalidRequest:
        return

    changed = json.loads(set_member(body, name, value))

    assert changed == {**members, name: value}


def test_setting_a_member_leaves_every_other_byte() -> None:
    """Odd white space, escapes and number forms of the rest survive."""
    body = b'\n{ "a" : 1.00e+2 ,\t"stream_options":{"include_usage" : false},"b":"\\u00e9\\/"}\n'

    changed = set_member(body, "stream_options", {"include_usage": True})

    assert changed == b'\n{ "a" : 1.00e+2 ,\t"stream_options":{"include_usage":true},"b":"\\u00e9\\/"}\n'


@pytest.mark.parametrize("value", [0, -1, 1.0, 1.5, "5", True, [], 2**31, 1e308])
def test_a_cap_is_a_positive_integer(value: object) -> None:
    """Zero, negatives, floats, strings and booleans are no output cap."""
    with pytest.raises(InvalidRequest):
        count({"max_tokens": value}, "max_tokens")


def test_absent_and_null_mean_no_cap() -> None:
    """Null is how SDKs say that an option was not given."""
    assert count({}, "max_tokens") is None
    assert count({"max_tokens": None}, "max_tokens") is None
    assert count({"max_tokens": 7}, "max_tokens") == 7


@pytest.mark.parametrize("value", ["true", 1, 0, []])
def test_a_flag_is_a_boolean(value: object) -> None:
    """``"stream": "false"`` is read as true by some parsers, so it is refused."""
    with pytest.raises(InvalidRequest):
        flag({"stream": value}, "stream")


@pytest.mark.parametrize("model", [None, "", 5, "a\nb", "x" * 257, ["gpt-4o"]])
def test_a_model_is_a_name(model: object) -> None:
    """What is no printable, bounded name is refused before any price is looked up."""
    with pytest.raises(InvalidRequest):
        model_of({"model": model})


def test_a_body_of_nothing_but_objects_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing millions of them would hold everybody up."""
    monkeypatch.setattr(body, "OBJECTS_MAX", 100)

    with pytest.raises(InvalidRequest):
        read_object(b'{"messages": [' + b"{}," * 200 + b"{}]}")
    assert read_object(b'{"messages": [' + b"{}," * 90 + b"{}]}")


def test_a_member_that_json_cannot_say_is_not_written() -> None:
    """1e400 is read as infinity, which is not JSON."""
    given = b'{"stream_options": {"x": 1e400}}'

    with pytest.raises(InvalidRequest):
        set_member(given, "stream_options", read_object(given)["stream_options"])
