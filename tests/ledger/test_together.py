"""Lists of records that have several names at once: the same records as without an index, however rarely they meet."""

import sqlite3
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
from sqlalchemy import Select

from penia_proxy.budget.record import UsageRecord
from penia_proxy.clock import iso
from penia_proxy.ledger import together
from penia_proxy.ledger.cells import extent_of
from penia_proxy.ledger.days import Span
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.lists import between, listing, totalling
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.summary import every_of, topping
from tests.ledger.making import NOON, StillClock, record
from tests.ledger.test_queries import MINUTE, plan, scans
from tests.ledger.test_summary import STATES, filled, made, wanted

__all__ = ["filled"]

NAMES = {
    "component": {"components": ("apollo",)},
    "provider": {"providers": ("openai",)},
    "model": {"models": ("large",)},
    "task_type": {"task_types": ("chat",)},
    "cost_basis": {"cost_bases": ("estimated", "unpriced")},
    "budget": {"budget_id": "b_other"},
}
PARTLY = STATES["some is folded"]
SPAN = Span(NOON, NOON + 60 * MINUTE)
PAIRS = {f"{one} and {other}": NAMES[one] | NAMES[other] for one, other in combinations(NAMES, 2)}
TIMES = {
    "ever": {},
    "since": {"start": NOON + timedelta(minutes=17)},
    "until": {"end": NOON - timedelta(minutes=3)},
    "within": {"start": NOON - timedelta(days=90, minutes=5), "end": NOON - timedelta(hours=20, minutes=41)},
    "hours": {"start": NOON - timedelta(hours=30), "end": NOON + timedelta(hours=2)},
    "never": {"start": NOON, "end": NOON},
}


def in_order(asked: RecordFilter, records: list[UsageRecord]) -> list[str]:
    """Return the ids that a list has, newest first."""
    numbered = [(one.timestamp, number, one.record_id) for number, one in enumerate(records) if wanted(one, asked)]
    return [record_id for *_, record_id in sorted(numbered, reverse=True)]


@pytest.mark.parametrize("names", [*PAIRS.values(), NAMES["component"] | NAMES["model"] | NAMES["budget"]])
async def test_a_list_is_what_has_all_names(filled: Ledger, names: dict[str, object]) -> None:
    """By pages and by cursors, in any stretch of time, and folded so far or not: each record once, and all counted."""
    for time in TIMES.values():
        asked = RecordFilter(**names, **time)  # type: ignore[arg-type]
        expected = in_order(asked, made())
        by_cursor: list[str] = []
        cursor = None
        while True:
            page = await filled.lists.records(asked, limit=40, cursor=cursor)
            by_cursor += [one.record_id for one in page.records]
            assert (page.total, page.exact) == (len(expected), True)
            cursor = page.next_cursor
            if cursor is None:
                break
        assert by_cursor == expected
        for number in range(1, len(expected) // 40 + 3):
            page = await filled.lists.records(asked, limit=40, page=number)
            assert [one.record_id for one in page.records] == expected[(number - 1) * 40 : number * 40]


@pytest.mark.parametrize("filled", [PARTLY], indirect=True)
async def test_the_ranking_is_of_all_that_match(filled: Ledger) -> None:
    """Of several names, whose newest may lie far apart, the ranking beside a list has every call."""
    asked = RecordFilter(components=("apollo",), task_types=("chat",))
    counts = Counter((one.model, one.provider) for one in made() if wanted(one, asked) and one.corrects is None)

    found = await filled.summaries.top_usage(asked, 10)
    assert {(one.model, one.provider): one.requests for one in found} == counts


async def test_only_hours_with_some_are_read(
    ledger: Ledger, clock: StillClock, beside: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two names that are common and met twice in years: both meetings are found, and two hours of records are read."""
    for number in range(60):
        at = NOON - timedelta(days=number * 11)
        for name in ("a", "b"):
            met = number in (20, 41) and name == "a"
            model = "large" if name == "b" or met else "small"
            await ledger.settle(record(f"r_{number}{name}", timestamp=at, component=name, model=model))
    clock.instant += timedelta(hours=3)
    while await ledger.fold():
        pass
    spans: list[Span] = []

    def watched(listed: Select[Any], kind: str | None, span: Span, *rest: Any) -> Select[Any]:
        spans.append(span)
        return between(listed, kind, span, *rest)

    monkeypatch.setattr("penia_proxy.ledger.lists.between", watched)
    page = await ledger.lists.records(RecordFilter(components=("a",), models=("large",)))

    assert [one.record_id for one in page.records] == ["r_20a", "r_41a"]
    hours = [NOON - timedelta(days=number * 11) for number in (20, 41)]
    assert spans == [(hour, hour + timedelta(hours=1)) for hour in hours]


async def test_hours_far_behind_a_cursor_are_not_walked_to(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour behind that of a cursor is read between its own ends, and the cursor's from there on."""
    for number in (0, 1, 900):
        await ledger.settle(record(f"r_{number}", timestamp=NOON - number * MINUTE))
    asked = RecordFilter(components=("rhetor",), models=("gpt-4o",))
    cursor = (await ledger.lists.records(asked, limit=1)).next_cursor
    statements: list[str] = []

    def watched(*said: Any) -> Select[Any]:
        statement = between(*said)
        statements.append(str(statement))
        return statement

    monkeypatch.setattr("penia_proxy.ledger.lists.between", watched)
    page = await ledger.lists.records(asked, cursor=cursor)

    assert [one.record_id for one in page.records] == ["r_1", "r_900"]
    assert ["(usage_records.timestamp, usage_records.seq) <" in one for one in statements] == [True, False]


@pytest.mark.parametrize("filled", [PARTLY], indirect=True)
async def test_hours_that_adjoin_are_read_at_once(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dense is not read hour by hour."""
    for number in range(12):
        at = NOON + timedelta(days=9, hours=number)
        await filled.settle(record(f"r_dense_{number}", timestamp=at, component="apollo", model="dense"))
    spans: list[Span] = []

    def watched(listed: Select[Any], kind: str | None, span: Span, *rest: Any) -> Select[Any]:
        spans.append(span)
        return between(listed, kind, span, *rest)

    monkeypatch.setattr("penia_proxy.ledger.lists.between", watched)
    page = await filled.lists.records(RecordFilter(components=("apollo",), models=("dense",)), limit=5)

    assert [one.record_id for one in page.records] == [f"r_dense_{number}" for number in range(11, 6, -1)]
    assert spans == [(NOON + timedelta(days=9, hours=6), NOON + timedelta(days=9, hours=12))]


@pytest.mark.fault("D5")
@pytest.mark.parametrize("filled", [PARTLY], indirect=True)
@pytest.mark.parametrize("names", PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize("analysed", [False, True])
async def test_what_is_together_is_found_by_keys(
    filled: Ledger, beside: sqlite3.Connection, names: dict[str, object], analysed: bool
) -> None:
    """No step reads a table from one end to the other, and records are read by the index that was chosen."""
    if analysed:
        beside.execute("ANALYZE")
        beside.execute("UPDATE sqlite_stat1 SET stat = replace(stat, '300 ', '10000000 ')")
    if "cost_bases" in names:
        names = names | {"cost_bases": ("estimated",)}  # of two, an index is in the order of each
    asked = RecordFilter(**names)  # type: ignore[arg-type]
    async with filled._engine.connect() as connection:
        extent = await extent_of(connection)
    walked = [together.rarest(asked, extent), together.behind(asked, extent), totalling(asked, extent)]
    walked += [together.in_units(asked, ["2026-1"]), together.in_hours(asked, ["2026-11-23T10:"], extent)]
    walked += [together.components_in(asked, ["2026-11-23"]), topping(every_of(asked, extent), 10)]
    for statement in walked:
        tables = {"usage_records", "charges", "rollups", "folds", "folds_by_name", "budget_sets"}
        assert not {step.split()[1] for step in scans(await plan(filled, statement))} & tables
    hour = replace(asked, start=SPAN.start, end=SPAN.end)
    for kind in hour.kinds:
        index = "charges_newest" if kind == "budget_id" else f"usage_records_{kind}"
        for statement in (
            listing(hour, kind=kind),
            between(listing(asked, kind=kind), kind, SPAN),
            between(listing(asked, kind=kind), kind, SPAN, (iso(NOON + 59 * MINUTE), 7)),
            between(listing(asked, kind=kind), kind, SPAN, (iso(NOON + 61 * MINUTE), 7)),
        ):
            first, *rest = await plan(filled, statement.limit(21))
            assert f"INDEX {index} ({kind}=? AND " in first
            assert not [step for step in rest if "TEMP B-TREE" in step]
