"""
Follow what changes without a call.

Its one job: which alerts are open at this moment; and that windows that turn and grants that expire are seen by whoever
watches figures, although nothing was spent.
Rules: nothing here decides: a verdict asks for its windows at its own instant. It never raises.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any

from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.budget import Budget
from penia_proxy.clock import Clock
from penia_proxy.ledger.alerts import AlertFilter
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.watch.shapes import alert_json

QUARTER_S = 900
"""Windows begin at whole quarters of an hour, in every time zone that there is today."""

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Budgets that are looked at before anything else gets its turn."""


def open_alerts(ledger: Ledger, clock: Clock) -> Callable[[int], Awaitable[list[dict[str, Any]]]]:
    """Return how the newest open alerts are read: neither dismissed, nor resolved, nor of a window that has ended."""

    async def newest(count: int) -> list[dict[str, Any]]:
        asked = AlertFilter(is_dismissed=False, active_at=clock.now())
        return [alert_json(alert) for alert in (await ledger.alerts.alerts(asked, page=1, limit=count)).alerts]

    return newest


class Turns:
    """Windows that turn, and grants that expire."""

    def __init__(self, book: BudgetBook, clock: Clock, touched: Callable[[Iterable[str]], None]) -> None:
        self._book = book
        self._clock = clock
        self._touched = touched
        self._looked_at = clock.now()

    async def look(self) -> None:
        """Say which budgets stand otherwise since the last look, whatever the clock has done meanwhile."""
        before, now = self._looked_at, self._clock.now()
        self._looked_at = now
        turned = int(before.timestamp()) // QUARTER_S != int(now.timestamp()) // QUARTER_S
        budgets = [budget for budget in self._book.active if turned or budget.grants]
        for number, budget in enumerate(budgets, 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                stands_otherwise = _stands(budget, before) != _stands(budget, now)
            except Exception:
                log.exception("the windows of budget %s could not be told", budget.budget_id)
            else:
                if stands_otherwise:
                    self._touched([budget.budget_id])


def _stands(budget: Budget, at: datetime) -> tuple[object, ...]:
    """Return what of a budget depends on the instant."""
    windows = [budget.calendar.window(period, at).start for period in list(budget.limits) or ["daily"]]
    return (*windows, *budget.limits_at(at).items())
