"""
Sum usage up.

Its one job: totals, groups and daily cost of a time span, exact to its instants.
Rules: whole hours are read from `rollups`, so the cost of a summary grows with hours and not with calls; only the
broken hours at both ends, and what `rollups` does not tell apart (a budget, a cost basis), are read from the records.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Select, Subquery, case, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncEngine

from penia_proxy.budget.reconciliation import Captured
from penia_proxy.budget.usage import UNPRICED_COUNTS
from penia_proxy.clock import from_iso, iso
from penia_proxy.ledger.queries import GROUPINGS, Grouping, RecordFilter, conditions, source
from penia_proxy.ledger.rows import MEASURES
from penia_proxy.ledger.schema import rollups, spend, usage_records

HOUR = timedelta(hours=1)
TOP_OF = 2_000
"""Records a list's ranking rests on: a page must not cost more for each record there ever was."""

Bucket = Literal["hour", "day"]


@dataclass(slots=True)
class Sums:
    """What a set of usage records adds up to. Corrections count as money and tokens, not as requests."""

    request_count: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanos: int = 0
    unpriced_count: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output; the other counts are parts of these two."""
        return self.input_tokens + self.output_tokens

    def add(self, measures: Iterable[int]) -> None:
        """Add figures in the order of MEASURES; spelled out, as summaries do it thousands of times."""
        requests, sent, read, written, received, reasoned, cost, unpriced = measures
        self.request_count += requests
        self.input_tokens += sent
        self.cache_read_tokens += read
        self.cache_write_tokens += written
        self.output_tokens += received
        self.reasoning_tokens += reasoned
        self.cost_nanos += cost
        self.unpriced_count += unpriced


@dataclass(frozen=True, slots=True)
class Summary:
    """A time span's usage."""

    totals: Sums
    groups: dict[Grouping, dict[str, Sums]]
    """By provider, model, component and task type; '' is no task type."""
    daily: dict[str, int]
    """UTC date → nano-dollars, in order; days without usage are absent."""


@dataclass(frozen=True, slots=True)
class TopUsage:
    """What one model of one provider used."""

    model: str
    provider: str
    requests: int
    tokens: int
    cost_nanos: int


class Span(NamedTuple):
    """A piece of time, None where it is open; ``end`` is not in it."""

    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Summaries:
    """The ledger's sums."""

    engine: AsyncEngine = field(repr=False)

    async def summary(self, asked: RecordFilter) -> Summary:
        """Sum up what the filter asks for, by every grouping and by day, from one snapshot."""
        cells = cells_of(asked)
        by_group = select(*(cells.c[name] for name in GROUPINGS), *_sums(cells)).group_by(
            *(cells.c[name] for name in GROUPINGS)
        )
        by_day = select(cells.c.day, func.sum(cells.c.cost_nanos)).group_by(cells.c.day).order_by(cells.c.day)
        found = Summary(Sums(), {name: {} for name in GROUPINGS}, {})
        async with self.engine.connect() as connection:
            for row in await connection.execute(by_group):
                measures = row[len(GROUPINGS) :]
                found.totals.add(measures)
                for name, value in zip(GROUPINGS, row, strict=False):
                    found.groups[name].setdefault(value, Sums()).add(measures)
            found.daily.update((day, cost) for day, cost in await connection.execute(by_day))
        return found

    async def series(
        self, asked: RecordFilter, bucket: Bucket, grouping: Grouping | None
    ) -> dict[str, dict[datetime, Sums]]:
        """Return what the filter asks for, by group ('' without a grouping) and bucket; empty ones are absent."""
        cells = cells_of(asked)
        group = literal("") if grouping is None else cells.c[grouping]
        keys = (group.label("name"), cells.c[bucket])
        found: dict[str, dict[datetime, Sums]] = {}
        async with self.engine.connect() as connection:
            for name, start, *measures in await connection.execute(select(*keys, *_sums(cells)).group_by(*keys)):
                found.setdefault(name, {})[from_iso(start)] = Sums(*measures)
        return found

    async def hours_of(self, budget_id: str, start: datetime, end: datetime) -> dict[datetime, Sums] | None:
        """
        Return what a budget was charged by UTC hour, in the measures that a budget's windows keep.

        Whole hours are read from its hourly windows, so that the cost grows with hours and not with calls. None where
        its hours are not UTC's.
        """
        whole, broken = _split(start, end)
        found: dict[datetime, Sums] = {}
        if whole is not None and whole.start is not None and whole.end is not None:
            statement = select(spend).where(
                spend.c.budget_id == budget_id,
                spend.c.period == "hourly",
                spend.c.window_start >= iso(whole.start - HOUR),  # one that began before may lie over the start
                spend.c.window_start < iso(whole.end),
            )
            async with self.engine.connect() as connection:
                rows = (await connection.execute(statement)).mappings().all()
            for row in rows:
                hour = from_iso(row["window_start"])
                if hour != _hour(hour):
                    return None
                if hour >= whole.start:
                    found[hour] = Sums(
                        request_count=row["request_count"],
                        input_tokens=row["input_tokens"],
                        output_tokens=row["output_tokens"],
                        cost_nanos=row["spent_nanos"],
                        unpriced_count=row["unpriced_count"],
                    )
        for piece in broken:
            asked = RecordFilter(budget_id=budget_id, start=piece.start, end=piece.end)
            found.update((await self.series(asked, "hour", None)).get("", {}))
        return found

    async def by_day_and_model(self, asked: RecordFilter) -> list[Captured]:
        """Return what the filter asks for by UTC day and model."""
        cells = cells_of(asked)
        keys = (cells.c.day, cells.c.model)
        sums = (func.sum(cells.c[name]) for name in ("cost_nanos", "request_count", "unpriced_count"))
        async with self.engine.connect() as connection:
            rows = await connection.execute(select(*keys, *sums).group_by(*keys).order_by(*keys))
            return [Captured(date.fromisoformat(day), *rest) for day, *rest in rows]

    async def hourly(self, budget_id: str, since: datetime) -> dict[datetime, int]:
        """Return what a budget has spent by hour, in nano-dollars; hours without calls are absent."""
        statement = select(spend.c.window_start, spend.c.spent_nanos).where(
            spend.c.budget_id == budget_id, spend.c.period == "hourly", spend.c.window_start >= iso(since)
        )
        async with self.engine.connect() as connection:
            return {from_iso(start): nanos for start, nanos in await connection.execute(statement)}

    async def components_by_hour(self, since: datetime) -> list[tuple[str, datetime, int]]:
        """Return component, UTC hour and nano-dollars of every hour in which a component has spent."""
        cost = func.sum(rollups.c.cost_nanos)
        statement = (
            select(rollups.c.component, rollups.c.hour, cost)
            .where(rollups.c.hour >= iso(since))
            .group_by(rollups.c.component, rollups.c.hour)
        )
        async with self.engine.connect() as connection:
            return [(name, from_iso(hour), nanos) for name, hour, nanos in await connection.execute(statement)]

    async def top_usage(self, asked: RecordFilter, limit: int) -> list[TopUsage]:
        """Return the models that cost most, then used most, among the newest TOP_OF matches."""
        cells = newest_of(asked, TOP_OF)
        requests, cost = func.sum(cells.c.request_count), func.sum(cells.c.cost_nanos)
        tokens = func.sum(cells.c.input_tokens + cells.c.output_tokens)
        statement = (
            select(cells.c.model, cells.c.provider, requests, tokens, cost)
            .group_by(cells.c.provider, cells.c.model)
            .order_by(cost.desc(), tokens.desc(), cells.c.provider, cells.c.model)
            .limit(limit)
        )
        async with self.engine.connect() as connection:
            return [TopUsage(*row) for row in await connection.execute(statement)]


def newest_of(asked: RecordFilter, number: int) -> Subquery:
    """Return the cells of so many matches, read from an index in its order: what that costs has an end."""
    _, moment, seq = source(asked)
    matches = _from_records(asked, Span(asked.start, asked.end))
    return matches.order_by(moment.desc(), seq.desc()).limit(number).subquery("cells")


def cells_of(asked: RecordFilter) -> Subquery:
    """Return day, hour, groupings and measures of everything the filter asks for, from rollups where they can tell."""
    if asked.budget_id is not None or asked.cost_bases:
        parts = [_from_records(asked, Span(asked.start, asked.end))]
    else:
        whole, broken = _split(asked.start, asked.end)
        parts = [_from_records(asked, span) for span in broken]
        if whole is not None:
            parts.append(_from_rollups(asked, whole))
    return union_all(*parts).subquery("cells")


def _split(start: datetime | None, end: datetime | None) -> tuple[Span | None, list[Span]]:
    """Part a span into its whole hours and the broken hours around them."""
    first = None if start is None else _hour(start + HOUR - timedelta(microseconds=1))
    last = None if end is None else _hour(end)
    if first is not None and last is not None and first >= last:
        return None, [Span(start, end)]
    broken = [Span(start, first)] if start != first else []
    if last != end:
        broken.append(Span(last, end))
    return Span(first, last), broken


def _hour(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)


def _sums(cells: Subquery) -> Iterator[ColumnElement[int]]:
    return (func.sum(cells.c[name]) for name in MEASURES)


def _from_rollups(asked: RecordFilter, span: Span) -> Select[Any]:
    statement = select(
        func.substr(rollups.c.hour, 1, 10).label("day"),
        func.substr(rollups.c.hour, 1, 13).label("hour"),
        *(rollups.c[name] for name in GROUPINGS),
        *(rollups.c[name] for name in MEASURES),
    )
    for name in GROUPINGS:
        if values := asked.among(name):
            statement = statement.where(rollups.c[name].in_(values))
    if span.start is not None:
        statement = statement.where(rollups.c.hour >= iso(span.start))
    if span.end is not None:
        statement = statement.where(rollups.c.hour < iso(span.end))
    return statement


def _from_records(asked: RecordFilter, span: Span) -> Select[Any]:
    where, moment, _ = source(asked)
    wanted = RecordFilter(
        asked.components,
        asked.providers,
        asked.models,
        asked.task_types,
        asked.cost_bases,
        asked.budget_id,
        span.start,
        span.end,
    )
    return (
        select(
            func.substr(moment, 1, 10).label("day"),
            func.substr(moment, 1, 13).label("hour"),
            *(func.coalesce(usage_records.c[name], "").label(name) for name in GROUPINGS),
            *measures_of_records(),
        )
        .select_from(where)
        .where(*conditions(wanted, moment))
    )


def measures_of_records() -> Iterator[ColumnElement[Any]]:
    """Return what one record adds to each of MEASURES; `rows.measures_of` says the same in Python."""
    columns = usage_records.c
    special: dict[str, ColumnElement[Any]] = {
        "request_count": case((columns.corrects.is_(None), literal(1)), else_=literal(0)),
        "cost_nanos": func.coalesce(columns.cost_nanos, 0),
        "unpriced_count": case(UNPRICED_COUNTS, value=columns.cost_basis, else_=literal(0)),
    }
    return ((special[name] if name in special else columns[name]).label(name) for name in MEASURES)
