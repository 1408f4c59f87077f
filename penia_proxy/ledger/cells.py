"""
Say where figures are read from.

Its one job: the statements that yield the cells (day, hour, groupings and measures) of what a filter asks for, exact
to its instants.
Rules: whole units are read from folds, as few as they are, so that a summary grows neither with hours nor with calls;
what is not folded yet from `rollups`, and broken hours from the records. Where groupings are told apart and not which
names go together, it is the folds by name that are read, of which single hours are, too: these are fewer rows; of
names together the hours at both ends are read from `rollups`. Each cell is read once: it is folded, or behind
`folded_until`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Subquery, Table, case, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from penia_proxy.budget.usage import UNPRICED_COUNTS
from penia_proxy.clock import from_iso, iso
from penia_proxy.ledger.archives import ARCHIVES, Archive, archives_of
from penia_proxy.ledger.days import DAY, LONG, UNITS, Bucket, Parts, Span, Unit, hours_of, parted, units_of
from penia_proxy.ledger.merging import touches, within
from penia_proxy.ledger.queries import GROUPINGS, Grouping, RecordFilter, conditions, source
from penia_proxy.ledger.rows import MEASURES, RollupKey
from penia_proxy.ledger.schema import budget_sets, folded_until, folds, folds_by_name, rollups, usage_records

KEY = tuple(rollups.primary_key)
_DAY = UNITS["day"]
_HOUR = UNITS["hour"]
UNTOLD = ""
ANY = ""
_USABLE: Mapping[tuple[Bucket | None, str], Sequence[Unit]] = {
    (None, "folds"): [*LONG],
    ("day", "folds"): ["day", "hours"],
    (None, "folds_by_name"): [*UNITS],
    ("day", "folds_by_name"): ["day", "hours", "hour"],
    ("hour", "folds_by_name"): ["hour"],
}
"""What units a table is read in, by what has to be told apart."""
_NOWHEN = datetime(2000, 1, 1, tzinfo=UTC)


class Extent(NamedTuple):
    """The days of which there are rollups, and how far these are folded."""

    start: datetime
    end: datetime
    """Not after `start` where there are none."""
    folded: RollupKey
    archives: tuple[Archive, ...]
    """What of the records is elsewhere."""
    archive: Archive | None = None
    """Where the records are read from, and nothing else is; None: the ledger itself is read."""


EXTENT = select(*(select(end(rollups.c.hour)).scalar_subquery() for end in (func.min, func.max)), folded_until)


async def extent_of(connection: AsyncConnection) -> Extent:
    """Return it as of the connection's snapshot."""
    oldest, newest, *folded = (await connection.execute(EXTENT)).one()
    known = tuple(archives_of((await connection.execute(ARCHIVES)).mappings().all()))
    if oldest is None:
        return Extent(_NOWHEN, _NOWHEN, tuple(folded), known)
    first, last = from_iso(oldest[:_DAY]), from_iso(newest[:_DAY])
    return Extent(first, last + DAY, tuple(folded), known)


async def extents_of(connection: AsyncConnection, asked: RecordFilter) -> list[Extent]:
    """Return from where what is asked for is read: the ledger, and the archives that have records of it."""
    extent = await extent_of(connection)
    broken = [replace(asked, start=one.start, end=one.end) for one in Cells(asked, extent).broken]
    others = (one for one in extent.archives if any(touches(one, piece) for piece in broken))
    return [extent, *(extent._replace(archive=one) for one in others)]


class Cells:
    """The cells that a filter asks for, in one snapshot."""

    def __init__(
        self, asked: RecordFilter, extent: Extent, *, each: Sequence[Grouping] = (), told: Bucket | None = None
    ) -> None:
        """
        Say what has to be known of them.

        ``each``: groupings that are asked for one at a time, so that it need not be known which names go together.
        ``told``: days or hours are told apart in all cells.
        """
        self._asked = asked
        self._folded = extent.folded
        self._told = told
        # Within the days there are, so that a span since 1970 is not made of all of them.
        span = Span(max(asked.start or extent.start, extent.start), min(asked.end or extent.end, extent.end))
        named = {grouping for grouping in GROUPINGS if asked.among(grouping)}
        self.apart = bool(each) and all(named <= {grouping} for grouping in each)
        """Whether groupings are indeed read one at a time: nothing is asked for that does not let them."""
        if self.apart or told != "hour":
            self._parts = parted(span, every_hour=self.apart)
        else:
            self._parts = hours_of(span)
        if extent.archive is not None:
            self._asked = within(extent.archive, asked).asked
            self._parts = Parts(None, (), self._parts.broken)

    @property
    def broken(self) -> tuple[Span, ...]:
        """What is read from the records."""
        return self._parts.broken

    def unfolded(self) -> list[Select[Any]]:
        """Return day, hour, groupings and measures of what is not read from folds: at least one statement."""
        found = [_of_records(self._asked, *span) for span in self._parts.broken]
        found += [_of_rollups(self._asked, span) for span in self._parts.hours]
        if self._parts.units is not None:
            found.append(self._behind(self._parts.units))
        return found

    def folded(self, grouping: Grouping | None = None, *, told: Bucket | None = None) -> list[Select[Any]]:
        """
        Return the same of the rest; UNTOLD are hours, and days where these need not be told apart.

        ``grouping``: which of `each` it is about. ``told``: more than of all cells.
        """
        units, told = self._parts.units, told or self._told
        if units is None:
            return []
        if not self.apart or grouping is None:
            return [_of_folds(folds, self._asked, [folds.c[name] for name in GROUPINGS], units, told)]
        columns = folds_by_name.c
        any_name = RecordFilter(cost_bases=self._asked.cost_bases, budget_id=self._asked.budget_id)
        named = _of_folds(folds_by_name, any_name, [columns.name.label(grouping)], units, told)
        values = self._asked.among(grouping)
        return [named.where(columns.grouping == grouping, *([columns.name.in_(values)] if values else ()))]

    def _behind(self, units: Span) -> Select[Any]:
        """Return the cells of whole units that are not folded yet."""
        if iso(units.start) > self._folded[0]:
            return _of_rollups(self._asked, units)
        # In place of the units' start: beside it SQLite might walk from there.
        return _of_rollups(self._asked, units, since=tuple_(*KEY) > tuple_(*self._folded))


def fewest_of(asked: RecordFilter) -> Grouping:
    """Return what to tell apart where nothing need be: the one grouping that is asked for, or one of few."""
    named = [grouping for grouping in GROUPINGS if asked.among(grouping)]
    return named[0] if len(named) == 1 else "provider"


def newest_of(asked: RecordFilter, number: int) -> Subquery:
    """Return the cells of so many matches, read from an index in its order: what that costs has an end."""
    _, moment, seq = source(asked)
    matches = _of_records(asked, asked.start, asked.end)
    return matches.order_by(moment.desc(), seq.desc()).limit(number).subquery("cells")


def _of_folds(
    table: Table, asked: RecordFilter, names: Iterable[ColumnElement[str]], units: Span, told: Bucket | None
) -> Select[Any]:
    usable = _USABLE[told, table.name]
    return select(
        (literal(UNTOLD) if told is None else func.substr(table.c.span, 1, _DAY)).label("day"),
        (table.c.span if told == "hour" else literal(UNTOLD)).label("hour"),
        *names,
        *(table.c[name] for name in MEASURES),
    ).where(*in_folds(asked, table.c), table.c.span.in_(units_of(units, usable)))


def _of_rollups(asked: RecordFilter, span: Span, *, since: ColumnElement[bool] | None = None) -> Select[Any]:
    hour = rollups.c.hour
    return select(
        func.substr(hour, 1, _DAY).label("day"),
        func.substr(hour, 1, _HOUR).label("hour"),
        *(rollups.c[name] for name in (*GROUPINGS, *MEASURES)),
    ).where(
        hour >= iso(span.start) if since is None else since,
        hour < iso(span.end),
        *in_rollups(asked),
    )


def in_folds(asked: RecordFilter, columns: Any) -> Iterator[ColumnElement[bool]]:
    """Return which rows of a table of folds are of what is asked for; names where the table tells them apart."""
    yield columns.budget_id == (asked.budget_id or ANY)
    yield columns.cost_basis.in_(asked.cost_bases or (ANY,))
    yield from _named(asked, columns)


def in_rollups(asked: RecordFilter) -> Iterator[ColumnElement[bool]]:
    """Return which rollups are of what is asked for."""
    yield from _named(asked, rollups.c)
    if asked.cost_bases:
        yield rollups.c.cost_basis.in_(asked.cost_bases)
    if asked.budget_id is not None:
        yield rollups.c.set_id.in_(select(budget_sets.c.set_id).where(budget_sets.c.budget_id == asked.budget_id))


def _named(asked: RecordFilter, columns: Any) -> Iterator[ColumnElement[bool]]:
    return (columns[grouping].in_(values) for grouping in GROUPINGS if (values := asked.among(grouping)))


def _of_records(asked: RecordFilter, start: datetime | None, end: datetime | None) -> Select[Any]:
    where, moment, _ = source(asked)
    return (
        select(
            func.substr(moment, 1, _DAY).label("day"),
            func.substr(moment, 1, _HOUR).label("hour"),
            *(func.coalesce(usage_records.c[name], "").label(name) for name in GROUPINGS),
            *measures_of_records(),
        )
        .select_from(where)
        .where(*conditions(replace(asked, start=start, end=end), moment))
    )


def measures_of_records() -> Iterator[ColumnElement[Any]]:
    """Return what one record adds to each of MEASURES; `rows.measures_of` says the same in Python."""
    columns = usage_records.c
    special: dict[str, ColumnElement[Any]] = {
        "record_count": literal(1),
        "request_count": case((columns.corrects.is_(None), literal(1)), else_=literal(0)),
        "cost_nanos": func.coalesce(columns.cost_nanos, 0),
        "unpriced_count": case(UNPRICED_COUNTS, value=columns.cost_basis, else_=literal(0)),
    }
    return ((special[name] if name in special else columns[name]).label(name) for name in MEASURES)
