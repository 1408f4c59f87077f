"""Every official SDK works by base URL alone: its answers, its bill, and its own exception on a refusal."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from penia_proxy.sandbox import running_sandbox
from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import KEYS, Running, Start, billed_nanos, spent_nanos
from tests.http.door import Door, door
from tests.http.sdks import KEY, REFUSALS, WAYS, Refusal, Way, made, made_async

# Google's SDK's own habit, not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

BLOCK = {"name": "Strict", "enforcement": "block", "overrun": "never"}

Opened = Callable[[str, Way], Any]
"""``(url, way)`` → a door before it."""


@pytest.fixture
async def before(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Opened]:
    """Give tests a function that opens a door, over TLS where the SDK sends its key over nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    # What boto3 is told by its environment, as the documentation has it.
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    async with AsyncExitStack() as stack:

        async def opened(url: str, way: Way) -> Door:
            return await stack.enter_async_context(door(url, context if way.tls else None))

        yield opened


async def asked(way: Way, at: Door, *, mode: str, **options: Any) -> Any:
    """Call; a synchronous SDK in a thread of its own."""
    if mode == "async":
        return await made_async(way, f"{at.url}/{way.provider}", **options)
    return await asyncio.to_thread(made, way, f"{at.url}/{way.provider}", **options)


def cases() -> Iterator[Any]:
    """Yield every (way, case, stream, mode)."""
    for name, way in WAYS.items():
        for case in ("", *way.cases):
            for stream in (False, True) if way.streams else (False,):
                for mode in modes(way, brief=bool(case)):
                    yield pytest.param(way, case, stream, mode, id=f"{name} {case} {mode}{' stream' * stream}")


def modes(way: Way, *, brief: bool) -> tuple[str, ...]:
    """Return how a way is called: in both ways that the SDK has, or in one of them."""
    if way.sync_only:
        return ("sync",)
    return ("async",) if brief else ("async", "sync")


@pytest.mark.parametrize(("way", "case", "stream", "mode"), [*cases()])
async def test_answers_and_bill(start: Start, before: Opened, way: Way, case: str, stream: bool, mode: str) -> None:
    """Every field of the answer, or of each piece, equals a direct call's, and the books equal the provider's bill."""
    through = await start(providers={way.provider: way.settings})
    here = await before(through.url, way)
    # What was sent before is in the provider's cache the second time.
    times = 2 if case == "cached" else 1
    given = way.cases.get(case, {})
    # Each from a fresh provider, so that the caches are alike for both.
    async with running_sandbox() as direct:
        there = await before(direct.url, way)
        without = [await asked(way, there, mode=mode, stream=stream, **given) for _ in range(times)]
    answers = [await asked(way, here, mode=mode, stream=stream, **given) for _ in range(times)]

    assert answers == without
    assert all(answers)
    assert here.requests == there.requests == times
    records, calls = await through.records(), through.sandbox.calls
    assert all(call.finished for call in calls)
    assert {record["streamed"] for record in records} == {stream}
    assert {name: sum(record[name] for record in records) for name in ("input_tokens", "output_tokens")} == {
        "input_tokens": sum(
            call.input_tokens + call.cache_read_tokens + call.cache_write_5m_tokens + call.cache_write_1h_tokens
            for call in calls
        ),
        "output_tokens": sum(call.output_tokens + call.reasoning_tokens for call in calls),
    }
    cached = sum(call.cache_read_tokens for call in calls)
    assert sum(record["cache_read_tokens"] for record in records) == cached
    assert (cached > 0) == (case == "cached")
    if way.unpriced:
        assert [(record["cost"], record["cost_basis"]) for record in records] == [(None, "unpriced")]
    elif way.free:
        assert [(record["cost"], record["cost_basis"]) for record in records] == [(0, "free")]
    else:
        assert {record["cost_basis"] for record in records} == {"reported"}
        assert spent_nanos(records) == billed_nanos(through) > 0


def refusals(*kinds: str) -> list[Any]:
    """Return every (refusal, kind, stream, mode) of these kinds; in one mode what is refused alike in all."""
    return [
        pytest.param(refusal, kind, stream, mode, id=f"{name} {kind} {mode}{' stream' * stream}")
        for name, refusal in REFUSALS.items()
        for kind in kinds
        for brief in (kind in ("unpriced", "unbounded"),)
        for stream in ((False,) if brief else (False, True))
        for mode in modes(WAYS[refusal.way], brief=brief)
    ]


async def untouched(penia: Running) -> None:
    """Nothing was forwarded and nothing is booked."""
    assert penia.sandbox.calls == []
    assert await penia.records() == []


@pytest.mark.parametrize(("refusal", "kind", "stream", "mode"), refusals("exceeded", "unpriced", "unbounded"))
async def test_what_waiting_does_not_cure(
    start: Start, before: Opened, refusal: Refusal, kind: str, stream: bool, mode: str
) -> None:
    """A 402 is the SDK's own exception, raised at the first request, with our code in it."""
    way = WAYS[refusal.way]
    limit = 0.0 if kind == "exceeded" else 1.0
    penia = await start(
        providers={way.provider: {**way.settings, **refusal.settings}}, budgets=({**BLOCK, "daily_limit": limit},)
    )
    # At Mistral's prices Ollama's models have Mistral's names.
    given = {"model": "mistral-small-latest"} if refusal.settings.get("prices") == "mistral" else {}
    given |= {"unpriced": refusal.unpriced, "unbounded": refusal.unbounded}.get(kind, {})
    at = await before(penia.url, way)

    with pytest.raises(refusal.error) as raised:
        await asked(way, at, mode=mode, stream=stream, **given)

    assert type(raised.value).__module__.partition(".")[0] == refusal.error.__module__.partition(".")[0]
    assert refusal.status_of(raised.value) == 402
    codes = {"exceeded": "budget_exceeded", "unpriced": "unpriced_model", "unbounded": "unbounded_call"}
    assert refusal.code_of(raised.value) == codes[kind]
    assert at.requests == 1
    await untouched(penia)


@pytest.mark.parametrize(("refusal", "kind", "stream", "mode"), refusals("busy"))
async def test_what_waiting_cures(
    start: Start, before: Opened, refusal: Refusal, kind: str, stream: bool, mode: str
) -> None:
    """While a call in flight holds the money, another gets the SDK's exception for 429, with our code in it."""
    way = WAYS[refusal.way]
    settings = {**way.settings, **refusal.settings}
    penia = await start(
        providers={way.provider: settings, "other": {"format": "openai", "prices": "openai"}},
        budgets=({**BLOCK, "daily_limit": 1.0},),
        script=[Behaviour(stall_before=True)],
    )
    body = {"model": "gpt-4o", "max_tokens": 50_000, "messages": [{"role": "user", "content": "hi"}]}
    running = asyncio.create_task(penia.session.post(f"{penia.url}/other/v1/chat/completions", json=body, headers=KEYS))
    while not penia.sandbox.calls:
        await asyncio.sleep(0.005)
    (budget,) = penia.gateway.book
    _, (summary,) = await penia.api("GET", f"/api/v1/budgets/{budget.budget_id}/summary?period=daily")
    await penia.api("PUT", f"/api/v1/budgets/{budget.budget_id}", {"daily_limit": summary["held"]})
    given = {"model": "mistral-small-latest"} if refusal.settings.get("prices") == "mistral" else {}
    at = await before(penia.url, way)

    with pytest.raises(refusal.busy) as raised:
        await asked(way, at, mode=mode, stream=stream, retries=0, **given, **refusal.once)

    assert refusal.status_of(raised.value) == 429
    assert refusal.code_of(raised.value) == "budget_busy"
    assert len(penia.sandbox.calls) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    while penia.gateway.ledger.holds_open:
        await asyncio.sleep(0.005)
