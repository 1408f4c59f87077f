"""
Count the answers that are read on without their callers.

Its one job: that they are bounded in number, in time and, by whoever reads them, in bytes, and end with the process.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

DRAIN_SECONDS_MAX = 60
DRAIN_BYTES_MAX = 64 * 1024 * 1024
DRAINS_MAX = 100
"""Answers read on after their callers left, at a time; a further one is cancelled instead."""


class Drains:
    """How many answers are read on without a caller."""

    def __init__(self) -> None:
        self._running: set[asyncio.Timeout] = set()
        self._ended = False

    @property
    def running(self) -> int:
        """How many are read on at this moment."""
        return len(self._running)

    @property
    def room(self) -> bool:
        """Whether another may begin."""
        return not self._ended and len(self._running) < DRAINS_MAX

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Bound one in time. Raises TimeoutError."""
        async with asyncio.timeout(DRAIN_SECONDS_MAX) as limit:
            self._running.add(limit)
            try:
                yield
            finally:
                self._running.discard(limit)

    def end(self) -> None:
        """Read no answer on any further."""
        self._ended = True
        now = asyncio.get_running_loop().time()
        for limit in self._running:
            limit.reschedule(now)
