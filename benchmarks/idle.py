"""
Be ten thousand live clients that only listen.

Its one job: WebSockets (RFC 6455) that cost little, answer pings, and know whether they are still there. Whoever wants
to know more of what comes overrides `heard`.
"""

import asyncio
import json
from typing import Any

CONNECTING_MAX = 200
"""At a time: what is measured is to hold them, not how fast a listener's queue is emptied."""
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
SNAPSHOT = b'{"type":"snapshot"'
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def frame(kind: int, data: bytes) -> bytes:
    """Return a client's frame; a mask of zeros is one, too."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([0x80 | kind]) + size + bytes(4) + data


class Idle(asyncio.Protocol):
    """One client."""

    def __init__(self, subscription: bytes) -> None:
        self.listening = asyncio.get_running_loop().create_future()
        """Done with what its subscription begins with; fails where it is refused."""
        self.lost = False
        self.messages = 0
        self._subscription = subscription
        self._buffer = b""
        self._open = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        self._transport = transport
        self._transport.write(UPGRADE)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note that it is gone."""
        self.lost = True
        if not self.listening.done():
            self.listening.set_exception(exc or ConnectionError(f"refused: {self._buffer[:200]!r}"))

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        self._buffer += data
        if not self._open:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            if not blank:
                return
            if b" 101 " not in head[:20]:
                self._transport.close()
                return
            self._open, self._buffer = True, rest
            self._transport.write(frame(TEXT, self._subscription))
        at = 0
        while (taken := _frame(self._buffer, at)) is not None:
            kind, start, at = taken
            data = self._buffer[start:at]
            if kind == PING:
                self._transport.write(frame(PONG, data))
            elif kind == CLOSE:
                self._transport.close()
            else:
                self.heard(data)
        self._buffer = self._buffer[at:]

    def heard(self, text: bytes) -> None:
        """Take a message."""
        if text.startswith(SNAPSHOT):
            self.listening.set_result(None)
        else:
            self.messages += 1

    def hang_up(self) -> None:
        """Leave."""
        self._transport.abort()


def _frame(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Return the kind, the payload's start and its end, of a server's frame at a place; None: it is not whole."""
    if len(data) < at + 2:
        return None
    width = {126: 2, 127: 8}.get(data[at + 1], 0)
    start = at + 2 + width
    size = int.from_bytes(data[at + 2 : start], "big") if width else data[at + 1]
    return None if len(data) < start + size else (data[at] & 0x0F, start, start + size)


async def join(port: int, count: int, subscription: dict[str, Any]) -> tuple[list[Idle], int]:
    """Connect so many and subscribe each; return those that listen, and how many were refused."""
    places = asyncio.Semaphore(CONNECTING_MAX)
    text = json.dumps(subscription).encode()

    async def one() -> Idle:
        async with places:
            _, client = await asyncio.get_running_loop().create_connection(lambda: Idle(text), "127.0.0.1", port)
            await client.listening
            return client

    joined = await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)
    clients = [client for client in joined if isinstance(client, Idle)]
    return clients, count - len(clients)
