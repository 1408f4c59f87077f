"""
Notice when a component is not itself.

Its one job: what each component has spent in the present hour, against what its hours of the last two weeks have cost.
Rules: taking a record costs an addition and a comparison; the past is read once an hour, beside the calls. Corrections
and posted records of other hours do not count.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from penia_proxy.budget.anomaly import odd_beyond
from penia_proxy.budget.record import UsageRecord

PAST = timedelta(days=14)
HOUR = timedelta(hours=1)


class Odd(NamedTuple):
    """An hour that costs far more than others."""

    component: str
    hour: datetime
    spent_nanos: int
    beyond_nanos: int


class Habits:
    """All components' hours."""

    def __init__(self) -> None:
        self._hour: datetime | None = None
        self._spent: dict[str, int] = {}
        self._beyond: dict[str, int] = {}

    def learn(self, past: Iterable[tuple[str, datetime, int]], now: datetime) -> None:
        """Take what components have spent by hour, the present hour as far as it is."""
        self._hour = now.replace(minute=0, second=0, microsecond=0)
        self._spent = {}
        hours: dict[str, list[int]] = defaultdict(list)
        for component, hour, nanos in past:
            if hour >= self._hour:
                self._spent[component] = nanos
            elif nanos > 0:
                hours[component].append(nanos)
        limits = ((component, odd_beyond(its)) for component, its in hours.items())
        self._beyond = {component: beyond for component, beyond in limits if beyond is not None}

    def knows(self, now: datetime) -> bool:
        """Whether the past has been learned in this hour."""
        return self._hour is not None and self._hour <= now < self._hour + HOUR

    def take(self, record: UsageRecord) -> Odd | None:
        """Count a record; return the hour it makes odd."""
        hour, component = self._hour, record.component
        if hour is None or record.corrects is not None or not hour <= record.timestamp < hour + HOUR:
            return None
        spent = self._spent[component] = self._spent.get(component, 0) + (record.cost_nanos or 0)
        beyond = self._beyond.get(component)
        return Odd(component, hour, spent, beyond) if beyond is not None and spent > beyond else None
