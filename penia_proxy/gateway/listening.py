"""
Listen.

Its one job: the port, and connections to it: how many there are.
Rule: what is too much is told and closed, never left waiting.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, cast

from aiohttp import web

from penia_proxy.clock import Clock
from penia_proxy.config import ServerConfig
from penia_proxy.gateway.control import Control
from penia_proxy.gateway.deadlines import Deadlines
from penia_proxy.gateway.heads import Heads
from penia_proxy.gateway.inbound import Inbound, canned, dated
from penia_proxy.gateway.incoming import Incoming

log = logging.getLogger(__name__)

BACKLOG = 1_024
"""Connections that the system keeps until they are accepted."""

REFUSED_MAX = 256
"""Connections that are being told that there are too many; further ones are only closed."""

REFUSED_S = 2.0
"""How long one may take to hear it."""

FILES_OF_OUR_OWN = 256
"""Open files beside connections: the ledger's, libraries, and what a process has anyway."""


FULL = canned("503 Service Unavailable", "overloaded", "Every connection is taken; try again.", "Retry-After: 1")


class Listener:
    """The port. Called, it makes the protocol of a new connection."""

    def __init__(
        self,
        server: web.Server,
        limits: ServerConfig,
        clock: Clock,
        answer: Callable[[Incoming], Coroutine[Any, Any, None]],
    ) -> None:
        """Give calls to ``answer``, the API's requests and WebSockets to aiohttp's ``server``."""
        self.take(limits)
        self.clock = clock
        self.deadlines = Deadlines(asyncio.get_running_loop())
        self.answer = answer
        self._manager = server
        self._server: asyncio.Server
        self._lines: set[Inbound] = set()
        self.refusing = 0

    def take(self, limits: ServerConfig) -> None:
        """Take limits for what comes from now on; what was read of heads went by others."""
        self.limits = limits
        self.heads = Heads()

    async def open(self) -> None:
        """Begin to listen. Raises OSError where the port is taken."""
        _allow_files(self.limits.max_connections + self.limits.max_calls + FILES_OF_OUR_OWN)
        self._server = await asyncio.get_running_loop().create_server(
            self, self.limits.host, self.limits.port, backlog=BACKLOG
        )

    @property
    def url(self) -> str:
        """Where it listens, with the port that was given or chosen."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._lines)

    def close(self) -> None:
        """Take no more connections, and end those on which nothing is under way."""
        self._server.close()
        for line in list(self._lines):
            line.rest()

    def hang_up(self) -> None:
        """End every connection that is left."""
        self.deadlines.close()
        for line in list(self._lines):
            line.transport.close()

    def __call__(self) -> asyncio.BaseProtocol:
        if len(self._lines) >= self.limits.max_connections:
            return Refusal(self)
        return Inbound(self)

    def arrived(self, line: Inbound) -> None:
        """Count a connection."""
        self._lines.add(line)

    def gone(self, line: Inbound) -> None:
        """Count it no more."""
        self._lines.discard(line)

    def control(self) -> Control:
        """Return aiohttp's end of a connection."""
        return Control(self._manager, self.limits)


class Refusal(asyncio.Protocol):
    """A connection beyond the limit: told so and heard out, as closing on what it sends would take the answer back."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say that there are too many."""
        line = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        if self._listener.refusing >= REFUSED_MAX:
            line.close()
            return
        self._listener.refusing += 1
        self._timer = asyncio.get_running_loop().call_later(REFUSED_S, line.abort)
        line.write(dated(FULL, self._listener.clock))
        line.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the interface's
        """Count it no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._listener.refusing -= 1


def _allow_files(wanted: int) -> None:
    """Let this process open so many files, as far as the system allows it; say so where it does not."""
    if sys.platform == "win32":  # it has no such limit
        return
    import resource  # noqa: PLC0415 - POSIX only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning(
            "the system lets this process open %d files, %d fewer than server.max_connections and max_calls may need:"
            " raise it (ulimit -n) or lower them",
            allowed,
            wanted - allowed,
        )
