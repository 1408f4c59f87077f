"""
Meter an answer, whatever its dialect.

Its one job: two shapes of answer, one JSON document and one event stream, read by a dialect's own reader; and a third
that says nothing.
Rules: see `penia_proxy.wire.call.Meter`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from penia_proxy.wire.call import AnswerHead, Call, Growing, Reading
from penia_proxy.wire.reported import json_of
from penia_proxy.wire.sse import SseFramer

JSON_BYTES_MAX = 32 * 1024 * 1024
"""A JSON answer that is read; a longer one passes and is settled at an estimate."""


class Reader(Protocol):
    """A dialect's own understanding of one answer."""

    def document(self, answer: Mapping[str, Any]) -> None:
        """Take the whole answer of a call that does not stream."""
        ...

    def event(self, payload: bytes) -> bool:
        """Take one event's data; return whether the event is to be passed on."""
        ...

    def reading(self) -> Reading:
        """Return what is known so far."""
        ...


def is_event_stream(call: Call, head: AnswerHead) -> bool:
    """
    Whether an answer is server-sent events.

    What was asked for as a stream and is not said to be JSON is read as one: some servers leave the type out.
    """
    return head.content_type == "text/event-stream" or (call.stream and head.content_type != "application/json")


class JsonMeter:
    """Reads an answer that is one JSON document."""

    streams = False
    growing = None

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size <= JSON_BYTES_MAX:
            self._pieces.append(data)
        else:
            self._pieces.clear()
        return data

    def end(self) -> bytes:
        answer = json_of(b"".join(self._pieces))
        self._pieces.clear()
        if isinstance(answer, dict):
            self._reader.document(answer)
        return b""

    def reading(self) -> Reading:
        return self._reader.reading()


class PassingMeter:
    """Passes an answer that nothing can be read of: sound, subtitles. What the request shows is all there is."""

    growing = None

    def __init__(self, *, streams: bool) -> None:
        self.streams = streams
        self._size = 0
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        self._size += len(data)
        return data

    def end(self) -> bytes:
        self._ended = True
        return b""

    def reading(self) -> Reading:
        return Reading(finished=self._ended, passed_bytes=self._size)


class SseMeter:
    """Reads an answer that is an event stream; ``by_events`` holds an incomplete event back until it is known."""

    streams = True

    def __init__(self, reader: Reader, *, by_events: bool = False, growing: Growing | None = None) -> None:
        self._reader = reader
        self._framer = SseFramer()
        self._by_events = by_events
        self.growing = growing

    def feed(self, data: bytes) -> bytes:
        plain = self._framer.plain(data)
        if plain is not None:
            events, payloads = plain
            read = self._reader.event
            dropped = [payload for payload in payloads if payload and not read(payload)]
            if not self._by_events:
                return data
            if dropped:
                return b"".join(b"data: %b\n\n" % payload for payload in payloads if payload not in dropped)
            return events
        if not self._by_events:
            for _, payload in self._framer.feed(data):
                if payload:
                    self._reader.event(payload)
            return data
        passed = []
        for raw, payload in self._framer.feed(data):
            if not payload or self._reader.event(payload):
                passed.append(raw)
        return b"".join(passed)

    def end(self) -> bytes:
        rest = self._framer.rest()
        # An answer of type text/event-stream can be one plain JSON error (wire_formats.md §1.6).
        answer = json_of(rest) if rest.lstrip()[:1] == b"{" else None
        if isinstance(answer, dict):
            self._reader.document(answer)
        elif rest:
            for _, payload in SseFramer().feed(rest + b"\n\n"):
                if payload:
                    self._reader.event(payload)
        return rest if self._by_events else b""

    def reading(self) -> Reading:
        return self._reader.reading()
