"""
Stand between a client and a gateway, as a network does.

Its one job: pass bytes on in both directions, until it is told to cut every line, to let nothing through, or to take
nobody.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Wire:
    """A port that leads to another one."""

    def __init__(self, port: int) -> None:
        self.leads_to = port
        self.url = ""
        self.passes = asyncio.Event()
        """Clear: what is sent arrives nowhere, and no end of it is told."""
        self.passes.set()
        self.taking = True
        self._lines: set[asyncio.StreamWriter] = set()

    async def serve(self, ours: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        if not self.taking:
            answer.transport.abort()
            return
        try:
            theirs, ask = await asyncio.open_connection("127.0.0.1", self.leads_to)
        except OSError:
            answer.transport.abort()
            return
        self._lines |= {answer, ask}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(ours, ask))
                both.create_task(self._carry(theirs, answer))
        finally:
            for end in (answer, ask):
                self._lines.discard(end)
                end.transport.abort()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(65_536):
                await self.passes.wait()
                sink.write(piece)
                await sink.drain()
            sink.close()

    def cut(self) -> None:
        """End every connection, as a network does that is gone."""
        for end in self._lines:
            end.transport.abort()


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    """Run a wire to a port of this machine."""
    made = Wire(port)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        made.passes.set()
        made.cut()
        server.close()
