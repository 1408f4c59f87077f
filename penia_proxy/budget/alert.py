"""
Say what an alert is, and when a number has crossed a threshold.

Its one job: the alert as everybody passes it on, and the state machine of thresholds: per budget and window each of
them is armed, fires once, and is armed again only when a higher limit has taken its reason away.
Rules: pure; the figures and the instant are given. What is seen twice is one alert (`Alert.once_key`), in this process
and in the next. A hold that is given back, and a correction, arm nothing again: a number that swings would ring all
day.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from penia_proxy.budget.budget import Budget
from penia_proxy.budget.money import usd
from penia_proxy.budget.windows import Window, WindowKey
from penia_proxy.config import Period

AlertType = Literal["threshold", "exceeded", "forecast", "anomaly", "unpriced", "approval", "store"]
Severity = Literal["info", "warning", "critical"]

WARNING_PERCENT = 80.0
CRITICAL_PERCENT = 100.0

KEYS_MAX = 50_000
"""Windows that are remembered before those that have ended are dropped."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should know."""

    alert_id: str
    once_key: str
    """What happened, in words that are the same whoever sees it."""
    alert_type: AlertType
    severity: Severity
    title: str
    message: str
    created_at: datetime
    budget_id: str | None = None
    threshold_percent: float | None = None
    period: Period | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    """After it the alert is history; None: it lasts until somebody resolves it."""
    details: Mapping[str, Any] = field(default_factory=dict)
    is_dismissed: bool = False
    acknowledged: bool = False
    resolved_at: datetime | None = None


class Crossing(NamedTuple):
    """A threshold that a window has passed."""

    budget: Budget
    window: Window
    percent: float
    used_nanos: int
    limit_nanos: int
    round: int
    """How often a higher limit has armed it again."""

    @property
    def once_key(self) -> str:
        """The name of this crossing."""
        window = f"{self.budget.budget_id}:{self.window.period}:{self.window.start.isoformat()}"
        return f"threshold:{window}:{percent_text(self.percent)}:{self.round}"

    def alert(self, alert_id: str, at: datetime) -> Alert:
        """Return the alert it is."""
        name, period = self.budget.name, self.window.period
        exceeded = self.percent >= CRITICAL_PERCENT
        share = 100 * self.used_nanos / self.limit_nanos if self.limit_nanos else 100.0
        figures = (
            f"${cents(self.used_nanos)} of the {period} ${cents(self.limit_nanos)} is spent or held ({share:.0f}%)"
        )
        what = (
            f"the {period} limit is used up"
            if exceeded
            else f"{percent_text(self.percent)}% of the {period} limit is used"
        )
        then = {"block": " Calls that do not fit are refused.", "approve": " Further calls need an approval."}
        after = then.get(self.budget.spec.enforcement, "") if exceeded and not self.budget.spec.shadow else ""
        return Alert(
            alert_id=alert_id,
            once_key=self.once_key,
            alert_type="exceeded" if exceeded else "threshold",
            severity=severity_of(self.percent),
            title=f"Budget '{name}': {what}",
            message=f"Budget '{name}' is past {percent_text(self.percent)}%: {figures}.{after}",
            created_at=at,
            budget_id=self.budget.budget_id,
            threshold_percent=self.percent,
            period=period,
            window_start=self.window.start,
            window_end=self.window.end,
            details={
                "used": usd(self.used_nanos),
                "limit": usd(self.limit_nanos),
                "limit_nanos": self.limit_nanos,
                "round": self.round,
                "budget": name,
            },
        )


def percent_text(percent: float) -> str:
    """Return a threshold as people write it, and never the text of another."""
    short = f"{percent:g}"
    return short if float(short) == percent else repr(percent)


def approval_key(approval_id: str) -> str:
    """Return the name of the alert that a request for approval is."""
    return f"approval:{approval_id}"


def severity_of(percent: float) -> Severity:
    """Return how bad it is that so much of a limit is used."""
    if percent >= CRITICAL_PERCENT:
        return "critical"
    return "warning" if percent >= WARNING_PERCENT else "info"


def cents(nanos: int) -> str:
    """Return USD for people: cents, or as many digits as a small amount needs."""
    dollars = usd(nanos)
    if abs(dollars) >= 1 or not dollars:
        return f"{dollars:,.2f}"
    whole, _, decimals = f"{float(f'{dollars:.4g}'):.9f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


@dataclass(slots=True)
class _Fired:
    alert_id: str
    limit_nanos: int


@dataclass(slots=True)
class _Watched:
    """One budget's window."""

    limit_nanos: int
    fired: dict[float, _Fired] = field(default_factory=dict)
    rounds: dict[float, int] = field(default_factory=dict)
    next_nanos: int = 0
    """Below it nothing can happen."""
    end: datetime | None = None


class Thresholds:
    """All windows, and what has fired in them."""

    def __init__(self, percents: Iterable[float], new_id: Callable[[], str]) -> None:
        """``new_id`` returns the id of an alert to be."""
        self.percents: tuple[float, ...] = tuple(sorted(percents))
        self._new_id = new_id
        self._windows: dict[WindowKey, _Watched] = {}

    def take(self, percents: Iterable[float]) -> None:
        """Take other thresholds; what has fired stays fired."""
        self.percents = tuple(sorted(percents))
        for watched in self._windows.values():
            self._aim(watched)

    def restore(self, alert: Alert) -> None:
        """Remember an alert of an earlier process, oldest first."""
        if alert.budget_id is None or alert.period is None or alert.window_start is None:
            return
        percent, limit = alert.threshold_percent, alert.details.get("limit_nanos")
        if percent is None or not isinstance(limit, int):
            return
        key = WindowKey(alert.budget_id, alert.period, alert.window_start)
        watched = self._windows.setdefault(key, _Watched(limit, end=alert.window_end))
        watched.limit_nanos = limit
        watched.rounds[percent] = max(watched.rounds.get(percent, 0), int(alert.details.get("round", 0)))
        if alert.resolved_at is None:
            watched.fired[percent] = _Fired(alert.alert_id, limit)
        else:
            watched.rounds[percent] += 1
            watched.fired.pop(percent, None)
        self._aim(watched)

    def seen(
        self, budget: Budget, window: Window, used_nanos: int, limit_nanos: int
    ) -> tuple[list[tuple[str, Crossing]], list[str]]:
        """Take figures; return what is crossed now, with the alerts' ids, and the ids of alerts that are resolved."""
        key = WindowKey(budget.budget_id, window.period, window.start)
        watched = self._windows.get(key)
        if watched is None:
            watched = self._watch(key, window, limit_nanos)
        elif watched.limit_nanos == limit_nanos and used_nanos < watched.next_nanos:
            return [], []
        resolved = self._relieved(watched, used_nanos, limit_nanos)
        crossed: list[tuple[str, Crossing]] = []
        for percent in self.percents:
            if percent not in watched.fired and used_nanos >= _reached_at(percent, limit_nanos) and used_nanos > 0:
                alert_id = self._new_id()
                watched.fired[percent] = _Fired(alert_id, limit_nanos)
                turn = watched.rounds.get(percent, 0)
                crossed.append((alert_id, Crossing(budget, window, percent, used_nanos, limit_nanos, turn)))
        self._aim(watched)
        return crossed, resolved

    def gone(self, limits: Collection[tuple[str, Period]], at: datetime) -> list[tuple[str, str]]:
        """
        Take that limits are no more, by budget and period; return alerts that are resolved, with their budgets.

        All is armed again: a limit that comes back is another.
        """
        resolved = []
        for key, watched in self._windows.items():
            if (key.budget_id, key.period) not in limits or (watched.end is not None and watched.end <= at):
                continue
            for percent, fired in watched.fired.items():
                resolved.append((fired.alert_id, key.budget_id))
                watched.rounds[percent] = watched.rounds.get(percent, 0) + 1
            watched.fired.clear()
            self._aim(watched)
        return resolved

    def _relieved(self, watched: _Watched, used_nanos: int, limit_nanos: int) -> list[str]:
        """Arm again what a higher limit has taken the reason away from."""
        resolved = []
        if limit_nanos != watched.limit_nanos:
            watched.limit_nanos = limit_nanos
            for percent, fired in list(watched.fired.items()):
                if limit_nanos > fired.limit_nanos and used_nanos < _reached_at(percent, limit_nanos):
                    resolved.append(fired.alert_id)
                    del watched.fired[percent]
                    watched.rounds[percent] = watched.rounds.get(percent, 0) + 1
        return resolved

    def _watch(self, key: WindowKey, window: Window, limit_nanos: int) -> _Watched:
        if len(self._windows) >= KEYS_MAX:
            ended = [old for old, its in self._windows.items() if its.end is not None and its.end <= window.start]
            for old in ended:
                del self._windows[old]
        watched = self._windows[key] = _Watched(limit_nanos, end=window.end)
        return watched

    def _aim(self, watched: _Watched) -> None:
        ahead = [percent for percent in self.percents if percent not in watched.fired]
        watched.next_nanos = _reached_at(ahead[0], watched.limit_nanos) if ahead else 2**63


def _reached_at(percent: float, limit_nanos: int) -> int:
    """Return the least amount that is so much of a limit."""
    numerator, denominator = percent.as_integer_ratio()
    return -(-limit_nanos * numerator // (100 * denominator))
