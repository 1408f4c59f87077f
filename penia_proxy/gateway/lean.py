"""
Keep connections to providers.

Its one job: the client that speaks HTTP/1.1 on connections of its own: per origin, connections that rest between
requests, and bounds on how many there are.
Rules: a request is sent once. A connection that was closed before anything was written on it is replaced; one that
fails later is a failure, since its provider may have begun to work. Whoever waits for a place waits no longer than for
a connection. No proxies from the environment, certificates always checked.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable

from aiohappyeyeballs import start_connection
from yarl import URL

from penia_proxy.config import TimeoutsConfig
from penia_proxy.gateway.connection import Connection, LeanAnswer, request_head
from penia_proxy.gateway.deadlines import Deadlines
from penia_proxy.gateway.upstream import CONNECTIONS_MAX, Outgoing

EYEBALLS_S = 0.25
"""After which the next of an origin's addresses is tried beside the first (RFC 8305 §5)."""


class LeanClient:
    """See `penia_proxy.gateway.upstream.Client`. Belongs to the running loop."""

    def __init__(self, *, connections_max: int = CONNECTIONS_MAX, tls: ssl.SSLContext | None = None) -> None:
        """``connections_max`` is per origin; ``tls`` None: certificates are checked against the system's."""
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop)
        self._tls = tls or ssl.create_default_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        self._connections_max = connections_max
        self._pools: dict[URL, Pool] = {}

    async def send(self, request: Outgoing, limits: TimeoutsConfig, connected: Callable[[], None]) -> LeanAnswer:
        head = request_head(request)
        began = self._loop.time()
        connection = await self._pool(request.origin).take(min(limits.connect, limits.first_byte))
        try:
            connected()
            answer = connection.ask(request, head, limits.idle)
            await answer.head(began + limits.first_byte - self._loop.time())
        except BaseException:  # also the caller's leaving: the provider is hung up on
            connection.close()
            raise
        return answer

    async def close(self) -> None:
        self._deadlines.close()
        for pool in self._pools.values():
            pool.close()
        await asyncio.sleep(0)  # connections end in the loop's next step

    def _pool(self, origin: URL) -> "Pool":
        pool = self._pools.get(origin)
        if pool is None:
            tls = self._tls if origin.scheme == "https" else None
            pool = self._pools[origin] = Pool(self._loop, origin, tls, self._deadlines, self._connections_max)
        return pool


class Pool:
    """The connections to one origin."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: URL,
        tls: ssl.SSLContext | None,
        deadlines: Deadlines,
        connections_max: int,
    ) -> None:
        self._loop = loop
        self._host = origin.host or ""
        self._port = origin.port or 0
        self._tls = tls
        self._deadlines = deadlines
        self._connections_max = connections_max
        self._open: set[Connection] = set()
        self._dialling = 0
        self._resting: dict[Connection, None] = {}
        self._queue: deque[asyncio.Future[None]] = deque()
        """Who waits for a place; woken in turn when there may be one."""

    async def take(self, seconds: float) -> Connection:
        """Return a connection that nobody uses. Raises TimeoutError, or OSError where none can be made."""
        connection = self._rested()
        if connection is not None:
            return connection
        async with asyncio.timeout(seconds):
            while len(self._open) + self._dialling >= self._connections_max:
                await self._wait()
                connection = self._rested()
                if connection is not None:
                    return connection
            return await self._dial()

    def freed(self, connection: Connection) -> None:
        self._resting[connection] = None
        connection.rest()
        self._call_next()

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._resting.pop(connection, None)
        self._call_next()

    def close(self) -> None:
        """Hang up on everybody."""
        for connection in list(self._open):
            connection.close()

    def _rested(self) -> Connection | None:
        """Return the connection that rested least, which is the likeliest to be there still."""
        while self._resting:
            connection, _ = self._resting.popitem()
            connection.wake()
            if connection.is_fit():
                return connection
            connection.close()
        return None

    async def _wait(self) -> None:
        place = self._loop.create_future()
        self._queue.append(place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled():
                self._call_next()  # it was our turn, and we have left
            raise

    def _call_next(self) -> None:
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return

    async def _dial(self) -> Connection:
        self._dialling += 1
        try:
            addresses = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            dialled = await start_connection(addresses, happy_eyeballs_delay=EYEBALLS_S, loop=self._loop)
            dialled.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a model may think for minutes
            _, connection = await self._loop.create_connection(
                lambda: Connection(self, self._loop, self._deadlines),
                sock=dialled,
                ssl=self._tls,
                server_hostname=self._host if self._tls else None,
            )
        except BaseException:
            self._call_next()
            raise
        finally:
            self._dialling -= 1
        self._open.add(connection)
        return connection
