"""A blocking budget that must never be overrun is not, whatever arrives at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import aiohttp
import pytest
from aiohttp import web

from penia_proxy.budget.money import nanos_of
from tests.gateways import Start, billed_nanos, spent_nanos

CALLS = 200


class Gate:
    """A door before the sandbox: calls wait at it until it is opened, so that none settles while others are judged."""

    def __init__(self) -> None:
        self.waiting = 0
        self.open = asyncio.Event()
        self.behind = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._pass)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.waiting += 1
        await self.open.wait()
        kept = {name: request.headers[name] for name in ("Authorization", "x-api-key", "Content-Type")}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.behind}{request.path_qs}", data=body, headers=kept) as answer,
        ):
            return web.Response(
                status=answer.status, body=await answer.read(), headers={"Content-Type": answer.headers["Content-Type"]}
            )


@pytest.mark.fault("C7")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_exactly_the_calls_whose_holds_fit_get_through(start: Start, dialect: str, *, stream: bool) -> None:
    """
    Two hundred at once against room for about ten.

    The sum of the holds that passed is within the limit, one more would not have been, and the provider's own bill is
    what the books say, to the nano-dollar.
    """
    probe = await start(budgets=({"name": "Wide", "daily_limit": 100, "enforcement": "block", "overrun": "never"},))
    one = Decimal((await getattr(probe, dialect)(stream=stream)).headers["X-Penia-Estimated-Cost"])
    limit = one * Decimal("10.5")
    gate = Gate()
    async with gate.running() as url:
        penia = await start(
            budgets=({"name": "Ten", "daily_limit": float(limit), "enforcement": "block", "overrun": "never"},),
            providers={name: {"base_url": url} for name in ("openai", "anthropic")},
        )
        gate.behind = penia.sandbox.url
        calls = [asyncio.create_task(getattr(penia, dialect)(stream=stream)) for _ in range(CALLS)]
        # Nobody is answered before all have been judged, so no hold makes room for another.
        while gate.waiting + sum(call.done() for call in calls) < CALLS:
            await asyncio.sleep(0.005)
        gate.open.set()
        answers = await asyncio.gather(*calls)

    holds = [Decimal(answer.headers["X-Penia-Estimated-Cost"]) for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert len(holds) + len(refused) == CALLS
    assert len(penia.sandbox.calls) == len(holds) == 10
    assert sum(holds) <= limit < sum(holds) + min(holds)
    assert {answer.status for answer in refused} == {429}
    for answer in refused:
        assert answer.headers["Retry-After"] == "1"
    (record, *_) = records = await penia.records()
    assert spent_nanos(records) == billed_nanos(penia)
    _, summary = await penia.api("GET", f"/api/v1/budgets/{record['budget_id']}/summary")
    assert nanos_of(Decimal(repr(summary[0]["spent"]))) == billed_nanos(penia)
    assert summary[0]["held"] == 0
    assert summary[0]["request_count"] == len(holds)
