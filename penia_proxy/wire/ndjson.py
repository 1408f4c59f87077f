"""
Meter an answer that is one JSON value a line.

Its one job: newline-delimited JSON (``application/x-ndjson``, Cohere's ``application/stream+json``), for any chunking.
Rules: see `penia_proxy.wire.call.Meter`. Memory is bounded by LINE_BYTES_MAX; a longer line passes and is read as
nothing.
"""

from penia_proxy.wire.call import Growing, Reading
from penia_proxy.wire.meters import Reader

LINE_BYTES_MAX = 8 * 1024 * 1024
"""Ollama's last line repeats the whole context as token ids; far below this at any context length."""


class NdjsonMeter:
    """Gives a reader each line as an event; ``by_events`` holds an incomplete line back."""

    streams = True

    def __init__(self, reader: Reader, *, by_events: bool = False, growing: Growing | None = None) -> None:
        self._reader = reader
        self._by_events = by_events
        self.growing = growing
        self._line = bytearray()
        self._oversized = False

    def feed(self, data: bytes) -> bytes:
        *complete, rest = data.split(b"\n")
        passed = bytes(self._line) + data[: len(data) - len(rest)] if self._by_events and complete else b""
        for piece in complete:
            self._add(piece)
            self._flush()
        self._add(rest)
        return passed if self._by_events else data

    def end(self) -> bytes:
        rest = bytes(self._line) if self._by_events else b""
        self._flush()
        return rest

    def reading(self) -> Reading:
        return self._reader.reading()

    def _add(self, piece: bytes) -> None:
        if len(self._line) + len(piece) > LINE_BYTES_MAX:
            self._oversized = True
            self._line.clear()
        elif not self._oversized:
            self._line += piece

    def _flush(self) -> None:
        line, self._line = bytes(self._line), bytearray()
        if line.strip() and not self._oversized:
            self._reader.event(line)
        self._oversized = False
