"""Budgets over HTTP: create, list, change, deactivate, and what each refuses."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from penia_proxy.api.services import Services
from penia_proxy.budget.engine import Ask
from penia_proxy.budget.scope import Facts
from penia_proxy.clock import iso
from penia_proxy.errors import StoreUnavailable
from penia_proxy.ledger.ledger import Ledger
from tests.api.client import NOON, Api, MovedClock


async def test_a_created_budget_is_shown_as_documented(api: Api) -> None:
    """POST answers 201 with every member of api.md §2, defaults filled in, and GET shows the same."""
    created = await api.post("/budgets", {"name": "Default", "daily_limit": 5, "weekly_limit": 25.0})

    assert created.status == 201
    assert created.body.pop("warnings") == []
    assert created.body == {
        "budget_id": created.body["budget_id"],
        "name": "Default",
        "description": None,
        "owner": None,
        "hourly_limit": None,
        "daily_limit": 5.0,
        "weekly_limit": 25.0,
        "monthly_limit": None,
        "total_limit": None,
        "scope": {"components": [], "providers": [], "models": [], "tags": {}},
        "enforcement": "warn",
        "overrun": "finish",
        "unpriced": "warn",
        "shadow": False,
        "warn_at": 0.8,
        "timezone": "UTC",
        "week_start": "monday",
        "month_start_day": 1,
        "is_active": True,
        "created_at": iso(NOON),
        "updated_at": iso(NOON),
        "metadata": {},
    }
    assert (await api.get(f"/budgets/{created.body['budget_id']}")).body == created.body


async def test_a_created_budget_is_in_force_and_durable(api: Api, services: Services) -> None:
    """The book has it for the next verdict, and the ledger for the next start."""
    budget_id = await api.budget(enforcement="block", daily_limit=1)

    assert [budget.budget_id for budget in services.book.active] == [budget_id]
    assert [budget.budget_id for budget in await services.ledger.budgets()] == [budget_id]


async def test_an_empty_list_is_a_list(api: Api) -> None:
    """Without budgets, the list has its usual shape."""
    assert (await api.get("/budgets")).body == {"items": [], "total": 0, "page": 1, "limit": 20}


async def test_the_list_pages_and_counts_all(api: Api) -> None:
    """`total` counts all matches, pages follow each other, and a page beyond the end is empty."""
    ids = [await api.budget(name=f"B{number}") for number in range(5)]

    second = await api.get("/budgets", page=2, limit=2)

    assert ([item["budget_id"] for item in second.body["items"]], second.body["total"]) == (ids[2:4], 5)
    assert (await api.get("/budgets", page=9, limit=2)).body["items"] == []


async def test_the_list_filters(api: Api) -> None:
    """`is_active`, `owner` and `component` narrow the list; a component is matched by scope; empty asks for nothing."""
    wide = await api.budget(name="wide", owner="ann")
    narrow = await api.budget(name="narrow", scope={"components": ["ci-*"]})
    await api.delete(f"/budgets/{wide}")

    async def ids(**query: Any) -> list[str]:
        return [item["budget_id"] for item in (await api.get("/budgets", **query)).body["items"]]

    assert await ids(is_active="true") == [narrow]
    assert await ids(is_active="false") == [wide]
    assert await ids(owner="ann") == [wide]
    assert await ids(component="ci-bot") == [wide, narrow]
    assert await ids(component="rhetor", owner="", is_active="") == [wide]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\r\nSet-Cookie: b"}, "name"),
        ({"name": "x", "daily_limit": -1}, "daily_limit"),
        ({"name": "x", "daily_limit": "5"}, "daily_limit"),
        ({"name": "x", "daily_limit": True}, "daily_limit"),
        ({"name": "x", "daily_limit": 1e12}, "daily_limit"),
        ({"name": "x", "dayly_limit": 5}, "dayly_limit"),
        ({"name": "x", "enforcement": "maybe"}, "enforcement"),
        ({"name": "x", "overrun": "sometimes"}, "overrun"),
        ({"name": "x", "timezone": "Europe/Nowhere"}, "timezone"),
        ({"name": "x", "month_start_day": 32}, "month_start_day"),
        ({"name": "x", "warn_at": 0}, "warn_at"),
        ({"name": "x", "scope": {"component": ["a"]}}, "scope.component"),
        ({"name": "x", "scope": {"models": ["x" * 201]}}, "scope.models.0"),
        ({"name": "x", "metadata": {"big": "x" * 20_000}}, "metadata"),
        ({"name": "x", "budget_id": "b_mine"}, "budget_id"),
    ],
)
async def test_a_wrong_budget_is_refused_by_field(api: Api, body: dict[str, Any], field: str) -> None:
    """A schema violation is a 422 that names the field, and creates nothing."""
    answer = await api.post("/budgets", body)

    assert (answer.status, answer.code, answer.fields) == (422, "invalid_fields", [field])
    assert (await api.get("/budgets")).body["total"] == 0


async def test_each_wrong_field_has_its_entry(api: Api) -> None:
    """All that is wrong is said at once, and no value is quoted back."""
    answer = await api.post("/budgets", {"daily_limit": "sk-secret", "shadow": "sk-secret"})

    assert sorted(answer.fields) == ["daily_limit", "name", "shadow"]
    assert "sk-secret" not in str(answer.body)


async def test_put_changes_what_it_names(api: Api, clock: MovedClock) -> None:
    """Other members stay, null clears a limit, and `updated_at` moves."""
    budget_id = await api.budget(daily_limit=5, weekly_limit=25, owner="ann")
    clock.move(timedelta(seconds=1))

    changed = await api.put(f"/budgets/{budget_id}", {"daily_limit": 6, "weekly_limit": None, "enforcement": "block"})

    assert changed.status == 200
    assert (changed.body["daily_limit"], changed.body["weekly_limit"], changed.body["owner"]) == (6.0, None, "ann")
    assert changed.body["unpriced"] == "block"
    assert (changed.body["created_at"], changed.body["updated_at"]) == (iso(NOON), iso(clock.now()))
    assert {**(await api.get(f"/budgets/{budget_id}")).body, "warnings": []} == changed.body


async def test_a_budget_can_be_sent_back_whole(
    api: Api, clock: MovedClock, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What GET showed is a PUT that changes and writes nothing; with one edit it is that edit."""
    budget_id = await api.budget(daily_limit=5, scope={"components": ["ci-*"], "tags": {"team": "search"}})
    shown = (await api.get(f"/budgets/{budget_id}")).body
    before = services.book.get(budget_id)
    clock.move(timedelta(seconds=1))

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "save_budget", None)
        same = await api.put(f"/budgets/{budget_id}", {**shown, "unpriced": None})

    assert same.body == {**shown, "warnings": []}
    assert services.book.get(budget_id) is before
    edited = await api.put(f"/budgets/{budget_id}", {**shown, "daily_limit": 7})
    assert (edited.status, edited.body["daily_limit"]) == (200, 7.0)


async def test_a_stale_budget_sent_back_is_a_conflict(api: Api, clock: MovedClock) -> None:
    """Of two people who edit what they read, the second is told instead of undoing the first."""
    budget_id = await api.budget(daily_limit=5)
    shown = (await api.get(f"/budgets/{budget_id}")).body
    clock.move(timedelta(seconds=1))
    await api.put(f"/budgets/{budget_id}", {"daily_limit": 6})

    late = await api.put(f"/budgets/{budget_id}", {**shown, "owner": "bob"})

    assert (late.status, late.code) == (409, "conflict")
    assert (await api.get(f"/budgets/{budget_id}")).body["daily_limit"] == 6.0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": None}, "name"),
        ({"daily_limit": -1}, "daily_limit"),
        ({"timezone": "Nowhere"}, "timezone"),
        ({"limit": 1}, "limit"),
        ({"budget_id": "b_other"}, "budget_id"),
        ({"created_at": "2020-01-01T00:00:00.000000Z"}, "created_at"),
    ],
)
async def test_a_wrong_change_is_refused_by_field(api: Api, body: dict[str, Any], field: str) -> None:
    """A change that would make a wrong budget is a 422, and changes nothing."""
    budget_id = await api.budget(daily_limit=5)
    shown = (await api.get(f"/budgets/{budget_id}")).body

    answer = await api.put(f"/budgets/{budget_id}", body)

    assert (answer.status, answer.fields) == (422, [field])
    assert (await api.get(f"/budgets/{budget_id}")).body == shown


async def test_concurrent_changes_are_all_kept(api: Api) -> None:
    """Changes of different members at the same time do not undo each other."""
    budget_id = await api.budget()
    changes = [{"hourly_limit": 1}, {"daily_limit": 2}, {"weekly_limit": 3}, {"monthly_limit": 4}, {"owner": "ann"}]

    await asyncio.gather(*(api.put(f"/budgets/{budget_id}", change) for change in changes))

    shown = (await api.get(f"/budgets/{budget_id}")).body
    assert {name: shown[name] for change in changes for name in change} == {
        "hourly_limit": 1.0,
        "daily_limit": 2.0,
        "weekly_limit": 3.0,
        "monthly_limit": 4.0,
        "owner": "ann",
    }


async def test_delete_deactivates_and_twice_is_once(api: Api, services: Services, clock: MovedClock) -> None:
    """A deleted budget covers nothing any more and is still there; PUT brings it back."""
    budget_id = await api.budget(daily_limit=5)

    first = await api.delete(f"/budgets/{budget_id}")
    clock.move(timedelta(seconds=1))
    second = await api.delete(f"/budgets/{budget_id}")

    assert (first.status, first.body["is_active"]) == (200, False)
    assert first.body["message"]
    assert second.body == first.body
    assert services.book.active == ()
    assert (await api.get(f"/budgets/{budget_id}")).body["is_active"] is False
    assert (await api.put(f"/budgets/{budget_id}", {"is_active": True})).body["is_active"] is True
    assert len(services.book.active) == 1


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/summary")])
async def test_a_budget_that_does_not_exist_is_not_found(api: Api, method: str, path: str) -> None:
    """An unknown id is a 404, whatever is asked of it."""
    answer = await api.ask(method, "/budgets/b_none" + path, data=b"{}" if method == "PUT" else None)

    assert (answer.status, answer.code) == (404, "not_found")


async def test_changes_survive_a_restart_with_their_history(api: Api, services: Services) -> None:
    """What the API changed is what the ledger reads back."""
    budget_id = await api.budget(daily_limit=5)
    await api.put(f"/budgets/{budget_id}", {"daily_limit": 0.1, "timezone": "Europe/Berlin"})

    (kept,) = await services.ledger.budgets()

    assert kept == services.book.get(budget_id)
    assert kept.limits == {"daily": 100_000_000}


async def test_a_new_calendar_recounts_what_was_spent(api: Api, services: Services, clock: MovedClock) -> None:
    """After a change of time zone, the figures are those of the new windows."""
    budget_id = await api.budget(daily_limit=5)
    await api.record(cost=1, timestamp="2026-11-22T23:30:00Z")
    await api.record(cost=2, timestamp="2026-11-23T11:00:00Z")

    async def spent() -> float:
        return float((await api.get(f"/budgets/{budget_id}/summary")).body[0]["spent"])

    assert await spent() == 2.0
    changed = await api.put(f"/budgets/{budget_id}", {"timezone": "Europe/Berlin"})  # midnight is 23:00 UTC
    assert changed.status == 200
    assert await spent() == 3.0


async def test_a_calendar_does_not_change_under_a_call(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a call is in flight its hold is in the old windows: 409 and nothing changed; after it, it is."""
    budget_id = await api.budget(daily_limit=5)
    facts = Facts("rhetor", "openai", "gpt-4o", {})
    verdict = await services.engine.reserve(facts, Ask(1_000, 1_000), services.clock.now())

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "save_budget", None)
        during = await api.put(f"/budgets/{budget_id}", {"timezone": "Europe/Berlin", "daily_limit": 6})

    assert (during.status, during.code) == (409, "conflict")
    shown = (await api.get(f"/budgets/{budget_id}")).body
    assert (shown["timezone"], shown["daily_limit"]) == ("UTC", 5.0)
    await services.counters.release(verdict.legs)
    assert (await api.put(f"/budgets/{budget_id}", {"timezone": "Europe/Berlin"})).status == 200


async def test_a_calendar_that_cannot_settle_is_put_back(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where spend never stands still while the figures are read, the change is undone in the ledger, too."""
    budget_id = await api.budget(daily_limit=5)
    real = services.ledger.caught_up

    async def busy() -> None:
        await services.engine.reserve(Facts("rhetor", "openai", "gpt-4o", {}), Ask(1, 1), services.clock.now())
        await real()

    monkeypatch.setattr(services.ledger, "caught_up", busy)
    answer = await api.put(f"/budgets/{budget_id}", {"timezone": "Europe/Berlin"})

    assert (answer.status, answer.code) == (409, "conflict")
    (kept,) = await services.ledger.budgets()
    assert kept == services.book.get(budget_id)
    assert kept.spec.timezone == "UTC"


async def test_a_store_that_cannot_write_changes_nothing(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the ledger does not acknowledge, the budget is not in force, and the client may retry."""

    async def refuse(*_anything: object) -> None:
        raise StoreUnavailable("the ledger cannot write")

    monkeypatch.setattr(Ledger, "save_budget", refuse)
    answer = await api.post("/budgets", {"name": "Default"})

    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "store_unavailable", "1")
    assert list(services.book) == []
