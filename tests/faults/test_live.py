"""
Live clients that do what none should, over real sockets, beside one that listens.

Rule: the one that listens hears everything, and what the other does takes no memory.
"""

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientWebSocketResponse, web

from penia_proxy.following import Live, Lost, Snapshot
from tests.faults.table import Rounds
from tests.followers import following
from tests.gateways import Running, Start
from tests.wire import wire

SUBSCRIBE = '{"type":"subscribe","channels":["usage","budget_updates"]}'
UPDATES = 1_000_000
MESSAGES = 10_000


def masked(text: str, opcode: int = 0x81) -> bytes:
    """Return a client's frame (RFC 6455 §5.2) with a mask of zeros."""
    size = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126]) + len(text).to_bytes(2)
    return bytes([opcode]) + size + bytes(4) + text.encode()


@asynccontextmanager
async def deaf(penia: Running, *, alone: bool = False) -> AsyncIterator[socket.socket]:
    """Open a live client that subscribes and reads nothing, beside one that listens or ``alone``."""
    port = int(penia.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + masked(SUBSCRIBE)
        )
        while penia.gateway.hub.client_count < 2 - alone:
            await asyncio.sleep(0.005)
        yield raw


async def listening(live: ClientWebSocketResponse) -> None:
    await live.send_str(SUBSCRIBE)
    assert (await live.receive_json())["type"] == "subscribed"


async def heard(live: ClientWebSocketResponse, record_id: str) -> None:
    """Read until the live feed tells of a call."""
    while True:
        message = await live.receive_json()
        if message["type"] == "usage" and message["data"]["record_id"] == record_id:
            return


def resident_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.fault("W1")
@pytest.mark.timeout(120)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_a_client_that_reads_nothing(start: Start, rounds: Rounds) -> None:
    """A million updates to a budget and calls beside them: merged for the one, heard by the other, kept for nobody."""
    penia = await start(budgets=({"name": "Default", "daily_limit": 5.0},))
    hub = penia.gateway.hub
    (budget,) = penia.gateway.book.active
    async with penia.session.ws_connect(f"{penia.url}/ws") as live:
        await listening(live)
        async with deaf(penia):
            await heard(live, (await penia.chat()).headers["X-Penia-Request-Id"])
            before = resident_mb()
            for _ in range(20):
                for _ in range(UPDATES // 20):
                    hub.touch([budget.budget_id])
                answer = await penia.chat()
                await heard(live, answer.headers["X-Penia-Request-Id"])
            assert resident_mb() - before < 40
    rounds(UPDATES)


@pytest.mark.fault("W1")
async def test_the_deaf_are_closed_and_who_drops_knows_everything(start: Start, rounds: Rounds) -> None:
    """Ten that never read take a batch each and are sent away; one that is cut off again and again misses nothing."""
    penia = await start(budgets=({"name": "Default", "daily_limit": 5.0},))
    hub = penia.gateway.hub
    hub.limits = limits = replace(hub.limits, send_s=0.5)
    written = b"x" * 60_000
    async with (
        wire(int(penia.url.rsplit(":", 1)[1])) as line,
        following(penia, penia.url) as steady,
        following(penia, line.url) as restless,
        AsyncExitStack() as stack,
    ):
        for _ in range(10):
            await stack.enter_async_context(deaf(penia))
        count = most = cuts = 0
        while hub.client_count > 2 or restless.count(Lost) < 3:
            count += 1
            is_there = restless.count(Live) > restless.count(Lost)
            if is_there:  # what is kept would not hold many of these
                hub.usage({"record_id": f"large_{count}", "metadata": written.decode()}, [], "rhetor")
            if is_there and cuts < 3 and cuts == restless.count(Lost) and count % 5 == 0:
                line.cut()
                cuts += 1
            await penia.chat()
            most = max([most, *(client._line.waiting() for client in hub._clients)])
        last = (await penia.chat()).headers["X-Penia-Request-Id"]
        for follower in (steady, restless):
            await follower.until(lambda _, follower=follower: last in follower.calls)
        await restless.until(lambda _: steady.budgets == restless.budgets)

        assert most <= limits.batch_bytes + len(written) + 1_000
        assert restless.count(Snapshot) == 1
        assert restless.calls == steady.calls
    rounds(count)


@pytest.mark.fault("W1")
async def test_who_vanishes_leaves_nothing(start: Start, rounds: Rounds) -> None:
    """Clients whose connection just breaks are not kept until their next heartbeat would have come."""
    penia = await start()
    gone = 0
    for _ in range(20):
        async with deaf(penia, alone=True) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing breaks it
        while penia.gateway.hub.client_count:
            await asyncio.sleep(0.005)
        gone += 1
    gc.collect()

    assert [one for one in gc.get_objects() if isinstance(one, web.WebSocketResponse)] == []
    rounds(gone)


@pytest.mark.fault("W2")
async def test_subscriptions_without_end(start: Start, rounds: Rounds) -> None:
    """Ten thousand messages of one client leave one client, and another hears of every call."""
    penia = await start()
    async with (
        penia.session.ws_connect(f"{penia.url}/ws") as live,
        penia.session.ws_connect(f"{penia.url}/ws") as noisy,
    ):
        await listening(live)

        async def answered() -> None:
            while (await noisy.receive_json())["type"] != "pong":
                pass

        reading = asyncio.create_task(answered())
        for number in range(MESSAGES):
            await noisy.send_str(SUBSCRIBE)
            if number % (MESSAGES // 10) == 0:
                await heard(live, (await penia.chat()).headers["X-Penia-Request-Id"])
        await noisy.send_str('{"type":"ping"}')
        await reading
        assert penia.gateway.hub.client_count == 2
    rounds(MESSAGES)


@pytest.mark.fault("W2")
@pytest.mark.parametrize(
    "frame",
    [
        bytes([0xF1, 0x80]) + bytes(4),
        bytes([0x83, 0x80]) + bytes(4),
        bytes([0x89, 0x80 | 126]) + (200).to_bytes(2) + bytes(204),
        bytes([0x81, 0x80 | 127]) + (2**62).to_bytes(8) + bytes(4),
        masked("\udcff".encode("utf-8", "surrogateescape").decode("latin-1")).replace("ÿ".encode(), b"\xff\xff"),
    ],
    ids=["reserved bits", "no such kind", "a long ping", "4 EB", "no UTF-8"],
)
async def test_frames_that_are_none(start: Start, frame: bytes) -> None:
    """The line is closed, and another client goes on hearing."""
    penia = await start()
    async with penia.session.ws_connect(f"{penia.url}/ws") as live:
        await listening(live)
        async with deaf(penia) as raw:
            raw.sendall(frame)
            while penia.gateway.hub.client_count == 2:
                await asyncio.sleep(0.005)
        await heard(live, (await penia.chat()).headers["X-Penia-Request-Id"])
