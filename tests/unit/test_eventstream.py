"""Amazon's event stream is cut the same way however it arrives, and what is broken ends the reading."""

import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.wire.eventstream import MESSAGE_BYTES_MAX, Framer, Message
from tests.eventstreams import event, message

STREAM = event("a", {"x": 1}) + message(b"", __event_type="b") + message(b"caf\xc3\xa9")


def cut(*pieces: bytes) -> tuple[list[Message], bool]:
    framer = Framer()
    found = [one for piece in pieces for one in framer.feed(piece)]
    return found, framer.broken


def test_messages_have_their_headers_and_payloads() -> None:
    """A message may have any of both."""
    (first, second, third), broken = cut(STREAM)

    assert first.headers[":event-type"] == "a"
    assert first.payload == b'{"x": 1}'
    assert second == Message({":event-type": "b"}, b"")
    assert third == Message({}, b"caf\xc3\xa9")
    assert not broken


def test_amazons_own_reader_reads_what_is_framed() -> None:
    """Botocore's parser agrees about every message, checksums included."""
    buffer = EventStreamBuffer()
    buffer.add_data(STREAM)
    ours, _ = cut(STREAM)

    assert [(dict(each.headers), each.payload) for each in buffer] == [(one.headers, one.payload) for one in ours]


def test_every_split_gives_the_same_messages() -> None:
    """A cut at any one byte changes nothing, nor do single bytes."""
    whole = cut(STREAM)
    for at in range(len(STREAM)):
        assert cut(STREAM[:at], STREAM[at:]) == whole
    assert cut(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == whole


def test_headers_of_every_type_are_stepped_over() -> None:
    """Only strings are kept; the others have lengths of their own."""
    values = [(0, b""), (1, b""), (2, b"1"), (3, b"12"), (4, b"1234"), (5, b"12345678"), (6, b"\0\x02ab")]
    values += [(8, b"12345678"), (9, b"1" * 16), (7, b"\0\x03yes")]
    head = b"".join(b"\x01" + bytes([97 + kind, kind]) + value for kind, value in values)
    prelude = struct.pack("!II", len(head) + 16, len(head))
    body = prelude + struct.pack("!I", zlib.crc32(prelude)) + head

    (found,), broken = cut(body + struct.pack("!I", zlib.crc32(body)))

    assert found.headers == {"h": "yes"}
    assert not broken


@pytest.mark.parametrize("at", [0, 5, 9, 14, 40, -1])
def test_a_wrong_byte_ends_the_reading(at: int) -> None:
    """What was framed before it counts, and nothing after it is guessed at."""
    good = event("a", {"x": 1})
    bad = bytearray(good)
    bad[at] ^= 1

    found, broken = cut(good + bytes(bad), good)

    assert [one.headers[":event-type"] for one in found] == ["a"]
    assert broken


@pytest.mark.parametrize(("total", "headers"), [(MESSAGE_BYTES_MAX + 17, 0), (15, 0), (20, 40), (2**31, 2**20)])
def test_an_impossible_length_ends_the_reading(total: int, headers: int) -> None:
    """Nobody can make us keep gigabytes with twelve bytes."""
    prelude = struct.pack("!II", total, headers)

    assert cut(prelude + struct.pack("!I", zlib.crc32(prelude))) == ([], True)


@given(st.lists(st.binary(max_size=64), max_size=8))
def test_no_bytes_raise(pieces: list[bytes]) -> None:
    """A provider may send anything."""
    cut(*pieces)


@given(st.binary(max_size=80))
def test_no_headers_raise(head: bytes) -> None:
    """Checksums that are right do not make headers well formed."""
    prelude = struct.pack("!II", len(head) + 16, len(head))
    body = prelude + struct.pack("!I", zlib.crc32(prelude)) + head

    cut(body + struct.pack("!I", zlib.crc32(body)))
