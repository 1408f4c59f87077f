"""
Send an answer to its caller.

Its one job: head, framing and bytes out, for as long as somebody takes them.
Rules: once an answer has begun it can only go on or be cut, never replaced. A caller that takes nothing for as long as
a provider may say nothing has left.
"""

from penia_proxy.errors import InvariantError
from penia_proxy.gateway.deadlines import Deadlines
from penia_proxy.gateway.incoming import Incoming
from penia_proxy.gateway.upstream import Answer

BODILESS = frozenset({204, 304})
"""RFC 9110 §6.4.1."""

TOGETHER_BYTES_MAX = 65_536
"""A body up to here is joined with its head: copying it costs less than a second piece does."""

Fields = list[tuple[str, str]]
"""An answer's headers, in their order."""


class Downstream:
    """The way back to one caller."""

    __slots__ = (
        "_body",
        "_chunked",
        "_deadlines",
        "_incoming",
        "_line",
        "_stalled_s",
        "deadline",
    )

    def __init__(self, incoming: Incoming, deadlines: Deadlines, stalled_s: float) -> None:
        self.deadline = 0.0
        self._incoming = incoming
        self._line = incoming.line
        self._deadlines = deadlines
        self._stalled_s = stalled_s
        self._chunked = False
        self._body: list[bytes] = []
        """What was written and not sent yet."""

    def send(self, status: int, reason: str, fields: Fields, body: bytes) -> None:
        """Send an answer that is all there, if the caller is there still."""
        if self._line.transport.is_closing():
            return
        incoming = self._incoming
        said, body = whole(incoming, status, reason, fields, body)
        incoming.begun = True
        if len(body) <= TOGETHER_BYTES_MAX:
            self._line.transport.write(said + body)
        else:
            self._line.transport.writelines((said, body))

    async def taken(self) -> None:
        """Wait until enough of what was sent has been taken. Raises ConnectionResetError where the caller has left."""
        if self._line.is_full:
            await self._drained()

    def begin(self, status: int, reason: str, fields: Fields, length: str | None = None) -> None:
        """Send the head of an answer whose body follows, of so many bytes or, where that is not known, in chunks."""
        incoming = self._incoming
        self._chunked = length is None and status not in BODILESS and incoming.head.method != "HEAD"
        framing = "Transfer-Encoding: chunked\r\n" if self._chunked else ""
        if length is not None:
            framing = f"Content-Length: {length}\r\n"
        incoming.begun = True
        if not self._line.transport.is_closing():
            # At once: reading the first chunks, of which there may be many already, takes a moment.
            self._line.transport.write(_head(incoming, status, reason, fields, framing))

    async def write(self, data: bytes) -> None:
        """Send bytes, when `flush` is asked to. Raises ConnectionResetError where the caller has left."""
        line = self._line
        if line.transport.is_closing():
            raise ConnectionResetError
        self._body.append(data)
        if line.is_full:
            self.flush()
            await self._drained()

    async def next_of(self, answer: Answer) -> bytes:
        """Return an answer's next chunk; what was written leaves before it is waited for. Raises as `Answer.chunk`."""
        if answer.waits:
            self.flush()
        return await answer.chunk()

    def end(self) -> None:
        """Say that the answer is whole."""
        self.flush(b"0\r\n\r\n" if self._chunked else b"")

    def flush(self, end: bytes = b"") -> None:
        """
        Let what was written leave, before whoever writes waits for anything.

        In one piece: a call of the system costs more than reading a chunk does.
        """
        transport = self._line.transport
        if transport.is_closing():
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        said = b"%x\r\n%b\r\n%b" % (len(body), body, end) if body and self._chunked else body + end
        if said:
            transport.write(said)

    async def _drained(self) -> None:
        self._deadlines.add(self, self._stalled_s)
        try:
            await self._line.drained()
        finally:
            self._deadlines.discard(self)

    def expire(self) -> None:
        """Hang up: it is there still, and has not read for so long that it will not."""
        self._line.transport.abort()

    def cut(self) -> None:
        """End the connection without the ending of a whole answer: nobody must take a part for the whole."""
        self.flush()
        self._line.end()


def whole(incoming: Incoming, status: int, reason: str, fields: Fields, body: bytes) -> tuple[bytes, bytes]:
    """Return the head of an answer that is all there, and what is sent of its body."""
    if status in BODILESS:
        return _head(incoming, status, reason, fields, ""), b""
    said = _head(incoming, status, reason, fields, f"Content-Length: {len(body)}\r\n")
    return said, b"" if incoming.head.method == "HEAD" else body


def _head(incoming: Incoming, status: int, reason: str, fields: Fields, framing: str) -> bytes:
    closing = "" if incoming.keeps else "Connection: close\r\n"
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
    head = f"HTTP/1.1 {status} {reason}\r\n{lines}{closing}{framing}\r\n"
    ends = len(fields) + (2 if incoming.keeps else 3) + (1 if framing else 0)
    if head.count("\n") != ends or head.count("\r") != ends:
        raise InvariantError("a header of an answer has a line break")
    return head.encode("utf-8", "surrogateescape")
