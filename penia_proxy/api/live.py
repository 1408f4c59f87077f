"""
Carry the live feed over WebSockets.

Its one job: `/ws` (docs/live.md): one hub client per connection, its messages in both directions.
Rules: only pages of our own host may connect (browsers let any page open a socket). The hub writes whole frames to the
transport, and never waits for it; aiohttp reads, and writes what the protocol itself wants: pongs, heartbeats, the
close. No message of a client, however wrong, closes it at once.
"""

import asyncio
from contextlib import suppress
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from penia_proxy.api.security import same_origin
from penia_proxy.api.services import Services
from penia_proxy.errors import Forbidden, InvalidRequest
from penia_proxy.watch.listener import LiveClient
from penia_proxy.watch.live import LiveHub

MESSAGE_BYTES_MAX = 4_096
"""Of a client's message; a larger one closes the connection with 1009 (RFC 6455 §7.4.1)."""
HEARTBEAT_S = 30.0
CLOSE_S = 1.0
"""How long a client that is sent away is waited for."""


class TransportLine:
    """The way to a client: its connection's transport."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The code to close with."""

    def write(self, frames: bytes) -> None:
        """Send; to a connection that is gone, nothing."""
        if not self._transport.is_closing():
            self._transport.write(frames)

    def waiting(self) -> int:
        """Return how many bytes the system has not taken yet."""
        return self._transport.get_write_buffer_size()

    def end(self, code: int) -> None:
        """Want it closed."""
        if not self.ended.done():
            self.ended.set_result(code)


class LiveSocket:
    """The endpoint. ``close_s`` is for tests, which cannot wait."""

    def __init__(self, services: Services, *, close_s: float = CLOSE_S) -> None:
        self._hub = services.hub
        self._close_s = close_s

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection to its end. Raises Forbidden, InvalidRequest, TooManyClients before it is one."""
        if not same_origin(request):
            raise Forbidden("A page of another site may not listen.")
        # No compression: it costs memory per client, and secrets next to chosen text can be guessed from sizes.
        # aiohttp closes at its size, and not past it.
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_BYTES_MAX + 1, compress=False, timeout=self._close_s
        )
        if not socket.can_prepare(request) or request.transport is None:
            raise InvalidRequest("This is a WebSocket; connect with one.")
        line = TransportLine(request.transport)
        client = self._hub.join(line)
        try:
            await socket.prepare(request)
            await self._carry(socket, client, line)
        finally:
            self._hub.leave(client)
            if socket.prepared and not socket.closed:
                if request.transport is not None:
                    request.transport.abort()  # it would not hear a farewell either
                # Its next heartbeat would keep a connection that is gone for a minute. On one that is gone it waits for
                # nothing.
                await socket.close()
            if (failure := socket.exception()) is not None:
                # The socket keeps it, and its traceback the socket: a circle, with all that this connection had.
                failure.__traceback__ = failure.__context__ = None
        return socket

    async def _carry(self, socket: web.WebSocketResponse, client: LiveClient, line: TransportLine) -> None:
        """Hear the client until it leaves or is sent away."""
        hearing = asyncio.create_task(_hear(socket, self._hub, client))
        try:
            either: list[asyncio.Future[Any]] = [hearing, line.ended]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            code = hearing.result() if hearing.done() else line.ended.result()
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        if code is not None:
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(self._close_s):
                    await socket.close(code=code)


async def _hear(socket: web.WebSocketResponse, hub: LiveHub, client: LiveClient) -> int | None:
    """Take what the client says; return the code to close with, None where it has closed itself."""
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            kept = await hub.hear(client, message.data)
        else:
            kept = hub.object_to(client, "messages are JSON text")
        if not kept:
            return WSCloseCode.POLICY_VIOLATION
    return None
