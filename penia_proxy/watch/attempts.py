"""
Count how providers answer.

Its one job: what each attempt at a provider came to, since the start and lately, and a word for it.
Rules: an attempt is counted when it ends: one addition, and the clock is read for failures only. What happened lately
is the difference between the counts now and those that `look` kept, so that it costs calls nothing. Nothing of it
outlives the process: an error of a provider's bills nothing, and leaves no record to count.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from penia_proxy.clock import Clock

Outcome = Literal["ok", "rate_limited", "client_error", "server_error", "timeout", "unreachable", "broken"]
"""2xx and 3xx; 429; other 4xx; 5xx; no answer in time, or one that stalled; not reached; hung up or broke off."""
State = Literal["quiet", "ok", "degraded", "failing"]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
FAILURES: tuple[Outcome, ...] = ("rate_limited", "server_error", "timeout", "unreachable", "broken")
"""What is not the caller's doing."""

LATELY_S = 300
HOUR_S = 3_600
KEPT_EVERY_S = 10
"""How exactly the two are kept to; 360 counts a provider."""

FAILING_SHARE = 0.5
FAILING_LEAST = 3
"""Failures: of a single call nothing can be said but that it failed."""
DEGRADED_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Failure:
    """The last one."""

    outcome: Outcome
    at: datetime


class Attempts:
    """At one provider."""

    def __init__(self, clock: Clock) -> None:
        self.since_start: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
        self.last_failure: Failure | None = None
        self._clock = clock
        self._kept = deque([(clock.monotonic(), dict(self.since_start))], maxlen=HOUR_S // KEPT_EVERY_S + 1)

    def answered(self, status: int) -> None:
        """Count an answer that came whole, or whose caller did not want all of it."""
        if status < 400:
            self.since_start["ok"] += 1
        elif status == 429:
            self.failed("rate_limited")
        elif status < 500:
            self.since_start["client_error"] += 1
        else:
            self.failed("server_error")

    def failed(self, outcome: Outcome) -> None:
        """Count a failure."""
        self.since_start[outcome] += 1
        self.last_failure = Failure(outcome, self._clock.now())

    def look(self) -> None:
        """Keep the counts of now, if it is time to."""
        now = self._clock.monotonic()
        if now - self._kept[-1][0] >= KEPT_EVERY_S:
            self._kept.append((now, dict(self.since_start)))

    def within(self, seconds: float) -> dict[Outcome, int]:
        """Return the counts of so many seconds until now, an hour at most."""
        since = self._clock.monotonic() - seconds
        before = next((kept for at, kept in self._kept if at >= since), self._kept[-1][1])
        return {outcome: number - before[outcome] for outcome, number in self.since_start.items()}


def failure_rate(counts: Mapping[Outcome, int]) -> float | None:
    """Return failures ÷ attempts; None of no attempts."""
    attempts = sum(counts.values())
    return sum(counts[outcome] for outcome in FAILURES) / attempts if attempts else None


def state_of(counts: Mapping[Outcome, int]) -> State:
    """Return a word for how a provider has been lately."""
    rate = failure_rate(counts)
    if rate is None:
        return "quiet"
    if rate >= FAILING_SHARE and sum(counts[outcome] for outcome in FAILURES) >= FAILING_LEAST:
        return "failing"
    return "degraded" if rate >= DEGRADED_SHARE else "ok"


class AllAttempts:
    """At every configured provider; they outlive a change of the configuration."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_provider: dict[str, Attempts] = {}

    def at(self, provider: str) -> Attempts:
        """Return those at a provider of the configuration."""
        found = self._by_provider.get(provider)
        if found is None:
            found = self._by_provider[provider] = Attempts(self._clock)
        return found

    def look(self) -> None:
        """Let time pass; to be called every few seconds."""
        for attempts in self._by_provider.values():
            attempts.look()

    def totals(self) -> Iterator[tuple[tuple[str, Outcome], int]]:
        """Yield the counts since the start, by provider and outcome."""
        for provider, attempts in self._by_provider.items():
            for outcome, number in attempts.since_start.items():
                yield (provider, outcome), number
