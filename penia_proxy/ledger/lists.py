"""
List usage records.

Its one job: one page of the records that a filter asks for, in one of `ledger.orders`, and how many there are.
Rules: all from one snapshot. What names one thing is read from that one's index, which is in the order of time; what
names several, newest first, from the rarest one's, in the hours in which they go together (`ledger.together`), so that
a page costs the same however many records have only some of them. By cost, `ledger.dearest` finds them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, FromClause, RowMapping, Select, exists, func, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from penia_proxy.budget.record import UsageRecord
from penia_proxy.clock import from_iso, iso
from penia_proxy.errors import InvalidRequest
from penia_proxy.ledger.cells import Cells, Extent, extent_of
from penia_proxy.ledger.days import Span
from penia_proxy.ledger.dearest import Matching, Piece, by_cost
from penia_proxy.ledger.orders import NEWEST_FIRST, Order, Position
from penia_proxy.ledger.queries import GROUPINGS, RecordFilter, charged, conditions, source
from penia_proxy.ledger.rows import HOUR_REST, record_of
from penia_proxy.ledger.schema import charges, usage_records
from penia_proxy.ledger.together import Bounds, newest, rarest

OFFSET_MAX = 10_000_000
COUNTED_MAX = 10_000
"""
Matches of a filter that are counted: an index is walked so far in a few ms, and over ten million in a second. The
number of all records is known without counting, and of those with several names it is a sum of sums. Elasticsearch
stops there by default, too:
https://www.elastic.co/guide/en/elasticsearch/reference/7.1/search-request-track-total-hits.html
"""
_HOUR = timedelta(hours=1)


class RecordPage(NamedTuple):
    """One page of a list, in its order."""

    records: list[UsageRecord]
    total: int
    """All matches, on whatever page; COUNTED_MAX where there are more and they were counted."""
    exact: bool
    """Whether ``total`` is all of them."""
    next_cursor: str | None
    """What to ask with for the records after these; None at the end."""


@dataclass(frozen=True, slots=True)
class Lists:
    """The ledger's lists of records."""

    engine: AsyncEngine

    async def records(
        self,
        asked: RecordFilter,
        *,
        order: Order = NEWEST_FIRST,
        page: int = 1,
        limit: int = 20,
        cursor: str | None = None,
    ) -> RecordPage:
        """
        Return one page.

        A ``cursor`` (of an earlier page, in the same order) replaces ``page`` and costs the same however deep. Raises
        InvalidRequest for one that is not ours.
        """
        if page * limit > OFFSET_MAX:
            raise InvalidRequest("that page is too deep to count to: follow next_cursor")
        after = None if cursor is None else order.position_of(cursor)
        # One more than is shown tells whether another page follows.
        piece = Piece(order, after, 0 if after else (page - 1) * limit, limit + 1)
        async with self.engine.connect() as connection:
            if len(asked.kinds) > 1:
                extent = await extent_of(connection)
                total, exact = int(await connection.scalar(totalling(asked, extent)) or 0), True
            else:
                extent = None
                total = int(await connection.scalar(counting(asked)) or 0)
                exact = total <= COUNTED_MAX or asked == RecordFilter()
            if order.column == "cost_nanos":
                rows = await by_cost(connection, matching(asked, few=total <= COUNTED_MAX), piece)
            elif extent is not None and order is NEWEST_FIRST:
                rows = await _together(connection, asked, extent, piece)
            else:
                rows = await _rows(connection, listed(asked, piece))
            budget_ids = await charged(connection, [row["seq"] for row in rows])
        records = [record_of(row, budget_ids.get(row["seq"], ())) for row in rows[:limit]]
        last = rows[limit - 1] if len(rows) > limit else None
        next_cursor = None if last is None else order.cursor_of(last)
        return RecordPage(records, total if exact else COUNTED_MAX, exact, next_cursor)


async def _rows(connection: AsyncConnection, statement: Select[Any]) -> list[RowMapping]:
    return list((await connection.execute(statement)).mappings())


async def _together(connection: AsyncConnection, asked: RecordFilter, extent: Extent, piece: Piece) -> list[RowMapping]:
    """Return the rows of a piece of what has several names."""
    position, offset = piece.after, piece.offset
    bounds = Bounds.of(asked, position and position[0])
    hours = await newest(connection, asked, extent, bounds, offset + piece.limit)
    kind = await connection.scalar(rarest(asked, extent))
    ever = listing(replace(asked, start=None, end=None), kind=kind)
    if offset:
        for hour in (hour for hour in hours if not bounds.contain(hour)):
            matches = between(ever, kind, _within(asked, _span(hour))).subquery()
            hours[hour] = int(await connection.scalar(select(func.count()).select_from(matches)) or 0)
    rows: list[RowMapping] = []
    left, spans = _spans(hours, offset)
    for span in spans:
        some = between(ever, kind, _within(asked, span), position)
        rows += await _rows(connection, some.offset(left).limit(piece.limit - len(rows)))
        if len(rows) == piece.limit:
            break
        left = 0
    return rows


def _spans(hours: Mapping[str, int], offset: int) -> tuple[int, list[Span]]:
    """Return hours without those that lie before an offset, joined where they adjoin, and what is left of it."""
    spans: list[Span] = []
    for hour, count in hours.items():
        if not spans and offset >= count:
            offset -= count
            continue
        its = _span(hour)
        if spans and spans[-1].start == its.end:
            its = Span(its.start, spans.pop().end)
        spans.append(its)
    return offset, spans


def _span(hour: str) -> Span:
    start = from_iso(hour + HOUR_REST)
    return Span(start, start + _HOUR)


def _within(asked: RecordFilter, span: Span) -> Span:
    """Return what of a span a filter asks for."""
    return Span(max(asked.start or span.start, span.start), min(asked.end or span.end, span.end))


def between(listed: Select[Any], kind: str | None, span: Span, position: tuple[str, int] | None = None) -> Select[Any]:
    """Return the statement of what of a list lies in a span, and behind a position."""
    moment = charges.c.timestamp if kind == "budget_id" else usage_records.c.timestamp
    seq = charges.c.record_seq if kind == "budget_id" else usage_records.c.seq
    # One end only: of two, SQLite might walk from the position to a span that lies far behind it.
    if position is None or iso(span.end) <= position[0]:
        return listed.where(moment >= iso(span.start), moment < iso(span.end))
    return listed.where(moment >= iso(span.start), tuple_(moment, seq) < tuple_(*position))


def listing(
    asked: RecordFilter, *, order: Order = NEWEST_FIRST, after: Position | None = None, kind: str | None = None
) -> Select[Any]:
    """Return the statement of a list in an order of time; ``kind``: of what it names, whose index is read."""
    by, moment, seq, which = _by(asked, kind)
    statement, place = select(usage_records).select_from(by).where(*which), tuple_(moment, seq)
    if after is not None:
        statement = statement.where(place < tuple_(*after) if order.descending else place > tuple_(*after))
    columns = (moment.desc(), seq.desc()) if order.descending else (moment.asc(), seq.asc())
    return statement.order_by(*columns)


def listed(asked: RecordFilter, piece: Piece) -> Select[Any]:
    """Return the statement of a piece of a list in an order of time."""
    return listing(asked, order=piece.order, after=piece.after).offset(piece.offset).limit(piece.limit)


def matching(asked: RecordFilter, *, few: bool) -> Matching:
    """Return what `dearest` is asked for."""
    where, moment, seq = source(asked)
    kinds = RecordFilter(providers=asked.providers, models=asked.models, cost_bases=asked.cost_bases)
    return Matching(
        where,
        seq,
        conditions(asked, moment),
        (kinds.providers, kinds.models, kinds.cost_bases),
        by_kind=asked == kinds,
        few=few,
    )


def _by(
    asked: RecordFilter, kind: str | None
) -> tuple[FromClause, Column[Any], Column[Any], list[ColumnElement[bool]]]:
    """Return where records are, what they are in the order of, and what they have in common."""
    if kind is None:
        where, moment, seq = source(asked)
        return where, moment, seq, conditions(asked, moment)
    alone = asked if kind == "budget_id" else replace(asked, budget_id=None)
    where, moment, seq = source(alone)
    # What is put together has no index: SQLite does not know which names are rare, and takes any.
    others = {name: usage_records.c[name].concat("") for name in (*GROUPINGS, "cost_basis") if name != kind}
    which = conditions(alone, moment, {**dict(usage_records.c), **others})
    if asked.budget_id != alone.budget_id:
        its = (charges.c.record_seq == usage_records.c.seq, charges.c.budget_id == asked.budget_id)
        which.append(exists().where(*its))
    return where, moment, seq, which


def counting(asked: RecordFilter) -> Select[Any]:
    """
    Return the statement of the number of matches, which is not counted further than one past COUNTED_MAX.

    Of all records it is known: their numbers have no gaps.
    """
    if asked == RecordFilter():
        last, first = (select(end(usage_records.c.seq)).scalar_subquery() for end in (func.max, func.min))
        return select(func.coalesce(last - first + 1, 0))
    where, moment, _ = source(asked)
    if asked == RecordFilter(budget_id=asked.budget_id, start=asked.start, end=asked.end) and asked.budget_id:
        where = charges  # which says all that is asked
    wanted = conditions(asked, moment)
    matches = select(moment).select_from(where).where(*wanted).limit(COUNTED_MAX + 1).subquery()
    return select(func.count()).select_from(matches)


def totalling(asked: RecordFilter, extent: Extent) -> Select[Any]:
    """Return the statement of the number of matches, by the sums that there are."""
    cells = Cells(asked, extent)
    parts = [one.subquery() for one in (*cells.unfolded(), *cells.folded(by_day=False, only=cells.fewest))]
    each = union_all(*(select(part.c.record_count) for part in parts)).subquery("cells")
    return select(func.sum(each.c.record_count))
