"""The sandbox's OpenAI responses: the official SDK reads every form of them, and each is billed once."""

from typing import Any

import aiohttp
import openai
import pytest
from pydantic import BaseModel

from penia_proxy.sandbox import Behaviour, Sandbox, Tokens
from penia_proxy.sandbox.faults import as_headers

ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "input": "Say something about rivers."}
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
CASES: dict[str, dict[str, Any]] = {
    "text": {},
    "items": {
        "instructions": "Be brief.",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
    },
    "tools": {"tools": [TOOL, TOOL | {"name": "other"}]},
    "reasoning": {"model": "gpt-5-mini", "reasoning": {"effort": "high", "summary": "auto"}},
    "sealed": {"model": "gpt-5-mini", "include": ["reasoning.encrypted_content"], "store": False},
    "reasoning cut": {"model": "gpt-5-mini", "max_output_tokens": 20},
    "cut": {"max_output_tokens": 16, "extra_headers": as_headers(Behaviour(output_tokens=30))},
    "search": {"tools": [{"type": "web_search"}]},
    "schema": {
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"properties": {"a": {"type": "integer"}}}}}
    },
    "dear": {"model": "gpt-6-luna", "service_tier": "priority", "input": "word " * 2000},
}


def produced(sandbox: Sandbox) -> tuple[int, int, int]:
    """Return what the last call is billed: all input, all output, and of that the thoughts."""
    call = sandbox.calls[-1]
    given = call.input_tokens + call.cache_read_tokens + call.cache_write_5m_tokens
    return given, call.output_tokens + call.reasoning_tokens, call.reasoning_tokens


def unnamed(said: Any) -> Any:
    """Return what was said without its ids, and without what the stream's reader adds to it."""
    if isinstance(said, list):
        return [unnamed(one) for one in said]
    if not isinstance(said, dict):
        return said
    return {name: unnamed(one) for name, one in said.items() if name not in ("id", "parsed", "parsed_arguments")}


@pytest.mark.parametrize("case", CASES)
async def test_stream_says_the_same(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox, case: str) -> None:
    """The response that the SDK puts together of the events is the whole one, and its usage is on the bill."""
    asked = ASKED | CASES[case]
    whole = await openai_sdk.responses.create(**asked)
    billed = produced(sandbox)
    sandbox.forget()
    async with openai_sdk.responses.stream(**asked) as stream:
        events = [event async for event in stream]
    final = events[-1].response  # type: ignore[union-attr]

    assert final.usage is not None
    assert whole.usage == final.usage
    assert (final.usage.input_tokens, final.usage.output_tokens) == billed[:2]
    assert final.usage.output_tokens_details.reasoning_tokens == billed[2]
    assert produced(sandbox) == billed
    assert sandbox.calls[-1].produced_tokens == billed[1]
    assert unnamed(whole.model_dump()["output"]) == unnamed(final.model_dump()["output"])
    assert (whole.status, events[-1].type) == (final.status, f"response.{final.status}")
    assert final.status == ("incomplete" if "cut" in case else "completed")
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_equal_but_for_the_ids(http: aiohttp.ClientSession) -> None:
    """What is stored gets an id of its own; what is not is equal to the byte."""
    answers = []
    for store in (True, True, False, False):
        async with http.post("/v1/responses", json=ASKED | {"store": store}) as response:
            answers.append(await response.json())

    assert answers[0]["id"] != answers[1]["id"]
    assert answers[2] == answers[3]


async def test_pieces_are_tokens(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """A reader that counts deltas has counted the visible tokens."""
    stream = await openai_sdk.responses.create(**ASKED, stream=True)
    deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]

    assert len(deltas) == sandbox.calls[0].output_tokens


async def test_tools_can_be_chosen(openai_sdk: openai.AsyncOpenAI) -> None:
    """None, any, one by name, one at a time, and none again once there is a result."""

    async def called(**asked: Any) -> list[str]:
        answer = await openai_sdk.responses.create(**ASKED | {"tools": [TOOL, TOOL | {"name": "other"}]} | asked)
        return [item.name for item in answer.output if item.type == "function_call"]

    result = [{"type": "function_call_output", "call_id": "call_1", "output": "rain"}]

    assert await called() == ["weather", "other"]
    assert await called(tool_choice="none") == []
    assert await called(parallel_tool_calls=False) == ["weather"]
    assert await called(tool_choice={"type": "function", "name": "other"}) == ["other"]
    assert await called(input=result) == []
    assert await called(input=result, tool_choice="required") == ["weather", "other"]


async def test_a_conversation_goes_on(openai_sdk: openai.AsyncOpenAI) -> None:
    """What an earlier response brings along is input; one that is not there is refused."""
    first = await openai_sdk.responses.create(**ASKED)
    second = await openai_sdk.responses.create(**ASKED, previous_response_id=first.id)

    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens == first.usage.total_tokens + first.usage.input_tokens
    with pytest.raises(openai.NotFoundError):
        await openai_sdk.responses.create(**ASKED, previous_response_id="resp_nothing")


async def test_stored_responses_are_read_again_for_nothing(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """The same object, and nothing more on the bill; a deleted one and an unstored one are gone."""
    made = await openai_sdk.responses.create(**ASKED)
    unstored = await openai_sdk.responses.create(**ASKED, store=False)

    assert await openai_sdk.responses.retrieve(made.id) == made
    assert (sandbox.calls[-1].input_tokens, sandbox.calls[-1].produced_tokens) == (0, 0)
    await openai_sdk.responses.delete(made.id)
    for gone in (made.id, unstored.id):
        with pytest.raises(openai.NotFoundError):
            await openai_sdk.responses.retrieve(gone)


@pytest.mark.parametrize("polls", [0, 1, 3])
async def test_background(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox, polls: int) -> None:
    """Queued, then in progress for so many readings, then completed; usage comes at the end and is billed once."""
    made = await openai_sdk.responses.create(**ASKED, background=True, extra_headers={"X-Sandbox-Polls": str(polls)})
    read = [await openai_sdk.responses.retrieve(made.id) for _ in range(polls + 3)]

    assert (made.status, made.usage, made.output) == ("queued", None, [])
    assert [one.status for one in read] == ["in_progress"] * polls + ["completed"] * 3
    assert all(one.usage is None for one in read[:polls])
    assert read[-1].usage is not None
    assert read[-1].output_text
    (charge,) = sandbox.calls[0].later
    assert (charge.key, charge.served_model, charge.batch) == (made.id, "gpt-4o-mini-2024-07-18", False)
    assert charge.tokens.input == read[-1].usage.input_tokens
    assert charge.tokens.produced == read[-1].usage.output_tokens
    assert [(call.input_tokens, call.produced_tokens, call.later) for call in sandbox.calls[1:]] == [(0, 0, [])] * len(
        read
    )
    assert sandbox.calls[0].produced_tokens == 0


async def test_background_cancelled(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """What is stopped in time is not billed; what has ended cannot be stopped; the rest never could."""
    made = await openai_sdk.responses.create(**ASKED, background=True)
    stopped = await openai_sdk.responses.cancel(made.id)

    assert (stopped.status, stopped.usage) == ("cancelled", None)
    assert (await openai_sdk.responses.retrieve(made.id)).status == "cancelled"
    assert sandbox.calls[0].later == []
    done = await openai_sdk.responses.create(**ASKED, background=True, extra_headers={"X-Sandbox-Polls": "0"})
    await openai_sdk.responses.retrieve(done.id)
    assert (await openai_sdk.responses.cancel(done.id)).status == "completed"
    foreground = await openai_sdk.responses.create(**ASKED)
    with pytest.raises(openai.BadRequestError):
        await openai_sdk.responses.cancel(foreground.id)


async def test_background_fails(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """A failure has an error, no usage, and no bill."""
    headers = as_headers(Behaviour(polls=0, fails=True))
    made = await openai_sdk.responses.create(**ASKED, background=True, extra_headers=headers)
    read = await openai_sdk.responses.retrieve(made.id)

    assert read.status == "failed"
    assert read.error is not None
    assert read.usage is None
    assert sandbox.calls[0].later == []


async def test_background_followed(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """Its events can be followed, left, and taken up again where they were left; it is billed once."""
    events = []
    async with await openai_sdk.responses.create(**ASKED, background=True, stream=True) as stream:
        async for event in stream:
            events.append(event)
            if event.sequence_number == 6:
                break
    name = events[0].response.id  # type: ignore[union-attr]
    rest = [event async for event in await openai_sdk.responses.retrieve(name, stream=True, starting_after=6)]

    assert [event.type for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert [event.sequence_number for event in events + rest] == list(range(len(events) + len(rest)))
    assert rest[-1].type == "response.completed"
    assert rest[-1].response.usage is not None
    assert [charge.tokens.produced for charge in sandbox.calls[0].later] == [rest[-1].response.usage.output_tokens]
    assert [call.produced_tokens for call in sandbox.calls] == [0, 0]


async def test_what_else_is_there(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """A count is free and right; a compaction is billed."""
    counted = await openai_sdk.responses.input_tokens.count(**ASKED)
    assert sandbox.calls[-1].input_tokens == 0
    compacted = await openai_sdk.responses.compact(**ASKED)

    assert counted.input_tokens == compacted.usage.input_tokens == sandbox.calls[-1].input_tokens
    assert compacted.usage.output_tokens == sandbox.calls[-1].output_tokens > 0


@pytest.mark.parametrize(
    "wrong",
    [{"input": 7}, {"model": None}, {"max_output_tokens": 3}, {"reasoning": {"effort": "a lot"}, "model": "o3"}],
)
async def test_what_is_refused(http: aiohttp.ClientSession, sandbox: Sandbox, wrong: dict[str, Any]) -> None:
    """A request that makes no sense is a 400 and costs nothing."""
    async with http.post("/v1/responses", json=ASKED | wrong) as response:
        assert response.status == 400

    assert sandbox.calls[0].input_tokens == 0


@pytest.mark.parametrize(
    ("behaviour", "counted"),
    [(Behaviour(usage="omit"), None), (Behaviour(usage="null"), None), (Behaviour(usage="huge"), 1e30)],
)
async def test_usage_faults(
    http: aiohttp.ClientSession, sandbox: Sandbox, behaviour: Behaviour, counted: object
) -> None:
    """The usage can be missing or nonsense, while the bill stays true."""
    async with http.post("/v1/responses", json=ASKED, headers=as_headers(behaviour)) as response:
        usage = (await response.json()).get("usage")

    assert (usage and usage["input_tokens"]) == counted
    assert sandbox.calls[0].input_tokens > 0


async def test_stream_faults(http: aiohttp.ClientSession, openai_sdk: openai.AsyncOpenAI) -> None:
    """An error in the middle is the SDK's exception; without its last word a stream has no usage."""
    stream = await openai_sdk.responses.create(
        **ASKED, stream=True, extra_headers=as_headers(Behaviour(error_after_chunks=5))
    )
    with pytest.raises(openai.APIError):
        _ = [event async for event in stream]
    async with http.post(
        "/v1/responses", json=ASKED | {"stream": True}, headers=as_headers(Behaviour(no_end=True))
    ) as response:
        text = await response.text()

    assert "response.completed" not in text
    assert "response.output_item.done" in text


async def test_structured_answers(openai_sdk: openai.AsyncOpenAI) -> None:
    """The SDK's own parser reads what was asked for as a model."""

    class Trip(BaseModel):
        place: str
        days: int

    parsed = await openai_sdk.responses.parse(**ASKED, text_format=Trip)

    assert isinstance(parsed.output_parsed, Trip)


async def test_searches_are_billed_by_the_use(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """A search is an item, a number in the answer, and on the bill."""
    answer = await openai_sdk.responses.create(**ASKED, tools=[{"type": "web_search"}])

    assert answer.tool_usage is not None
    assert (answer.tool_usage.web_search.num_requests, sandbox.calls[0].searches) == (1, 1)
    assert [item.type for item in answer.output] == ["web_search_call", "message"]
    assert Tokens().searches == 0
