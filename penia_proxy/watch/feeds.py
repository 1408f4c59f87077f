"""
Keep what has happened for as long as somebody may still have to be told.

Its one job: events in the order of their seq: the newest of a channel (`Ring`), and what those hear who have asked for
the same (`Log`, `States`), each of whom has a position of its own in it.
Rules: an event is JSON once and a frame once, and is shared by everybody who is told of it. A log holds nothing that
the ring does not hold, so that all of it is bounded by the rings; what a position has fallen behind of is counted.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

from penia_proxy.watch.audience import Filter
from penia_proxy.watch.messages import Channel

TAKEN_MAX = 512
"""Events that are looked at for one client at a time."""

Client = TypeVar("Client")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as it is told."""

    seq: int
    channel: Channel
    key: str
    """The budget's id, whose later events replace it; nothing else is replaced."""
    budget_ids: tuple[str, ...]
    component: str | None
    frame: bytes


_seq = attrgetter("seq")

_GONE = Event(0, "usage", "", (), None, b"")
"""Stands where an event was until its list moves."""


class Ring:
    """The newest events of a channel, within bounds of number and size."""

    def __init__(self, events_max: int, bytes_max: int) -> None:
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._events: deque[Event] = deque()
        self._bytes = 0
        self.floor = 0
        """Every event of the channel after this seq is here."""

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def add(self, event: Event) -> list[Event]:
        """Take an event, and return those that had to go for it."""
        self._events.append(event)
        self._bytes += len(event.frame)
        gone = []
        while len(self._events) > self._events_max or self._bytes > self._bytes_max:
            oldest = self._events.popleft()
            self._bytes -= len(oldest.frame)
            self.floor = oldest.seq
            gone.append(oldest)
        return gone

    def lose(self, seq: int) -> None:
        """Forget everything: an event of this seq has gone by."""
        self._events.clear()
        self._bytes = 0
        self.floor = seq


class Feed(Protocol[Client]):
    """What those hear who have asked for the same. A position is where one of them is in it."""

    wanted: Filter
    readers: int
    resting: set[Client]
    """Those of them who have heard everything."""

    def add(self, event: Event) -> None: ...

    def evict(self, event: Event) -> None:
        """Hold an event no more that the ring does not hold."""
        ...

    def begin(self, seq: int) -> int:
        """Return the position of who has heard everything until this seq."""
        ...

    def after(self, position: int) -> list[Event]:
        """Return what comes next, `TAKEN_MAX` events at most."""
        ...

    def moved(self, position: int, seq: int) -> int:
        """Return the position of who was there and has now heard everything until this seq."""
        ...

    def missed(self, position: int) -> tuple[int, int]:
        """Return how many events were evicted that somebody here had not heard, and the seq of the last of them."""
        ...


class Log(Generic[Client]):
    """Events that are each told: usage and alerts. A position is the number of the next one."""

    def __init__(self, wanted: Filter, events: Iterable[Event] = ()) -> None:
        self.wanted = wanted
        self.readers = 0
        self.resting: set[Client] = set()
        self._events = list(events)
        self._base = 0
        """The number of the first in the list,"""
        self._first = 0
        """and of the first that still counts."""
        self._evicted_seq = 0

    def add(self, event: Event) -> None:
        """Take the next event."""
        self._events.append(event)

    def evict(self, event: Event) -> None:
        """Hold an event no more; those before it are gone already."""
        at = self._first - self._base
        if at < len(self._events) and self._events[at] is event:
            self._first += 1
            self._evicted_seq = event.seq
            self._events[at] = _GONE  # freed now, as nobody looks before the first; the list is moved rarely
            if 2 * (at + 1) > len(self._events):
                del self._events[: at + 1]
                self._base = self._first

    def begin(self, seq: int) -> int:
        """Return the position after this seq."""
        return self._base + bisect_right(self._events, seq, lo=self._first - self._base, key=_seq)

    def after(self, position: int) -> list[Event]:
        """Return the next events."""
        start = max(position, self._first) - self._base
        return self._events[start : start + TAKEN_MAX]

    def moved(self, position: int, seq: int) -> int:
        """Return the position after this seq; before what was evicted until that is told, too."""
        if position < self._first and seq < self._evicted_seq:
            return position
        start = max(position, self._first) - self._base
        return self._base + bisect_right(self._events, seq, lo=start, key=_seq)

    def missed(self, position: int) -> tuple[int, int]:
        """Return how many were evicted from a position on, and the last one's seq."""
        return max(0, self._first - position), self._evicted_seq


class States(Generic[Client]):
    """Events of which the latest of each key is told: budget updates. A position is the seq heard last."""

    def __init__(self, wanted: Filter, events: Iterable[Event] = ()) -> None:
        self.wanted = wanted
        self.readers = 0
        self.resting: set[Client] = set()
        self._latest = {event.key: event for event in events}

    def __iter__(self) -> Iterator[Event]:
        return iter(self._latest.values())

    def add(self, event: Event) -> None:
        """Take an event in place of its key's last one."""
        self._latest.pop(event.key, None)
        self._latest[event.key] = event

    def evict(self, event: Event) -> None:
        """Nothing is evicted: there are as many keys as budgets."""

    def begin(self, seq: int) -> int:
        """Return the seq."""
        return seq

    def after(self, position: int) -> list[Event]:
        """Return the latest events of the keys that have one after the position, the oldest first."""
        newer = []
        for event in reversed(self._latest.values()):
            if event.seq <= position:
                break
            newer.append(event)
        newer.reverse()
        return newer[:TAKEN_MAX]

    def moved(self, position: int, seq: int) -> int:
        """Return the later of both."""
        return max(position, seq)

    def missed(self, position: int) -> tuple[int, int]:  # noqa: ARG002 - the interface's
        """Return 0: of what was replaced nobody has to hear."""
        return 0, 0
