"""What OpenAI's requests ask and its answers report."""

import json
from typing import Any

import pytest

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import BudgetExceeded, InvalidRequest
from penia_proxy.wire.call import AnswerHead, Call, Reading, Request
from penia_proxy.wire.openai import OpenAI
from penia_proxy.wire.openai_usage import usage_of

DIALECT = OpenAI()


def call(operation: str = "chat", **members: Any) -> Call:
    return DIALECT.call(Request(operation, json.dumps({"model": "gpt-4o-mini", **members}).encode()))


def reading(body: bytes, asked: Call, *, stream: bool, step: int = 10_000) -> tuple[bytes, Reading]:
    meter = DIALECT.meter(asked, AnswerHead("text/event-stream" if stream else "application/json"))
    passed = b"".join(meter.feed(body[at : at + step]) for at in range(0, len(body), step))
    passed += meter.end()
    return passed, meter.reading()


USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10, "audio_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 3},
}


def test_cached_reasoning_and_audio_are_taken_out_of_the_totals() -> None:
    """OpenAI counts them inside; ours are disjoint."""
    usage = usage_of(USAGE)

    assert usage == Usage(
        input=25, cache_read=60, cache_write=10, input_audio=5, output=27, reasoning=20, output_audio=3
    )
    assert usage.total == 150


@pytest.mark.fault("U8")
@pytest.mark.parametrize(
    "report",
    [
        None,
        "12",
        {},
        {"total_tokens": 5},
        {"prompt_tokens": -1, "completion_tokens": 2},
        {"prompt_tokens": "12", "completion_tokens": 2},
        {"prompt_tokens": 1e30, "completion_tokens": 2},
        {"prompt_tokens": True, "completion_tokens": 2},
        {"prompt_tokens": 1.5, "completion_tokens": 2},
    ],
)
def test_what_cannot_be_believed_is_no_usage(report: object) -> None:
    """Negative, absurd or mistyped counts must not become money; such an answer is counted instead."""
    assert usage_of(report) is None


def test_contradicting_details_are_clamped() -> None:
    """More cached than there was input (seen on Azure Foundry) counts as all of it."""
    usage = usage_of({"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 161}})

    assert usage == Usage(cache_read=10, output=4)


def test_an_explicit_zero_is_a_count() -> None:
    """0 completion tokens is what was made, not a missing figure."""
    assert usage_of({"prompt_tokens": 7, "completion_tokens": 0}) == Usage(input=7)


@pytest.mark.fault("U8")
@pytest.mark.parametrize("report", [{"prompt_tokens": 7}, {"prompt_tokens": 7, "completion_tokens": None}])
def test_half_a_usage_is_none(report: dict[str, Any]) -> None:
    """What leaves out the output of an answer that has some is not believed: it would be free."""
    written = {"choices": [{"message": {"content": "hello"}}], "usage": report}
    for answer, complete in ((written, False), ({**written, "choices": []}, True)):
        _, read = reading(json.dumps(answer).encode(), call(), stream=False)

        assert (read.complete, bool(read.parts)) == (complete, complete)


def test_the_answer_names_model_and_tier() -> None:
    """The price comes from what was served."""
    answer = {"model": "gpt-4o-mini-2024-07-18", "service_tier": "priority", "usage": USAGE, "choices": []}
    _, read = reading(json.dumps(answer).encode(), call(), stream=False)

    ((model, usage),) = read.parts
    assert (model, usage.service_tier, read.complete, read.finished) == (
        "gpt-4o-mini-2024-07-18",
        "priority",
        True,
        True,
    )


def chunk(**members: Any) -> bytes:
    return b"data: " + json.dumps({"model": "gpt-4o-mini-x", "service_tier": "default", **members}).encode() + b"\n\n"


CONTENT = chunk(choices=[{"index": 0, "delta": {"content": "héllo"}}], usage=None)
TOOL = chunk(
    choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a"'}}]}}],
    usage=None,
)
FILTERED = chunk(choices=[], prompt_filter_results=[{}])
TOTAL = chunk(choices=[], usage=USAGE)
DONE = b"data: [DONE]\n\n"
STREAM = FILTERED + CONTENT + TOOL + TOTAL + DONE


@pytest.mark.parametrize("step", [1, 2, 3, 5, 11, 64, 10_000])
def test_the_usage_chunk_we_asked_for_is_taken_out(step: int) -> None:
    """That chunk exactly, in whatever pieces it comes; a chunk with empty choices and no usage stays."""
    passed, read = reading(STREAM, call(stream=True), stream=True, step=step)

    assert passed == FILTERED + CONTENT + TOOL + DONE
    assert read.parts[0][1].total == 150
    assert read.finished
    assert read.passed_text == 'héllof{"a"'
    assert read.passed_bytes == len('héllof{"a"'.encode())


def test_a_caller_that_asked_gets_its_usage_chunk() -> None:
    """Then nothing is changed, up or down."""
    asked = call(stream=True, stream_options={"include_usage": True})
    passed, read = reading(STREAM, asked, stream=True)

    assert (asked.changed, asked.strip_usage) == ((), False)
    assert passed == STREAM
    assert read.complete


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False, "include_obfuscation": False}])
def test_usage_is_asked_for_on_the_callers_behalf(options: dict[str, bool] | None) -> None:
    """A stream reports only when asked; the caller's other options stay."""
    asked = call(stream=True, stream_options=options)

    sent = json.loads(asked.body)
    assert sent["stream_options"] == {**(options or {}), "include_usage": True}
    assert asked.changed == ("stream_options.include_usage",)


def test_a_call_that_does_not_stream_is_sent_as_it_came() -> None:
    """Byte for byte."""
    body = b'{ "model":"gpt-4o", "messages": [ ] }'

    assert DIALECT.call(Request("chat", body)).body is body


def test_a_cut_stream_has_text_but_no_usage() -> None:
    """It is neither complete nor finished, and what passed is known."""
    _, read = reading(CONTENT + CONTENT[:20], call(stream=True), stream=True)

    assert (read.complete, read.finished, read.wrote) == (False, False, True)


def test_an_error_in_the_stream_is_a_failure() -> None:
    """Its text is no output."""
    _, read = reading(chunk(error={"message": "x" * 100}), call(stream=True), stream=True)

    assert (read.failed, read.wrote) == (True, False)


def test_a_plain_json_error_in_an_event_stream_is_read() -> None:
    """Three recorded answers of type text/event-stream were one JSON document."""
    _, read = reading(b'{"error": {"message": "no"}}', call(stream=True), stream=True)

    assert read.failed


@pytest.mark.parametrize("body", [b"\x00\xff garbage", b"", b"[1, 2", b'"text"', b"data: {\n\n", b"data: 5\n\n"])
@pytest.mark.parametrize("stream", [True, False])
def test_garbage_is_no_usage(body: bytes, *, stream: bool) -> None:
    """And never an exception."""
    _, read = reading(body, call(), stream=stream)

    assert read.parts == ()


def test_both_caps_bound_by_the_larger() -> None:
    """Providers differ about which one counts."""
    assert call(max_tokens=10, max_completion_tokens=500).size.output_cap == 500
    assert call(max_tokens=10).size.output_cap == 10
    assert call().size.output_cap is None


@pytest.mark.parametrize(
    "members",
    [
        {"max_tokens": -5},
        {"max_tokens": 0},
        {"max_completion_tokens": 1.5},
        {"n": 0},
        {"n": 129},
        {"stream": "yes"},
        {"stream_options": 5, "stream": True},
        {"messages": {}},
        {"model": ""},
        {"service_tier": 5},
    ],
)
def test_what_makes_the_cost_ambiguous_is_refused(members: dict[str, Any]) -> None:
    """Before anything is held."""
    with pytest.raises(InvalidRequest):
        call(**members)


def test_an_images_payload_counts_as_an_image_not_as_text() -> None:
    """A megabyte of base64 is not a million tokens."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    size = call(messages=[{"role": "user", "content": [{"type": "text", "text": "what?"}, image]}]).size

    assert size.images == 1
    assert size.image_tokens_max > 0
    assert size.text_bytes < 1_000


@pytest.mark.parametrize(
    "members",
    [
        {"web_search_options": {}},
        {"tools": [{"type": "web_search"}]},
        {"model": "gpt-4o-search-preview"},
    ],
)
def test_hosted_tools_have_no_bound(members: dict[str, Any]) -> None:
    """They cost per use, and feed input that is not in the body."""
    assert call(**members).size.unbounded_why


def test_input_that_is_not_in_the_body_is_known_to_be() -> None:
    """A file by id is bounded by the context window only."""
    part = {"type": "file", "file": {"file_id": "file-1"}}

    assert call(messages=[{"role": "user", "content": [part]}]).size.beyond_body
    assert not call(messages=[{"role": "user", "content": "hi"}]).size.beyond_body


def test_embeddings_make_no_output() -> None:
    """Only input is billed."""
    asked = call("embeddings", input=["a", "b"])

    assert asked.size.no_output
    assert not asked.stream
    with pytest.raises(InvalidRequest):
        call("embeddings", input="a", stream=True)


def test_a_refusal_is_what_the_sdk_reads() -> None:
    """``error.code`` is what ``APIStatusError.code`` shows."""
    shape = DIALECT.refusal(BudgetExceeded("no money"), {"code": "budget_exceeded"}, "r_1")

    assert shape.body == {
        "error": {
            "message": "no money",
            "type": "insufficient_quota",
            "param": None,
            "code": "budget_exceeded",
            "penia": {"code": "budget_exceeded"},
        }
    }


def test_an_earlier_answers_audio_is_input_that_is_not_in_the_body() -> None:
    """It is named by its id, and billed as audio."""
    size = call(messages=[{"role": "assistant", "audio": {"id": "audio_1"}}]).size

    assert size.beyond_body
    assert size.audio
