"""
Let calls in, and see them out.

Its one job: know every call that is under way, so that a stop can wait for them and then end them.
Rule: who is let in is counted until it has left, however it leaves.
"""

import asyncio
from typing import Any

from penia_proxy.errors import ShuttingDown

SETTLE_S = 5.0
"""How long calls that are ended may take to book what they cost; counting the text of a long answer takes longest."""


class Door:
    """The way in."""

    def __init__(self) -> None:
        self._inside: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    def let_in(self) -> None:
        """Count the running task, a call's, until its answer has been sent. Raises ShuttingDown."""
        if self._closed:
            raise ShuttingDown("Penia is shutting down; send this again in a moment.")
        self.follow(asyncio.current_task())

    def follow(self, task: asyncio.Task[Any] | None) -> None:
        """Count a task until it has ended."""
        if task is None:
            return
        self._inside.add(task)
        task.add_done_callback(self._inside.discard)

    def close(self) -> None:
        """Let nobody in any more. Twice is once."""
        self._closed = True

    async def emptied(self) -> None:
        """Wait until everybody has left."""
        while self._inside:
            await asyncio.wait(self._inside)

    async def empty(self) -> None:
        """End every call where it is; each books what it has cost so far."""
        for task in self._inside:
            task.cancel()
        if self._inside:
            await asyncio.wait(self._inside, timeout=SETTLE_S)
