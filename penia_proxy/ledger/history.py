"""
Go through what happened.

Its one job: calls with their corrections, oldest first and in pieces, for whoever prices them again; and the newest
calls, for whoever asks what a component's calls are like.
Rules: each piece is bounded and from one snapshot, so that nobody holds a snapshot, or the event loop, for a whole
ledger. A correction has its call's instant, which is how it is found: nothing is indexed by what it corrects.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import orjson
from sqlalchemy import RowMapping, Select, Text, cast, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from penia_proxy.budget.calibration import Outcome
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.usage import BATCH_TIER
from penia_proxy.clock import from_iso, iso
from penia_proxy.ledger.archives import Files
from penia_proxy.ledger.lists import listing
from penia_proxy.ledger.merging import (
    Ask,
    Found,
    Part,
    Questions,
    T,
    asked_of,
    first_of,
    parts_of,
    shares_in,
    shares_of,
    stretches,
)
from penia_proxy.ledger.orders import NEWEST_FIRST, OLDEST_FIRST, Position
from penia_proxy.ledger.queries import RecordFilter, conditions, records_of
from penia_proxy.ledger.schema import usage_records

NEWEST_READ_MAX = 5_000
"""Records that are looked at for the newest of a kind, however rare the kind is."""


class Happened(NamedTuple):
    """A call, and its corrections in the order of writing."""

    record: UsageRecord
    corrections: tuple[UsageRecord, ...]

    @property
    def cost_nanos(self) -> int | None:
        """What it came to, corrections included; None where no price is known."""
        costs = [one.cost_nanos for one in (self.record, *self.corrections) if one.cost_nanos is not None]
        return sum(costs) if costs else None


class PastCall(NamedTuple):
    """What a record says about calls like it."""

    component: str
    provider: str
    model: str
    """As asked for."""
    output_tokens: int
    outcome: Outcome | None
    """What was estimated, and what it came to; None where the record does not say."""


_NOT_READ = ("estimated", "unconfirmed", "client")
"""Bases of counts that no answer through the gateway reported."""


def _past(row: RowMapping) -> PastCall:
    metadata = row["metadata"]
    return PastCall(
        component=row["component"],
        provider=row["provider"],
        model=metadata.get("model_requested") or row["model"],
        output_tokens=row["output_tokens"],
        outcome=Outcome.from_record(metadata, input_tokens=row["input_tokens"], cost_nanos=row["cost_nanos"]),
    )


class Kind(NamedTuple):
    """Calls that no budget's scope tells apart."""

    component: str
    provider: str
    model: str
    """As asked for."""
    tags: dict[str, str]
    calls: int
    cost_nanos: int
    """As first booked; calls without a price add nothing."""


class Piece(NamedTuple):
    """Some calls, oldest first."""

    calls: list[Happened]
    next_cursor: str | None
    """What to ask with for those after these; None at the end."""


@dataclass(frozen=True, slots=True)
class History:
    """The ledger's past."""

    engine: AsyncEngine
    files: Files

    async def _answer(self, questions: Questions[T]) -> T:
        async with self.engine.connect() as connection:
            return await asked_of(connection, self.files, questions)

    async def piece(self, asked: RecordFilter, *, limit: int, cursor: str | None = None) -> Piece:
        """
        Return the first calls after the cursor (of an earlier piece).

        Raises InvalidRequest for one not ours, ArchiveUnavailable.
        """
        return await self._answer(_piece(asked, limit, cursor))

    async def kinds(self, since: datetime, limit: int) -> list[Kind]:
        """Return what the newest ``limit`` calls since an instant were, by what a budget's scope can ask about."""
        return await self._answer(_kinds(since, limit))

    async def newest(self, asked: RecordFilter, limit: int) -> list[UsageRecord]:
        """
        Return the newest calls, newest first, without their corrections.

        Of what ``asked`` names only the first (component, provider, model, task type) chooses what is looked at, and at
        most NEWEST_READ_MAX of that are: a rare kind may not be found.
        """
        return await self._answer(_newest(asked, limit))

    async def recent_calls(self, limit: int) -> list[PastCall]:
        """Return what the newest calls teach whose answers the gateway read to the end, newest first; no batches."""
        columns = usage_records.c
        names = ("component", "provider", "model", "input_tokens", "output_tokens", "cost_nanos", "metadata")
        statement = (
            select(*(columns[name] for name in names))
            .where(
                columns.corrects.is_(None),
                columns.status == "ok",
                columns.cost_basis.not_in(_NOT_READ),
                columns.usage["service_tier"].as_string().is_distinct_from(BATCH_TIER),
            )
            .order_by(columns.seq.desc())
            .limit(limit)
        )
        async with self.engine.connect() as connection:
            return [_past(row) for row in (await connection.execute(statement)).mappings()]


def _piece(asked: RecordFilter, limit: int, cursor: str | None) -> Questions[Piece]:
    after = None if cursor is None else OLDEST_FIRST.position_of(cursor)
    if after is not None:
        oldest = from_iso(after[0])
        asked = replace(asked, start=oldest if asked.start is None else max(asked.start, oldest))
    parts = yield from parts_of(asked, OLDEST_FIRST)
    found = yield from first_of(parts, OLDEST_FIRST, lambda part: forward(part.asked, after), limit + 1)
    calls = yield from records_of(found[:limit])
    corrections: dict[str, list[UsageRecord]] = {}
    for correction in (yield from _corrections(parts, calls)) if calls else ():
        corrections.setdefault(correction.corrects or "", []).append(correction)
    last = found[limit - 1].row if len(found) > limit else None
    return Piece(
        [Happened(call, tuple(corrections.get(call.record_id, ()))) for call in calls],
        None if last is None else OLDEST_FIRST.cursor_of(last),
    )


def _corrections(parts: list[Part], calls: list[UsageRecord]) -> Questions[list[UsageRecord]]:
    """Return the corrections of calls, which are in the order of time, in the order of writing."""
    found: list[Found] = []
    for part in parts:
        if part.archive is None or part.archive.start <= iso(calls[-1].timestamp):
            rows = yield Ask(correcting(calls, part.asked), part.archive)
            found += [Found(row, part.archive) for row in rows]
    return (yield from records_of(sorted(found, key=lambda one: int(one.row["seq"]))))


def _kinds(since: datetime, limit: int) -> Questions[list[Kind]]:
    sums: dict[tuple[str, ...], tuple[int, int]] = {}
    for part, share in (yield from shares_of(RecordFilter(start=since), NEWEST_FIRST, _calls, limit)).items():
        for row in (yield Ask(sorting(part.asked, share), part.archive)):
            kind = row["component"], row["provider"], row["model"], row["tags"]
            calls, cost = sums.get(kind, (0, 0))
            sums[kind] = calls + row["calls"], cost + row["cost_nanos"]
    return [
        Kind(component, provider, model, orjson.loads(tags), *figures)
        for (component, provider, model, tags), figures in sums.items()
    ]


def _newest(asked: RecordFilter, limit: int) -> Questions[list[UsageRecord]]:
    left, found = NEWEST_READ_MAX, list[Found]()
    parts = yield from parts_of(asked, NEWEST_FIRST)
    for stretch in stretches(parts, NEWEST_FIRST):
        most = {stretch[0]: left}
        if len(parts) > 1:
            most = yield from shares_in(stretch, NEWEST_FIRST, _looked_at, left)
        of_kind = partial(_backward, most=most)
        found += yield from first_of(stretch, NEWEST_FIRST, of_kind, limit - len(found))
        left -= sum(most.values())
        if len(found) == limit or not left:
            break
    return (yield from records_of(found))


def _backward(part: Part, most: dict[Part, int]) -> Select[Any]:
    return backward(part.asked, most[part])


def _calls(part: Part) -> Select[Any]:
    return listing(part.asked).where(usage_records.c.corrects.is_(None))


def _looked_at(part: Part) -> Select[Any]:
    """Return the statement of what the newest of a kind are looked for among."""
    columns = usage_records.c
    asked = part.asked
    when = RecordFilter(start=asked.start, end=asked.end, until_seq=asked.until_seq)
    which = [*conditions(asked, columns.timestamp)[:1], *conditions(when, columns.timestamp)]
    return select(usage_records).where(*which).order_by(columns.timestamp.desc(), columns.seq.desc())


def sorting(asked: RecordFilter, limit: int) -> Select[Any]:
    """Return the statement of `History.kinds`: read from an index in its order, so that what it costs has an end."""
    columns = usage_records.c
    asked_for = func.coalesce(columns.metadata["model_requested"].as_string(), columns.model)
    newest = (
        select(
            columns.component,
            columns.provider,
            asked_for.label("model"),
            cast(columns.tags, Text).label("tags"),
            columns.cost_nanos,
        )
        .where(*conditions(asked, columns.timestamp), columns.corrects.is_(None))
        .order_by(columns.timestamp.desc(), columns.seq.desc())
        .limit(limit)
        .subquery()
    )
    kinds = (newest.c.component, newest.c.provider, newest.c.model, newest.c.tags)
    sums = func.count().label("calls"), func.coalesce(func.sum(newest.c.cost_nanos), 0).label("cost_nanos")
    return select(*kinds, *sums).group_by(*kinds)


def forward(asked: RecordFilter, after: Position | None) -> Select[Any]:
    """Return the statement of the calls behind a position, oldest first."""
    columns = usage_records.c
    statement = select(usage_records).where(*conditions(asked, columns.timestamp), columns.corrects.is_(None))
    if after is not None:
        statement = statement.where(tuple_(columns.timestamp, columns.seq) > tuple_(*after))
    return statement.order_by(columns.timestamp, columns.seq)


def backward(asked: RecordFilter, most: int) -> Select[Any]:
    """Return the statement of the newest calls, among so many."""
    looked_at = _looked_at(Part(asked)).limit(most).subquery()
    their = looked_at.c
    statement = select(looked_at).where(*conditions(asked, their.timestamp, their), their.corrects.is_(None))
    return statement.order_by(their.timestamp.desc(), their.seq.desc())


def correcting(calls: list[UsageRecord], asked: RecordFilter) -> Select[Any]:
    """Return the statement of the corrections of calls, which are in the order of time."""
    columns = usage_records.c
    return (
        select(usage_records)
        .where(
            # Their own model and basis may be others than the call's.
            columns.timestamp >= iso(calls[0].timestamp),
            columns.timestamp <= iso(calls[-1].timestamp),
            columns.corrects.is_not(None),
            columns.corrects.in_([call.record_id for call in calls]),
            *conditions(RecordFilter(until_seq=asked.until_seq), columns.timestamp),
        )
        .order_by(columns.seq)
    )
