"""What interactions and decisions ask, and what their answers report."""

import json
from typing import Any

import pytest

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.call import AnswerHead, Call, Reading, Request
from penia_proxy.wire.google import Google

DIALECT = Google()
WINDOW = 1_000_000
PICTURE = {"type": "image", "data": "A" * 400, "mime_type": "image/png"}
USAGE = {
    "total_tokens": 341,
    "total_input_tokens": 266,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 8}, {"modality": "image", "tokens": 258}],
    "total_cached_tokens": 3,
    "total_output_tokens": 13,
    "total_thought_tokens": 57,
    "total_tool_use_tokens": 5,
}
READ = Usage(input=10, input_image=258, cache_read=3, output=13, reasoning=57, service_tier="flex")
"""Of the 8 tokens of text 3 came from a cache; tool use is input on top."""


def call(operation: str = "interactions", **members: Any) -> Call:
    body = {"model": "gemini-2.5-flash", "input": "hi", **members}
    return DIALECT.call(Request(operation, json.dumps({k: v for k, v in body.items() if v is not None}).encode()))


def reading(asked: Call, body: bytes, kind: str = "application/json", step: int = 100_000) -> Reading:
    meter = DIALECT.meter(asked, AnswerHead(kind))
    passed = b"".join(meter.feed(body[at : at + step]) for at in range(0, len(body), step))
    assert passed + meter.end() == body
    return meter.reading()


def whole(asked: Call | None = None, **answer: Any) -> Reading:
    body = {"model": "gemini-2.5-flash", "status": "completed", "service_tier": "flex", "usage": USAGE, **answer}
    return reading(asked or call(), json.dumps(body).encode())


def stream(*events: dict[str, Any]) -> bytes:
    lines = (f"event: {one['event_type']}\ndata: {json.dumps(one)}\n\n" for one in events)
    return "".join(lines).encode()


CREATED = {"event_type": "interaction.created", "interaction": {"id": "v1_x", "model": "gemini-2.5-flash"}}
DELTA = {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "Why do programmers"}}
SUM = {**DELTA, "metadata": {"total_usage": {"total_input_tokens": 266, "total_output_tokens": 2}}}
COMPLETED = {
    "event_type": "interaction.completed",
    "interaction": {"model": "gemini-2.5-flash", "status": "completed", "service_tier": "flex", "usage": USAGE},
}


def test_an_interaction_reports_disjoint_counts() -> None:
    """Cached input is inside, thoughts and tool use are on top, and the tier is beside."""
    read = whole()

    assert (read.complete, read.parts) == (True, (("gemini-2.5-flash", READ),))


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_streams_last_event_has_the_usage(step: int) -> None:
    """In any pieces; the bytes pass as they came."""
    body = stream(CREATED, DELTA, COMPLETED) + b"event: done\ndata: [DONE]\n\n"
    read = reading(call(stream=True), body, "text/event-stream", step)

    assert (read.complete, read.finished, read.failed) == (True, True, False)
    assert read.parts == (("gemini-2.5-flash", READ),)
    assert read.passed_text == "Why do programmers"


def test_a_cut_stream_has_what_it_said_so_far() -> None:
    """The sum beside a piece is not final, but its input is known."""
    read = reading(call(stream=True), stream(CREATED, SUM), "text/event-stream")

    assert (read.complete, read.finished) == (False, False)
    assert read.parts == (("gemini-2.5-flash", Usage(input=266, output=2)),)


@pytest.mark.parametrize(
    "event", [{"event_type": "error", "error": {"message": "x"}}, {**COMPLETED, "interaction": {"status": "failed"}}]
)
def test_a_failure_in_a_stream_is_one(event: dict[str, Any]) -> None:
    """What failed before it wrote anything bills nothing."""
    read = reading(call(stream=True), stream(CREATED, event), "text/event-stream")

    assert (read.failed, read.wrote, read.complete) == (True, False, False)


def test_what_was_written_can_be_counted_without_a_usage() -> None:
    """Text, summaries of thoughts, calls of functions with their arguments."""
    steps = [
        {"type": "thought", "summary": [{"type": "text", "text": "hm"}], "signature": "sealed"},
        {"type": "function_call", "name": "look", "arguments": {"text": "there"}},
        {"type": "model_output", "content": [{"type": "text", "text": "done"}]},
    ]
    read = whole(usage=None, steps=steps)

    assert (read.complete, read.passed_text) == (False, "hmlooktheredone")


@pytest.mark.parametrize(
    ("model", "count", "expected"),
    [
        ("gemini-2.5-flash", [{"type": "google_search", "count": 3}], {"web_searches": 1}),
        ("gemini-3.8-flash", [{"type": "google_search", "count": 3}], {"web_searches": 3}),
        ("gemini-2.5-flash", [{"type": "google_maps", "count": 2}], {"map_searches": 1}),
        ("gemini-3.8-flash", [{"type": "google_maps", "count": 2}], {"map_searches": 2}),
        ("gemini-3.8-flash", [{"type": "retrieval", "count": 2}], {"other_tool_uses": 2}),
        ("gemini-3.8-flash", [{"type": "google_search", "count": 0}], {}),
    ],
)
def test_grounding_is_billed_by_use(model: str, count: list[dict[str, Any]], expected: dict[str, int]) -> None:
    """By the prompt up to 2.5, by the query after; what has no price has a name all the same."""
    read = whole(model=model, usage={**USAGE, "grounding_tool_count": count})

    ((_, usage),) = read.parts
    assert usage.units == expected


@pytest.mark.parametrize("members", [{"background": True}, {"service_tier": "deferred"}, {"serviceTier": "DEFERRED"}])
def test_what_is_billed_later_is_refused(members: dict[str, Any]) -> None:
    """The answer to the POST has no bill."""
    with pytest.raises(InvalidRequest, match="not metered yet"):
        call(**members)


@pytest.mark.parametrize("members", [{"agent": "deep-research-preview-04-2026"}, {"model": None}])
def test_a_model_or_an_agent_is_named(members: dict[str, Any]) -> None:
    """One of them, or it is not known what to hold."""
    with pytest.raises(InvalidRequest, match="model"):
        call(**members)


def test_an_agent_stands_for_a_model() -> None:
    """It has no bound; the answer may name the model it used."""
    asked = call(model=None, agent="deep-research-preview-04-2026")
    read = whole(asked, model=None)

    assert asked.model == "deep-research-preview-04-2026"
    assert asked.size.beyond_body
    assert "an agent" in asked.size.unbounded_why
    assert read.parts == ((None, READ),)


@pytest.mark.parametrize(
    "members",
    [
        {"previous_interaction_id": "v1_x"},
        {"previousInteractionId": "v1_x"},
        {"cached_content": "cachedContents/x"},
        {"continuation_token": "x"},
        {"input": [{"type": "image", "uri": "https://example.com/a.png"}]},
        {"input": [{"type": "document", "data": "AA", "mime_type": "application/pdf"}]},
        {"input": [{"type": "user_input", "content": [{"type": "audio", "data": "AA", "mime_type": "audio/mp3"}]}]},
        {"input": [{"type": "function_result", "result": [{"type": "video", "uri": "gs://x"}]}]},
        {"tools": [{"type": "computer_use"}]},
    ],
)
def test_what_is_elsewhere_is_bounded_by_the_window(members: dict[str, Any]) -> None:
    """Stored turns, caches, and media that are longer than their bytes."""
    assert call(**members).size.input_bound(WINDOW) == WINDOW


@pytest.mark.parametrize(
    "members",
    [
        {"tools": [{"type": "google_search"}]},
        {"tools": [{"type": "function", "name": "f"}, {"type": "mcp_server", "url": "https://x"}]},
        {"environment": "env_x"},
        {"model": "gemini-omni-1.2-flash"},
        {"model": "lyria-3.5"},
        {"response_modalities": ["video"]},
        {"response_format": {"type": "video"}},
    ],
)
def test_what_runs_at_google_has_no_bound(members: dict[str, Any]) -> None:
    """Hosted tools, code in an environment, and what is priced by other things than tokens."""
    assert call(**members).size.unbounded_why


def test_functions_of_the_callers_are_bounded() -> None:
    """They add a hidden prompt, and the cap covers the answer."""
    size = call(tools=[{"type": "function", "name": "f"}], generation_config={"max_output_tokens": 64}).size

    assert (size.unbounded_why, size.beyond_body, size.output_cap) == ("", False, 64)
    assert size.hidden_tokens > 0


def test_a_picture_in_the_body_counts_as_one() -> None:
    """Its payload is not text, wherever it stands; a picture as an answer is not bounded by the cap."""
    asked = call(input=[{"type": "user_input", "content": [{"type": "text", "text": "look"}, PICTURE]}])
    made = call(generation_config={"max_output_tokens": 64}, response_modalities=["image"])

    assert (asked.size.images, asked.size.beyond_body) == (1, False)
    assert asked.size.text_bytes < 400
    assert "AAAA" not in asked.text()
    assert made.size.output_cap is None


def test_a_decision_reports_as_an_interaction_does() -> None:
    """Its model is the one asked for: the answer names none."""
    questions = {"spam": {"type": "noul", "instructions": "is it"}}
    asked = call("decisions", model="models/gemini-3.8-flash", questions=questions)
    read = reading(asked, json.dumps({"answers": {}, "usage": USAGE}).encode())

    assert (asked.model, asked.stream) == ("models/gemini-3.8-flash", False)
    assert "is it" in asked.text()
    assert read.complete
    assert read.parts[0][0] is None


@pytest.mark.parametrize(
    "members", [{}, {"generation_config": {"seed": 1}}, {"generation_config": {"max_output_tokens": 900}}]
)
def test_a_smaller_cap_can_be_set(members: dict[str, Any]) -> None:
    """Where a budget has less room than was asked for; an agent has none."""
    asked = call(**members)
    assert asked.capped is not None

    config = json.loads(asked.capped(64))["generation_config"]
    assert config == {**members.get("generation_config", {}), "max_output_tokens": 64}
    assert call(model=None, agent="x").capped is None


@pytest.mark.parametrize("operation", ["interactions", "decisions"])
def test_vertex_says_where_it_runs(operation: str) -> None:
    """The place in the path has a price; the Gemini API's path names none."""
    body = json.dumps({"model": "gemini-3.8-flash", "input": "hi"}).encode()

    assert DIALECT.call(Request(operation, body, ("a-project", "us-central1"))).region == "us-central1"
    assert DIALECT.call(Request(operation, body)).region is None
