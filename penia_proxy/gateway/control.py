"""
Hand what is not a plain call to aiohttp.

Its one job: aiohttp's end of a connection, for the API, the dashboard and WebSockets.
Rule: it is given one request at a time, framed already, so that whose turn it is is never in doubt.
"""

import asyncio
import logging
import math

from aiohttp import web

from penia_proxy.config import ServerConfig
from penia_proxy.gateway.heads import KILOBYTE

LINGER_S = 2.0
"""How long the rest of a body that was refused is read and forgotten, so that its sender sees the answer."""

NEVER_S = 1e9
"""Whoever gives it requests closes connections that rest."""


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


class Control(web.RequestHandler):
    """aiohttp's end of a connection."""

    __slots__ = ("closes",)

    def __init__(self, manager: web.Server, limits: ServerConfig) -> None:
        line_bytes = int(limits.max_header_line_kb * KILOBYTE)
        super().__init__(
            manager,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=NEVER_S,
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
        self.closes = False
        """Whether the answer that is being made is the connection's last."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        super().connection_lost(exc)
        # aiohttp leaves the way to its WebSocket here, and so a circle that holds all of a connection that is gone.
        self._data_received_cb = None

    @property
    def is_busy(self) -> bool:
        """Whether a request is here, or being answered."""
        return self._waiter is None or bool(self._messages)


def is_last(request: web.BaseRequest) -> bool:
    """Whether a request's connection is to end with its answer."""
    control = request.protocol
    return isinstance(control, Control) and control.closes
