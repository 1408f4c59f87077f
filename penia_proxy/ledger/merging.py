"""
Read what lies in several files as one list.

Its one job: records in an order, out of the ledger and its archives, where each has its part of them in that order.
Rules: these are questions and no reading: a generator yields what is to be asked of which file, is sent the rows, and
returns the answer; `asked_of` and `answered` read, beside an event loop and without. All of an answer fits one
snapshot of the ledger: archives are read up to where that says. An archive is asked only where the answer can
touch its month.
"""

import asyncio
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, Executable, RowMapping, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penia_proxy.clock import from_iso, iso
from penia_proxy.ledger.archives import ARCHIVES, Archive, Files, archives_of
from penia_proxy.ledger.orders import Order, Position
from penia_proxy.ledger.schema import folded_until, folds, folds_by_name

if TYPE_CHECKING:
    from penia_proxy.ledger.queries import RecordFilter

T = TypeVar("T")

PLACES_AT_ONCE = 4_000
"""Rows that a part is asked for while a place is looked for; there are fewer archives."""
_GROUPINGS = [str(name) for name in folds.primary_key.columns.keys() if name not in ("span", "budget_id", "cost_basis")]


class Ask(NamedTuple):
    """A question to a file: to an archive's, or to the ledger's own."""

    statement: Executable
    archive: Archive | None = None


Rows = Sequence[RowMapping]
Questions = Generator[Ask, Rows, T]


async def asked_of(connection: AsyncConnection, files: Files, questions: Questions[T]) -> T:
    """Answer questions from the snapshot of a connection. Raises ArchiveUnavailable."""
    try:
        ask = next(questions)
        while True:
            if ask.archive is None:
                rows: Rows = (await connection.execute(ask.statement)).mappings().all()
            else:
                rows = await asyncio.to_thread(files.rows, ask.archive, ask.statement)
            ask = questions.send(rows)
    except StopIteration as end:
        answer: T = end.value
        return answer


def answered(connection: Connection, files: Files, questions: Questions[T]) -> T:
    """Do the same in this thread."""
    try:
        ask = next(questions)
        while True:
            if ask.archive is None:
                rows: Rows = connection.execute(ask.statement).mappings().all()
            else:
                rows = files.rows(ask.archive, ask.statement)
            ask = questions.send(rows)
    except StopIteration as end:
        answer: T = end.value
        return answer


class Part(NamedTuple):
    """The records of one file that are asked for."""

    asked: "RecordFilter"
    archive: Archive | None = None


class Found(NamedTuple):
    """A row, and where it is."""

    row: RowMapping
    archive: Archive | None


Listing = Callable[[Part], Select[Any]]
"""What is asked of a part: its records in the order, from where the answer begins."""
Reading = Callable[[Part], Questions[Rows]]
"""How the first of these rows are read from a part, as many as there have to be."""


def parts_of(asked: "RecordFilter", order: Order) -> Questions[list[Part]]:
    """Find what a filter asks of which file: the ledger's own first, then archives in the order of their months."""
    known = archives_of((yield Ask(ARCHIVES)))
    touched = [one for one in known if touches(one, asked)]
    for grouping in _GROUPINGS:
        names = asked.among(grouping)  # type: ignore[arg-type]  # the schema names them as strings
        if names and touched:
            having, unknown = yield from having_name(touched, grouping, folds_by_name.c.name.in_(names))
            touched = [one for one in touched if one in having or one in unknown]
    return [Part(asked), *(within(one, asked) for one in (touched if order.descending else touched[::-1]))]


def having_name(
    archives: Sequence[Archive], grouping: str, named: ColumnElement[bool]
) -> Questions[tuple[list[Archive], list[Archive]]]:
    """Return those that have a record with such a name, and those of which the ledger does not know it yet."""
    until = (yield Ask(select(folded_until.c.hour)))[0]["hour"]
    unknown = [one for one in archives if one.end > until]
    span = folds_by_name.c.span
    months = [one.month for one in archives]
    every = (folds_by_name.c.budget_id == "", folds_by_name.c.cost_basis == "")
    which = (*every, folds_by_name.c.grouping == grouping, span.in_(months), named)
    spans = yield Ask(select(span).where(*which).distinct())
    there = {row["span"] for row in spans}
    return [one for one in archives if one.month in there and one not in unknown], unknown


def touches(archive: Archive, asked: "RecordFilter") -> bool:
    """Whether a filter asks for any instant of an archive's month."""
    begun = asked.end is None or archive.start < iso(asked.end)
    return begun and (asked.start is None or iso(asked.start) < archive.end)


def within(archive: Archive, asked: "RecordFilter") -> Part:
    """Return what a filter asks of an archive."""
    until = archive.until_seq if asked.until_seq is None else min(archive.until_seq, asked.until_seq)
    return Part(replace(asked, until_seq=until), archive)


def first_of(parts: Sequence[Part], order: Order, listing: Listing, limit: int) -> Questions[list[Found]]:
    """Return the first so many rows of all parts together."""

    def read(part: Part) -> Questions[Rows]:
        return (yield Ask(listing(part).limit(limit), part.archive))

    return (yield from first_read(parts, order, read, limit))


def first_read(parts: Sequence[Part], order: Order, read: Reading, limit: int) -> Questions[list[Found]]:
    """Return the same of what is read in more than one step."""
    found: list[Found] = []
    for part in parts:
        if part.archive is not None and len(found) == limit and _is_past(part.archive, order, found[-1].row):
            continue
        found += [Found(row, part.archive) for row in (yield from read(part))]
        found = sorted(found, key=lambda one: order.rank(one.row), reverse=order.descending)[:limit]
    return found


def _is_past(archive: Archive, order: Order, row: RowMapping) -> bool:
    """Whether all of an archive comes behind a row."""
    if not order.is_of_time:
        return False
    moment: str = row["timestamp"]
    return archive.end <= moment if order.descending else archive.start > moment


def behind(parts: Sequence[Part], order: Order, after: Position | None) -> list[Part]:
    """Return the parts that can have something behind a position."""
    if after is None or not order.is_of_time:
        return [*parts]
    return [
        one
        for one in parts
        if one.archive is None or (one.archive.start <= after[0] if order.descending else one.archive.end > after[0])
    ]


def place_of(parts: Sequence[Part], order: Order, listing: Listing, number: int) -> Questions[RowMapping | None]:
    """Return the row that has so many before it in all parts together; None where there are not so many."""
    for stretch in stretches(parts, order):
        counted = yield from _counted(stretch, listing, number + 1)
        if number < sum(counted):
            there = [part for part, count in zip(stretch, counted, strict=True) if count]
            return (yield from _first_so_many(there, order, listing, number + 1))[1]
        number -= sum(counted)
    return None


def shares_of(asked: "RecordFilter", order: Order, listing: Listing, number: int) -> Questions[dict[Part, int]]:
    """Return the parts that have the first so many rows, and at most how many of them each has."""
    parts = yield from parts_of(asked, order)
    if len(parts) == 1:
        return {parts[0]: number}
    shares: dict[Archive | None, int] = {}
    for stretch in stretches(parts, order):
        for part, share in (yield from shares_in(stretch, order, listing, number)).items():
            shares[part.archive] = shares.get(part.archive, 0) + share
            number -= share
        if not number:
            break
    return {part: shares[part.archive] for part in parts if shares.get(part.archive)}


def shares_in(stretch: Sequence[Part], order: Order, listing: Listing, number: int) -> Questions[dict[Part, int]]:
    """Return how many rows of each part are among the first so many of a stretch."""
    counted = yield from _counted(stretch, listing, number)
    if sum(counted) > number:
        counted, _ = yield from _first_so_many(stretch, order, listing, number)
    return dict(zip(stretch, counted, strict=True))


def _counted(parts: Sequence[Part], listing: Listing, most: int) -> Questions[list[int]]:
    found = []
    for part in parts:
        rows_of = listing(part)
        matches = rows_of.with_only_columns(rows_of.selected_columns["seq"]).order_by(None).limit(most).subquery()
        rows = yield Ask(select(func.count().label("number")).select_from(matches), part.archive)
        found.append(int(rows[0]["number"]))
    return found


def stretches(parts: Sequence[Part], order: Order) -> Iterator[list[Part]]:
    """Yield parts that have to be looked at together, in the order: a month at a time, where months come as wholes."""
    ledger, *others = parts
    if not order.is_of_time:
        yield [*parts]
        return
    left = ledger.asked
    for part in others:
        if part.archive is None:
            continue
        start, end = from_iso(part.archive.start), from_iso(part.archive.end)
        before, its, left = (
            (_between(left, end, None), _between(left, start, end), _between(left, None, start))
            if order.descending
            else (_between(left, None, start), _between(left, start, end), _between(left, end, None))
        )
        yield [Part(before)]
        yield [Part(its), part]
    yield [Part(left)]


def _between(asked: "RecordFilter", start: datetime | None, end: datetime | None) -> "RecordFilter":
    starts = [instant for instant in (asked.start, start) if instant is not None]
    ends = [instant for instant in (asked.end, end) if instant is not None]
    return replace(asked, start=max(starts, default=None), end=min(ends, default=None))


def _first_so_many(
    parts: Sequence[Part], order: Order, listing: Listing, number: int
) -> Questions[tuple[list[int], RowMapping | None]]:
    """
    Return how many rows of each part are among the first so many, of which there are as many, and the last of these.

    Each part is asked for its every so many-th row. A part has fewer than so many that come before one of these and
    behind its own one in front of that: as long as there is room for these, all up to that one are among the first.
    """
    passed = [0] * len(parts)
    last: RowMapping | None = None
    while number:
        step = number if len(parts) == 1 else max(number // PLACES_AT_ONCE, 1)
        seen: list[tuple[RowMapping, int]] = []
        for index, part in enumerate(parts):
            rows = yield Ask(_every(step, listing(part), order, passed[index], number), part.archive)
            seen += [(row, index) for row in rows]
        seen.sort(key=lambda one: order.rank(one[0]), reverse=order.descending)
        certain = seen[: (number - (len(parts) - 1) * (step - 1)) // step]
        for _, index in certain:
            passed[index] += step
        last = certain[-1][0]
        number -= step * len(certain)
    return passed, last


def _every(step: int, listing: Select[Any], order: Order, behind: int, most: int) -> Select[Any]:
    """Return the statement of the places of every so many-th row behind the first ones, and of no more than so many."""
    places = listing.with_only_columns(*(listing.selected_columns[name] for name in (order.column, "seq")))
    if step == most:
        return places.offset(behind + most - 1).limit(1)
    places = places.offset(behind).limit(most)
    if step == 1:
        return places
    # In the order in which they come: asked for in `over`, they would be sorted once more.
    numbered = select(places.subquery(), func.row_number().over().label("number")).subquery().c
    return select(numbered[order.column], numbered.seq).where(numbered.number % step == 0)
