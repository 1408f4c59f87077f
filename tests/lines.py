"""
A raw connection, for what no HTTP client would send or notice.

Its one job: bytes out and answers in, on a socket that a test may leave as it likes. Rule: real sockets.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

Heard = tuple[int, dict[str, str], bytes]
"""An answer's status, headers by their names in lower case, and body."""


class Line:
    """One connection; at either end of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes, *, every_s: float = 0.02) -> None:
        """Send byte by byte until the other side has closed."""
        for byte in data:
            if self.reader.at_eof() or self.writer.is_closing():
                return
            try:
                await self.say(bytes([byte]))
            except ConnectionError:
                return
            await asyncio.sleep(every_s)
        pytest.fail("all of it was taken")

    async def hear(self) -> Heard:
        """Read one answer with a length."""
        status, headers = _parsed(await self.reader.readuntil(b"\r\n\r\n"))
        return status, headers, await self.reader.readexactly(int(headers.get("content-length", "0")))

    async def hear_out(self) -> Heard:
        """Read one answer to the connection's end; its status is 0 where nothing was said."""
        said = b""
        try:
            while piece := await self.reader.read(65_536):
                said += piece
        except ConnectionError:
            said += bytes(self.reader._buffer)  # type: ignore[attr-defined] # what came before the reset
        head, _, body = said.partition(b"\r\n\r\n")
        return *(_parsed(head) if head else (0, {})), body

    async def ask(self, data: bytes) -> int:
        """Send bytes; return the answer's status."""
        self.writer.write(data)
        return (await self.hear())[0]

    async def is_closed(self) -> bool:
        """Wait until the other side has closed."""
        return await self.reader.read() == b""

    def reset(self) -> None:
        """Close with a reset, whatever is still to be sent."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Line]:
    """Connect to an address; what is left of the connection ends with the context."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    status, *lines = head.decode().split("\r\n")
    named = (line.partition(":") for line in lines if line)
    return int(status.split(" ")[1]), {name.lower(): value.strip() for name, _, value in named}
