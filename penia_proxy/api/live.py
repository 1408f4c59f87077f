"""
Carry the live feed over WebSockets.

Its one job: `/ws` (api.md §3): one hub client per connection, its messages in both directions.
Rules: only pages of our own host may connect (browsers let any page open a socket). A client that does not read is sent
away when one send blocks for SEND_S, and never slows another. No message of it, however wrong, closes it at once.
"""

import asyncio
from contextlib import suppress

from aiohttp import WSCloseCode, WSMsgType, web

from penia_proxy.api.security import same_origin
from penia_proxy.api.services import Services
from penia_proxy.errors import Forbidden, InvalidRequest
from penia_proxy.watch.live import LiveClient

MESSAGE_BYTES_MAX = 4_096
"""Of a client's message; a larger one closes the connection with 1009 (RFC 6455 §7.4.1)."""
HEARTBEAT_S = 30.0
SEND_S = 10.0
"""How long one send may block: api.md §3."""
CLOSE_S = 1.0
"""How long a client that is sent away is waited for."""


class LiveSocket:
    """The endpoint. ``send_s`` and ``close_s`` are for tests, which cannot wait."""

    def __init__(self, services: Services, *, send_s: float = SEND_S, close_s: float = CLOSE_S) -> None:
        self._hub = services.hub
        self._send_s = send_s
        self._close_s = close_s

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection to its end. Raises Forbidden, InvalidRequest, TooManyClients before it is one."""
        if not same_origin(request):
            raise Forbidden("A page of another site may not listen.")
        # No compression: it costs memory per client, and secrets next to chosen text can be guessed from sizes.
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_BYTES_MAX, compress=False, timeout=self._close_s
        )
        if not socket.can_prepare(request):
            raise InvalidRequest("This is a WebSocket; connect with one.")
        client = self._hub.join()
        try:
            await socket.prepare(request)
            await self._carry(socket, client)
        finally:
            self._hub.leave(client)
            if not socket.closed and request.transport is not None:
                request.transport.abort()  # it would not hear a farewell either
        return socket

    async def _carry(self, socket: web.WebSocketResponse, client: LiveClient) -> None:
        """Run both directions until one ends."""
        directions = [asyncio.create_task(self._tell(socket, client)), asyncio.create_task(_hear(socket, client))]
        try:
            done, _ = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            code = done.pop().result()
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
        if code is not None:
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(self._close_s):
                    await socket.close(code=code)

    async def _tell(self, socket: web.WebSocketResponse, client: LiveClient) -> int | None:
        """Send what waits; return the code to close with."""
        while (text := await client.next()) is not None:
            try:
                async with asyncio.timeout(self._send_s):
                    await socket.send_str(text)
            except TimeoutError:
                return WSCloseCode.TRY_AGAIN_LATER
            except ConnectionError:
                return None
        return WSCloseCode.GOING_AWAY


async def _hear(socket: web.WebSocketResponse, client: LiveClient) -> int | None:
    """Take what the client says; return the code to close with, None where it has closed itself."""
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            kept = await client.hear(message.data)
        else:
            kept = client.object_to("messages are JSON text")
        if not kept:
            return WSCloseCode.POLICY_VIOLATION
    return None
