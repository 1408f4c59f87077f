"""What responses ask for, and what their answers report."""

import json
from typing import Any

import pytest

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.call import AnswerHead, Call, Reading, Request
from penia_proxy.wire.families import GROQ
from penia_proxy.wire.openai import OpenAI
from penia_proxy.wire.openai_responses import responses_call

DIALECT = OpenAI()

USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}
COUNTS = Usage(input=30, cache_read=60, cache_write=10, output=30, reasoning=20)


def call(operation: str = "responses", **members: Any) -> Call:
    return DIALECT.call(Request(operation, json.dumps({"model": "gpt-5", "input": "hi", **members}).encode()))


def reading(body: bytes, *, stream: bool = False, step: int = 100_000) -> Reading:
    meter = DIALECT.meter(call(stream=stream), AnswerHead("text/event-stream" if stream else "application/json"))
    passed = b"".join(meter.feed(body[at : at + step]) for at in range(0, len(body), step)) + meter.end()
    assert passed == body
    return meter.reading()


def answered(**members: Any) -> Reading:
    return reading(json.dumps({"model": "gpt-5-2025-08-07", "usage": USAGE, **members}).encode())


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def stream_ending(kind: str, **response: Any) -> bytes:
    return (
        event("response.created", response={"model": "gpt-5-2025-08-07", "usage": None})
        + event("response.output_text.delta", delta="héllo")
        + event("response.function_call_arguments.delta", delta='{"a"')
        + event(kind, response={"model": "gpt-5-2025-08-07", "usage": USAGE, **response})
    )


def test_a_response_reports_disjoint_counts_at_its_own_tier() -> None:
    """Cached and written tokens are inside the input, reasoning inside the output."""
    read = answered(service_tier="priority")

    assert read.parts == (("gpt-5-2025-08-07", COUNTS.with_tier("priority")),)
    assert (read.complete, read.finished, read.failed) == (True, True, False)


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
def test_a_streams_bill_is_in_its_last_event_however_it_is_cut(kind: str) -> None:
    """At every size of piece the reading is the same, also of a response that failed: what it used is billed."""
    body = stream_ending(kind)
    whole = reading(body, stream=True)

    assert whole.parts == (("gpt-5-2025-08-07", COUNTS),)
    assert (whole.complete, whole.finished, whole.failed) == (True, True, kind == "response.failed")
    assert whole.passed_text == 'héllo{"a"'
    assert all(reading(body, stream=True, step=step) == whole for step in range(1, 60))


def test_every_split_in_two_reads_the_same() -> None:
    """A chunk may end at any byte."""
    body = stream_ending("response.completed")
    whole = reading(body, stream=True)

    for at in range(len(body)):
        meter = DIALECT.meter(call(stream=True), AnswerHead("text/event-stream"))
        meter.feed(body[:at])
        meter.feed(body[at:])
        meter.end()
        assert meter.reading() == whole


def test_a_cut_stream_has_text_but_no_bill() -> None:
    """The event that was to come would have had it."""
    read = reading(stream_ending("response.completed")[:-300], stream=True)

    assert (read.complete, read.finished, read.wrote) == (False, False, True)


def test_an_error_event_is_a_failure() -> None:
    """Nothing was made, so nothing is billed."""
    read = reading(event("error", error={"message": "no"}), stream=True)

    assert (read.failed, read.complete, read.wrote) == (True, False, False)


def test_stated_searches_are_billed() -> None:
    """What the answer states is believed before its items are counted."""
    items = [{"type": "web_search_call", "action": {"type": "search"}}] * 3

    read = answered(output=items, tool_usage={"web_search": {"num_requests": 2}})

    assert read.parts[0][1].units == {"web_searches": 2}


def test_tools_are_counted_by_their_items() -> None:
    """Opening a page is no search; file searches and code runs are billed by use."""
    items = [
        {"type": "web_search_call", "action": {"type": "search"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},
        {"type": "file_search_call"},
        {"type": "code_interpreter_call"},
    ]

    assert answered(output=items).parts[0][1].units == {
        "web_searches": 1,
        "storage_searches": 1,
        "code_executions": 1,
    }


@pytest.mark.parametrize(
    ("items", "tools", "gigabytes"),
    [
        ([{"container_id": "c1"}, {"container_id": "c1"}, {"container_id": "c2"}], [], 2),
        ([{"container_id": "c1"}], [{"type": "code_interpreter", "container": {"memory_limit": "16g"}}], 16),
        ([{"container_id": "c1"}], [{"type": "code_interpreter", "container": "c1"}], 1),
        (
            [{"type": "shell_call", "environment": {"type": "container_reference", "container_id": "c1"}}],
            [{"type": "shell", "environment": {"type": "container_auto", "memory_limit": "4g"}}],
            4,
        ),
        ([{"type": "shell_call", "environment": {"type": "local"}}], [], None),
    ],
)
def test_containers_are_billed_once_and_by_their_memory(
    items: list[dict[str, Any]], tools: list[dict[str, Any]], gigabytes: int | None
) -> None:
    """Several runs in one container are one fee, four gigabytes are four, and the caller's own shell is free."""
    read = answered(output=[{"type": "code_interpreter_call", **item} for item in items], tools=tools)

    assert read.parts[0][1].units.get("code_executions") == gigabytes


def test_cache_writes_of_twelve_hours_are_told_apart() -> None:
    """They are inside the writes, as the writes are inside the input."""
    written = {"cache_write_tokens": 40, "cache_write_tokens_details": {"ttl_30m_tokens": 15, "ttl_12h_tokens": 25}}
    report = {"input_tokens": 100, "input_tokens_details": written, "output_tokens": 5}

    assert answered(usage=report).parts[0][1] == Usage(input=60, cache_write=15, cache_write_12h=25, output=5)
    written["cache_write_tokens_details"]["ttl_12h_tokens"] = 900
    assert answered(usage=report).parts[0][1] == Usage(input=60, cache_write_12h=40, output=5)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, False),
        ({"prompt_cache_options": {"ttl": "30m"}}, False),
        ({"prompt_cache_options": {"ttl": "12h"}}, True),
        ({"input": [{"content": [{"text": "x", "prompt_cache_breakpoint": {"ttl": "12h"}}]}]}, True),
        ({"tools": [{"type": "function", "parameters": {"properties": {"ttl": {"type": "string"}}}}]}, False),
    ],
)
def test_a_longer_cache_lifetime_is_known_before(members: dict[str, Any], *, expected: bool) -> None:
    """The request or a single breakpoint of it may ask for it."""
    assert call(**members).size.cache_12h is expected


def test_an_image_made_by_a_tool_bills_the_image_model() -> None:
    """Its tokens are not in the usage of the response."""
    made = {
        "input_tokens": 40,
        "input_tokens_details": {"image_tokens": 10},
        "cached_tokens_details": {"cached_image_tokens": 4, "cached_text_tokens": 3},
        "output_tokens": 272,
    }

    read = answered(
        output=[{"type": "image_generation_call"}],
        tools=[{"type": "image_generation", "model": "gpt-image-1.5"}],
        tool_usage={"image_gen": made},
    )

    expected = Usage(input=27, cache_read=3, input_image=6, cache_read_image=4, output_image=272)
    assert read.parts[1] == ("gpt-image-1.5", expected)


def test_an_image_whose_tokens_are_not_stated_is_marked() -> None:
    """It has no price, and is not quietly free."""
    assert answered(output=[{"type": "image_generation_call"}]).parts[0][1].units == {"image_generations": 1}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"usage": {"input_tokens": -1, "output_tokens": 2}}', b'{"output": [5, {"content": 7}]}']
)
@pytest.mark.parametrize("stream", [True, False])
def test_garbage_is_no_usage(body: bytes, *, stream: bool) -> None:
    """And never an exception."""
    assert reading(body, stream=stream).parts == ()


def test_a_background_response_is_refused_where_it_cannot_be_asked_for_again() -> None:
    """Its bill is in no answer to the POST, and nothing may be quietly free."""
    body = json.dumps({"model": "gpt-oss-120b", "background": True}).encode()
    with pytest.raises(InvalidRequest, match="come after the answer"):
        responses_call(Request("responses", body), GROQ)
    assert call(background=True).model == "gpt-5"


@pytest.mark.parametrize(
    "members",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"type": "reasoning", "id": "rs_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
    ],
)
def test_stored_input_is_beyond_the_body(members: dict[str, Any]) -> None:
    """Only the context window bounds it."""
    assert call(**members).size.beyond_body


def test_what_is_in_the_body_is_not_beyond_it() -> None:
    """Images count by their own bound, and their bytes are no text."""
    url = "data:image/png;base64," + "A" * 5000
    content = [{"type": "input_text", "text": "what"}, {"type": "input_image", "image_url": url}]

    size = call(input=[{"role": "user", "content": content}], max_output_tokens=77).size

    assert (size.beyond_body, size.images, size.output_cap, size.unbounded_why) == (False, 1, 77, "")
    assert size.text_bytes < 1000


@pytest.mark.parametrize(
    "members",
    [
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "function", "name": "f"}, {"type": "mcp"}]},
        {"model": "o3-deep-research"},
        {"context_management": [{"type": "compaction"}]},
        {"prompt": {"id": "pmpt_1"}},
    ],
)
def test_hosted_tools_make_the_cost_unbounded(members: dict[str, Any]) -> None:
    """They cost per use and feed input of their own."""
    assert call(**members).size.unbounded_why


def test_a_compaction_is_billed_as_a_response() -> None:
    """It has no cap of its own, so the model's maximum bounds it."""
    asked = call("compact")
    meter = DIALECT.meter(asked, AnswerHead("application/json"))
    meter.feed(json.dumps({"object": "response.compaction", "usage": USAGE}).encode())
    meter.end()

    assert (asked.size.output_cap, asked.stream) == (None, False)
    assert meter.reading().parts == ((None, COUNTS),)
