"""What Cohere's requests ask and its answers report."""

import json
from typing import Any

import pytest

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import BudgetExceeded, InvalidRequest
from penia_proxy.wire.call import AnswerHead, Call, Reading, Request
from penia_proxy.wire.cohere import Cohere, usage_of

DIALECT = Cohere()


def call(operation: str = "chat", **members: Any) -> Call:
    return DIALECT.call(Request(operation, json.dumps({"model": "command-a-03-2025", **members}).encode()))


def reading(body: bytes, asked: Call, content_type: str, *, step: int = 10_000) -> Reading:
    meter = DIALECT.meter(asked, AnswerHead(content_type))
    passed = b"".join(meter.feed(body[at : at + step]) for at in range(0, len(body), step))
    assert passed + meter.end() == body
    return meter.reading()


def events(*said: dict[str, Any]) -> bytes:
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in said) + b"data: [DONE]\n\n"


def lines(*said: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in said)


BILLED = {"billed_units": {"input_tokens": 10, "output_tokens": 4}, "tokens": {"input_tokens": 505, "output_tokens": 7}}

VERSION_2 = events(
    {"type": "message-start", "delta": {"message": {"role": "assistant", "content": []}}},
    {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "plan "}}},
    {"type": "content-start", "delta": {"message": {"content": {"type": "thinking", "thinking": "hm "}}}},
    {"type": "content-delta", "delta": {"message": {"content": {"text": "Hi"}}}},
    {"type": "tool-call-start", "delta": {"message": {"tool_calls": {"function": {"name": "f", "arguments": ""}}}}},
    {"type": "tool-call-delta", "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}}},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": BILLED}},
)

VERSION_1 = lines(
    {"event_type": "stream-start", "generation_id": "g"},
    {"event_type": "text-generation", "text": "Arr"},
    {"event_type": "text-generation", "text": "r"},
    {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": {"text": "Arrr", "meta": BILLED}},
)


def test_billed_units_count_and_tokens_do_not() -> None:
    """Cohere's own prompt is in its tokens and not on the bill."""
    assert usage_of(BILLED) == Usage(input=10, output=4)


@pytest.mark.parametrize(
    ("billed", "usage"),
    [
        ({"search_units": 3}, Usage(units={"rerank_searches": 3})),
        ({"input_tokens": 7.0, "image_tokens": 2}, Usage(input=7, input_image=2)),
        ({"input_tokens": 9, "text_tokens": 7, "image_tokens": 2}, Usage(input=7, input_image=2)),
        ({"classifications": 3}, None),
        ({"input_tokens": -1}, None),
        ({}, None),
    ],
)
def test_units_are_told_apart(billed: dict[str, Any], usage: Usage | None) -> None:
    """Searches are no tokens, images are apart from text, and what is not known is not nothing."""
    assert usage_of({"billed_units": billed}) == usage


@pytest.mark.parametrize("step", [1, 2, 3, 5, 17, 10_000])
def test_a_stream_of_version_2_reads_the_same_at_every_split(step: int) -> None:
    """Events tell their text in pieces and the bill at the end."""
    found = reading(VERSION_2, call(stream=True), "text/event-stream", step=step)

    assert found.parts == ((None, Usage(input=10, output=4)),)
    assert found.complete
    assert found.finished
    assert found.passed_text == "plan hm Hif{}"


@pytest.mark.parametrize("step", [1, 2, 3, 5, 17, 10_000])
@pytest.mark.parametrize("content_type", ["application/stream+json", "application/x-ndjson", ""])
def test_a_stream_of_version_1_reads_the_same_at_every_split(step: int, content_type: str) -> None:
    """Lines tell their text in pieces and the bill at the end."""
    found = reading(VERSION_1, call(stream=True, message="x"), content_type, step=step)

    assert found.parts == ((None, Usage(input=10, output=4)),)
    assert found.complete
    assert found.finished
    assert found.passed_text == "Arrr"


@pytest.mark.parametrize("content_type", ["application/json", ""])
@pytest.mark.parametrize("name", ["usage", "meta"])
def test_a_whole_answer_of_either_version_is_read(name: str, content_type: str) -> None:
    """Version 2 says usage, version 1 and the other endpoints meta; it may stand on many lines."""
    body = json.dumps({"message": {"content": [{"type": "text", "text": "Hi"}]}, name: BILLED}, indent=1).encode()
    found = reading(body, call(), content_type)

    assert found.parts == ((None, Usage(input=10, output=4)),)
    assert found.complete


def test_a_stream_that_broke_has_failed_and_is_not_complete() -> None:
    """An error at the end without a bill is not an answer."""
    found = reading(
        events({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "internal"}}),
        call(stream=True),
        "text/event-stream",
    )

    assert found.failed
    assert not found.complete


def test_an_error_in_an_answer_s_place_is_a_failure() -> None:
    """Cohere's error has a text where its answer has a message."""
    assert reading(b'{"id":"1","message":"overloaded"}', call(), "application/json").failed
    assert reading(b'{"id":"1","message":"overloaded"}\n', call(stream=True), "application/stream+json").failed


def test_a_cut_stream_is_not_complete() -> None:
    """What passed is known, what it cost is not."""
    found = reading(VERSION_2[: VERSION_2.index(b"event: message-end")], call(stream=True), "text/event-stream")

    assert not found.complete
    assert not found.finished
    assert found.wrote


def test_the_cap_bounds_and_thinking_adds_its_budget() -> None:
    """Whether thinking is inside the cap is not documented, so both bound."""
    size = call(max_tokens=100, thinking={"type": "enabled", "token_budget": 50}).size

    assert size.output_bound(None) == 150


def test_what_costs_beyond_its_body_says_so() -> None:
    """Connectors search, conversations are stored, searches and pixels are not in the bytes."""
    assert call(message="x", connectors=[{"id": "web-search"}]).size.unbounded_why
    assert call(message="x", conversation_id="c").size.beyond_body
    assert call("rerank", query="q", documents=["d"]).size.unbounded_why
    assert call("embed", images=["data:image/png;base64,AA"]).size.unbounded_why
    assert not call("embed", texts=["a", "b"]).size.unbounded_why
    assert call("embed", texts=["a", "b"]).size.no_output


def test_images_are_counted_and_not_their_bytes() -> None:
    """A data URL is a picture, not text."""
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5_000}}
    size = call(messages=[{"role": "user", "content": [url]}]).size

    assert size.images == 1
    assert size.text_bytes < 300


@pytest.mark.parametrize("members", [{"model": None}, {"max_tokens": -1}, {"stream": "yes"}, {"messages": "x"}])
def test_a_request_that_means_nothing_is_refused(members: dict[str, Any]) -> None:
    """What cannot be read cannot be bounded."""
    with pytest.raises(InvalidRequest):
        call(**members)


def test_only_chat_streams() -> None:
    """An embedding that streams is not known, so it would not be metered."""
    with pytest.raises(InvalidRequest):
        call("embed", texts=["x"], stream=True)


def test_a_refusal_has_cohere_s_shape() -> None:
    """The SDK shows the message."""
    shape = DIALECT.refusal(BudgetExceeded("too much"), {"code": "budget_exceeded"}, "r1")

    assert shape.body == {"id": "r1", "message": "too much", "penia": {"code": "budget_exceeded"}}
