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

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return (raw bytes, data payload) of each event that is complete now. The payload is empty for comments."""
        buffer = self._rest + data if self._rest else data
        events = []
        start = 0
        # A terminator may straddle chunks, so look from a little before the new bytes only.
        for end in _ends(buffer, max(0, len(self._rest) - 3)):
            raw = buffer[start:end]
            events.append((raw, b"" if self._oversized else payload_of(raw)))
            self._oversized = False
            start = end
        self._rest = buffer[start:]
        if len(self._rest) > EVENT_BYTES_MAX:
            events.append((self._rest, b""))
            self._rest, self._oversized = b"", True
        return events

    def plain(self, data: bytes) -> tuple[bytes, list[bytes]] | None:
        """
        Return the bytes of all events that are complete now and their data payloads, where each is one line of data.

        None: `feed` is to take the bytes. Nearly every provider's events are so, and cut in a fraction of the time.
        """
        buffer = self._rest + data if self._rest else data
        end = buffer.rfind(b"\n\n") + 2
        if end < 2 or self._oversized or b"\r" in buffer or b"\n\n\n" in buffer:
            return None
        events = buffer if end == len(buffer) else buffer[:end]
        payloads = []
        for event in events[:-2].split(b"\n\n"):
            if event[:6] != b"data: " or b"\n" in event:
                return None
            payloads.append(event[6:])
        self._rest = buffer[end:]
        return events, payloads

    def rest(self) -> bytes:
        """Return the bytes after the last complete event, once."""
        rest, self._rest = self._rest, b""
        return rest


def _ends(buffer: bytes, look: int) -> Iterator[int]:
    """Yield where each blank line ends."""
    if b"\r" in buffer:
        yield from (match.end() for match in _END.finditer(buffer, look))
        return
    # Without a CR, as nearly every provider sends, it is found without the regular expression.
    while (at := buffer.find(b"\n\n", look)) >= 0:
        look = at + 2
        yield look


def payload_of(event: bytes) -> bytes:
    """Return the event's ``data`` lines joined by LF; empty if it has none."""
    if event[:6] == b"data: " and event.find(b"\n") >= len(event) - 2 and b"\r" not in event:
        return event[6:].rstrip(b"\n")
    lines = _LINE.split(event.removeprefix(_BOM))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
