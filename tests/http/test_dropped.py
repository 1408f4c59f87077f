"""Clients that drop leave nothing behind that only a look for cycles would find."""

import asyncio
import gc
import json
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest
from aiohttp import web

from benchmarks.idle import CLOSE, TEXT, UPGRADE, frame
from penia_proxy.api.live import TransportLine
from penia_proxy.gateway.control import Control
from penia_proxy.gateway.inbound import Inbound
from penia_proxy.gateway.incoming import Incoming
from penia_proxy.watch.listener import LiveClient
from tests.gateways import Start

OURS = (Inbound, Incoming, Control, LiveClient, TransportLine, web.WebSocketResponse, web.Request)
DROPS = 40
AFTERWARDS = 3
"""Of a kind: what a last connection may still hold, and what asks for the count."""
LINGER = struct.pack("ii", 1, 0)
FAREWELL = frame(CLOSE, (1000).to_bytes(2, "big"))
SUBSCRIPTION = frame(TEXT, json.dumps({"type": "subscribe", "channels": ["usage", "budget_updates"]}).encode())
PATIENCE_S = 10
Going = Callable[[int, Callable[[socket.socket], None]], None]


def hang_up(live: socket.socket) -> None:
    """Leave without a word."""
    live.close()


def reset(live: socket.socket) -> None:
    """Leave so that the next write fails."""
    live.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    live.close()


def part(live: socket.socket) -> None:
    """Leave as the protocol has it."""
    live.sendall(FAREWELL)
    while live.recv(4096):
        pass
    live.close()


def come_and_go(port: int, leave: Callable[[socket.socket], None]) -> None:
    """Subscribe, hear the snapshot, leave; again and again."""
    for _ in range(DROPS):
        live = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        live.sendall(UPGRADE)
        said = live.recv(4096)
        live.sendall(SUBSCRIPTION)
        while b'"snapshot"' not in said:
            more = live.recv(65536)
            assert more, said
            said += more
        leave(live)


BODY = json.dumps({"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}).encode()
CALL = (
    b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer x\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


def call_and_go(port: int, leave: Callable[[socket.socket], None]) -> None:
    """Call, and leave after the answer, half way through the next call's body, or through its head."""
    for number in range(DROPS):
        line = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        line.sendall(CALL)
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
        line.sendall(CALL[: (0, -5, 40)[number % 3]])
        leave(line)


def living() -> Counter[type]:
    """Return how many objects there are of each of our kinds."""
    return Counter(type(one) for one in gc.get_objects() if isinstance(one, OURS))


@pytest.mark.parametrize(
    ("go", "leave"),
    [(come_and_go, hang_up), (come_and_go, reset), (come_and_go, part), (call_and_go, hang_up), (call_and_go, reset)],
)
async def test_who_drops_is_freed_at_once(start: Start, go: Going, leave: Callable[[socket.socket], None]) -> None:
    """However a client leaves, nothing of its connection waits for a collection: memory does not grow in between."""
    penia = await start()
    port = int(penia.url.rsplit(":", 1)[1])
    gc.collect()
    before = living()
    gc.disable()
    try:
        await asyncio.to_thread(go, port, leave)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):  # the last few are still being let go of; no circle ever is
                while max((living() - before).values(), default=0) > AFTERWARDS:
                    await asyncio.sleep(0.05)
        left = living() - before
    finally:
        gc.enable()

    assert max(left.values(), default=0) <= AFTERWARDS, left
