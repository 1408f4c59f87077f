"""Holds of components that call a provider directly: held at once, ended once, never forgotten."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from penia_proxy.api.services import Services
from penia_proxy.ledger.verify import verify
from tests.api.client import Answer, Api

CALL = {"component": "rhetor", "provider": "openai", "model": "gpt-4o", "estimated_cost": 0.5}


async def opened(api: Api, **said: Any) -> str:
    answer = await api.post("/holds", {**CALL, **said})
    assert answer.status == 201, answer.body
    return str(answer.body["hold_id"])


async def stands(api: Api, budget_id: str) -> tuple[float, float]:
    shown = (await api.get(f"/budgets/{budget_id}/summary")).body[0]
    return shown["spent"], shown["held"]


async def sound(api: Api) -> None:
    """Counters, file and proof agree, and nothing is held."""
    assert [tally for tally in api.services.counters._tallies.values() if tally.held_nanos] == []  # type: ignore[attr-defined]
    assert api.services.ledger.holds_open == 0
    assert await verify(api.services.config.ledger.url) == []


async def test_a_hold_is_held_and_settled_at_what_was_used(api: Api) -> None:
    """What is held counts against the budget until the record takes its place."""
    budget_id = await api.budget(daily_limit=1, enforcement="block")
    hold_id = await opened(api)
    assert await stands(api, budget_id) == (0, 0.5)
    assert (await api.post("/holds", {**CALL, "estimated_cost": 0.6})).code == "budget_busy"

    answer = await api.post(f"/holds/{hold_id}/settle", {"cost": 0.2, "input_tokens": 10, "output_tokens": 3})

    assert answer.status == 201
    assert (answer.body["record_id"], answer.body["cost"], answer.body["cost_basis"]) == (hold_id, 0.2, "client")
    assert (answer.body["estimated_cost"], answer.body["status"]) == (0.5, "ok")
    assert await stands(api, budget_id) == (0.2, 0)
    await sound(api)


async def test_tokens_are_priced_as_they_would_be_through_the_gateway(api: Api) -> None:
    """Held at the most that the size can cost under `never`, settled at the catalogue's price of what was used."""
    budget_id = await api.budget(daily_limit=1, overrun="never", enforcement="block")
    size = {"estimated_cost": None, "input_tokens": 1000, "max_output_tokens": 1000}
    body = {name: value for name, value in {**CALL, **size}.items() if value is not None}
    answer = await api.post("/holds", body)
    assert answer.body["amount"] == 0.02125  # the dearest that may apply: priority's $4.25 and $17 a million tokens

    record = await api.post(f"/holds/{answer.body['hold_id']}/settle", {"input_tokens": 1000, "output_tokens": 100})

    assert record.body["cost"] == 0.0035
    assert await stands(api, budget_id) == (0.0035, 0)
    await sound(api)


async def test_a_refused_hold_says_why(api: Api) -> None:
    """402 with the budgets' figures; under `approve` with the request that somebody has to answer."""
    await api.budget(daily_limit=0.1, enforcement="approve")

    answer = await api.post("/holds", CALL)

    assert (answer.status, answer.code) == (402, "approval_required")
    assert answer.body["detail"]["budgets"][0]["limit"] == 0.1
    asked = answer.body["detail"]["approval_id"]
    await api.post(f"/approvals/{asked}/approve")
    await api.delete(f"/holds/{await opened(api)}")
    await sound(api)


async def test_truncating_budgets_hold_what_is_expected_at_least(api: Api) -> None:
    """Nobody can cut such a call off, so a hold that is smaller than what is expected is refused."""
    await api.budget(daily_limit=0.3, enforcement="block", overrun="truncate")

    assert (await api.post("/holds", CALL)).code == "budget_exceeded"
    await sound(api)


async def test_the_same_again_is_the_same_hold(api: Api) -> None:
    """By request id: at once, later, and not with another content."""
    budget_id = await api.budget(daily_limit=10)
    body = {**CALL, "request_id": "mine"}

    answers = await asyncio.gather(*(api.post("/holds", body) for _ in range(5)))
    other = await api.post("/holds", {**body, "estimated_cost": 0.6})

    assert sorted(answer.status for answer in answers) == [200, 200, 200, 200, 201]
    assert {answer.body["hold_id"] for answer in answers} == {"h_mine"}
    assert other.code == "conflict"
    assert await stands(api, budget_id) == (0, 0.5)
    await api.post("/holds/h_mine/settle", {"cost": 0.5})
    assert (await api.post("/holds", body)).code == "duplicate_request"
    await sound(api)


async def test_ending_twice_equals_once(api: Api) -> None:
    """Settled again with the same content it is the same record; with another, or to be released, a conflict."""
    budget_id = await api.budget(daily_limit=10)
    one, two = await opened(api), await opened(api)

    answers: list[Answer] = await asyncio.gather(*(api.post(f"/holds/{one}/settle", {"cost": 0.2}) for _ in range(3)))
    released = [await api.delete(f"/holds/{two}") for _ in range(2)]

    assert sorted(answer.status for answer in answers) == [200, 200, 201]
    assert (await api.post(f"/holds/{one}/settle", {"cost": 0.3})).code == "conflict"
    assert (await api.delete(f"/holds/{one}")).code == "conflict"
    assert [answer.status for answer in released] == [200, 200]
    assert (await api.post(f"/holds/{two}/settle", {"cost": 0.3})).code == "not_found"
    assert (await api.delete("/holds/h_none")).code == "not_found"
    assert await stands(api, budget_id) == (0.2, 0)
    await sound(api)


@pytest.mark.parametrize(("late", "spent"), [({"cost": 0.2}, 0.2), ({"cost": 0.7}, 0.7), (None, 0.0)])
async def test_a_forgotten_hold_is_booked_and_corrected(api: Api, late: dict[str, Any] | None, spent: float) -> None:
    """Past its time it is `unconfirmed` at what it held; a late word appends a correction, once."""
    budget_id = await api.budget(daily_limit=10)
    hold_id = await opened(api, ttl_seconds=60)
    api.clock.move(timedelta(seconds=59))
    await api.services.holds.sweep()
    assert await stands(api, budget_id) == (0, 0.5)

    api.clock.move(timedelta(seconds=1))
    await api.services.holds.sweep()

    record = (await api.get(f"/usage/records/{hold_id}")).body
    assert (record["status"], record["cost_basis"], record["cost"]) == ("expired", "unconfirmed", 0.5)
    assert await stands(api, budget_id) == (0.5, 0)
    for _ in range(2):
        if late is None:
            assert (await api.delete(f"/holds/{hold_id}")).status == 200
        else:
            answer = await api.post(f"/holds/{hold_id}/settle", late)
            assert answer.body["corrects"] == hold_id
    assert await stands(api, budget_id) == (pytest.approx(spent), 0)
    assert (await api.post(f"/holds/{hold_id}/settle", {"cost": 0.9})).code == "conflict"
    await sound(api)


async def test_a_late_word_comes_after_the_adjustment_that_it_replaces(api: Api) -> None:
    """Whoever waits while another corrects the same call is later than that, as its `adjusted_at` says."""
    hold_id = await opened(api, ttl_seconds=60)
    api.clock.move(timedelta(seconds=61))
    await api.services.holds.sweep()
    correcting = api.services.ledger.correcting

    async def waiting(number: int) -> None:
        async with asyncio.timeout(30):
            while len(correcting._waiters or ()) < number:
                await asyncio.sleep(0.005)

    async with correcting:
        adjusting = asyncio.create_task(
            api.post(f"/usage/records/{hold_id}/adjust", {"cost": 0.3, "reason": "The portal says so."})
        )
        await waiting(1)
        settling = asyncio.create_task(api.post(f"/holds/{hold_id}/settle", {"cost": 0.2}))
        await waiting(2)
        api.clock.move(timedelta(seconds=10))
    adjusted, bill = (await adjusting).body, (await settling).body

    assert adjusted["record_id"] in bill["metadata"]["reason"]
    assert bill["metadata"]["adjusted_at"] >= adjusted["metadata"]["adjusted_at"]
    assert (adjusted["cost"], bill["cost"]) == (-0.2, -0.1)
    await sound(api)


async def test_a_wall_clock_that_jumps_expires_nothing(api: Api) -> None:
    """A hold's time is the monotonic clock's."""
    hold_id = await opened(api, ttl_seconds=60)

    api.clock.instant += timedelta(days=1)
    await api.services.holds.sweep()

    assert (await api.post(f"/holds/{hold_id}/settle", {"cost": 0.2})).body["status"] == "ok"
    await sound(api)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"provider": None}, "provider"),
        ({"request_id": "not one"}, "request_id"),
        ({"input_tokens": 5}, "body"),
    ],
)
async def test_a_wrong_hold_is_refused_by_field(api: Api, body: dict[str, Any], field: str) -> None:
    """Nothing is held: no time, no provider, no id, or two ways of saying what it costs."""
    answer = await api.post("/holds", {**CALL, **body})

    assert (answer.status, answer.fields) == (422, [field])
    await sound(api)


async def test_an_end_is_acknowledged_once_it_is_on_disk(api: Api) -> None:
    """While the database is locked the end of a hold is kept and not acknowledged; said again later, it is there."""
    budget_id = await api.budget(daily_limit=10)
    settled, released = await opened(api), await opened(api)
    ledger = api.services.ledger
    ledger._writer._connection.execute("PRAGMA busy_timeout = 5")
    path = api.services.config.ledger.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        first = [await api.post(f"/holds/{settled}/settle", {"cost": 0.2}), await api.delete(f"/holds/{released}")]
        other.execute("ROLLBACK")
    await ledger.caught_up()
    again = [await api.post(f"/holds/{settled}/settle", {"cost": 0.2}), await api.delete(f"/holds/{released}")]

    assert [answer.status for answer in first] == [503, 503]
    assert [answer.status for answer in again] == [200, 200]
    assert await stands(api, budget_id) == (0.2, 0)
    await sound(api)


async def test_no_call_is_held_or_booked_at_more_than_any_costs(api: Api, services: Services) -> None:
    """What adds up beyond 64 bits would make no money of money; a settle that is refused leaves the hold open."""
    await api.budget(daily_limit=5, enforcement="warn")
    who = {"component": "c", "provider": "openai", "model": "gpt-4o"}

    too_much = await api.post("/holds", {**who, "estimated_cost": 1_000_001})
    held = await api.post("/holds", {**who, "estimated_cost": 1_000_000, "request_id": "h"})
    hold_id = held.body["hold_id"]
    absurd = await api.post(f"/holds/{hold_id}/settle", {"input_tokens": 10**12, "output_tokens": 10**12})
    settled = await api.post(f"/holds/{hold_id}/settle", {"cost": 1})

    assert (too_much.status, held.status, absurd.status, settled.status) == (422, 201, 400, 201)
    assert (await api.get(f"/usage/records/{hold_id}")).body["cost"] == 1
    assert services.ledger.holds_open == 0
