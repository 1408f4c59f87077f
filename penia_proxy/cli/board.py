"""
Know what a terminal shows of a gateway.

Its one job: from the live feed's events and the API's answers, what is known now: budgets, calls, open alerts, and
whether it is still so.
Rules: no clock of its own and nothing of a terminal. Every figure is the gateway's, or a sum of such. A rate rests on
what was heard, and is unknown until that is enough.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from penia_proxy.config import Period
from penia_proxy.following import Event, Happened, Live, Lost, Missed, Snapshot

Json = dict[str, Any]
Sort = Literal["used", "spent", "left", "name"]

SORTS: tuple[Sort, ...] = ("used", "spent", "left", "name")
PERIODS: tuple[Period, ...] = ("hourly", "daily", "weekly", "monthly", "total")
CALLS_MAX = 500
RATE_S = 60.0
"""What was spent in the last minute is the rate."""
RATE_S_MIN = 5.0
"""It is not told before so much was heard."""


@dataclass(frozen=True, slots=True)
class Row:
    """One limited period of a budget."""

    budget_id: str
    name: str
    enforcement: str
    period: str
    spent: float
    held: float
    limit: float | None
    projected: float | None
    exhausted_at: datetime | None

    @property
    def left(self) -> float | None:
        return None if self.limit is None else self.limit - self.spent - self.held

    @property
    def used(self) -> float | None:
        """Spent and held of the limit, 0–1 and beyond; of nothing that is allowed: all."""
        if self.limit is None:
            return None
        return (self.spent + self.held) / self.limit if self.limit else 1.0


@dataclass
class Board:
    """What is known."""

    live: bool = False
    """Whether it is as it is; if not, `lost` says why, and since when it may be old."""
    lost: str = ""
    since: float = 0.0
    again_at: float = 0.0
    health: Json = field(default_factory=dict)
    states: dict[str, Json] = field(default_factory=dict)
    budgets: dict[str, Json] = field(default_factory=dict)
    """As the API lists them: what the feed does not tell."""
    periods: dict[tuple[str, str], Json] = field(default_factory=dict)
    """Their summaries, by budget and period."""
    alerts: dict[str, Json] = field(default_factory=dict)
    calls: deque[Json] = field(default_factory=lambda: deque(maxlen=CALLS_MAX))
    """The newest first."""
    missed: bool = False
    """Whether calls were missed that can be asked for."""
    _heard: deque[tuple[float, float]] = field(default_factory=deque)
    """When a call was told, and its cost."""
    _hearing_since: float | None = None

    def take(self, event: Event, now: float) -> None:
        """Take what happened; ``now`` in seconds that only grow."""
        match event:
            case Live():
                self.live, self.lost, self.since = True, "", now
                self._hearing_since = now
                self._heard.clear()
            case Lost(why, again_s):
                self.since = now if self.live or not self.lost else self.since
                self.live, self.lost, self.again_at = False, why, now + again_s
                self._hearing_since = None
            case Snapshot(budgets, alerts):
                if budgets is not None:
                    self.states = {one["budget_id"]: one for one in budgets}
                if alerts is not None:
                    self.alerts = {one["alert_id"]: one for one in alerts}
            case Missed():
                self.missed = True
            case Happened("budget_update", data):
                self.states[data["budget_id"]] = data
            case Happened("alert", data):
                self._alerted(data)
            case Happened(_, data):
                self.calls.appendleft(data)
                self._heard.append((now, data["cost"] or 0.0))

    def recorded(self, records: Iterable[Json]) -> None:
        """Take calls as the API lists them, newest first; those that were told already stay once."""
        known = {one["record_id"]: one for one in (*records, *self.calls)}
        newest = sorted(known.values(), key=lambda one: str(one["timestamp"]), reverse=True)
        self.calls = deque(newest[:CALLS_MAX], CALLS_MAX)
        self.missed = False

    def listed(self, budgets: Iterable[Json]) -> None:
        """Take budgets as the API lists them."""
        self.budgets = {one["budget_id"]: one for one in budgets}

    def summarized(self, periods: Iterable[Json]) -> None:
        """Take summaries of a budget."""
        self.periods.update({(one["budget_id"], one["period"]): one for one in periods})

    def rate(self, now: float) -> tuple[float, float] | None:
        """Return USD an hour and calls a minute, of the last minute; None: too little was heard."""
        if self._hearing_since is None or (heard_s := min(RATE_S, now - self._hearing_since)) < RATE_S_MIN:
            return None
        while self._heard and self._heard[0][0] < now - RATE_S:
            self._heard.popleft()
        return sum(cost for _, cost in self._heard) * 3600 / heard_s, len(self._heard) * 60 / heard_s

    def rows(self, sort: Sort = "used", text: str = "") -> list[Row]:
        """Return the active budgets' periods, those of one budget together, whose name contains a text."""
        groups = [
            [self._row(state, period) for period in PERIODS if period in state]
            for state in self.states.values()
            if state["is_active"] and text.lower() in state["name"].lower()
        ]
        groups.sort(key=lambda rows: rows[0].name.lower() if rows else "")
        if sort != "name":
            groups.sort(key=lambda rows: min((_urgency(row, sort) for row in rows), default=0.0))
        return [row for rows in groups for row in rows]

    def open_alerts(self, now: datetime, text: str = "") -> list[Json]:
        """Return the alerts whose windows have not ended, newest first, that contain a text."""
        there = [
            alert
            for alert in self.alerts.values()
            if (alert["window_end"] is None or datetime.fromisoformat(alert["window_end"]) > now)
            and text.lower() in alert["message"].lower()
        ]
        return sorted(there, key=lambda alert: str(alert["created_at"]), reverse=True)

    def found_calls(self, text: str = "") -> list[Json]:
        """Return the calls whose component, provider or model contains a text, newest first."""
        lower = text.lower()
        return [
            call for call in self.calls if lower in f"{call['component']} {call['provider']}/{call['model']}".lower()
        ]

    @property
    def held(self) -> float:
        """What is held for calls under way; a call may be held for by several budgets: the most of one of them."""
        amounts = [state[period]["held"] for state in self.states.values() for period in PERIODS if period in state]
        return max(amounts, default=0.0)

    def _alerted(self, alert: Json) -> None:
        if alert.get("resolved") or alert["is_dismissed"]:
            self.alerts.pop(alert["alert_id"], None)
        else:
            self.alerts[alert["alert_id"]] = alert

    def _row(self, state: Json, period: str) -> Row:
        window, budget_id = state[period], state["budget_id"]
        budget = self.budgets.get(budget_id)
        projection = self.periods.get((budget_id, period), {})
        # A projection of a window that is over says nothing of this one, and one of its first minutes little.
        is_past = projection.get("end_time") and projection["end_time"] != window["window_end"]
        if is_past or projection.get("projected_early"):
            projection = {}
        at = projection.get("exhausted_at")
        return Row(
            budget_id=budget_id,
            name=state["name"],
            enforcement="" if budget is None else budget["enforcement"] + ("*" if budget["shadow"] else ""),
            period=period,
            spent=window["spent"],
            held=window["held"],
            limit=window["limit"],
            projected=projection.get("projected"),
            exhausted_at=at and datetime.fromisoformat(at).astimezone(UTC),
        )


def _urgency(row: Row, sort: Sort) -> float:
    """Return what comes first when it is least."""
    if sort == "spent":
        return -row.spent
    if sort == "left":
        return float("inf") if row.left is None else row.left
    return 0.0 if row.used is None else -row.used
