"""
A provider whose WebSocket does what a test says.

Its one job: what the sandbox is too well-behaved for: odd frames, closes, silence, refusals. Rule: real sockets.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Speak = Callable[[web.WebSocketResponse], Awaitable[None]]


@dataclass
class Peer:
    """A provider on loopback."""

    url: str = ""
    requests: list[web.Request] = field(default_factory=list)


@asynccontextmanager
async def speaking(
    speak: Speak | None = None, *, answer: web.Response | None = None, protocols: tuple[str, ...] = ()
) -> AsyncIterator[Peer]:
    """Run a provider that speaks as told; or answers, a handshake where it does not speak, and any other request."""
    peer = Peer()

    async def handle(request: web.Request) -> web.StreamResponse:
        peer.requests.append(request)
        if answer is not None and (speak is None or "Upgrade" not in request.headers):
            return answer
        socket = web.WebSocketResponse(protocols=protocols, autoping=False, autoclose=False, max_msg_size=0, timeout=1)
        socket.headers["x-request-id"] = "req_made-up"
        await socket.prepare(request)
        if speak is not None:
            await speak(socket)
        return socket

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        peer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield peer
    finally:
        await runner.cleanup()
