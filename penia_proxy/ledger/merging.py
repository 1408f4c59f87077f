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
        here = sum((yield from _counted(stretch, order, listing, number + 1)))
        if number < here:
            passed = yield from _passed(stretch, order, listing, number)
            return _first((yield from _ahead(stretch, order, listing, passed)), order)[0]
        number -= here
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
    counted = yield from _counted(stretch, order, listing, number)
    if sum(counted) > number:
        counted = yield from _passed(stretch, order, listing, number)
    return dict(zip(stretch, counted, strict=True))


def _counted(parts: Sequence[Part], order: Order, listing: Listing, most: int) -> Questions[list[int]]:
    found = []
    for part in parts:
        matches = _keys(listing(part), order).limit(most).subquery()
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


def _passed(parts: Sequence[Part], order: Order, listing: Listing, number: int) -> Questions[list[int]]:
    """
    Return how many rows of each part are among the first so many, of which there are as many.

    Of so many parts, each is asked for the row at that fraction of what is left: all up to the first of these rows
    are among them.
    """
    passed = [0] * len(parts)
    while number:
        step = max(number // len(parts), 1)
        at = [one + step - 1 for one in passed]
        _, index = _first((yield from _ahead(parts, order, listing, at)), order)
        passed[index] += step
        number -= step
    return passed


def _ahead(
    parts: Sequence[Part], order: Order, listing: Listing, at: Sequence[int]
) -> Questions[list[tuple[RowMapping, int]]]:
    """Return the row of each part that has so many before it there, and which part that is."""
    found = []
    for index, part in enumerate(parts):
        rows = yield Ask(_keys(listing(part), order).offset(at[index]).limit(1), part.archive)
        found += [(row, index) for row in rows]
    return found


def _first(rows: Sequence[tuple[RowMapping, int]], order: Order) -> tuple[RowMapping, int]:
    return (max if order.descending else min)(rows, key=lambda one: order.rank(one[0]))


def _keys(listing: Select[Any], order: Order) -> Select[Any]:
    """Return a listing of places only, which an index has."""
    return listing.with_only_columns(*(listing.selected_columns[name] for name in (order.column, "seq")))
