"""
Sum usage up.

Its one job: totals, groups and daily cost of a time span, exact to its instants.
Rule: SQLite adds up, so that what Python is given is what is answered: a row for each name, and not one for each of its
days. Where the figures are read from is `ledger.cells`'s.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from typing import Any, Self

import orjson
from sqlalchemy import ColumnElement, CompoundSelect, Select, Subquery, desc, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import Executable

from penia_proxy.budget.reconciliation import Captured
from penia_proxy.clock import from_iso, iso
from penia_proxy.ledger.archives import Files
from penia_proxy.ledger.cells import UNTOLD, Cells, Extent, extents_of, fewest_of, newest_of
from penia_proxy.ledger.days import Bucket, Span, hours_of
from penia_proxy.ledger.lists import listing
from penia_proxy.ledger.merging import Ask, Questions, asked_of, shares_of
from penia_proxy.ledger.orders import NEWEST_FIRST
from penia_proxy.ledger.queries import GROUPINGS, Grouping, RecordFilter
from penia_proxy.ledger.schema import rollups, spend

TOP_OF = 2_000
"""Records a list's ranking rests on: a page must not cost more for each record there ever was."""


@dataclass(slots=True)
class Sums:
    """What a set of usage records adds up to. Corrections count as money and tokens, not as requests."""

    request_count: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0
    unpriced_count: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens

    def add(self, other: Self) -> None:
        """Add another set's."""
        self.request_count += other.request_count
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cost_nanos += other.cost_nanos
        self.unpriced_count += other.unpriced_count

    def subtract(self, other: Self) -> None:
        """Take away what is part of it."""
        self.request_count -= other.request_count
        self.input_tokens -= other.input_tokens
        self.output_tokens -= other.output_tokens
        self.cost_nanos -= other.cost_nanos
        self.unpriced_count -= other.unpriced_count


_FIGURES = tuple(figure.name for figure in fields(Sums))


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


@dataclass(frozen=True, slots=True)
class Summaries:
    """The ledger's sums."""

    engine: AsyncEngine = field(repr=False)
    files: Files = field(repr=False)

    async def _summed(
        self, connection: AsyncConnection, makes: Callable[[Extent], Executable], extents: Iterable[Extent]
    ) -> dict[tuple[str, ...], Sums]:
        """Return what a statement finds by the keys before its figures, wherever records are read from."""
        found: dict[tuple[str, ...], Sums] = {}
        for extent in extents:
            statement = makes(extent)
            if extent.archive is None:
                rows: Iterable[Any] = await connection.execute(statement)
            else:
                rows = [row.values() for row in await asyncio.to_thread(self.files.rows, extent.archive, statement)]
            for row in rows:
                *keys, requests, input_tokens, output_tokens, cost, unpriced = row
                found.setdefault(tuple(keys), Sums()).add(Sums(requests, input_tokens, output_tokens, cost, unpriced))
        return found

    async def summary(self, asked: RecordFilter) -> Summary:
        """Sum up what the filter asks for, by every grouping and by day, from one snapshot."""
        groups: dict[Any, dict[str, Sums]] = {kind: {} for kind in (*GROUPINGS, "day")}
        async with self.engine.connect() as connection:
            extents = await extents_of(connection, asked)
            summed = await self._summed(connection, lambda extent: summing(asked, extent), extents)
        for (kind, name), sums in summed.items():
            groups[kind][name] = sums
        days = groups.pop("day")
        totals = Sums()
        for sums in days.values():
            totals.add(sums)
        return Summary(totals, groups, {day: days[day].cost_nanos for day in sorted(days)})

    async def series(self, asked: RecordFilter, bucket: Bucket) -> dict[datetime, Sums]:
        """Return what the filter asks for by bucket; empty ones are absent."""
        async with self.engine.connect() as connection:
            extents = await extents_of(connection, asked)
            summed = await self._summed(connection, lambda extent: bucketing(asked, extent, bucket), extents)
        return {from_iso(start): sums for (start,), sums in summed.items()}

    async def series_of_groups(
        self, asked: RecordFilter, bucket: Bucket, grouping: Grouping, most: int
    ) -> dict[str | None, dict[datetime, Sums]]:
        """Return the same of the groups that cost ``most``, the dearest first, and at last of all others as None."""
        async with self.engine.connect() as connection:
            extents = await extents_of(connection, asked)
            dearest = await self._dearest(connection, asked, grouping, most + 1)
            found: dict[str | None, dict[datetime, Sums]] = {name: {} for name in dearest[:most]}
            told_apart = await self._summed(
                connection, lambda extent: bucketing(asked, extent, bucket, grouping, dearest[:most]), extents
            )
            for (name, start), sums in told_apart.items():
                found[name][from_iso(start)] = sums
            if len(dearest) > most:
                # By taking away: sorting all names by all buckets would cost several times as much.
                everything = await self._summed(connection, lambda extent: bucketing(asked, extent, bucket), extents)
                rest = {from_iso(start): sums for (start,), sums in everything.items()}
                for buckets in found.values():
                    for at, sums in buckets.items():
                        rest[at].subtract(sums)
                found[None] = {at: sums for at, sums in rest.items() if sums != Sums()}
        return found

    async def _dearest(
        self, connection: AsyncConnection, asked: RecordFilter, grouping: Grouping, most: int
    ) -> list[str]:
        """Return so many names that cost most; of some that cost the same, the first by name."""
        extents = await extents_of(connection, asked)
        # What one file's records cost most for need not be what those of all do.
        limit = most if len(extents) == 1 else None
        summed = await self._summed(connection, lambda extent: ranking(asked, extent, grouping, limit), extents)
        return sorted((name for (name,) in summed), key=lambda name: (-summed[name,].cost_nanos, name))[:most]

    async def hours_of(self, budget_id: str, start: datetime, end: datetime) -> dict[datetime, Sums] | None:
        """
        Return what a budget was charged by UTC hour, in the measures that a budget's windows keep.

        Whole hours are read from its hourly windows, so that the cost grows with hours and not with calls. None where
        its hours are not UTC's.
        """
        parts = hours_of(Span(start, end))
        found: dict[datetime, Sums] = {}
        for whole in parts.hours:
            statement = select(spend).where(
                spend.c.budget_id == budget_id,
                spend.c.period == "hourly",
                spend.c.window_start
                > iso(whole.start - timedelta(hours=1)),  # one that began before may lie over the start
                spend.c.window_start < iso(whole.end),
            )
            async with self.engine.connect() as connection:
                rows = (await connection.execute(statement)).mappings().all()
            for row in rows:
                hour = from_iso(row["window_start"])
                if hour.minute or hour.second:
                    return None
                found[hour] = Sums(
                    request_count=row["request_count"],
                    input_tokens=row["input_tokens"],
                    output_tokens=row["output_tokens"],
                    cost_nanos=row["spent_nanos"],
                    unpriced_count=row["unpriced_count"],
                )
        for piece in parts.broken:
            asked = RecordFilter(budget_id=budget_id, start=piece.start, end=piece.end)
            found.update(await self.series(asked, "hour"))
        return found

    async def by_day_and_model(self, asked: RecordFilter) -> list[Captured]:
        """Return what the filter asks for by UTC day and model."""
        async with self.engine.connect() as connection:
            extents = await extents_of(connection, asked)
            summed = await self._summed(connection, lambda extent: capturing(asked, extent), extents)
        return [
            Captured(date.fromisoformat(day), model, sums.cost_nanos, sums.request_count, sums.unpriced_count)
            for (day, model), sums in sorted(summed.items(), key=lambda one: one[0])
        ]

    async def hourly(self, budget_id: str, since: datetime) -> dict[datetime, int]:
        """Return what a budget has spent by hour, in nano-dollars; hours without calls are absent."""
        statement = select(spend.c.window_start, spend.c.spent_nanos).where(
            spend.c.budget_id == budget_id, spend.c.period == "hourly", spend.c.window_start >= iso(since)
        )
        async with self.engine.connect() as connection:
            return {from_iso(start): nanos for start, nanos in await connection.execute(statement)}

    async def first_hour(self, budget_id: str, since: datetime, until: datetime) -> datetime | None:
        """Return the first hour between two instants in which a budget has spent; None where it has not."""
        statement = select(func.min(spend.c.window_start)).where(
            spend.c.budget_id == budget_id,
            spend.c.period == "hourly",
            spend.c.window_start >= iso(since),
            spend.c.window_start < iso(until),
            spend.c.spent_nanos > 0,
        )
        async with self.engine.connect() as connection:
            found = await connection.scalar(statement)
        return found and from_iso(found)

    async def hours_of_components(self, since: datetime, until: datetime) -> dict[str, list[int]]:
        """Return the nano-dollars of every hour in which a component has spent, by component."""
        hours = _component_hours(rollups.c.hour >= iso(since), rollups.c.hour < iso(until)).subquery()
        # As one text each: a row for each hour of each component would hold up every call for a quarter of a second.
        lists = select(hours.c.component, func.json_group_array(hours.c.nanos)).group_by(hours.c.component)
        async with self.engine.connect() as connection:
            return {name: orjson.loads(nanos) for name, nanos in await connection.execute(lists)}

    async def hour_of_components(self, hour: datetime) -> dict[str, int]:
        """Return the nano-dollars that each component has spent in an hour."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(_component_hours(rollups.c.hour == iso(hour)))
            return {name: nanos for name, _, nanos in rows}

    async def top_usage(self, asked: RecordFilter, limit: int) -> list[TopUsage]:
        """
        Return the models that cost most, then used most, among the newest TOP_OF matches.

        Of what names several things: among all matches. The newest of these may be far apart.
        """
        async with self.engine.connect() as connection:
            extents = await extents_of(connection, asked) if len(asked.kinds) > 1 else []
            return await asked_of(connection, self.files, _top_usage(asked, extents, limit))


def _top_usage(asked: RecordFilter, extents: Sequence[Extent], limit: int) -> Questions[list[TopUsage]]:
    """Return the ranking of a list; ``extents``: of all that match, wherever they are."""
    if extents:
        cells = [(every_of(asked, extent), extent.archive) for extent in extents]
    else:
        shares = yield from shares_of(asked, NEWEST_FIRST, lambda part: listing(part.asked), TOP_OF)
        cells = [(newest_of(part.asked, share), part.archive) for part, share in shares.items()]
    most = limit if len(cells) == 1 else None
    used: dict[tuple[str, str], tuple[int, int, int]] = {}
    for some, archive in cells:
        for row in (yield Ask(topping(some, most), archive)):
            names = row["model"], row["provider"]
            before = used.get(names, (0, 0, 0))
            used[names] = before[0] + row["requests"], before[1] + row["tokens"], before[2] + row["cost"]
    found = [TopUsage(*names, *figures) for names, figures in used.items()]
    return sorted(found, key=lambda one: (-one.cost_nanos, -one.tokens, one.provider, one.model))[:limit]


def every_of(asked: RecordFilter, extent: Extent) -> Subquery:
    """Return the cells of all matches, as far as an extent has them."""
    every = Cells(asked, extent)
    return _added([*every.unfolded(), *every.folded()], "provider", "model").subquery("cells")


def topping(cells: Subquery, limit: int | None) -> Select[Any]:
    """Return the statement of so many models, by default all, that cost most in some cells."""
    requests, cost = func.sum(cells.c.request_count).label("requests"), func.sum(cells.c.cost_nanos).label("cost")
    tokens = func.sum(cells.c.input_tokens + cells.c.output_tokens).label("tokens")
    return (
        select(cells.c.model, cells.c.provider, requests, tokens, cost)
        .group_by(cells.c.provider, cells.c.model)
        .order_by(cost.desc(), tokens.desc(), cells.c.provider, cells.c.model)
        .limit(limit)
    )


def summing(asked: RecordFilter, extent: Extent) -> CompoundSelect[Any]:
    """Return the statement of a summary: figures by a grouping and its names, and by ``day`` and days."""
    cells = Cells(asked, extent, each=GROUPINGS)
    # Once, so that it is not read again for each grouping.
    shared = cells.unfolded() if cells.apart else [*cells.unfolded(), *cells.folded()]
    known = _added(shared, "day", *GROUPINGS).cte("known").prefix_with("MATERIALIZED")
    said = []
    for grouping in GROUPINGS:
        rest = cells.folded(grouping) if cells.apart else []
        said.append(_added([known.select(), *rest], grouping, kind=grouping))
    told = known.select().where(known.c.day != UNTOLD)
    return union_all(*said, _added([told, *cells.folded(fewest_of(asked), told="day")], "day", kind="day"))


def bucketing(
    asked: RecordFilter, extent: Extent, bucket: Bucket, grouping: Grouping | None = None, names: Sequence[str] = ()
) -> Select[Any]:
    """Return the statement of figures over time: (of some names of a grouping: name,) bucket and figures."""
    by = grouping or fewest_of(asked)
    cells = Cells(asked, extent, each=[by], told=bucket)
    parts = [*cells.unfolded(), *cells.folded(by)]
    if grouping is None:
        return _added(parts, bucket)
    return _added([part.where(part.selected_columns[by].in_(names)) for part in parts], by, bucket)


def ranking(asked: RecordFilter, extent: Extent, grouping: Grouping, most: int | None) -> Select[Any]:
    """Return the statement of so many names, by default all, with their figures, that cost most."""
    cells = Cells(asked, extent, each=[grouping])
    parts = [*cells.unfolded(), *cells.folded(grouping)]
    return _added(parts, grouping).order_by(desc("cost_nanos"), grouping).limit(most)


def capturing(asked: RecordFilter, extent: Extent) -> Select[Any]:
    """Return the statement of figures by day and model."""
    cells = Cells(asked, extent, told="day")
    return _added([*cells.unfolded(), *cells.folded()], "day", "model").order_by("day", "model")


def _component_hours(*which: ColumnElement[bool]) -> Select[Any]:
    key = (rollups.c.component, rollups.c.hour)
    return select(*key, func.sum(rollups.c.cost_nanos).label("nanos")).where(*which).group_by(*key)


def _added(parts: Iterable[Select[Any]], *keys: str, kind: str | None = None) -> Select[Any]:
    """Return the statement of what cells add up to: ``kind``, the keys they are told apart by, and figures."""
    named = [one.subquery() for one in parts]
    cells = union_all(*(select(*(one.c[name] for name in (*keys, *_FIGURES))) for one in named)).subquery("cells")
    told_apart = [cells.c[key] for key in keys]
    said = [] if kind is None else [literal(kind).label("kind")]
    columns = [*said, *told_apart, *(func.sum(cells.c[name]).label(name) for name in _FIGURES)]
    return select(*columns).group_by(*told_apart)
