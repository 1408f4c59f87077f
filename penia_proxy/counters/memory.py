"""
Keep spent and held for one process.

Its one job: the tallies of every budget's windows, moved in steps that nothing can interleave with.
Rules: no method awaits, so each is one step on the event loop; that is what makes a verdict and its hold indivisible.
The ledger is the truth; this is loaded from it at start and moves with it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from penia_proxy.budget.budget import Budget
from penia_proxy.budget.engine import Leg, LegVerdict, blocks, judge_leg
from penia_proxy.budget.record import Tally, UsageRecord
from penia_proxy.budget.windows import WindowKey

KEYS_MAX = 200_000
"""Tallies kept before old windows are dropped: 10,000 budgets × 5 periods, four times over; about 60 MB."""

_KEPT = {"hourly": timedelta(days=3), "daily": timedelta(days=3), "weekly": timedelta(days=40)}
_KEPT["monthly"] = _KEPT["weekly"]


class MemoryCounters:
    """Counters of one process; see `penia_proxy.budget.engine.Counters`."""

    def __init__(self) -> None:
        self._tallies: dict[WindowKey, Tally] = {}
        self._crowded_at = KEYS_MAX
        self._open: Counter[str] = Counter()

    def load(self, tallies: Mapping[WindowKey, Tally]) -> None:
        """Take the ledger's figures for these windows; what is held in them stays held."""
        for key, tally in tallies.items():
            held = self._tallies[key].held_nanos if key in self._tallies else 0
            self._tallies[key] = replace(tally, held_nanos=held)

    async def reserve(self, legs: Sequence[Leg]) -> list[LegVerdict]:
        words = self._judge(legs)
        if not blocks(words):
            for leg in legs:
                self._open[leg.budget.budget_id] += 1
                for key in leg.keys():
                    self._tally(key).held_nanos += leg.amount_nanos
        return words

    async def judge(self, legs: Sequence[Leg]) -> list[LegVerdict]:
        return self._judge(legs)

    async def settle(self, legs: Sequence[Leg], record: UsageRecord) -> None:
        for leg in legs:
            self._open[leg.budget.budget_id] -= 1
            for key in leg.keys():
                tally = self._tally(key)
                tally.held_nanos -= leg.amount_nanos
                tally.add(record)

    async def release(self, legs: Sequence[Leg]) -> None:
        for leg in legs:
            self._open[leg.budget.budget_id] -= 1
            for key in leg.keys():
                self._tally(key).held_nanos -= leg.amount_nanos

    async def charge(self, record: UsageRecord, budgets: Sequence[Budget]) -> None:
        for budget in budgets:
            for window in budget.calendar.windows(record.timestamp):
                self._tally(WindowKey(budget.budget_id, window.period, window.start)).add(record)

    async def in_flight(self, budget_id: str) -> int:
        return self._open[budget_id]

    async def read(self, keys: Sequence[WindowKey]) -> list[Tally]:
        return [replace(self._tallies.get(key) or Tally()) for key in keys]

    def _judge(self, legs: Sequence[Leg]) -> list[LegVerdict]:
        words: list[LegVerdict] = []
        for leg in legs:
            words += judge_leg(leg, [self._tallies.get(key) or Tally() for key in leg.keys()])
        return words

    def _tally(self, key: WindowKey) -> Tally:
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= self._crowded_at:
                self._drop_old(key.start)
            tally = self._tallies[key] = Tally()
        return tally

    def _drop_old(self, now: datetime) -> None:
        """Drop windows nobody can be admitted to any more and nothing is held in."""
        old = [
            key
            for key, tally in self._tallies.items()
            if key.period in _KEPT and key.start < now - _KEPT[key.period] and not tally.held_nanos
        ]
        for key in old:
            del self._tallies[key]
        # Doubling where nothing could be dropped keeps this linear instead of scanning at every new key.
        self._crowded_at = max(KEYS_MAX, 2 * len(self._tallies))
