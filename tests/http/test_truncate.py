"""A budget that truncates ends answers where it has no room for more, in the provider's own words."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import anthropic
import ollama
import openai
import pytest
from google import genai
from google.genai import types

from penia_proxy.budget.money import nanos_of
from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import SystemClock
from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import Running, Start

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

LONG = Behaviour(output_tokens=2_000, chunk_delay_s=0.001)
TALK: list[Any] = [{"role": "user", "content": "Tell me a long story."}]
PROVIDERS = {"openai": {}, "anthropic": {}, "google": {}}


def budget(limit: float, **members: Any) -> dict[str, Any]:
    return {"name": "cut", "daily_limit": limit, "enforcement": "block", "overrun": "truncate", **members}


def billed_nanos(penia: Running, since: int = 0) -> int:
    """Return what the provider has made, of the calls that were hung up on as well, at the catalogue's prices."""
    book = PriceBook.load()
    total = 0
    for call in penia.sandbox.calls[since:]:
        card = book.card(call.provider, call.served_model or "", SystemClock().now())
        assert card is not None
        usage = Usage(input=call.input_tokens, cache_read=call.cache_read_tokens, output=call.produced_tokens)
        total += card.price(usage).total_nanos
    return total


async def settled(penia: Running) -> None:
    while any(call.ending == "running" for call in penia.sandbox.calls) or penia.gateway.ledger.holds_open:
        await asyncio.sleep(0.005)


TAUGHT = 5


async def taught(start: Start, limit: float, script: Behaviour, ask: Callable[[Running], Awaitable[Any]]) -> Running:
    """
    Start a gateway that has seen how this provider counts, and leave so much in its budget.

    The sandbox's words are its tokens, fewer than ours.
    """
    penia = await start(script=Behaviour(output_tokens=250), budgets=(budget(100.0),), providers=PROVIDERS)
    for _ in range(TAUGHT):
        await ask(penia)
    await settled(penia)
    spent = Decimal(billed_nanos(penia)) / 10**9
    (known,) = penia.gateway.book
    status, _ = await penia.api("PUT", f"/api/v1/budgets/{known.budget_id}", {"daily_limit": float(spent) + limit})
    assert status == 200
    penia.sandbox.play(script)
    return penia


async def proved(penia: Running, limit: float, *, least: float = 0.9) -> dict[str, Any]:
    """Check that the last call was truncated within the limit, by the provider's own count, and most of it was used."""
    await settled(penia)
    record = (await penia.records())[0]
    assert (record["status"], record["cost_basis"]) == ("truncated", "partial")
    assert limit >= record["cost"] >= billed_nanos(penia, TAUGHT) / 10**9
    assert billed_nanos(penia, TAUGHT) / 10**9 > least * limit
    return record


async def chat(penia: Running, **members: Any) -> list[Any]:
    async with openai.AsyncOpenAI(api_key="made-up", base_url=f"{penia.url}/openai/v1") as client:
        stream = await client.chat.completions.create(model="gpt-4o-mini", messages=TALK, stream=True, **members)
        return [chunk async for chunk in stream]


@pytest.mark.parametrize("compress", ["none", "gzip"])
@pytest.mark.parametrize("asked", [True, False])
async def test_a_chat_ends_as_at_its_cap(start: Start, compress: Any, *, asked: bool) -> None:
    """With `length`, with the usage if that was asked for, and without an exception."""
    limit = 0.0003
    script = Behaviour(output_tokens=2_000, chunk_delay_s=0.001, compress=compress)
    penia = await taught(start, limit, script, chat)
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    chunks = await chat(penia, **options)
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    record = await proved(penia, limit)
    assert reasons == ["length"]
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert [usage.completion_tokens for usage in usages] == ([record["output_tokens"]] if asked else [])


async def test_every_choice_of_a_chat_ends(start: Start) -> None:
    """Each with its own last word."""
    penia = await start(script=LONG, budgets=(budget(0.0003),), providers=PROVIDERS)
    chunks = await chat(penia, n=2)
    assert [c.index for chunk in chunks for c in chunk.choices if c.finish_reason == "length"] == [0, 1]


async def test_a_message_ends_as_at_its_cap(start: Start) -> None:
    """Its block is closed, and the SDK has a whole message."""

    async def ask(penia: Running) -> Any:
        async with (
            anthropic.AsyncAnthropic(api_key="made-up", base_url=f"{penia.url}/anthropic") as client,
            client.messages.stream(model="claude-haiku-4-5", max_tokens=4_000, messages=TALK) as stream,
        ):
            return await stream.get_final_message()

    limit = 0.004
    penia = await taught(start, limit, LONG, ask)
    message = await ask(penia)
    record = await proved(penia, limit)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == record["output_tokens"]


async def test_a_response_ends_as_at_its_cap(start: Start) -> None:
    """It is incomplete, says why, and has what was written."""

    async def ask(penia: Running) -> list[Any]:
        async with openai.AsyncOpenAI(api_key="made-up", base_url=f"{penia.url}/openai/v1") as client:
            stream = await client.responses.create(model="gpt-4o-mini", input="Tell me a story.", stream=True)
            return [event async for event in stream]

    limit = 0.0003
    penia = await taught(start, limit, LONG, ask)
    events = await ask(penia)
    last = events[-1]
    record = await proved(penia, limit)
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert last.response.usage.output_tokens == record["output_tokens"]
    assert last.response.output_text == "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert last.sequence_number == events[-2].sequence_number + 1


async def test_a_generation_of_google_ends_as_at_its_cap(start: Start) -> None:
    """With `MAX_TOKENS` and its usage, thinking included."""

    async def ask(penia: Running) -> list[Any]:
        options = types.HttpOptions(base_url=f"{penia.url}/google")
        client = genai.Client(api_key="made-up", http_options=options)
        stream = await client.aio.models.generate_content_stream(model="gemini-2.5-flash", contents="Hi")
        return [chunk async for chunk in stream]

    limit = 0.0012
    penia = await taught(start, limit, LONG, ask)
    chunks = await ask(penia)
    record = await proved(penia, limit, least=0.8)
    counts = chunks[-1].usage_metadata
    assert chunks[-1].candidates[0].finish_reason == "MAX_TOKENS"
    assert counts.candidates_token_count + counts.thoughts_token_count == record["output_tokens"]


@pytest.mark.parametrize("operation", ["chat", "generate"])
async def test_an_answer_of_ollama_ends_as_at_its_cap(start: Start, operation: str) -> None:
    """With a last line that says so, and its counts. A model run at home has a price where one is given."""
    providers = {"ollama": {"prices": "openai", "models": {"qwen3": "gpt-4o-mini"}}}
    penia = await start(script=LONG, budgets=(budget(0.0003),), providers=providers)
    async with ollama.AsyncClient(host=f"{penia.url}/ollama") as client:
        if operation == "chat":
            lines = [line async for line in await client.chat(model="qwen3", messages=TALK, stream=True)]
            assert all(line.message.role == "assistant" for line in lines)
        else:
            lines = [line async for line in await client.generate(model="qwen3", prompt="Hi", stream=True)]
    await settled(penia)
    (record,) = await penia.records()
    assert (record["status"], record["cost_basis"]) == ("truncated", "partial")
    assert (lines[-1].done, lines[-1].done_reason, lines[-1].eval_count) == (True, "length", record["output_tokens"])
    assert [line.done for line in lines[:-1]] == [False] * (len(lines) - 1)
    assert record["cost"] <= 0.0003


CONVERSATION = {"messages": [{"role": "user", "content": [{"text": "Tell me a long story."}]}]}
INVOKED = {
    "nova-lite": {**CONVERSATION, "inferenceConfig": {"max_new_tokens": 5_000, "temperature": 0.5}},
    "claude": {"messages": TALK, "max_tokens": 5_000, "anthropic_version": "bedrock-2023-05-31"},
}


@pytest.mark.parametrize(
    ("model", "operation", "body"),
    [
        ("us.amazon.nova-lite-v1:0", "converse", CONVERSATION),
        ("us.amazon.nova-lite-v1:0", "converse-stream", {**CONVERSATION, "inferenceConfig": {"maxTokens": 5_000}}),
        ("us.amazon.nova-lite-v1:0", "invoke", INVOKED["nova-lite"]),
        ("anthropic.claude-3-haiku-20240307-v1:0", "invoke-with-response-stream", INVOKED["claude"]),
    ],
)
async def test_bedrock_is_sent_the_cap_that_fits(
    start: Start, model: str, operation: str, body: dict[str, Any]
) -> None:
    """Streams as well: hanging up on one would not stop it, nor its bill."""
    limit = 0.002 if "claude" in model else 0.0005
    penia = await start(
        script=Behaviour(output_tokens=8_000), budgets=(budget(limit),), providers={"bedrock": {"prices": "aws"}}
    )
    url = f"{penia.url}/bedrock/model/{model}/{operation}"
    async with penia.session.post(url, json=body, headers={"Authorization": "Bearer made-up"}) as answer:
        await answer.read()
        assert (answer.status, answer.headers.get("X-Penia-Changed")) == (200, "output cap")
    await settled(penia)
    (record,) = await penia.records()
    assert record["status"] == "ok"
    assert 0.4 * limit < record["cost"] <= limit


@pytest.mark.parametrize("path", ["chat", "messages"])
async def test_a_call_that_does_not_stream_is_sent_with_the_cap_that_fits(start: Start, path: str) -> None:
    """It is said in a header, and the bill is within the limit even if the dearest tier should answer."""
    limit = {"chat": 0.0003, "messages": 0.006}[path]
    penia = await start(script=Behaviour(output_tokens=2_000), budgets=(budget(limit),))
    answer = await getattr(penia, path)(max_tokens=1_900)
    assert answer.status == 200
    assert answer.headers["X-Penia-Changed"] == "output cap"
    await settled(penia)
    assert 0.4 * nanos_of(Decimal(repr(limit))) < billed_nanos(penia) <= nanos_of(Decimal(repr(limit)))


async def test_what_fits_is_sent_as_it_is(start: Start) -> None:
    """A budget with room changes nothing."""
    penia = await start(budgets=(budget(1.0),))
    answer = await penia.chat(max_tokens=100)
    assert "X-Penia-Changed" not in answer.headers
    assert (await penia.records())[0]["status"] == "ok"


async def talk(penia: Running) -> int:
    return (await penia.chat(stream=True, max_tokens=1_024)).status


async def test_the_tail_of_a_budget_is_used(start: Start) -> None:
    """Calls begin while there is room for a step, and the last of the money is spent on an answer that ends early."""
    limit = 0.002
    penia = await taught(start, limit, Behaviour(output_tokens=150, chunk_delay_s=0.001), talk)
    while await talk(penia) == 200:
        pass
    await settled(penia)
    assert 0.95 * limit < billed_nanos(penia, TAUGHT) / 10**9 <= limit


async def test_no_number_of_streams_gets_past_it(start: Start) -> None:
    """Sixty at once, each longer than the budget: the provider's own count stays within the limit."""
    limit = 0.003
    penia = await taught(start, limit, Behaviour(output_tokens=800, chunk_delay_s=0.005), talk)
    statuses = await asyncio.gather(*(talk(penia) for _ in range(60)))
    await settled(penia)
    assert set(statuses) <= {200, 402, 429}
    spent = sum(record["cost"] for record in (await penia.records())[:-TAUGHT])
    assert billed_nanos(penia, TAUGHT) / 10**9 <= spent <= limit + 1e-9


async def test_a_shadow_cuts_nothing_off(start: Start) -> None:
    """What only reports lets every call finish."""
    penia = await start(script=Behaviour(output_tokens=500), budgets=(budget(0.0001, shadow=True),))
    await penia.chat(stream=True, max_tokens=1_024)
    (record,) = await penia.records()
    assert (record["status"], record["output_tokens"]) == ("ok", 500)


async def test_what_finishes_grows(start: Start) -> None:
    """While a stream runs, the budget shows what it has come to, not what was expected of it."""
    penia = await start(
        script=Behaviour(output_tokens=3_000, chunk_delay_s=0.001),
        budgets=({"name": "b", "daily_limit": 1.0, "enforcement": "block"},),
    )
    held: list[int] = []
    running = asyncio.create_task(penia.chat(stream=True, max_tokens=4_000))
    while not running.done():
        await asyncio.sleep(0.002)
        held += [tally.held_nanos for tally in penia.gateway.counters._tallies.values() if tally.held_nanos]
    (record,) = await penia.records()
    cost = nanos_of(Decimal(repr(record["cost"])))
    assert held[0] < cost
    assert max(held) >= 0.95 * cost
    assert (record["status"], record["output_tokens"]) == ("ok", 3_000)
    assert record["estimated_cost"] < record["cost"]


async def spent_up(start: Start, left: float, **members: Any) -> Running:
    """Start a gateway whose budget has so much left; less than nothing, where its limit was lowered since."""
    penia = await start(budgets=(budget(1.0, **members),), providers={"openai": {}, "ollama": {}})
    await penia.chat()
    (record,), (known,) = await penia.records(), penia.gateway.book
    status, _ = await penia.api("PUT", f"/api/v1/budgets/{known.budget_id}", {"daily_limit": record["cost"] + left})
    assert status == 200
    penia.sandbox.play(Behaviour(output_tokens=3_000))
    return penia


async def local(penia: Running, **members: Any) -> tuple[int, str | None]:
    """Ask a model that costs nothing; return the status and what was changed of the request."""
    body = {"model": "qwen3", "messages": TALK, **members}
    async with penia.session.post(f"{penia.url}/ollama/v1/chat/completions", json=body) as answer:
        await answer.read()
        return answer.status, answer.headers.get("X-Penia-Changed")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("left", [0, -1e-5])
@pytest.mark.parametrize("overrun", ["truncate", "finish", "never"])
async def test_what_costs_nothing_needs_no_room(start: Start, overrun: str, left: float, *, stream: bool) -> None:
    """A free model answers whole before any budget, also one that has been overdrawn and knows no bound for it."""
    penia = await spent_up(start, left, overrun=overrun)
    options = {"stream_options": {"include_usage": True}} if stream else {}
    assert await local(penia, stream=stream, **options) == (200, None)
    await settled(penia)
    record = (await penia.records())[0]
    assert (record["status"], record["cost_basis"]) == ("ok", "free")
    assert record["output_tokens"] >= 3_000


@pytest.mark.parametrize(("stream", "left"), [(True, 2e-6), (False, 5e-6)])
async def test_output_that_costs_nothing_needs_no_room(start: Start, left: float, *, stream: bool) -> None:
    """Where only the input has a price, what has room for it is neither cut off nor capped."""
    penia = await spent_up(start, left)
    answer = await penia.chat(model="text-embedding-3-small", stream=stream, max_tokens=4_000)
    assert answer.status == 200
    assert "output cap" not in answer.headers.get("X-Penia-Changed", "")
    await settled(penia)
    record = (await penia.records())[0]
    assert (record["status"], record["output_tokens"]) == ("ok", 3_000)
