"""What a call was adjusted to before its bill came is replaced by the bill: the one, or the other, and never both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import orjson
import pytest

from penia_proxy.app import Gateway
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import SystemClock
from penia_proxy.gateway import works
from penia_proxy.ledger.verify import verify
from tests.gateways import Running, Start
from tests.http.desk import before, call, desk
from tests.ledger.making import record

COST = 1000 * 0.25e-6 + 100 * 2e-6
"""gpt-5-mini: $0.25 and $2 a million (genai-prices 0.2.3)."""
ASKED = {"model": "gpt-5-mini", "input": "hi", "max_output_tokens": 400, "background": True}
BUDGET = ({"name": "b", "daily_limit": 5.0, "enforcement": "warn"},)


def response(status: str, **members: Any) -> dict[str, Any]:
    usage = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100} if status == "completed" else None
    return {"id": "resp_1", "object": "response", "status": status, "model": "gpt-5-mini", "usage": usage, **members}


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no poll of ours come between a test's own."""
    monkeypatch.setattr(works, "POLL_S_MIN", 3600.0)


@pytest.fixture
async def penia(start: Start) -> AsyncIterator[Running]:
    """Give a gateway whose file has a guess, ``made``, of a response that has its bill by now."""
    async with desk() as provider, AsyncExitStack() as stack:
        provider.says("POST /v1/responses", response("queued"))
        provider.says("GET /v1/responses/resp_1", response("completed"))
        penia = await before(provider, start, "openai", budgets=BUDGET)
        await call(penia, "POST /openai/v1/responses", ASKED, X_Penia_Request_Id="made")
        yield await again(penia, stack)


async def again(penia: Running, stack: AsyncExitStack) -> Running:
    """Stop a gateway and start another on its file."""
    await penia.gateway.stop()
    gateway = await Gateway(penia.gateway.config, SystemClock()).start()
    stack.push_async_callback(gateway.stop)
    return Running(gateway, penia.sandbox, penia.session)


async def adjusted(penia: Running, cost: float, **more: Any) -> dict[str, Any]:
    body = {"cost": cost, "reason": "the invoice says so", **more}
    status, said = await penia.api("POST", "/api/v1/usage/records/made/adjust", body)
    assert status == 201, said
    found: dict[str, Any] = said
    return found


async def billed(penia: Running) -> None:
    """Let the bill be read."""
    assert (await call(penia, "GET /openai/v1/responses/resp_1"))[0] == 200


async def cost_of(penia: Running) -> float:
    """Return what the call comes to, having checked that every figure says the same."""
    total = sum(one["cost"] or 0.0 for one in await penia.records())
    _, said = await penia.api("GET", "/api/v1/usage/records/made/explain")
    assert said["total_cost"] == pytest.approx(total, abs=1e-12)
    (budget,) = penia.gateway.book
    _, (daily, *_) = await penia.api("GET", f"/api/v1/budgets/{budget.budget_id}/summary")
    assert daily["spent"] == pytest.approx(total, abs=1e-12)
    assert daily["request_count"] == 1
    assert daily["has_unpriced_usage"] is False
    await penia.gateway.ledger.caught_up()
    assert await verify(penia.gateway.config.ledger.url) == []
    return total


@pytest.mark.parametrize("costs", [(0.9,), (0.0,), (0.9, 0.2)])
async def test_the_bill_replaces_what_was_adjusted_before(penia: Running, costs: tuple[float, ...]) -> None:
    """However it was adjusted, and as often: the exact bill wins, says so, and comes once."""
    ids = [(await adjusted(penia, cost))["record_id"] for cost in costs]
    for _ in range(3):
        await billed(penia)

    assert await cost_of(penia) == pytest.approx(COST, abs=1e-12)
    assert len(await penia.records()) == 2 + len(costs)
    _, said = await penia.api("GET", "/api/v1/usage/records/made/explain")
    assert [one["record_id"] for one in said["corrections"][:-1]] == ids
    last = said["corrections"][-1]
    assert all(name in last["why"] for name in ids)
    assert last["cost"] == pytest.approx(COST - costs[-1], abs=1e-12)
    assert said["corrections"][0]["why"] == "the invoice says so"
    assert last["at"] is not None
    _, correction = await penia.api("GET", f"/api/v1/usage/records/{last['record_id']}/explain")
    assert correction["reason"] == last["why"]


async def test_what_is_adjusted_after_the_bill_stays(penia: Running) -> None:
    """Somebody who knows the bill has the last word; reading it again changes nothing."""
    await billed(penia)
    await adjusted(penia, 0.3)
    await billed(penia)

    assert await cost_of(penia) == pytest.approx(0.3, abs=1e-12)


async def test_a_bill_and_adjustments_at_once_are_one_after_another(penia: Running) -> None:
    """Whichever is last decides; the sum of both is never what it costs."""
    await asyncio.gather(*(adjusted(penia, 0.3) for _ in range(5)), *(billed(penia) for _ in range(5)))

    total = await cost_of(penia)

    assert min(abs(total - 0.3), abs(total - COST)) < 1e-12


async def test_new_prices_leave_what_was_adjusted_and_billed(penia: Running) -> None:
    """Pricing the past again adds nothing to a guess, neither before its bill nor after."""
    since = {"since": "2020-01-01T00:00:00Z"}
    await adjusted(penia, 0.3)
    _, before_it = await penia.api("POST", "/api/v1/prices/reprice", since)
    await billed(penia)
    _, after_it = await penia.api("POST", "/api/v1/prices/reprice", since)

    assert await cost_of(penia) == pytest.approx(COST, abs=1e-12)
    assert before_it["kept"] == after_it["kept"] == {"bill_to_come": 1}


async def test_what_had_no_price_gets_one_once(start: Start) -> None:
    """By hand or by its bill, a call leaves those without a price once."""
    async with desk() as provider, AsyncExitStack() as stack:
        provider.says("GET /v1/responses/resp_1", response("completed"))
        penia = await before(provider, start, "openai", budgets=BUDGET)
        (budget,) = penia.gateway.book
        crashed = replace(
            record("made", once_key="openai:resp_1", status="crashed", usage=Usage()),
            cost_basis="unpriced",
            cost_nanos=None,
            input_cost_nanos=None,
            timestamp=penia.gateway.clock.now(),
            budget_ids=(budget.budget_id,),
        )
        other = replace(crashed, record_id="other", once_key=None)
        await penia.gateway.ledger.append(crashed, "")
        await penia.gateway.ledger.append(other, "")
        later = await again(penia, stack)
        assert (await adjusted(later, 0.9))["cost_basis"] == "repriced"
        assert (await adjusted(later, 0.8))["cost_basis"] == "client"
        await billed(later)

        assert sum(one["cost"] or 0.0 for one in await later.records()) == pytest.approx(COST, abs=1e-12)
        _, (daily, *_) = await later.api("GET", f"/api/v1/budgets/{budget.budget_id}/summary")
        assert daily["has_unpriced_usage"] is True  # of the other
        await later.api("POST", "/api/v1/usage/records/other/adjust", {"cost": 0, "reason": "free after all"})
        _, (daily, *_) = await later.api("GET", f"/api/v1/budgets/{budget.budget_id}/summary")
        assert daily["has_unpriced_usage"] is False
        assert await verify(later.gateway.config.ledger.url) == []


async def test_a_hold_of_a_components_own_is_settled_at_what_it_used(start: Start) -> None:
    """One that expired, was adjusted, and whose holder speaks at last costs what that says."""
    penia = await start(budgets=BUDGET)
    asked = {"component": "gpu", "provider": "openai", "model": "gpt-5-mini", "estimated_cost": 0.5, "ttl_seconds": 1}
    status, hold = await penia.api("POST", "/api/v1/holds", asked)
    assert status == 201, hold
    name = hold["hold_id"]
    while await penia.record(name) is None:
        await asyncio.sleep(0.05)
    await penia.api("POST", f"/api/v1/usage/records/{name}/adjust", {"cost": 0.2, "reason": "a guess"})
    for expected in (201, 200):
        status, said = await penia.api("POST", f"/api/v1/holds/{name}/settle", {"cost": 0.3, "output_tokens": 7})
        assert status == expected, said

    assert sum(one["cost"] for one in await penia.records()) == pytest.approx(0.3, abs=1e-12)
    assert sum(one["output_tokens"] for one in await penia.records()) == 7


async def test_results_without_an_owner_take_an_adjusted_guess_back(start: Start) -> None:
    """What a guess was adjusted to goes with the guess, once the record that has the bill is known to be its."""
    chat = {"id": "c", "object": "chat.completion", "model": "gpt-5-mini", "choices": [], "usage": {}}
    chat["usage"] = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    batch = {"id": "batch_1", "object": "batch", "status": "validating", "output_file_id": None}
    async with desk() as provider, AsyncExitStack() as stack:
        provider.says("POST /v1/batches", batch)
        provider.says("GET /v1/batches/batch_1", batch | {"status": "completed", "output_file_id": "file-out"})
        provider.says(
            "GET /v1/files/file-out/content",
            orjson.dumps({"custom_id": "1", "response": {"status_code": 200, "body": chat}, "error": None}),
        )
        penia = await before(provider, start, "openai", budgets=BUDGET)
        made = {"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        await call(penia, "POST /openai/v1/batches", made, X_Penia_Request_Id="made")
        later = await again(penia, stack)
        await adjusted(later, 0.7)
        for path in ("files/file-out/content", "batches/batch_1", "files/file-out/content", "batches/batch_1"):
            await call(later, f"GET /openai/v1/{path}")

        records = await later.records()
        assert sum(one["cost"] or 0.0 for one in records) == pytest.approx(COST / 2, abs=1e-12)
        (taken_back,) = [one for one in records if "billed_as" in one["metadata"]]
        (its_bill,) = [one for one in records if one["record_id"] == taken_back["metadata"]["billed_as"]]
        assert its_bill["cost"] == pytest.approx(COST / 2, abs=1e-12)
        assert await verify(later.gateway.config.ledger.url) == []
