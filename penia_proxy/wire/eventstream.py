"""
Meter an answer in Amazon's event stream.

Its one job: cut ``application/vnd.amazon.eventstream`` into messages, for any chunking, and give them to a reader; and
frame a message, so that the framing is written down once.
Rules: never raises on a provider's bytes. A message whose checksum or length is wrong ends the reading, because
nothing after it can be framed; the answer then counts as cut. Memory is bounded by MESSAGE_BYTES_MAX.
Source: https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream (prelude of
total length, header length and CRC-32; headers; payload; CRC-32 of all before it); botocore 1.44.5, eventstream.py.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from penia_proxy.wire.call import Reading

MESSAGE_BYTES_MAX = 24 * 1024 * 1024
"""botocore's own bound on a payload (eventstream.py, _MAX_PAYLOAD_LENGTH)."""

HEADERS_BYTES_MAX = 128 * 1024
"""The same on headers (_MAX_HEADERS_LENGTH)."""

_PRELUDE = struct.Struct("!III")
_STRING_HEAD = struct.Struct("!BH")
_CRC_BYTES = 4
_STRING = 7
_FIXED_BYTES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; types 6 (bytes) and 7 (string) begin with their length."""


class Message(NamedTuple):
    """One message; of its headers those that are strings."""

    headers: dict[str, str]
    payload: bytes


class MessageReader(Protocol):
    """A dialect's understanding of one stream."""

    def message(self, message: Message) -> None:
        """Take one message."""
        ...

    def reading(self) -> Reading:
        """Return what is known so far."""
        ...


class Framer:
    """Frames one stream."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._need = _PRELUDE.size
        self.broken = False

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete now."""
        if self.broken:
            return
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= self._need:
            total, headers, crc = _PRELUDE.unpack_from(self._buffer, at)
            if self._need == _PRELUDE.size:
                prelude = self._buffer[at : at + _PRELUDE.size - _CRC_BYTES]
                if zlib.crc32(prelude) != crc or not _is_possible(total, headers):
                    break
                self._need = total
                continue
            message = _message(bytes(self._buffer[at : at + total]), headers)
            if message is None:
                break
            at += total
            self._need = _PRELUDE.size
            yield message
        else:
            del self._buffer[:at]
            return
        self.broken = True
        self._buffer.clear()


class EventStreamMeter:
    """Gives a reader each message of an answer."""

    streams = True
    growing = None

    def __init__(self, reader: MessageReader) -> None:
        self._reader = reader
        self._framer = Framer()

    def feed(self, data: bytes) -> bytes:
        for message in self._framer.feed(data):
            self._reader.message(message)
        return data

    def end(self) -> bytes:
        return b""

    def reading(self) -> Reading:
        return self._reader.reading()


def framed(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message; all its headers are strings."""
    head = b"".join(
        bytes([len(name.encode())]) + name.encode() + _STRING_HEAD.pack(_STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack("!II", _PRELUDE.size + len(head) + len(payload) + _CRC_BYTES, len(head))
    body = lengths + zlib.crc32(lengths).to_bytes(_CRC_BYTES) + head + payload
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES)


def _is_possible(total: int, headers: int) -> bool:
    payload = total - headers - _PRELUDE.size - _CRC_BYTES
    return headers <= HEADERS_BYTES_MAX and 0 <= payload <= MESSAGE_BYTES_MAX


def _message(raw: bytes, headers_bytes: int) -> Message | None:
    """Return a whole message, None where its checksum or its headers are wrong."""
    if zlib.crc32(raw[:-_CRC_BYTES]) != int.from_bytes(raw[-_CRC_BYTES:]):
        return None
    end = _PRELUDE.size + headers_bytes
    try:
        headers = _headers(raw[_PRELUDE.size : end])
    except (IndexError, KeyError, UnicodeDecodeError):
        return None
    return Message(headers, raw[end:-_CRC_BYTES])


def _headers(data: bytes) -> dict[str, str]:
    """Return the string headers. Raises IndexError, KeyError or UnicodeDecodeError where they are not well formed."""
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        length = data[at]
        name = data[at + 1 : at + 1 + length].decode()
        kind = data[at + 1 + length]
        at += 2 + length
        if kind in (6, _STRING):
            size = int.from_bytes((data[at], data[at + 1]))
            at += 2
        else:
            size = _FIXED_BYTES[kind]
        if at + size > len(data):
            raise IndexError
        if kind == _STRING:
            found[name] = data[at : at + size].decode()
        at += size
    return found
