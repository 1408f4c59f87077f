"""
Let calls in, and see them out.

Its one job: know every call that is under way and how much of its body is in memory, so that neither grows beyond
its limit, and so that a stop can wait for calls and then end them.
Rules: who is let in is counted until its task has ended, however it ends. What is not let in is refused at once: nobody
waits here.
"""

import asyncio
from collections import Counter
from typing import Any

from penia_proxy.config import ServerConfig
from penia_proxy.errors import Overloaded, RateLimited, ShuttingDown

MEGABYTE = 1024 * 1024

SETTLE_S = 5.0
"""How long calls that are ended may take to book what they cost; counting the text of a long answer takes longest."""


class Visit:
    """One call under way. Made by `Door.let_in`; over when its tasks have ended."""

    __slots__ = ("_door", "_tasks", "bytes", "component")

    def __init__(self, door: "Door", component: str) -> None:
        self._door = door
        self._tasks = 0
        self.component = component
        self.bytes = 0
        """Of its body, in memory."""

    def carry(self, size: int) -> None:
        """Count bytes of the call's body, until it has left. Raises Overloaded where there is no room."""
        self._door.make_room(size)
        self.bytes += size

    def of(self, task: asyncio.Task[Any]) -> None:
        """Be there until a task has ended, too: it outlives the one before."""
        self._tasks += 1
        self._door.enter(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks -= 1
        self._door.leave(self, task, is_last=not self._tasks)


class Door:
    """The way in."""

    def __init__(self, limits: ServerConfig) -> None:
        self.limits = limits
        self._inside: set[asyncio.Task[Any]] = set()
        self._by_component: Counter[str] = Counter()
        self.calls = 0
        """Under way."""
        self.carried_bytes = 0
        """Of all bodies in memory."""
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    def let_in(self, component: str, task: asyncio.Task[Any]) -> Visit:
        """
        Count a task, a call's, until it has ended.

        Raises ShuttingDown, Overloaded or RateLimited.
        """
        if self._closed:
            raise ShuttingDown("Penia is shutting down; send this again in a moment.")
        if self.calls >= self.limits.max_calls:
            raise Overloaded("Too many calls are under way; send this again in a moment.")
        of_one = self.limits.max_calls_per_component
        if of_one is not None and self._by_component[component] >= of_one:
            raise RateLimited("Too many calls of this component are under way; send this again in a moment.")
        visit = Visit(self, component)
        self._by_component[component] += 1
        self.calls += 1
        visit.of(task)
        return visit

    def enter(self, task: asyncio.Task[Any]) -> None:
        """Know a task: a stop waits for it, and ends it."""
        self._inside.add(task)

    def make_room(self, size: int) -> None:
        """Count bytes of bodies. Raises Overloaded where there is no room for them."""
        if self.carried_bytes + size > self.limits.max_bodies_mb * MEGABYTE:
            raise Overloaded("The bodies of the calls under way take all the room there is; send this again.")
        self.carried_bytes += size

    def leave(self, visit: Visit, task: asyncio.Task[Any], *, is_last: bool) -> None:
        """See a task out, and a call with the last of its tasks."""
        self._inside.discard(task)
        if not is_last:
            return
        self.calls -= 1
        self.carried_bytes -= visit.bytes
        self._by_component[visit.component] -= 1
        if not self._by_component[visit.component]:
            del self._by_component[visit.component]

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
