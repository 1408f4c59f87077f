"""
Count what happens.

Its one job: what calls came to and what they cost since the process started, as numbers that only grow; and what is
under way, as whoever knows it says it.
Rules: a look-up and two additions for each call, and nothing else: what is made of the numbers is made when somebody
looks. Names that come from outside are bounded in number.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, NamedTuple

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


class _Sums:
    """Of calls of one kind. Money in nano-dollars."""

    __slots__ = ("calls", "charged", "credited", "unpriced")

    def __init__(self) -> None:
        self.calls = 0
        self.charged = 0
        """What records added to what was spent."""
        self.credited = 0
        """What corrections took from it again, as a positive number."""
        self.unpriced = 0
        """Records without a price."""


_Kind = tuple[str, str, str]
"""Provider; how the text begins that its verdict was kept as, or the verdict; status, or why it was refused."""

BEGINNING = 8
"""Characters of such a text: enough for its verdict."""


class Totals:
    """The counts of one process."""

    def __init__(self) -> None:
        self._sums: dict[_Kind, _Sums] = {}
        self._providers: set[str] = set()

    def recorded(self, record: UsageRecord) -> None:
        """Take a record that is on disk."""
        words = record.words
        kind = (record.provider, words[:BEGINNING] if words else "", record.status)
        sums = self._sums.get(kind) or self._new(kind)
        if record.corrects is None:
            sums.calls += 1
        cost = record.cost_nanos
        if cost is None:
            sums.unpriced += 1
        elif cost >= 0:
            sums.charged += cost
        else:
            sums.credited -= cost

    def refused(self, provider: str, code: str) -> None:
        """Take a call that a budget has refused."""
        kind = (provider, "block", code)
        (self._sums.get(kind) or self._new(kind)).calls += 1

    def calls(self) -> Mapping[_Kind, int]:
        """Return calls by provider, verdict and status: a record's, or of a refused call its code."""
        found: Counter[_Kind] = Counter()
        for (provider, words, status), sums in self._sums.items():
            if sums.calls:
                found[provider, kind_of(words) or words or "none", status] += sums.calls
        return found

    def by_provider(self, what: Literal["charged", "credited", "unpriced"]) -> Mapping[str, int]:
        """Return a sum by provider, where it is not 0."""
        found: Counter[str] = Counter()
        for (provider, _, _), sums in self._sums.items():
            if amount := getattr(sums, what):
                found[provider] += amount
        return found

    def _new(self, kind: _Kind) -> _Sums:
        """Return the sums of a kind that is seen for the first time, or of its like at the other providers."""
        provider = kind[0]
        if provider not in self._providers:
            if len(self._providers) >= PROVIDERS_MAX:
                return self._sums.setdefault((OTHER, *kind[1:]), _Sums())
            self._providers.add(provider)
        return self._sums.setdefault(kind, _Sums())
