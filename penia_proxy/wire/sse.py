"""
Cut a byte stream into server-sent events.

Its one job: framing by the WHATWG rule (a blank line ends an event; lines end with LF, CRLF or CR), for any chunking.
Rules: the bytes of the events, put together, are the bytes received. Memory is bounded by EVENT_BYTES_MAX.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from collections.abc import Iterator

EVENT_BYTES_MAX = 8 * 1024 * 1024
"""Larger than any event seen in recordings (image results of 4 MB, wire_formats.md §1.6)."""

_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LINE = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class SseFramer:
    """Frames one stream. An event that grows beyond EVENT_BYTES_MAX is passed on in pieces that are read as nothing."""

    def __init__(self) -> None:
        self._rest = b""
        self._oversized = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (raw bytes, data payload) of each event that is complete now. The payload is empty for comments."""
        buffer = self._rest + data if self._rest else data
        # A terminator may straddle chunks, so look from a little before the new bytes only.
        start, look = 0, max(0, len(self._rest) - 3)
        while (match := _END.search(buffer, look)) is not None:
            raw = buffer[start : match.end()]
            payload = b"" if self._oversized else payload_of(raw)
            self._oversized = False
            start = look = match.end()
            yield raw, payload
        self._rest = buffer[start:]
        if len(self._rest) > EVENT_BYTES_MAX:
            raw, self._rest, self._oversized = self._rest, b"", True
            yield raw, b""

    def rest(self) -> bytes:
        """Return the bytes after the last complete event, once."""
        rest, self._rest = self._rest, b""
        return rest


def payload_of(event: bytes) -> bytes:
    """Return the event's ``data`` lines joined by LF; empty if it has none."""
    if event.startswith(b"data: ") and event.find(b"\n", 0, len(event) - 2) < 0 and b"\r" not in event:
        return event[6:].rstrip(b"\n")
    lines = _LINE.split(event.removeprefix(_BOM))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
