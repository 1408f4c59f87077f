"""
A door before a server: it counts the requests that go in, and can speak TLS.

Its one job: what an SDK did on the wire, retries included, whatever answered it. Rule: bytes pass unchanged.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

_MARK = b" HTTP/1.1\r\n"
"""What ends the first line of a request, and is in no body that a test sends."""


class Door:
    """A listener on loopback before one address."""

    def __init__(self, behind: str) -> None:
        self.url = ""
        self.requests = 0
        self._open: list[asyncio.StreamWriter] = []
        self._ended = asyncio.Event()
        _, _, host = behind.partition("://")
        self._host, _, port = host.partition(":")
        self._port = int(port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(self._host, self._port)
        self._open += [writer, inner_writer]
        try:
            await asyncio.gather(self._inward(reader, inner_writer), _pipe(inner_reader, writer))
        finally:
            inner_writer.close()
            writer.close()
            self._ended.set()

    async def close(self) -> None:
        """Break what is still open: an SDK's connection may be left to the garbage collector."""
        for writer in self._open:
            writer.transport.abort()
        if self._open:
            await self._ended.wait()

    async def _inward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tail = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                seen = tail + data
                self.requests += seen.count(_MARK)
                # Too short for a mark of its own, so none is counted twice.
                tail = seen[1 - len(_MARK) :]
                writer.write(data)
                await writer.drain()
            writer.write_eof()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def door(behind: str, context: ssl.SSLContext | None = None) -> AsyncIterator[Door]:
    """Open a door before an address while the context lasts."""
    opened = Door(behind)
    # Who is gone says no good-bye, for which TLS would wait half a minute.
    patience: dict[str, Any] = {"ssl": context, "ssl_shutdown_timeout": 0.1} if context else {}
    server = await asyncio.start_server(opened._serve, "127.0.0.1", 0, **patience)
    opened.url = f"{'https' if context else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield opened
    finally:
        server.close()
        await opened.close()
        await server.wait_closed()
