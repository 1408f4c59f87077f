"""
Go through what happened.

Its one job: calls with their corrections, oldest first and in pieces, for whoever prices them again; and the newest
calls, for whoever asks what a component's calls are like.
Rules: each piece is bounded and from one snapshot, so that nobody holds a snapshot, or the event loop, for a whole
ledger. A correction has its call's instant, which is how it is found: nothing is indexed by what it corrects.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import RowMapping, Select, Text, cast, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from penia_proxy.budget.record import UsageRecord
from penia_proxy.clock import iso
from penia_proxy.ledger.orders import OLDEST_FIRST
from penia_proxy.ledger.queries import RecordFilter, charged, conditions
from penia_proxy.ledger.rows import record_of
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

    async def piece(self, asked: RecordFilter, *, limit: int, cursor: str | None = None) -> Piece:
        """Return the first calls after the cursor (of an earlier piece). Raises InvalidRequest for one not ours."""
        async with self.engine.connect() as connection:
            rows = (await connection.execute(forward(asked, limit=limit, cursor=cursor))).mappings().all()
            calls = await _read(connection, rows[:limit])
            corrections = await _read(connection, await _corrections(connection, calls))
        by_call: dict[str, list[UsageRecord]] = {}
        for correction in corrections:
            by_call.setdefault(correction.corrects or "", []).append(correction)
        last = rows[limit - 1] if len(rows) > limit else None
        return Piece(
            [Happened(call, tuple(by_call.get(call.record_id, ()))) for call in calls],
            last and OLDEST_FIRST.cursor_of(last),
        )

    async def kinds(self, since: datetime, limit: int) -> list[Kind]:
        """Return what the newest ``limit`` calls since an instant were, by what a budget's scope can ask about."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(sorting(since, limit))
            return [
                Kind(component, provider, model, orjson.loads(tags), number, cost)
                for component, provider, model, tags, number, cost in rows
            ]

    async def newest(self, asked: RecordFilter, limit: int) -> list[UsageRecord]:
        """
        Return the newest calls, newest first, without their corrections.

        Of what ``asked`` names only the first (component, provider, model, task type) chooses what is looked at, and at
        most NEWEST_READ_MAX of that are: a rare kind may not be found.
        """
        async with self.engine.connect() as connection:
            rows = (await connection.execute(backward(asked, limit))).mappings().all()
            return [record_of(row, ()) for row in rows]


def sorting(since: datetime, limit: int) -> Select[Any]:
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
        .where(columns.timestamp >= iso(since), columns.corrects.is_(None))
        .order_by(columns.timestamp.desc())
        .limit(limit)
        .subquery()
    )
    kinds = (newest.c.component, newest.c.provider, newest.c.model, newest.c.tags)
    return select(*kinds, func.count(), func.coalesce(func.sum(newest.c.cost_nanos), 0)).group_by(*kinds)


def forward(asked: RecordFilter, *, limit: int, cursor: str | None) -> Select[Any]:
    """Return the statement of a piece, and one row more that tells whether another follows."""
    columns = usage_records.c
    statement = select(usage_records).where(*conditions(asked, columns.timestamp), columns.corrects.is_(None))
    if cursor is not None:
        statement = statement.where(tuple_(columns.timestamp, columns.seq) > tuple_(*OLDEST_FIRST.position_of(cursor)))
    return statement.order_by(columns.timestamp, columns.seq).limit(limit + 1)


def backward(asked: RecordFilter, limit: int) -> Select[Any]:
    """Return the statement of the newest calls."""
    columns = usage_records.c
    wanted = conditions(asked, columns.timestamp)
    looked_at = (
        select(usage_records)
        .where(*wanted[:1])
        .order_by(columns.timestamp.desc(), columns.seq.desc())
        .limit(NEWEST_READ_MAX)
        .subquery()
    )
    their = looked_at.c
    statement = select(looked_at).where(*conditions(asked, their.timestamp, their), their.corrects.is_(None))
    return statement.order_by(their.timestamp.desc(), their.seq.desc()).limit(limit)


async def _corrections(connection: AsyncConnection, calls: list[UsageRecord]) -> list[RowMapping]:
    return list((await connection.execute(correcting(calls))).mappings()) if calls else []


def correcting(calls: list[UsageRecord]) -> Select[Any]:
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
        )
        .order_by(columns.seq)
    )


async def _read(connection: AsyncConnection, rows: list[RowMapping]) -> list[UsageRecord]:
    budget_ids = await charged(connection, [row["seq"] for row in rows])
    return [record_of(row, budget_ids.get(row["seq"], ())) for row in rows]
