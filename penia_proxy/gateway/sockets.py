"""
Carry a session: one WebSocket of a caller, one of a provider, and the turns between.

Its one job: frames up and down as they are and in order, each read before it is passed on; and one end for both sides.
Rules: a frame that begins an answer is passed on only when its turn is held; one that ends an answer is passed on only
when that is booked, and the next turn is held. What is refused is said in the provider's own shape, and the session
goes on, unless the protocol has no such thing, or the answer would begin by itself: then it is closed. Nothing is
queued: who does not read is not read from, and is sent away. Pings are the two ends' own, and passed on. Nothing of a
frame is logged.
"""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Literal

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web

from penia_proxy.clock import Clock
from penia_proxy.errors import (
    BudgetExceeded,
    CallerError,
    InvalidRequest,
    PeniaError,
    ShuttingDown,
    StoreUnavailable,
    TooManyClients,
)
from penia_proxy.gateway.answer import through_cancellation
from penia_proxy.gateway.dialing import (
    CLOSE_S,
    Opening,
    ProviderSocket,
    UpgradeRefused,
    dialled,
    is_of_handshake,
    session_for_sockets,
)
from penia_proxy.gateway.farewell import LEFT_BY, REASON_BYTES_MAX, Farewell, Side, sendable, turned_away
from penia_proxy.gateway.refusal import penia_of
from penia_proxy.gateway.relay import to_caller
from penia_proxy.gateway.stamp import Stamp
from penia_proxy.gateway.turns import Turns
from penia_proxy.wire.session import Heard, Session

SESSIONS_MAX = 1_000
"""As many as a provider's connections (`penia_proxy.gateway.relay`)."""

SESSION_S_MAX = 2 * 60 * 60
"""The longest that a provider lets one run: xAI (docs.x.ai/developers/models/realtime-api); OpenAI's end after one."""

SILENCE_S_MAX = 15 * 60
"""The longest that nobody says anything while nothing runs: money may be held all the while."""

KEEPALIVE_S = 30.0
"""Silence after which a side is pinged; after as long again it is taken for gone."""

OUR_PING = b"penia"

DATA = frozenset({WSMsgType.TEXT, WSMsgType.BINARY})

CallerSocket = web.WebSocketResponse[Literal[False]]


class _Silent(logging.Filter):
    """Keep aiohttp from listing the subprotocols it was offered: one of OpenAI's is a key."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - whatever it says
        return False


logging.getLogger("aiohttp.websocket").addFilter(_Silent())


BEGUN = web.RequestKey("penia_answer_begun", bool)
"""Set on a handshake once it has been answered: from then on its session can only go on or be cut."""


class Sockets:
    """All sessions of one gateway."""

    def __init__(self, clock: Clock) -> None:
        self._dialer: aiohttp.ClientSession | None = None
        self._clock = clock
        self.message_bytes_max = 0
        """Of a caller's frame; what a session began with stays."""
        self.running = 0
        """Sessions that are open."""
        self.draining = asyncio.Event()
        """Set when the gateway stops: a session ends as soon as no answer runs in it."""

    async def carry(
        self, request: web.Request, dialling: Opening, session: Session, turns: Turns, stamp: Stamp
    ) -> web.StreamResponse:
        """
        Serve one session to its end.

        Raises, before it has begun, what a refusal is made of.
        """
        protocols = tuple(filter(None, map(str.strip, request.headers.get("Sec-WebSocket-Protocol", "").split(","))))
        if not web.WebSocketResponse(protocols=protocols).can_prepare(request):
            raise InvalidRequest("This is no WebSocket handshake that can be answered.")
        self.check_open()
        if self.running >= SESSIONS_MAX:
            raise TooManyClients("No further session can be opened now.")
        if self._dialer is None:
            self._dialer = session_for_sockets()
        self.running += 1
        try:
            async with turns:
                opening = session.opening()
                if opening is not None:
                    stamp.admitted(await turns.hold(opening), ())
                stamp.sent()
                async with dialled(self._dialer, dialling, protocols) as there:
                    stamp.answered()
                    here = await self._accept(request, there, stamp)
                    carried = _Carried(request, here, there, session, turns, self)
                    await carried.run(dialling.limits.idle)
                    return here
        except UpgradeRefused as refused:
            return _refused(refused, stamp)
        finally:
            self.running -= 1

    async def _accept(self, request: web.Request, there: ProviderSocket, stamp: Stamp) -> CallerSocket:
        here: CallerSocket = web.WebSocketResponse(
            timeout=CLOSE_S,
            autoclose=False,
            autoping=False,
            # Secrets beside chosen text can be guessed from sizes.
            compress=False,
            protocols=(there.protocol,) if there.protocol else (),
            max_msg_size=self.message_bytes_max,
            decode_text=False,
        )
        answer = there._response  # noqa: SLF001 - the only way to an upgrade's headers
        fields = [(name, value) for name, value in to_caller(answer.headers) if not is_of_handshake(name)]
        stamp.put(fields, answer.headers)
        here.headers.extend(fields)
        request[BEGUN] = True
        await here.prepare(request)
        return here

    async def close(self) -> None:
        """Close what connections are made by."""
        if self._dialer is not None:
            await self._dialer.close()

    def check_open(self) -> None:
        """Raise ShuttingDown where nothing new may begin."""
        if self.draining.is_set():
            raise ShuttingDown("Penia is shutting down; connect again in a moment.")

    def now(self) -> float:
        """Return the monotonic instant."""
        return self._clock.monotonic()


class _Carried:
    """One session under way. Strictly private."""

    def __init__(
        self,
        request: web.Request,
        here: CallerSocket,
        there: ProviderSocket,
        session: Session,
        turns: Turns,
        sockets: Sockets,
    ) -> None:
        self._request = request
        self._here = here
        self._there = there
        self._session = session
        self._turns = turns
        self._sockets = sockets
        self._step = asyncio.Lock()
        """A frame is read, and what it means is held and booked, before the next one of either side."""
        self._stalled_s = 0.0
        started = sockets.now()
        self._heard_at: dict[Side, float] = {"caller": started, "provider": started}
        self._data_at = started
        self._until = started + SESSION_S_MAX

    async def run(self, idle_s: float) -> None:
        """Carry frames until one side ends it, or we do."""
        self._stalled_s = idle_s
        directions = [asyncio.ensure_future(task) for task in (self._upward(), self._downward(), self._watch())]
        try:
            done, _ = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            farewell = done.pop().result()
        finally:
            if self._sockets.draining.is_set():
                self._turns.ended_by = "cut"
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
        self._turns.ended_by = farewell.end
        await through_cancellation(self._turns.close())
        await self._part(farewell)

    async def _upward(self) -> Farewell:
        while True:
            message = await self._here.receive()
            self._heard_at["caller"] = self._sockets.now()
            if message.type not in DATA:
                if farewell := await self._control("caller", message):
                    return farewell
                continue
            self._data_at = self._heard_at["caller"]
            async with self._step:
                frame = await self._asked(message.data)
            if isinstance(frame, bytes):
                sent = await self._send("provider", self._there.send_frame(frame, message.type))
            else:
                sent = await self._object(frame, message.data)
            if sent is not None:
                return sent

    async def _asked(self, frame: bytes) -> bytes | PeniaError:
        """Read a caller's frame and hold what it begins; return what is passed on, or why it is not."""
        try:
            turn = self._session.asked(frame)
            if turn is not None:
                try:
                    self._sockets.check_open()
                    await self._turns.hold(turn)
                    frame = self._turns.capped(turn, frame)
                except BaseException:
                    self._session.withdrawn(turn)
                    raise
        except (CallerError, StoreUnavailable, ShuttingDown) as error:
            return error
        self._turns.begin()
        return frame

    async def _downward(self) -> Farewell:
        while True:
            message = await self._there.receive()
            self._heard_at["provider"] = self._sockets.now()
            if message.type not in DATA:
                if farewell := await self._control("provider", message):
                    return farewell
                continue
            self._data_at = self._heard_at["provider"]
            refused = await self._read(message.data)
            if self._turns.due and (farewell := await self._cut()):
                return farewell
            farewell = await self._send("caller", self._here.send_frame(message.data, message.type))
            if farewell is None and refused is not None:
                farewell = await self._object(refused, None) or turned_away(refused)
            if farewell is not None:
                return farewell

    async def _read(self, frame: bytes) -> PeniaError | None:
        """Take a provider's frame, which has come: what it bills is booked, also of a session that ends before."""
        try:
            await self._step.acquire()
        except asyncio.CancelledError:
            await through_cancellation(self._read(frame))
            raise
        try:
            return await self._answered(self._session.heard(frame))
        finally:
            self._step.release()

    async def _answered(self, heard: Heard) -> PeniaError | None:
        """Book what a provider's frame ends, and hold what may begin next; return why that cannot be."""
        self._turns.begin()
        if heard.ended or heard.asides:
            try:
                await through_cancellation(self._turns.book(heard))
            except BaseException:
                self._turns.unheld(heard.needed)
                raise
        if heard.needed is None:
            return None
        try:
            await self._turns.hold(heard.needed, unasked=True)
        except (CallerError, StoreUnavailable) as error:
            return error
        self._turns.begin()
        return None

    async def _cut(self) -> Farewell | None:
        """End, at the provider, the answers that a budget has no room for more of; the caller is told why."""
        async with self._step:
            frames = await self._turns.cuts(self._session.cancelling)
        for frame in frames:
            full = BudgetExceeded("A budget has no room for more of this answer, so that it was cancelled.")
            farewell = await self._send("provider", self._there.send_frame(frame, WSMsgType.TEXT))
            if farewell := farewell or await self._object(full, None):
                return farewell
        return None

    async def _object(self, error: PeniaError, frame: bytes | None) -> Farewell | None:
        """Say no in the provider's shape; return how to close where it has none."""
        event = self._session.refusal(error, penia_of(error, self._turns.session_id), frame)
        if event is None:
            return turned_away(error)
        return await self._send("caller", self._here.send_frame(event, WSMsgType.TEXT))

    async def _control(self, by: Side, message: Any) -> Farewell | None:
        """Take what is no data: pings and pongs are passed on, and what is left ends the session."""
        other: Side = "provider" if by == "caller" else "caller"
        socket = self._there if by == "caller" else self._here
        if message.type is WSMsgType.PING:
            return await self._send(other, socket.ping(message.data))
        if message.type is WSMsgType.PONG:
            return None if message.data == OUR_PING else await self._send(other, socket.pong(message.data))
        end = LEFT_BY[by]
        if message.type is WSMsgType.CLOSE:
            return Farewell(end, sendable(message.data), (message.extra or "").encode()[:REASON_BYTES_MAX])
        # Too long, or no WebSocket frame at all: aiohttp has said so to the side that sent it.
        wrong = isinstance(message.data, aiohttp.WebSocketError)
        return Farewell(end, message.data.code if wrong else None, lost=by)

    async def _send(self, to: Side, sending: Awaitable[None]) -> Farewell | None:
        """Pass a frame on; return how the session ends where its side takes nothing, or is gone."""
        try:
            async with asyncio.timeout(self._stalled_s):
                await sending
        except (TimeoutError, ConnectionError):
            return Farewell(LEFT_BY[to], lost=to)
        return None

    async def _watch(self) -> Farewell:
        """Notice what no frame says: that we stop, that a side is gone, that nobody says anything."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(KEEPALIVE_S, self._stalled_s)):
                    await self._sockets.draining.wait()
                    await self._turns.idle.wait()
                    return Farewell("cut", WSCloseCode.GOING_AWAY, b"Penia is stopping")
            now = self._sockets.now()
            if now > self._until:
                return Farewell("cut", WSCloseCode.GOING_AWAY, b"the session is too old")
            silent_s_max = SILENCE_S_MAX if self._turns.idle.is_set() else self._stalled_s
            if now - self._data_at > silent_s_max:
                return Farewell("timeout", WSCloseCode.GOING_AWAY, b"nothing was said for too long")
            if farewell := await self._ping(now):
                return farewell

    async def _ping(self, now: float) -> Farewell | None:
        for side, heard_at in self._heard_at.items():
            socket = self._here if side == "caller" else self._there
            if now - heard_at > 2 * KEEPALIVE_S:
                return Farewell(LEFT_BY[side], lost=side)
            if now - heard_at > KEEPALIVE_S and (gone := await self._send(side, socket.ping(OUR_PING))):
                return gone
        return None

    async def _part(self, farewell: Farewell) -> None:
        """Close both sides, each within a moment."""
        code = farewell.code if farewell.lost is None else WSCloseCode.GOING_AWAY
        if farewell.lost != "provider":
            await _close(self._there.close(code=code or WSCloseCode.GOING_AWAY, message=farewell.reason))
        if farewell.lost != "caller" and farewell.code is not None:
            await _close(self._here.close(code=farewell.code, message=farewell.reason))
        if not self._here.closed and self._request.transport is not None:
            self._request.transport.abort()


async def _close(closing: Awaitable[bool]) -> None:
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(2 * CLOSE_S):
            await closing


def _refused(refused: UpgradeRefused, stamp: Stamp) -> web.Response:
    """Return the provider's own refusal."""
    stamp.answered()
    response = web.Response(status=refused.status, reason=refused.reason, body=refused.body)
    response.headers.popall("Content-Type", None)
    fields = to_caller(refused.headers)
    stamp.put(fields, refused.headers)
    response.headers.extend(fields)
    response.force_close()
    return response
