"""
List records by what they cost.

Its one job: a page of `orders`' orders of cost, under any filter, with one index for it.
Rules: the index is in the order of cost within each kind of call (provider, model, basis), of which there are few, and
of which SQLite merges as many as there are without sorting: that serves every filter by these. For other filters, and
stretches of time, the nearest records in that order are looked through, so many and no more. Where they do not fill the
page, what matches is gathered by the filter's own index and sorted: a quarter of a second for each million of matches,
in a reader's thread, which is the most that a page can take.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    FromClause,
    Select,
    and_,
    or_,
    select,
    text,
    true,
    union_all,
)

from penia_proxy.ledger.archives import Archive
from penia_proxy.ledger.merging import Ask, Questions, Rows
from penia_proxy.ledger.orders import Order, Position
from penia_proxy.ledger.schema import usage_records

KINDS_MAX = 100
"""Kinds that are merged; SQLite takes 500 parts in one statement, and a kind is up to three."""
KINDS_SEEN_MAX = 1_000
NEAREST = (500, 5_000)
"""Records in the order of cost that are looked at for matches: some, which most filters are met in, then more."""

_KINDS = text("""
WITH RECURSIVE
p(provider) AS (
  SELECT min(provider) FROM usage_records
  UNION ALL
  SELECT (SELECT min(u.provider) FROM usage_records u WHERE u.provider > p.provider) FROM p WHERE provider IS NOT NULL
),
m(provider, model) AS (
  SELECT provider, (SELECT min(u.model) FROM usage_records u WHERE u.provider = p.provider)
  FROM p WHERE provider IS NOT NULL
  UNION ALL
  SELECT provider, (SELECT min(u.model) FROM usage_records u WHERE u.provider = m.provider AND u.model > m.model)
  FROM m WHERE model IS NOT NULL
),
b(provider, model, cost_basis) AS (
  SELECT provider, model,
    (SELECT min(u.cost_basis) FROM usage_records u WHERE u.provider = m.provider AND u.model = m.model)
  FROM m WHERE model IS NOT NULL
  UNION ALL
  SELECT provider, model, (
    SELECT min(u.cost_basis) FROM usage_records u
    WHERE u.provider = b.provider AND u.model = b.model AND u.cost_basis > b.cost_basis
  )
  FROM b WHERE cost_basis IS NOT NULL
)
SELECT provider, model, cost_basis FROM b WHERE cost_basis IS NOT NULL LIMIT :most
""")
"""Goes from one kind to the next in the index, so that it costs kinds and not records."""

Kind = tuple[str, str, str]
"""Provider, model and basis."""


@dataclass(frozen=True, slots=True)
class Matching:
    """Which records are listed."""

    where: FromClause
    seq: Column[Any]
    """Of the records, there."""
    conditions: Sequence[ColumnElement[bool]]
    kinds: tuple[Sequence[str], Sequence[str], Sequence[str]]
    """Providers, models and bases; an empty one is any."""
    having: Collection[Kind] | None
    """Kinds outside which nothing matches; None: it is not known."""
    until_seq: int | None
    """What an archive has, which ``conditions`` say, too."""
    by_kind: bool
    """Whether that and ``kinds`` is all that ``conditions`` say."""
    few: bool
    """Whether so few match that they can be sorted."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Which part of a list."""

    order: Order
    after: Position | None
    offset: int
    limit: int


def by_cost(matching: Matching, piece: Piece, archive: Archive | None = None) -> Questions[Rows]:
    """Return the rows of a piece in their order, as far as they are in one file."""
    if not matching.few and (kinds := (yield from _kinds(matching, archive))):
        for number in NEAREST:
            rows = yield from _read(nearest(matching, piece, kinds, number), piece.order, archive)
            if matching.by_kind or len(rows) == piece.limit:
                return rows
    return (yield from _read(gathered(matching, piece), piece.order, archive))


def _read(seqs: Select[Any], order: Order, archive: Archive | None) -> Questions[Rows]:
    found = yield Ask(select(usage_records).where(usage_records.c.seq.in_(seqs)), archive)
    return sorted(found, key=order.rank, reverse=order.descending)


def _kinds(matching: Matching, archive: Archive | None) -> Questions[list[Kind]]:
    """Return the kinds of call that are asked for; none where they are too many to be merged."""
    seen = yield Ask(_KINDS.bindparams(most=KINDS_SEEN_MAX + 1), archive)
    every = ((row["provider"], row["model"], row["cost_basis"]) for row in seen)
    kinds: list[Kind] = [
        kind
        for kind in every
        if all(not names or name in names for name, names in zip(kind, matching.kinds, strict=True))
        and (matching.having is None or kind in matching.having)
    ]
    return kinds if len(seen) <= KINDS_SEEN_MAX and len(kinds) <= KINDS_MAX else []


def nearest(matching: Matching, piece: Piece, kinds: Sequence[Kind], number: int) -> Select[Any]:
    """Return the statement of the numbers of a piece's records, as far as they are among the nearest of these kinds."""
    columns = _all_of(matching, piece, kinds).subquery().c
    merged = select(columns.cost_nanos, columns.seq).order_by(*_order(piece.order, columns.cost_nanos, columns.seq))
    if matching.by_kind:
        return select(merged.limit(piece.limit).offset(piece.offset).subquery().c.seq)
    near = merged.limit(number).subquery()
    return (
        select(near.c.seq)
        .select_from(near.join(matching.where, matching.seq == near.c.seq))
        .where(*matching.conditions)
        .order_by(*_order(piece.order, near.c.cost_nanos, near.c.seq))
        .limit(piece.limit)
        .offset(piece.offset)
    )


def places(matching: Matching, order: Order, archive: Archive | None) -> Questions[Select[Any] | None]:
    """Return the statement of the places of what is asked for by its kind alone, in their order; None of other."""
    kinds = (yield from _kinds(matching, archive)) if matching.by_kind and not matching.few else []
    if not kinds:
        return None
    columns = _all_of(matching, Piece(order, None, 0, 0), kinds).subquery().c
    return select(columns.cost_nanos, columns.seq).order_by(*_order(order, columns.cost_nanos, columns.seq))


def _all_of(matching: Matching, piece: Piece, kinds: Sequence[Kind]) -> CompoundSelect[Any]:
    """Return the statement of the costs and numbers of these kinds' records after a piece's position, kind by kind."""
    columns = usage_records.c
    known = true() if matching.until_seq is None else columns.seq <= matching.until_seq
    return union_all(
        *(
            select(columns.cost_nanos, columns.seq).where(
                columns.provider == provider, columns.model == model, columns.cost_basis == basis, part, known
            )
            for provider, model, basis in kinds
            for part in _beyond(piece)
        )
    )


def gathered(matching: Matching, piece: Piece) -> Select[Any]:
    """Return the statement of the numbers of a piece's records, for which all that match are sorted."""
    return (
        select(matching.seq)
        .select_from(matching.where)
        .where(*matching.conditions, or_(*_beyond(piece)))
        .order_by(*_order(piece.order, usage_records.c.cost_nanos, matching.seq))
        .limit(piece.limit)
        .offset(piece.offset)
    )


def _order(order: Order, cost: ColumnElement[Any], seq: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [cost.desc(), seq.desc()] if order.descending else [cost.asc(), seq.asc()]


def _beyond(piece: Piece) -> Iterator[ColumnElement[bool]]:
    """Yield what holds of the records after a position, in parts that are each a range of an index."""
    cost, seq = usage_records.c.cost_nanos, usage_records.c.seq
    if piece.after is None:
        yield true()
        return
    value, number = piece.after
    further = seq < number if piece.order.descending else seq > number
    if value is None:
        yield and_(cost.is_(None), further)
        if not piece.order.descending:
            yield cost.is_not(None)
        return
    yield and_(cost == value, further)
    yield cost < value if piece.order.descending else cost > value
    if piece.order.descending:
        yield cost.is_(None)
