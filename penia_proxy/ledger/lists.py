"""
List usage records.

Its one job: one page of the records that a filter asks for, in one of `ledger.orders`, and how many there are.
Rules: all from one snapshot. What names one thing is read from that one's index, which is in the order of time; what
names several, newest first, from the rarest one's, in the hours in which they go together (`ledger.together`), so that
a page costs the same however many records have only some of them. By cost, `ledger.dearest` finds them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, FromClause, Select, exists, func, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncEngine

from penia_proxy.budget.record import UsageRecord
from penia_proxy.clock import from_iso, iso
from penia_proxy.errors import InvalidRequest
from penia_proxy.ledger.archives import Files, newest_record
from penia_proxy.ledger.cells import Cells, Extent, extents_of, fewest_of
from penia_proxy.ledger.days import Span
from penia_proxy.ledger.dearest import Kind, Matching, Piece, by_cost, places
from penia_proxy.ledger.merging import (
    Ask,
    Found,
    Part,
    Questions,
    Rows,
    asked_of,
    behind,
    first_of,
    first_read,
    parts_of,
    place_of,
    touches,
)
from penia_proxy.ledger.orders import NEWEST_FIRST, Order, Position
from penia_proxy.ledger.queries import GROUPINGS, RecordFilter, conditions, records_of, source
from penia_proxy.ledger.rows import HOUR_REST
from penia_proxy.ledger.schema import charges, usage_records
from penia_proxy.ledger.together import Bounds, kinds_of, newest, rarest

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
    files: Files

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
        InvalidRequest for one that is not ours, ArchiveUnavailable.
        """
        if page * limit > OFFSET_MAX:
            raise InvalidRequest("that page is too deep to count to: follow next_cursor")
        after = None if cursor is None else order.position_of(cursor)
        # One more than is shown tells whether another page follows.
        piece = Piece(order, after, 0 if after else (page - 1) * limit, limit + 1)
        async with self.engine.connect() as connection:
            needed = len(asked.kinds) > 1 or not order.is_of_time
            extents = await extents_of(connection, asked) if needed else []
            return await asked_of(connection, self.files, _page(asked, piece, extents))

    async def require(self, asked: RecordFilter) -> None:
        """Raise ArchiveUnavailable where some of what is asked for cannot be read."""
        async with self.engine.connect() as connection:
            await asked_of(connection, self.files, readable(asked))


def readable(asked: RecordFilter) -> Questions[None]:
    """Ask each file that has some of it something."""
    for part in (yield from parts_of(asked, NEWEST_FIRST)):
        yield Ask(listing(part.asked).limit(1), part.archive)


def _page(asked: RecordFilter, piece: Piece, extents: Sequence[Extent]) -> Questions[RecordPage]:
    """Return a page, one shorter than its piece; ``extents``: of several names, and by cost."""
    order, limit, several = piece.order, piece.limit - 1, len(asked.kinds) > 1
    parts = yield from parts_of(asked, order)
    if several:
        total, exact = (yield from _summed(asked, extents)), True
    else:
        total = yield from _counted(parts, asked)
        exact = total <= COUNTED_MAX or asked == RecordFilter()
    if several and order is NEWEST_FIRST:
        found = yield from _together(asked, parts, extents[0], piece)
    else:
        few = total <= COUNTED_MAX
        having: Collection[Kind] | None = None
        if not order.is_of_time and not few and asked.kinds:
            kinds = yield Ask(kinds_of(asked, extents[0]))
            having = {(row["provider"], row["model"], row["cost_basis"]) for row in kinds}
        found = yield from _read(parts, piece, lambda part: matching(part.asked, few=few, having=having))
    records = yield from records_of(found[:limit])
    last = found[limit - 1].row if len(found) > limit else None
    next_cursor = None if last is None else order.cursor_of(last)
    return RecordPage(records, total if exact else COUNTED_MAX, exact, next_cursor)


def _summed(asked: RecordFilter, extents: Sequence[Extent]) -> Questions[int]:
    total = 0
    for extent in extents:
        total += (yield Ask(totalling(asked, extent), extent.archive))[0]["number"]
    return total


def _counted(parts: Sequence[Part], asked: RecordFilter) -> Questions[int]:
    total = 0
    for part in parts[:1] if asked == RecordFilter() else parts:
        if total <= COUNTED_MAX:
            total += (yield Ask(counting(part.asked), part.archive))[0]["number"]
    return total


def _read(parts: Sequence[Part], piece: Piece, matching_of: Callable[[Part], Matching]) -> Questions[list[Found]]:
    """Return the rows of a piece, each file's part of them from its own index."""
    order = piece.order
    if piece.offset and len(parts) > 1:
        by_kind: dict[Part, Select[Any] | None] = {}
        for part in () if order.is_of_time else parts:
            by_kind[part] = yield from places(matching_of(part), order, part.archive)

        def listed_in(part: Part) -> Select[Any]:
            its = by_kind.get(part)
            return listing(part.asked, order=order) if its is None else its

        last = yield from place_of(parts, order, listed_in, piece.offset - 1)
        if last is None:
            return []
        piece = replace(piece, after=order.position(last), offset=0)

    def read(part: Part) -> Questions[Rows]:
        if order.is_of_time:
            return (yield Ask(listed(part.asked, piece), part.archive))
        return (yield from by_cost(matching_of(part), piece, part.archive))

    return (yield from first_read(behind(parts, order, piece.after), order, read, piece.limit))


def _together(asked: RecordFilter, parts: Sequence[Part], extent: Extent, piece: Piece) -> Questions[list[Found]]:
    """Return the rows of a piece of what has several names; the hours of all files are told by the ledger's folds."""
    order, position, offset = piece.order, piece.after, piece.offset
    bounds = Bounds.of(asked, position and position[0])
    hours = yield from newest(asked, extent, bounds, offset + piece.limit)
    kind = (yield Ask(rarest(asked, extent)))[0]["kind"]
    if offset:
        for hour in (hour for hour in hours if not bounds.contain(hour)):
            span, hours[hour] = _span(hour), 0
            for part in _touched(parts, span):
                matches = _meeting(part, kind=kind, span=span).subquery()
                count = select(func.count().label("number")).select_from(matches)
                hours[hour] += (yield Ask(count, part.archive))[0]["number"]
    found: list[Found] = []
    left, spans = _spans(hours, offset)
    for span in spans:
        its = _touched(parts, span)
        meeting = partial(_meeting, kind=kind, span=span)
        if left and (last := (yield from place_of(its, order, meeting, left - 1))) is not None:
            position = order.position(last)
        left = 0
        here = partial(_meeting, kind=kind, span=span, position=position)
        found += yield from first_of(its, order, here, piece.limit - len(found))
        if len(found) == piece.limit:
            break
    return found


def _touched(parts: Sequence[Part], span: Span) -> list[Part]:
    within = RecordFilter(start=span.start, end=span.end)
    return [part for part in parts if part.archive is None or touches(part.archive, within)]


def _meeting(part: Part, *, kind: str, span: Span, position: Position | None = None) -> Select[Any]:
    """Return the statement of what a part has in a span, and behind a position."""
    ever = listing(replace(part.asked, start=None, end=None), kind=kind)
    return between(ever, kind, _within(part.asked, span), position)


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


def between(listed: Select[Any], kind: str | None, span: Span, position: Position | None = None) -> Select[Any]:
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
    """
    Return the statement of a list; ``kind``: of what it names, whose index is read.

    ``after`` is a position in an order of time; of what a cost is behind, `dearest` knows.
    """
    by, moment, seq, which = _by(asked, kind)
    statement, place = select(usage_records).select_from(by).where(*which), tuple_(moment, seq)
    if after is not None:
        statement = statement.where(place < tuple_(*after) if order.descending else place > tuple_(*after))
    sorted_by = (moment if order.is_of_time else usage_records.c.cost_nanos, seq)
    return statement.order_by(*(column.desc() if order.descending else column.asc() for column in sorted_by))


def listed(asked: RecordFilter, piece: Piece) -> Select[Any]:
    """Return the statement of a piece of a list in an order of time."""
    return listing(asked, order=piece.order, after=piece.after).offset(piece.offset).limit(piece.limit)


def matching(asked: RecordFilter, *, few: bool, having: Collection[Kind] | None = None) -> Matching:
    """Return what `dearest` is asked for."""
    where, moment, seq = source(asked)
    kinds = RecordFilter(providers=asked.providers, models=asked.models, cost_bases=asked.cost_bases)
    return Matching(
        where,
        seq,
        conditions(asked, moment),
        (kinds.providers, kinds.models, kinds.cost_bases),
        having=having,
        until_seq=asked.until_seq,
        by_kind=asked == replace(kinds, until_seq=asked.until_seq),
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

    Of all records it is known: they are numbered from 1 without gaps.
    """
    if asked == RecordFilter():
        return select(newest_record().scalar_subquery().label("number"))
    where, moment, _ = source(asked)
    of_one = RecordFilter(budget_id=asked.budget_id, start=asked.start, end=asked.end, until_seq=asked.until_seq)
    if asked == of_one and asked.budget_id:
        where = charges  # which says all that is asked
    wanted = conditions(asked, moment)
    matches = select(moment).select_from(where).where(*wanted).limit(COUNTED_MAX + 1).subquery()
    return select(func.count().label("number")).select_from(matches)


def totalling(asked: RecordFilter, extent: Extent) -> Select[Any]:
    """Return the statement of the number of matches, by the sums that there are."""
    fewest = fewest_of(asked)
    cells = Cells(asked, extent, each=[fewest])
    parts = [one.subquery() for one in (*cells.unfolded(), *cells.folded(fewest))]
    each = union_all(*(select(part.c.record_count) for part in parts)).subquery("cells")
    return select(func.coalesce(func.sum(each.c.record_count), 0).label("number"))
