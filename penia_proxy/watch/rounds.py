"""
Say whose turn it is.

Its one job: serve clients when there is something for them: at once while that is rare, and together, once a round,
where there are many clients or much to tell.
Rules: a round is begun from outside, as often as that pleases. Only so many are served before anything else that the
process does gets its turn, so that a thousand clients hold up no call. Whoever fails is logged, and the next is served.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

SLICE = 32
"""Clients served in one go: less than a millisecond."""

EARLY_MAX = 256
"""Turns in a round that are taken at once: of a round of 100 ms, five at most."""


class Served(Protocol):
    """Who is served."""

    def serve(self) -> bool:
        """Take a turn; return whether another one is wanted in this round."""
        ...


class Rounds:
    """The order of turns."""

    def __init__(self, arm: Callable[[], None]) -> None:
        """``arm``: ask for the next round, as somebody waits for it."""
        self._arm = arm
        self._early = EARLY_MAX
        self._turn: OrderedDict[Served, None] = OrderedDict()
        self._next: dict[Served, None] = {}
        self._serving = False
        self._quiet: asyncio.Future[None] | None = None

    def call(self, one: Served) -> None:
        """Serve one that something is there for: now, or in the next round where many were served in this one."""
        if self._early:
            self._early -= 1
            self.urge(one)
        else:
            self.later(one)

    def urge(self, one: Served) -> None:
        """Serve one now."""
        self._turn[one] = None
        self._go_on()

    def later(self, one: Served) -> None:
        """Serve one in the next round."""
        self._next[one] = None
        self._arm()

    async def run(self) -> None:
        """Begin a round, and wait until everybody has been served who waited for it."""
        self._early = EARLY_MAX
        self._turn.update(self._next)
        self._next.clear()
        if self._turn:
            self._quiet = asyncio.get_running_loop().create_future()
            self._go_on()
            await self._quiet
            self._quiet = None

    def _go_on(self) -> None:
        if not self._serving:
            self._serving = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        for _ in range(min(SLICE, len(self._turn))):
            one, _nothing = self._turn.popitem(last=False)
            try:
                again = one.serve()
            except Exception:
                log.exception("a live client could not be served")
                continue
            if again:
                self._turn[one] = None
        self._serving = False
        if self._turn:
            self._go_on()
        elif self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)
