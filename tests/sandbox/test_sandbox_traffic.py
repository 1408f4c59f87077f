"""The demo's traffic, sent straight to a sandbox behind the gateway's paths."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from genai_prices import Usage, calc_price

from penia_proxy.sandbox import Sandbox
from penia_proxy.sandbox.errands import COMPONENTS, DEMO_PROVIDERS
from penia_proxy.sandbox.models import served_name
from penia_proxy.sandbox.traffic import (
    DEMO_COMPONENTS,
    SMALL_BUDGET_COMPONENT,
    TrafficEvent,
    errand_of,
    run_traffic,
)

ROUND = len(DEMO_COMPONENTS) * 24


@pytest.fixture
async def gateway(sandbox: Sandbox) -> AsyncIterator[str]:
    """Stand in for the gateway: take the component out of the path, and refuse one component."""

    async def handle(request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        component = parts.pop(0)[1:] if parts[0].startswith("@") else request.headers["X-Penia-Component"]
        if component == SMALL_BUDGET_COMPONENT:
            error = {"message": "Too much.", "code": "budget_exceeded", "penia": {"code": "budget_exceeded"}}
            return web.json_response({"error": error}, status=402, headers={"X-Penia-Request-Id": "r_1"})
        path = "/" + "/".join(parts)
        async with (
            aiohttp.ClientSession(sandbox.url) as session,
            session.post(path, data=await request.read(), headers=request.headers) as answer,
        ):
            headers = {"X-Penia-Verdict": "allow", "X-Penia-Cost": "0.000012", "X-Penia-Request-Id": "r_2"}
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


async def sent(base_url: str, count: int, until: str | None = None) -> list[TrafficEvent]:
    """Return the events of traffic as fast as it goes: at least ``count``, and until one has the outcome."""
    events: list[TrafficEvent] = []
    stop = asyncio.Event()

    def report(event: TrafficEvent) -> None:
        events.append(event)
        if len(events) >= count and (until is None or any(event.outcome == until for event in events)):
            stop.set()

    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        await run_traffic(base_url, session=session, rate=1000, report=report, stop=stop)
    return events


async def test_traffic_is_varied(gateway: str) -> None:
    """A few rounds have every component, every provider, both forms, and every way for a call to go."""
    events = await sent(gateway, ROUND, until="hung_up")

    assert {event.component for event in events} == set(DEMO_COMPONENTS)
    assert {event.provider for event in events} == set(DEMO_PROVIDERS)
    assert {event.streamed for event in events} == {True, False}
    assert {"answered", "refused", "failed", "hung_up"} <= {event.outcome for event in events}


async def test_events_carry_what_the_gateway_said(gateway: str) -> None:
    """An event has the verdict, cost and id of the headers; a refusal has its code and no verdict."""
    events = await sent(gateway, ROUND)
    refused = next(event for event in events if event.outcome == "refused")
    answered = next(event for event in events if event.outcome == "answered")

    assert (refused.component, refused.status, refused.code) == (SMALL_BUDGET_COMPONENT, 402, "budget_exceeded")
    assert refused.verdict is None
    assert (answered.verdict, answered.cost_usd, answered.request_id) == ("allow", Decimal("0.000012"), "r_2")
    assert answered.latency_ms > 0


async def test_gateway_that_is_gone() -> None:
    """A gateway that does not answer is reported, not raised."""
    async with TestServer(web.Application()) as server:
        url = str(server.make_url(""))
    events = await sent(url, 3)

    assert {(event.outcome, event.status) for event in events} == {("unreachable", None)}


async def test_stop_gives_up_calls_under_way() -> None:
    """Stopping does not wait for calls that are not answered."""
    arrived = asyncio.Event()

    async def never(_request: web.Request) -> web.Response:
        arrived.set()
        await asyncio.sleep(3600)
        return web.Response()

    app = web.Application()
    app.router.add_post("/{path:.*}", never)
    stop = asyncio.Event()
    server = TestServer(app, shutdown_timeout=0.1)
    async with server, aiohttp.ClientSession() as session, asyncio.timeout(5):
        base_url = str(server.make_url(""))
        traffic = asyncio.create_task(run_traffic(base_url, session=session, rate=100, report=print, stop=stop))
        await arrived.wait()
        stop.set()
        await traffic


async def test_rate_must_be_positive() -> None:
    """A rate of nothing is a mistake."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="rate"):
            await run_traffic("http://x", session=session, rate=0, report=print, stop=asyncio.Event())


def test_order_repeats() -> None:
    """The same seed sends the same calls; another sends others."""
    assert [errand_of(turn) for turn in range(20)] == [errand_of(turn) for turn in range(20)]
    assert errand_of(0, "other").body != errand_of(0).body


@pytest.mark.parametrize("component", DEMO_COMPONENTS)
def test_every_model_has_a_price(component: str) -> None:
    """Every model of the demo is priced, under the asked and the answered name, and alike."""
    for errand in COMPONENTS[component](b"seed"):
        usage = Usage(input_tokens=1000, output_tokens=0 if "embed" in errand.model else 1000)
        asked = calc_price(usage, errand.model, provider_id=errand.provider)
        served = calc_price(usage, served_name(errand.model), provider_id=errand.provider)
        assert asked.total_price == served.total_price > 0


@pytest.mark.parametrize("component", DEMO_COMPONENTS)
async def test_every_errand_is_understood(http: aiohttp.ClientSession, component: str) -> None:
    """Every call of the demo is one that the provider takes."""
    for errand in COMPONENTS[component](b"seed"):
        async with http.post(errand.path, json=errand.body) as response:
            assert response.status == 200, await response.text()
