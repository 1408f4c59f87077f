"""
Read the ledger.

Its one job: budgets, tallies and single usage records, each answer from one snapshot; what a filter of records is.
Rules: reads are read-only connections of their own and never wait for the writer. Every filter has an index in the
order of time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import Column, ColumnElement, FromClause, Select, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from penia_proxy.budget.budget import Budget
from penia_proxy.budget.record import Tally, UsageRecord
from penia_proxy.budget.windows import WindowKey
from penia_proxy.clock import from_iso, iso
from penia_proxy.config import Period
from penia_proxy.ledger.archives import ARCHIVES, Archive, Files, archives_of
from penia_proxy.ledger.merging import Ask, Found, Questions, T, asked_of, having_name
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

    @property
    def kinds(self) -> list[str]:
        """Return what it names, of ``budget_id``, ``cost_basis`` and the groupings."""
        found: list[str] = [] if self.budget_id is None else ["budget_id"]
        found += ["cost_basis"] if self.cost_bases else []
        return [*found, *(grouping for grouping in GROUPINGS if self.among(grouping))]


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
    if asked.until_seq is not None:
        found.append((columns["seq"] if asked.budget_id is None else charges.c.record_seq) <= asked.until_seq)
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
