"""
Read a JSON array as it arrives.

Its one job: the elements of a streamed array, one by one, for any chunking; a lone object is an array of one.
Rules: only structure is looked at, so what an element says is its reader's business; memory is bounded by
EVENT_BYTES_MAX, and a longer element is read as nothing. Google streams so without ``alt=sse`` (wire_formats.md §1.3).
"""

import re
from collections.abc import Iterator
from functools import partial

from penia_proxy.wire.call import Growing, Reading
from penia_proxy.wire.meters import Reader, SseMeter
from penia_proxy.wire.sse import EVENT_BYTES_MAX

_STRUCTURE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')


class ArrayFramer:
    """Cuts one array into its objects and inner arrays; bare numbers and strings in it are passed over."""

    def __init__(self) -> None:
        self._depth = 0
        self._element_depth = 0
        """The depth at which an element opens; 0 until the first bracket says what the document is."""
        self._in_string = False
        self._escaped = False
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each element that is complete now."""
        start = 0
        for at, mark in self._brackets(data):
            if mark in b"{[":
                self._depth += 1
                if not self._element_depth:
                    self._element_depth = 2 if mark == b"[" else 1
                if self._depth == self._element_depth:
                    start = at
                continue
            self._depth -= 1
            if self._element_depth and self._depth == self._element_depth - 1:
                self._keep(data[start : at + 1])
                element = b"".join(self._pieces)
                self._pieces, self._size = [], 0
                if element:
                    yield element
                start = at + 1
        if self._element_depth and self._depth >= self._element_depth:
            self._keep(data[start:])

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= EVENT_BYTES_MAX:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    def _brackets(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the brackets that are not inside strings, with their places."""
        at = 0
        while at < len(data):
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            found = (_IN_STRING if self._in_string else _STRUCTURE).search(data, at)
            if found is None:
                return
            at = found.end()
            mark = found[0]
            if mark == b'"':
                self._in_string = not self._in_string
            elif self._in_string:
                self._escaped = True
            else:
                yield found.start(), mark


class ArrayMeter:
    """Reads an answer that is a streamed JSON array."""

    streams = True
    growing = None

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._framer = ArrayFramer()

    def feed(self, data: bytes) -> bytes:
        for element in self._framer.feed(data):
            self._reader.event(element)
        return data

    def end(self) -> bytes:
        return b""

    def reading(self) -> Reading:
        return self._reader.reading()


class StreamMeter:
    """Reads a streamed answer that is events or an array: its first byte that is no white space says which."""

    streams = True

    def __init__(self, reader: Reader, *, by_events: bool = False, growing: Growing | None = None) -> None:
        self._reader = reader
        self._events = partial(SseMeter, reader, by_events=by_events, growing=growing)
        self._meter: ArrayMeter | SseMeter | None = None

    @property
    def growing(self) -> Growing | None:
        """The answer, where it is events."""
        return self._meter.growing if self._meter is not None else None

    def feed(self, data: bytes) -> bytes:
        if self._meter is None:
            first = data.lstrip()[:1]
            if not first:
                return data
            self._meter = ArrayMeter(self._reader) if first in b"[{" else self._events()
        return self._meter.feed(data)

    def end(self) -> bytes:
        return b"" if self._meter is None else self._meter.end()

    def reading(self) -> Reading:
        return self._reader.reading()
