"""Interactions and decisions work through the gateway by base URL alone, with the official SDKs that have them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from aiohttp import web
from google import genai
from google.genai import types

from tests.gateways import Running, Start

# The SDK's own habit, not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

MODEL = "gemini-2.5-flash"
ASKED: dict[str, Any] = {"model": MODEL, "input": "Name a colour.", "generation_config": {"max_output_tokens": 64}}
USAGE = {
    "total_tokens": 79,
    "total_input_tokens": 9,
    "total_output_tokens": 13,
    "total_thought_tokens": 57,
    "total_cached_tokens": 0,
    "total_tool_use_tokens": 0,
}
COST = 9 * 0.3e-6 + 70 * 2.5e-6
"""gemini-2.5-flash: $0.30 and $2.50 a million."""
INTERACTION = {
    "id": "v1_made-up",
    "status": "completed",
    "object": "interaction",
    "model": MODEL,
    "created": "2026-11-23T12:00:00Z",
    "updated": "2026-11-23T12:00:00Z",
    "usage": USAGE,
    "steps": [{"type": "model_output", "content": [{"type": "text", "text": "Amber."}]}],
}
EVENTS: tuple[dict[str, Any], ...] = (
    {"event_type": "interaction.created", "interaction": {**INTERACTION, "status": "in_progress", "usage": None}},
    {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
    {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "Amber."}},
    {"event_type": "step.stop", "index": 0},
    {"event_type": "interaction.completed", "interaction": INTERACTION},
)
DECISION = {
    "model": "gpt-6-luna",
    "answers": [{"type": "predicate", "name": None, "probability": 0.9}],
    "usage": {
        "input_tokens": 40,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 43,
    },
}


async def answer(request: web.Request) -> web.StreamResponse:
    """Answer as the two providers do."""
    asked = await request.json()
    if request.path == "/v1/decisions":
        return web.json_response(DECISION)
    if not asked.get("stream"):
        return web.json_response(INTERACTION)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in EVENTS:
        body = f"event: {event['event_type']}\ndata: {json.dumps(event)}\n\n".encode()
        for at in range(0, len(body), 7):
            await response.write(body[at : at + 7])
    await response.write(b"event: done\ndata: [DONE]\n\n")
    await response.write_eof()
    return response


@pytest.fixture
async def provider() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def client(running: Running) -> genai.Client:
    return genai.Client(api_key="made-up", http_options=types.HttpOptions(base_url=f"{running.url}/google"))


async def recorded(running: Running) -> tuple[Any, ...]:
    (record,) = await running.records()
    assert record["cost_basis"] == "reported"
    return record["model"], record["input_tokens"], record["output_tokens"], record["reasoning_tokens"], record["cost"]


async def whole(running: Running) -> str:
    async with client(running).aio as sdk:
        return str((await sdk.interactions.create(**ASKED)).output_text)


async def streamed(running: Running) -> str:
    async with client(running).aio as sdk:
        events = await sdk.interactions.create(**ASKED, stream=True)
        return "".join([one.delta.text async for one in events if one.event_type == "step.delta"])


async def in_a_thread(running: Running) -> str:
    with client(running) as sdk:
        return str((await asyncio.to_thread(sdk.interactions.create, **ASKED)).output_text)


@pytest.mark.parametrize("ask", [whole, streamed, in_a_thread])
async def test_an_interaction_is_recorded_as_it_reports(start: Start, provider: str, ask: Any) -> None:
    """Whole, streamed, and by the client that waits."""
    running = await start(providers={"google": {"base_url": provider}})

    assert await ask(running) == "Amber."
    assert await recorded(running) == (MODEL, 9, 70, 57, pytest.approx(COST))


async def test_an_interaction_in_the_background_is_refused(start: Start, provider: str) -> None:
    """As an error of the SDK's own, that says why."""
    running = await start(providers={"google": {"base_url": provider}})

    async with client(running).aio as sdk:
        with pytest.raises(Exception, match="not metered yet") as refused:
            await sdk.interactions.create(**ASKED, background=True)

    assert getattr(refused.value, "status_code", None) == 400
    assert await running.records() == []


async def test_a_decision_is_recorded_as_it_reports(start: Start, provider: str) -> None:
    """OpenAI's, whose usage is a response's."""
    running = await start(providers={"openai": {"base_url": provider}})

    async with openai.AsyncOpenAI(api_key="made-up", base_url=f"{running.url}/openai/v1") as sdk:
        said = await sdk.decisions.create(
            model="gpt-6-luna", input="Amber.", questions=[{"type": "predicate", "instructions": "Is it a colour?"}]
        )

    assert said.answers[0].type == "predicate"
    assert (await recorded(running))[:4] == ("gpt-6-luna", 40, 3, 0)
