"""
Serve the providers' WebSockets: responses, realtime and the Live API.

Its one job: one connection: a handshake, messages to whoever speaks the protocol, and answers that run beside them.
Rules: each answer is a call on the bill, with a behaviour of its own; it ends with the connection at the latest. What
a protocol says is in its own module.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from aiohttp import WSMsgType, web

from penia_proxy.sandbox.answer import broken
from penia_proxy.sandbox.bill import Bill, Call, kept
from penia_proxy.sandbox.faults import Asked, Behaviour, Scripted
from penia_proxy.sandbox.words import derive, number, speech

PROTOCOLS = ("realtime",)
"""What a handshake may agree on; a browser's offer also holds a key, which is none."""

KEY_PROTOCOL = "openai-insecure-api-key."

MESSAGE_BYTES_MAX = 64 << 20


class Spoken(Protocol):
    """A protocol, for one connection."""

    async def open(self) -> None:
        """Say what is said before anything is asked."""
        ...

    async def take(self, message: Mapping[str, Any]) -> None:
        """Take what the client says."""
        ...


@dataclass(slots=True)
class Turn:
    """One answer under way."""

    call: Call
    behaviour: Behaviour
    seed: bytes
    said: list[str]
    """What is to be said; each piece is a token."""


class Line:
    """One connection, as a protocol sees it."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, bill: Bill, script: Scripted) -> None:
        self.query = request.query
        self.path = request.path
        self._request = request
        self._socket = socket
        self._bill = bill
        self._script = script
        self._answers: set[asyncio.Task[None]] = set()
        self._count = 0

    async def send(self, message: Mapping[str, Any], *, binary: bool = False) -> None:
        """Send a message."""
        data = orjson.dumps(message)
        await (self._socket.send_bytes(data) if binary else self._socket.send_str(data.decode()))

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye."""
        await self._socket.close(code=code, message=reason.encode())

    def seed(self, label: object) -> bytes:
        """Return a seed that no other use has."""
        self._count += 1
        return derive(self.path.encode(), label, self._count, len(self._bill.calls))

    def turn(self, provider: str, model: str | None, body: Mapping[str, Any]) -> Turn:
        """Open a call for an answer, which is to be run by :meth:`answer`."""
        call = self._bill.start(
            provider=provider,
            method="GET",
            path=self.path,
            body_bytes=len(orjson.dumps(body)),
            headers=self._request.headers,
        )
        call.model = call.served_model = kept(model)
        call.streamed = True
        behaviour = self._script.next(Asked(call.number, provider, self.path, self._request.headers, body))
        call.behaviour = behaviour.changed()
        call.usage_sent = behaviour.usage
        seed = self.seed("answer")
        length = number(seed, "length", 4, 12) if behaviour.output_tokens is None else behaviour.output_tokens
        return Turn(call, behaviour, seed, speech(seed, length))

    def answer(self, turn: Turn, saying: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Say an answer beside whatever the client goes on to say."""
        task = asyncio.ensure_future(self._answered(turn, saying))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)
        return task

    async def pause(self, turn: Turn) -> None:
        """Wait as long as a piece takes."""
        if turn.behaviour.chunk_delay_s:
            await asyncio.sleep(turn.behaviour.chunk_delay_s)

    async def _answered(self, turn: Turn, saying: Callable[[], Awaitable[None]]) -> None:
        self._bill.begun(turn.call)
        turn.call.status = 101
        try:
            if turn.behaviour.first_byte_delay_s:
                await asyncio.sleep(turn.behaviour.first_byte_delay_s)
            if turn.behaviour.close_before:
                self._bill.ended(turn.call, "cut")
                if self._request.transport is not None:
                    self._request.transport.abort()
                return
            await saying()
            self._bill.ended(turn.call, "whole")
        except (ConnectionError, asyncio.CancelledError):
            self._bill.ended(turn.call, "client_gone")
            raise

    async def hang_up(self) -> None:
        """End the answers that still run."""
        for task in list(self._answers):
            task.cancel()
        if self._answers:
            with suppress(Exception):
                await asyncio.gather(*self._answers, return_exceptions=True)


def usage_said(turn: Turn, usage: Mapping[str, Any]) -> Any:
    """Return the usage as the behaviour has it travel."""
    if turn.behaviour.usage in ("omit", "null"):
        return None
    return broken(dict(usage), turn.behaviour.usage)


def offers_key(request: web.Request) -> bool:
    """Return whether a key came as browsers must send it."""
    return KEY_PROTOCOL in request.headers.get("Sec-WebSocket-Protocol", "")


async def serve(
    request: web.Request, bill: Bill, script: Scripted, spoken: Callable[[Line], Spoken]
) -> web.StreamResponse:
    """Serve one connection to its end."""
    socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=MESSAGE_BYTES_MAX, timeout=1)
    socket.headers["x-request-id"] = f"req_{derive(request.path.encode(), len(bill.calls)).hex()[:32]}"
    await socket.prepare(request)
    line = Line(request, socket, bill, script)
    try:
        protocol = spoken(line)
        await protocol.open()
        async for message in socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                with suppress(orjson.JSONDecodeError):
                    told = orjson.loads(message.data)
                    if isinstance(told, dict):
                        await protocol.take(told)
    except ConnectionError:
        pass
    finally:
        await line.hang_up()
    return socket
