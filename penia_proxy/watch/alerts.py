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
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from penia_proxy.budget.alert import Alert, AlertType, Severity, Thresholds, approval_key
from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.budget import PERIODS, Budget
from penia_proxy.budget.engine import Counters, LegVerdict
from penia_proxy.budget.grants import Approval
from penia_proxy.budget.record import Tally, UsageRecord
from penia_proxy.budget.windows import Window, WindowKey
from penia_proxy.clock import Clock, iso
from penia_proxy.config import AlertsConfig, Period
from penia_proxy.ids import new_id
from penia_proxy.ledger.alerts import AlertFilter, Notification
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.watch.habits import PAST, Habits, limits_of
from penia_proxy.watch.live import LiveHub
from penia_proxy.watch.projections import Projections
from penia_proxy.watch.shapes import alert_json
from penia_proxy.watch.wording import tell_forecast, tell_odd, tell_request, tell_store, tell_unpriced

log = logging.getLogger(__name__)

LOOK_S = 0.1
"""Touched budgets are looked at together, so often."""

STORE_LOOK_S = 1.0
"""How often the store is looked at where nothing is touched."""

AHEAD_LOOK_S = 60.0
"""How often it is looked where touched budgets will end, and whether an hour has turned."""

LASTING = ("approval:", "store:", "drift:")
"""How the names begin of what lasts until something happens, or until its window is over."""

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
        self._gone: dict[tuple[str, Period], Budget | None] = {}
        """Limits that are gone, by budget and period, and the budget that had them, where it is to be looked at."""
        self._wake = asyncio.Event()
        self._unpriced: OrderedDict[str, None] = OrderedDict()
        self._looking: asyncio.Task[None] | None = None
        self._store_down = ""
        """The name of the alert, while the ledger cannot write."""
        self._lasting: dict[str, Alert] = {}
        """Those of `LASTING` that are not resolved, by their names."""

    async def start(self) -> None:
        """Remember what was raised before, and see what the last process could not."""
        now = self._clock.now()
        for alert in await self._ledger.alerts.lasting(now):
            self._thresholds.restore(alert)
            self._restore_gone(alert)
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
        if budget is not None:
            tell_request(self.tell, budget, approval)

    def lasting(self, beginning: str) -> list[Alert]:
        """Return what lasts and is not resolved, where its name begins so."""
        return [alert for once_key, alert in self._lasting.items() if once_key.startswith(beginning)]

    def resolve(self, once_key: str) -> None:
        """Take that the reason of an alert that lasts is gone."""
        alert = self._lasting.pop(once_key, None)
        if alert is not None:
            self._resolved(alert.alert_id, alert.budget_id)

    def touched(self, budget_ids: Iterable[str]) -> None:
        """Say that the figures or limits of budgets have changed."""
        self._touched.update(budget_ids)
        self._wake.set()

    def changed(self, before: Budget, after: Budget) -> None:
        """Take that a budget was changed: a limit that is gone, or its budget, leaves nothing to be told of."""
        kept = after.limits if after.is_active else {}
        for period in before.limits if before.is_active else ():
            if period not in kept:
                self._gone[before.budget_id, period] = before
        self._wake.set()

    def recorded(self, record: UsageRecord) -> None:
        """Take a record that is on disk."""
        odd = self._habits.take(record)
        if odd is not None and self._config.anomaly:
            tell_odd(self.tell, odd)
        if record.cost_basis != "unpriced" or not self._config.unpriced:
            return
        day = record.timestamp.replace(hour=0, minute=0, second=0, microsecond=0)
        key = f"unpriced:{record.provider}:{record.model}:{day.date().isoformat()}"
        if key in self._unpriced:
            return
        self._unpriced[key] = None
        if len(self._unpriced) > UNPRICED_MAX:
            self._unpriced.popitem(last=False)
        tell_unpriced(self.tell, key, record, day)

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
        details: Mapping[str, Any] | None = None,
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
        if once_key.startswith(LASTING):
            self._lasting[once_key] = alert
        self._raise(alert)

    async def look(self) -> None:
        """Look at every budget that was touched, and at the store. Tests need not wait for `LOOK_S`."""
        now = self._clock.now()
        await self._look_at_gone(now)
        touched, self._touched = self._touched, set()
        for budget in self._named(touched):
            await self._see(budget, budget.limits, now)
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
            for window, tally, limit in await self._figures(budget, budget.limits, now):
                projection = await self._projections.of(budget, window, tally.spent_nanos, now)
                if projection is None or not projection.grounded:
                    continue
                if tally.spent_nanos < limit < projection.low_nanos:
                    tell_forecast(self.tell, budget, window, limit, tally.spent_nanos, projection)

    async def _figures(
        self, budget: Budget, periods: Iterable[Period], now: datetime
    ) -> list[tuple[Window, Tally, int]]:
        """Return the present windows of a budget, what is counted in each, and its limit."""
        limits = budget.limits_at(now)
        windows = [budget.calendar.window(period, now) for period in periods]
        keys = [WindowKey(budget.budget_id, window.period, window.start) for window in windows]
        tallies = await self._counters.read(keys)
        return [(window, tally, limits[window.period]) for window, tally in zip(windows, tallies, strict=True)]

    async def _see(self, budget: Budget, periods: Iterable[Period], now: datetime) -> None:
        for window, tally, limit in await self._figures(budget, periods, now):
            self._saw(budget, window, tally.spent_nanos + tally.held_nanos, limit)

    async def _look_at_gone(self, now: datetime) -> None:
        """Look once more at limits that are gone, then resolve what was told of them."""
        gone, self._gone = self._gone, {}
        for (_, period), before in gone.items():
            if before is not None:
                await self._see(before, [period], now)
        for alert_id, budget_id in self._thresholds.gone(gone, now) if gone else ():
            self._resolved(alert_id, budget_id)
        for budget_id in {budget_id for budget_id, _ in gone}:
            asked = AlertFilter(budget_id=budget_id, alert_type="forecast", active_at=now)
            await self._ledger.caught_up()
            for alert in (await self._ledger.alerts.alerts(asked, page=1, limit=len(PERIODS))).alerts:
                if (budget_id, alert.period) in gone:
                    self._resolved(alert.alert_id, budget_id)

    async def _learn(self, hour: datetime) -> None:
        summaries = self._ledger.summaries
        beyond = await asyncio.to_thread(limits_of, await summaries.hours_of_components(hour - PAST, hour))
        # Last, so that what is spent meanwhile is in it.
        self._habits.learn(beyond, await summaries.hour_of_components(hour), hour)

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
            if alert.alert_type in ("approval", "store") and alert.once_key not in pending:
                self.resolve(alert.once_key)
        for once_key, approval in pending.items():
            if once_key not in self._lasting:
                self.asked(approval)

    def _restore_gone(self, alert: Alert) -> None:
        """Take up what a limit that is gone has left, before that could be written."""
        budget = None if alert.budget_id is None else self._book.get(alert.budget_id)
        if budget is None or alert.period is None or alert.resolved_at is not None:
            return
        if not budget.is_active or alert.period not in budget.limits:
            self._gone[budget.budget_id, alert.period] = None

    def _look_at_store(self, now: datetime) -> None:
        if self._ledger.healthy:
            self.resolve(self._store_down)
            self._store_down = ""
        elif not self._store_down:
            self._store_down = f"store:{iso(now)}"
            tell_store(self.tell, self._store_down, now)

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
