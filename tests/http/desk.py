"""
A provider that says what a test tells it to.

Its one job: answers by method and path, in turn, the last one again and again; it counts who asked for what.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from tests.gateways import Running, Start

Answer = dict[str, Any] | bytes


class Desk:
    """The answers of one provider."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: Counter[str] = Counter()
        self._answers: dict[str, list[Answer]] = {}
        self._pauses: dict[str, tuple[asyncio.Event, asyncio.Event]] = {}

    def says(self, what: str, *answers: Answer) -> None:
        """Answer ``METHOD /path`` with these in turn: an object as JSON, bytes as events or lines."""
        self._answers[what] = list(answers)

    def pauses(self, what: str) -> tuple[asyncio.Event, asyncio.Event]:
        """Stop at the next such request; return what says that it came, and what lets it go on."""
        self._pauses[what] = asyncio.Event(), asyncio.Event()
        return self._pauses[what]

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        what = f"{request.method} {request.path}"
        self.asked[what] += 1
        if pause := self._pauses.pop(what, None):
            pause[0].set()
            await pause[1].wait()
        answers = self._answers.get(what)
        if answers is None:
            return web.json_response({"error": {"message": "no such thing"}}, status=404)
        said = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(said, bytes):
            kind = "text/event-stream" if said.startswith((b"event:", b"data:")) else "application/octet-stream"
            return web.Response(body=said, content_type=kind)
        return web.json_response(said)


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    """Run a provider on loopback while the context lasts."""
    provider = Desk()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", provider.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield provider
    finally:
        await runner.cleanup()


async def before(provider: Desk, start: Start, *formats: str, budgets: tuple[dict[str, Any], ...] = ()) -> Running:
    """Start a gateway in front of a desk that speaks these formats."""
    return await start(budgets=budgets, providers={name: {"base_url": provider.url} for name in formats})


async def call(penia: Running, what: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Ask ``METHOD /path`` of the gateway; return status and what was said."""
    method, path = what.split(" ", 1)
    sent = {"data": body} if isinstance(body, bytes) else {"json": body}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with penia.session.request(method, penia.url + path, headers=named, **sent) as answer:
        said = await answer.read()
        is_json = answer.content_type == "application/json"
        return answer.status, orjson.loads(said) if is_json else said
