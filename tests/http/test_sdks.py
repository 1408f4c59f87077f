"""The official SDKs work by base URL alone, and what they answer is what the provider answered."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from typing import Any

import anthropic
import openai
import pytest

from tests.gateways import Running, Start

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc33"
        "0000000049454e44ae426082"
    )
).decode()

OPENAI_TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
OPENAI_CASES: dict[str, dict[str, Any]] = {
    "text": {"messages": [{"role": "user", "content": "Say something."}]},
    "several choices": {"n": 3, "messages": [{"role": "user", "content": "Say something."}]},
    "tools": {"tools": [OPENAI_TOOL], "messages": [{"role": "user", "content": "What is the weather in Oslo?"}]},
    "tool result": {
        "tools": [OPENAI_TOOL],
        "messages": [
            {"role": "user", "content": "What is the weather in Oslo?"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ],
    },
    "image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
                ],
            }
        ]
    },
    "schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
        "messages": [{"role": "user", "content": "As JSON, ünïcode “quotes”."}],
    },
    "usage asked for": {
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "Say something."}],
    },
}

ANTHROPIC_TOOL = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
ANTHROPIC_CASES: dict[str, dict[str, Any]] = {
    "text": {"system": "Be brief.", "messages": [{"role": "user", "content": "Say something."}]},
    "tools": {"tools": [ANTHROPIC_TOOL], "messages": [{"role": "user", "content": "What is the weather in Oslo?"}]},
    "image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                    },
                    {"type": "text", "text": "What is this?"},
                ],
            }
        ]
    },
    "thinking": {
        "max_tokens": 3000,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "messages": [{"role": "user", "content": "Think."}],
    },
    "cached": {
        "system": [{"type": "text", "text": "word " * 3000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [{"role": "user", "content": "Say something."}],
    },
}


def plain(answer: Any) -> Any:
    """Return what an SDK's object says, every field of it, also unknown ones."""
    return [item.model_dump() for item in answer] if isinstance(answer, list) else answer.model_dump()


async def collect(events: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in events]


async def twice(start: Start, ask: Callable[[str, Running], Any]) -> tuple[Any, Any, Running]:
    """Ask the provider and the gateway the same; each from a fresh provider, so that caches are cold for both."""
    direct = await start()
    through = await start()
    return await ask(direct.sandbox.url, direct), await ask(through.url, through), through


async def billed(penia: Running) -> None:
    """Check that the call has a record at what the provider reported."""
    (record,) = await penia.records()
    (call,) = penia.sandbox.calls
    assert record["cost_basis"] == "reported"
    assert record["cost"] > 0
    assert record["output_tokens"] == call.output_tokens + call.reasoning_tokens
    assert record["input_tokens"] == (
        call.input_tokens + call.cache_read_tokens + call.cache_write_5m_tokens + call.cache_write_1h_tokens
    )


@pytest.mark.parametrize("case", OPENAI_CASES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["async", "sync"])
async def test_openai_chat(start: Start, case: str, mode: str, *, stream: bool) -> None:
    """Every field of the answer, or of every chunk, equals a direct call's."""
    given = {"model": "gpt-4o-mini", "max_completion_tokens": 60, **OPENAI_CASES[case]}
    if not stream:
        given.pop("stream_options", None)

    async def ask(url: str, penia: Running) -> Any:
        base = f"{url}/openai/v1" if url == penia.url else f"{url}/v1"
        if mode == "sync":

            def run() -> Any:
                with openai.OpenAI(base_url=base, api_key="made-up") as client:
                    answer: Any = client.chat.completions.create(stream=stream, **given)
                    return list(answer) if stream else answer

            return plain(await asyncio.to_thread(run))
        async with openai.AsyncOpenAI(base_url=base, api_key="made-up") as client:
            answer: Any = await client.chat.completions.create(stream=stream, **given)
            return plain(await collect(answer) if stream else answer)

    direct, through, penia = await twice(start, ask)

    assert through == direct
    await billed(penia)


@pytest.mark.parametrize("given", [{"input": "one"}, {"input": ["one", "two"], "encoding_format": "float"}])
@pytest.mark.parametrize("mode", ["async", "sync"])
async def test_openai_embeddings(start: Start, given: dict[str, Any], mode: str) -> None:
    """Vectors and usage."""

    async def ask(url: str, penia: Running) -> Any:
        base = f"{url}/openai/v1" if url == penia.url else f"{url}/v1"
        if mode == "sync":

            def run() -> Any:
                with openai.OpenAI(base_url=base, api_key="made-up") as client:
                    return client.embeddings.create(model="text-embedding-3-small", **given)

            return plain(await asyncio.to_thread(run))
        async with openai.AsyncOpenAI(base_url=base, api_key="made-up") as client:
            return plain(await client.embeddings.create(model="text-embedding-3-small", **given))

    direct, through, penia = await twice(start, ask)

    assert through == direct
    await billed(penia)


async def test_openai_models(start: Start) -> None:
    """The list, and one."""

    async def ask(url: str, penia: Running) -> Any:
        base = f"{url}/openai/v1" if url == penia.url else f"{url}/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key="made-up") as client:
            models = [model.model_dump() async for model in client.models.list()]
            return models, plain(await client.models.retrieve(models[0]["id"]))

    direct, through, _ = await twice(start, ask)

    assert through == direct
    assert through[0]


@pytest.mark.parametrize("case", ANTHROPIC_CASES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["async", "sync"])
async def test_anthropic_messages(start: Start, case: str, mode: str, *, stream: bool) -> None:
    """Every field of the answer, or of every event, equals a direct call's."""
    given = {"model": "claude-sonnet-4-6", "max_tokens": 60, **ANTHROPIC_CASES[case]}

    async def ask(url: str, penia: Running) -> Any:
        base = f"{url}/anthropic" if url == penia.url else url
        if mode == "sync":

            def run() -> Any:
                with anthropic.Anthropic(base_url=base, api_key="made-up") as client:
                    answer: Any = client.messages.create(stream=stream, **given)
                    return list(answer) if stream else answer

            return plain(await asyncio.to_thread(run))
        async with anthropic.AsyncAnthropic(base_url=base, api_key="made-up") as client:
            answer: Any = await client.messages.create(stream=stream, **given)
            return plain(await collect(answer) if stream else answer)

    direct, through, penia = await twice(start, ask)

    assert through == direct
    await billed(penia)


async def test_anthropic_helpers(start: Start) -> None:
    """The accumulating stream helper, token counting and models."""

    async def ask(url: str, penia: Running) -> Any:
        base = f"{url}/anthropic" if url == penia.url else url
        talk: Any = {"model": "claude-sonnet-4-6", "messages": [{"role": "user", "content": "Say something."}]}
        async with anthropic.AsyncAnthropic(base_url=base, api_key="made-up") as client:
            async with client.messages.stream(max_tokens=60, **talk) as stream:
                final = await stream.get_final_message()
            counted = await client.messages.count_tokens(**talk)
            models = [model.model_dump() async for model in client.models.list()]
            return plain(final), plain(counted), models

    direct, through, _ = await twice(start, ask)

    assert through == direct


@pytest.mark.parametrize(
    ("sandbox", "direct"),
    [
        ({"X-Sandbox-Status": "429"}, openai.RateLimitError),
        ({"X-Sandbox-Status": "400"}, openai.BadRequestError),
        ({"X-Sandbox-Status": "500"}, openai.InternalServerError),
    ],
)
async def test_the_providers_errors_stay_its_own(
    start: Start, sandbox: dict[str, str], direct: type[openai.APIStatusError]
) -> None:
    """The same exception with the same body as a direct call's."""

    async def ask(url: str, penia: Running) -> Any:
        base = f"{url}/openai/v1" if url == penia.url else f"{url}/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key="made-up", max_retries=0) as client:
            with pytest.raises(direct) as raised:
                await client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}], extra_headers=sandbox
                )
            return raised.value.body, raised.value.status_code, raised.value.request_id

    without, through, penia = await twice(start, ask)

    assert through == without
    assert await penia.records() == []
