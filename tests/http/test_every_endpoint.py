"""
No endpoint that costs money passes unmetered: the list of `tests/endpoints.py`, through a whole gateway.

Rule: the provider behind it is real and counts what reaches it; what a line says must be is all that is asked.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from penia_proxy.config import KNOWN_FORMATS
from penia_proxy.wire.call import Route
from penia_proxy.wire.dialects import DIALECTS
from tests.endpoints import REFUSED_BY_CONTENT, Entry, entries
from tests.gateways import Running, Start

ENTRIES = tuple(entries())
PRICES = {"bedrock": "aws", "bedrock-mantle": "aws", "google-openai": "google", "ollama": "nobody"}
BUDGETS = (
    {"name": "counted", "daily_limit": 1000, "enforcement": "track", "scope": {"components": ["walk"]}},
    # What has no price is refused by it as well.
    {"name": "spent", "daily_limit": 0, "enforcement": "block", "scope": {"components": ["spent"]}},
)


class Counting:
    """A provider that answers anything with an empty object and keeps what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.hits: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        self.hits.append(f"{request.method} {request.raw_path}")
        return web.json_response({})


@asynccontextmanager
async def counting() -> AsyncIterator[Counting]:
    provider = Counting()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", provider.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield provider
    finally:
        await runner.cleanup()


@pytest.fixture
async def provider() -> AsyncIterator[Counting]:
    async with counting() as running:
        yield running


async def before(start: Start, provider: Counting) -> Running:
    """Start a gateway that has a provider of every format, all of them this one."""
    providers: dict[str, dict[str, Any]] = {
        name: {"base_url": provider.url, "format": name, "prices": PRICES.get(name, name)} for name in KNOWN_FORMATS
    }
    return await start(providers=providers, budgets=BUDGETS)


async def called(
    running: Running, spoken: str, method: str, path: str, body: bytes, kind: str, component: str
) -> tuple[int, bytes, str]:
    """Send a call; return status, body and request id."""
    headers = {"X-Penia-Component": component, **({"Content-Type": kind} if kind else {})}
    url = f"{running.url}/{spoken}{path}"
    async with running.session.request(method, _raw(url), data=body or None, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers.get("X-Penia-Request-Id", "")


def _raw(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)


async def of(running: Running, entry: Entry, component: str) -> tuple[int, bytes, str]:
    return await called(running, entry.format, entry.method, entry.path, *entry.body, component)


async def test_what_costs_money_is_held_and_recorded(start: Start, provider: Counting) -> None:
    """Each metered endpoint leaves one record, and none is reached against a budget that is spent."""
    running = await before(start, provider)
    wrong: list[str] = []
    for entry in (one for one in ENTRIES if one.must == "metered"):
        provider.hits.clear()
        status, body, request_id = await of(running, entry, "walk")
        record = await running.record(request_id)
        if status != 200 or len(provider.hits) != 1 or record is None or record["cost_basis"] == "unconfirmed":
            wrong.append(f"{entry.format} {entry.method} {entry.path}: {status} {body[:200]!r}, {record}")
        provider.hits.clear()
        status, body, _ = await of(running, entry, "spent")
        if status != 402 or provider.hits:
            wrong.append(f"{entry.format} {entry.method} {entry.path}: {status} against a budget that is spent")

    assert not wrong, "\n".join(wrong)


async def test_what_is_refused_reaches_no_provider(start: Start, provider: Counting) -> None:
    """Each refused endpoint says that it is not metered, and nothing of it is sent."""
    running = await before(start, provider)
    wrong: list[str] = []
    for entry in (one for one in ENTRIES if one.must == "refused"):
        status, body, _ = await of(running, entry, "walk")
        if status != 404 or b"unmetered_route" not in body:
            wrong.append(f"{entry.format} {entry.method} {entry.path}: {status} {body[:200]!r}")

    assert not wrong, "\n".join(wrong)
    assert provider.hits == []


async def test_what_is_refused_by_its_content_reaches_no_provider(start: Start, provider: Counting) -> None:
    """What would be billed later, or by what no answer says, is refused where the rest of its endpoint passes."""
    running = await before(start, provider)
    wrong: list[str] = []
    for spoken, path, members in REFUSED_BY_CONTENT:
        body = json.dumps(members).encode()
        status, said, _ = await called(running, spoken, "POST", path, body, "application/json", "walk")
        if status != 400 or b"metered" not in said:
            wrong.append(f"{spoken} {path}: {status} {said[:200]!r}")

    assert not wrong, "\n".join(wrong)
    assert provider.hits == []


async def test_what_is_free_passes_without_a_record(start: Start, provider: Counting) -> None:
    """
    Each free endpoint reaches its provider once, also against a budget that is spent, and is on no record.

    So does one whose answer is read, where there is no bill in it.
    """
    running = await before(start, provider)
    wrong: list[str] = []
    for entry in (one for one in ENTRIES if one.must in ("free", "read")):
        provider.hits.clear()
        status, body, _ = await of(running, entry, "spent")
        if status != 200 or provider.hits != [f"{entry.method} {entry.path}"]:
            wrong.append(f"{entry.format} {entry.method} {entry.path}: {status} {body[:200]!r}")

    assert not wrong, "\n".join(wrong)
    assert await running.records() == []


async def test_a_websocket_is_opened_by_an_upgrade_alone(start: Start, provider: Counting) -> None:
    """An ordinary request for it is refused; and where it is held before it is opened, a spent budget refuses it."""
    running = await before(start, provider)
    wrong: list[str] = []
    for entry in (one for one in ENTRIES if one.must == "socket"):
        status, body, _ = await of(running, entry, "walk")
        if status != 404 or b"WebSocket" not in body:
            wrong.append(f"{entry.format} {entry.method} {entry.path}: {status} {body[:200]!r}")
        if entry.detail.startswith("held"):
            headers = {"X-Penia-Component": "spent"}
            url = f"{running.url}/{entry.format}{entry.path}?model=gpt-realtime"
            with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
                await running.session.ws_connect(url, headers=headers)
            if raised.value.status != 402:
                wrong.append(f"{entry.format} {entry.path}: {raised.value.status} against a budget that is spent")

    assert not wrong, "\n".join(wrong)
    assert provider.hits == []


def test_every_route_is_on_the_list() -> None:
    """A route that is added to a dialect is added to the list, where somebody says what must be."""
    listed = {(one.format, one.method, one.template, one.must) for one in ENTRIES if one.must != "refused"}
    spoken = {
        (name, route.method, route.path, _must(route)) for name, dialect in DIALECTS.items() for route in dialect.routes
    }

    assert spoken - listed == set(), "not on the list"
    assert listed - spoken == set(), "on the list, and no route"


def _must(route: Route) -> str:
    if route.opens:
        return "socket"
    return "metered" if route.operation else "read" if route.reads else "free"
