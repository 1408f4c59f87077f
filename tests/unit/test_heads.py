"""A request's head is read in one way or not at all, and once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.config import ServerConfig
from penia_proxy.gateway import heads
from penia_proxy.gateway.heads import Heads, MalformedError

LIMITS = ServerConfig(max_headers=32, max_header_line_kb=1)
POST = b"POST /openai/v1/x?a=1 HTTP/1.1\r\nHost: h\r\n"


def read(raw: bytes) -> tuple[heads.Head, int | None]:
    return Heads().read(raw, LIMITS)


def test_what_a_head_says() -> None:
    """Its target is raw; names are found in any case, and bytes that are no UTF-8 come back as they were."""
    head, length = read(POST + b"content-length: 12\r\nX-Name: \xff\t \r\nConnection: Keep-Alive, CLOSE\r\n\r\n")

    assert (head.method, head.target, head.version, length) == ("POST", "/openai/v1/x?a=1", "1.1", 12)
    assert head.headers["x-name"].encode("utf-8", "surrogateescape") == b"\xff"
    assert not head.keeps


@pytest.mark.parametrize(
    ("lines", "length", "keeps", "upgrades"),
    [
        (b"", 0, True, False),
        (b"Content-Length: 007\r\n", 7, True, False),
        (b"Content-Length:7\r\n", 7, True, False),
        (b"Transfer-Encoding: Chunked\r\n", None, True, False),
        (b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n", 0, True, True),
        (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 3\r\n", 3, True, False),
        (b"Connection: close\r\n", 0, False, False),
    ],
)
def test_how_it_is_framed(lines: bytes, length: int | None, *, keeps: bool, upgrades: bool) -> None:
    """By a length, by chunks, or without a body."""
    head, found = read(POST + lines + b"\r\n")

    assert (found, head.keeps, head.upgrades) == (length, keeps, upgrades)


def test_older_versions_are_read_and_end_their_connection() -> None:
    """Whoever answers refuses them."""
    old, _ = read(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    oldest, _ = read(b"GET /\r\n\r\n")

    assert [(head.version, head.keeps) for head in (old, oldest)] == [("1.0", False), ("0.9", False)]


@pytest.mark.parametrize(
    "raw",
    [
        POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
        POST + b"Content-Length: 3, 3\r\n\r\n",
        POST + b"Content-Length: +3\r\n\r\n",
        POST + b"Content-Length: 0x3\r\n\r\n",
        POST + b"Content-Length: \r\n\r\n",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n",
        POST + b"Transfer-Encoding : chunked\r\n\r\n",
        POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n",
        POST + b"X: a\r\n Content-Length: 3\r\n\r\n",
        POST + b"X: a\nContent-Length: 3\r\n\r\n",
        POST + b"X: a\rContent-Length: 3\r\n\r\n",
        POST + b"X: a\0b\r\n\r\n",
        POST + b"X: a\x7f\r\n\r\n",
        POST + b": a\r\n\r\n",
        POST + b"Host: other\r\n\r\n",
        b"POST /a HTTP/1.1\r\n\r\n",
        b"POST /a HTTP/1.1 \r\nHost: h\r\n\r\n",
        b"POST /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GRAB /a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        POST + b"X: " + b"a" * 1024 + b"\r\n\r\n",
        b"POST /" + b"a" * 1024 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        POST + b"X: a\r\n" * 32 + b"\r\n",
    ],
)
def test_what_could_be_read_two_ways_is_not_read(raw: bytes) -> None:
    """What a server before us may have framed differently must not become another request here."""
    with pytest.raises(MalformedError) as refused:
        read(raw)

    assert not any(word in str(refused.value) for word in ("chunked", "Content", "/a"))


def test_the_same_head_is_read_once() -> None:
    """Whatever the length of its body, which is this request's own."""
    known = Heads()
    first, _ = known.read(POST + b"Content-Length: 3\r\n\r\n", LIMITS)
    second, length = known.read(POST + b"Content-Length: 4711\r\n\r\n", LIMITS)
    other, _ = known.read(POST + b"Content-Length: 3\r\nX: a\r\n\r\n", LIMITS)

    assert second is first
    assert length == 4711
    assert other is not first


def test_what_was_refused_is_refused_again() -> None:
    """A head that is known by other digits does not let a second length in."""
    known = Heads()
    known.read(POST + b"Content-Length: 3\r\n\r\n", LIMITS)
    for _ in range(2):
        with pytest.raises(MalformedError):
            known.read(POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n", LIMITS)
        with pytest.raises(MalformedError):
            known.read(POST + b"Content-Length: 3 3\r\n\r\n", LIMITS)


@given(st.lists(st.tuples(st.sampled_from(["X", "Content-Length", "content-length"]), st.integers(0, 99)), max_size=4))
def test_remembered_or_not_is_the_same(lines: list[tuple[str, int]]) -> None:
    """A head that was read before says what it says when it is read anew."""
    raw = POST + b"".join(f"{name}: {value}\r\n".encode() for name, value in lines) + b"\r\n"
    known = Heads()
    for _ in range(2):
        try:
            head, length = known.read(raw, LIMITS)
        except MalformedError:
            with pytest.raises(MalformedError):
                read(raw)
        else:
            fresh, its = read(raw)
            assert (head.method, head.target, length) == (fresh.method, fresh.target, its)


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes; one that is long is not kept at all."""
    monkeypatch.setattr(heads, "REMEMBERED_MAX", 3)
    monkeypatch.setattr(heads, "REMEMBERED_BYTES_MAX", 100)
    known = Heads()
    for number in range(5):
        known.read(POST + b"X: %d\r\n\r\n" % number, LIMITS)
    known.read(POST + b"X: " + b"a" * 100 + b"\r\n\r\n", LIMITS)

    assert len(known._known) == 3
    assert not any(b"X: 0" in raw or b"aaa" in raw for raw in known._known)


def test_a_length_that_is_none_is_not_remembered_as_one() -> None:
    """Whatever came before: how a request is framed depends on its own bytes alone."""
    known = Heads()
    known.read(POST + b"Content-Length: 5\r\n\r\n", LIMITS)
    for said in (b"", b" ", b"0x0", b"+0", b"1234567890123456789012"):
        with pytest.raises(MalformedError):
            known.read(POST + b"Content-Length: " + said + b"\r\n\r\n", LIMITS)


def test_a_length_is_no_header_of_the_next_request() -> None:
    """What is remembered says nothing of one request's body."""
    known = Heads()
    for size in (5, 7):
        head, length = known.read(POST + b"Content-Length: %d\r\n\r\n" % size, LIMITS)
        assert length == size
        assert "Content-Length" not in head.headers
