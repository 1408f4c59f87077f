"""
Tell whoever listens what happens, as it happens.

Its one job: fan usage and budget states out to live clients, in one order, in bounded memory (api.md §3).
Rules:

* The gateway's side (`usage`, `touch`) never awaits, never raises, and costs a comparison while nobody listens.
* A budget's state is read after its last touch and told at most once per ``coalesce_s``; only the latest waits for a
  slow client. Usage events wait in a bounded queue, and what does not fit becomes one `gap` with a count.
* `seq` grows over all messages of a hub, `epoch` names the hub; a client that names both gets what it missed, or,
  where that is no longer kept, a snapshot.

It must not know sockets, HTTP, the ledger or prices.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from penia_proxy.clock import Clock
from penia_proxy.errors import TooManyClients
from penia_proxy.ids import new_id
from penia_proxy.watch.audience import Audience, Filter
from penia_proxy.watch.messages import Channel, Malformed, Ping, Subscribe, Unsubscribe, read

Json = dict[str, Any]

_log = logging.getLogger(__name__)


_TYPES: dict[Channel, str] = {"budget_updates": "budget_update", "alerts": "alert", "usage": "usage"}
"""The type of a channel's messages."""


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """How much the live feed may take."""

    coalesce_s: float = 0.1
    """api.md §3: updates to one budget are merged within 100 ms."""
    clients_max: int = 1_000
    """At 21 kB each (measured: `make crowd`), 21 MB."""
    usage_queue_max: int = 256
    """Usage events that wait for one client. Their text is shared between clients."""
    replay_max: int = 1_024
    """Events kept for `since`: about a megabyte."""
    replay_s: float = 60
    """How long events are still kept after the last client has left, so that a reload of a page loses nothing."""
    errors_max: int = 20
    """Malformed messages before a client is sent away."""


@dataclass(frozen=True, slots=True)
class _Event:
    seq: int
    channel: Channel
    key: str
    """What a later event of the same key replaces: the budget's id, or for usage nothing else."""
    budget_ids: tuple[str, ...]
    component: str | None
    text: str


class LiveHub:
    """The one place events come from."""

    def __init__(
        self,
        state: Callable[[str], Awaitable[Json | None]],
        budget_ids: Callable[[], Iterable[str]],
        clock: Clock,
        *,
        limits: LiveLimits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take how to read a budget's state (None: no such budget), and the ids that an unfiltered snapshot shows."""
        self.limits = limits or LiveLimits()
        self.epoch = new_id("live")
        self._state = state
        self._budget_ids = budget_ids
        self._clock = clock
        self._sleep = sleep
        self._seq = 0
        self._ring: deque[_Event] = deque(maxlen=self.limits.replay_max)
        self._floor = 0
        """Every event after this seq is in the ring."""
        self._kept_until = 0.0
        self._clients: set[LiveClient] = set()
        self.audience: Audience[LiveClient] = Audience()
        self._touched: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._reading = asyncio.Lock()
        """Held while states are read and told, so that no snapshot is older than an update that went before it."""
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

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
        self._publish("alerts", str(alert["alert_id"]), alert, (budget_id,) if budget_id else (), None)

    def join(self) -> "LiveClient":
        """Return a new client, which hears nothing until it subscribes. Raises TooManyClients."""
        if self._closed or len(self._clients) >= self.limits.clients_max:
            raise TooManyClients("Every place at the live feed is taken; try again later.")
        client = LiveClient(self)
        self._clients.add(client)
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush_forever())
        return client

    def leave(self, client: "LiveClient") -> None:
        """Forget a client. Twice is once."""
        if client in self._clients:
            self._clients.remove(client)
            client.close()
            self._kept_until = self._clock.monotonic() + self.limits.replay_s

    async def close(self) -> None:
        """Send everyone away, and take nobody any more. Twice is once."""
        self._closed = True
        for client in list(self._clients):
            self.leave(client)
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.gather(self._flusher, return_exceptions=True)
            self._flusher = None

    async def flush(self) -> None:
        """Tell the present state of every touched budget. The hub does this by itself; tests need not wait for it."""
        async with self._reading:
            touched, self._touched = self._touched, {}
            for state in await self._read_states(touched):
                budget_id = state["budget_id"]
                self._publish("budget_updates", budget_id, state, (budget_id,), None)

    def stamp(self, kind: str, **members: object) -> str:
        """Return a message with the next seq."""
        self._seq += 1
        return self.text(kind, self._seq, members)

    def text(self, kind: str, seq: int, members: Json) -> str:
        """Return a message with this seq."""
        return orjson.dumps({"type": kind, "seq": seq, "epoch": self.epoch, **members}).decode()

    async def welcome(self, client: "LiveClient", asked: Subscribe) -> None:
        """Begin a subscription with what was missed where that is still kept, otherwise with a snapshot."""
        since = asked.since
        if since is not None and since.epoch == self.epoch and self._floor <= since.seq <= self._seq:
            client.listen(asked)
            # The seq of the last message seen: everything after it follows, so that hanging up here loses nothing.
            client.put("subscribed", self.text("subscribed", since.seq, {**client.channels(), "replayed": True}))
            for event in self._ring:
                if event.seq > since.seq:
                    client.offer(event)
            return
        async with self._reading:
            states = await self._read_states(self._budget_ids() if asked.budgets is None else asked.budgets)
            client.listen(asked)
            client.put("subscribed", self.stamp("subscribed", **client.channels(), replayed=False))
            client.put("snapshot", self.stamp("snapshot", data={"budgets": states}))

    def _publish(
        self, channel: Channel, key: str, data: Json, budget_ids: tuple[str, ...], component: str | None
    ) -> None:
        kind = _TYPES[channel]
        self._seq += 1
        event = _Event(self._seq, channel, key, budget_ids, component, self.text(kind, self._seq, {"data": data}))
        if len(self._ring) == self._ring.maxlen:
            self._floor = self._ring[0].seq
        self._ring.append(event)
        for client in self.audience.of(channel, budget_ids, component):
            client.offer(event)

    def _lose(self) -> None:
        """Let an event go by that nobody hears: what is kept has a hole now."""
        self._seq += 1
        self._floor = self._seq
        if self._ring:
            self._ring.clear()

    async def _read_states(self, budget_ids: Iterable[str]) -> list[Json]:
        """Return the states of the budgets that exist. One that cannot be read is told later, as a touched one is."""
        states: list[Json] = []
        for budget_id in budget_ids:
            try:
                state = await self._state(budget_id)
            except Exception:  # noqa: BLE001 - the feed outlives whatever the counters raise
                _log.exception("the state of budget %s could not be read for the live feed", budget_id)
                self.touch([budget_id])
            else:
                if state is not None:
                    states.append(state)
        return states

    async def _flush_forever(self) -> None:
        while True:
            await self._wake.wait()
            await self._sleep(self.limits.coalesce_s)
            self._wake.clear()
            await self.flush()


class LiveClient:
    """One listener: what waits for it, and what it asked for. Made by `LiveHub.join`."""

    def __init__(self, hub: LiveHub) -> None:
        self._hub = hub
        self._filters: dict[Channel, Filter] = {}
        # In the order of seq. A key that comes again goes to the end, so the size is bounded by the budgets, the
        # usage queue, and one of each of our own messages, whatever the client asks and however slowly it reads.
        self._waiting: dict[tuple[str, str | int], str] = {}
        self._usage_waiting = 0
        self._missed = 0
        self._errors = 0
        self._ready = asyncio.Event()
        self._closed = False

    async def next(self) -> str | None:
        """Return the next message as JSON text, or None when the hub has closed."""
        while not self._waiting:
            if self._closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        key = next(iter(self._waiting))
        if key[0] == "usage":
            self._usage_waiting -= 1
        elif key[0] == "gap":
            self._missed = 0
        return self._waiting.pop(key)

    async def hear(self, text: str | bytes) -> bool:
        """Take one message of the client; False when it has sent too much nonsense to be kept."""
        try:
            message = read(text)
        except Malformed as error:
            return self.object_to(str(error))
        match message:
            case Subscribe():
                await self._hub.welcome(self, message)
            case Unsubscribe():
                self._mute(message.channels or list(self._filters))
                self.put("unsubscribed", self._hub.stamp("unsubscribed", **self.channels()))
            case Ping():
                self.put("pong", self._hub.stamp("pong"))
        return True

    def object_to(self, why: str) -> bool:
        """Answer nonsense with an `error`; False when there was too much of it."""
        self._errors += 1
        self.put("error", self._hub.stamp("error", error=why))
        return self._errors <= self._hub.limits.errors_max

    def close(self) -> None:
        """Want nothing more, and wake whoever waits for the next message."""
        self._closed = True
        self._unlisten(self._filters)
        self._ready.set()

    def channels(self) -> Json:
        """Return the channels of the subscription, for an acknowledgement."""
        return {"channels": sorted(self._filters)}

    def listen(self, asked: Subscribe) -> None:
        """Give each channel asked for this filter."""
        wanted = Filter(_names(asked.budgets), _names(asked.components))
        self._unlisten(asked.channels)
        for channel in () if self._closed else asked.channels:
            self._filters[channel] = wanted
            self._hub.audience.add(self, channel, wanted)

    def offer(self, event: _Event) -> None:
        """Let an event wait if it was asked for and there is room."""
        wanted = self._filters.get(event.channel)
        if (
            wanted is None
            or not wanted.passes(event.budget_ids, event.component)
            or (event.channel, event.seq) in self._waiting
        ):
            return
        if event.channel != "usage":
            self.put(event.channel, event.text, event.key)
        elif self._usage_waiting < self._hub.limits.usage_queue_max:
            self._usage_waiting += 1
            self.put("usage", event.text, event.seq)
        else:
            self._missed += 1
            self.put("gap", self._hub.text("gap", event.seq, {"data": {"channel": "usage", "missed": self._missed}}))

    def put(self, kind: str, text: str, key: str | int = "") -> None:
        """Let a message wait, in place of an earlier one of its kind and key."""
        self._waiting.pop((kind, key), None)
        self._waiting[kind, key] = text
        self._ready.set()

    def _mute(self, channels: Iterable[Channel]) -> None:
        muted: set[str] = set(channels)
        self._unlisten(channels)
        self._waiting = {key: text for key, text in self._waiting.items() if key[0] not in muted}
        self._usage_waiting = sum(key[0] == "usage" for key in self._waiting)

    def _unlisten(self, channels: Iterable[Channel]) -> None:
        for channel in list(channels):
            wanted = self._filters.pop(channel, None)
            if wanted is not None:
                self._hub.audience.discard(self, channel, wanted)


def _names(names: Iterable[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
