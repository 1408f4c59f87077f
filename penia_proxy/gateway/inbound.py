"""
Carry the requests of one connection, one after another.

Its one job: the connection: which request is whose (a call's, or aiohttp's), that each is answered before the next
is looked at, and how long and how large a head may be.
Rules: what is too much is told and closed, never left waiting. A connection is used again only after a request that was
read to its end, and an answer that was whole.
"""

import asyncio
import logging
import re
from collections.abc import Coroutine
from typing import Any, Literal, Protocol, cast

import orjson

from penia_proxy.clock import Clock
from penia_proxy.config import ServerConfig
from penia_proxy.gateway.control import LINGER_S, Control
from penia_proxy.gateway.deadlines import Deadlines
from penia_proxy.gateway.heads import KILOBYTE, Head, Heads, MalformedError
from penia_proxy.gateway.incoming import Incoming
from penia_proxy.gateway.routes import is_call
from penia_proxy.gateway.stamp import date_of

log = logging.getLogger(__name__)

EARLY_BYTES_MAX = 65_536
"""Of requests that are sent before the last one is answered; more is read then."""


_LIKE_A_REQUEST = re.compile(rb"[\r\n]*[A-Z]")


AGAIN_S = 0.001
AGAIN_S_MAX = 0.05
"""Twice as long each time."""

ENDING_S = 30.0
"""How long a caller may take to read the last of what was sent to it."""


def canned(status: str, code: str, sentence: str, *headers: str) -> bytes:
    """Return an answer, head and all but its date, after which the connection ends."""
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


def dated(said: bytes, clock: Clock) -> bytes:
    """Return a canned answer as it is sent now."""
    return said.replace(b"\r\n", b"\r\nDate: %b\r\n" % date_of(clock.now()).encode(), 1)


SLOW = canned("408 Request Timeout", "request_timeout", "The request's header did not arrive in time.")
LARGE = canned("431 Request Header Fields Too Large", "header_too_large", "The request's header is too large.")
MALFORMED = canned("400 Bad Request", "malformed_request", "The request is no HTTP that can be read in one way only.")


Wait = Literal["head", "request", "rest", "taken"]
"""
What a connection waits for: the rest of a head, a next request, the rest of a body that was refused, or that what was
sent is taken.
"""


class Port(Protocol):
    """Where connections come from, and their requests go to."""

    clock: Clock
    limits: ServerConfig
    heads: Heads
    deadlines: Deadlines

    def arrived(self, line: "Inbound") -> None:
        """Count a connection."""
        ...

    def gone(self, line: "Inbound") -> None:
        """Count it no more."""
        ...

    def answer(self, incoming: Incoming) -> Coroutine[Any, Any, None]:
        """Answer a call."""
        ...

    def control(self) -> Control:
        """Return aiohttp's end of a connection."""
        ...


class Inbound(asyncio.Protocol):
    """A connection that requests come on."""

    __slots__ = (
        "_buffer",
        "_control",
        "_drain",
        "_held_back",
        "_incoming",
        "_is_controls",
        "_left",
        "_loop",
        "_port",
        "_waits_for",
        "deadline",
        "is_full",
        "transport",
    )

    def __init__(self, port: Port) -> None:
        self.deadline = 0.0
        self.transport: asyncio.Transport
        self.is_full = False
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        """What has come of the next request."""
        self._incoming: Incoming | None = None
        """The call that is being answered."""
        self._control: Control | None = None
        self._left = 0
        """Of the body of the request that aiohttp has."""
        self._is_controls = False
        """Whether all that comes is aiohttp's from here on."""
        self._held_back = False
        self._drain: asyncio.Future[None] | None = None
        self._waits_for: Wait = "head"

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._port.arrived(self)
        self._wait("head", self._port.limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.deadlines.discard(self)
        if self._drain is not None and not self._drain.done():
            self._drain.set_exception(ConnectionResetError())
        if (incoming := self._incoming) is not None:
            incoming.task.cancel()
            if incoming.task.done():
                self._forget(incoming)
        if self._control is not None:
            self._control.connection_lost(exc)
            self._control = None
        self._port.gone(self)

    def pause_writing(self) -> None:
        self.is_full = True
        if self._control is not None:
            self._control.pause_writing()

    def resume_writing(self) -> None:
        self.is_full = False
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
        if self._control is not None:
            self._control.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._incoming is not None:
            self._of_call(self._incoming, data)
        elif self._control is not None and (self._is_controls or self._control.is_busy):
            self._of_control(self._control, data)
        else:
            self._buffer = self._buffer + data if self._buffer else data
            self._look()

    # Whoever answers a call calls these.

    def hold_back(self) -> None:
        if not self._held_back:
            self._held_back = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        if self._held_back:
            self._held_back = False
            self.transport.resume_reading()

    async def drained(self) -> None:
        """Wait until enough has been taken. Raises ConnectionResetError where the caller has left."""
        while self.is_full:
            if self.transport.is_closing():
                raise ConnectionResetError
            self._drain = self._loop.create_future()
            try:
                await self._drain
            finally:
                self._drain = None

    def rest(self) -> None:
        """Close, unless something is under way."""
        if self._incoming is None and not (self._control is not None and self._control.is_busy):
            self.end()

    def end(self) -> None:
        """Close once the caller has taken what was sent, or has had its time to."""
        if not self.transport.is_closing():
            self.transport.close()
            self._wait("taken", ENDING_S)

    def expire(self) -> None:
        """End what has waited too long."""
        if self._waits_for == "head":
            self._refuse(SLOW)
        elif self._waits_for == "request" and self._control is not None and self._control.is_busy:
            self._wait("request", self._port.limits.keepalive_s)  # nobody tells us when it has answered
        elif self._waits_for == "taken":
            self.transport.abort()
        else:
            self.end()

    def _wait(self, what: Wait, seconds: float) -> None:
        self._waits_for = what
        self._port.deadlines.add(self, seconds)

    def _malformed(self, why: str) -> None:
        log.warning("a request could not be handled (%s)", why)
        self._refuse(MALFORMED)

    def _refuse(self, said: bytes) -> None:
        self.transport.write(dated(said, self._port.clock))
        self.end()

    def _look(self) -> None:
        """See whether a head is whole, and whose it is."""
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # RFC 9112 §2.2
            buffer = self._buffer = buffer[2:]
        if not buffer:
            return
        limits = self._port.limits
        end = buffer.find(b"\r\n\r\n") + 4
        if (len(buffer) if end < 4 else end) > limits.max_header_kb * KILOBYTE:
            self._refuse(LARGE)
            return
        if end < 4:
            if b"\n\n" in buffer:
                self._malformed("lines without CR")
                return
            self.go_on()
            if self._waits_for != "head":  # the first bytes after a rest
                self._wait("head", limits.header_timeout_s)
            return
        raw, self._buffer = buffer[:end], buffer[end:]
        try:
            head, length = self._port.heads.read(raw, limits)
        except MalformedError as error:
            self._malformed(str(error))
            return
        if head.upgrades or not is_call(head.target):
            self._hand_over(head, length, raw)
        else:
            self._begin(head, length, raw)

    def _begin(self, head: Head, length: int | None, raw: bytes) -> None:
        self._port.deadlines.discard(self)
        incoming = self._incoming = Incoming(self, head, length, raw)
        early = self._buffer
        if early and not incoming.complete:
            self._buffer = incoming.feed(early)
        if self._buffer and not _LIKE_A_REQUEST.match(self._buffer):
            # Its length is not true, so that nobody can say what it is.
            self._incoming = None
            self._malformed("no request behind a request")
            return
        incoming.task = self._loop.create_task(self._answer(incoming))

    async def _answer(self, incoming: Incoming) -> None:
        is_whole = False
        try:
            await self._port.answer(incoming)
            if self.is_full:  # whoever asks and does not read is not asked what else it wants
                self._wait("taken", self._port.limits.keepalive_s)
                await self.drained()
            is_whole = True
        except ConnectionResetError:
            pass  # the caller has left
        except Exception as error:  # noqa: BLE001 - its text could quote the request
            log.error("a request could not be handled (%s)", type(error).__name__)  # noqa: TRY400
        finally:
            self._over(incoming, is_whole=is_whole)

    def _over(self, incoming: Incoming, *, is_whole: bool) -> None:
        """Go on to the next request, or end."""
        if is_whole and not incoming.complete and not self.transport.is_closing():
            # A connection that is closed on what its caller still sends may take the answer back.
            incoming.discard()
            self.go_on()
            self._wait("rest", LINGER_S)
            return
        self._forget(incoming)
        if not is_whole or not incoming.keeps:
            self.end()
        elif not self.transport.is_closing():
            self._wait("request", self._port.limits.keepalive_s)
            self._next()

    def _next(self) -> None:
        """Look at what has come; read on only when little of it is left."""
        if len(self._buffer) <= EARLY_BYTES_MAX:
            self.go_on()
        if self._buffer:
            self._look()

    def _forget(self, incoming: Incoming) -> None:
        self._incoming = None
        del incoming.task  # one that was cancelled keeps where it was, and so all of a connection that is gone

    def _of_call(self, incoming: Incoming, data: bytes) -> None:
        if incoming.complete:
            self._buffer += data
            if len(self._buffer) > EARLY_BYTES_MAX:
                self.hold_back()
            return
        self._buffer = incoming.feed(data)
        if incoming.task.done():  # it was refused
            incoming.discard()
            if incoming.is_over:
                self.end()

    def _hand_over(self, head: Head, length: int | None, raw: bytes) -> None:
        """Give a request to aiohttp: exactly that, or the connection with it, where its end is not known."""
        control = self._control
        if control is None:
            control = self._control = self._port.control()
            control.connection_made(self.transport)
        if head.upgrades or length is None:
            self._port.deadlines.discard(self)
            self._is_controls = True
            control.closes = not head.upgrades
        else:
            self._wait("request", self._port.limits.keepalive_s)
            self._left = length
        control.data_received(raw)
        if self._buffer:
            early, self._buffer = self._buffer, b""
            self._of_control(control, early)

    def _of_control(self, control: Control, data: bytes) -> None:
        if not self._is_controls:
            data, early = data[: self._left], data[self._left :]
            self._left -= len(data)
            if early:
                self._buffer += early
                self.hold_back()
                self._loop.call_later(AGAIN_S, self._again, control, AGAIN_S)
        if data:
            control.data_received(data)

    def _again(self, control: Control, waited: float) -> None:
        """Look at what came before aiohttp was done, which tells nobody when it is."""
        if self.transport.is_closing():
            return
        if control.is_busy:
            pause = min(2 * waited, AGAIN_S_MAX)
            self._loop.call_later(pause, self._again, control, pause)
        else:
            self._next()
