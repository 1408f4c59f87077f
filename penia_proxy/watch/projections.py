"""
Know the shape of each budget's days.

Its one job: the history that a projection is made of, read from the ledger once an hour and budget, and when somebody
tells of an hour that has passed.
Rule: what is kept here is shown and told, and feeds no verdict.
"""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta

from penia_proxy.budget.budget import Budget
from penia_proxy.budget.projection import HISTORY, HOUR_S, Projection, Shape, project, shape_of
from penia_proxy.budget.windows import Window
from penia_proxy.ledger.ledger import Ledger

SHAPES_MAX = 10_000


class Projections:
    """Where windows will end."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._shapes: OrderedDict[str, tuple[int, Shape | None]] = OrderedDict()

    async def of(self, budget: Budget, window: Window, spent_nanos: int, now: datetime) -> Projection | None:
        """Return where a window of a budget will end; None for one that never does."""
        if window.end is None:
            return None
        shape = await self._shape(budget.budget_id, now)
        since = await self._since(budget, window)
        return project(window, since, now, spent_nanos, budget.limits_at(now).get(window.period), shape)

    async def _since(self, budget: Budget, window: Window) -> datetime:
        """Return since when a window can have spent: records can be dated before their budget was made."""
        if budget.created_at <= window.start:
            return window.start
        # Hours that were over: the one it was made in says not whether its spend came before.
        over = budget.created_at - timedelta(seconds=HOUR_S)
        first = await self._ledger.summaries.first_hour(budget.budget_id, window.start, over)
        return first or budget.created_at

    def recorded(self, budget_ids: Iterable[str], at: datetime) -> None:
        """Take that something was spent at an instant: before this hour, it belongs to the days that shapes are of."""
        hour = int(at.timestamp()) // HOUR_S
        for budget_id in budget_ids:
            known = self._shapes.get(budget_id)
            if known is not None and hour < known[0]:
                del self._shapes[budget_id]

    async def _shape(self, budget_id: str, now: datetime) -> Shape | None:
        hour = int(now.timestamp()) // HOUR_S
        known = self._shapes.get(budget_id)
        if known is not None and known[0] == hour:
            return known[1]
        spent = await self._ledger.summaries.hourly(budget_id, now - HISTORY)
        shape = shape_of({int(start.timestamp()) // HOUR_S: nanos for start, nanos in spent.items()}, hour)
        self._shapes[budget_id] = (hour, shape)
        self._shapes.move_to_end(budget_id)
        if len(self._shapes) > SHAPES_MAX:
            self._shapes.popitem(last=False)
        return shape
