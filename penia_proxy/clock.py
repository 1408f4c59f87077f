"""
Read the time.

Its one job: be the only reader of wall and monotonic time, so that everything else is given an instant.
Rule: instants are timezone-aware UTC. Durations come from the monotonic clock only.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the program asks for the time; tests pass their own."""

    def now(self) -> datetime:
        """Return the wall clock's instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the wall clock's instant, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""
        return time.monotonic()


def iso(instant: datetime) -> str:
    """Return the instant as fixed-width ISO 8601 with microseconds and ``Z``: sorting the text sorts the time."""
    # isoformat takes a tenth of strftime's time, and a call writes a dozen instants.
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return instant.isoformat(timespec="microseconds")[:-6] + "Z"


def from_iso(text: str) -> datetime:
    """Return the instant of ISO 8601 text, aware, in UTC; a text without an offset is UTC. Raises ValueError."""
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
