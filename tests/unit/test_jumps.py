"""A wall clock that jumps is noticed, and one that is only corrected is not."""

from datetime import timedelta

import pytest

from penia_proxy.watch.jumps import Jumps
from tests.api.client import MovedClock

DAY = 86_400.0


@pytest.mark.fault("T1")
@pytest.mark.parametrize("seconds", [DAY, -DAY, 3.0, -3.0])
def test_a_jump_is_noticed_once(seconds: float) -> None:
    """In either direction, by how much, and not again."""
    clock = MovedClock()
    jumps = Jumps(clock)
    clock.move(timedelta(seconds=1))
    clock.instant += timedelta(seconds=seconds)

    assert jumps.look() == pytest.approx(seconds)
    clock.move(timedelta(seconds=1))
    assert jumps.look() is None
    assert (jumps.count, jumps.last_s) == (1, pytest.approx(seconds))


@pytest.mark.parametrize("rate", [0.9995, 1.0005])
def test_a_correction_is_no_jump(rate: float) -> None:
    """A clock that gains or loses as NTP lets it never counts as jumped, however long it does."""
    clock = MovedClock()
    jumps = Jumps(clock)
    for _ in range(20_000):
        clock.seconds += 1
        clock.instant += timedelta(seconds=rate)
        assert jumps.look() is None


@pytest.mark.fault("T1")
def test_a_clock_that_stands_still_is_noticed() -> None:
    """Although it never moves far at once."""
    clock = MovedClock()
    jumps = Jumps(clock)
    for _ in range(2):
        clock.seconds += 1
        found = jumps.look()

    assert found == -2.0


def test_a_loop_that_was_held_up_is_no_jump() -> None:
    """Both clocks went on meanwhile."""
    clock = MovedClock()
    jumps = Jumps(clock)
    clock.move(timedelta(minutes=5))

    assert jumps.look() is None
