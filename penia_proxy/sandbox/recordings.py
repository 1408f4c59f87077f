"""
Answer with recordings.

Its one job: a provider that answers each request with the exchange, and plays each session, recorded under its
``X-Replay-Id``.
Rules: bodies are compressed as they were on the wire and sent in small pieces, so that what reads them is tested as in
life. A recording is data of its owner's: nothing of it is logged or kept.
"""

import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brotli
import zstandard
from aiohttp import WSMsgType, web

REPLAY_ID = "X-Replay-Id"

_NOT_SENT = frozenset({"content-length", "content-encoding", "transfer-encoding", "connection", "keep-alive", "date"})
_COMPRESS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.compress}


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded exchange, and what an independent reading says it cost."""

    key: str
    provider: str
    api: str
    method: str
    path_and_query: str
    request_headers: Mapping[str, str]
    request_body: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes
    content_encoding: str | None
    expected: Mapping[str, Any]
    asked_for_usage: bool | None
    """Whether a chat stream was recorded with ``include_usage``; None where that does not apply."""


@dataclass(frozen=True, slots=True)
class SessionRecording:
    """One recorded session over a WebSocket."""

    key: str
    provider: str
    api: str
    model: str
    frames: tuple[tuple[bool, bytes], ...]
    """In order: whether the client sent it, and what it said."""
    expected: Mapping[str, Any]


def recordings_in(path: Path) -> Iterator[Recording | SessionRecording]:
    """Yield the recordings of a JSON Lines file, plain or gzip. Raises ValueError with the line's number."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                yield _session(row) if "frames" in row else _recording(row)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"line {number} is no recording: {type(error).__name__} {error}") from error


def _recording(row: dict[str, Any]) -> Recording:
    request, response = row["request"], row["response"]
    _, is_absolute, rest = request["url"].partition("://")
    _, slash, path = (rest or request["url"]).partition("/")
    if not is_absolute and slash:
        # `<…_API_BASE>/chat/completions`: a server of one's own, whose OpenAI-compatible base ends in /v1.
        slash = "/v1/"
    return Recording(
        key=row["id"],
        provider=row["provider"],
        api=row["api"],
        method=request["method"],
        path_and_query=slash + path,
        request_headers=request.get("headers", {}),
        request_body=_body(request),
        status=response["status"],
        headers=response.get("headers", {}),
        body=_body(response),
        content_encoding=row.get("orig_content_encoding"),
        expected=row["expected"],
        asked_for_usage=row.get("include_usage"),
    )


def _session(row: dict[str, Any]) -> SessionRecording:
    frames = ((frame["direction"] == "sent", json.dumps(frame["data"]).encode()) for frame in row["frames"])
    bills = row["expected"]["events"]
    # Its sum; nothing where the provider states none.
    stated = {name: sum(bill["usage"].get(name, 0) for bill in bills) for bill in bills for name in bill["usage"]}
    expected = {"billable": True, "usage": stated if any(stated.values()) else None, **row["expected"]}
    return SessionRecording(
        row["id"], row["provider"], row["api"], row["model"], frames=tuple(frames), expected=expected
    )


def _body(part: Mapping[str, Any]) -> bytes:
    if part.get("body_b64") is not None:
        return base64.b64decode(part["body_b64"])
    text = part.get("body") or ""
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else json.dumps(text).encode()


class RecordedProvider:
    """A provider on loopback that knows one file of recordings."""

    def __init__(self, recordings: Mapping[str, Recording | SessionRecording], chunk_bytes: int) -> None:
        self._recordings = recordings
        self._chunk_bytes = chunk_bytes
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RecordedProvider"]:
        """Listen while the context lasts; ``url`` says where."""
        app = web.Application(client_max_size=1024**3)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        recording = self._recordings.get(request.headers.get(REPLAY_ID, ""))
        if recording is None:
            return web.Response(status=404, text="no such recording")
        if isinstance(recording, SessionRecording):
            return await _play(request, recording)
        await request.read()
        kept = {name: value for name, value in recording.headers.items() if name.lower() not in _NOT_SENT}
        response = web.StreamResponse(status=recording.status, headers=kept)
        body = recording.body
        if recording.content_encoding in _COMPRESS:
            response.headers["Content-Encoding"] = recording.content_encoding
            body = _COMPRESS[recording.content_encoding](body)
        await response.prepare(request)
        for at in range(0, len(body), self._chunk_bytes):
            await response.write(body[at : at + self._chunk_bytes])
        await response.write_eof()
        return response


async def _play(request: web.Request, recording: SessionRecording) -> web.StreamResponse:
    """Say the provider's part, each frame when everything before it was said; Google's frames are binary."""
    socket = web.WebSocketResponse(max_msg_size=0, timeout=1)
    await socket.prepare(request)
    for by_client, said in recording.frames:
        if by_client:
            message = await socket.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return socket
        elif recording.provider.startswith("google"):
            await socket.send_bytes(said)
        else:
            await socket.send_str(said.decode())
    await socket.receive()  # the client's farewell
    return socket
