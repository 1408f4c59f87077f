"""
Read one request.

Its one job: what a caller asks, and the body of it as it comes, bounded in size and time.
Rule: what nobody has asked for yet is not read beyond AHEAD_BYTES.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from multidict import CIMultiDictProxy

from penia_proxy.config import ServerConfig
from penia_proxy.errors import InvalidRequest, PayloadTooLarge, RequestTimeout
from penia_proxy.gateway.heads import Head

MEGABYTE = 1024 * 1024

AHEAD_BYTES = 262_144
"""Of a body, read before it is asked for."""

UNFRAMED_BYTES_MAX = 65_536
"""Of chunk sizes, their extensions and trailers, on end: they are read to be counted, and dropped."""

STEP_BYTES = 16_384
"""Parsed at a time, as what is no body is counted from the last that was."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Line(Protocol):
    """The connection that a request came on."""

    transport: asyncio.Transport

    def hold_back(self) -> None:
        """Read no more for now."""
        ...

    def go_on(self) -> None:
        """Read again."""
        ...

    def end(self) -> None:
        """Close, once what was written has been taken."""
        ...

    async def drained(self) -> None:
        """Wait until what was written has been taken, as far as it must."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be taken that whoever writes must wait."""
        ...


class Incoming:
    """One request, from the moment its head is there."""

    __slots__ = (
        "_left",
        "_parts",
        "_pieces",
        "_size",
        "_waiter",
        "begun",
        "broken",
        "complete",
        "head",
        "keeps",
        "line",
        "task",
    )

    def __init__(self, line: Line, head: Head, length: int | None, raw: bytes) -> None:
        """``length`` None: the body comes in chunks, for which the parser has to see the ``raw`` head as well."""
        self.line = line
        self.head = head
        self.task: asyncio.Task[None]
        """The task that answers it."""
        self.begun = False
        """Whether its answer has begun: from then on that can only go on or be cut."""
        self.complete = length == 0
        """Whether the whole body is there."""
        self.broken = False
        """Whether no more of the body will come."""
        self.keeps = head.keeps
        """Whether another request may follow on this connection."""
        self._left = length or 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._parts = _Parts(raw) if length is None else None

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The caller's headers."""
        return self.head.headers

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the body; return those that come after its end."""
        rest = b""
        if self._parts is not None:
            data = self._parts.feed(data)
            self.complete, self.broken = self._parts.complete, self._parts.broken
            if self._parts.surplus:  # it cannot be told from the body's own end: it has to be sent again
                self.keeps = False
        else:
            left = self._left
            if len(data) > left:
                data, rest = data[:left], data[left:]
            self._left = left - len(data)
            self.complete = self._left == 0
        if data:
            self._pieces.append(data)
            self._size += len(data)
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif self._size > AHEAD_BYTES and not self.complete:
            self.line.hold_back()
        return rest

    @property
    def is_over(self) -> bool:
        """Whether nothing of the body is to be waited for."""
        return self.complete or self.broken

    def discard(self) -> None:
        """Forget what was read and not taken."""
        self._pieces.clear()
        self._size = 0

    async def body(self, server: ServerConfig, carry: Callable[[int], None]) -> bytes:
        """
        Return the body; ``carry`` is told of each piece, and raises Overloaded where there is no room for it.

        Raises PayloadTooLarge, RequestTimeout, InvalidRequest.
        """
        bytes_max = int(server.max_body_mb * MEGABYTE)
        if self.complete:  # as most are: it came with its head
            pieces = self._pieces
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self.discard()
            if len(body) > bytes_max:
                raise _too_large(server)
            carry(len(body))
            return body
        if self._size + self._left > bytes_max:
            raise _too_large(server)
        if self.head.expects and not self._size:
            self.line.transport.write(CONTINUE)
        try:
            async with asyncio.timeout(server.body_timeout_s):
                body = await self._read(bytes_max, carry)
        except TimeoutError as error:
            raise RequestTimeout("The body did not arrive in time.") from error
        if len(body) > bytes_max:
            raise _too_large(server)
        return body

    async def _read(self, bytes_max: int, carry: Callable[[int], None]) -> bytes:
        """Read to the end, or a little more than is accepted."""
        taken: list[bytes] = []
        size = 0
        while True:
            new = self._size
            carry(new)
            size += new
            taken += self._pieces
            self.discard()
            if self.complete or size > bytes_max:
                return b"".join(taken)
            if self.broken:
                raise InvalidRequest("The body broke off.")
            self._waiter = asyncio.get_running_loop().create_future()
            self.line.go_on()
            try:
                await self._waiter
            finally:
                self._waiter = None


def _too_large(server: ServerConfig) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {server.max_body_mb:g} MB.")


class _Parts:
    """A body in chunks."""

    def __init__(self, raw: bytes) -> None:
        self.complete = False
        self.broken = False
        self.surplus = False
        """Whether anything came with its end that is not its own."""
        self._pieces: list[bytes] = []
        self._unframed = 0
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(raw)

    def feed(self, data: bytes) -> bytes:
        """Return what the bytes are of the body."""
        if self.complete or self.broken:
            self.surplus = True
            return b""
        try:
            for at in range(0, len(data), STEP_BYTES):
                piece = data[at : at + STEP_BYTES]
                self._unframed += len(piece)
                self._parser.feed_data(piece)
        except HttpParserUpgrade:
            pass  # it asked to become something else, and its body is whole
        except HttpParserError:
            self.broken = not self.complete
            self.surplus = True
        if self._unframed > UNFRAMED_BYTES_MAX and not self.complete:
            self.broken = True
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body

    # The parser calls these.

    def on_message_begin(self) -> None:
        if self.complete:
            self.surplus = True

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self._unframed = 0
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        self.complete = True
