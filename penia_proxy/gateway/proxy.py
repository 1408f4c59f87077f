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
from penia_proxy.errors import InvariantError, PeniaError
from penia_proxy.gateway.answer import Answering, Copy, head_of, pass_through, through_cancellation
from penia_proxy.gateway.booking import book
from penia_proxy.gateway.caller import Caller, caller_of
from penia_proxy.gateway.charging import Payer
from penia_proxy.gateway.deadlines import Deadlines
from penia_proxy.gateway.dialing import Opening
from penia_proxy.gateway.door import Door, Visit
from penia_proxy.gateway.downstream import Downstream
from penia_proxy.gateway.drains import Drains
from penia_proxy.gateway.holding import Books, Holding
from penia_proxy.gateway.incoming import Incoming
from penia_proxy.gateway.naming import Naming
from penia_proxy.gateway.planning import Plan, dialect_of, plan_of, upstream_of
from penia_proxy.gateway.pricing import Pricing
from penia_proxy.gateway.providers import Upstream
from penia_proxy.gateway.refusal import Reply, refuse, reply
from penia_proxy.gateway.relay import Exchange
from penia_proxy.gateway.routes import Target, target_of
from penia_proxy.gateway.sockets import BEGUN, Sockets
from penia_proxy.gateway.stamp import Stamp
from penia_proxy.gateway.turns import Turns
from penia_proxy.gateway.upstream import ReachedError
from penia_proxy.gateway.works import Ask, CallWorks, Works
from penia_proxy.ids import new_id
from penia_proxy.watch.totals import Underway
from penia_proxy.wire.call import Call, Reading, Reads, Request
from penia_proxy.wire.decode import decoded_request
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


def running_task() -> asyncio.Task[Any]:
    """Return the task that runs."""
    task = asyncio.current_task()
    if task is None:
        raise InvariantError("a session is opened by a task")
    return task


def _uncoded(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """Return the headers of a body that we have written ourselves."""
    if "Content-Encoding" not in headers:
        return headers
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() != "content-encoding")


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

    async def handle(self, incoming: Incoming) -> None:
        """Answer a call; every error becomes a refusal in the provider's shape."""
        caller: Caller | None = None
        try:
            plan = plan_of(incoming.head, self._upstreams)
            caller = plan.caller()
            visit = self._door.let_in(caller.component, incoming.task)
            await self._forward(incoming, plan, caller, visit)
        except Exception as error:
            if incoming.begun or isinstance(error, ConnectionResetError):
                raise
            if self._door.closed:  # the next call goes where somebody takes it
                incoming.keeps = False
            refuse(incoming, self._refusal(error, incoming.head.target, caller))

    async def open(self, request: web.Request) -> web.StreamResponse:
        """Answer a WebSocket's handshake, and carry the session that it begins."""
        caller: Caller | None = None
        try:
            target = target_of(request.raw_path)
            upstream = upstream_of(target, self._upstreams)
            caller = caller_of(request.headers, target.component)
            self._door.let_in(caller.component, running_task())
            return await self._open(request, target, upstream, caller)
        except Exception as error:
            if BEGUN in request or isinstance(error, ConnectionResetError):
                raise
            refusal = self._refusal(error, request.raw_path, caller)
            answer = web.Response(status=refusal.status, body=refusal.body, headers=refusal.fields)
            answer.force_close()  # what follows a refused handshake is no HTTP
            return answer

    def _refusal(self, error: Exception, raw_target: str, caller: Caller | None) -> Reply:
        if isinstance(error, ReachedError):
            error = error.error
        if not isinstance(error, PeniaError):
            # Ours. Its text and its traceback could quote the request, so only its kind and place are told.
            log.error("a call could not be handled: %s at %s", type(error).__name__, place_of(error))
            error = InvariantError("Penia failed at this call; nothing was decided.")
        request_id = caller.request_id if caller is not None else new_id("r")
        return reply(error, dialect_of(raw_target, self._upstreams), request_id, self._books.clock.now())

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
        provider = upstream.provider
        opening = Opening(provider.name, url, headers, provider.config.timeout_seconds, provider.attempts)
        return await self._sockets.carry(request, opening, session, turns, stamp)

    async def _forward(self, incoming: Incoming, plan: Plan, caller: Caller, visit: Visit) -> None:
        stamp = Stamp(self._books.clock, caller.request_id)
        target, upstream, route, headers = plan.target, plan.upstream, plan.route, plan.headers
        pricing = self._pricing  # the plan's: another configuration may be taken while the body comes
        body = await incoming.body(self._server, visit.carry)
        method = incoming.head.method
        downstream = Downstream(incoming, self._deadlines, upstream.provider.config.timeout_seconds.idle)
        send = partial(upstream.provider.exchange, method, target.path, target.query)
        if route.operation is None and route.reads is None:
            stamp.sent()
            async with send(headers, body) as answer:
                stamp.answered()
                await pass_through(downstream, answer, stamp)
            return
        asked = Request(
            operation=route.operation or "",
            body=decoded_request(body, incoming.headers.get("Content-Encoding"), self._body_bytes_max),
            path_values=plan.path_values,
            query=target.query,
            content_type=incoming.headers.get("Content-Type", ""),
            headers=headers,
            noted=self._works.noted(upstream.provider.name),
        )
        if len(asked.body) > len(body):
            visit.carry(len(asked.body) - len(body))
        payer = pricing.payer(caller, upstream)
        if route.reads is not None:
            await self._read(downstream, partial(send, headers, body), asked, route.reads, payer, stamp)
            return
        call = upstream.dialect.call(asked)
        if call.changed:
            body, headers = call.body, _uncoded(headers)
        drains = self._drains if upstream.drains else None
        works = CallWorks(self._works, payer, self._asking(upstream, target.query, headers))
        answering = Answering(downstream, stamp, self._books.clock, works, drains=drains)
        fingerprint = self._fingerprint(method, target, asked) if caller.chose_id else None
        holding = Holding(self._books, pricing.held(call, payer, upstream, stamp.started, fingerprint))
        exchange = self._exchange(send, headers, body, holding, call, upstream, answering)
        # Where an answer is to be read on without its caller, the caller's leaving must not cancel the exchange.
        await (self._outlive(visit, exchange) if upstream.drains else exchange)

    async def _exchange(
        self,
        send: Send,
        headers: CIMultiDict[str],
        body: bytes,
        holding: Holding,
        call: Call,
        upstream: Upstream,
        answering: Answering,
    ) -> None:
        """Hold, relay, settle: from here on every way out ends the hold."""
        async with holding as hold:
            if (cap := hold.output_cap) is not None and call.capped is not None:
                body, headers = call.capped(cap), _uncoded(headers)
                call = replace(call, changed=(*call.changed, "output cap"))
            if hold.truncates and call.cuttable:
                call = replace(call, may_be_cut=True)
            answering.admitted(hold.verdict, call)
            try:
                async with send(headers, body, connected=hold.sent) as answer:
                    await answering.metered(answer, hold, call, upstream.dialect.meter)
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
        payer: Payer,
        stamp: Stamp,
    ) -> None:
        """Pass on an answer that costs nothing itself, and book what it says of other work."""
        stamp.sent()
        async with send() as answer:
            stamp.answered()
            if answer.status != 200:
                await pass_through(downstream, answer, stamp)
                return
            if len(asked.body) > INLINE_BYTES_MAX:
                meter = await asyncio.to_thread(reads, asked, head_of(answer))
            else:
                meter = reads(asked, head_of(answer))
            told = partial(self._works.told, payer)
            copy = Copy(meter, answer.headers.get("Content-Encoding"), told)
            await pass_through(downstream, answer, stamp, copy)

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

    async def _outlive(self, visit: Visit, exchange: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(exchange)
        visit.of(task)
        await asyncio.shield(task)

    def _fingerprint(self, method: str, target: Target, asked: Request) -> str:
        """Return the fingerprint of a request; without its query, which may hold a key."""
        body = asked.body
        if is_form(asked.content_type):
            body = without_boundary(body, asked.content_type)
        where = f"{method} {target.provider} {target.path}"
        return self._books.ledger.fingerprint(where.encode(), body)
