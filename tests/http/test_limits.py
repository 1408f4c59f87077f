"""Everything a caller can make more of has a limit, on real sockets: it is told, and nobody else notices."""

import asyncio
import json
import resource
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from penia_proxy.api.live import LiveSocket, TransportLine
from penia_proxy.sandbox import running_sandbox
from penia_proxy.sandbox.faults import Behaviour
from penia_proxy.watch.live import LiveClient
from tests.gateways import KEYS, Running, Start
from tests.lines import connected
from tests.processes import configure, listening, running

CHAT = "/openai/v1/chat/completions"
TALK = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
HOST = b"Host: 127.0.0.1\r\n"


def post(*headers: str) -> bytes:
    lines = (f"POST {CHAT} HTTP/1.1", "Host: 127.0.0.1", "Authorization: Bearer x", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@pytest.mark.fault("C3")
async def test_a_header_that_drips_is_ended(start: Start) -> None:
    """By the time it takes in all, not between its bytes; and so is a connection on which nothing comes."""
    penia = await start(server={"header_timeout_s": 0.4, "keepalive_s": 60})
    async with connected(penia.url) as slow, connected(penia.url) as silent:
        await slow.drip(b"GET /health HTTP/1.1\r\n" + b"X-Padding: " + b"a" * 500)
        answers = [await slow.hear_out(), await silent.hear_out()]

    assert [status for status, _, _ in answers] == [408, 408]
    assert json.loads(answers[0][2])["code"] == "request_timeout"


@pytest.mark.fault("C3")
async def test_a_second_requests_header_is_timed_too(start: Start) -> None:
    """A connection that has had one answer gets no longer for its next header."""
    penia = await start(server={"header_timeout_s": 0.4, "keepalive_s": 60})
    async with connected(penia.url) as line:
        await line.say(b"GET /ready HTTP/1.1\r\n" + HOST + b"\r\n")
        await line.reader.readuntil(b"}")
        await line.drip(b"GET /ready HTTP/1.1\r\nX-Padding: " + b"a" * 500)
        status, _, _ = await line.hear_out()

    assert status == 408


@pytest.mark.fault("C3")
async def test_an_idle_connection_is_closed(start: Start) -> None:
    """Quietly, after its time; a request within it is answered."""
    penia = await start(server={"keepalive_s": 0.3})
    async with connected(penia.url) as line:
        for _ in range(2):
            await line.say(b"GET /ready HTTP/1.1\r\n" + HOST + b"\r\n")
            await line.reader.readuntil(b"}")
        status, _, rest = await line.hear_out()

    assert (status, rest) == (0, b"")


@pytest.mark.fault("C4")
@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET /health HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 900) for n in range(100)), 431),
        (b"GET /health?" + b"a" * 3_000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nX: " + b"a" * 3_000 + b"\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 40 + b"\r\n", 400),
    ],
    ids=["all", "request line", "one line", "lines"],
)
async def test_a_header_beyond_its_limits(start: Start, head: bytes, expected: int) -> None:
    """Refused as soon as it is too much: as a whole, its request line, one of its lines, or their number."""
    penia = await start(server={"max_header_kb": 8, "max_header_line_kb": 2, "max_headers": 32})
    async with connected(penia.url) as line:
        for at in range(0, len(head), 700):
            line.writer.write(head[at : at + 700])
            await asyncio.sleep(0)
        status, _, _ = await line.hear_out()  # to the end: it is closed

    assert status == expected
    assert (await penia.chat()).status == 200


@pytest.mark.fault("C3")
async def test_a_body_that_drips_is_ended(start: Start) -> None:
    """By the time it takes in all; nothing is held for it."""
    penia = await start(server={"body_timeout_s": 0.4})
    async with connected(penia.url) as line:
        await line.say(post("Content-Length: 500"))
        dripping = asyncio.create_task(line.drip(b"a" * 500))
        head = await line.reader.readuntil(b"\r\n\r\n")
        dripping.cancel()

    assert head.startswith(b"HTTP/1.1 408 ")
    assert penia.sandbox.calls == []


@pytest.mark.fault("C4")
@pytest.mark.parametrize("lie", ["too long", "too short"])
async def test_a_length_that_is_not_true(start: Start, lie: str) -> None:
    """A body shorter than it says never becomes a call; neither does one with garbage behind it."""
    penia = await start(server={"body_timeout_s": 0.4})
    body = json.dumps(TALK).encode()
    async with connected(penia.url) as line:
        if lie == "too long":
            await line.say(post(f"Content-Length: {len(body) + 9}") + body)
            line.writer.write_eof()
        else:
            await line.say(post(f"Content-Length: {len(body)}") + body + b"{}garbage\r\n\r\n")
        status, _, _ = await line.hear_out()

    assert status in {0, 400, 408}
    assert penia.sandbox.calls == []


@pytest.mark.fault("C4")
async def test_chunks_for_ever(start: Start) -> None:
    """A body without a length is read up to the limit and no further."""
    penia = await start(server={"max_body_mb": 0.5})
    async with connected(penia.url) as line:
        await line.say(post("Transfer-Encoding: chunked"))
        answered = asyncio.create_task(line.reader.readline())
        while not answered.done():
            await line.say(b"10000\r\n" + b"a" * 65_536 + b"\r\n")
            await asyncio.sleep(0)

    assert (await answered).startswith(b"HTTP/1.1 413 ")
    assert penia.sandbox.calls == []


@pytest.mark.fault("C4")
async def test_bodies_of_all_calls_have_one_limit(start: Start) -> None:
    """What does not fit beside the others is told to come again; small calls pass, and room comes back."""
    penia = await start(server={"max_bodies_mb": 1, "body_timeout_s": 20})
    padded = json.dumps({**TALK, "messages": [{"role": "user", "content": "a" * 400_000}]}).encode()
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(connected(penia.url)) for _ in range(3)]
        for line in lines[:2]:
            await line.say(post(f"Content-Length: {len(padded)}") + padded[:-1])
        while penia.gateway._proxy._door.carried_bytes < 2 * len(padded) - 2:
            await asyncio.sleep(0.005)
        await lines[2].say(post(f"Content-Length: {len(padded)}", "Connection: close") + padded)
        status, headers, body = await lines[2].hear_out()
        small = await penia.chat()
        for line in lines[:2]:
            await line.say(padded[-1:])
            assert (await line.reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    while penia.gateway._proxy._door.carried_bytes:
        await asyncio.sleep(0.005)

    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["error"]["code"] == "overloaded"
    assert "x-should-retry" not in headers
    assert small.status == 200


@pytest.mark.fault("C4")
async def test_a_compressed_body_counts_as_what_it_becomes(start: Start) -> None:
    """A few bytes that become many take the room of many."""
    import gzip

    penia = await start(server={"max_bodies_mb": 1})
    padded = json.dumps({**TALK, "messages": [{"role": "user", "content": "a" * 2_000_000}]}).encode()
    headers = {**KEYS, "Content-Encoding": "gzip"}
    async with penia.session.post(penia.url + CHAT, data=gzip.compress(padded), headers=headers) as answer:
        assert answer.status == 503
    assert penia.sandbox.calls == []


@pytest.mark.fault("C4")
async def test_a_body_counts_while_its_answer_is_read_on_without_its_caller(start: Start) -> None:
    """It is in memory as before; and a call that may be read on is one call."""
    penia = await start(
        script=Behaviour(first_byte_delay_s=0.5),
        server={"max_bodies_mb": 1, "max_calls": 2},
        providers={"openai": {"on_disconnect": "drain"}},
    )
    calls = [asyncio.create_task(penia.chat(padding="a" * size)) for size in (600_000, 1)]
    await under_way(penia, 2)
    door = penia.gateway._proxy._door
    assert door.calls == 2
    for call in calls:
        call.cancel()
    while len(door._inside) > 2:  # what answers the callers is over, and the exchanges go on
        await asyncio.sleep(0.005)
    assert door.calls == 2
    assert door.carried_bytes > 600_000
    while door.calls:
        await asyncio.sleep(0.005)
    assert door.carried_bytes == 0
    assert len(await penia.records()) == 2


async def under_way(penia: Running, count: int) -> None:
    while len(penia.sandbox.calls) < count:
        await asyncio.sleep(0.005)


@pytest.mark.fault("C7")
async def test_calls_under_way_have_a_limit(start: Start) -> None:
    """One more is told to come again, in its provider's shape; the API answers, and a place comes back."""
    penia = await start(script=Behaviour(first_byte_delay_s=0.7), server={"max_calls": 2})
    calls = [asyncio.create_task(penia.chat()) for _ in range(2)]
    await under_way(penia, 2)
    third, other = await penia.chat(), await penia.messages()
    status, health = await penia.api("GET", "/health")
    assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
    after = await penia.chat()

    assert (third.status, third.headers["Retry-After"]) == (503, "1")
    assert (await third.json())["error"]["code"] == "overloaded"
    assert (await other.json())["error"]["penia"]["code"] == "overloaded"
    assert (status, health["status"]) == (200, "healthy")
    assert after.status == 200


async def test_one_component_cannot_take_every_place(start: Start) -> None:
    """It is told 429; another's call passes."""
    limits = {"max_calls": 10, "max_calls_per_component": 2}
    penia = await start(script=Behaviour(first_byte_delay_s=0.7), server=limits)
    greedy, modest = {"X-Penia-Component": "greedy"}, {"X-Penia-Component": "modest"}
    calls = [asyncio.create_task(penia.chat(greedy)) for _ in range(2)]
    await under_way(penia, 2)
    third, other = await asyncio.gather(penia.chat(greedy), penia.chat(modest))
    await asyncio.gather(*calls)

    assert (third.status, third.headers["Retry-After"]) == (429, "1")
    assert (await third.json())["error"]["code"] == "rate_limited"
    assert other.status == 200
    assert (await penia.chat(greedy)).status == 200


@pytest.mark.fault("C5")
@pytest.mark.parametrize("version", ["1.0", "0.9", "2.0", "1.2"])
async def test_other_versions_of_http(start: Start, version: str) -> None:
    """A call needs 1.1; health checks of old balancers may speak 1.0."""
    penia = await start()
    statuses = []
    body = json.dumps(TALK)
    for request in (
        f"POST {CHAT} HTTP/{version}\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}",
        f"GET /ready HTTP/{version}\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    ):
        async with connected(penia.url) as line:
            await line.say(request.encode())
            statuses.append((await line.hear_out())[0])

    assert statuses[0] in {400, 505}
    assert statuses[1] == 200 if version == "1.0" else statuses[1] in {400, 505}
    assert penia.sandbox.calls == []


async def test_the_apis_bodies_have_a_limit(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forms that do not arrive cannot fill memory: one more is told to come again, and health answers."""
    monkeypatch.setattr("penia_proxy.app.FORMS_MAX", 2)
    penia = await start(server={"body_timeout_s": 20})
    async with AsyncExitStack() as stack:
        for _ in range(2):
            line = await stack.enter_async_context(connected(penia.url))
            await line.say(b"POST /api/v1/check HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n{")
        while penia.gateway._forms < 2:
            await asyncio.sleep(0.005)
        status, said = await penia.api("POST", "/api/v1/check", {"component": "c", "estimated_cost": 1})
        health, _ = await penia.api("GET", "/health")
    while penia.gateway._forms:
        await asyncio.sleep(0.005)

    assert (status, said["code"], health) == (503, "overloaded", 200)
    assert (await penia.api("POST", "/api/v1/check", {"component": "c", "estimated_cost": 1}))[0] == 200


async def test_heartbeats_of_live_clients_do_not_gather(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client's next heartbeat is so long after it came, and not at the next whole second with everybody else's."""
    due: list[float] = []
    carry = LiveSocket._carry

    async def carried(self: LiveSocket, socket: web.WebSocketResponse, client: LiveClient, line: TransportLine) -> None:
        due.append(socket._heartbeat_when)
        await carry(self, socket, client, line)

    monkeypatch.setattr(LiveSocket, "_carry", carried)
    penia = await start()
    for _ in range(3):
        async with penia.session.ws_connect(f"{penia.url}/ws") as live:
            await live.send_json({"type": "ping"})
            await live.receive_json()

    assert len(due) == 3
    assert any(when % 1 for when in due)


async def test_live_clients_have_a_limit(start: Start) -> None:
    """One more is told 503."""
    penia = await start(server={"max_live_clients": 1})
    async with penia.session.ws_connect(f"{penia.url}/ws"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await penia.session.ws_connect(f"{penia.url}/ws")

    assert refused.value.status == 503


@pytest.mark.fault("C7")
@pytest.mark.timeout(180)
async def test_ten_thousand_connections_and_one_more(tmp_path: Path) -> None:
    """The default: ten thousand are served, the next is told 503 at once, and a place that is given back is taken."""
    limit, files = 10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files < limit + 4_500:
        pytest.skip(f"the system lets a process open {files} files")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit + 1_000, before[1]))
    configure(tmp_path, "http://127.0.0.1:9", server="header_timeout_s: 120")
    try:
        async with running(tmp_path, "serve") as process, AsyncExitStack() as stack:
            url = await listening(process)
            lines = [await stack.enter_async_context(connected(url)) for _ in range(limit)]
            await lines[-1].say(b"GET /ready HTTP/1.1\r\n" + HOST + b"\r\n")
            assert await lines[-1].reader.readline() == b"HTTP/1.1 200 OK\r\n"
            async with connected(url) as one_more:
                await one_more.say(post("Content-Length: 5") + b"abcde")
                status, headers, body = await one_more.hear_out()
            lines[0].writer.close()
            while True:
                async with connected(url) as again:
                    await again.say(b"GET /ready HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
                    if (await again.hear_out())[0] == 200:
                        break
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert (status, headers["retry-after"], json.loads(body)["code"]) == (503, "1", "overloaded")


READERS = 200


class Flood:
    """A provider whose stream never ends."""

    def __init__(self) -> None:
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        said = b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n' % (b"word " * 1_000)
        try:
            while True:
                writer.write(b"%x\r\n%s\r\n" % (len(said), said))
                await writer.drain()
                self.sent += len(said)
        except ConnectionError:
            pass
        finally:
            writer.close()


def resident_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.fault("C2")
@pytest.mark.timeout(180)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_slow_readers_hold_neither_memory_nor_others(tmp_path: Path) -> None:
    """Two hundred that read a byte a second of endless streams: the provider has to wait, and nobody else does."""
    flood = Flood()
    server = await asyncio.start_server(flood.serve, "127.0.0.1", 0)
    async with server, running_sandbox() as sandbox, aiohttp.ClientSession() as session, AsyncExitStack() as stack:
        path = configure(tmp_path, sandbox.url, budgets="{name: Default, daily_limit: 1000000}")
        endless = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        flooding = f"providers:\n  flood: {{base_url: '{endless}', format: openai}}\n"
        path.write_text(path.read_text().replace("providers:\n", flooding))
        process = await stack.enter_async_context(running(tmp_path, "serve"))
        url = await listening(process)
        async with session.post(url + CHAT, json=TALK, headers=KEYS) as answer:
            assert answer.status == 200
        before = resident_mb(process.pid)
        body = json.dumps({**TALK, "stream": True, "max_tokens": 1_000_000}).encode()
        lines = [await stack.enter_async_context(connected(url)) for _ in range(READERS)]
        for line in lines:
            line.writer.transport.pause_reading()  # what asyncio would read ahead, a slow reader would not
            head = post(f"Content-Length: {len(body)}").replace(b"/openai/", b"/flood/")
            await line.say(head + body)
        sent, still = -1, 0
        while still < 10:  # the provider cannot send any more: everything between it and the readers is full
            sent, still = (flood.sent, still + 1) if sent == flood.sent and sent else (flood.sent, 0)
            async with session.post(url + CHAT, json=TALK, headers=KEYS) as answer:
                assert answer.status == 200
            await asyncio.sleep(0.2)
        sockets = [line.writer.get_extra_info("socket") for line in lines]
        full = resident_mb(process.pid)
        for _ in range(3):
            for sock in sockets:
                sock._sock.recv(1)
            async with session.post(url + CHAT, json=TALK, headers=KEYS) as answer:
                assert answer.status == 200
            await asyncio.sleep(1)
        at_last = resident_mb(process.pid)
        for line in lines:
            line.writer.transport.abort()
        while True:
            async with session.get(f"{url}/health") as answer:
                if not (await answer.json())["holds_open"]:
                    break
            await asyncio.sleep(0.05)

    # A chunk on its way from each of them, as large as a read of the socket, and the text a meter keeps to count.
    assert full - before < READERS * 3
    assert at_last - full < READERS / 10
