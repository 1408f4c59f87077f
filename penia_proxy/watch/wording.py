"""
Say what is told of each kind of thing.

Its one job: the names, titles, messages and details of alerts that are no thresholds.
Rule: whether something is to be told is decided elsewhere.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from penia_proxy.budget.alert import AlertType, Severity, approval_key, cents
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.grants import Approval
from penia_proxy.budget.money import usd
from penia_proxy.budget.projection import Projection
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.windows import Window
from penia_proxy.clock import iso
from penia_proxy.watch.habits import HOUR, Odd


class Tell(Protocol):
    """Raise an alert, unless the same was raised before."""

    def __call__(
        self,
        alert_type: AlertType,
        once_key: str,
        severity: Severity,
        title: str,
        message: str,
        *,
        budget: Budget | None = None,
        window: Window | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None: ...


def tell_request(tell: Tell, budget: Budget, approval: Approval) -> None:
    """Tell that a budget waits for somebody's approval."""
    amount, who = cents(approval.amount_nanos), approval.component
    tell(
        "approval",
        approval_key(approval.approval_id),
        "warning",
        f"Budget '{budget.name}' waits for an approval",
        f"Budget '{budget.name}' has refused {who} a call to {approval.model} that may cost ${amount}, and"
        f" refuses others until {approval.approval_id} is approved (penia approvals approve).",
        budget=budget,
        window=Window(approval.period, approval.window_start, approval.window_end),
        details={
            "approval_id": approval.approval_id,
            "component": approval.component,
            "provider": approval.provider,
            "model": approval.model,
            "request_id": approval.request_id,
            "amount": usd(approval.amount_nanos),
        },
    )


def tell_forecast(
    tell: Tell, budget: Budget, window: Window, limit: int, spent_nanos: int, projection: Projection
) -> None:
    """Tell that a limit will be reached."""
    at = projection.exhausted_at
    when = "soon" if at is None else f"around {at:%Y-%m-%d %H:%M} UTC"
    spent, expected = cents(spent_nanos), cents(projection.expected_nanos)
    tell(
        "forecast",
        f"forecast:{budget.budget_id}:{window.period}:{iso(window.start)}",
        "warning",
        f"Budget '{budget.name}': the {window.period} limit will be reached {when}",
        f"Budget '{budget.name}' will reach its {window.period} ${cents(limit)} {when}: ${spent} is spent, and"
        f" ${expected} is expected by the window's end.",
        budget=budget,
        window=window,
        details={
            "spent": usd(spent_nanos),
            "limit": usd(limit),
            "projected": usd(projection.expected_nanos),
            "projected_low": usd(projection.low_nanos),
            "projected_high": usd(projection.high_nanos),
            "exhausted_at": at and iso(at),
        },
    )


def tell_odd(tell: Tell, odd: Odd) -> None:
    """Tell that a component's hour is unlike its others."""
    tell(
        "anomaly",
        f"anomaly:{odd.component}:{iso(odd.hour)}",
        "warning",
        f"{odd.component} spends far more than it does",
        f"{odd.component} has spent ${cents(odd.spent_nanos)} since {odd.hour:%H:%M} UTC; of its hours in the last"
        f" two weeks hardly one has cost ${cents(odd.beyond_nanos)}.",
        window=Window("hourly", odd.hour, odd.hour + HOUR),
        details={
            "component": odd.component,
            "hour": iso(odd.hour),
            "spent": usd(odd.spent_nanos),
            "odd_beyond": usd(odd.beyond_nanos),
        },
    )


def tell_unpriced(tell: Tell, once_key: str, record: UsageRecord, day: datetime) -> None:
    """Tell that a model without a price is used on a day."""
    tell(
        "unpriced",
        once_key,
        "warning",
        f"No price is known for {record.provider}/{record.model}",
        f"{record.provider}/{record.model} is used and has no price: its calls are recorded without a cost."
        " Add one to pricing/.",
        window=Window("daily", day, day + timedelta(days=1)),
        details={"provider": record.provider, "model": record.model, "component": record.component},
    )


def tell_store(tell: Tell, once_key: str, now: datetime) -> None:
    """Tell that the ledger cannot write."""
    tell(
        "store",
        once_key,
        "critical",
        "The ledger cannot write",
        "The ledger cannot write: calls under blocking budgets are refused until it can."
        " See the log for what the database says.",
        window=Window("hourly", now, now + timedelta(hours=1)),
    )
