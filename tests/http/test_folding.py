"""A gateway that folds its hours by itself, over HTTP: what is asked is answered the same before, between and after."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from penia_proxy.clock import iso
from penia_proxy.ledger import folding
from penia_proxy.ledger import ledger as ledger_module
from penia_proxy.ledger.file import path_of
from tests.gateways import Running, Start

DAYS = 40


async def post(penia: Running, number: int, *, days: float) -> str:
    """Post a record of so many days ago; return its id."""
    said = {
        "component": f"c{number % 7}",
        "provider": "openai",
        "model": "gpt-4o",
        "input_tokens": 10,
        "cost": 0.25,
        "timestamp": iso(penia.gateway.clock.now() - timedelta(days=days)),
    }
    status, record = await penia.api("POST", "/api/v1/usage/record", said)
    assert status == 201
    return str(record["record_id"])


async def asked(penia: Running) -> list[tuple[int, float]]:
    """Return calls and cost, as summaries of different spans and the days of a series say them."""
    now = penia.gateway.clock.now()
    bodies = (
        {"days": DAYS + 2},
        {"period": "total"},
        {"days": DAYS + 2, "component": "c1"},
        {"start_time": iso(now - timedelta(days=DAYS + 1))},
    )
    summaries = [(await penia.api("POST", "/api/v1/usage/summary", body))[1] for body in bodies]
    _, series = await penia.api("GET", f"/api/v1/usage/timeseries?start_date={(now - timedelta(days=60)).date()}")
    (line,) = series["series"]
    by_day = (sum(point["count"] for point in line["points"]), line["total_cost"])
    return [*((one["count"], one["total_cost"]) for one in summaries), by_day]


def folded(penia: Running) -> int:
    """Return how many calls the folded years have."""
    with closing(sqlite3.connect(path_of(penia.gateway.config.ledger.url))) as beside:
        years = beside.execute(
            "SELECT request_count FROM folds WHERE length(span) = 4 AND budget_id || cost_basis = ''"
        )
        return sum(count for (count,) in years)


async def test_a_gateway_folds_what_is_over(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Posted into the past and corrected: every answer is the sum of its records, and in the end all is folded."""
    monkeypatch.setattr(folding, "CELLS_AT_ONCE", 1)
    monkeypatch.setattr(ledger_module, "FOLD_LOOK_S", 0.01)
    penia = await start()
    ids = []
    for number in range(DAYS):
        ids.append(await post(penia, number, days=number + 0.2))
        if number % 9 == 8:
            every, of_one = number + 1, len(range(1, number + 1, 7))
            assert await asked(penia) == [(count, count * 0.25) for count in (every, every, of_one, every, every)]
    async with asyncio.timeout(20):
        while folded(penia) != DAYS:
            await asyncio.sleep(0.01)

    status, _ = await penia.api("POST", f"/api/v1/usage/records/{ids[30]}/adjust", {"cost": 5.25, "reason": "a bill"})
    await post(penia, 1, days=17.5)

    assert status == 201
    assert [cost for _, cost in await asked(penia)] == [15.25, 15.25, 1.75, 15.25, 15.25]
    assert folded(penia) == DAYS + 1
