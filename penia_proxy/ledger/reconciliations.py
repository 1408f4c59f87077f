"""
Keep reconciliations.

Its one job: what a provider's report was compared with, as values, rows and reads.
Rule: one is never changed; the same report again, after more was captured, is another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from penia_proxy.budget.reconciliation import Line, drifts, rate
from penia_proxy.clock import from_iso, iso
from penia_proxy.ledger.rows import json_text
from penia_proxy.ledger.schema import reconciliations


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A provider's report beside what was captured in its days."""

    reconciliation_id: str
    created_at: datetime
    provider: str
    """As configured: whose records it was compared with."""
    source: str
    """Whose report it is."""
    first_day: date
    last_day: date
    is_whole: bool
    billed_nanos: int
    captured_nanos: int
    lines: tuple[Line, ...]

    @property
    def rate(self) -> float | None:
        """The part of what was billed that was captured; None where nothing was billed."""
        return rate(self.billed_nanos, self.captured_nanos)

    @property
    def captured(self) -> "Captured":
        """The part that was captured of what was billed: of all of it, and by day."""
        days: dict[date, tuple[int, int]] = {}
        for line in self.lines:
            billed, captured = days.get(line.day, (0, 0))
            days[line.day] = billed + line.billed_nanos, captured + line.captured_nanos
        return Captured(self.rate, tuple((day, rate(*days[day])) for day in sorted(days)))

    @property
    def drifts(self) -> bool:
        """Whether somebody should look: see `budget.reconciliation.drifts`."""
        return drifts(self.billed_nanos, self.captured_nanos)


class Captured(NamedTuple):
    """What a reconciliation came to; a rate is None where nothing was billed."""

    rate: float | None
    days: tuple[tuple[date, float | None], ...]
    """Oldest first."""


class ReconciliationPage(NamedTuple):
    """One page of a list, newest first."""

    items: list[Reconciliation]
    total: int


def reconciliation_row(one: Reconciliation) -> dict[str, Any]:
    """Return the columns of `reconciliations`."""
    return {
        "reconciliation_id": one.reconciliation_id,
        "created_at": iso(one.created_at),
        "provider": one.provider,
        "source": one.source,
        "first_day": str(one.first_day),
        "last_day": str(one.last_day),
        "is_whole": one.is_whole,
        "billed_nanos": one.billed_nanos,
        "captured_nanos": one.captured_nanos,
        "lines": json_text(
            [
                [str(line.day), line.model, line.billed_nanos, line.captured_nanos, line.requests, line.unpriced]
                for line in one.lines
            ]
        ),
    }


def _from_row(row: RowMapping | Mapping[str, Any]) -> Reconciliation:
    return Reconciliation(
        reconciliation_id=row["reconciliation_id"],
        created_at=from_iso(row["created_at"]),
        provider=row["provider"],
        source=row["source"],
        first_day=date.fromisoformat(row["first_day"]),
        last_day=date.fromisoformat(row["last_day"]),
        is_whole=bool(row["is_whole"]),
        billed_nanos=row["billed_nanos"],
        captured_nanos=row["captured_nanos"],
        lines=tuple(Line(date.fromisoformat(day), *rest) for day, *rest in row["lines"]),
    )


@dataclass(frozen=True, slots=True)
class Reconciliations:
    """The ledger's reads of them."""

    engine: AsyncEngine

    async def page(self, *, page: int, limit: int, provider: str | None = None) -> ReconciliationPage:
        """Return one page, newest first."""
        columns = reconciliations.c
        wanted = [] if provider is None else [columns.provider == provider]
        newest = (columns.created_at.desc(), columns.reconciliation_id.desc())
        statement = select(reconciliations).where(*wanted).order_by(*newest).offset((page - 1) * limit).limit(limit)
        async with self.engine.connect() as connection:
            rows = (await connection.execute(statement)).mappings().all()
            total = await connection.scalar(select(func.count()).select_from(reconciliations).where(*wanted))
        return ReconciliationPage([_from_row(row) for row in rows], int(total or 0))

    async def one(self, reconciliation_id: str) -> Reconciliation | None:
        """Return one."""
        statement = select(reconciliations).where(reconciliations.c.reconciliation_id == reconciliation_id)
        async with self.engine.connect() as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
        return None if row is None else _from_row(row)

    async def newest(self) -> dict[str, Reconciliation]:
        """Return the newest of each provider."""
        last = select(reconciliations.c.provider, func.max(reconciliations.c.created_at).label("at"))
        newest = last.group_by(reconciliations.c.provider).subquery()
        statement = select(reconciliations).join(
            newest,
            (newest.c.provider == reconciliations.c.provider) & (newest.c.at == reconciliations.c.created_at),
        )
        async with self.engine.connect() as connection:
            rows = (await connection.execute(statement)).mappings().all()
        return {row["provider"]: _from_row(row) for row in rows}
