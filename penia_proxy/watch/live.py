"""
Tell whoever listens what happens, as it happens.

Its one job: fan usage, alerts and budget states out to live clients, in one order, in bounded memory (docs/live.md).
Rules:

* The gateway's side (`usage`, `alert`, `touch`) never awaits or raises, and costs a comparison while nobody listens.
* A budget's state is read after its last touch and told at most once per ``coalesce_s``; only the latest counts.
* An event is built once, and found by what it is about: those who have asked for the same share a feed (`feeds`), in
  which each has a position; what it costs beyond that is one turn a round for each client (`rounds`).
* `seq` grows over all messages of a hub, `epoch` names the hub; a client that names both gets what it missed, or,
  where that is no longer kept, a snapshot. Whatever a snapshot shows is at least as new as its seq.

It must not know sockets, HTTP, the ledger or prices.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import orjson

from penia_proxy.clock import Clock
from penia_proxy.errors import TooManyClients
from penia_proxy.ids import new_id
from penia_proxy.watch.audience import Audience, Filter
from penia_proxy.watch.feeds import Event, Feed, Log, Ring, States
from penia_proxy.watch.frames import text_frame
from penia_proxy.watch.listener import GOING_AWAY, Line, LiveClient, LiveLimits
from penia_proxy.watch.messages import Channel, Malformed, Ping, Since, Subscribe, Unsubscribe, read
from penia_proxy.watch.rounds import Rounds

__all__ = ["LiveClient", "LiveHub", "LiveLimits"]

Json = dict[str, Any]

_log = logging.getLogger(__name__)

_TYPES: dict[Channel, str] = {"budget_updates": "budget_update", "alerts": "alert", "usage": "usage"}
"""The type of a channel's messages."""

ALERTS_S = 5.0
"""How long the open alerts are waited for: a snapshot without them is better than none."""

WELCOMES_MAX = 1_024

STATES_AT_ONCE = 64
"""States that are read before anything else gets its turn."""

Asking = tuple[LiveClient, Subscribe, "asyncio.Future[None]"]


class LiveHub:
    """The one place events come from."""

    def __init__(
        self,
        state: Callable[[str], Awaitable[Json | None]],
        budget_ids: Callable[[], Iterable[str]],
        open_alerts: Callable[[int], Awaitable[list[Json]]],
        clock: Clock,
        *,
        limits: LiveLimits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take how to read a budget's state (None: no such budget), the active budgets' ids, the newest open alerts."""
        self.limits = limits = limits or LiveLimits()
        self.epoch = new_id("live")
        self._state = state
        self._budget_ids = budget_ids
        self._open_alerts = open_alerts
        self._clock = clock
        self._sleep = sleep
        self._seq = 0
        self._floor = 0
        """Everything after this seq is in the rings and states."""
        self._rings = {name: Ring(limits.replay_max, limits.replay_bytes_max) for name in ("usage", "alerts")}
        self._states: States[LiveClient] = States(Filter())
        self._welcomes: deque[int] = deque()
        """Seqs after which a snapshot follows, which is not kept: who has heard no more than that has not heard it."""
        self._kept_until = 0.0
        self._clients: set[LiveClient] = set()
        self._feeds: dict[tuple[Channel, Filter], Feed[LiveClient]] = {}
        self.audience: Audience[Feed[LiveClient]] = Audience()
        self._touched: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._rounds = Rounds(self._wake.set)
        self._reading = asyncio.Lock()
        """Held while states are read and told, so that no snapshot is older than an update that went before it."""
        self._asking: list[Asking] = []
        self._answering: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._closed = False
        self._is_kept = False
        """Whether anything may be kept: there has been a client since the last hole."""

    @property
    def client_count(self) -> int:
        return len(self._clients)

    @property
    def listening(self) -> bool:
        """Whether events are kept at all: look before building one that is expensive."""
        return bool(self._clients) or self._clock.monotonic() < self._kept_until

    def usage(self, record: Json, budget_ids: Sequence[str], component: str) -> None:
        """Tell a settled call; ``record`` is its JSON as api.md §2 shows it."""
        if not self.listening:
            self._lose()
            return
        self._publish("usage", "", record, tuple(budget_ids), component)

    def touch(self, budget_ids: Iterable[str]) -> None:
        """Say that these budgets' figures, limits or names have changed."""
        if not self.listening:
            self._lose()
            return
        self._touched.update(dict.fromkeys(budget_ids))
        if self._touched:
            self._wake.set()

    def alert(self, alert: Json, budget_id: str | None) -> None:
        """Tell an alert, or that one is resolved."""
        if not self.listening:
            self._lose()
            return
        self._publish("alerts", "", alert, (budget_id,) if budget_id else (), None)

    def join(self, line: Line) -> LiveClient:
        """Return a new client, which hears nothing until it subscribes. Raises TooManyClients."""
        if self._closed or len(self._clients) >= self.limits.clients_max:
            raise TooManyClients("Every place at the live feed is taken; try again later.")
        client = LiveClient(line, self._rounds, self._clock, self.limits, self._gap)
        self._clients.add(client)
        self._is_kept = True
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())
        return client

    def leave(self, client: LiveClient) -> None:
        """Forget a client. Twice is once."""
        if client in self._clients:
            self._clients.remove(client)
            client.end(GOING_AWAY)
            self._mute(client, list(client.readings))
            self._kept_until = self._clock.monotonic() + self.limits.replay_s

    async def close(self) -> None:
        """Send everyone away, and take nobody any more. Twice is once."""
        self._closed = True
        for client in list(self._clients):
            self.leave(client)
        tasks = [task for task in (self._beating, self._answering) if task is not None]
        self._beating = self._answering = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def hear(self, client: LiveClient, text: str | bytes) -> bool:
        """Take one message of a client; False when it has sent too much nonsense to be kept."""
        try:
            message = read(text)
        except Malformed as error:
            return self.object_to(client, str(error))
        match message:
            case Subscribe():
                await self._welcome(client, message)
            case Unsubscribe():
                self._mute(client, message.channels or list(client.readings))
                self._answer(client, "unsubscribed", channels=sorted(client.readings))
            case Ping():
                self._answer(client, "pong")
        return True

    def object_to(self, client: LiveClient, why: str) -> bool:
        """Answer nonsense with an `error`; False when there was too much of it."""
        client.errors += 1
        self._answer(client, "error", error=why)
        return client.errors <= self.limits.errors_max

    async def flush(self) -> None:
        """Tell the present state of every touched budget. The hub does this by itself; tests need not wait for it."""
        async with self._reading:
            touched, self._touched = self._touched, {}
            for state in await self._read_states(touched):
                budget_id = state["budget_id"]
                self._publish("budget_updates", budget_id, state, (budget_id,), None)

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _frame(self, kind: str, seq: int, members: Json) -> bytes:
        return text_frame(orjson.dumps({"type": kind, "seq": seq, "epoch": self.epoch, **members}))

    def _gap(self, seq: int, channel: Channel, missed: int) -> bytes:
        return self._frame("gap", seq, {"data": {"channel": channel, "missed": missed}})

    def _answer(self, client: LiveClient, kind: str, **members: object) -> None:
        seq = self._next()
        client.put(kind, seq, self._frame(kind, seq, members))

    def _publish(
        self, channel: Channel, key: str, data: Json, budget_ids: tuple[str, ...], component: str | None
    ) -> None:
        seq = self._next()
        event = Event(seq, channel, key, budget_ids, component, self._frame(_TYPES[channel], seq, {"data": data}))
        if channel == "budget_updates":
            self._states.add(event)
        else:
            for gone in self._rings[channel].add(event):
                for feed in self.audience.of(channel, gone.budget_ids, gone.component):
                    feed.evict(gone)
        for feed in self.audience.of(channel, budget_ids, component):
            if feed.wanted.passes(budget_ids, component):
                feed.add(event)
                if feed.resting:
                    for client in feed.resting:
                        self._rounds.call(client)
                    feed.resting.clear()

    def _lose(self) -> None:
        """Let an event go by that nobody hears: what is kept has a hole now."""
        self._floor = seq = self._next()
        if not self._is_kept:  # it happens at every call
            return
        self._is_kept = False
        for ring in self._rings.values():
            ring.lose(seq)
        self._states = States(Filter())
        self._welcomes.clear()

    async def _welcome(self, client: LiveClient, asked: Subscribe) -> None:
        """Begin a subscription with what was missed where that is still kept, otherwise with a snapshot."""
        since = asked.since
        if since is not None and not client.readings and self._keeps(since, asked.channels):
            self._listen(client, asked, since.seq)
            # The seq of the last message seen: everything after it follows, so that hanging up here loses nothing.
            members = {"channels": sorted(client.readings), "replayed": True}
            client.put("subscribed", since.seq, self._frame("subscribed", since.seq, members))
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking.append((client, asked, done))
        if self._answering is None or self._answering.done():
            self._answering = asyncio.create_task(self._show_all())
        await done

    def _keeps(self, since: Since, channels: Iterable[Channel]) -> bool:
        """Return whether everything after a message is still there."""
        floors = [self._rings[channel].floor for channel in channels if channel in self._rings]
        if since.epoch != self.epoch or since.seq in self._welcomes:
            return False
        return max(self._floor, *floors, 0) <= since.seq <= self._seq

    async def _show_all(self) -> None:
        """Give snapshots for as long as somebody waits for one: a thousand at the cost of one."""
        while self._asking:
            asking, self._asking = self._asking, []
            try:
                await self._show(asking)
            finally:
                for client, _, done in asking:
                    client.held_back = False
                    if not done.done():
                        done.set_result(None)

    async def _show(self, asking: list[Asking]) -> None:
        async with self._reading:
            welcome, snapshot = self._next(), self._next()
            self._welcomes.append(welcome)
            if len(self._welcomes) > WELCOMES_MAX:
                self._floor = self._welcomes.popleft()
            for client, asked, _ in asking:
                if client in self._clients:
                    client.held_back = True
                    self._listen(client, asked, snapshot)
            states = await self._read_states(self._named_by(asked for _, asked, _ in asking))
        # Events that come from here on wait behind the snapshot, which is at least as new as its seq says.
        alerts = None
        if any("alerts" in asked.channels for _, asked, _ in asking):
            alerts = await self._read_alerts()
        frames: dict[tuple[Filter, frozenset[Channel]], bytes] = {}
        for client, asked, _ in asking:
            key = (_filter(asked), frozenset(asked.channels))
            if key not in frames:
                frames[key] = self._frame("snapshot", snapshot, {"data": _shown(asked, states, alerts)})
            members = {"channels": sorted(client.readings), "replayed": False}
            client.put("subscribed", welcome, self._frame("subscribed", welcome, members))
            # One for each set of channels: two subscriptions may wait for a client that does not read.
            client.put(f"snapshot of {sorted(asked.channels)}", snapshot, frames[key])

    def _named_by(self, asked: Iterable[Subscribe]) -> Iterable[str]:
        """Return the budgets whose states are asked for."""
        named: dict[str, None] = {}
        for one in asked:
            if "budget_updates" in one.channels:
                named.update(dict.fromkeys(self._budget_ids() if one.budgets is None else one.budgets))
        return named

    def _listen(self, client: LiveClient, asked: Subscribe, seq: int) -> None:
        """Give each channel asked for this filter, from the event after ``seq`` on."""
        wanted = _filter(asked)
        self._mute(client, asked.channels)
        for channel in asked.channels:
            client.listen(channel, self._feed_of(channel, wanted), seq)

    def _feed_of(self, channel: Channel, wanted: Filter) -> Feed[LiveClient]:
        feed = self._feeds.get((channel, wanted))
        if feed is None:
            if channel == "budget_updates":
                feed = States(wanted, _passing(self._states, wanted))
            else:
                feed = Log(wanted, _passing(self._rings[channel], wanted))
            self._feeds[channel, wanted] = feed
            self.audience.add(feed, channel, wanted)
        feed.readers += 1
        return feed

    def _mute(self, client: LiveClient, channels: Iterable[Channel]) -> None:
        for channel in channels:
            reading = client.readings.pop(channel, None)
            if reading is None:
                continue
            feed = reading.feed
            feed.resting.discard(client)
            feed.readers -= 1
            if not feed.readers:
                del self._feeds[channel, feed.wanted]
                self.audience.discard(feed, channel, feed.wanted)

    async def _read_states(self, budget_ids: Iterable[str]) -> list[Json]:
        """Return the states of the budgets that exist. One that cannot be read is told later, as a touched one is."""
        states: list[Json] = []
        for number, budget_id in enumerate(budget_ids, 1):
            if number % STATES_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                state = await self._state(budget_id)
            except Exception:  # noqa: BLE001 - the feed outlives whatever the counters raise
                _log.exception("the state of budget %s could not be read for the live feed", budget_id)
                self.touch([budget_id])
            else:
                if state is not None:
                    states.append(state)
        return states

    async def _read_alerts(self) -> list[Json] | None:
        """Return the newest open alerts; None where they cannot be read."""
        try:
            async with asyncio.timeout(ALERTS_S):
                return await self._open_alerts(self.limits.alerts_max)
        except Exception:  # noqa: BLE001 - as above
            _log.exception("the open alerts could not be read for the live feed")
            return None

    async def _beat(self) -> None:
        """Begin a round whenever somebody waits for one, but no more often than `coalesce_s`."""
        took = 0.0
        while True:
            await self._wake.wait()
            # A round that takes long is followed by a pause as long: half of the time is for calls alone.
            await self._sleep(max(self.limits.coalesce_s - took, took))
            self._wake.clear()
            began = self._clock.monotonic()
            await self.flush()
            await self._rounds.run()
            took = self._clock.monotonic() - began


def _passing(events: Iterable[Event], wanted: Filter) -> Iterable[Event]:
    return (event for event in events if wanted.passes(event.budget_ids, event.component))


def _filter(asked: Subscribe) -> Filter:
    budgets, components = asked.budgets, asked.components
    return Filter(
        None if budgets is None else frozenset(budgets), None if components is None else frozenset(components)
    )


def _shown(asked: Subscribe, states: list[Json], alerts: list[Json] | None) -> Json:
    """Return what a snapshot shows to somebody."""
    wanted = _filter(asked)
    data: Json = {}
    if "budget_updates" in asked.channels:
        data["budgets"] = [state for state in states if wanted.passes((state["budget_id"],), None)]
    if "alerts" in asked.channels:
        data["alerts"] = alerts and [one for one in alerts if wanted.passes((one["budget_id"] or "",), None)]
    return data
