"""
Follow a gateway's live feed, and keep all that is told.

Its one job: what tests wait for and compare of what a follower was told.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from penia_proxy.following import Event, Happened, Live, Snapshot, follow
from tests.gateways import Running

PATIENCE_S = 30


class Follower:
    """Somebody who keeps what is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    async def listen(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            self.events.append(event)
            self._news.set()

    async def until(self, seen: Callable[[list[Event]], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not seen(self.events):
                self._news.clear()
                await self._news.wait()

    @property
    def calls(self) -> list[str]:
        return [
            event.data["record_id"] for event in self.events if isinstance(event, Happened) and event.kind == "usage"
        ]

    @property
    def budgets(self) -> dict[str, Any]:
        """What is known of budgets in the end."""
        known: dict[str, Any] = {}
        for event in self.events:
            if isinstance(event, Snapshot) and event.budgets is not None:
                known = {one["budget_id"]: one for one in event.budgets}
            elif isinstance(event, Happened) and event.kind == "budget_update":
                known[event.data["budget_id"]] = event.data
        return known

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)


@asynccontextmanager
async def following(penia: Running, url: str, **how: list[str]) -> AsyncIterator[Follower]:
    """Follow a gateway until the block ends."""
    follower = Follower()
    listening = asyncio.create_task(follower.listen(follow(url, session=penia.session, **how)))
    try:
        await follower.until(lambda events: Live() in events)
        yield follower
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
