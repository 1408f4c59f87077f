"""
Say what was granted to a budget, and what was denied.

Its one job: the rulings of people on one window of a budget, and whether each still counts.
Rules: a ruling belongs to the window of its period that contains the instant it was made at, and is gone with it. A
grant that expires stops counting at that instant: whoever asks names an instant, and no timer has a part in it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from penia_proxy.budget.windows import Calendar
from penia_proxy.config import Period


@dataclass(frozen=True, slots=True)
class Grant:
    """A top-up of one window of a budget."""

    grant_id: str
    budget_id: str
    period: Period
    amount_nanos: int
    reason: str
    granted_at: datetime
    """UTC; decides the window."""
    expires_at: datetime | None = None
    """The first instant at which it no longer counts, if that is before the window's end."""
    approval_id: str | None = None
    """The request for approval that it answers."""

    def counts(self, calendar: Calendar, at: datetime) -> bool:
        """Whether it adds to the limit at an instant."""
        unexpired = self.expires_at is None or at < self.expires_at
        return unexpired and is_within(self.granted_at, self.period, calendar, at)


@dataclass(frozen=True, slots=True)
class Denial:
    """The word that a window of a budget gets no more, until somebody grants it more all the same."""

    period: Period
    denied_at: datetime


def is_within(made_at: datetime, period: Period, calendar: Calendar, at: datetime) -> bool:
    """Whether what was made at one instant is of the window that contains the other."""
    window = calendar.window(period, at)
    return window.start <= made_at and (window.end is None or made_at < window.end)


ApprovalState = Literal["pending", "approved", "denied", "lapsed"]


@dataclass(frozen=True, slots=True)
class Approval:
    """A request to grant a window of a budget more: one, however many calls were refused for it."""

    approval_id: str
    budget_id: str
    period: Period
    window_start: datetime
    window_end: datetime | None
    state: ApprovalState
    """As it was written: a pending one has ``lapsed`` too once its window is over (`state_at`)."""
    asked_at: datetime
    component: str
    """This, and what follows to the request's id: of the first call that was refused."""
    provider: str
    model: str
    request_id: str
    amount_nanos: int
    """What the largest of the refused calls may cost."""
    refused_calls: int
    last_refused_at: datetime
    decided_at: datetime | None = None
    reason: str | None = None
    """Why it was decided so, or has lapsed before its window was over."""

    def state_at(self, at: datetime) -> ApprovalState:
        """Return what has become of it by an instant."""
        is_over = self.window_end is not None and self.window_end <= at
        return "lapsed" if self.state == "pending" and is_over else self.state
