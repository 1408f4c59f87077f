"""
Count what happens.

Its one job: what calls came to and what they cost since the process started, as numbers that only grow; and what is
under way, as whoever knows it says it.
Rules: an addition or two for each call, and nothing else: what is made of the numbers is made when somebody looks.
Names that come from outside are bounded in number.
"""

from collections import Counter
from typing import NamedTuple

from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.words import kind_of

PROVIDERS_MAX = 100
"""Told apart: whoever posts records names providers as he likes."""
OTHER = "other"
"""All beyond that."""


class Underway(NamedTuple):
    """What runs in the data plane at a moment."""

    calls: int = 0
    """Requests that are being answered, sessions included."""
    sessions: int = 0
    """WebSockets."""
    drains: int = 0
    """Answers that are read on without their callers."""
    bills_awaited: int = 0
    """Holds whose bill comes with a later answer."""
    body_bytes: int = 0


class Totals:
    """The counts of one process. Money in nano-dollars."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str, str]] = Counter()
        """By provider, verdict and status: a record's, or of a refused call its code."""
        self.charged: Counter[str] = Counter()
        """By provider: what records added to what was spent."""
        self.credited: Counter[str] = Counter()
        """By provider: what corrections took from it again, as a positive number."""
        self.unpriced: Counter[str] = Counter()
        """By provider: records without a price."""
        self._providers: set[str] = set()

    def recorded(self, record: UsageRecord) -> None:
        """Take a record that is on disk."""
        provider = self._named(record.provider)
        if record.corrects is None:
            self.calls[provider, kind_of(record.words) or "none", record.status] += 1
        if record.cost_nanos is None:
            self.unpriced[provider] += 1
        elif record.cost_nanos >= 0:
            self.charged[provider] += record.cost_nanos
        else:
            self.credited[provider] -= record.cost_nanos

    def refused(self, provider: str, code: str) -> None:
        """Take a call that a budget has refused."""
        self.calls[self._named(provider), "block", code] += 1

    def _named(self, provider: str) -> str:
        if provider not in self._providers:
            if len(self._providers) >= PROVIDERS_MAX:
                return OTHER
            self._providers.add(provider)
        return provider
