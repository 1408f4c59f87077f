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
from penia_proxy.budget.engine import Judged, Leg, LegVerdict, blocks, judge_leg
from penia_proxy.budget.record import Tally, UsageRecord
from penia_proxy.budget.windows import Window, WindowKey

KEYS_MAX = 200_000
"""Tallies kept before old windows are dropped: 10,000 budgets × 5 periods, four times over; about 60 MB."""

_KEPT = {"hourly": timedelta(days=3), "daily": timedelta(days=3), "weekly": timedelta(days=40)}
_KEPT["monthly"] = _KEPT["weekly"]


class MemoryCounters:
    """Counters of one process; see `penia_proxy.budget.engine.Counters`."""

    def __init__(self) -> None:
        self._tallies: dict[WindowKey, Tally] = {}
        self._near: dict[str, tuple[tuple[Window, ...], list[Tally]]] = {}
        """By budget: the tallies of the windows asked for last, which are the same for an hour."""
        self._crowded_at = KEYS_MAX
        self._open: Counter[str] = Counter()

    def load(self, tallies: Mapping[WindowKey, Tally]) -> None:
        """Take the ledger's figures for these windows; what is held in them stays held."""
        self._near.clear()
        for key, tally in tallies.items():
            held = self._tallies[key].held_nanos if key in self._tallies else 0
            self._tallies[key] = replace(tally, held_nanos=held)

    async def reserve(self, legs: Sequence[Leg]) -> Judged:
        tallies = [self._of(leg.budget.budget_id, leg.windows) for leg in legs]
        judged = _judged(legs, tallies)
        if not blocks(judged.words):
            for leg, its in zip(judged.legs, tallies, strict=True):
                self._open[leg.budget.budget_id] += 1
                for tally in its:
                    tally.held_nanos += leg.amount_nanos
        return judged

    async def judge(self, legs: Sequence[Leg]) -> Judged:
        return _judged(legs, [[self._tallies.get(key) or Tally() for key in leg.keys()] for leg in legs])

    async def extend(self, legs: Sequence[Leg], grown: Sequence[Leg]) -> bool:
        steps = [
            (new, new.amount_nanos - old.amount_nanos, self._of(new.budget.budget_id, new.windows))
            for old, new in zip(legs, grown, strict=True)
        ]
        for leg, more, tallies in steps:
            # The limit in force now, which may be another than when the call was admitted, is the operator's to change
            # for calls to come: this one goes by the leg it was admitted with.
            if leg.truncates and more > 0 and leg.room(tallies) < more:
                return False
        for _, more, tallies in steps:
            for tally in tallies:
                tally.held_nanos += more
        return True

    async def settle(self, legs: Sequence[Leg], record: UsageRecord) -> None:
        amounts = record.amounts()
        for leg in legs:
            self._open[leg.budget.budget_id] -= 1
            for tally in self._of(leg.budget.budget_id, leg.windows):
                tally.held_nanos -= leg.amount_nanos
                tally.add(amounts)

    async def release(self, legs: Sequence[Leg]) -> None:
        for leg in legs:
            self._open[leg.budget.budget_id] -= 1
            for tally in self._of(leg.budget.budget_id, leg.windows):
                tally.held_nanos -= leg.amount_nanos

    async def charge(self, record: UsageRecord, budgets: Sequence[Budget]) -> None:
        amounts = record.amounts()
        for budget in budgets:
            for tally in self._of(budget.budget_id, budget.calendar.windows(record.timestamp)):
                tally.add(amounts)

    async def in_flight(self, budget_id: str) -> int:
        return self._open[budget_id]

    async def read(self, keys: Sequence[WindowKey]) -> list[Tally]:
        return [replace(self._tallies.get(key) or Tally()) for key in keys]

    def _of(self, budget_id: str, windows: tuple[Window, ...]) -> list[Tally]:
        """Return the tallies of a budget's windows, without looking each up by its key at every call."""
        near = self._near.get(budget_id)
        if near is not None and near[0] is windows:
            return near[1]
        tallies = [self._tally(WindowKey(budget_id, window.period, window.start)) for window in windows]
        self._near[budget_id] = (windows, tallies)
        return tallies

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
        self._near.clear()
        # Doubling where nothing could be dropped keeps this linear instead of scanning at every new key.
        self._crowded_at = max(KEYS_MAX, 2 * len(self._tallies))


def _judged(legs: Sequence[Leg], tallies: Sequence[Sequence[Tally]]) -> Judged:
    fitted: list[Leg] = []
    words: list[LegVerdict] = []
    for asked, its in zip(legs, tallies, strict=True):
        leg = asked.fitted(its) if asked.truncates else asked
        fitted.append(leg)
        words += judge_leg(leg, its)
    return Judged(fitted, words)
