"""
Send an answer as its behaviour says: late, in pieces, compressed, cut short.

Rules: bytes are counted as they are on the wire, after compression; tokens are booked when the piece that carries them
has been written; a call ends exactly once in the bill, whoever hangs up. Must not know what the bytes mean.
"""

import asyncio
import contextlib
import socket
import struct
import zlib
from collections.abc import Callable
from typing import Literal

import brotli
import zstandard
from aiohttp import web

from penia_proxy.sandbox.answer import Answer
from penia_proxy.sandbox.bill import Bill, Call
from penia_proxy.sandbox.faults import Behaviour, Compress

STALL_MAX_S = 3600.0
"""Even an answer that never comes ends at some time."""

_Cut = Literal["reset", "end", "stall"]


async def deliver(
    request: web.Request, answer: Answer, behaviour: Behaviour, call: Call, bill: Bill
) -> web.StreamResponse:
    """Send the answer, or as much of it as the behaviour lets through; book how it ended."""
    try:
        return await _Delivery(request, answer, behaviour, call, bill).run()
    except (ConnectionError, asyncio.CancelledError):
        bill.ended(call, "client_gone")
        raise


class _Delivery:
    """One answer on its way. Strictly private."""

    def __init__(self, request: web.Request, answer: Answer, behaviour: Behaviour, call: Call, bill: Bill) -> None:
        self._request = request
        self._answer = answer
        self._behaviour = behaviour
        self._call = call
        self._bill = bill
        self._response = web.StreamResponse(status=answer.status)
        for name, value in answer.headers:
            self._response.headers.add(name, value)

    async def run(self) -> web.StreamResponse:
        behaviour = self._behaviour
        if behaviour.stall_before:
            await asyncio.sleep(STALL_MAX_S)
        if behaviour.first_byte_delay_s:
            await asyncio.sleep(behaviour.first_byte_delay_s)
        if behaviour.close_before or behaviour.stall_before:
            self._bill.ended(self._call, "cut")
            self._close()
            return self._response
        encode, finish = _encoder(self._accepted())
        if self._answer.streamed:
            self._response.enable_chunked_encoding()
            whole = await self._begin() and await self._stream(encode, finish)
        else:
            whole = await self._send_whole(encode, finish)
        if whole:
            await self._response.write_eof()
            self._bill.ended(self._call, "whole")
        return self._response

    def _accepted(self) -> Compress:
        wanted = self._behaviour.compress
        if wanted == "none" or not _accepts(self._request.headers.get("Accept-Encoding", ""), wanted):
            return "none"
        self._response.headers["Content-Encoding"] = wanted
        return wanted

    async def _begin(self) -> bool:
        """Send status and headers. Always true, so that it can stand in a condition."""
        self._call.status = self._answer.status
        await self._response.prepare(self._request)
        return True

    async def _stream(self, encode: Callable[[bytes], bytes], finish: Callable[[], bytes]) -> bool:
        """Send event by event; False if cut."""
        for piece in self._answer.pieces:
            if self._behaviour.chunk_delay_s:
                await asyncio.sleep(self._behaviour.chunk_delay_s)
            if not await self._send(encode(piece.data)):
                return False
            self._call.produced_tokens += piece.tokens
        return await self._send(finish())

    async def _send_whole(self, encode: Callable[[bytes], bytes], finish: Callable[[], bytes]) -> bool:
        """Send a body that was complete before its first byte: all its tokens were produced by then. False if cut."""
        pieces = list(self._answer.pieces)
        data = encode(b"".join(piece.data for piece in pieces)) + finish()
        self._call.produced_tokens = sum(piece.tokens for piece in pieces)
        self._response.content_length = len(data)
        await self._begin()
        return await self._send(data)

    async def _send(self, data: bytes) -> bool:
        """Write as much as may pass; False if that was not all, after the cut has been carried out."""
        limit, cut = self._limit()
        # A healthy answer that ends exactly at the limit is still cut there: the end of a body is a byte of its own.
        allowed = data if limit is None else data[: max(0, limit - self._call.sent_bytes)]
        await self._write(allowed)
        if cut is None or limit is None or self._call.sent_bytes < limit:
            return True
        await self._cut(cut)
        return False

    def _limit(self) -> tuple[int | None, _Cut | None]:
        behaviour = self._behaviour
        limits: list[tuple[int, _Cut]] = []
        if behaviour.reset_after_bytes is not None:
            limits.append((behaviour.reset_after_bytes, "reset"))
        if behaviour.end_after_bytes is not None:
            limits.append((behaviour.end_after_bytes, "end"))
        if behaviour.stall_after_bytes is not None:
            limits.append((behaviour.stall_after_bytes, "stall"))
        return min(limits) if limits else (None, None)

    async def _write(self, data: bytes) -> None:
        size = self._behaviour.split_bytes or len(data)
        for start in range(0, len(data), size or 1):
            part = data[start : start + size]
            await self._response.write(part)
            self._call.sent_bytes += len(part)
            if self._behaviour.split_bytes:
                await asyncio.sleep(0)

    async def _cut(self, cut: _Cut) -> None:
        if self._behaviour.chunk_delay_s:
            await asyncio.sleep(self._behaviour.chunk_delay_s)
        if cut == "stall":
            await asyncio.sleep(STALL_MAX_S)
        self._bill.ended(self._call, "cut")
        if cut == "reset":
            self._reset()
        elif cut == "end" and self._answer.streamed:
            await self._response.write_eof()
        else:
            self._close()

    def _close(self) -> None:
        if self._request.transport is not None:
            self._request.transport.close()

    def _reset(self) -> None:
        """Close with RST instead of FIN: that is what lingering for zero seconds means (socket(7))."""
        transport = self._request.transport
        if transport is not None:
            sock = transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()


def _accepts(header: str, coding: str) -> bool:
    """Return whether Accept-Encoding allows the coding (RFC 9110 §12.5.3); an absent header allows none here."""
    weights = {}
    for entry in header.split(","):
        name, _, parameter = entry.strip().partition(";")
        weights[name.strip().lower()] = parameter.strip().lower() not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return weights.get(coding, weights.get("*", False))


def _encoder(coding: Compress) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    """Return ``(encode, finish)``. Each encoded piece is flushed: a reader can decode all that was sent so far."""
    if coding == "none":
        return _unchanged, bytes
    if coding == "br":
        br = brotli.Compressor(quality=4)
        return (lambda data: bytes(br.process(data) + br.flush())), lambda: bytes(br.finish())
    if coding == "zstd":
        zstd = zstandard.ZstdCompressor().compressobj()
        flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        return (lambda data: zstd.compress(data) + zstd.flush(flush)), zstd.flush
    # zlib's window bits choose the wrapping: 31 gzip, 15 zlib, which is what HTTP calls deflate (RFC 9110 §8.4.1.2).
    deflate = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    return (lambda data: deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)), deflate.flush


def _unchanged(data: bytes) -> bytes:
    return data
