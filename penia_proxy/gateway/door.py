"""
Let calls in, and see them out.

Its one job: know every call that is under way and how much of its body is in memory, so that neither grows beyond
its limit, and so that a stop can wait for calls and then end them.
Rules: who is let in is counted until its task has ended, however it ends. What is not let in is refused at once: nobody
waits here.
"""

import asyncio
from collections import Counter
from functools import partial
from typing import Any

from penia_proxy.config import ServerConfig
from penia_proxy.errors import Overloaded, RateLimited, ShuttingDown

MEGABYTE = 1024 * 1024

SETTLE_S = 5.0
"""How long calls that are ended may take to book what they cost; counting the text of a long answer takes longest."""


class Door:
    """The way in."""

    def __init__(self, limits: ServerConfig) -> None:
        self.limits = limits
        self._inside: set[asyncio.Task[Any]] = set()
        self._by_component: Counter[str] = Counter()
        self._carried: dict[asyncio.Task[Any] | None, int] = {}
        self.carried_bytes = 0
        """Of all bodies in memory."""
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    @property
    def calls(self) -> int:
        """Calls that are under way."""
        return len(self._inside)

    def let_in(self, component: str) -> None:
        """
        Count the running task, a call's, until its answer has been sent.

        Raises ShuttingDown, Overloaded or RateLimited.
        """
        if self._closed:
            raise ShuttingDown("Penia is shutting down; send this again in a moment.")
        if len(self._inside) >= self.limits.max_calls:
            raise Overloaded("Too many calls are under way; send this again in a moment.")
        of_one = self.limits.max_calls_per_component
        if of_one is not None and self._by_component[component] >= of_one:
            raise RateLimited("Too many calls of this component are under way; send this again in a moment.")
        task = asyncio.current_task()
        if task is not None:
            self._by_component[component] += 1
            self.follow(task)
            task.add_done_callback(partial(self._left, component))

    def follow(self, task: asyncio.Task[Any]) -> None:
        """Count a task until it has ended."""
        self._inside.add(task)
        task.add_done_callback(self._inside.discard)

    def carry(self, size: int) -> None:
        """Count bytes of the running task's call, until it has left. Raises Overloaded where there is no room."""
        if self.carried_bytes + size > self.limits.max_bodies_mb * MEGABYTE:
            raise Overloaded("The bodies of the calls under way take all the room there is; send this again.")
        task = asyncio.current_task()
        self.carried_bytes += size
        self._carried[task] = self._carried.get(task, 0) + size

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

    def _left(self, component: str, task: asyncio.Task[Any]) -> None:
        self.carried_bytes -= self._carried.pop(task, 0)
        self._by_component[component] -= 1
        if not self._by_component[component]:
            del self._by_component[component]
