"""The sandbox as Anthropic: the official SDK understands it, and the bytes are laid out as the API's."""

import asyncio
import json
from typing import Any

import aiohttp
import anthropic
import pytest
from anthropic.types import Message

from penia_proxy.sandbox import Behaviour, Sandbox

HELLO: Any = [{"role": "user", "content": "Say something about rivers."}]
ASK: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 500, "messages": HELLO}
LONG = "The river runs to the sea. " * 300
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS: Any = [{"name": "weather", "input_schema": SCHEMA}, {"name": "news", "input_schema": SCHEMA}]
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}


async def streamed(client: anthropic.AsyncAnthropic, **asked: Any) -> Message:
    """Return the message that the SDK pieces together from a stream."""
    async with client.messages.stream(**asked) as stream:
        return await stream.get_final_message()


async def events_of(http: aiohttp.ClientSession, body: dict[str, Any], **headers: str) -> list[tuple[str, Any]]:
    """Return ``(name, data)`` of every event of a streamed call."""
    async with http.post("/v1/messages", json=body | {"stream": True}, headers=headers) as response:
        text = (await response.read()).decode()
    assert text.endswith("\n\n")
    events = []
    for event in text[:-2].split("\n\n"):
        name, data = event.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def same(one: Message, other: Message) -> bool:
    """Return whether two messages are equal in all that both forms carry (a stream has no ``parsed_output``)."""
    leave = {"content": {"__all__": {"parsed_output"}}}
    return one.model_dump(exclude=leave) == other.model_dump(exclude=leave)


async def test_whole_answer(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    """An answer has text, a reason to stop, usage with all its parts, and a request id."""
    message = await anthropic_sdk.messages.create(**ASK)

    assert message.content[0].type == "text"
    assert message.stop_reason == "end_turn"
    assert message.model == "claude-haiku-4-5-20251001"
    assert message.usage.service_tier == "standard"
    assert message.usage.cache_creation is not None
    assert message._request_id is not None


async def test_sync_sdk(sandbox: Sandbox) -> None:
    """The synchronous SDK reads both forms, and they are equal."""

    def ask() -> bool:
        with anthropic.Anthropic(base_url=sandbox.url, api_key="k", max_retries=0) as client:
            whole = client.messages.create(**ASK)
            with client.messages.stream(**ASK) as stream:
                return same(whole, stream.get_final_message())

    assert await asyncio.to_thread(ask)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"max_tokens": 5},
        {"max_tokens": 2000, "thinking": THINKING},
        {"max_tokens": 1030, "thinking": THINKING},
        {"tools": TOOLS},
        {"stop_sequences": ["a"]},
        {"system": [{"type": "text", "text": LONG}]},
    ],
)
async def test_stream_equals_whole(anthropic_sdk: anthropic.AsyncAnthropic, more: dict[str, Any]) -> None:
    """A streamed message equals the whole one in every field, usage included."""
    asked = ASK | more

    assert same(await anthropic_sdk.messages.create(**asked), await streamed(anthropic_sdk, **asked))


async def test_order_of_events(http: aiohttp.ClientSession) -> None:
    """Events come in the API's order, with one ping after the first block has begun."""
    names = [name for name, _ in await events_of(http, ASK)]

    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[3:-3]) == {"content_block_delta"}


async def test_usage_of_a_stream(http: aiohttp.ClientSession) -> None:
    """The delta's output count is the total: one token a delta; the split of cache writes is only in the beginning."""
    events = await events_of(http, ASK)
    usage = dict(events)["message_delta"]["usage"]
    start = events[0][1]["message"]

    assert usage["output_tokens"] == sum(name == "content_block_delta" for name, _ in events)
    assert list(usage) == [
        "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"
    ]  # fmt: skip
    assert list(start) == [
        "model", "id", "type", "role", "content", "stop_reason", "stop_sequence", "stop_details", "usage"
    ]  # fmt: skip
    assert list(start["usage"]) == [
        "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation", "output_tokens",
        "service_tier", "inference_geo",
    ]  # fmt: skip
    assert start["usage"]["output_tokens"] == 1


async def test_padding(http: aiohttp.ClientSession) -> None:
    """Events are padded with spaces before the last brace, as the API's are."""
    async with http.post("/v1/messages", json=ASK | {"stream": True}) as response:
        raw = await response.read()

    assert b"  }\n\n" in raw


async def test_equal_requests_get_equal_bytes(http: aiohttp.ClientSession) -> None:
    """Equal requests get answers equal to the byte, headers too."""
    answers = []
    for data in (json.dumps(ASK), json.dumps(dict(reversed(ASK.items())), indent=4)):
        async with http.post("/v1/messages", data=data) as response:
            headers = {name: value for name, value in response.headers.items() if name != "Date"}
            answers.append((headers, await response.read()))

    assert answers[0] == answers[1]


async def test_cap_cuts(anthropic_sdk: anthropic.AsyncAnthropic, sandbox: Sandbox) -> None:
    """The output cap is kept to the token, and said."""
    message = await anthropic_sdk.messages.create(**ASK | {"max_tokens": 5})

    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == sandbox.calls[-1].produced_tokens == 5


async def test_no_output_at_all(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    """A cap of 0 only warms the cache."""
    message = await anthropic_sdk.messages.create(**ASK | {"max_tokens": 0})

    assert (message.content, message.usage.output_tokens, message.stop_reason) == ([], 0, "max_tokens")


async def test_stop_sequence(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    """A stop sequence ends the text before it, and is named."""
    message = await anthropic_sdk.messages.create(**ASK, stop_sequences=["e"])

    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "e")
    assert not any("e" in block.text for block in message.content if block.type == "text")


async def test_tools(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    """Two tools are used in parallel after some words, with input of their schema."""
    message = await anthropic_sdk.messages.create(**ASK, tools=TOOLS)
    uses = [block for block in message.content if block.type == "tool_use"]

    assert message.stop_reason == "tool_use"
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert [use.name for use in uses] == ["weather", "news"]
    assert all(set(use.input) == {"city", "days"} for use in uses)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "none"}, []),
        ({"type": "tool", "name": "news"}, ["news"]),
        ({"type": "any", "disable_parallel_tool_use": True}, ["weather"]),
    ],
)
async def test_tool_choice(anthropic_sdk: anthropic.AsyncAnthropic, choice: Any, names: list[str]) -> None:
    """The choice of tools is kept to."""
    message = await anthropic_sdk.messages.create(**ASK, tools=TOOLS, tool_choice=choice)

    assert [block.name for block in message.content if block.type == "tool_use"] == names


async def test_tool_result_is_answered_in_words(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    """After a tool's result the model speaks."""
    first = await anthropic_sdk.messages.create(**ASK, tools=TOOLS)
    use = next(block for block in first.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    turns: Any = [
        *HELLO,
        {"role": "assistant", "content": [block.model_dump() for block in first.content]},
        {"role": "user", "content": [result]},
    ]
    second = await anthropic_sdk.messages.create(**ASK | {"messages": turns}, tools=TOOLS)

    assert [block.type for block in second.content] == ["text"]


async def test_cap_within_a_tool_use(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    """A cap cuts the tool's input: the count is the cap, and the reason says so."""
    message = await anthropic_sdk.messages.create(**ASK | {"max_tokens": 9}, tools=TOOLS)

    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 9


async def test_thinking(anthropic_sdk: anthropic.AsyncAnthropic, sandbox: Sandbox) -> None:
    """Thinking comes first, signed, inside the output count and told apart."""
    message = await anthropic_sdk.messages.create(**ASK | {"max_tokens": 3000}, thinking=THINKING)
    thought = message.content[0]
    call = sandbox.calls[-1]

    assert thought.type == "thinking"
    assert thought.signature
    assert thought.thinking
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens_details.thinking_tokens == call.reasoning_tokens > 0
    assert message.usage.output_tokens == call.output_tokens + call.reasoning_tokens


async def test_thinking_that_is_not_shown(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """Omitted thinking has a signature and no text, and is billed all the same."""
    events = await events_of(http, ASK | {"thinking": {"type": "adaptive", "display": "omitted"}})
    kinds = [data["delta"]["type"] for name, data in events if name == "content_block_delta"]

    assert "thinking_delta" not in kinds
    assert "signature_delta" in kinds
    usage = dict(events)["message_delta"]["usage"]
    assert usage["output_tokens"] == kinds.count("text_delta") + usage["output_tokens_details"]["thinking_tokens"]
    assert sandbox.calls[-1].produced_tokens == usage["output_tokens"]


@pytest.mark.parametrize(
    "source",
    [
        {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        {"type": "url", "url": "https://example.com/picture.png"},
    ],
)
async def test_images(anthropic_sdk: anthropic.AsyncAnthropic, source: dict[str, str]) -> None:
    """An image, inline or by URL, is taken and counted."""
    text = {"type": "text", "text": "What is this? " * 100}
    without: Any = [{"role": "user", "content": [text]}]
    with_image: Any = [{"role": "user", "content": [text, {"type": "image", "source": source}]}]
    one = await anthropic_sdk.messages.create(**ASK | {"messages": without})
    other = await anthropic_sdk.messages.create(**ASK | {"messages": with_image})

    assert other.usage.input_tokens - one.usage.input_tokens == 255


async def test_cache(anthropic_sdk: anthropic.AsyncAnthropic, sandbox: Sandbox) -> None:
    """A marked prefix is written first and read afterwards; the input count has neither."""
    system: Any = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
    first = (await anthropic_sdk.messages.create(**ASK, system=system)).usage
    other: Any = ASK | {"messages": [{"role": "user", "content": "Something else?"}]}
    second = (await streamed(anthropic_sdk, **other, system=system)).usage

    assert first.cache_creation is not None
    assert first.cache_creation_input_tokens == first.cache_creation.ephemeral_5m_input_tokens == 2025
    assert (first.cache_read_input_tokens, second.cache_creation_input_tokens) == (0, 0)
    assert second.cache_read_input_tokens == 2025
    assert first.input_tokens < 50
    assert second.input_tokens < 50
    assert [call.cache_write_5m_tokens for call in sandbox.calls] == [2025, 0]
    assert [call.cache_read_tokens for call in sandbox.calls] == [0, 2025]


async def test_cache_lifetimes(anthropic_sdk: anthropic.AsyncAnthropic, sandbox: Sandbox) -> None:
    """Two marks of different lifetimes split the write."""
    system: Any = [
        {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "And the sea is wide. " * 40, "cache_control": {"type": "ephemeral"}},
    ]
    usage = (await anthropic_sdk.messages.create(**ASK, system=system)).usage

    assert usage.cache_creation is not None
    assert usage.cache_creation.ephemeral_1h_input_tokens == 2025
    assert usage.cache_creation.ephemeral_5m_input_tokens == 210
    assert usage.cache_creation_input_tokens == 2235
    assert (sandbox.calls[0].cache_write_1h_tokens, sandbox.calls[0].cache_write_5m_tokens) == (2025, 210)


async def test_cache_by_itself(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    """A mark on the request as a whole caches everything up to its end."""
    asked: Any = ASK | {"messages": [{"role": "user", "content": LONG}], "cache_control": {"type": "ephemeral"}}
    first = (await anthropic_sdk.messages.create(**asked)).usage
    second = (await anthropic_sdk.messages.create(**asked)).usage

    assert first.cache_creation_input_tokens == second.cache_read_input_tokens == 2025


async def test_short_prefixes_are_not_cached(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    """Below the minimum a mark does nothing."""
    system: Any = [{"type": "text", "text": "short", "cache_control": {"type": "ephemeral"}}]
    usage = (await anthropic_sdk.messages.create(**ASK, system=system)).usage

    assert usage.cache_creation_input_tokens == 0


async def test_count_tokens(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    """What counting says is what the call reports."""
    counted = await anthropic_sdk.messages.count_tokens(model="claude-haiku-4-5", messages=HELLO, tools=TOOLS)
    message = await anthropic_sdk.messages.create(**ASK, tools=TOOLS)

    assert counted.input_tokens == message.usage.input_tokens > 0


async def test_models(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    """The list is in Anthropic's shape, one model can be got, and an unknown one cannot."""
    listed = [model.id async for model in anthropic_sdk.models.list()]

    assert "claude-sonnet-5" in listed
    assert (await anthropic_sdk.models.retrieve("claude-sonnet-5")).display_name == "Claude Sonnet 5"
    with pytest.raises(anthropic.NotFoundError):
        await anthropic_sdk.models.retrieve("claude-nonsense")


async def test_no_key(http: aiohttp.ClientSession) -> None:
    """Without a key the answer is 401, in Anthropic's shape."""
    async with http.post("/v1/messages", json=ASK, headers={"Authorization": ""}) as response:
        assert response.status == 401
        body = await response.json()
        request_id = response.headers["request-id"]

    assert list(body) == ["type", "error", "request_id"]
    assert (body["error"]["type"], body["request_id"]) == ("authentication_error", request_id)


async def test_key_in_either_header(sandbox: Sandbox) -> None:
    """A key counts as x-api-key and as bearer token."""
    async with aiohttp.ClientSession(sandbox.url) as session:
        for header in ({"x-api-key": "k"}, {"Authorization": "Bearer k"}):
            async with session.post("/v1/messages", json=ASK, headers=header) as response:
                assert response.status == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "m", "messages": HELLO}, "max_tokens"),
        (ASK | {"max_tokens": -1}, "max_tokens"),
        (ASK | {"messages": []}, "messages"),
        (ASK | {"messages": [{"role": "tool", "content": "x"}]}, "role"),
        (ASK | {"thinking": {"type": "enabled", "budget_tokens": 100}}, "budget_tokens"),
        (ASK | {"thinking": {"type": "enabled", "budget_tokens": 2000}}, "budget_tokens"),
        (
            ASK | {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5},
            "cache_control",
        ),
    ],
)
async def test_what_is_refused(http: aiohttp.ClientSession, body: dict[str, Any], words: str) -> None:
    """What the API refuses is refused, and the error says what."""
    async with http.post("/v1/messages", json=body) as response:
        assert response.status == 400
        error = (await response.json())["error"]

    assert error["type"] == "invalid_request_error"
    assert words in error["message"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
async def test_scripted_status(
    anthropic_sdk: anthropic.AsyncAnthropic, sandbox: Sandbox, status: int, kind: type[anthropic.APIStatusError]
) -> None:
    """A scripted status raises the SDK's exception for it, and bills nothing."""
    sandbox.play([Behaviour(status=status)])

    with pytest.raises(kind) as raised:
        await anthropic_sdk.messages.create(**ASK)
    assert raised.value.request_id == sandbox.calls[-1].request_id
    assert (sandbox.calls[-1].status, sandbox.calls[-1].input_tokens) == (status, 0)


async def test_retry_headers(http: aiohttp.ClientSession) -> None:
    """A 429 says when to come back; an overloaded API says only that it may be tried again."""
    seen = []
    for status in ("429", "529", "400"):
        async with http.post("/v1/messages", json=ASK, headers={"X-Sandbox-Status": status}) as response:
            seen.append((response.headers.get("retry-after"), response.headers["x-should-retry"]))

    assert seen == [("1", "true"), (None, "true"), (None, "false")]
