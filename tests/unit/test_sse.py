"""Event streams are framed the same however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.wire import sse
from penia_proxy.wire.sse import SseFramer

STREAM = (
    b'data: {"a":"\xc3\xa4"}\n\n'
    b": a comment\n\n"
    b"event: x\r\ndata: one\r\ndata: two\r\nid: 7\r\n\r\n"
    b"data:tight\r\r"
    b"data\n\n"
    b"\n\n"
    b"data: [DONE]\n\n"
)
PAYLOADS = [b'{"a":"\xc3\xa4"}', b"one\ntwo", b"tight", b"[DONE]"]


def frames(pieces: list[bytes]) -> tuple[bytes, list[bytes]]:
    framer = SseFramer()
    raw, payloads = b"", []
    for piece in pieces:
        for event, payload in framer.feed(piece):
            raw += event
            if payload:
                payloads.append(payload)
    return raw + framer.rest(), payloads


@pytest.mark.fault("U9")
@pytest.mark.parametrize("step", range(1, len(STREAM) + 1))
def test_every_chunk_size_gives_the_same_events(step: int) -> None:
    """Chunk boundaries fall anywhere, also inside UTF-8 and inside a CRLF."""
    raw, payloads = frames([STREAM[at : at + step] for at in range(0, len(STREAM), step)])

    assert payloads == PAYLOADS
    assert raw == STREAM


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\n", b"\r", b"\r\n", b"data: ", b"\n\n"]), max_size=30))
def test_no_byte_is_lost_or_made(pieces: list[bytes]) -> None:
    """Whatever comes, the frames put together are what came."""
    raw, _ = frames(pieces)

    assert raw == b"".join(pieces)


PLAIN = st.sampled_from([b"data: a\n\n", b"data: ", b"b", b"\n", b"\n\n", b"\r\n", b": c\n\n", b"data: x\ndata: y\n\n"])


@given(st.lists(PLAIN, max_size=12))
def test_plain_events_are_cut_as_all_are(pieces: list[bytes]) -> None:
    """The quick way finds what the other would have found, or leaves the bytes to it."""
    quick, slow = SseFramer(), SseFramer()
    for piece in pieces:
        expected = slow.feed(piece)
        plain = quick.plain(piece)
        if plain is None:
            assert quick.feed(piece) == expected
            continue
        events, payloads = plain
        assert events == b"".join(raw for raw, _ in expected)
        assert payloads == [payload for _, payload in expected]
    assert quick.rest() == slow.rest()


def test_a_bom_before_the_first_event_is_no_data() -> None:
    """The standard lets a stream begin with a byte order mark."""
    _, payloads = frames([b"\xef\xbb\xbfdata: x\n\n"])

    assert payloads == [b"x"]


@pytest.mark.fault("U9")
def test_an_endless_event_does_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound an event passes in pieces, is read as nothing, and the next one is read again."""
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 100)
    framer = SseFramer()
    raw, payloads, kept_max = b"", [], 0
    pieces = [b"data: " + b"x" * 60, *[b"y" * 60] * 20, b"\n\n", b"data: ok\n\n"]
    for piece in pieces:
        for event, payload in framer.feed(piece):
            raw += event
            payloads.append(payload)
        kept_max = max(kept_max, len(framer._rest))

    assert raw == b"".join(pieces)
    assert payloads[-1] == b"ok"
    assert not any(payloads[:-1])
    assert kept_max <= 100
