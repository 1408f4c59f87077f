"""
Listen, and keep the time and the size of what comes before a request.

Its one job: the port, and connections to it: how many there are, how long a header may take, and how large it may be.
What comes after the header is its handler's business.
Rules: what is too much is told and closed, never left waiting. aiohttp bounds a header line by line, and gives it as
long as an idle connection; the whole of it is bounded here.
"""

import asyncio
import logging
import math
import sys
from typing import cast

import orjson
from aiohttp import web

from penia_proxy.config import ServerConfig

log = logging.getLogger(__name__)

KILOBYTE = 1024

BACKLOG = 1_024
"""Connections that the system keeps until they are accepted."""

REFUSED_MAX = 256
"""Connections that are being told that there are too many; further ones are only closed."""

REFUSED_S = 2.0
"""How long one may take to hear it."""

LINGER_S = 2.0
"""How long the rest of a body that was refused is read and forgotten, so that its sender sees the answer."""

FILES_OF_OUR_OWN = 256
"""Open files beside connections: the ledger's, libraries, and what a process has anyway."""


class Unquoting(logging.Filter):
    """
    Take what a request said out of the server's own log lines.

    aiohttp logs a malformed request's raw header line, which may be a key, and a handler's traceback.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the kind of what happened, and nothing of what was sent."""
        error = record.exc_info[0] if record.exc_info else None
        record.msg = f"a request could not be handled ({error.__name__ if error else 'malformed'})"
        record.args, record.exc_info, record.exc_text = (), None, None
        return True


http_log = logging.getLogger(f"{__name__}.http")
http_log.addFilter(Unquoting())


def _canned(status: str, code: str, sentence: str, *headers: str) -> bytes:
    body = orjson.dumps({"error": sentence, "code": code, "detail": None})
    head = (
        f"HTTP/1.1 {status}",
        "Server: Penia",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


FULL = _canned("503 Service Unavailable", "overloaded", "Every connection is taken; try again.", "Retry-After: 1")
SLOW = _canned("408 Request Timeout", "request_timeout", "The request's header did not arrive in time.")
LARGE = _canned("431 Request Header Fields Too Large", "header_too_large", "The request's header is too large.")


class Listener:
    """The port. Called, it makes the protocol of a new connection."""

    def __init__(self, server: web.Server, limits: ServerConfig) -> None:
        self.limits = limits
        self._manager = server
        self._server: asyncio.Server
        self.connections = 0
        self.refusing = 0

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

    def close(self) -> None:
        """Take no more connections; those that are there stay."""
        self._server.close()

    def __call__(self) -> asyncio.BaseProtocol:
        if self.connections >= self.limits.max_connections:
            return Refusal(self)
        return Connection(self, self._manager)


class Connection(web.RequestHandler):
    """A connection that requests come on."""

    __slots__ = ("_head_bytes", "_head_timer", "_listener")

    def __init__(self, listener: Listener, manager: web.Server) -> None:
        limits = listener.limits
        line_bytes = int(limits.max_header_line_kb * KILOBYTE)
        super().__init__(
            manager,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.keepalive_s,
            max_line_size=line_bytes,
            max_field_size=line_bytes,
            max_headers=limits.max_headers,
            lingering_time=LINGER_S,
            access_log=None,  # type: ignore[arg-type]  # the documented way to have none
            logger=http_log,
            # What arrives compressed is forwarded compressed.
            auto_decompress=False,
            # aiohttp rounds longer times up to whole seconds, at which the heartbeats of all WebSockets come at once.
            timeout_ceil_threshold=math.inf,
        )
        self._listener = listener
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, and wait for the header of its first request."""
        self._listener.connections += 1
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count it no more."""
        self._listener.connections -= 1
        self._forget_head()
        super().connection_lost(exc)
        # aiohttp leaves the way to its WebSocket here, and so a circle that holds all of a connection that is gone.
        self._data_received_cb = None

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a header that is not whole yet are counted."""
        super().data_received(data)
        if self._waiter is None or self._messages:  # a request is here, or being answered
            if self._head_timer is not None or self._head_bytes:
                self._forget_head()
            return
        self._head_bytes += len(data)
        if self._head_bytes > self._listener.limits.max_header_kb * KILOBYTE:
            self._refuse(LARGE)
        elif self._head_timer is None:
            self._await_head()

    def _await_head(self) -> None:
        seconds = self._listener.limits.header_timeout_s
        self._head_timer = asyncio.get_running_loop().call_later(seconds, self._refuse, SLOW)

    def _forget_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, said: bytes) -> None:
        self._forget_head()
        if self.transport is not None:
            self.transport.write(said)
        self.force_close()


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
        line.write(FULL)
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
