"""The Python client against a gateway that runs: one line around a provider's call, and the money is right."""

from collections.abc import Callable
from typing import Any

import pytest

from penia_proxy.app import Gateway
from penia_proxy.client import ApprovalRequired, BudgetBusy, Conflict, GatewayUnreachable, Hold, Penia
from penia_proxy.clock import SystemClock
from tests.gateways import Running, Start

CALL: dict[str, Any] = {"provider": "openai", "model": "gpt-4o", "estimated_cost": 0.5}


class ProviderError(Exception):
    """What a provider's SDK raises."""


async def failing(hold: Hold, before: Callable[[Hold], None]) -> None:
    """Call a provider that fails, after something was said of the hold."""
    async with hold:
        before(hold)
        raise ProviderError


async def test_a_body_that_says_what_it_used_settles(start: Start) -> None:
    """The record has the component, what was held and what was used."""
    penia = await start()
    async with Penia(penia.url, component="rhetor") as client, client.hold(**CALL, tags={"team": "search"}) as hold:
        hold.usage(input_tokens=1000, output_tokens=100)

    record = await penia.record(hold.hold_id)
    assert record is not None
    assert record == hold.record
    assert (record["component"], record["cost"], record["estimated_cost"]) == ("rhetor", 0.0035, 0.5)
    assert record["tags"] == {"team": "search"}


async def test_a_body_that_raises_gives_back_or_settles(start: Start) -> None:
    """Before anything was used: released. After it said what was used: settled. The exception is its own."""
    penia = await start()
    async with Penia(penia.url) as client:
        unused = client.hold(**CALL)
        with pytest.raises(ProviderError):
            await failing(unused, lambda _: None)
        with pytest.raises(ProviderError):
            await failing(client.hold(**CALL), lambda hold: hold.usage(cost=0.25))

    assert await penia.record(unused.hold_id) is None
    assert [record["cost"] for record in await penia.records()] == [0.25]


async def test_what_was_sent_and_not_said_is_never_a_quiet_zero(start: Start) -> None:
    """The hold stays; a restart books it at what it held, and the holder's late word corrects it."""
    penia = await start()
    async with Penia(penia.url) as client:
        hold = client.hold(**CALL)
        with pytest.raises(ProviderError):
            await failing(hold, Hold.sent)
    assert penia.gateway.ledger.holds_open == 1
    await penia.gateway.stop()
    again = await Gateway(penia.gateway.config, SystemClock()).start()
    try:
        penia_again = Running(again, penia.sandbox, penia.session)
        record = await penia_again.record(hold.hold_id)
        assert record is not None
        async with Penia(again.url) as client:
            late = await client.ask("POST", f"/holds/{hold.hold_id}/settle", {"cost": 0.125})
    finally:
        await again.stop()
        penia.gateway.counters._tallies.clear()  # the first process's memory, which ended with a hold in it
        penia.gateway.ledger._writer._known.holds.clear()

    assert (record["status"], record["cost_basis"], record["cost"]) == ("crashed", "unconfirmed", 0.5)
    assert (late["corrects"], late["cost"]) == (hold.hold_id, -0.375)


async def test_refusals_are_named(start: Start) -> None:
    """Busy, waiting for approval, in conflict, and no gateway at all: each is an exception of its own."""
    penia = await start(budgets=({"name": "Asks", "daily_limit": 0.75, "enforcement": "approve"},))
    async with Penia(penia.url) as client:
        with pytest.raises(ApprovalRequired) as asks:
            async with client.hold(**{**CALL, "estimated_cost": 1.0}):
                raise AssertionError("a refused hold has no body")
        async with client.hold(**CALL, request_id="mine") as hold:
            with pytest.raises(BudgetBusy):
                await client.hold(**CALL).__aenter__()
            with pytest.raises(Conflict):
                await client.hold(**{**CALL, "model": "gpt-4o-mini"}, request_id="mine").__aenter__()
            hold.usage(cost=0.5)
    async with Penia("http://127.0.0.1:9") as nobody:
        with pytest.raises(GatewayUnreachable):
            await nobody.check(estimated_cost=1)

    assert asks.value.detail["approval_id"].startswith("ap_")


async def test_check_and_record(start: Start) -> None:
    """What would pass, and what was used without a hold."""
    penia = await start(budgets=({"name": "Wall", "daily_limit": 1, "enforcement": "block"},))
    async with Penia(penia.url, component="rhetor") as client:
        recorded = await client.record(provider="openai", model="gpt-4o", cost=0.75, input_tokens=10)
        fits = await client.check(estimated_cost=0.25)
        exceeds = await client.check(estimated_cost=0.5)

    assert (recorded["component"], recorded["cost_basis"]) == ("rhetor", "client")
    assert (fits["allowed"], exceeds["code"]) == (True, "budget_exceeded")
