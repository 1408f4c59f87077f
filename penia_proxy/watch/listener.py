"""
Tell one client what it has asked for.

Its one job: where one client is in its feeds, what else waits for it, and when it is to be sent away.
Rules: it is told everything in the order of seq. Nothing is written while what was written before still waits for the
client, and never more than `batch_bytes` (or one message): so a client that does not read takes no more memory than
that. Of what it falls behind of, states are merged, and of other events it gets a `gap` with their number.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Protocol

from penia_proxy.clock import Clock
from penia_proxy.watch.feeds import TAKEN_MAX, Feed
from penia_proxy.watch.messages import Channel
from penia_proxy.watch.rounds import Rounds

GOING_AWAY, TRY_AGAIN_LATER = 1001, 1013
"""RFC 6455 §7.4.1, and IANA's registry of close codes."""

_seq = itemgetter(0)


class Line(Protocol):
    """The way to a client."""

    def write(self, frames: bytes) -> None:
        """Send; never waits."""
        ...

    def waiting(self) -> int:
        """Return how many bytes have been written and not yet been taken."""
        ...

    def end(self, code: int) -> None:
        """Close, for this reason."""
        ...


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """How much the live feed may take."""

    coalesce_s: float = 0.1
    """api.md §3: updates to one budget are merged within 100 ms."""
    clients_max: int = 1_000
    """At 21 kB each (measured: `make crowd`), 21 MB."""
    batch_bytes: int = 65_536
    """Written for one client at a time."""
    send_s: float = 10.0
    """How long that may wait for a client, before it is sent away."""
    replay_max: int = 4_096
    """Events of a channel that are kept: eight seconds at 500 a second."""
    replay_bytes_max: int = 8_388_608
    """And their size: 2 kB for each of them, which a record with tags and metadata has."""
    replay_s: float = 60
    """How long events are still kept after the last client has left, so that a reload of a page loses nothing."""
    alerts_max: int = 500
    """Open alerts in a snapshot, the newest."""
    errors_max: int = 20
    """Malformed messages before a client is sent away."""


@dataclass(slots=True)
class Reading:
    """One channel of a client's subscription."""

    feed: Feed["LiveClient"]
    position: int


class LiveClient:
    """One listener. Made by `LiveHub.join`."""

    def __init__(
        self,
        line: Line,
        rounds: Rounds,
        clock: Clock,
        limits: LiveLimits,
        gap: Callable[[int, Channel, int], bytes],
    ) -> None:
        """``gap`` makes a message of a seq, a channel, and how many of its events were missed."""
        self.readings: dict[Channel, Reading] = {}
        self.errors = 0
        self.held_back = False
        """Whether it is told nothing: while a snapshot is made, which goes before what happens meanwhile."""
        self._line = line
        self._rounds = rounds
        self._clock = clock
        self._limits = limits
        self._gap = gap
        self._own: dict[str, tuple[int, bytes]] = {}
        """Answers to what it says, one of each kind."""
        self._blocked_since: float | None = None
        self._ended = False

    def listen(self, channel: Channel, feed: Feed["LiveClient"], seq: int) -> None:
        """Hear a channel from the event after this seq on; what follows must be a `put`."""
        self.readings[channel] = Reading(feed, feed.begin(seq))

    def put(self, kind: str, seq: int, frame: bytes) -> None:
        """Answer, in place of an earlier answer of this kind that still waits."""
        self._own[kind] = (seq, frame)
        self._rounds.urge(self)

    def end(self, code: int) -> None:
        """Send it away. Twice is once."""
        if not self._ended:
            self._ended = True
            self._line.end(code)

    def serve(self) -> bool:
        """Write what there is, if what was written before is gone; return whether there is more."""
        if self._ended or self.held_back:
            return False
        if self._line.waiting():
            now = self._clock.monotonic()
            if self._blocked_since is None:
                self._blocked_since = now
            if now - self._blocked_since >= self._limits.send_s:
                self.end(TRY_AGAIN_LATER)
            else:
                self._rounds.later(self)
            return False
        self._blocked_since = None
        frames, more = self.take()
        if frames:
            self._line.write(frames)
        if not more:
            for reading in self.readings.values():
                reading.feed.resting.add(self)
        return more

    def take(self) -> tuple[bytes, bool]:
        """Return what comes next, and whether there is more after it."""
        pieces = list(self._own.values())
        until: int | None = None
        for channel, reading in self.readings.items():
            missed, last = reading.feed.missed(reading.position)
            if missed:
                pieces.append((last, self._gap(last, channel, missed)))
            events = reading.feed.after(reading.position)
            pieces += [(event.seq, event.frame) for event in events]
            if len(events) == TAKEN_MAX:
                until = events[-1].seq if until is None else min(until, events[-1].seq)
        if not pieces:
            return b"", False
        pieces.sort(key=_seq)
        count = self._fitting(pieces, len(pieces) if until is None else bisect_right(pieces, until, key=_seq))
        self._heard(pieces[count - 1][0])
        return b"".join([frame for _, frame in pieces[:count]]), until is not None or count < len(pieces)

    def _fitting(self, pieces: list[tuple[int, bytes]], count: int) -> int:
        """Return how many of the first pieces fit into a batch: one at least."""
        size = 0
        for number in range(count):
            size += len(pieces[number][1])
            if size > self._limits.batch_bytes and number:
                return number
        return count

    def _heard(self, seq: int) -> None:
        """Note that everything until this seq is told."""
        for reading in self.readings.values():
            reading.position = reading.feed.moved(reading.position, seq)
        if self._own:
            self._own = {kind: own for kind, own in self._own.items() if own[0] > seq}
