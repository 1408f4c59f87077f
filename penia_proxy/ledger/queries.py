"""
Read the ledger.

Its one job: budgets, tallies and usage records, each answer from one snapshot.
Rules: reads are read-only connections of their own and never wait for the writer. Lists are newest first, by timestamp
and then by the order of writing, and every filter has an index in that order.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import Column, ColumnElement, FromClause, Select, func, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from penia_proxy.budget.budget import Budget
from penia_proxy.budget.record import Tally, UsageRecord
from penia_proxy.budget.windows import WindowKey
from penia_proxy.clock import from_iso, iso
from penia_proxy.config import Period
from penia_proxy.errors import InvalidRequest
from penia_proxy.ledger.archives import ARCHIVES, Archive, Files, archives_of, newest_record
from penia_proxy.ledger.merging import (
    Ask,
    Found,
    Order,
    Part,
    Questions,
    T,
    asked_of,
    first_of,
    having_name,
    parts_of,
    place_of,
)
from penia_proxy.ledger.rows import TALLIED, budget_from, record_of
from penia_proxy.ledger.schema import (
    archived,
    archives,
    budgets,
    charges,
    folds_by_name,
    other_names,
    spend,
    usage_records,
)

OFFSET_MAX = 10_000_000
COUNTED_MAX = 10_000
"""
Matches of a filter that are counted: an index is walked so far in a few ms, and over ten million in a second. The
number of all records is known without counting. Elasticsearch stops there by default, too:
https://www.elastic.co/guide/en/elasticsearch/reference/7.1/search-request-track-total-hits.html
"""
NEWEST_FIRST = Order()
_BEYOND = "\U0010ffff"
"""Sorts behind whatever a name goes on with."""

Grouping = Literal["component", "provider", "model", "task_type"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)

_MATTERS: tuple[tuple[tuple[Period, ...], timedelta | None], ...] = (
    (("hourly", "daily"), timedelta(days=3)),
    (("weekly", "monthly"), timedelta(days=40)),
    (("total",), None),
)
"""Windows that began before this cannot be the present one, nor the one of a call still running."""


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which usage records; an empty tuple is any. ``start`` is inclusive, ``end`` is not."""

    components: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    task_types: tuple[str, ...] = ()
    cost_bases: tuple[str, ...] = ()
    budget_id: str | None = None
    """Any budget that was charged, not only the record's most specific."""
    start: datetime | None = None
    end: datetime | None = None
    until_seq: int | None = None
    """Of those written so far: what an archive has in a snapshot, or what there was when somebody began to walk."""

    def among(self, grouping: Grouping) -> tuple[str, ...]:
        """Return the values asked for."""
        return {
            "component": self.components,
            "provider": self.providers,
            "model": self.models,
            "task_type": self.task_types,
        }[grouping]


class RecordPage(NamedTuple):
    """One page of a list, newest first."""

    records: list[UsageRecord]
    total: int
    """All matches, on whatever page; COUNTED_MAX where there are more."""
    exact: bool
    """Whether ``total`` is all of them."""
    next_cursor: str | None
    """What to ask with for the records after these; None at the end."""


def source(asked: RecordFilter) -> tuple[FromClause, Column[Any], Column[Any]]:
    """Return where the records are, and the timestamp and sequence columns that are indexed there."""
    if asked.budget_id is None:
        return usage_records, usage_records.c.timestamp, usage_records.c.seq
    joined = charges.join(usage_records, charges.c.record_seq == usage_records.c.seq)
    return joined, charges.c.timestamp, charges.c.record_seq


def conditions(
    asked: RecordFilter,
    moment: ColumnElement[str],
    columns: ReadOnlyColumnCollection[str, Any] = usage_records.c,
) -> list[ColumnElement[bool]]:
    """Return what the records asked for have in common."""
    found = [_any_of(columns[grouping], asked.among(grouping)) for grouping in GROUPINGS]
    found.append(_any_of(columns.cost_basis, asked.cost_bases))
    if asked.budget_id is not None:
        found.append(charges.c.budget_id == asked.budget_id)
    if asked.start is not None:
        found.append(moment >= iso(asked.start))
    if asked.end is not None:
        found.append(moment < iso(asked.end))
    if asked.until_seq is not None:
        found.append((columns.seq if asked.budget_id is None else charges.c.record_seq) <= asked.until_seq)
    return [condition for condition in found if condition is not None]


def _any_of(column: ColumnElement[Any], values: Sequence[str]) -> ColumnElement[bool] | None:
    if not values:
        return None
    return column == values[0] if len(values) == 1 else column.in_(values)


class Queries:
    """The ledger's reads."""

    def __init__(self, engine: AsyncEngine, files: Files) -> None:
        self._engine = engine
        self._files = files

    async def _answer(self, questions: Questions[T]) -> T:
        async with self._engine.connect() as connection:
            return await asked_of(connection, self._files, questions)

    async def records(
        self, asked: RecordFilter, *, page: int = 1, limit: int = 20, cursor: str | None = None
    ) -> RecordPage:
        """
        Return one page, newest first.

        A ``cursor`` (of an earlier page) replaces ``page`` and costs the same however deep. Raises InvalidRequest for
        one that is not ours, ArchiveUnavailable.
        """
        if page * limit > OFFSET_MAX:
            raise InvalidRequest("that page is too deep to count to: follow next_cursor")
        return await self._answer(_page(asked, page, limit, cursor))

    async def require(self, asked: RecordFilter) -> None:
        """Raise ArchiveUnavailable where some of what is asked for cannot be read."""
        await self._answer(readable(asked))

    async def record(self, record_id: str) -> UsageRecord | None:
        """Return one record."""
        return await self._answer(_one("record_id", record_id))

    async def billed(self, once_key: str) -> UsageRecord | None:
        """Return the record with a once-key."""
        return await self._answer(_one("once_key", once_key))

    async def once_key_of(self, name: str) -> str | None:
        """Return the once-key whose bill has this other name."""
        statement = select(other_names.c.once_key).where(other_names.c.name == name)
        async with self._engine.connect() as connection:
            found: str | None = await connection.scalar(statement)
        return found

    async def oldest(self) -> datetime | None:
        """Return the instant of the oldest record."""
        firsts = [select(func.min(one)).scalar_subquery() for one in (usage_records.c.timestamp, archives.c.first_at)]
        async with self._engine.connect() as connection:
            found = [first for first in (await connection.execute(select(*firsts))).one() if first is not None]
        return from_iso(min(found)) if found else None

    async def corrections(self, record_id: str) -> list[UsageRecord]:
        """Return the corrections of a record, in the order of writing."""
        return await self._answer(_corrections(record_id))

    async def seen(self, kind: str, beginning: str, *, exact: bool = False) -> bool:
        """Return whether a record has such a name of a `Grouping`, or one that begins so; found by its index."""

        def which(column: ColumnElement[str]) -> ColumnElement[bool]:
            return column == beginning if exact else (column >= beginning) & (column < beginning + _BEYOND)

        return await self._answer(_seen(kind, which))

    async def budgets(self) -> list[Budget]:
        """Return every budget, oldest first, inactive ones included."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(select(budgets).order_by(budgets.c.created_at, budgets.c.budget_id))
            return [budget_from(row) for row in rows.mappings()]

    async def tallies(self, now: datetime) -> dict[WindowKey, Tally]:
        """Return the tallies of every window that may still matter at the instant."""
        parts = [_tallies_since(periods, now - age if age else None) for periods, age in _MATTERS]
        async with self._engine.connect() as connection:
            rows = (await connection.execute(union_all(*parts))).mappings().all()
        return {
            WindowKey(row["budget_id"], row["period"], from_iso(row["window_start"])): Tally(
                **{name: row[name] for name in TALLIED}
            )
            for row in rows
        }


def listing(asked: RecordFilter, cursor: str | None = None) -> Select[Any]:
    """Return the statement of the records asked for, newest first, those behind a cursor's only."""
    where, moment, seq = source(asked)
    statement = select(usage_records).select_from(where).where(*conditions(asked, moment))
    if cursor is not None:
        statement = statement.where(tuple_(moment, seq) < tuple_(*position_of(cursor)))
    return statement.order_by(moment.desc(), seq.desc())


def _page(asked: RecordFilter, page: int, limit: int, cursor: str | None) -> Questions[RecordPage]:
    parts = yield from parts_of(asked, NEWEST_FIRST)
    if cursor is None and len(parts) == 1:
        rows = yield Ask(listing(asked).offset((page - 1) * limit).limit(limit + 1))
        found = [Found(row, None) for row in rows]
    else:
        found = yield from _behind(parts, (page - 1) * limit, limit, cursor)
    total = yield from _counted(parts, asked)
    records = yield from records_of(found[:limit])
    last = found[limit - 1].row if len(found) > limit else None
    cursor = None if last is None else cursor_of(last["timestamp"], last["seq"])
    if not is_everything(asked) and total > COUNTED_MAX:
        return RecordPage(records, COUNTED_MAX, exact=False, next_cursor=cursor)
    return RecordPage(records, total, exact=True, next_cursor=cursor)


def readable(asked: RecordFilter) -> Questions[None]:
    """Ask each file that has some of it something."""
    for part in (yield from parts_of(asked, NEWEST_FIRST)):
        yield Ask(listing(part.asked).limit(1), part.archive)


def _behind(parts: list[Part], skipped: int, limit: int, cursor: str | None) -> Questions[list[Found]]:
    """Return the rows of a page, and one more that tells whether another follows."""
    if cursor is None and skipped:
        last = yield from place_of(parts, NEWEST_FIRST, lambda part: listing(part.asked), skipped - 1)
        if last is None:
            return []
        cursor = cursor_of(last["timestamp"], last["seq"])
    if cursor is not None:
        newest, _ = position_of(cursor)
        parts = [one for one in parts if one.archive is None or one.archive.start <= newest]
    return (yield from first_of(parts, NEWEST_FIRST, lambda part: listing(part.asked, cursor), limit + 1))


def _counted(parts: list[Part], asked: RecordFilter) -> Questions[int]:
    total = 0
    for part in parts[:1] if is_everything(asked) else parts:
        if total <= COUNTED_MAX:
            total += (yield Ask(counting(part.asked), part.archive))[0]["number"]
    return total


def is_everything(asked: RecordFilter) -> bool:
    """Whether a filter asks for all records."""
    return asked == RecordFilter()


def _one(name: Literal["record_id", "once_key"], value: str) -> Questions[UsageRecord | None]:
    archive = yield from _archive_of(archived.c[name] == value)
    for its in dict.fromkeys((None, archive)):
        rows = yield Ask(select(usage_records).where(usage_records.c[name] == value), its)
        if rows:
            return (yield from records_of([Found(rows[0], its)]))[0]
    return None


def _corrections(record_id: str) -> Questions[list[UsageRecord]]:
    archive = yield from _archive_of(archived.c.record_id == record_id)
    found: list[Found] = []
    for its in dict.fromkeys((None, archive)):  # a correction has its call's instant, and so its month
        statement = select(usage_records).where(usage_records.c.corrects == record_id)
        if its is not None:
            statement = statement.where(usage_records.c.seq <= its.until_seq)
        found += [Found(row, its) for row in (yield Ask(statement, its))]
    return (yield from records_of(sorted(found, key=lambda one: int(one.row["seq"]))))


def _archive_of(which: ColumnElement[bool]) -> Questions[Archive | None]:
    """Return the archive that has a record; None where the ledger itself would have it."""
    rows = yield Ask(select(archives).join(archived, archived.c.month == archives.c.month).where(which))
    return archives_of(rows)[0] if rows else None


def _seen(kind: str, which: Callable[[ColumnElement[str]], ColumnElement[bool]]) -> Questions[bool]:
    find = select(usage_records.c.seq).where(which(usage_records.c[kind])).limit(1)
    if (yield Ask(find)):
        return True
    others = archives_of((yield Ask(ARCHIVES)))
    having, unknown = yield from having_name(others, kind, which(folds_by_name.c.name))
    if having:
        return True
    for archive in unknown:
        if (yield Ask(find.where(usage_records.c.seq <= archive.until_seq), archive)):
            return True
    return False


def records_of(found: Sequence[Found]) -> Questions[list[UsageRecord]]:
    """Return the records of rows, with the budgets that they were charged to."""
    numbers: dict[Archive | None, list[int]] = {}
    for row, archive in found:
        numbers.setdefault(archive, []).append(row["seq"])
    charged: dict[int, list[str]] = {}
    for archive, seqs in numbers.items():
        for row in (yield Ask(charges_of(seqs), archive)):
            charged.setdefault(row["record_seq"], []).append(row["budget_id"])
    return [record_of(row, charged.get(row["seq"], ())) for row, _ in found]


def counting(asked: RecordFilter) -> Select[Any]:
    """
    Return the statement of the number of matches, which is not counted further than one past COUNTED_MAX.

    Of all records it is known: they are numbered from 1 without gaps.
    """
    if is_everything(asked):
        return select(newest_record().scalar_subquery().label("number"))
    where, moment, _ = source(asked)
    wanted = conditions(asked, moment)
    of_one = RecordFilter(budget_id=asked.budget_id, start=asked.start, end=asked.end, until_seq=asked.until_seq)
    if asked == of_one and asked.budget_id:
        where = charges  # which says all that is asked
    matches = select(moment).select_from(where).where(*wanted).limit(COUNTED_MAX + 1).subquery()
    return select(func.count().label("number")).select_from(matches)


def charges_of(seqs: Sequence[int]) -> Select[Any]:
    """Return the statement of the budgets that records were charged to, most specific first."""
    return (
        select(charges.c.record_seq, charges.c.budget_id)
        .where(charges.c.record_seq.in_(seqs))
        .order_by(charges.c.record_seq, charges.c.position)
    )


def _tallies_since(periods: Sequence[Period], since: datetime | None) -> Select[Any]:
    # By way of the budgets, so that each one's windows are found by key and its history is not read.
    statement = select(spend).join_from(budgets, spend, spend.c.budget_id == budgets.c.budget_id)
    statement = statement.where(spend.c.period.in_(periods))
    return statement if since is None else statement.where(spend.c.window_start >= iso(since))


def cursor_of(timestamp: str, seq: int) -> str:
    """Return the cursor of a record."""
    return base64.urlsafe_b64encode(f"{timestamp}/{seq}".encode()).decode().rstrip("=")


def position_of(cursor: str) -> tuple[str, int]:
    """Return the timestamp and number of a cursor's record. Raises InvalidRequest for a cursor that is not ours."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        timestamp, _, seq = text.partition("/")
        return iso(from_iso(timestamp)), int(seq)
    except (ValueError, binascii.Error) as error:
        raise InvalidRequest("cursor: not one that a list answered with") from error
