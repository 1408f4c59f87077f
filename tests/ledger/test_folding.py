"""Hours folded into days and more: when, in which steps, and what that costs whom."""

import asyncio
import sqlite3
from contextlib import suppress
from datetime import timedelta

import pytest

from penia_proxy.errors import StoreUnavailable
from penia_proxy.ledger import folding
from penia_proxy.ledger import ledger as ledger_module
from penia_proxy.ledger.days import LONG
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.queries import RecordFilter
from tests.ledger.making import NOON, StillClock, record

HOUR = timedelta(hours=1)
OF_ALL = "budget_id = '' AND cost_basis = ''"


def spans(beside: sqlite3.Connection) -> dict[str, int]:
    """Return the requests of each span that there is, of hours by name only."""
    found = beside.execute(f"SELECT span, sum(request_count) FROM folds WHERE {OF_ALL} GROUP BY span").fetchall()
    by_name = beside.execute(
        f"SELECT span, sum(request_count) FROM folds_by_name WHERE grouping = 'task_type' AND {OF_ALL} GROUP BY span"
    ).fetchall()
    assert found == [(span, number) for span, number in by_name if len(span) <= LONG["hours"]]
    return dict(by_name)


def until(beside: sqlite3.Connection) -> str:
    """Return the last hour of which something is folded."""
    return str(beside.execute("SELECT hour FROM folded_until").fetchone()[0])


async def test_an_hour_is_folded_once_its_calls_have_ended(
    ledger: Ledger, clock: StillClock, beside: sqlite3.Connection
) -> None:
    """It is left alone until some minutes after its end; then its sums are in the spans that have it."""
    await ledger.settle(record("r_1"))
    clock.instant = NOON + HOUR + folding.GRACE - timedelta(seconds=1)
    assert not await ledger.fold()
    assert spans(beside) == {}

    clock.instant += timedelta(seconds=1)
    assert await ledger.fold()
    assert not await ledger.fold()
    names = "2026", "2026-11", "2026-11-2", "2026-11-23", "2026-11-23T1", "2026-11-23T12"
    assert spans(beside) == dict.fromkeys(names, 1)
    assert until(beside) == "2026-11-23T12:00:00.000000Z"


async def test_folding_is_in_steps(
    ledger: Ledger, clock: StillClock, beside: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step folds so many cells, an hour in several if it has more, and each is durable by itself."""
    monkeypatch.setattr(folding, "CELLS_AT_ONCE", 2)
    for number in range(5):
        await ledger.settle(record(f"r_{number}", component=f"c{number}"))
    clock.instant += 2 * HOUR
    seen = []
    while await ledger.fold():
        seen.append(spans(beside)["2026"])

    assert seen == [2, 4, 5]


async def test_what_comes_late_is_added_to_what_is_folded(
    ledger: Ledger, clock: StillClock, beside: sqlite3.Connection
) -> None:
    """A late settlement, a correction and a name that the hour did not have yet are in its day at once, and once."""
    await ledger.settle(record("r_1"))
    clock.instant += 2 * HOUR
    await ledger.fold()
    await ledger.settle(record("r_2", timestamp=NOON + timedelta(minutes=59)))
    await ledger.append(record("r_3", component="anyone", timestamp=NOON - 300 * 24 * HOUR), "f")
    await ledger.append(record("r_4", corrects="r_1", cost_nanos=-900), "f")
    folded = spans(beside)

    assert folded == {
        "2026": 3,
        **dict.fromkeys(("2026-11", "2026-11-2", "2026-11-23", "2026-11-23T1", "2026-11-23T12"), 2),
        **dict.fromkeys(("2026-01", "2026-01-2", "2026-01-27", "2026-01-27T1", "2026-01-27T12"), 1),
    }
    assert beside.execute(f"SELECT sum(cost_nanos) FROM folds WHERE span = '2026-11-23' AND {OF_ALL}").fetchone() == (
        900,
    )
    assert not await ledger.fold()
    assert spans(beside) == folded


async def test_a_cell_behind_what_is_folded_waits_for_its_turn(
    ledger: Ledger, clock: StillClock, beside: sqlite3.Connection
) -> None:
    """In the last folded hour, a name that sorts behind the last folded one is not added twice."""
    await ledger.settle(record("r_1", component="m"))
    clock.instant += 2 * HOUR
    await ledger.fold()
    await ledger.settle(record("r_2", component="z"))
    assert spans(beside)["2026"] == 1

    await ledger.fold()
    assert spans(beside)["2026"] == 2


async def test_a_span_may_begin_where_folding_is(
    ledger: Ledger, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an hour that is folded in part, the first of a span, each cell is read once."""
    monkeypatch.setattr(folding, "CELLS_AT_ONCE", 1)
    clock.instant = NOON.replace(hour=22)
    evening = NOON.replace(hour=20)
    for number in range(3):
        await ledger.settle(record(f"r_{number}", component=f"c{number}", timestamp=evening))
    await ledger.fold()

    assert (await ledger.summaries.summary(RecordFilter(start=evening))).totals.request_count == 3


async def test_a_call_does_not_pay_for_it(ledger: Ledger, clock: StillClock) -> None:
    """A settlement touches no fold, unless its hour is folded already; then it is two statements a cell."""
    await ledger.settle(record("r_1"))
    clock.instant += 2 * HOUR
    await ledger.fold()
    statements: list[str] = []
    ledger._writer._connection.set_trace_callback(statements.append)
    await ledger.settle(record("r_2", timestamp=clock.instant))
    in_time = sum("INTO folds" in statement for statement in statements)
    await ledger.settle(record("r_3"))
    ledger._writer._connection.set_trace_callback(None)

    assert in_time == 0
    assert sum("INTO folds" in statement for statement in statements) == 2


async def test_a_refused_step_leaves_nothing(
    ledger: Ledger, clock: StillClock, beside: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that fails in its middle is as if it had not been tried, and the next is whole."""
    await ledger.settle(record("r_1"))
    clock.instant += 2 * HOUR
    beside.execute("CREATE TRIGGER full BEFORE UPDATE ON folded_until BEGIN SELECT raise(ABORT, 'full'); END")
    with pytest.raises(Exception, match="cannot write this fold"):
        await ledger.fold()
    assert (spans(beside), until(beside)) == ({}, "")

    beside.execute("DROP TRIGGER full")
    assert await ledger.fold()
    assert spans(beside)["2026"] == 1


async def test_it_goes_on_by_itself(
    ledger: Ledger, clock: StillClock, beside: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is over is folded until nothing is left, later hours when they are over, and a failing database waits."""
    monkeypatch.setattr(folding, "CELLS_AT_ONCE", 1)
    monkeypatch.setattr(ledger_module, "FOLD_LOOK_S", 0.0)
    fold = ledger.fold
    failed: list[bool] = []

    async def failing() -> bool:
        if not failed:
            failed.append(True)
            raise StoreUnavailable("the ledger cannot write")
        return await fold()

    monkeypatch.setattr(ledger, "fold", failing)
    for number in range(3):
        await ledger.settle(record(f"r_{number}", timestamp=NOON + number * HOUR))
    clock.instant += 2 * HOUR + folding.GRACE
    keeping = asyncio.create_task(ledger.keep_folding())
    while spans(beside).get("2026") != 2:
        await asyncio.sleep(0.001)
    clock.instant += HOUR
    while spans(beside).get("2026") != 3:
        await asyncio.sleep(0.001)
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping

    assert failed
