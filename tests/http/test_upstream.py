"""
What the clients of providers make of anything that a provider may say, and of connections that end.

Rule: a real socket plays the provider, byte for byte. Both clients run what applies to both.
"""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

from penia_proxy.config import TimeoutsConfig
from penia_proxy.errors import InvalidRequest
from penia_proxy.gateway import connection, lean
from penia_proxy.gateway.lean import LeanClient
from penia_proxy.gateway.session import SessionClient
from penia_proxy.gateway.upstream import Answer, Client, Outgoing, ReachedError

LIMITS = TimeoutsConfig(connect=5, first_byte=5, idle=5)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Provider:
    """A raw server: each connection is played, each request head and body kept."""

    def __init__(self) -> None:
        self.url = URL()
        self.requests: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self.closed = 0

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request; return its head."""
        head = await reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in lower else 0
        self.requests.append((head, await reader.readexactly(length)))
        return head


@asynccontextmanager
async def provider(
    play: Callable[[Provider, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Provider]:
    played = Provider()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        played.connections += 1
        try:
            await play(played, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            played.closed += 1
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    played.url = URL(f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        yield played


def answering(*answers: bytes, hang_up: bool = False) -> Any:
    """Play: answer each request of a connection in turn, then wait for the other side, or hang up."""

    async def play(played: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await played.request(reader)
            writer.write(answer)
        await writer.drain()
        if not hang_up:
            await reader.read()

    return play


@pytest.fixture(params=[LeanClient, SessionClient])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    made = request.param()
    yield made
    await made.close()


@pytest.fixture
async def ours() -> AsyncIterator[LeanClient]:
    made = LeanClient()
    yield made
    await made.close()


def outgoing(url: URL, body: bytes = b"", method: str = "POST", **headers: str) -> Outgoing:
    return Outgoing(method, url.origin(), "/v1/x?a=1", CIMultiDict(headers), body)


async def sent(client: Client, url: URL, *, limits: TimeoutsConfig = LIMITS, **how: Any) -> Answer:
    return await client.send(outgoing(url, **how), limits, lambda: None)


async def whole(answer: Answer) -> bytes:
    """Read an answer to its end."""
    pieces = []
    try:
        while chunk := await answer.chunk():
            pieces.append(chunk)
    finally:
        answer.close()
    return b"".join(pieces)


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


@pytest.mark.fault("U11")
@pytest.mark.parametrize(
    ("said", "body"),
    [
        (OK, b"ok"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (CHUNKED + b"2\r\nok\r\n3;ext=1\r\nay!\r\n0\r\n\r\n", b"okay!"),
        (CHUNKED + b"2\r\nok\r\n0\r\nX-Trailer: read and dropped\r\n\r\n", b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ],
)
async def test_what_http_allows_is_read(client: Client, said: bytes, body: bytes) -> None:
    """Lengths, chunks, extensions, trailers, interim answers and old versions end where they say they do."""
    async with provider(answering(said)) as played:
        answer = await sent(client, played.url, body=b"{}")

        assert (answer.status, await whole(answer)) == (200, body)


async def test_an_answer_without_a_length_ends_with_its_connection(client: Client) -> None:
    """It is whole when the provider closes, and never used again."""
    async with provider(answering(b"HTTP/1.1 200 OK\r\n\r\nall of it", hang_up=True)) as played:
        first, second = [await whole(await sent(client, played.url)) for _ in range(2)]

        assert (first, second, played.connections) == (b"all of it", b"all of it", 2)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_some_answers_have_no_body(client: Client, status: bytes) -> None:
    """204 and 304 end with their head, whatever it says of a length."""
    async with provider(answering(b"HTTP/1.1 %s\r\n\r\n" % status, OK)) as played:
        answer = await sent(client, played.url, method="GET")

        assert (answer.status, await whole(answer)) == (int(status[:3]), b"")


async def test_the_answer_to_head_has_no_body(client: Client) -> None:
    """Its length is that of the answer to a GET."""
    async with provider(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")) as played:
        answer = await sent(client, played.url, method="HEAD")

        assert (answer.headers["Content-Length"], await whole(answer)) == ("500", b"")


async def test_a_connection_is_used_again(client: Client) -> None:
    """One request after another goes over the connection of the first."""
    async with provider(answering(*[OK] * 3)) as played:
        bodies = [await whole(await sent(client, played.url, body=b"{}")) for _ in range(3)]

        assert (bodies, played.connections, len(played.requests)) == ([b"ok"] * 3, 1, 3)


@pytest.mark.fault("U11")
@pytest.mark.parametrize(
    "said",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01 this is no HTTP",
        b"HTTP/1.1 99 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: " + b"a" * 100_000 + b"\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nx",
    ],
)
async def test_what_is_no_http_is_refused(client: Client, said: bytes) -> None:
    """No head comes of it, and the connection is closed."""
    async with provider(answering(said)) as played:
        with pytest.raises((OSError, ValueError)):
            await sent(client, played.url, body=b"{}")
        await until(lambda: played.closed == 1)


@pytest.mark.fault("U11")
@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nX: folded\r\n over lines\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 300 + b"Content-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"a" * 1000 + b"\r\n") * 70 + b"Content-Length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\nX: a\r\n\r\n" * 4000,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2_000_000,
    ],
)
async def test_what_can_be_read_two_ways_is_refused(ours: LeanClient, said: bytes) -> None:
    """Where parsers differ about an answer, it is nobody's (RFC 9112 §6.3, §11.1); nor is a head without end."""
    async with provider(answering(said)) as played:
        with pytest.raises(ConnectionError):
            await sent(ours, played.url, body=b"{}")
        await until(lambda: played.closed == 1)


@pytest.mark.fault("U11")
@pytest.mark.parametrize(
    "said",
    [
        CHUNKED + b"2\r\nok\r\nzz\r\n",
        CHUNKED + b"2\r\nok\r\n-1\r\n",
        CHUNKED + b"2\r\nok\r\nffffffffffffffffff\r\n",
        CHUNKED + b"2\r\nokXX0\r\n\r\n",
    ],
)
async def test_wrong_chunks_break_the_answer_off(client: Client, said: bytes) -> None:
    """The answer is never whole."""
    async with provider(answering(said)) as played:
        with pytest.raises((ReachedError, OSError)):
            await whole(await sent(client, played.url, body=b"{}"))
        await until(lambda: played.closed == 1)


@pytest.mark.fault("U11")
@pytest.mark.parametrize(
    "said",
    [
        CHUNKED + b"2\r\nok\r\n0\r\nContent-Length: 4\r\n\r\n",
        CHUNKED + b"2\r\nok\r\n0\r\nX: " + b"a" * 200_000,
        CHUNKED + b"2;" + b"a" * 2_000_000,
    ],
)
async def test_the_framing_of_chunks_is_bounded(ours: LeanClient, said: bytes) -> None:
    """Trailers and extensions cannot frame anew, nor go on for ever."""
    async with provider(answering(said)) as played:
        with pytest.raises((ReachedError, OSError)):
            await whole(await sent(ours, played.url, body=b"{}"))
        await until(lambda: played.closed == 1)


@pytest.mark.fault("U5")
@pytest.mark.parametrize("cut", [0, 5, 17, 30, 38, 39])
async def test_an_answer_that_breaks_off_is_never_whole(client: Client, cut: int) -> None:
    """Wherever the provider hangs up: before the head's end there is no answer, after it a broken one."""
    async with provider(answering(OK[:cut], hang_up=True)) as played:
        with pytest.raises((ReachedError, OSError)):
            await whole(await sent(client, played.url, body=b"{}"))

        assert (played.connections, len(played.requests)) == (1, 1)


async def test_a_call_is_never_sent_twice(client: Client) -> None:
    """A connection that ends after the request was written is a failure, also where it had been used before."""

    async def play(played: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await played.request(reader)
        writer.write(OK)
        await played.request(reader)  # and hang up

    async with provider(play) as played:
        await whole(await sent(client, played.url, body=b"{}"))
        with pytest.raises(ConnectionError):
            await sent(client, played.url, body=b"{}")

        assert (played.connections, len(played.requests)) == (1, 2)


async def test_a_connection_that_was_closed_while_it_rested_is_replaced(client: Client) -> None:
    """What the provider hung up on is found before anything is written on it."""
    async with provider(answering(OK, hang_up=True)) as played:
        bodies = []
        for turn in range(3):
            bodies.append(await whole(await sent(client, played.url, body=b"{}")))
            await until(lambda: played.closed == turn + 1)  # noqa: B023 - awaited in its turn
            await asyncio.sleep(0.01)

        assert (bodies, played.connections) == ([b"ok"] * 3, 3)


async def test_a_hanging_up_that_only_the_kernel_knows_of_is_found(ours: LeanClient) -> None:
    """The provider's closing may not have been told to us yet: it is asked for before a request is written."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = URL(f"http://127.0.0.1:{listening.getsockname()[1]}")

    def answer() -> None:
        accepted, _ = listening.accept()
        accepted.recv(65_536)
        accepted.sendall(OK)
        taken.append(accepted)

    taken: list[socket.socket] = []
    serving = asyncio.create_task(asyncio.to_thread(answer))
    await whole(await sent(ours, url, body=b"{}"))
    await serving
    taken[0].close()  # in this step, so that the loop has not heard of it when the next request leaves
    again = asyncio.create_task(asyncio.to_thread(answer))

    assert await whole(await sent(ours, url, body=b"{}")) == b"ok"

    await again
    taken[1].close()
    listening.close()


@pytest.mark.fault("U11")
@pytest.mark.parametrize("surplus", [b"x", OK, b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_bytes_after_an_answer_are_nobodys(ours: LeanClient, surplus: bytes) -> None:
    """They must not become the next call's answer."""
    async with provider(answering(OK + surplus, b"HTTP/1.1 500 Stolen\r\nContent-Length: 0\r\n\r\n")) as played:
        first = await whole(await sent(ours, played.url, body=b"{}"))
        second = await sent(ours, played.url, body=b"{}")

        assert (first, second.status, await whole(second), played.connections) == (b"ok", 200, b"ok", 2)


async def test_bytes_that_nobody_asked_for_are_nobodys(ours: LeanClient) -> None:
    """What comes on a resting connection closes it."""

    async def play(played: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await played.request(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 500 Stolen\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with provider(play) as played:
        await whole(await sent(ours, played.url, body=b"{}"))
        await until(lambda: played.closed == 1)
        second = await sent(ours, played.url, body=b"{}")

        assert (second.status, await whole(second), played.connections) == (200, b"ok", 2)


@pytest.mark.fault("U12")
async def test_an_answer_may_come_before_the_request_was_read(client: Client) -> None:
    """It is passed on, and a connection with half a request on it is not used again."""

    async def play(played: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno.")
        await writer.drain()
        await asyncio.sleep(0.2)  # it does not read the rest

    async with provider(play) as played:
        for _ in range(2):
            answer = await sent(client, played.url, body=b"x" * 30_000_000)
            assert (answer.status, await whole(answer)) == (413, b"no.")

        assert played.connections == 2


async def test_large_bodies_arrive_whole_both_ways(client: Client) -> None:
    """Three megabytes up and down, in chunks of many sizes, are what they were."""
    up = bytes(range(256)) * 12_000
    down = b"".join(b"%x\r\n%s\r\n" % (n, (b"%d," % n * n)[:n]) for n in range(1, 2500))

    async with provider(answering(CHUNKED + down + b"0\r\n\r\n")) as played:
        got = await whole(await sent(client, played.url, body=up))

        assert played.requests[0][1] == up
        assert got == b"".join((b"%d," % n * n)[:n] for n in range(1, 2500))


async def test_the_head_leaves_as_it_is_meant(ours: LeanClient) -> None:
    """Host, the caller's headers as their bytes are, and one length; nothing that we were not told to send."""
    async with provider(answering(OK)) as played:
        await whole(await sent(ours, played.url, body=b"{}", Accept="*/*", Name="caf\u00e9 \udcff"))

        head, body = played.requests[0]
        assert body == b"{}"
        assert head.split(b"\r\n") == [
            b"POST /v1/x?a=1 HTTP/1.1",
            b"Host: 127.0.0.1:%d" % (played.url.port or 0),
            b"Accept: */*",
            b"Name: caf\xc3\xa9 \xff",
            b"Content-Length: 2",
            b"",
            b"",
        ]


@pytest.mark.parametrize(
    "request_",
    [
        Outgoing("POST", URL("http://x"), "/a", CIMultiDict({"A": "b\r\nC: d"}), b""),
        Outgoing("POST", URL("http://x"), "/a", CIMultiDict({"A": "b\nC: d"}), b""),
        Outgoing("POST", URL("http://x"), "/a", CIMultiDict({"A": "b\0"}), b""),
        Outgoing("POST", URL("http://x"), "/a", CIMultiDict({"A\r\nB": "c"}), b""),
        Outgoing("POST", URL("http://x"), "/a", CIMultiDict({"A:": "c"}), b""),
        Outgoing("POST", URL("http://x"), "/a", CIMultiDict({"": "c"}), b""),
        Outgoing("POST", URL("http://x"), "/a b", CIMultiDict(), b""),
        Outgoing("POST", URL("http://x"), "/a\r\nX: y", CIMultiDict(), b""),
        Outgoing("POST", URL("http://x"), "a", CIMultiDict(), b""),
        Outgoing("POST /x HTTP/1.1\r\n", URL("http://x"), "/a", CIMultiDict(), b""),
    ],
)
def test_no_header_begins_another_line(request_: Outgoing) -> None:
    """Nothing of a request can end its line, name another header or begin another request."""
    with pytest.raises(InvalidRequest):
        connection.request_head(request_)


@pytest.mark.fault("C2")
async def test_a_slow_reader_holds_its_provider_back(ours: LeanClient) -> None:
    """What nobody reads yet is not taken into memory, and comes in full when it is read."""
    total = 20_000_000
    written = 0

    async def play(played: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await played.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while written < total:
            writer.write(b"x" * 100_000)
            written += 100_000
            await writer.drain()
        await reader.read()

    async with provider(play) as played:
        answer = await sent(ours, played.url, body=b"{}")
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.1)
        kept, got = written, len(await whole(answer))

        assert (kept < total, got) == (True, total)


@pytest.mark.fault("U3")
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_a_provider_that_does_not_answer_is_given_up(client: Client, said: bytes) -> None:
    """The time to the first byte is bounded, whatever of a head has come."""
    async with provider(answering(said)) as played:
        with pytest.raises(TimeoutError):
            await sent(client, played.url, body=b"{}", limits=TimeoutsConfig(first_byte=0.2))
        await until(lambda: played.closed == 1)


@pytest.mark.fault("U4")
async def test_a_provider_that_stalls_is_given_up(client: Client) -> None:
    """So is the time between two bytes of the body."""
    async with provider(answering(CHUNKED + b"2\r\nok\r\n")) as played:
        answer = await sent(client, played.url, body=b"{}", limits=TimeoutsConfig(idle=0.2))

        assert await answer.chunk() == b"ok"
        with pytest.raises(ReachedError) as failure:
            await answer.chunk()
        assert failure.value.error.status == 504
        answer.close()
        await until(lambda: played.closed == 1)


async def test_a_reader_that_waits_may_be_cancelled_and_read_on(client: Client) -> None:
    """Whoever drains an answer after its caller left reads what came meanwhile."""
    go = asyncio.Event()

    async def play(played: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await played.request(reader)
        writer.write(CHUNKED)
        await go.wait()
        writer.write(b"2\r\nok\r\n0\r\n\r\n")
        await reader.read()

    async with provider(play) as played:
        answer = await sent(client, played.url, body=b"{}")
        reading = asyncio.create_task(answer.chunk())
        await asyncio.sleep(0.02)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        go.set()

        assert await whole(answer) == b"ok"


async def test_leaving_hangs_up_on_the_provider(client: Client) -> None:
    """Before the head and in the middle of the body, its connection is closed at once and not used again."""
    async with provider(answering(b"")) as played:
        asking = asyncio.create_task(sent(client, played.url, body=b"{}"))
        await until(lambda: len(played.requests) == 1)
        asking.cancel()
        await until(lambda: played.closed == 1)
        await asyncio.gather(asking, return_exceptions=True)
    async with provider(answering(CHUNKED + b"2\r\nok\r\n")) as played:
        answer = await sent(client, played.url, body=b"{}")
        await answer.chunk()
        answer.close()
        answer.close()
        await until(lambda: played.closed == 1)


@pytest.mark.fault("U1")
async def test_a_closed_port_is_no_connection(client: Client) -> None:
    """Nothing was sent, and nobody is told that there was a connection."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = URL(f"http://127.0.0.1:{probe.getsockname()[1]}")
    told: list[bool] = []

    with pytest.raises(ConnectionError):
        await client.send(outgoing(url), LIMITS, lambda: told.append(True))
    assert told == []


async def test_places_are_bounded_and_waited_for() -> None:
    """Beyond the most connections, calls wait for one to be free, no longer than for a connection."""
    go = asyncio.Event()

    async def play(played: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await played.request(reader)
            await go.wait()
            writer.write(OK)

    client = LeanClient(connections_max=2)
    async with provider(play) as played:
        first = [asyncio.create_task(sent(client, played.url, body=b"{}")) for _ in range(2)]
        await until(lambda: len(played.requests) == 2)
        with pytest.raises(TimeoutError):
            await sent(client, played.url, body=b"{}", limits=TimeoutsConfig(connect=0.05))
        waiting = [asyncio.create_task(sent(client, played.url, body=b"{}")) for _ in range(6)]
        await asyncio.sleep(0.02)
        waiting[0].cancel()
        go.set()
        bodies = [await whole(await asked) for asked in (*first, *waiting[1:])]

        assert (bodies, played.connections) == ([b"ok"] * 7, 2)
        await client.close()
        await until(lambda: played.closed == 2)


async def test_a_place_that_nobody_takes_any_more_goes_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever leaves in the step in which it would have been its turn does not keep the others waiting."""
    go = asyncio.Event()

    async def play(played: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await played.request(reader)
            await go.wait()
            writer.write(OK)

    client = LeanClient(connections_max=1)
    async with provider(play) as played:
        first, left, last = [asyncio.create_task(sent(client, played.url, body=b"{}")) for _ in range(3)]
        await until(lambda: len(played.requests) == 1)
        pool = client._pools[played.url.origin()]
        freed = pool.freed

        def freed_and_left(connection: Any) -> None:
            freed(connection)
            left.cancel()

        monkeypatch.setattr(pool, "freed", freed_and_left)
        go.set()

        assert [await whole(await asked) for asked in (first, last)] == [b"ok", b"ok"]
        assert left.cancelled()
    await client.close()


async def test_a_place_whose_connection_fails_goes_to_the_next(ours: LeanClient) -> None:
    """Neither a call that is hung up on nor one that leaves keeps a place."""
    client = LeanClient(connections_max=1)
    async with provider(answering(b"", hang_up=True)) as played:
        asked = [asyncio.create_task(sent(client, played.url, body=b"{}")) for _ in range(4)]
        results = await asyncio.gather(*asked, return_exceptions=True)

        assert [type(result) for result in results] == [ConnectionError] * 4
        assert played.connections == 4
    await client.close()


async def test_a_resting_connection_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its provider closes it, so that nothing is sent into a closing connection."""
    monkeypatch.setattr(connection, "KEEPALIVE_SECONDS", 0.15)
    client = LeanClient()
    async with provider(answering(OK)) as played:
        await whole(await sent(client, played.url, body=b"{}"))
        await until(lambda: played.closed == 1)
    await client.close()


def serving_with(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_tls_is_spoken_and_kept_alive(certificate: Path) -> None:
    """Calls go over one encrypted connection, large bodies too."""
    trusting = ssl.create_default_context(cafile=str(certificate))
    client = LeanClient(tls=trusting)
    big = gzip.compress(bytes(range(256)) * 10_000) * 50
    said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(big), big)
    async with provider(answering(OK, said), serving_with(certificate)) as played:
        bodies = [await whole(await sent(client, played.url, body=big)) for _ in range(2)]

        assert (bodies, played.connections) == ([b"ok", big], 1)
        assert [body for _, body in played.requests] == [big, big]
        await client.close()
        await until(lambda: played.closed == 1)


@pytest.mark.fault("U1")
async def test_a_certificate_that_nobody_vouches_for_is_no_connection(client: Client, certificate: Path) -> None:
    """No byte of a call goes to a provider that cannot prove its name."""
    told: list[bool] = []
    async with provider(answering(OK), serving_with(certificate)) as played:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await client.send(outgoing(played.url, b"{}"), LIMITS, lambda: told.append(True))

        assert (told, played.requests) == ([], [])


async def test_another_address_is_tried_where_the_first_does_not_answer(
    ours: LeanClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with several addresses is reached by any of them."""
    async with provider(answering(OK)) as played:
        loop = asyncio.get_running_loop()
        right = await loop.getaddrinfo("127.0.0.1", played.url.port, type=socket.SOCK_STREAM)
        wrong = await loop.getaddrinfo("127.0.0.2", 1, type=socket.SOCK_STREAM)

        async def both(*_: object, **__: object) -> list[Any]:
            return [*wrong, *right]

        monkeypatch.setattr(ours._loop, "getaddrinfo", both)

        assert await whole(await sent(ours, played.url, body=b"{}")) == b"ok"
    assert lean.EYEBALLS_S < 1
