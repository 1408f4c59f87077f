"""What the ledger answers: lists, single records, tallies, and by which index."""

import sqlite3
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, get_args

import pytest
from sqlalchemy import select
from sqlalchemy.dialects import sqlite

import penia_proxy.ledger.lists as ledger_lists
from penia_proxy.budget.calibration import ESTIMATE, Outcome
from penia_proxy.budget.usage import Usage
from penia_proxy.budget.windows import WindowKey
from penia_proxy.clock import iso
from penia_proxy.errors import InvalidRequest
from penia_proxy.ledger import gauges
from penia_proxy.ledger.cells import EXTENT, extent_of, newest_of
from penia_proxy.ledger.dearest import Piece, gathered, nearest
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.lists import counting, listing, matching
from penia_proxy.ledger.orders import NEWEST_FIRST, OLDEST_FIRST, ORDERS, Order, Position
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.schema import metadata
from penia_proxy.ledger.summary import TOP_OF, Bucket, bucketing, capturing, ranking, summing
from tests.ledger.making import DEFAULT, NOON, StillClock, budget, record

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def filled(ledger: Ledger) -> Ledger:
    """Write ten records a minute apart, the newest first to be written, of two components, models and budgets."""
    await ledger.save_budget(budget("b_odd"))
    for number in reversed(range(10)):
        odd = number % 2 == 1
        await ledger.settle(
            record(
                f"r_{number}",
                timestamp=NOON + number * MINUTE,
                component="apollo" if odd else "rhetor",
                provider="anthropic" if odd else "openai",
                model="claude" if odd else "gpt-4o",
                task_type="chat" if odd else None,
                cost_basis="estimated" if odd else "reported",
                budget_ids=("b_odd", DEFAULT) if odd else (DEFAULT,),
                usage=Usage(input=1, output=number),
            )
        )
    return ledger


def numbers(records: list[Any]) -> list[int]:
    """Return which of the ten records these are."""
    return [int(one.record_id.removeprefix("r_")) for one in records]


async def test_lists_are_newest_first(filled: Ledger) -> None:
    """The order is the order of time, whatever was written first."""
    page = await filled.lists.records(RecordFilter())

    assert numbers(page.records) == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert (page.total, page.next_cursor) == (10, None)


async def test_records_of_one_instant_are_listed_last_written_first(ledger: Ledger) -> None:
    """Equal timestamps are told apart by the order of writing."""
    for number in range(5):
        await ledger.settle(record(f"r_{number}"))

    assert numbers((await ledger.lists.records(RecordFilter(), limit=2)).records) == [4, 3]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (RecordFilter(components=("apollo",)), [9, 7, 5, 3, 1]),
        (RecordFilter(components=("apollo", "rhetor"), models=("gpt-4o",)), [8, 6, 4, 2, 0]),
        (RecordFilter(providers=("anthropic",)), [9, 7, 5, 3, 1]),
        (RecordFilter(models=("claude",)), [9, 7, 5, 3, 1]),
        (RecordFilter(task_types=("chat",)), [9, 7, 5, 3, 1]),
        (RecordFilter(cost_bases=("reported",)), [8, 6, 4, 2, 0]),
        (RecordFilter(budget_id="b_odd"), [9, 7, 5, 3, 1]),
        (RecordFilter(budget_id=DEFAULT), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (RecordFilter(start=NOON + 3 * MINUTE), [9, 8, 7, 6, 5, 4, 3]),
        (RecordFilter(end=NOON + 3 * MINUTE), [2, 1, 0]),
        (RecordFilter(budget_id="b_odd", start=NOON + 3 * MINUTE, end=NOON + 7 * MINUTE), [5, 3]),
        (RecordFilter(components=("nobody",)), []),
    ],
)
async def test_filters(filled: Ledger, asked: RecordFilter, found: list[int]) -> None:
    """A list has what the filter asks for, and its total counts all of it; a budget's has all it was charged for."""
    page = await filled.lists.records(asked, limit=3)

    assert numbers(page.records) == found[:3]
    assert page.total == len(found)


@pytest.mark.parametrize(
    "asked", [RecordFilter(), RecordFilter(budget_id="b_odd"), RecordFilter(providers=("openai",))]
)
async def test_pages_and_cursors_reach_every_record_once(filled: Ledger, asked: RecordFilter) -> None:
    """Following the pages, or the cursors, gives the whole list."""
    whole = numbers((await filled.lists.records(asked, limit=100)).records)
    by_page = [numbers((await filled.lists.records(asked, page=page, limit=3)).records) for page in range(1, 6)]
    by_cursor: list[int] = []
    cursor = None
    while True:
        page = await filled.lists.records(asked, limit=3, cursor=cursor)
        by_cursor += numbers(page.records)
        cursor = page.next_cursor
        if cursor is None:
            break

    assert list(chain(*by_page)) == by_cursor == whole


@pytest.mark.parametrize("asked", [RecordFilter(budget_id=DEFAULT), RecordFilter(start=NOON)])
async def test_matches_are_counted_so_far(filled: Ledger, monkeypatch: pytest.MonkeyPatch, asked: RecordFilter) -> None:
    """More matches than are counted are said to be more; as many are exact, and all records always are."""
    for most, said in ((9, (9, False)), (10, (10, True)), (11, (10, True))):
        monkeypatch.setattr(ledger_lists, "COUNTED_MAX", most)
        page = await filled.lists.records(asked)
        assert (page.total, page.exact) == said

    monkeypatch.setattr(ledger_lists, "COUNTED_MAX", 1)
    page = await filled.lists.records(RecordFilter())
    assert (page.total, page.exact) == (10, True)


async def test_a_cursor_is_not_moved_by_what_comes_in(filled: Ledger) -> None:
    """Records that arrive between two pages do not repeat what was shown."""
    first = await filled.lists.records(RecordFilter(), limit=3)
    await filled.settle(record("r_99", timestamp=NOON + 99 * MINUTE))

    assert numbers((await filled.lists.records(RecordFilter(), limit=3, cursor=first.next_cursor)).records) == [
        6,
        5,
        4,
    ]


@pytest.mark.parametrize("cursor", ["", "nonsense", "AAAA", "ü", "MjAyNg==", "2026-11-23/1"])
async def test_a_cursor_that_is_not_ours_is_refused(filled: Ledger, cursor: str) -> None:
    """A cursor that no list answered with is the caller's error."""
    with pytest.raises(InvalidRequest, match="cursor"):
        await filled.lists.records(RecordFilter(), cursor=cursor)


async def test_a_page_too_deep_is_refused(filled: Ledger) -> None:
    """Nobody makes the database count to a billion: there is a cursor for that."""
    with pytest.raises(InvalidRequest, match="next_cursor"):
        await filled.lists.records(RecordFilter(), page=10**9)


async def test_an_empty_ledger_answers_in_the_same_shape(ledger: Ledger) -> None:
    """No records: an empty page, nothing found, no tallies."""
    assert await ledger.lists.records(RecordFilter()) == ([], 0, True, None)
    assert await ledger.queries.record("r_1") is None
    assert await ledger.tallies(NOON) == {}
    assert await ledger.recent_calls(10) == []


async def test_recent_calls_are_those_that_were_read_to_the_end(filled: Ledger) -> None:
    """What warms a prediction is the newest calls that ended well and reported, by the models that were asked for."""
    outcome = Outcome(40, 30, counted=True, expected_nanos=9, plain_nanos=8, input_tokens=20, cost_nanos=900)
    await filled.settle(record("r_10", status="cut", usage=Usage(output=77)))
    await filled.settle(record("r_11", usage=Usage(output=3, reasoning=4), metadata={"model_requested": "gpt"}))
    await filled.settle(record("r_12", cost_basis="client"))
    await filled.settle(record("r_13", metadata={ESTIMATE: outcome.as_metadata}))

    assert await filled.recent_calls(3) == [
        ("rhetor", "openai", "gpt-4o", 5, outcome),
        ("rhetor", "openai", "gpt", 7, None),
        ("rhetor", "openai", "gpt-4o", 0, None),
    ]


async def test_tallies_are_of_windows_that_may_still_matter(ledger: Ledger, clock: StillClock) -> None:
    """Old hours and days, weeks and months are left out; the total never is."""
    for number, age in enumerate((0, 2, 10, 100)):
        await ledger.settle(record(f"r_{number}", timestamp=NOON - timedelta(days=age)))

    tallies = await ledger.tallies(NOON)
    counts = {
        period: sum(key.period == period for key in tallies)
        for period in ("hourly", "daily", "weekly", "monthly", "total")
    }
    assert counts == {"hourly": 2, "daily": 2, "weekly": 3, "monthly": 1, "total": 1}
    total = tallies[next(key for key in tallies if key.period == "total")]
    assert total.request_count == 4
    assert tallies[WindowKey(DEFAULT, "daily", NOON.replace(hour=0))].request_count == 1


FILTERS = {
    "nothing": RecordFilter(),
    "component": RecordFilter(components=("apollo",)),
    "provider": RecordFilter(providers=("openai",)),
    "model": RecordFilter(models=("gpt-4o",)),
    "task_type": RecordFilter(task_types=("chat",)),
    "cost_basis": RecordFilter(cost_bases=("reported",)),
    "budget": RecordFilter(budget_id=DEFAULT),
    "dates": RecordFilter(start=NOON, end=NOON + MINUTE),
    "component and dates": RecordFilter(components=("apollo",), start=NOON, end=NOON + MINUTE),
    "budget and dates": RecordFilter(budget_id=DEFAULT, start=NOON, end=NOON + MINUTE),
}


async def plan(ledger: Ledger, statement: Any) -> list[str]:
    """Ask SQLite how it would answer."""
    text = str(statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
    async with ledger._engine.connect() as connection:
        return [row[3] for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]


def scans(steps: list[str]) -> list[str]:
    """Return what is read from one end to the other; what was already found does not count."""
    return [step for step in steps if step.startswith("SCAN") and step not in ("SCAN CONSTANT ROW", *FOUND)]


FOUND = ("SCAN anon_1", "SCAN cells", "SCAN archives")  # of these, one for each month there ever was
WALK = "SCAN usage_records USING INDEX usage_records_newest"
"""Without a filter the newest are walked to from the end of their index, and the walk stops with the limit."""


@pytest.fixture(params=["new", "analysed"])
async def planned(filled: Ledger, beside: sqlite3.Connection, request: pytest.FixtureRequest) -> Ledger:
    """Return a ledger as it begins, and one whose statistics say that most filters match half of it."""
    if request.param == "analysed":
        beside.execute("ANALYZE")
        beside.execute("UPDATE sqlite_stat1 SET stat = replace(stat, '10 ', '10000000 ')")
    return filled


@pytest.mark.fault("D5")
@pytest.mark.parametrize("asked", FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("after", [None, (iso(NOON), 5)])
@pytest.mark.parametrize("order", [NEWEST_FIRST, OLDEST_FIRST])
async def test_a_page_is_read_from_an_index_in_its_order(
    planned: Ledger, asked: RecordFilter, order: Order, after: Position | None
) -> None:
    """Under any single filter, a page neither scans nor sorts the records: its cost does not grow with the ledger."""
    steps = await plan(planned, listing(asked, order=order, after=after).limit(21))

    assert not [step for step in steps if "TEMP B-TREE" in step]
    assert scans(steps) == ([WALK] if asked == RecordFilter() and not after else [])


KINDS = [("openai", "gpt-4o", "reported"), ("anthropic", "claude", "estimated")]


@pytest.mark.fault("D5")
@pytest.mark.parametrize("after", [None, (0, 5), (None, 5)])
@pytest.mark.parametrize("order", [ORDERS["-cost"], ORDERS["cost"]])
async def test_kinds_of_call_are_merged_in_the_order_of_cost(
    planned: Ledger, order: Order, after: Position | None
) -> None:
    """Each kind is read from an index in its order, from where the page begins; nothing is sorted."""
    steps = await plan(planned, nearest(matching(RecordFilter(), few=False), Piece(order, after, 0, 20), KINDS, 500))
    read = [step for step in steps if "usage_records" in step]

    assert not [step for step in steps if "TEMP B-TREE" in step]
    assert read
    assert all("COVERING INDEX usage_records_cost (provider=? AND model=? AND cost_basis=?" in step for step in read)


@pytest.mark.fault("D5")
@pytest.mark.parametrize("asked", FILTERS.values(), ids=FILTERS.keys())
async def test_few_matches_are_gathered_by_their_own_index(planned: Ledger, asked: RecordFilter) -> None:
    """What is sorted by cost is found by the filter; only without one are all records read."""
    steps = await plan(planned, gathered(matching(asked, few=True), Piece(ORDERS["-cost"], None, 0, 20)))

    assert scans(steps) == [] or asked == RecordFilter()


@pytest.mark.fault("D5")
@pytest.mark.parametrize("asked", FILTERS.values(), ids=FILTERS.keys())
async def test_matches_are_counted_by_an_index(planned: Ledger, asked: RecordFilter) -> None:
    """A total never scans the records, and reads none of them under a single filter; of all it is two look-ups."""
    steps = await plan(planned, counting(asked))

    assert scans(steps) == []
    if " and " not in next(name for name, one in FILTERS.items() if one is asked) and asked != RecordFilter():
        assert [step for step in steps if "COVERING INDEX" in step or "charges" in step]


@pytest.mark.fault("D5")
@pytest.mark.parametrize("asked", FILTERS.values(), ids=FILTERS.keys())
async def test_what_was_used_most_is_read_from_an_index(planned: Ledger, asked: RecordFilter) -> None:
    """The ranking beside a list walks an index from its newest end, and sorts only what it then has."""
    steps = await plan(planned, select(newest_of(asked, TOP_OF)))

    assert not [step for step in steps if "TEMP B-TREE" in step]
    assert scans(steps) == ([WALK] if asked == RecordFilter() else [])


SUMMED = {
    "today": RecordFilter(start=NOON.replace(hour=0)),
    "the days before": RecordFilter(start=NOON - timedelta(days=45, hours=3, minutes=7), end=NOON - timedelta(days=2)),
    "all time": RecordFilter(start=datetime.fromtimestamp(0, UTC)),
    "a component": RecordFilter(components=("apollo",), start=NOON - timedelta(days=45, hours=3, minutes=7)),
    "a provider's model": RecordFilter(providers=("openai",), models=("gpt-4o",)),
    "a budget": RecordFilter(budget_id=DEFAULT, start=NOON - timedelta(days=3)),
    "a budget's past": RecordFilter(budget_id=DEFAULT, start=NOON - timedelta(days=45, hours=3, minutes=7)),
    "a budget's model": RecordFilter(budget_id=DEFAULT, models=("gpt-4o",)),
    "a cost basis": RecordFilter(cost_bases=("reported",), start=NOON - timedelta(days=3)),
    "a budget's cost bases": RecordFilter(budget_id=DEFAULT, cost_bases=("reported", "partial")),
}


@pytest.mark.fault("D5")
@pytest.mark.parametrize("asked", SUMMED.values(), ids=SUMMED.keys())
async def test_figures_are_found_by_their_keys(planned: Ledger, clock: StillClock, asked: RecordFilter) -> None:
    """No sum reads a table from one end to the other: neither records, nor rollups, nor what these were folded into."""
    await planned.settle(record("r_before", timestamp=NOON - timedelta(days=60)))
    clock.instant += timedelta(hours=2)
    await planned.fold()
    async with planned._engine.connect() as connection:
        extent = await extent_of(connection)
    asked_for = [
        summing(asked, extent),
        capturing(asked, extent),
        ranking(asked, extent, "component", 20),
        *(bucketing(asked, extent, bucket) for bucket in get_args(Bucket)),
        *(bucketing(asked, extent, bucket, "component", ["apollo"]) for bucket in get_args(Bucket)),
    ]
    steps = [step for statement in (EXTENT, *asked_for) for step in await plan(planned, statement)]
    spans = summing(asked, extent).compile().params.values()
    bounded = "(hour,component,provider,model,task_type,cost_basis,set_id)>(?,?,?,?,?,?,?) AND hour<?"

    assert not {step.split()[1] for step in steps if step.startswith("SCAN")} & (
        metadata.tables.keys() - {"folded_until"}
    )
    assert all(len(one) < 100 for one in spans if isinstance(one, list))
    # Of folded days, what is not folded is found by the whole key: by its hour, every hour since the first would be.
    assert any(bounded in step for step in steps)
    # Broken hours are read from the records: of a span that has none, nothing is.


@pytest.mark.fault("D5")
async def test_what_is_looked_at_every_few_seconds_is_found_by_an_index(planned: Ledger) -> None:
    """Open alerts among all there ever were, and what is still to be sent of them."""
    for statement in (gauges.of_alerts(NOON), gauges.of_notifications()):
        assert scans(await plan(planned, statement)) == []
