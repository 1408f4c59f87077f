"""
Read how things stand.

Its one job: the few numbers of the file that somebody looks at every few seconds: what is held, which alerts are open,
what is still to be sent.
Rule: each is found by an index, or in a table that is small by nature; none grows with the records.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CompoundSelect, Select, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncEngine

from penia_proxy.clock import iso
from penia_proxy.ledger.schema import alerts, holds, notifications


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand at an instant."""

    held_nanos: int
    """In all open holds: of each the most that any budget holds of it."""
    streams: int
    """Of them, those of calls that are answered as a stream."""
    alerts: Mapping[tuple[str, str], int]
    """Open ones, by type and severity."""
    notifications: Mapping[str, int]
    """Pending and dead ones."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """The reads, in one snapshot."""

    engine: AsyncEngine

    async def read(self, at: datetime) -> Standing:
        """Return how things stand."""
        async with self.engine.connect() as connection:
            held = (await connection.execute(of_holds())).one()
            found = (await connection.execute(of_alerts(at))).all()
            waiting = (await connection.execute(of_notifications())).all()
        open_alerts: Counter[tuple[str, str]] = Counter()
        for kind, severity, number in map(tuple, found):
            open_alerts[kind, severity] += number
        return Standing(
            held_nanos=held[0],
            streams=held[1],
            alerts=open_alerts,
            notifications={row[0]: row[1] for row in waiting},
        )


def of_holds() -> Select[Any]:
    """Return the statement of what is held, and for how many streams."""
    return select(func.coalesce(func.sum(holds.c.amount_nanos), 0), func.coalesce(func.sum(holds.c.streamed), 0))


def of_alerts(at: datetime) -> CompoundSelect[Any]:
    """
    Return the statement of the alerts that are neither resolved nor over, by type and severity.

    A kind can come twice: of those that end, and of those that do not. As one condition no index would find them.
    """
    columns = alerts.c
    kinds = (columns.alert_type, columns.severity)
    counted = select(*kinds, func.count()).where(columns.resolved_at.is_(None)).group_by(*kinds)
    return union_all(counted.where(columns.window_end > iso(at)), counted.where(columns.window_end.is_(None)))


def of_notifications() -> Select[Any]:
    """Return the statement of what is to be sent, and of what was given up."""
    state = notifications.c.state
    return select(state, func.count()).where(state.in_(("pending", "dead"))).group_by(state)
