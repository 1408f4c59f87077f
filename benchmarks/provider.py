"""
A provider that costs nothing to ask.

Its one job: answer OpenAI chat calls with canned bytes, so that what is measured is what stands before it. A stream is
as long and as slow as the request's ``user`` says: ``chunks=100,delay_ms=0``, and breaks off there with ``breaks=1``;
``fails=1`` asks for an error. GET /seen says how many calls it has answered, and how many of them with an error.
Run: python -m benchmarks.provider PORT
"""

import asyncio
import json
import re
import sys
from typing import ClassVar, cast

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


def whole(status: bytes, body: bytes) -> bytes:
    """Return one answer that is not a stream."""
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


WHOLE = whole(b"200 OK", BODY)
FAILED = whole(
    b"500 Internal Server Error", b'{"error": {"message": "asked for", "type": "server_error", "code": null}}'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ASKED = re.compile(rb"(chunks|delay_ms|breaks|fails)=(\d+)")


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

    seen: ClassVar[dict[str, int]] = {"calls": 0, "errors": 0}

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport
        self._stream: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not asyncio's class

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - the interface's
        """Say no more: nobody listens."""
        if self._stream is not None:
            self._stream.cancel()

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
        if head.startswith(b"GET /seen "):
            self._transport.write(whole(b"200 OK", json.dumps(self.seen).encode()))
            return
        self.seen["calls"] += 1
        asked = {name: int(value) for name, value in ASKED.findall(rest[:2048])}
        if asked.get(b"fails"):
            self.seen["errors"] += 1
            self._transport.write(FAILED)
        elif b'"stream": true' in rest or b'"stream":true' in rest:
            self._stream = asyncio.ensure_future(self._tell(asked))
        else:
            self._transport.write(WHOLE)

    async def _tell(self, asked: dict[bytes, int]) -> None:
        self._transport.write(STREAM_HEAD)
        for _ in range(asked.get(b"chunks", 100)):
            self._transport.write(DELTA)
            await asyncio.sleep(asked.get(b"delay_ms", 0) / 1000)
        if asked.get(b"breaks"):
            self._transport.close()
        else:
            self._transport.write(USAGE + DONE)


async def main(port: int) -> None:
    """Listen for ever."""
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
