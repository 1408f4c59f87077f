"""
Read the ledger.

Its one job: budgets, tallies and single usage records, each answer from one snapshot; what a filter of records is.
Rules: reads are read-only connections of their own and never wait for the writer. Every filter has an index in the
order of time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import Column, ColumnElement, FromClause, RowMapping, Select, event, func, select, union_all
from sqlalchemy.engine import URL, Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from penia_proxy.budget.budget import Budget
from penia_proxy.budget.calibration import Outcome
from penia_proxy.budget.record import Tally, UsageRecord
from penia_proxy.budget.usage import BATCH_TIER
from penia_proxy.budget.windows import WindowKey
from penia_proxy.clock import from_iso, iso
from penia_proxy.config import Period
from penia_proxy.ledger.rows import TALLIED, budget_from, record_of
from penia_proxy.ledger.schema import budgets, charges, other_names, spend, usage_records

READERS_MAX = 4
WAIT_S = 10.0
"""How long a question waits for one of twice as many connections."""
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

    def among(self, grouping: Grouping) -> tuple[str, ...]:
        """Return the values asked for."""
        return {
            "component": self.components,
            "provider": self.providers,
            "model": self.models,
            "task_type": self.task_types,
        }[grouping]

    @property
    def kinds(self) -> list[str]:
        """Return what it names, of ``budget_id``, ``cost_basis`` and the groupings."""
        found: list[str] = [] if self.budget_id is None else ["budget_id"]
        found += ["cost_basis"] if self.cost_bases else []
        return [*found, *(grouping for grouping in GROUPINGS if self.among(grouping))]


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


def reading(path: Path) -> AsyncEngine:
    """Return an engine whose connections can only read, each transaction from one snapshot."""
    url = URL.create("sqlite+aiosqlite", database=path.as_uri(), query={"mode": "ro", "uri": "true"})
    engine = create_async_engine(
        url,
        pool_size=READERS_MAX,
        max_overflow=READERS_MAX,
        pool_timeout=WAIT_S,
        connect_args={"isolation_level": None},
    )
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def source(asked: RecordFilter) -> tuple[FromClause, Column[Any], Column[Any]]:
    """Return where the records are, and the timestamp and sequence columns that are indexed there."""
    if asked.budget_id is None:
        return usage_records, usage_records.c.timestamp, usage_records.c.seq
    joined = charges.join(usage_records, charges.c.record_seq == usage_records.c.seq)
    return joined, charges.c.timestamp, charges.c.record_seq


def conditions(
    asked: RecordFilter,
    moment: ColumnElement[str],
    columns: Mapping[str, ColumnElement[Any]] | ReadOnlyColumnCollection[str, Any] = usage_records.c,
) -> list[ColumnElement[bool]]:
    """Return what the records asked for have in common."""
    found = [_any_of(columns[grouping], asked.among(grouping)) for grouping in GROUPINGS]
    found.append(_any_of(columns["cost_basis"], asked.cost_bases))
    if asked.budget_id is not None:
        found.append(charges.c.budget_id == asked.budget_id)
    if asked.start is not None:
        found.append(moment >= iso(asked.start))
    if asked.end is not None:
        found.append(moment < iso(asked.end))
    return [condition for condition in found if condition is not None]


def _any_of(column: ColumnElement[Any], values: Sequence[str]) -> ColumnElement[bool] | None:
    if not values:
        return None
    return column == values[0] if len(values) == 1 else column.in_(values)


class Queries:
    """The ledger's reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(self, record_id: str) -> UsageRecord | None:
        """Return one record."""
        return await self._one(usage_records.c.record_id == record_id)

    async def billed(self, once_key: str) -> UsageRecord | None:
        """Return the record with a once-key."""
        return await self._one(usage_records.c.once_key == once_key)

    async def once_key_of(self, name: str) -> str | None:
        """Return the once-key whose bill has this other name."""
        statement = select(other_names.c.once_key).where(other_names.c.name == name)
        async with self._engine.connect() as connection:
            found: str | None = await connection.scalar(statement)
        return found

    async def oldest(self) -> datetime | None:
        """Return the instant of the oldest record."""
        async with self._engine.connect() as connection:
            found = await connection.scalar(select(func.min(usage_records.c.timestamp)))
        return None if found is None else from_iso(found)

    async def corrections(self, record_id: str) -> list[UsageRecord]:
        """Return the corrections of a record, in the order of writing."""
        return await self._those(usage_records.c.corrects == record_id)

    async def _one(self, which: ColumnElement[bool]) -> UsageRecord | None:
        found = await self._those(which)
        return found[0] if found else None

    async def _those(self, which: ColumnElement[bool]) -> list[UsageRecord]:
        statement = select(usage_records).where(which).order_by(usage_records.c.seq)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(statement)).mappings().all()
            budget_ids = await charged(connection, [row["seq"] for row in rows])
        return [record_of(row, budget_ids.get(row["seq"], ())) for row in rows]

    async def seen(self, kind: str, beginning: str, *, exact: bool = False) -> bool:
        """Return whether a record has such a name of a `Grouping`, or one that begins so; found by its index."""
        column = usage_records.c[kind]
        which = column == beginning if exact else (column >= beginning) & (column < beginning + _BEYOND)
        async with self._engine.connect() as connection:
            return (await connection.execute(select(usage_records.c.seq).where(which).limit(1))).first() is not None

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
        async with self._engine.connect() as connection:
            return [_past(row) for row in (await connection.execute(statement)).mappings()]


async def charged(connection: AsyncConnection, seqs: Sequence[int]) -> dict[int, list[str]]:
    """Return the budgets that records were charged to, most specific first."""
    return by_record(await connection.execute(charges_of(seqs)))


def charges_of(seqs: Sequence[int]) -> Select[Any]:
    """Return the statement of the budgets that records were charged to, for `by_record`."""
    return (
        select(charges.c.record_seq, charges.c.budget_id)
        .where(charges.c.record_seq.in_(seqs))
        .order_by(charges.c.record_seq, charges.c.position)
    )


def by_record(rows: Iterable[Any]) -> dict[int, list[str]]:
    """Return the budgets of each record, most specific first."""
    found: dict[int, list[str]] = {}
    for seq, budget_id in rows:
        found.setdefault(seq, []).append(budget_id)
    return found


def _tallies_since(periods: Sequence[Period], since: datetime | None) -> Select[Any]:
    # By way of the budgets, so that each one's windows are found by key and its history is not read.
    statement = select(spend).join_from(budgets, spend, spend.c.budget_id == budgets.c.budget_id)
    statement = statement.where(spend.c.period.in_(periods))
    return statement if since is None else statement.where(spend.c.window_start >= iso(since))
