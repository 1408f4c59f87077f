"""
See what somebody should know.

Its one job: from what calls do to budgets and from records, the alerts that they are: kept once, shown live, handed to
whoever sends them.
Rules: the gateway's side (`admitted`, `refused`, `touched`, `recorded`) never awaits, never raises and costs a
comparison while nothing is crossed. What a hold brings is seen at its admission, what is spent within LOOK_S. An alert
counts once it is on disk; a crash before that sees it again at the next start, since the figures are still there. What
lasts until something happens (a request's answer, a write of the ledger) is resolved by what it is named (`once_key`).
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol

from penia_proxy.budget.alert import Alert, AlertType, Severity, Thresholds, approval_key, cents
from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.engine import Counters, LegVerdict
from penia_proxy.budget.grants import Approval
from penia_proxy.budget.money import usd
from penia_proxy.budget.projection import Projection
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.windows import Window, WindowKey
from penia_proxy.clock import Clock, iso
from penia_proxy.config import AlertsConfig
from penia_proxy.ids import new_id
from penia_proxy.ledger.alerts import Notification
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.watch.habits import HOUR, PAST, Habits, Odd, limits_of
from penia_proxy.watch.live import LiveHub
from penia_proxy.watch.projections import Projections
from penia_proxy.watch.shapes import alert_json

log = logging.getLogger(__name__)

LOOK_S = 0.1
"""Touched budgets are looked at together, so often."""

STORE_LOOK_S = 1.0
"""How often the store is looked at where nothing is touched."""

AHEAD_LOOK_S = 60.0
"""How often it is looked where touched budgets will end, and whether an hour has turned."""

LASTING: frozenset[AlertType] = frozenset({"approval", "store"})
"""What lasts until something happens, or until its window is over."""

UNPRICED_MAX = 10_000
"""Models without a price that are remembered as told."""


class Sender(Protocol):
    """Who sends what is to be sent of an alert."""

    def address(self, alert: Alert) -> tuple[Notification, ...]:
        """Return what is to be sent, to whom and when."""
        ...

    def wake(self) -> None:
        """Take that something is there to be sent."""
        ...

    def hurry(self, alert: Alert, notifications: tuple[Notification, ...]) -> None:
        """Send now what the ledger cannot keep now."""
        ...


class Alerts:
    """The alerts of one gateway."""

    def __init__(
        self,
        book: BudgetBook,
        counters: Counters,
        ledger: Ledger,
        hub: LiveHub,
        clock: Clock,
        config: AlertsConfig,
        sender: Sender,
        projections: Projections,
    ) -> None:
        self._book = book
        self._counters = counters
        self._ledger = ledger
        self._hub = hub
        self._clock = clock
        self._config = config
        self._sender = sender
        self._projections = projections
        self._habits = Habits()
        self._looked_ahead = clock.monotonic()
        self._ahead: set[str] = set()
        """Budgets that were touched since."""
        self._thresholds = Thresholds(config.thresholds, lambda: new_id("a"))
        self._touched: set[str] = set()
        self._wake = asyncio.Event()
        self._unpriced: OrderedDict[str, None] = OrderedDict()
        self._looking: asyncio.Task[None] | None = None
        self._store_down = ""
        """The name of the alert, while the ledger cannot write."""
        self._lasting: dict[str, Alert] = {}
        """Approvals' and the store's that are not resolved, by their names."""

    async def start(self) -> None:
        """Remember what was raised before, and see what the last process could not."""
        now = self._clock.now()
        for alert in await self._ledger.alerts.lasting(now):
            self._thresholds.restore(alert)
        await self._restore_lasting(now)
        self.touched(budget.budget_id for budget in self._book.active)
        await self.look()
        await self.look_ahead()
        self._looking = asyncio.create_task(self._look_forever())

    async def stop(self) -> None:
        """See what is left to be seen."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.look()

    def take(self, config: AlertsConfig) -> None:
        """Take other settings."""
        self._config = config
        self._thresholds.take(config.thresholds)
        self.touched(budget.budget_id for budget in self._book.active)

    def admitted(self, words: Iterable[LegVerdict]) -> None:
        """Take the figures of a call that is held for."""
        for word in words:
            if word.limit_nanos is not None:
                used = word.spent_nanos + word.held_nanos + word.amount_nanos
                self._saw(word.budget, word.window, used, word.limit_nanos)

    def refused(self, words: Iterable[LegVerdict]) -> None:
        """Take those of a call that is refused: of a budget near its limit, that is what being used up looks like."""
        for word in words:
            limit = word.limit_nanos
            if limit is None or word.kind != "block" or word.code not in ("budget_exceeded", "approval_required"):
                continue
            used = word.spent_nanos + word.held_nanos
            if used >= limit * word.budget.warn_at:
                self._saw(word.budget, word.window, max(used, limit), limit)

    def asked(self, approval: Approval) -> None:
        """Take that a budget waits for somebody's approval."""
        budget = self._book.get(approval.budget_id)
        if budget is None:
            return
        amount, who = cents(approval.amount_nanos), approval.component
        self.tell(
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

    def resolve(self, once_key: str) -> None:
        """Take that the reason of an alert that lasts is gone."""
        alert = self._lasting.pop(once_key, None)
        if alert is not None:
            self._resolved(alert.alert_id, alert.budget_id)

    def touched(self, budget_ids: Iterable[str]) -> None:
        """Say that the figures or limits of budgets have changed."""
        self._touched.update(budget_ids)
        self._wake.set()

    def recorded(self, record: UsageRecord) -> None:
        """Take a record that is on disk."""
        odd = self._habits.take(record)
        if odd is not None and self._config.anomaly:
            self._tell_odd(odd)
        if record.cost_basis != "unpriced" or not self._config.unpriced:
            return
        day = record.timestamp.replace(hour=0, minute=0, second=0, microsecond=0)
        key = f"unpriced:{record.provider}:{record.model}:{day.date().isoformat()}"
        if key in self._unpriced:
            return
        self._unpriced[key] = None
        if len(self._unpriced) > UNPRICED_MAX:
            self._unpriced.popitem(last=False)
        self.tell(
            "unpriced",
            key,
            "warning",
            f"No price is known for {record.provider}/{record.model}",
            f"{record.provider}/{record.model} is used and has no price: its calls are recorded without a cost."
            " Add one to pricing/.",
            window=Window("daily", day, day + timedelta(days=1)),
            details={"provider": record.provider, "model": record.model, "component": record.component},
        )

    def tell(
        self,
        alert_type: AlertType,
        once_key: str,
        severity: Severity,
        title: str,
        message: str,
        *,
        budget: Budget | None = None,
        window: Window | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        """Raise an alert, unless the same was raised before."""
        alert = Alert(
            alert_id=new_id("a"),
            once_key=once_key,
            alert_type=alert_type,
            severity=severity,
            title=title,
            message=message,
            created_at=self._clock.now(),
            budget_id=None if budget is None else budget.budget_id,
            period=None if window is None else window.period,
            window_start=None if window is None else window.start,
            window_end=None if window is None else window.end,
            details=details or {},
        )
        if alert_type in LASTING:
            self._lasting[once_key] = alert
        self._raise(alert)

    async def look(self) -> None:
        """Look at every budget that was touched, and at the store. Tests need not wait for `LOOK_S`."""
        touched, self._touched = self._touched, set()
        now = self._clock.now()
        for budget in self._named(touched):
            limits = budget.limits_at(now)
            windows = [budget.calendar.window(period, now) for period in limits]
            keys = [WindowKey(budget.budget_id, window.period, window.start) for window in windows]
            for window, tally in zip(windows, await self._counters.read(keys), strict=True):
                limit = limits[window.period]
                self._saw(budget, window, tally.spent_nanos + tally.held_nanos, limit)
        self._ahead |= touched
        self._look_at_store(now)
        for alert in [one for one in self._lasting.values() if one.window_end is not None and one.window_end <= now]:
            self.resolve(alert.once_key)

    async def look_ahead(self) -> None:
        """Look where the budgets touched since the last time will end, and learn the past of components anew."""
        now = self._clock.now()
        if not self._habits.knows(now):
            await self._learn(now.replace(minute=0, second=0, microsecond=0))
        ahead, self._ahead = self._ahead, set()
        for budget in self._named(ahead) if self._config.forecast else ():
            limits = budget.limits_at(now)
            windows = [budget.calendar.window(period, now) for period in limits]
            keys = [WindowKey(budget.budget_id, window.period, window.start) for window in windows]
            for window, tally in zip(windows, await self._counters.read(keys), strict=True):
                projection = await self._projections.of(budget, window, tally.spent_nanos, now)
                limit = limits[window.period]
                if projection is None or not projection.grounded:
                    continue
                if tally.spent_nanos < limit < projection.low_nanos:
                    self._tell_forecast(budget, window, limit, tally.spent_nanos, projection)

    async def _learn(self, hour: datetime) -> None:
        summaries = self._ledger.summaries
        beyond = await asyncio.to_thread(limits_of, await summaries.hours_of_components(hour - PAST, hour))
        # Last, so that what is spent meanwhile is in it.
        self._habits.learn(beyond, await summaries.hour_of_components(hour), hour)

    def _tell_forecast(
        self, budget: Budget, window: Window, limit: int, spent_nanos: int, projection: Projection
    ) -> None:
        at = projection.exhausted_at
        when = "soon" if at is None else f"around {at:%Y-%m-%d %H:%M} UTC"
        spent, expected = cents(spent_nanos), cents(projection.expected_nanos)
        self.tell(
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

    def _tell_odd(self, odd: Odd) -> None:
        self.tell(
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

    def _named(self, budget_ids: Iterable[str]) -> list[Budget]:
        found = (self._book.get(budget_id) for budget_id in budget_ids)
        return [budget for budget in found if budget is not None and budget.is_active]

    def _saw(self, budget: Budget, window: Window, used_nanos: int, limit_nanos: int) -> None:
        crossed, resolved = self._thresholds.seen(budget, window, used_nanos, limit_nanos)
        for alert_id in resolved:
            self._resolved(alert_id, budget.budget_id)
        for alert_id, crossing in crossed:
            self._raise(crossing.alert(alert_id, self._clock.now()))

    def _resolved(self, alert_id: str, budget_id: str | None) -> None:
        self._ledger.resolve_alert(alert_id)
        self._hub.alert({"alert_id": alert_id, "budget_id": budget_id, "resolved": True}, budget_id)

    async def _restore_lasting(self, now: datetime) -> None:
        """Take up what lasts; what has lost its reason since, or before that could be written, is resolved."""
        pending = {approval_key(one.approval_id): one for one in await self._ledger.rulings.pending(now)}
        for alert in await self._ledger.alerts.unresolved(LASTING):
            self._lasting[alert.once_key] = alert
            if alert.once_key not in pending:
                self.resolve(alert.once_key)
        for once_key, approval in pending.items():
            if once_key not in self._lasting:
                self.asked(approval)

    def _look_at_store(self, now: datetime) -> None:
        if self._ledger.healthy:
            self.resolve(self._store_down)
            self._store_down = ""
        elif not self._store_down:
            self._store_down = f"store:{iso(now)}"
            self.tell(
                "store",
                self._store_down,
                "critical",
                "The ledger cannot write",
                "The ledger cannot write: calls under blocking budgets are refused until it can."
                " See the log for what the database says.",
                window=Window("hourly", now, now + timedelta(hours=1)),
            )

    def _raise(self, alert: Alert) -> None:
        notifications = self._sender.address(alert)
        if not self._ledger.healthy:
            self._sender.hurry(alert, notifications)
        kept = self._ledger.raise_alert(alert, notifications)
        kept.add_done_callback(lambda done: self._raised(alert, done))

    def _raised(self, alert: Alert, done: "asyncio.Future[bool]") -> None:
        if done.cancelled() or done.exception() is not None:
            log.error("an alert could not be kept: %s", alert.title)
            return
        if done.result():
            if self._config.log:
                level = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}[alert.severity]
                log.log(level, "alert: %s", alert.message)
            self._hub.alert(alert_json(alert), alert.budget_id)
            self._sender.wake()

    async def _look_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STORE_LOOK_S):
                    await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
                if self._clock.monotonic() - self._looked_ahead >= AHEAD_LOOK_S:
                    self._looked_ahead = self._clock.monotonic()
                    await self.look_ahead()
            except Exception:
                log.exception("budgets could not be looked at for alerts")
