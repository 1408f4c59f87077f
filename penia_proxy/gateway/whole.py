"""
Send an answer that is all there.

Its one job: head and body of a short answer as one write, without the steps that aiohttp takes for one that may be
streamed, compressed or chunked.
Rule: longer ones, and those behind others that were not taken yet, are aiohttp's: they may have to wait for the reader.
"""

from collections.abc import Callable
from datetime import datetime
from email.utils import formatdate
from functools import lru_cache

from aiohttp import ClientConnectionResetError, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from penia_proxy.errors import InvariantError

SHORT_BYTES_MAX = 32_768
"""Half of what a transport keeps before it asks its writer to wait."""


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    """Return an HTTP date (RFC 9110 §5.6.7); a thousand answers have the same."""
    return formatdate(second, usegmt=True)


class Whole(web.StreamResponse):
    """A short answer with a body. Its framing and its ``Connection`` are ours, all else is in ``headers``."""

    def __init__(self, status: int, reason: str, body: bytes, now: Callable[[], datetime]) -> None:
        """``now`` is asked for answers that say no ``Date``."""
        super().__init__(status=status, reason=reason)
        self._whole = body
        self._now = now
        self._sent = False
        self._keeps = True

    @property
    def prepared(self) -> bool:
        """Whether it has been sent."""
        return self._sent

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow."""
        return self._keeps

    def force_close(self) -> None:
        """Let no request follow."""
        self._keeps = False

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send it. Raises ConnectionResetError where the caller has left."""
        if self._sent:
            return None
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        self._keeps = self._keeps and request.keep_alive
        headers = self.headers
        lines = [f"HTTP/1.1 {self.status} {self.reason}", *[f"{name}: {value}" for name, value in headers.items()]]
        if "Date" not in headers:  # RFC 9110 §6.6.1
            lines.append(f"Date: {_date(int(self._now().timestamp()))}")
        if not self._keeps:
            lines.append("Connection: close")
        lines.append(f"Content-Length: {len(self._whole)}\r\n\r\n")
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) + 1 or head.count("\r") != len(lines) + 1:
            raise InvariantError("a header of an answer has a line break")
        self._sent = True
        transport.write(head.encode("utf-8", "surrogateescape") + self._whole)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: it has been sent."""
