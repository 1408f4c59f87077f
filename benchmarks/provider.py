"""
A provider that costs nothing to ask.

Its one job: answer OpenAI chat calls with canned bytes, so that what is measured is what stands before it. A stream is
as long and as slow as the request's ``user`` says: ``chunks=100,delay_ms=0``.
Run: python -m benchmarks.provider PORT
"""

import asyncio
import json
import re
import sys
from typing import cast

import uvloop

BODY = json.dumps(
    {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok " * 60}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 60, "total_tokens": 72},
        "service_tier": "default",
    }
).encode()
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ASKED = re.compile(rb"chunks=(\d+),delay_ms=(\d+)")


def chunked(data: bytes) -> bytes:
    """Return one HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(members: dict[str, object]) -> bytes:
    """Return one server-sent event of a chat stream."""
    whole = {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion.chunk",
        "model": "gpt-4o-mini-2024-07-18",
        **members,
    }
    return chunked(b"data: " + json.dumps(whole).encode() + b"\n\n")


DELTA = event({"choices": [{"index": 0, "delta": {"content": "ok "}, "finish_reason": None}], "usage": None})
USAGE = event({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 100, "total_tokens": 112}})
DONE = chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Canned(asyncio.Protocol):
    """Answers each request on a connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not asyncio's class

    def data_received(self, data: bytes) -> None:
        """Answer once the whole request is there."""
        self._buffer += data
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        if b'"stream": true' in rest or b'"stream":true' in rest:
            asked = ASKED.search(rest)
            chunks, delay_ms = map(int, asked.groups()) if asked else (100, 0)
            self._task = asyncio.ensure_future(self._stream(chunks, delay_ms / 1000))
        else:
            self._transport.write(WHOLE)

    async def _stream(self, chunks: int, delay_s: float) -> None:
        self._transport.write(STREAM_HEAD)
        for _ in range(chunks):
            self._transport.write(DELTA)
            await asyncio.sleep(delay_s)
        self._transport.write(USAGE + DONE)


async def main(port: int) -> None:
    """Listen for ever."""
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
