"""
Send an answer to its caller.

Its one job: bytes out, for as long as somebody takes them.
Rules: once an answer has begun it can only go on or be cut, never replaced. A caller that takes nothing for as long as
a provider may say nothing has left.
"""

from aiohttp import web

from penia_proxy.gateway.deadlines import Deadlines

BEGUN = web.RequestKey("penia_answer_begun", bool)
"""Set on a request once its answer has begun: from then on it can only go on or be cut."""


class Downstream:
    """The way back to one caller."""

    def __init__(self, request: web.Request, deadlines: Deadlines, stalled_s: float) -> None:
        self.request = request
        self.deadline = 0.0
        self._deadlines = deadlines
        self._stalled_s = stalled_s

    @property
    def is_clear(self) -> bool:
        """Whether the caller has taken whatever was sent on its connection before."""
        transport = self.request.transport
        return transport is not None and transport.get_write_buffer_size() == 0

    async def begin(self, response: web.StreamResponse) -> None:
        """Send the answer's head."""
        self.request[BEGUN] = True
        await response.prepare(self.request)

    async def write(self, response: web.StreamResponse, data: bytes) -> None:
        """Send bytes. Raises ConnectionResetError where the caller has left, or CancelledError, as aiohttp will."""
        self._deadlines.add(self, self._stalled_s)
        try:
            await response.write(data)
        finally:
            self._deadlines.discard(self)

    def expire(self) -> None:
        """Hang up: it is there still, and has not read for so long that it will not."""
        if self.request.transport is not None:
            self.request.transport.abort()

    def cut(self) -> None:
        """End the connection without the ending of a whole answer: nobody must take a part for the whole."""
        if self.request.transport is not None:
            self.request.transport.close()
