"""
Follow a gateway's live feed, and come back to it.

Its one job: one subscription (docs/live.md) that outlives its connections: it reconnects with jitter, resumes where it
was, and says when what is known may be old. What messages mean is the caller's business.
Rules: every message is handed on once, in order. What was missed is always said: by a `Snapshot`, which takes the place
of what was known, or by `Missed`. It never gives up; whoever follows stops listening.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp

CHANNELS = ("budget_updates", "alerts", "usage")

HEARTBEAT_S = 15.0
"""A line on which nothing is heard is asked so often, and dead without an answer in half of that."""
CONNECT_S = 10.0
RETRY_S, RETRY_S_MAX = 0.5, 5.0
"""The first wait is up to this; each further one is up to twice as long, until the second."""
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""A snapshot of a hundred thousand budgets has 30 MB."""

CLOSED = {1001: "the gateway has ended", 1013: "we were too slow"}
"""What a close code says."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Live:
    """What is known is as it is, from here on."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What is known may be old, from here on."""

    why: str
    again_s: float
    """When it is tried again."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where everything stands: each part that is here takes the place of all that was known of it."""

    budgets: list[Json] | None
    alerts: list[Json] | None


@dataclass(frozen=True, slots=True)
class Happened:
    """A message: ``budget_update``, ``alert`` or ``usage``."""

    kind: str
    data: Json


@dataclass(frozen=True, slots=True)
class Missed:
    """Usage that was not told, and can be asked for; None: nobody has counted."""

    count: int | None


Event = Live | Lost | Snapshot | Happened | Missed


class Refused(Exception):
    """The gateway does not take the subscription; ``str`` says why."""


def retry_s(failures: int, chance: float) -> float:
    """Return how long to wait after so many failures; ``chance`` is between 0 and 1. Never less than half of it."""
    return min(RETRY_S * 2.0 ** min(failures, 16), RETRY_S_MAX) * (0.5 + chance / 2)


async def follow(
    url: str,
    channels: Iterable[str] = CHANNELS,
    *,
    session: aiohttp.ClientSession,
    budgets: Iterable[str] | None = None,
    components: Iterable[str] | None = None,
) -> AsyncIterator[Event]:
    """Yield what happens at the gateway at ``url``, for ever. Raises Refused."""
    wish: Json = {"type": "subscribe", "channels": list(channels)}
    wish |= {} if budgets is None else {"budgets": list(budgets)}
    wish |= {} if components is None else {"components": list(components)}
    place = _Place()
    failures = 0
    while True:
        try:
            async with asyncio.timeout(CONNECT_S):
                socket = await session.ws_connect(
                    f"{url.rstrip('/')}/ws", heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_BYTES_MAX
                )
            async with socket:
                await socket.send_json(wish | ({"since": place.since} if place.since else {}))
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        for event in place.heard(message.json()):
                            failures = 0
                            yield event
                        if place.resubscribe:
                            await socket.send_json({**wish, "channels": place.resubscribe.pop()})
            why = CLOSED.get(socket.close_code or 0, "the connection broke")
        except aiohttp.WSServerHandshakeError as error:
            why = f"the gateway answers {error.status}"
        except (aiohttp.ClientError, OSError, TimeoutError):
            why = "no gateway answers"
        wait = retry_s(failures, random.random())  # noqa: S311 - that not all come at once
        failures += 1
        place.resubscribe.clear()
        yield Lost(why, wait)
        await asyncio.sleep(wait)


class _Place:
    """Where a subscription is."""

    def __init__(self) -> None:
        self.since: Json | None = None
        self.resubscribe: list[list[str]] = []
        """Channels of which a snapshot is wanted, because messages of them were lost."""
        self._partial = False

    def heard(self, message: Json) -> list[Event]:
        """Take a message; return what it says."""
        kind, data = message["type"], message.get("data") or {}
        if kind == "error":
            raise Refused(message["error"])
        again, before = self.since is not None, self.since
        self.since = {"epoch": message["epoch"], "seq": message["seq"]}
        if kind == "subscribed":
            if message["replayed"]:
                return [Live()]
            missed = again and "usage" in message["channels"] and not self._partial
            self._partial = False
            # A snapshot follows. It shows where everything stands, not the calls in between.
            return [Missed(None)] if missed else []
        if before and before["epoch"] == message["epoch"] and message["seq"] <= before["seq"]:
            return []
        if kind == "snapshot":
            return [Snapshot(data.get("budgets"), data.get("alerts")), Live()]
        if kind == "gap" and data["channel"] == "usage":
            return [Missed(data["missed"])]
        if kind == "gap":
            self.resubscribe, self._partial = [[data["channel"]]], True
            return []
        return [Happened(kind, data)] if kind in ("budget_update", "alert", "usage") else []
