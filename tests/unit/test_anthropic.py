"""What Anthropic's requests ask and its answers report."""

import json
from typing import Any

import pytest

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import BudgetExceeded, InvalidRequest
from penia_proxy.wire.anthropic import Anthropic, parts_of, usage_of
from penia_proxy.wire.call import AnswerHead, Call, Reading, Request

DIALECT = Anthropic()


def call(**members: Any) -> Call:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [], **members}
    return DIALECT.call(Request("messages", json.dumps(body).encode()))


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def reading(body: bytes, *, stream: bool = True, step: int = 10_000) -> Reading:
    meter = DIALECT.meter(call(), AnswerHead("text/event-stream" if stream else "application/json"))
    passed = b"".join(meter.feed(body[at : at + step]) for at in range(0, len(body), step))
    assert passed + meter.end() == body
    return meter.reading()


def test_cache_counts_are_apart_from_input() -> None:
    """Anthropic's input excludes them, so nothing is taken out; the lifetimes are told apart."""
    usage = usage_of(
        {
            "input_tokens": 5,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 70,
            "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 30},
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 12},
            "server_tool_use": {"web_search_requests": 2},
            "service_tier": "standard",
            "speed": "fast",
        }
    )

    assert usage == Usage(
        input=5,
        cache_read=100,
        cache_write=40,
        cache_write_1h=30,
        output=8,
        reasoning=12,
        units={"web_searches": 2},
        service_tier="standard",
        speed="fast",
    )


def test_cache_writes_beyond_their_split_are_at_the_default_lifetime() -> None:
    """The total in a stream's last delta may exceed the split told at its start."""
    usage = usage_of(
        {
            "input_tokens": 0,
            "output_tokens": 0,
            "cache_creation_input_tokens": 90,
            "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 30},
        }
    )

    assert usage is not None
    assert (usage.cache_write, usage.cache_write_1h) == (60, 30)


START = event(
    "message_start",
    message={
        "model": "claude-sonnet-4-5-20250929",
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 7, "output_tokens": 1, "service_tier": "standard"},
    },
)
TEXT = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "héllo"})
INPUT = event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"a"'})
STREAM = (
    START
    + event("ping")
    + TEXT
    + INPUT
    + event("message_delta", delta={}, usage={"output_tokens": 15, "input_tokens": None})
    + event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 25})
    + event("message_stop")
)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
def test_deltas_replace_and_do_not_add(step: int) -> None:
    """The start's figures with each delta's laid over, cumulative; null leaves what was there."""
    read = reading(STREAM, step=step)

    assert read.parts == (
        ("claude-sonnet-4-5-20250929", Usage(input=10, cache_read=7, output=25, service_tier="standard")),
    )
    assert (read.complete, read.finished) == (True, True)
    assert read.passed_text == 'héllo{"a"'


def test_a_cut_stream_knows_its_input() -> None:
    """The start reports it; the output is only what passed so far, so the reading is not complete."""
    read = reading(START + TEXT)

    assert read.parts[0][1].input_total == 17
    assert (read.complete, read.finished, read.wrote) == (False, False, True)


def test_an_error_event_is_a_failure() -> None:
    """Overloaded in the middle of a stream."""
    read = reading(START + TEXT + event("error", error={"type": "overloaded_error", "message": "x"}))

    assert (read.failed, read.complete) == (True, False)


def test_iterations_count_what_the_top_level_leaves_out() -> None:
    """Compaction is billed and not in the totals; an advisor is another model."""
    parts = parts_of(
        {
            "input_tokens": 220,
            "output_tokens": 11,
            "service_tier": "standard",
            "iterations": [
                {"type": "compaction", "input_tokens": 55_196, "output_tokens": 80},
                {"type": "message", "input_tokens": 220, "output_tokens": 11},
                {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 9, "output_tokens": 3},
            ],
        },
        "claude-sonnet-5",
    )

    assert parts == (
        ("claude-sonnet-5", Usage(input=55_416, output=91, service_tier="standard")),
        ("claude-opus-4-8", Usage(input=9, output=3, service_tier="standard")),
    )


def test_a_whole_answer_is_read() -> None:
    """Not streamed: one document."""
    answer = {
        "type": "message",
        "model": "claude-x",
        "content": [{"type": "text", "text": "hi"}, {"type": "tool_use", "name": "f", "input": {"a": "b"}}],
        "usage": {"input_tokens": 3, "output_tokens": 4},
    }
    read = reading(json.dumps(answer).encode(), stream=False)

    assert read.parts == (("claude-x", Usage(input=3, output=4)),)
    assert read.complete
    assert read.wrote


@pytest.mark.parametrize("value", [-1, 1.5, "10", True])
def test_a_cap_is_a_whole_number(value: object) -> None:
    """A negative ``max_tokens`` is refused here, before anything is held."""
    with pytest.raises(InvalidRequest):
        call(max_tokens=value)


def test_zero_warms_a_cache() -> None:
    """``max_tokens: 0`` is allowed and generates nothing."""
    assert call(max_tokens=0).size.output_cap == 0


@pytest.mark.parametrize(
    "members",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "code_execution_20250825", "name": "x"}]},
        {"mcp_servers": [{"url": "https://x"}]},
        {"context_management": {"edits": [{"type": "compact"}]}},
        {"container": "c_1"},
    ],
)
def test_server_tools_have_no_bound(members: dict[str, Any]) -> None:
    """The provider adds turns and fees of its own."""
    assert call(**members).size.unbounded_why


def test_the_callers_own_tools_are_bounded() -> None:
    """Custom tools, and those Anthropic defines and the caller runs."""
    tools = [{"name": "f", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]

    size = call(tools=tools).size
    assert size.unbounded_why == ""
    assert size.hidden_tokens > 2_000


def test_images_and_documents() -> None:
    """An image's payload is no text, also in a tool's result; a PDF is bounded by the context window only."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 100_000}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    size = call(messages=[{"role": "user", "content": [image, result]}]).size

    assert size.images == 2
    assert size.text_bytes < 1_000
    assert not size.beyond_body
    pdf = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
    assert call(messages=[{"role": "user", "content": [pdf]}]).size.beyond_body


def test_the_longer_cache_lifetime_is_seen() -> None:
    """It costs twice the input, so the bound must know."""
    cached = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}

    assert call(system=[cached]).size.cache_1h
    assert not call(system="x").size.cache_1h


def test_a_refusal_is_what_the_sdk_reads() -> None:
    """``billing_error`` and a request id."""
    shape = DIALECT.refusal(BudgetExceeded("no money"), {}, "r_1")

    assert shape.body == {
        "type": "error",
        "error": {"type": "billing_error", "message": "no money", "penia": {}},
        "request_id": "r_1",
    }
    assert shape.headers == {"request-id": "r_1"}


@pytest.mark.parametrize("ttl", ['"1h"', '"\\u0031h"', '"2h"', "3600"])
def test_a_longer_lifetime_cannot_hide(ttl: str) -> None:
    """Escaped, unknown or mistyped: whatever is not the default is held at the dearer rate."""
    body = (
        '{"model": "claude-sonnet-4-6", "max_tokens": 5, "messages": [],'
        ' "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": ' + ttl + "}}]}"
    )

    assert DIALECT.call(Request("messages", body.encode())).size.cache_1h


def test_images_inside_a_documents_content_are_seen() -> None:
    """A document may be made of blocks."""
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    document = {"type": "document", "source": {"type": "content", "content": [image, image]}}

    assert call(messages=[{"role": "user", "content": [document]}]).size.images == 2


def completion(**members: Any) -> Call:
    body = {"model": "claude-2.1", "prompt": "\n\nHuman: hi\n\nAssistant:", "max_tokens_to_sample": 50, **members}
    return DIALECT.call(Request("complete", json.dumps(body).encode()))


def test_a_legacy_completion_says_what_it_wrote_and_no_more() -> None:
    """So it is settled at an estimate: its text is what is counted, whole or in pieces."""
    meter = DIALECT.meter(completion(), AnswerHead("application/json"))
    meter.feed(json.dumps({"type": "completion", "completion": " Hello!", "model": "claude-2.1"}).encode())
    meter.end()
    streamed = DIALECT.meter(completion(stream=True), AnswerHead("text/event-stream"))
    streamed.feed(event("completion", completion=" Hel", stop_reason=None, model="claude-2.1") + event("ping"))
    running = streamed.reading()
    streamed.feed(event("completion", completion="lo!", stop_reason="stop_sequence", model="claude-2.1"))

    assert not running.finished
    for read in (meter.reading(), streamed.reading()):
        assert (read.complete, read.finished, read.parts) == (False, True, ())
        assert (read.passed_text, read.model) == (" Hello!", "claude-2.1")
    assert (completion().size.output_cap, completion(stream=True).stream) == (50, True)


def test_a_failed_completion_is_no_answer() -> None:
    """An error in the stream, before any text."""
    meter = DIALECT.meter(completion(stream=True), AnswerHead("text/event-stream"))
    meter.feed(event("error", error={"type": "overloaded_error", "message": "x"}))

    assert (meter.reading().failed, meter.reading().wrote) == (True, False)


def test_chat_in_openais_words_is_asked_for_usage() -> None:
    """As OpenAI's own stream is, and read as it is."""
    body = {"model": "claude-sonnet-4-5", "messages": [], "max_tokens": 5, "stream": True}
    asked = DIALECT.call(Request("chat", json.dumps(body).encode()))
    meter = DIALECT.meter(asked, AnswerHead("text/event-stream"))
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    passed = meter.feed(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n".encode())

    assert asked.changed == ("stream_options.include_usage",)
    assert passed == b"data: [DONE]\n\n"
    assert meter.reading().parts == ((None, Usage(input=9, output=4)),)
