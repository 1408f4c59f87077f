"""
Name what can be asked of the ledger's writer.

Its one job: one value per move, which applies itself to a transaction.
Rule: a lasting move may not be refused by a failing database: it stays queued until it is on disk. The others fail, and
leave nothing behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Literal, Protocol

from penia_proxy.budget.alert import Alert
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.record import Hold, UsageRecord
from penia_proxy.clock import iso
from penia_proxy.ledger import statements as sql
from penia_proxy.ledger.alerts import Notification, alert_row, notification_row
from penia_proxy.ledger.reconciliations import Reconciliation, reconciliation_row
from penia_proxy.ledger.rows import json_text
from penia_proxy.ledger.transaction import Transaction


class Hurry(Enum):
    """In what haste a move is to be written."""

    NONE = "none"
    """Nobody waits: it may wait for company, and be overtaken."""
    NEXT = "next"
    """A call waits, and depends on nothing that may be overtaken."""
    IN_TURN = "in turn"
    """Somebody waits, and everything asked for before goes before."""


class Move(Protocol):
    """Something to write."""

    @property
    def lasting(self) -> bool:
        """Whether the move is retried until it is durable."""
        ...

    @property
    def hurry(self) -> Hurry:
        """Whether somebody waits for it."""
        ...

    def apply(self, to: Transaction) -> object:
        """Gather what is to be written; return the answer. Raises the refusal, having gathered nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Reserve:
    """Open a hold."""

    lasting: ClassVar[bool] = False
    hold: Hold
    unique: bool

    @property
    def hurry(self) -> Hurry:
        """A new id has no past; one that a caller chose may belong to a call whose end is still queued."""
        return Hurry.IN_TURN if self.unique else Hurry.NEXT

    def apply(self, to: Transaction) -> None:
        to.reserve(self.hold, unique=self.unique)


@dataclass(frozen=True, slots=True)
class Settle:
    """End a hold with what it cost."""

    lasting: ClassVar[bool] = True
    hurry: ClassVar[Hurry] = Hurry.NONE
    record: UsageRecord

    def apply(self, to: Transaction) -> None:
        to.settle(self.record)


@dataclass(frozen=True, slots=True)
class Defer:
    """Say under which key a hold's bill will come."""

    lasting: ClassVar[bool] = True
    hurry: ClassVar[Hurry] = Hurry.NONE
    hold_id: str
    once_key: str

    def apply(self, to: Transaction) -> None:
        to.defer(self.hold_id, self.once_key)


@dataclass(frozen=True, slots=True)
class SaveName:
    """Say by which other name the bill of a once-key is stated."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.IN_TURN
    name: str
    once_key: str

    def apply(self, to: Transaction) -> None:
        to.execute(sql.SAVE_NAME, {"name": self.name, "once_key": self.once_key})


@dataclass(frozen=True, slots=True)
class Extend:
    """Say that an open hold is larger now."""

    lasting: ClassVar[bool] = True
    hurry: ClassVar[Hurry] = Hurry.NONE
    hold_id: str
    amount_nanos: int

    def apply(self, to: Transaction) -> None:
        to.extend(self.hold_id, self.amount_nanos)


@dataclass(frozen=True, slots=True)
class Release:
    """End a hold that cost nothing."""

    lasting: ClassVar[bool] = True
    hurry: ClassVar[Hurry] = Hurry.NONE
    hold_id: str

    def apply(self, to: Transaction) -> None:
        to.release(self.hold_id)


@dataclass(frozen=True, slots=True)
class Append:
    """Count a record that was posted."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.IN_TURN
    record: UsageRecord
    fingerprint: str

    def apply(self, to: Transaction) -> bool:
        return to.append(self.record, self.fingerprint)


@dataclass(frozen=True, slots=True)
class Expire:
    """End every hold of a process that died."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.IN_TURN

    def apply(self, to: Transaction) -> list[UsageRecord]:
        return to.expire()


@dataclass(frozen=True, slots=True)
class SaveBudget:
    """Insert or update a budget."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.IN_TURN
    budget: Budget
    audit: Mapping[str, Any] | None
    at: datetime

    def apply(self, to: Transaction) -> None:
        to.save_budget(self.budget, self.audit, self.at)


@dataclass(frozen=True, slots=True)
class RaiseAlert:
    """Keep an alert and what is to be sent of it, unless the same has been seen before."""

    lasting: ClassVar[bool] = True
    hurry: ClassVar[Hurry] = Hurry.NONE
    alert: Alert
    notifications: tuple[Notification, ...]

    def apply(self, to: Transaction) -> bool:
        """Return whether it is new."""
        if not to.execute(sql.INSERT_ALERT, alert_row(self.alert)):
            return False
        for notification in self.notifications:
            to.execute(sql.INSERT_NOTIFICATION, notification_row(notification))
        return True


@dataclass(frozen=True, slots=True)
class ResolveAlert:
    """Say since when an alert's reason is gone."""

    lasting: ClassVar[bool] = True
    hurry: ClassVar[Hurry] = Hurry.NONE
    alert_id: str
    at: datetime

    def apply(self, to: Transaction) -> None:
        to.execute(sql.RESOLVE_ALERT, {"its_id": self.alert_id, "at": iso(self.at)})


@dataclass(frozen=True, slots=True)
class MarkAlert:
    """Say that somebody has dismissed or acknowledged an alert."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.IN_TURN
    alert_id: str
    mark: Literal["dismissed", "acknowledged"]

    def apply(self, to: Transaction) -> bool:
        """Return whether there is such an alert."""
        statement = sql.DISMISS_ALERT if self.mark == "dismissed" else sql.ACKNOWLEDGE_ALERT
        return to.execute(statement, {"its_id": self.alert_id}) > 0


@dataclass(frozen=True, slots=True)
class UpdateNotification:
    """Say what became of an attempt."""

    lasting: ClassVar[bool] = True
    hurry: ClassVar[Hurry] = Hurry.NONE
    notification: Notification

    def apply(self, to: Transaction) -> None:
        row = notification_row(self.notification)
        changed = {name: row[name] for name in ("state", "attempts", "due_at", "last_error", "sent_at")}
        to.execute(sql.UPDATE_NOTIFICATION, {"its_id": self.notification.notification_id, **changed})


@dataclass(frozen=True, slots=True)
class SaveSetting:
    """Keep a setting that people change while the process runs."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.IN_TURN
    name: str
    value: Mapping[str, Any]

    def apply(self, to: Transaction) -> None:
        to.execute(sql.SAVE_SETTING, {"name": self.name, "value": json_text(self.value)})


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Keep what a provider's report was compared with."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.IN_TURN
    one: Reconciliation

    def apply(self, to: Transaction) -> None:
        to.execute(sql.INSERT_RECONCILIATION, reconciliation_row(self.one))


@dataclass(frozen=True, slots=True)
class Fold:
    """Fold the next rollups of hours that are over."""

    lasting: ClassVar[bool] = False
    hurry: ClassVar[Hurry] = Hurry.NONE
    closed: str
    """The first hour that is not over, as `rollups` has it."""

    def apply(self, to: Transaction) -> bool:
        """Return whether there were any."""
        return to.fold(self.closed)


@dataclass(frozen=True, slots=True)
class Barrier:
    """Nothing: done when everything asked for before it is."""

    lasting: ClassVar[bool] = True
    hurry: ClassVar[Hurry] = Hurry.IN_TURN

    def apply(self, to: Transaction) -> None:
        """Gather nothing."""
