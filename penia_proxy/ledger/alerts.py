"""
Keep alerts, and what is sent of them.

Its one job: the rows of `alerts`, `notifications` and `settings`, and the reads of all three.
Rules: lists are newest first. A notification is what one channel is told of one alert; its id is the same at every
attempt, so that whoever is told twice can know it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple, Self

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from penia_proxy.budget.alert import Alert
from penia_proxy.clock import from_iso, iso
from penia_proxy.ledger.rows import Row, json_text
from penia_proxy.ledger.schema import alerts, notifications, settings

NotificationState = Literal["pending", "sent", "dead"]

ERROR_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Notification:
    """What one channel is told of one alert."""

    notification_id: str
    alert_id: str
    channel: str
    """``email``, or ``webhook:`` and its name."""
    created_at: datetime
    due_at: datetime
    state: NotificationState = "pending"
    attempts: int = 0
    last_error: str | None = None
    sent_at: datetime | None = None

    def sent(self, at: datetime) -> Self:
        """Return it, delivered."""
        return replace(self, state="sent", attempts=self.attempts + 1, last_error=None, sent_at=at)

    def failed(self, why: str, next_at: datetime | None) -> Self:
        """Return it after an attempt that failed; ``next_at`` None: it is given up."""
        return replace(
            self,
            state="pending" if next_at else "dead",
            attempts=self.attempts + 1,
            last_error=why[:ERROR_LENGTH_MAX],
            due_at=next_at or self.due_at,
        )

    def again(self, at: datetime) -> Self:
        """Return it to be tried anew."""
        return replace(self, state="pending", attempts=0, due_at=at)


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts; None is any."""

    budget_id: str | None = None
    alert_type: str | None = None
    severity: str | None = None
    acknowledged: bool | None = None
    is_dismissed: bool | None = None
    active_at: datetime | None = None
    """Only those that are neither resolved nor over at this instant."""


class AlertPage(NamedTuple):
    """One page, newest first."""

    alerts: list[Alert]
    total: int


def alert_row(alert: Alert) -> dict[str, Any]:
    """Return the columns of `alerts`."""
    return {
        "alert_id": alert.alert_id,
        "budget_id": alert.budget_id,
        "alert_type": alert.alert_type,
        "threshold_percent": alert.threshold_percent,
        "period": alert.period,
        "severity": alert.severity,
        "title": alert.title,
        "message": alert.message,
        "is_dismissed": alert.is_dismissed,
        "acknowledged": alert.acknowledged,
        "created_at": iso(alert.created_at),
        "resolved_at": alert.resolved_at and iso(alert.resolved_at),
        "window_start": alert.window_start and iso(alert.window_start),
        "window_end": alert.window_end and iso(alert.window_end),
        "once_key": alert.once_key,
        "details": json_text(alert.details),
    }


def alert_of(row: Row) -> Alert:
    """Return the alert of a row whose JSON is read."""
    moments = {name: row[name] and from_iso(row[name]) for name in ("resolved_at", "window_start", "window_end")}
    return Alert(
        alert_id=row["alert_id"],
        once_key=row["once_key"],
        alert_type=row["alert_type"],
        severity=row["severity"],
        title=row["title"],
        message=row["message"],
        created_at=from_iso(row["created_at"]),
        budget_id=row["budget_id"],
        threshold_percent=row["threshold_percent"],
        period=row["period"],
        details=row["details"],
        is_dismissed=bool(row["is_dismissed"]),
        acknowledged=bool(row["acknowledged"]),
        **moments,
    )


def notification_row(notification: Notification) -> dict[str, Any]:
    """Return the columns of `notifications`."""
    return {
        "notification_id": notification.notification_id,
        "alert_id": notification.alert_id,
        "channel": notification.channel,
        "state": notification.state,
        "attempts": notification.attempts,
        "due_at": iso(notification.due_at),
        "last_error": notification.last_error,
        "created_at": iso(notification.created_at),
        "sent_at": notification.sent_at and iso(notification.sent_at),
    }


def _notification_of(row: Row) -> Notification:
    return Notification(
        notification_id=row["notification_id"],
        alert_id=row["alert_id"],
        channel=row["channel"],
        created_at=from_iso(row["created_at"]),
        due_at=from_iso(row["due_at"]),
        state=row["state"],
        attempts=row["attempts"],
        last_error=row["last_error"],
        sent_at=row["sent_at"] and from_iso(row["sent_at"]),
    )


class AlertQueries:
    """The reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def alerts(self, asked: AlertFilter, *, page: int, limit: int) -> AlertPage:
        """Return one page."""
        wanted = _conditions(asked)
        statement = select(alerts).where(*wanted).order_by(alerts.c.seq.desc())
        async with self._engine.connect() as connection:
            rows = await connection.execute(statement.offset((page - 1) * limit).limit(limit))
            total = await connection.scalar(select(func.count()).select_from(alerts).where(*wanted))
            return AlertPage([alert_of(row) for row in rows.mappings()], int(total or 0))

    async def alert(self, alert_id: str) -> Alert | None:
        """Return one alert."""
        found = await self._alerts(select(alerts).where(alerts.c.alert_id == alert_id))
        return found[0] if found else None

    async def lasting(self, at: datetime) -> list[Alert]:
        """Return the alerts whose windows have not ended at the instant, oldest first."""
        present = or_(alerts.c.window_end.is_(None), alerts.c.window_end > iso(at))
        return await self._alerts(select(alerts).where(present).order_by(alerts.c.seq))

    async def unresolved(self, beginnings: Collection[str]) -> list[Alert]:
        """Return the alerts whose names begin so and that nobody has resolved, oldest first."""
        named = or_(*(alerts.c.once_key.startswith(beginning) for beginning in beginnings))
        return await self._alerts(select(alerts).where(named, alerts.c.resolved_at.is_(None)).order_by(alerts.c.seq))

    async def of(self, alert_ids: Sequence[str]) -> dict[str, Alert]:
        """Return alerts by id."""
        found = await self._alerts(select(alerts).where(alerts.c.alert_id.in_(alert_ids)))
        return {alert.alert_id: alert for alert in found}

    async def channels_due(self, at: datetime) -> list[str]:
        """Return the channels on which something is to be sent."""
        waiting = select(notifications.c.channel).where(
            notifications.c.state == "pending", notifications.c.due_at <= iso(at)
        )
        async with self._engine.connect() as connection:
            return list((await connection.scalars(waiting.distinct())).all())

    async def due(self, channel: str, at: datetime, limit: int) -> list[Notification]:
        """Return what is to be sent on a channel, the longest due first."""
        return await self._notifications(
            select(notifications)
            .where(
                notifications.c.state == "pending",
                notifications.c.due_at <= iso(at),
                notifications.c.channel == channel,
            )
            .order_by(notifications.c.due_at)
            .limit(limit)
        )

    async def next_due(self) -> datetime | None:
        """Return when something is to be sent next."""
        statement = select(func.min(notifications.c.due_at)).where(notifications.c.state == "pending")
        async with self._engine.connect() as connection:
            found = await connection.scalar(statement)
        return found and from_iso(found)

    async def notifications(
        self, *, alert_id: str | None, state: str | None, page: int, limit: int
    ) -> tuple[list[Notification], int]:
        """Return one page of what was or is to be sent, and how much of it there is."""
        wanted = [
            column == value
            for column, value in ((notifications.c.alert_id, alert_id), (notifications.c.state, state))
            if value is not None
        ]
        statement = select(notifications).where(*wanted).order_by(notifications.c.created_at.desc())
        found = await self._notifications(statement.offset((page - 1) * limit).limit(limit))
        async with self._engine.connect() as connection:
            total = await connection.scalar(select(func.count()).select_from(notifications).where(*wanted))
        return found, int(total or 0)

    async def notification(self, notification_id: str) -> Notification | None:
        """Return one."""
        found = await self._notifications(
            select(notifications).where(notifications.c.notification_id == notification_id)
        )
        return found[0] if found else None

    async def setting(self, name: str) -> dict[str, Any] | None:
        """Return a setting, None where it was never changed."""
        async with self._engine.connect() as connection:
            found: dict[str, Any] | None = await connection.scalar(
                select(settings.c.value).where(settings.c.name == name)
            )
        return found

    async def _alerts(self, statement: Select[Any]) -> list[Alert]:
        async with self._engine.connect() as connection:
            return [alert_of(row) for row in (await connection.execute(statement)).mappings()]

    async def _notifications(self, statement: Select[Any]) -> list[Notification]:
        async with self._engine.connect() as connection:
            return [_notification_of(row) for row in (await connection.execute(statement)).mappings()]


def _conditions(asked: AlertFilter) -> list[ColumnElement[bool]]:
    columns = alerts.c
    found = [
        columns[name] == value
        for name in ("budget_id", "alert_type", "severity", "acknowledged", "is_dismissed")
        if (value := getattr(asked, name)) is not None
    ]
    if asked.active_at is not None:
        found += [
            columns.resolved_at.is_(None),
            or_(columns.window_end.is_(None), columns.window_end > iso(asked.active_at)),
        ]
    return found
