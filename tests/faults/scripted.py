"""
A provider that does what a test's script says, byte by byte.

Its one job: a raw TCP server whose every connection is played by a function, with what the scripts of faults need: the
request read to its end, an answer written in parts, a reset.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.lines import Line

USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
"""What the scripted answers say that they used."""
BILL_NANOS = 9 * 150 + 12 * 600
"""What that costs with gpt-4o-mini."""


def event(**members: Any) -> bytes:
    """Return one chunk of a chat's stream."""
    said = {"id": "c", "object": "chat.completion.chunk", "model": "gpt-4o-mini", "choices": [], **members}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def word(number: int) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": f"word{number} "}}])


WORDS = b"".join(word(number) for number in range(12))
BILL = event(usage=USAGE)
END = b"data: [DONE]\n\n"
EVENTS = {"Content-Type": "text/event-stream"}


def head(status: str = "200 OK", **headers: str) -> bytes:
    """Return an answer's head; underscores are hyphens."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode()


def chunked(*pieces: bytes, **headers: str) -> bytes:
    """Return a whole answer of these chunks."""
    sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    return (
        head(**{"Transfer_Encoding": "chunked", "Content_Type": "text/event-stream", **headers}) + sent + b"0\r\n\r\n"
    )


class Accepted(Line):
    """One connection that the provider has accepted."""

    async def request(self) -> bytes:
        """Read a whole request; return its body."""
        lower = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        return await self.reader.readexactly(int(lower.split(b"content-length:")[1].split(b"\r\n")[0]))


Play = Callable[[Accepted], Awaitable[None]]


@asynccontextmanager
async def playing(play: Play) -> AsyncIterator[str]:
    """Run a provider; yield its address. A connection is closed when it has been played."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await play(Accepted(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
