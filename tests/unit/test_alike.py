"""A chunk that is read by what it is like says what its JSON says."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.wire import openai_chat
from penia_proxy.wire.call import AnswerHead, Meter, Reading, Request
from penia_proxy.wire.dialects import DIALECTS
from penia_proxy.wire.openai_chat import ChatReader

BODY = b'{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
TEXTS = st.text(max_size=6) | st.sampled_from(["", "ok ", '"', "\\", '"content":"x"', "ä", "\n", "content", "a\\u0022"])
DELTAS: list[dict[str, Any]] = [
    {},
    {"role": "assistant"},
    {"refusal": "no"},
    {"reasoning_content": "hm"},
    {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]},
]


def meter_of(*, strip: bool = False) -> Meter:
    body = BODY.replace(b',"stream_options":{"include_usage":true}', b"") if strip else BODY
    dialect = DIALECTS["openai"]
    return dialect.meter(dialect.call(Request("chat", body)), AnswerHead("text/event-stream"))


def chunk(delta: dict[str, Any], **members: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice], "usage": None, **members}


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Chunks as providers send them, most of them alike, with anything between."""
    chunks = []
    filled = draw(st.booleans())
    for _ in range(draw(st.integers(0, 12))):
        delta = {"content": draw(TEXTS)}
        if draw(st.integers(0, 4)) == 0:
            delta |= draw(st.sampled_from(DELTAS))
        one = chunk(delta)
        if draw(st.integers(0, 9)) == 0:
            one["model"] = "other"
        if draw(st.integers(0, 9)) == 0:
            one["choices"][0]["index"] = 1
        if draw(st.integers(0, 14)) == 0:
            one["choices"][0]["finish_reason"] = "stop"
        if draw(st.integers(0, 14)) == 0:
            one["usage"] = {"prompt_tokens": 3, "completion_tokens": 4}
        if filled:
            one["obfuscation"] = draw(st.text("abcXYZ", max_size=5))
        chunks.append(one)
    return chunks


def lines(chunks: list[dict[str, Any]], *, ascii_only: bool, tight: bool) -> bytes:
    separators = (",", ":") if tight else (", ", ": ")
    said = (json.dumps(one, ensure_ascii=ascii_only, separators=separators) for one in chunks)
    return b"".join(b"data: %b\n\n" % one.encode("utf-8", "surrogatepass") for one in said)


def read(meter: Meter, data: bytes, step: int) -> tuple[bytes, Reading, list[str]]:
    passed = b"".join(meter.feed(data[at : at + step]) for at in range(0, len(data), step)) + meter.end()
    growing = meter.growing
    assert growing is not None
    return passed, meter.reading(), growing.passed.since(0)


@given(chunks=streams(), ascii_only=st.booleans(), tight=st.booleans(), strip=st.booleans(), step=st.integers(1, 4_000))
def test_as_if_every_chunk_were_read(
    chunks: list[dict[str, Any]], *, ascii_only: bool, tight: bool, strip: bool, step: int
) -> None:
    """Whatever the texts are, and however the bytes are cut."""
    data = lines(chunks, ascii_only=ascii_only, tight=tight)
    found = read(meter_of(strip=strip), data, step)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(openai_chat, "_alike", lambda *_: None)
        expected = read(meter_of(strip=strip), data, step)

    assert found == expected
    assert strip or found[0] == data


@pytest.mark.parametrize("filling", [{}, {"obfuscation": "Xy"}])
def test_alike_chunks_are_not_parsed(filling: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above could not fail."""
    parsed = []
    taken = ChatReader._common
    monkeypatch.setattr(ChatReader, "_common", lambda self, chunk: (parsed.append(1), taken(self, chunk))[1])
    meter = meter_of()
    pieces = ["a", "bc ", "ä", "d" * 40]
    for number, piece in enumerate(pieces):
        one = chunk({"content": piece}, **{name: text * number for name, text in filling.items()})
        meter.feed(lines([one], ascii_only=False, tight=True))

    assert meter.reading().passed_text == "".join(pieces)
    assert len(parsed) == 1


def test_bytes_that_are_no_text_are_no_text() -> None:
    """As when the chunk is parsed: it is no JSON, and counts for nothing."""
    meter = meter_of()
    good = lines([chunk({"content": "ok"})], ascii_only=True, tight=True)
    for one in (good, good.replace(b"ok", b"\xff\xfe"), good):
        meter.feed(one)

    assert meter.reading().passed_text == "okok"


def test_a_name_that_is_escaped_is_no_other() -> None:
    """The text is that of the member which the JSON names so, not of one that is written so."""
    meter = meter_of()
    for said in (b"hi", b"other"):
        meter.feed(b'data: {"choices":[{"delta":{"c\\u006fntent":"hi"},"more":{"content":"%b"}}]}\n\n' % said)

    assert meter.reading().passed_text == "hihi"
