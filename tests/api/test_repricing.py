"""Pricing the past again over HTTP: adjustments, the counters and rollups that follow, and what keeps its cost."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penia_proxy.api import repricing
from penia_proxy.api.services import Services
from penia_proxy.budget.bill import PARTS
from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.usage import Usage
from penia_proxy.ledger.verify import verify
from tests.api.client import Api, MovedClock
from tests.ledger.making import record

SINCE = {"since": "2026-11-01"}
Book = Callable[[str], None]


@pytest.fixture
def prices_are(services: Services, tmp_path: Path) -> Book:
    """Put a price book in force in which our model has this price for a million tokens, in and out."""

    def put(*lines: str) -> None:
        directory = tmp_path / "pricing"
        directory.mkdir(exist_ok=True)
        entries = "".join(
            f"  - {{model: {{equals: {model}}}, prices: {{input_mtok: {usd}, output_mtok: {usd}}}, source: test}}\n"
            for model, _, usd in (line.partition("=") for line in lines)
        )
        (directory / "house.yaml").write_text(f"provider: house-llm\nentries:\n{entries}" if entries else "")
        if not entries:
            (directory / "house.yaml").unlink()
        services.prices = PriceBook.load(directory)

    return put


async def used(api: Api, model: str = "m-1", **said: Any) -> dict[str, Any]:
    """Post a million tokens of input that our prices have to price."""
    return await api.record(
        component="rhetor", provider="house-llm", model=model, cost=None, input_tokens=1_000_000, **said
    )


async def spent(api: Api, budget_id: str) -> tuple[float, int, bool]:
    """Return what the budget's day, as the counters have it, came to: money, calls, and whether a price is missing."""
    (daily, *_) = (await api.get(f"/budgets/{budget_id}/summary")).body
    return daily["spent"], daily["request_count"], daily["has_unpriced_usage"]


async def summed(api: Api) -> tuple[float, int, int, int]:
    """Return what the rollups say: money, calls, calls without a price, tokens."""
    body = (await api.post("/usage/summary", {"days": 30})).body
    unpriced = sum(group["unpriced_requests"] for group in body["groups"]["model"].values())
    return body["total_cost"], body["request_count"], unpriced, body["total_tokens"]


async def test_a_wrong_price_is_put_right(api: Api, services: Services, prices_are: Book, clock: MovedClock) -> None:
    """Counters, rollups and records follow the new price, at the day of each record; a second run changes nothing."""
    budget = await api.budget(daily_limit=100)
    prices_are("m-1=3", "m-2=1")
    await used(api, timestamp="2026-11-22T10:00:00Z")
    await used(api)
    await used(api, "m-2")
    prices_are("m-1=5", "m-2=1")

    dry = (await api.post("/prices/reprice", {**SINCE, "dry_run": True})).body
    assert await spent(api, budget) == (4.0, 2, False)
    done = (await api.post("/prices/reprice", SINCE)).body
    again = (await api.post("/prices/reprice", SINCE)).body

    line = {"provider": "house-llm", "model": "m-1", "records": 2, "newly_priced": 0}
    assert done["items"] == [{**line, "old_cost": 6.0, "new_cost": 10.0, "difference": 4.0}]
    assert {**dry, "dry_run": False} == done
    assert (done["examined"], done["unchanged"], done["next_cursor"]) == (3, 1, None)
    assert (again["items"], again["unchanged"]) == ([], 3)
    assert await spent(api, budget) == (6.0, 2, False)
    assert await summed(api) == (11.0, 3, 0, 3_000_000)
    (found,) = (await api.get("/usage/records", end_date="2026-11-22", limit=1)).body["items"]
    assert (found["cost"], found["total_tokens"], found["timestamp"]) == (2.0, 0, "2026-11-22T10:00:00.000000Z")
    assert (found["pricing_version"], found["cost_basis"]) == (services.prices.version, "client")
    assert await verify(services.config.ledger.url) == []


async def test_a_price_that_moves_back_is_followed(api: Api, services: Services, prices_are: Book) -> None:
    """Each change of the prices is one more adjustment: the sum is always what the prices in force say."""
    budget = await api.budget(daily_limit=100)
    prices_are("m-1=3")
    await used(api)
    for price in (5, 2, 3, 5):
        prices_are(f"m-1={price}")
        await api.post("/prices/reprice", SINCE)
        assert await spent(api, budget) == (float(price), 1, False)
    assert await verify(services.config.ledger.url) == []


async def test_a_record_without_a_price_gets_one(api: Api, services: Services, prices_are: Book) -> None:
    """Its cost was null; afterwards nothing is without a price, in the windows, in the rollups and in the ledger."""
    budget = await api.budget(daily_limit=100)
    await used(api)
    await used(api, "m-2")
    assert await spent(api, budget) == (0.0, 2, True)
    prices_are("m-1=3")
    done = (await api.post("/prices/reprice", SINCE)).body

    assert (done["items"][0]["newly_priced"], done["kept"]) == (1, {"no_price": 1})
    assert await summed(api) == (3.0, 2, 1, 2_000_000)
    assert await spent(api, budget) == (3.0, 2, True)
    for price in ("0", "4", "0", "0"):
        prices_are("m-1=3", f"m-2={price}")
        await api.post("/prices/reprice", SINCE)
        assert await summed(api) == (3.0 + float(price), 2, 0, 2_000_000)
        assert await spent(api, budget) == (3.0 + float(price), 2, False)
    services.counters.load(await services.ledger.tallies(api.clock.now()))
    assert await spent(api, budget) == (3.0, 2, False)
    assert await verify(services.config.ledger.url) == []


async def test_a_price_of_zero_can_become_one(api: Api, services: Services, prices_are: Book) -> None:
    """What was free by the prices is not stated to be: it is priced when they are mended."""
    prices_are("m-1=0")
    await used(api)
    prices_are("m-1=3")
    await api.post("/prices/reprice", SINCE)

    assert await summed(api) == (3.0, 1, 0, 1_000_000)
    assert await verify(services.config.ledger.url) == []


async def test_what_is_not_a_matter_of_prices_stays(api: Api, services: Services, prices_are: Book) -> None:
    """Money that somebody stated, holds, bills that may come, corrections and sums of answers keep their cost."""
    usual = replace(
        record("r_1", usage=Usage(input=1_000_000)), provider="house-llm", model="m-1", budget_ids=(), status="ok"
    )
    fixed = [
        replace(usual, record_id="r_1", cost_basis="provider_cost"),
        replace(usual, record_id="r_2", cost_basis="client", pricing_version=None),
        replace(usual, record_id="r_3", cost_basis="unconfirmed"),
        replace(usual, record_id="r_4", cost_basis="unpriced", cost_nanos=None, status="crashed"),
        replace(usual, record_id="r_5", cost_basis="partial", once_key="openai:resp_1"),
        replace(usual, record_id="r_6", cost_basis="reported"),
        replace(usual, record_id="r_7", cost_basis="reported", corrects="r_6", usage=Usage(), cost_nanos=7),
        replace(usual, record_id="r_8", cost_basis="reported", metadata={PARTS: 2}),
    ]
    for one in fixed:
        await services.ledger.append(one, one.record_id)
    prices_are("m-1=3")
    done = (await api.post("/prices/reprice", SINCE)).body

    kept = {"stated": 2, "held": 2, "bill_to_come": 1, "corrected": 1, "several_answers": 1}
    assert (done["items"], done["kept"], done["examined"]) == ([], kept, 7)
    assert (await api.get("/usage/records")).body["total"] == len(fixed)


async def test_a_large_ledger_is_done_in_pieces(
    api: Api, services: Services, prices_are: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request looks at so many records at most, and the next goes on where it ended, also amid one instant."""
    monkeypatch.setattr(repricing, "PIECE", 3)
    monkeypatch.setattr(repricing, "RECORDS_MAX", 6)
    prices_are("m-1=3")
    for _ in range(14):
        await used(api)
    prices_are("m-1=5")
    cursor, seen = None, []
    while True:
        body = (await api.post("/prices/reprice", {**SINCE, "cursor": cursor})).body
        seen.append((body["examined"], body["items"][0]["records"]))
        if (cursor := body["next_cursor"]) is None:
            break

    assert seen == [(6, 6), (6, 6), (2, 2)]
    assert await summed(api) == (70.0, 14, 0, 14_000_000)
    assert await verify(services.config.ledger.url) == []


async def test_runs_at_once_count_once(api: Api, services: Services, prices_are: Book) -> None:
    """Ten runs at the same time, and one that was read before them, make each adjustment once."""
    budget = await api.budget(daily_limit=1000)
    prices_are("m-1=3")
    for _ in range(20):
        await used(api)
    prices_are("m-1=5")
    early = await services.ledger.history.piece(repricing.RepriceBody.model_validate(SINCE).asked, limit=100)
    await asyncio.gather(*(api.post("/prices/reprice", SINCE) for _ in range(10)))

    async def counted(_record: Any) -> None:
        pytest.fail("an adjustment was counted twice")

    late = repricing.Repricing(services.config, services.prices, services.ledger, services.clock, counted)
    changes = [change for call in early.calls if (change := late._change(call)) is not None]
    assert (len(changes), any(await late._append(changes))) == (20, False)
    assert await spent(api, budget) == (100.0, 20, False)
    assert await verify(services.config.ledger.url) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"since": "2026-11-02", "until": "2026-11-01"}, 422),
        ({"since": "2026-11-01", "cursor": "nonsense"}, 400),
        ({"since": "2026-11-01", "dry_run": "yes"}, 422),
    ],
)
async def test_a_wrong_request_is_refused(api: Api, body: dict[str, Any], status: int) -> None:
    """Spans that end before they begin, and cursors of nobody's, change nothing."""
    assert (await api.post("/prices/reprice", body)).status == status
