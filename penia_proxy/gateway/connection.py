"""
Speak HTTP/1.1 on one connection to a provider.

Its one job: one request out, one answer in, as bytes; and whether the connection is fit for another.
Rules: llhttp parses, strictly; what RFC 9112 leaves to the recipient's judgement is refused (transfer codings nobody
asked for, HTTP/0.9, upgrades). Nothing is read that nobody waits for: above PAUSE_BYTES the provider is held back. A
connection is used again only after a complete answer, with no byte before its request was sent whole and none after
its end; whatever else happens, it is closed.
"""

import asyncio
import re
import select
import sys
from collections.abc import Callable
from typing import Any, Protocol

from httptools import HttpParserError, HttpResponseParser
from multidict import CIMultiDict, CIMultiDictProxy

from penia_proxy.errors import InvalidRequest, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from penia_proxy.gateway.deadlines import Deadlines
from penia_proxy.gateway.upstream import HEAD_BYTES_MAX, KEEPALIVE_SECONDS, Outgoing, ReachedError

HEADERS_MAX = 256
PAUSE_BYTES = 262_144
"""Body bytes that wait for whoever reads them; uvloop reads as many at a time."""
RESUME_BYTES = PAUSE_BYTES // 4

_TOKENS = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TARGET = re.compile(r"/[!-~]*")


def request_head(request: Outgoing) -> bytes:
    """Return the request's head. Raises InvalidRequest for what would end a line or begin another request."""
    headers = request.headers
    if not (
        _TOKENS.fullmatch(request.method)
        and _TARGET.fullmatch(request.target)
        and (not headers or (_TOKENS.fullmatch("".join(headers.keys())) and "" not in headers))
        and not _CONTROLS.search("".join(headers.values()))
    ):
        raise InvalidRequest("The request has a header that cannot be sent.")
    lines = [f"{request.method} {request.target} HTTP/1.1\r\nHost: {request.origin.host_port_subcomponent}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
    if request.body or request.method not in ("GET", "HEAD", "DELETE", "OPTIONS"):
        lines.append(f"Content-Length: {len(request.body)}\r\n")
    lines.append("\r\n")
    # aiohttp's server decodes headers so: the bytes that came are the bytes that leave.
    return "".join(lines).encode("utf-8", "surrogateescape")


class LeanAnswer:
    """See `penia_proxy.gateway.upstream.Answer`."""

    __slots__ = (
        "_connection",
        "_deadlines",
        "_failure",
        "_idle_s",
        "_pieces",
        "_size",
        "_waiter",
        "begun",
        "broke",
        "deadline",
        "ended",
        "headers",
        "reason",
        "status",
    )

    def __init__(self, connection: "Connection", deadlines: Deadlines, idle_s: float) -> None:
        self.status = 0
        self.reason = ""
        self.headers: CIMultiDictProxy[str]
        self.begun = False
        self.broke: UpstreamError | None = None
        self.ended = False
        self.deadline = 0.0
        self._connection = connection
        self._deadlines = deadlines
        self._idle_s = idle_s
        self._pieces: list[bytes] = []
        self._size = 0
        self._failure = ""
        self._waiter: asyncio.Future[None] | None = None

    async def head(self, seconds: float) -> None:
        """Wait for the head. Raises TimeoutError, or ConnectionError where none came."""
        if not self.begun and not self._failure:
            await self._wait(seconds)
        if not self.begun:
            raise ConnectionError(self._failure)

    @property
    def waits(self) -> bool:
        return not self._pieces and not self.ended and not self._failure

    async def chunk(self) -> bytes:
        if self.waits:
            try:
                await self._wait(self._idle_s)
            except TimeoutError:
                self.close()
                self.broke = UpstreamTimeout("The provider's answer stalled.")
                raise ReachedError(self.broke) from None
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._size = 0
            self._connection.resume(self)
            return data
        if self._failure:
            self.broke = UpstreamUnreachable("The provider broke its answer off.")
            raise ReachedError(self.broke)
        return b""

    def close(self) -> None:
        if not self.ended:
            self._connection.abort(self)

    def begin(self, status: int, reason: str, headers: CIMultiDict[str]) -> None:
        """Take the head."""
        self.status, self.reason, self.headers = status, reason, CIMultiDictProxy(headers)
        self.begun = True
        self._wake()

    def feed(self, data: bytes) -> int:
        """Take body bytes; return how many wait to be read."""
        self._pieces.append(data)
        self._size += len(data)
        self._wake()
        return self._size

    def end(self) -> None:
        """Take that the body is complete."""
        self.ended = True
        self._wake()

    def fail(self, why: str) -> None:
        """Take that nothing more will come of an answer that is not complete."""
        self._failure = why
        self._wake()

    def expire(self) -> None:
        """End the wait: it took too long."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())

    async def _wait(self, seconds: float) -> None:
        self._waiter = self._connection.loop.create_future()
        self._deadlines.add(self, seconds)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._deadlines.discard(self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Owner(Protocol):
    """Who keeps connections."""

    def freed(self, connection: "Connection") -> None:
        """Take a connection back that is fit for another request."""
        ...

    def lost(self, connection: "Connection") -> None:
        """Forget a connection that is closed."""
        ...


class Connection(asyncio.Protocol):
    """One connection, used for one request after another."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> None:
        self.loop = loop
        self.deadline = 0.0
        self._owner = owner
        self._deadlines = deadlines
        self._transport: Any = None  # uvloop's transports are not asyncio's class
        self._parser = HttpResponseParser(self)
        self._answer: LeanAnswer | None = None
        self._paused = False
        self._surplus = False
        """Whether anything came after a complete answer."""
        self._is_quiet: Callable[[], bool]
        self._begin(bodiless=False)

    def _begin(self, *, bodiless: bool) -> None:
        """Begin to read an answer."""
        self._bodiless = bodiless
        self._complete = False
        self._reusable = False
        self._until_close = False
        self._head_bytes = 0
        self._unframed = 0
        """Bytes since the last of a body: the parser may be gathering them."""
        self._reason = b""
        self._fields: list[tuple[str, str]] = []

    def ask(self, request: Outgoing, head: bytes, idle_s: float) -> LeanAnswer:
        """Send a request; the answer comes by itself."""
        answer = self._answer = LeanAnswer(self, self._deadlines, idle_s)
        self._begin(bodiless=request.method == "HEAD")
        if request.body:
            self._transport.writelines((head, request.body))
        else:
            self._transport.write(head)
        return answer

    def is_fit(self) -> bool:
        """Whether nothing has come since the last answer, not even the connection's end."""
        return not self._transport.is_closing() and self._is_quiet()

    def rest(self) -> None:
        """Wait for the next request, for a while."""
        self._deadlines.add(self, KEEPALIVE_SECONDS)

    def wake(self) -> None:
        """End the rest."""
        self._deadlines.discard(self)

    def expire(self) -> None:
        """End: nobody has asked for this connection for so long."""
        self.close()

    def close(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    def abort(self, answer: LeanAnswer) -> None:
        """Hang up on the answer that is coming; one that has passed leaves the connection to others."""
        if answer is self._answer:
            self.close()

    def resume(self, answer: LeanAnswer) -> None:
        """Read on if reading was paused for this answer."""
        if self._paused and answer is self._answer:
            self._paused = False
            self._transport.resume_reading()

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._is_quiet = _watch(transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked: whatever it is, it must not become the next one's answer
            self.close()
            return
        self._unframed += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._break("what it said is not HTTP")
        if self._unframed > HEAD_BYTES_MAX:
            self._break("its head is too large")
        elif self._complete:
            self._free()

    def eof_received(self) -> None:
        if self._answer is not None and self._until_close and self._answer.begun:
            self._complete = True
            self._free()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._break("it hung up")
        self._deadlines.discard(self)
        self._owner.lost(self)

    # The parser calls these.

    def on_message_begin(self) -> None:
        if self._complete:
            self._surplus = True

    def on_status(self, text: bytes) -> None:
        self._reason += text

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if len(self._fields) >= HEADERS_MAX or self._head_bytes > HEAD_BYTES_MAX:
            raise ValueError("too many headers")
        self._fields.append((name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == 101:
            raise ValueError("it switches protocols, which nobody asked for")
        if self._complete or status < 200:
            return
        headers = CIMultiDict(self._fields)
        self._fields.clear()  # from here on, trailers: read to be counted, and dropped
        version, codings = self._parser.get_http_version(), headers.getall("Transfer-Encoding", None)
        if version not in ("1.1", "1.0") or (
            codings is not None and (version == "1.0" or [coding.lower() for coding in codings] != ["chunked"])
        ):
            raise ValueError("framed in a way that may be read differently elsewhere")
        answer = self._answer
        if answer is None:
            return
        reason = self._reason.decode("utf-8", "replace")
        self._reusable = self._parser.should_keep_alive()
        self._until_close = codings is None and "Content-Length" not in headers
        answer.begin(status, reason if reason.isprintable() else "", headers)
        if self._bodiless:
            # The parser does not know that a HEAD's answer has no body, and must not wait for one.
            self._complete = True
            self._reusable = False

    def on_body(self, data: bytes) -> None:
        if self._complete:  # of the answer to a HEAD
            return
        self._unframed = 0
        if self._answer is not None and self._answer.feed(data) > PAUSE_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.begun:
            self._complete = True
        else:  # of an interim answer
            self._reason = b""
            self._fields.clear()

    def _free(self) -> None:
        """End the answer, and be used again or close."""
        answer, self._answer = self._answer, None
        if answer is None:
            return
        answer.end()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        unsent = self._transport.get_write_buffer_size()
        if self._reusable and not self._surplus and not unsent and not self._transport.is_closing():
            self._owner.freed(self)
        else:
            self.close()

    def _break(self, why: str) -> None:
        """Fail the answer unless it is complete, and close."""
        if self._complete:
            self._surplus = True
            self._free()
            return
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.fail(why)
        self.close()


if sys.platform == "win32":

    def _watch(_transport: asyncio.BaseTransport) -> Callable[[], bool]:
        return lambda: True
else:

    def _watch(transport: asyncio.BaseTransport) -> Callable[[], bool]:
        """
        Return how to ask the kernel whether nothing can be read.

        A provider's hanging up may be known there and not here yet; what is sent then may or may not be heard.
        """
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return lambda: not poll.poll(0)
