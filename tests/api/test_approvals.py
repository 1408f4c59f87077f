"""Requests for approval, as the control plane answers them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from penia_proxy.budget.engine import Ask
from penia_proxy.budget.scope import Facts
from penia_proxy.watch.approvals import Asking
from tests.api.client import Api

USD = 1_000_000_000
FACTS = Facts("rhetor", "openai", "gpt-4o", {})


async def refused(api: Api, usd: float) -> str:
    """Let a call be refused; return the request it made."""
    services, now = api.services, api.clock.now()
    verdict = await services.engine.reserve(FACTS, Ask(int(usd * USD), None), now)
    assert verdict.code == "approval_required"
    return services.refusing.approvals.ask(verdict, Asking(FACTS, "r_1", now)) or ""


async def shown(api: Api, approval_id: str) -> dict[str, Any]:
    body: dict[str, Any] = (await api.get(f"/approvals/{approval_id}")).body
    return body


async def test_what_is_needed_is_what_the_largest_call_lacks_now(api: Api) -> None:
    """Of several refused calls the largest must pass, beside what has been spent since."""
    await api.budget(daily_limit=1, enforcement="approve")
    ids = {await refused(api, usd) for usd in (1.25, 1.5, 1.125)}
    (approval_id,) = ids
    assert (await shown(api, approval_id))["needed"] == 0.5
    await api.record(cost=0.75)

    answer = await api.post(f"/approvals/{approval_id}/approve")

    assert answer.body["grant"]["amount"] == 1.25
    assert (await api.post("/check", {"component": "rhetor", "estimated_cost": 1.5})).body["allowed"] is True
    assert (await api.post("/check", {"component": "rhetor", "estimated_cost": 1.51})).body["allowed"] is False


async def test_a_request_lapses_with_its_window(api: Api) -> None:
    """Tomorrow nobody can answer it, and a call that is refused then asks anew."""
    await api.budget(daily_limit=1, enforcement="approve")
    approval_id = await refused(api, 1.5)

    api.clock.move(timedelta(days=1))

    assert (await shown(api, approval_id))["state"] == "lapsed"
    assert (await api.get("/approvals", state="pending")).body["total"] == 0
    assert (await api.get("/approvals", state="lapsed")).body["total"] == 1
    assert (await api.post(f"/approvals/{approval_id}/approve")).status == 409
    assert (await api.post(f"/approvals/{approval_id}/deny")).status == 409
    assert await refused(api, 1.5) != approval_id


async def test_an_alert_of_a_request_that_lapsed_is_resolved(api: Api) -> None:
    """Whoever looks at what is open does not find what nobody can answer any more."""
    await api.budget(daily_limit=1, enforcement="approve")
    await refused(api, 1.5)
    await api.services.alerts.look()
    (before,) = (await api.get("/alerts")).body["items"]

    api.clock.move(timedelta(days=1))
    await api.services.alerts.look()

    (after,) = (await api.get("/alerts")).body["items"]
    assert (before["resolved_at"], after["alert_id"]) == (None, before["alert_id"])
    assert after["resolved_at"] == "2026-11-24T12:00:00.000000Z"


async def test_a_request_is_answered_once(api: Api) -> None:
    """Of two that answer at the same time, one is told that it was answered before."""
    await api.budget(daily_limit=1, enforcement="approve")
    approval_id = await refused(api, 1.5)

    answers = await asyncio.gather(
        api.post(f"/approvals/{approval_id}/approve", {"amount": 1}), api.post(f"/approvals/{approval_id}/deny")
    )

    assert sorted(answer.status for answer in answers) == [200, 409]


async def test_answers_are_audited(api: Api) -> None:
    """Who approved and who denied, with the request and the grant."""
    await api.budget(daily_limit=1, enforcement="approve")
    await api.post(f"/approvals/{await refused(api, 1.5)}/approve", {"amount": 1, "reason": "fine"})
    await api.post(f"/approvals/{await refused(api, 2.5)}/deny")

    async with api.services.ledger.queries._engine.connect() as connection:
        rows = await connection.exec_driver_sql(
            "SELECT actor, action, details ->> '$.reason', details ->> '$.grant.amount_nanos' FROM audit_log"
            " WHERE action IN ('approve', 'deny') ORDER BY seq"
        )
        assert [tuple(row) for row in rows] == [("api", "approve", "fine", USD), ("api", "deny", None, None)]


async def test_what_does_not_exist_cannot_be_answered(api: Api) -> None:
    """404, for a wrong id."""
    assert (await api.get("/approvals/ap_none")).status == 404
    assert (await api.post("/approvals/ap_none/approve")).status == 404
    assert (await api.post("/approvals/ap_none/deny")).status == 404


async def test_a_limit_that_is_gone_is_not_topped_up(api: Api) -> None:
    """The request is about a limit that the budget no longer has."""
    budget_id = await api.budget(daily_limit=1, enforcement="approve")
    approval_id = await refused(api, 1.5)
    await api.put(f"/budgets/{budget_id}", {"daily_limit": None})

    assert (await api.post(f"/approvals/{approval_id}/approve")).status == 409
    assert (await shown(api, approval_id))["needed"] is None


async def closed(api: Api, approval_id: str) -> tuple[str, str]:
    """Return state and reason of a request that nobody is asked about any more."""
    services = api.services
    await services.alerts.look()
    body = await shown(api, approval_id)
    assert body["needed"] is None
    assert services.refusing.approvals.pending(api.clock.now()) == 0
    assert (await api.get("/approvals", state="pending")).body["total"] == 0
    assert (await api.get("/approvals", state=body["state"])).body["total"] == 1
    (alert,) = (await api.get("/alerts", alert_type="approval")).body["items"]
    assert alert["resolved_at"] is not None
    assert (await api.post(f"/approvals/{approval_id}/approve")).status == 409
    assert await services.ledger.rulings.pending(api.clock.now()) == []
    return body["state"], body["reason"]


async def test_a_grant_that_makes_room_answers_the_request(api: Api) -> None:
    """Approving it afterwards would grant it twice; a grant that is too small answers nothing."""
    budget_id = await api.budget(daily_limit=1, enforcement="approve")
    approval_id = await refused(api, 1.5)
    grant = {"period": "daily", "amount": 0.25, "reason": "a little"}
    little = await api.post(f"/budgets/{budget_id}/grants", grant)
    assert (little.body["approval_id"], (await shown(api, approval_id))["state"]) == (None, "pending")

    enough = await api.post(f"/budgets/{budget_id}/grants", {**grant, "reason": "enough"})

    assert (enough.status, enough.body["approval_id"]) == (201, approval_id)
    assert await closed(api, approval_id) == ("approved", "enough")
    assert (await api.get(f"/budgets/{budget_id}/grants")).body["total"] == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"enforcement": "block"}, "The budget no longer asks for approval."),
        ({"shadow": True}, "The budget no longer asks for approval."),
        ({"is_active": False}, "The budget is inactive."),
        ({"daily_limit": None, "weekly_limit": 1}, "The budget no longer has this limit."),
        ({"timezone": "Asia/Tokyo"}, "The budget's calendar has changed."),
        ({"daily_limit": 1.5}, "The limit was raised, and has room for what was refused."),
    ],
)
async def test_a_request_lapses_with_its_reason(api: Api, change: dict[str, Any], why: str) -> None:
    """What a changed budget has no use for waits for nobody."""
    budget_id = await api.budget(daily_limit=1, enforcement="approve")
    approval_id = await refused(api, 1.5)
    await api.put(f"/budgets/{budget_id}", {"name": "Renamed", "daily_limit": 1.25})
    assert (await shown(api, approval_id))["state"] == "pending"

    assert (await api.put(f"/budgets/{budget_id}", change)).status == 200

    assert await closed(api, approval_id) == ("lapsed", why)


async def test_a_request_lapses_with_its_budget(api: Api) -> None:
    """Nothing of a deleted budget waits."""
    budget_id = await api.budget(daily_limit=1, enforcement="approve")
    approval_id = await refused(api, 1.5)

    await api.delete(f"/budgets/{budget_id}")

    assert await closed(api, approval_id) == ("lapsed", "The budget is inactive.")
