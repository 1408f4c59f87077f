"""A streamed JSON array is cut into its elements."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.wire import json_array
from penia_proxy.wire.json_array import ArrayFramer

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='ab"\\{}[],ü') | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='"\\{}ü', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def framed(body: bytes, step: int) -> list[Any]:
    framer = ArrayFramer()
    return [json.loads(element) for at in range(0, len(body), step) for element in framer.feed(body[at : at + step])]


@given(
    elements=st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), max_size=4),
    step=st.integers(1, 40),
    spaced=st.booleans(),
)
def test_every_element_comes_whole(elements: list[Any], step: int, spaced: bool) -> None:
    """Whatever is inside its strings, however it is spaced and cut."""
    body = json.dumps(elements, ensure_ascii=False, indent=2 if spaced else None).encode()

    assert framed(body, step) == elements


def test_a_lone_object_is_an_array_of_one() -> None:
    """An error comes so, whatever was asked for; what follows it is nothing."""
    assert framed(b' {"error": {"code": [4]}} ', 3) == [{"error": {"code": [4]}}]


@pytest.mark.parametrize(
    "body", [b"", b"   ", b"}}}]]]", b"garbage", b'"[{"', b'[{"a": 1', b'[1, "x", null]', b"\xff\xfe{\x00"]
)
def test_what_is_no_array_of_objects_gives_nothing(body: bytes) -> None:
    """Brackets that close nothing, strings, an object that never ends."""
    assert framed(body, 2) == []


def test_a_huge_element_is_read_as_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded, and the elements after it are read."""
    monkeypatch.setattr(json_array, "EVENT_BYTES_MAX", 100)
    framer = ArrayFramer()
    huge = json.dumps([{"a": "x" * 1000}, {"b": 2}]).encode()
    elements = []
    for at in range(len(huge)):
        elements += framer.feed(huge[at : at + 1])
        assert sum(map(len, framer._pieces)) <= 100

    assert [json.loads(element) for element in elements] == [{"b": 2}]
