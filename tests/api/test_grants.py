"""Top-ups of one window: in force when the ledger has them, gone with the window, audited."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from penia_proxy.clock import iso
from tests.api.client import NOON, Api


async def fits(api: Api, usd: float) -> bool:
    answer = await api.post("/check", {"component": "rhetor", "estimated_cost": usd})
    return bool(answer.body["allowed"])


async def summary(api: Api, budget_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = (await api.get(f"/budgets/{budget_id}/summary")).body[0]
    return shown


async def test_a_grant_is_in_force_when_it_is_acknowledged(api: Api) -> None:
    """The next verdict counts it; the summary and the live state show own limit and grants as one."""
    budget_id = await api.budget(daily_limit=1, enforcement="block")
    assert not await fits(api, 1.5)

    answer = await api.post(f"/budgets/{budget_id}/grants", {"period": "daily", "amount": 0.5, "reason": "a late run"})

    assert answer.status == 201
    assert (answer.body["window_start"], answer.body["counts"]) == ("2026-11-23T00:00:00.000000Z", True)
    assert await fits(api, 1.5)
    assert not await fits(api, 1.51)
    shown = await summary(api, budget_id)
    assert (shown["limit"], shown["granted"], shown["remaining"]) == (1.5, 0.5, 1.5)
    socket = await api.listen()
    await socket.send_json({"type": "subscribe", "channels": ["budget_updates"]})
    await socket.receive_json()
    assert (await socket.receive_json())["data"]["budgets"][0]["daily"]["limit"] == 1.5


async def test_a_grant_is_gone_with_its_window(api: Api) -> None:
    """Tomorrow the limit is the budget's own; the grant stays listed and says that it no longer counts."""
    budget_id = await api.budget(daily_limit=1, enforcement="block")
    await api.post(f"/budgets/{budget_id}/grants", {"period": "daily", "amount": 0.5, "reason": "a late run"})

    api.clock.move(timedelta(days=1))

    assert not await fits(api, 1.5)
    assert (await summary(api, budget_id))["granted"] == 0
    listed = (await api.get(f"/budgets/{budget_id}/grants")).body
    assert (listed["total"], listed["items"][0]["counts"]) == (1, False)


async def test_a_grant_expires_at_its_instant(api: Api) -> None:
    """Nothing runs at that instant: the next verdict simply does not count it."""
    budget_id = await api.budget(daily_limit=1, enforcement="block")
    grant = {"period": "daily", "amount": 0.5, "reason": "a late run", "expires_at": iso(NOON + timedelta(hours=1))}
    await api.post(f"/budgets/{budget_id}/grants", grant)

    api.clock.move(timedelta(hours=1) - timedelta(microseconds=1))
    assert await fits(api, 1.5)
    api.clock.move(timedelta(microseconds=1))

    assert not await fits(api, 1.5)
    assert (await summary(api, budget_id))["limit"] == 1


async def test_a_changed_budget_keeps_its_grants(api: Api) -> None:
    """A new limit and what was granted add up, also after the calendar moved."""
    budget_id = await api.budget(daily_limit=1)
    await api.post(f"/budgets/{budget_id}/grants", {"period": "daily", "amount": 0.5, "reason": "a late run"})

    await api.put(f"/budgets/{budget_id}", {"daily_limit": 2, "timezone": "Asia/Kathmandu"})

    assert (await summary(api, budget_id))["limit"] == 2.5


async def test_grants_are_listed_newest_first_and_audited(api: Api) -> None:
    """Who gave what and why is in the audit log, in the same transaction as the grant."""
    budget_id = await api.budget(daily_limit=1)
    for reason in ("first", "second"):
        api.clock.move(timedelta(minutes=1))
        await api.post(f"/budgets/{budget_id}/grants", {"period": "daily", "amount": 0.5, "reason": reason})

    listed = (await api.get(f"/budgets/{budget_id}/grants", limit=1)).body

    assert (listed["total"], [one["reason"] for one in listed["items"]]) == (2, ["second"])
    async with api.services.ledger.queries._engine.connect() as connection:
        rows = await connection.exec_driver_sql(
            "SELECT actor, subject, details ->> '$.reason', details ->> '$.amount_nanos'"
            " FROM audit_log WHERE action = 'grant' ORDER BY seq"
        )
        assert [tuple(row) for row in rows] == [
            ("api", budget_id, "first", 500_000_000),
            ("api", budget_id, "second", 500_000_000),
        ]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"period": "monthly"}, 422, "period"),
        ({"period": "yearly"}, 400, None),
        ({"amount": 0}, 422, "amount"),
        ({"amount": 0.0000000001}, 422, "amount"),
        ({"amount": 1_000_000_000}, 422, "amount"),
        ({"reason": ""}, 422, "reason"),
        ({"expires_at": iso(NOON)}, 422, "expires_at"),
        ({"window": "today"}, 422, "window"),
    ],
)
async def test_a_wrong_grant_is_refused_by_field(
    api: Api, body: dict[str, Any], status: int, field: str | None
) -> None:
    """Nothing is granted: no limit of that period, no money, too much, no reason, or over before it begins."""
    budget_id = await api.budget(daily_limit=1)

    answer = await api.post(
        f"/budgets/{budget_id}/grants", {"period": "daily", "amount": 1, "reason": "a late run", **body}
    )

    assert answer.status == status
    assert field is None or answer.fields == [field]
    assert (await api.get(f"/budgets/{budget_id}/grants")).body["total"] == 0


async def test_an_inactive_budget_takes_no_grant(api: Api) -> None:
    """It covers no call."""
    budget_id = await api.budget(daily_limit=1)
    await api.delete(f"/budgets/{budget_id}")

    answer = await api.post(f"/budgets/{budget_id}/grants", {"period": "daily", "amount": 1, "reason": "a late run"})

    assert (answer.status, answer.code) == (409, "conflict")


async def test_there_are_only_so_many_grants_to_add_up(api: Api) -> None:
    """Every verdict adds them up, so a window takes a hundred."""
    budget_id = await api.budget(daily_limit=1)
    grant = {"period": "daily", "amount": 1, "reason": "again"}

    answers = [(await api.post(f"/budgets/{budget_id}/grants", grant)).status for _ in range(101)]

    assert answers == [201] * 100 + [409]
    assert (await summary(api, budget_id))["limit"] == 101


async def test_a_grant_id_counts_once(api: Api) -> None:
    """Sent again, also at once, also when it is over, it is the first grant; nothing more is given."""
    budget_id = await api.budget(daily_limit=1)
    end = iso(NOON + timedelta(hours=1))
    grant = {"period": "daily", "amount": 0.5, "reason": "a late run", "expires_at": end, "grant_id": "late-run:1"}
    path = f"/budgets/{budget_id}/grants"

    answers = await asyncio.gather(*(api.post(path, grant) for _ in range(20)))
    assert sorted(one.status for one in answers) == [200] * 19 + [201]
    assert {one.body["grant_id"] for one in answers} == {"late-run:1"}
    assert len({one.body["granted_at"] for one in answers}) == 1
    assert (await summary(api, budget_id))["limit"] == 1.5

    api.clock.move(timedelta(hours=2))
    again = await api.post(path, grant)
    assert (again.status, again.body["counts"]) == (200, False)
    assert (await api.get(path)).body["total"] == 1


@pytest.mark.parametrize("other", [{"amount": 0.6}, {"reason": "no"}, {"period": "monthly"}, {"expires_at": None}])
async def test_a_grant_id_of_something_else_is_refused(api: Api, other: dict[str, Any]) -> None:
    """Another content, or another budget, under the same id is a mistake; nothing is given."""
    budget_id, another = await api.budget(daily_limit=1, monthly_limit=9), await api.budget(daily_limit=1)
    end = iso(NOON + timedelta(hours=1))
    grant = {"period": "daily", "amount": 0.5, "reason": "a late run", "expires_at": end, "grant_id": "g1"}
    await api.post(f"/budgets/{budget_id}/grants", grant)

    for path, body in ((budget_id, {**grant, **other}), (another, grant)):
        answer = await api.post(f"/budgets/{path}/grants", body)
        assert (answer.status, answer.code) == (409, "conflict")
    assert [(await summary(api, one))["limit"] for one in (budget_id, another)] == [1.5, 1]
