"""What attempts at a provider came to, since the start and lately."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from penia_proxy.watch.attempts import (
    HOUR_S,
    LATELY_S,
    OUTCOMES,
    AllAttempts,
    Failure,
    Outcome,
    failure_rate,
    state_of,
)
from tests.ledger.making import NOON


@dataclass
class Watch:
    """A clock that tests move."""

    seconds: float = 50.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def counts(**of: int) -> dict[Outcome, int]:
    """Return such counts, and 0 of the others."""
    return {outcome: of.get(outcome, 0) for outcome in OUTCOMES}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(101, "ok"), (200, "ok"), (304, "ok"), (400, "client_error"), (429, "rate_limited"), (500, "server_error")],
)
def test_a_status_is_an_outcome(status: int, outcome: Outcome) -> None:
    """What was answered says who is to blame; only failures are remembered as the last."""
    attempts = AllAttempts(Watch()).at("house")
    attempts.answered(status)

    assert attempts.since_start == counts(**{outcome: 1})
    assert attempts.last_failure == (
        Failure(outcome, NOON + timedelta(seconds=50)) if outcome in ("rate_limited", "server_error") else None
    )


def test_what_was_lately_is_forgotten_and_what_was_since_the_start_is_not() -> None:
    """Five minutes and an hour end; the counts of the process only grow, and what is kept of them is bounded."""
    clock = Watch()
    everywhere = AllAttempts(clock)
    attempts = everywhere.at("house")

    def pass_by(seconds: int) -> None:
        for _ in range(seconds):
            clock.seconds += 1
            everywhere.look()

    attempts.answered(500)
    pass_by(100)
    attempts.answered(200)
    assert attempts.within(LATELY_S) == attempts.within(HOUR_S) == counts(ok=1, server_error=1)
    pass_by(250)
    assert attempts.within(LATELY_S) == counts(ok=1)
    pass_by(100)
    assert attempts.within(LATELY_S) == counts()
    assert attempts.within(HOUR_S) == counts(ok=1, server_error=1)
    pass_by(2 * HOUR_S)
    assert attempts.within(HOUR_S) == counts()
    assert attempts.since_start == counts(ok=1, server_error=1)
    assert len(attempts._kept) == HOUR_S // 10 + 1
    assert everywhere.at("house") is attempts


@pytest.mark.parametrize(
    ("lately", "state", "rate"),
    [
        (counts(), "quiet", None),
        (counts(ok=20, client_error=20), "ok", 0.0),
        (counts(ok=100, timeout=4), "ok", 4 / 104),
        (counts(ok=19, rate_limited=1), "degraded", 0.05),
        (counts(unreachable=2), "degraded", 1.0),
        (counts(ok=3, broken=3), "failing", 0.5),
    ],
)
def test_a_word_says_how_it_is(lately: dict[Outcome, int], state: str, rate: float | None) -> None:
    """Failing is half, and three at least; degraded one in twenty; what callers did wrong fails nothing."""
    assert (state_of(lately), failure_rate(lately)) == (state, rate)
