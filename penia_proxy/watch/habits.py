"""
Notice when a component is not itself.

Its one job: what each component has spent in the present hour, against what its hours of the last two weeks have cost.
Rules: taking a record costs an addition and a comparison; the past is read once an hour, beside the calls. Corrections
and posted records of other hours do not count.
"""

from collections.abc import Mapping, Sequence
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


def limits_of(hours: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return beyond which nano-dollars an hour of a component is odd, where that is known: work for a thread."""
    limits = ((name, odd_beyond([nanos for nanos in its if nanos > 0])) for name, its in hours.items())
    return {name: beyond for name, beyond in limits if beyond is not None}


class Habits:
    """All components' hours."""

    def __init__(self) -> None:
        self._hour: datetime | None = None
        self._spent: dict[str, int] = {}
        self._beyond: dict[str, int] = {}

    def learn(self, beyond: Mapping[str, int], spent: Mapping[str, int], hour: datetime) -> None:
        """Take the limits of components' hours, and what they have spent in the present hour so far."""
        self._hour = hour
        self._spent = dict(spent)
        self._beyond = dict(beyond)

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
