"""Corrections of records over HTTP: appended, counted everywhere, once."""

import asyncio
from typing import Any

import pytest

from penia_proxy.api.services import Services
from penia_proxy.budget.windows import EPOCH, WindowKey
from penia_proxy.ledger.verify import verify
from tests.api.client import Api


async def spent(services: Services, budget_id: str) -> tuple[int, int, int]:
    """Return a budget's nano-dollars, requests and tokens of all time."""
    (total,) = await services.counters.read([WindowKey(budget_id, "total", EPOCH)])
    return total.spent_nanos, total.request_count, total.input_tokens


async def adjust(api: Api, which: str, cost: float, **more: Any) -> Any:
    return await api.post(f"/usage/records/{which}/adjust", {"cost": cost, "reason": "credit note", **more})


async def test_an_adjustment_is_a_record_of_the_difference(api: Api) -> None:
    """The first record stays; the correction names it, says why, and carries what is to be added."""
    first = await api.record(cost=0.5, component="apollo", tags={"team": "search"}, task_type="chat")

    answer = await adjust(api, first["record_id"], 0.2)

    assert answer.status == 201
    assert {name: answer.body[name] for name in ("cost", "corrects", "cost_basis", "total_tokens", "timestamp")} == {
        "cost": -0.3,
        "corrects": first["record_id"],
        "cost_basis": "client",
        "total_tokens": 0,
        "timestamp": first["timestamp"],
    }
    assert answer.body["metadata"] == {"reason": "credit note", "adjusted_at": "2026-11-23T12:00:00.000000Z"}
    assert (answer.body["component"], answer.body["tags"]) == ("apollo", {"team": "search"})
    assert (await api.get(f"/usage/records/{first['record_id']}")).body == first


async def test_counters_and_rollups_follow_and_verify_stays_clean(api: Api, services: Services) -> None:
    """Spend and summaries are what the call cost after all, still as one call; the ledger agrees with its counters."""
    budget_id = await api.budget(daily_limit=5)
    record = await api.record(cost=0.5)
    await adjust(api, record["record_id"], 0.2)
    await adjust(api, record["record_id"], 0.7)

    assert await spent(services, budget_id) == (700_000_000, 1, 10)
    summary = (await api.post("/usage/summary", {})).body
    assert (summary["total_cost"], summary["request_count"]) == (0.7, 1)
    assert await verify(services.config.ledger.url) == []


async def test_a_calls_own_window_counts_it(api: Api) -> None:
    """What is corrected today of a call of last week counts where the call does."""
    budget_id = await api.budget(daily_limit=5, monthly_limit=5)
    record = await api.record(cost=0.5, timestamp="2026-11-16T10:00:00Z")

    await adjust(api, record["record_id"], 2)

    daily, monthly = (await api.get(f"/budgets/{budget_id}/summary")).body
    assert (daily["spent"], monthly["spent"]) == (0.0, 2.0)


async def test_a_price_that_was_not_known_can_be_told(api: Api, services: Services) -> None:
    """A record without a cost gets one."""
    budget_id = await api.budget(daily_limit=5)
    record = await api.record(model="no-such-model", cost=None)

    assert (await adjust(api, record["record_id"], 0.4)).body["cost"] == 0.4
    assert (await spent(services, budget_id))[0] == 400_000_000


async def test_the_same_id_again_counts_once(api: Api, services: Services) -> None:
    """The same adjustment under the same id is the first one; another under that id is a conflict."""
    budget_id = await api.budget(daily_limit=5)
    record = await api.record(cost=0.5)

    answers = [await adjust(api, record["record_id"], 0.2, record_id="a-1") for _ in range(2)]
    other = await adjust(api, record["record_id"], 0.3, record_id="a-1")

    assert [answer.status for answer in answers] == [201, 200]
    assert answers[0].body == answers[1].body
    assert (other.status, other.code) == (409, "conflict")
    assert (await spent(services, budget_id))[0] == 200_000_000


async def test_adjustments_at_once_are_one_after_another(api: Api, services: Services) -> None:
    """However many say the same cost at the same time, the call costs that."""
    budget_id = await api.budget(daily_limit=5)
    record = await api.record(cost=0.5)

    await asyncio.gather(*(adjust(api, record["record_id"], 0.2) for _ in range(20)))

    assert (await spent(services, budget_id))[0] == 200_000_000
    assert await verify(services.config.ledger.url) == []


async def test_a_correction_is_not_corrected(api: Api) -> None:
    """A correction has no cost of its own to correct: the refusal names the record that it corrects."""
    record = await api.record(cost=0.5)
    correction = (await adjust(api, record["record_id"], 0.2)).body

    answer = await adjust(api, correction["record_id"], 0.1)

    assert (answer.status, answer.code) == (400, "invalid_request")
    assert record["record_id"] in answer.body["error"]
    assert (await adjust(api, "nobody", 1)).status == 404


@pytest.mark.parametrize("body", [{"cost": -1, "reason": "x"}, {"cost": 1}, {"cost": 1, "reason": ""}, {"reason": "x"}])
async def test_what_is_no_adjustment_is_refused(api: Api, body: dict[str, Any]) -> None:
    """A cost is not negative, and a reason is given."""
    record = await api.record(cost=0.5)

    assert (await api.post(f"/usage/records/{record['record_id']}/adjust", body)).status == 422
