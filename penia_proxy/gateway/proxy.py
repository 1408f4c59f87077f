"""
Take one call from the caller to the provider and back.

Its one job: DESIGN.md §1 in a straight line: caller, route, call, estimate, hold, relay, settle.
Rules: nothing is forwarded outside the hold's ``async with``. Whatever happens to the caller, the provider or this
task, the hold ends by what is known then. Nothing of a request or an answer is logged.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from penia_proxy.budget.prices import PriceBook
from penia_proxy.config import ServerConfig
from penia_proxy.errors import (
    InvariantError,
    PeniaError,
    UnknownProvider,
)
from penia_proxy.gateway.answer import Answering, Copy, head_of, pass_through, through_cancellation
from penia_proxy.gateway.body import body_of
from penia_proxy.gateway.booking import book
from penia_proxy.gateway.caller import Caller, caller_of
from penia_proxy.gateway.deadlines import Deadlines
from penia_proxy.gateway.dialing import Opening
from penia_proxy.gateway.door import Door, Visit
from penia_proxy.gateway.downstream import BEGUN, Downstream
from penia_proxy.gateway.drains import Drains
from penia_proxy.gateway.holding import Books, Holding
from penia_proxy.gateway.naming import Naming
from penia_proxy.gateway.pricing import Pricing
from penia_proxy.gateway.providers import Upstream
from penia_proxy.gateway.refusal import respond
from penia_proxy.gateway.relay import Exchange
from penia_proxy.gateway.routes import Target, target_of
from penia_proxy.gateway.sockets import Sockets, is_upgrade
from penia_proxy.gateway.stamp import Stamp
from penia_proxy.gateway.turns import Turns
from penia_proxy.gateway.upstream import ReachedError
from penia_proxy.gateway.works import Ask, CallWorks, Works
from penia_proxy.ids import new_id
from penia_proxy.watch.totals import Underway
from penia_proxy.wire.call import Call, Dialect, Reading, Reads, Request
from penia_proxy.wire.decode import decoded_request
from penia_proxy.wire.dialects import DIALECTS
from penia_proxy.wire.multipart import is_form, without_boundary

log = logging.getLogger(__name__)

MEGABYTE = 1024 * 1024

INLINE_BYTES_MAX = 65_536
"""A body that is read at once; a longer one, a batch's, goes to a thread."""

OF_THE_BODY = frozenset({"content-type", "content-encoding", "idempotency-key"})
"""Headers that say something of the request they came with alone."""

Send = Callable[..., Exchange]


def place_of(error: BaseException) -> str:
    """Return the file and line an error comes from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "?"


class Proxy:
    """The data plane's one handler."""

    def __init__(
        self, upstreams: Mapping[str, Upstream], prices: PriceBook, books: Books, server: ServerConfig
    ) -> None:
        self._books = books
        self._drains = Drains()
        self._naming = Naming()
        self._works = Works(books, self._naming)
        self._deadlines = Deadlines(asyncio.get_running_loop())
        self._door = Door(server)
        self._sockets = Sockets(books.clock)
        self.take(upstreams, prices, server)

    def take(self, upstreams: Mapping[str, Upstream], prices: PriceBook, server: ServerConfig) -> None:
        """Take a configuration, in one step; calls under way keep what they began with."""
        self._upstreams = upstreams
        self._naming.take(upstreams)
        self._pricing = Pricing(self._books, prices)
        self._server = self._door.limits = server
        self._body_bytes_max = int(server.max_body_mb * MEGABYTE)
        self._sockets.message_bytes_max = self._body_bytes_max

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request of the data plane; every error becomes a refusal in the provider's shape."""
        dialect: Dialect = DIALECTS["openai"]
        request_id = ""
        try:
            target = target_of(request.raw_path)
            upstream = self._upstream(target)
            dialect = upstream.dialect
            caller = caller_of(request.headers, target.component)
            request_id = caller.request_id
            visit = self._door.let_in(caller.component)
            if is_upgrade(request):
                return await self._open(request, target, upstream, caller)
            return await self._forward(request, target, upstream, caller, visit)
        except ReachedError as failure:
            return respond(failure.error, dialect, request_id, {})
        except PeniaError as error:
            answer = respond(error, dialect, request_id or new_id("r"), {})
            if self._door.closed or is_upgrade(request):
                # The next call goes where somebody takes it; and what follows a refused handshake is no HTTP.
                answer.force_close()
            return answer
        except Exception as error:
            if BEGUN in request or isinstance(error, ConnectionResetError):
                raise
            # Ours. Its text and its traceback could quote the request, so only its kind and place are told.
            log.error("a call could not be handled: %s at %s", type(error).__name__, place_of(error))  # noqa: TRY400
            failed = InvariantError("Penia failed at this call; nothing was decided.")
            return respond(failed, dialect, request_id or new_id("r"), {})

    def _upstream(self, target: Target) -> Upstream:
        upstream = self._upstreams.get(target.provider)
        if upstream is None:
            known = ", ".join(sorted(self._upstreams)) or "none"
            raise UnknownProvider(f"No such provider is configured. The first part of the path names one of: {known}.")
        return upstream

    async def _open(
        self, request: web.Request, target: Target, upstream: Upstream, caller: Caller
    ) -> web.StreamResponse:
        """Open and carry a session, whose turns are held one by one."""
        operation, opens = upstream.routes.match_socket(request.method, target.path)
        headers = upstream.provider.headers_of(request.headers)
        session = opens(Request(operation, b"", query=target.query, headers=headers))
        pricing = self._pricing
        payer = pricing.payer(caller, upstream)
        works = CallWorks(self._works, payer, self._asking(upstream, target.query, headers))
        turns = Turns(
            self._books,
            payer,
            works,
            lambda call, its, started: pricing.held(call, pricing.payer(its, upstream), upstream, started),
        )
        stamp = Stamp(self._books.clock, caller.request_id)
        url = upstream.provider.url(target.path, target.query)
        opening = Opening(upstream.provider.name, url, headers, upstream.provider.config.timeout_seconds)
        return await self._sockets.carry(request, opening, session, turns, stamp)

    async def _forward(
        self, request: web.Request, target: Target, upstream: Upstream, caller: Caller, visit: Visit
    ) -> web.StreamResponse:
        stamp = Stamp(self._books.clock, caller.request_id)
        route, path_values = upstream.routes.match(request.method, target.path)
        body = await body_of(request, self._server, visit.carry)
        headers = upstream.provider.headers_of(request.headers)
        downstream = Downstream(request, self._deadlines, upstream.provider.config.timeout_seconds.idle)
        send = partial(upstream.provider.exchange, request.method, target.path, target.query)
        if route.operation is None and route.reads is None:
            stamp.sent()
            async with send(headers, body) as answer:
                stamp.answered()
                return await pass_through(downstream, answer, stamp)
        asked = Request(
            operation=route.operation or "",
            body=decoded_request(body, request.headers.get("Content-Encoding"), self._body_bytes_max),
            path_values=path_values,
            query=target.query,
            content_type=request.headers.get("Content-Type", ""),
            headers=headers,
            noted=self._works.noted(upstream.provider.name),
        )
        if len(asked.body) > len(body):
            visit.carry(len(asked.body) - len(body))
        if route.reads is not None:
            return await self._read(
                downstream, partial(send, headers, body), asked, route.reads, upstream, caller, stamp
            )
        call = upstream.dialect.call(asked)
        if call.changed:
            body = call.body
            headers.popall("Content-Encoding", None)
        drains = self._drains if upstream.drains else None
        payer = self._pricing.payer(caller, upstream)
        works = CallWorks(self._works, payer, self._asking(upstream, target.query, headers))
        answering = Answering(downstream, stamp, self._books.clock, works, drains=drains)
        fingerprint = self._fingerprint(request.method, target, asked) if caller.chose_id else None
        holding = Holding(self._books, self._pricing.held(call, payer, upstream, stamp.started, fingerprint))
        exchange = self._exchange(send, headers, body, holding, call, upstream, answering)
        # Where an answer is to be read on without its caller, the caller's leaving must not cancel the exchange.
        return await (self._outlive(exchange) if upstream.drains else exchange)

    async def _exchange(
        self,
        send: Send,
        headers: CIMultiDict[str],
        body: bytes,
        holding: Holding,
        call: Call,
        upstream: Upstream,
        answering: Answering,
    ) -> web.StreamResponse:
        """Hold, relay, settle: from here on every way out ends the hold."""
        async with holding as hold:
            if (cap := hold.output_cap) is not None and call.capped is not None:
                body = call.capped(cap)
                headers.popall("Content-Encoding", None)
                call = replace(call, changed=(*call.changed, "output cap"))
            if hold.truncates and call.cuttable:
                call = replace(call, may_be_cut=True)
            answering.admitted(hold.verdict, call)
            try:
                async with send(headers, body, connected=hold.sent) as answer:
                    return await answering.metered(answer, hold, call, upstream.dialect.meter)
            except ReachedError as failure:
                await hold.settle_unconfirmed("timeout" if failure.error.status == 504 else "cut")
                raise
            except asyncio.CancelledError:
                # The caller left before the answer began. Once it has begun, `Answering` has ended the hold.
                if hold.was_sent:
                    await through_cancellation(book(hold, call, Reading(), "disconnected", is_stream=call.stream))
                raise

    async def _read(
        self,
        downstream: Downstream,
        send: Send,
        asked: Request,
        reads: Reads,
        upstream: Upstream,
        caller: Caller,
        stamp: Stamp,
    ) -> web.StreamResponse:
        """Pass on an answer that costs nothing itself, and book what it says of other work."""
        stamp.sent()
        async with send() as answer:
            stamp.answered()
            if answer.status != 200:
                return await pass_through(downstream, answer, stamp)
            if len(asked.body) > INLINE_BYTES_MAX:
                meter = await asyncio.to_thread(reads, asked, head_of(answer))
            else:
                meter = reads(asked, head_of(answer))
            told = partial(self._works.told, self._pricing.payer(caller, upstream))
            copy = Copy(meter, answer.headers.get("Content-Encoding"), told)
            return await pass_through(downstream, answer, stamp, copy)

    def _asking(self, upstream: Upstream, query: str, headers: CIMultiDict[str]) -> Callable[[str], Ask]:
        """Return how to ask a provider again on a caller's behalf, for the bill of what it accepted."""

        def asking(path: str) -> Ask:
            kept = CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in OF_THE_BODY)
            return partial(self._asked_again, upstream, path, query, kept)

        return asking

    async def _asked_again(self, upstream: Upstream, path: str, query: str, headers: CIMultiDict[str]) -> Reading:
        route, path_values = upstream.routes.match("GET", path)
        async with upstream.provider.exchange("GET", path, query, headers, b"") as answer:
            if route.reads is None or answer.status != 200:
                return Reading()
            readings: list[Reading] = []

            async def told(reading: Reading) -> None:
                readings.append(reading)

            meter = route.reads(Request("", b"", path_values), head_of(answer))
            copy = Copy(meter, answer.headers.get("Content-Encoding"), told)
            while chunk := await answer.chunk():
                copy.feed(chunk)
            await copy.end()
            return readings[0]

    async def finish(self, seconds: float, hurry: asyncio.Event) -> None:
        """Refuse new calls; let those under way end within the time, or until ``hurry`` is set, then end them."""
        self._door.close()
        self._sockets.draining.set()  # sessions end as soon as nothing runs in them
        ended = {asyncio.ensure_future(waited) for waited in (self._door.emptied(), hurry.wait())}
        await asyncio.wait(ended, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for waiting in ended:
            waiting.cancel()
        self._drains.end()
        await self._door.empty()
        await self._works.close()
        await self._sockets.close()
        self._deadlines.close()

    def underway(self) -> Underway:
        """Return what runs at this moment."""
        return Underway(
            calls=self._door.calls,
            sessions=self._sockets.running,
            drains=self._drains.running,
            bills_awaited=self._works.waiting,
            body_bytes=self._door.carried_bytes,
        )

    async def _outlive(self, exchange: Coroutine[Any, Any, web.StreamResponse]) -> web.StreamResponse:
        task = asyncio.ensure_future(exchange)
        self._door.follow(task)
        return await asyncio.shield(task)

    def _fingerprint(self, method: str, target: Target, asked: Request) -> str:
        """Return the fingerprint of a request; without its query, which may hold a key."""
        body = asked.body
        if is_form(asked.content_type):
            body = without_boundary(body, asked.content_type)
        where = f"{method} {target.provider} {target.path}"
        return self._books.ledger.fingerprint(where.encode(), body)
