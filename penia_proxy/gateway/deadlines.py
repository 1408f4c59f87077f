"""
End what has waited too long.

Its one job: one timer for everything that waits for a provider.
Rule: a timer per wait would cost more than the wait: whatever is due is found by looking at all of it, a few times a
second, so a deadline is kept TICK_S late at most.
"""

import asyncio
from typing import Protocol

TICK_S = 0.1
"""Timeouts are configured in seconds."""


class Waiting(Protocol):
    """Something with a deadline, in the loop's time."""

    deadline: float

    def expire(self) -> None:
        """End: the deadline has passed."""
        ...


class Deadlines:
    """Everything that waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: set[Waiting] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiting: Waiting, seconds: float) -> None:
        """Expire it after so many seconds."""
        waiting.deadline = self._loop.time() + seconds
        self._waiting.add(waiting)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    def discard(self, waiting: Waiting) -> None:
        """Forget it, if it is there."""
        self._waiting.discard(waiting)

    def close(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        now = self._loop.time()
        for waiting in [waiting for waiting in self._waiting if waiting.deadline <= now]:
            self._waiting.discard(waiting)
            waiting.expire()
        self._timer = self._loop.call_later(TICK_S, self._tick) if self._waiting else None
