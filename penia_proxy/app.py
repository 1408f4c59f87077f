"""
Wire the parts together.

Its one job: the composition root; the one place that knows every part, and the order in which they start and stop.
Rules: at start the ledger is recovered before the counters are loaded, and both before a connection is accepted; at
the end connections are drained before the ledger is closed. No rule of money is here.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self, cast

from aiohttp import HttpVersion10, HttpVersion11, web

from penia_proxy.api.endpoint import error_response
from penia_proxy.api.open_holds import OpenHolds
from penia_proxy.api.routes import add_routes
from penia_proxy.api.services import Services
from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.budget import budget_of
from penia_proxy.budget.calibration import Calibration
from penia_proxy.budget.engine import Engine
from penia_proxy.budget.estimate import OutputHabit
from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.tokens import load_vocabulary
from penia_proxy.clock import Clock, SystemClock
from penia_proxy.config import Config, ProviderConfig, changes
from penia_proxy.counters.memory import MemoryCounters
from penia_proxy.errors import ConfigError, InvariantError, Overloaded, UnsupportedVersion
from penia_proxy.export.daily import DailyFiles
from penia_proxy.gateway.control import is_last
from penia_proxy.gateway.holding import Books
from penia_proxy.gateway.lean import LeanClient
from penia_proxy.gateway.listening import Listener
from penia_proxy.gateway.providers import Upstream
from penia_proxy.gateway.proxy import Proxy
from penia_proxy.gateway.relay import Provider
from penia_proxy.gateway.routes import RouteTable, is_call
from penia_proxy.gateway.session import SessionClient
from penia_proxy.gateway.stamp import SERVER
from penia_proxy.ids import new_id
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.watch.alerts import Alerts
from penia_proxy.watch.announcer import Announcer
from penia_proxy.watch.attempts import AllAttempts
from penia_proxy.watch.jumps import LOOK_S, Jumps
from penia_proxy.watch.live import LiveHub, LiveLimits
from penia_proxy.watch.notify import Notifier
from penia_proxy.watch.projections import Projections
from penia_proxy.watch.refusing import Refusing
from penia_proxy.watch.settings import alert_settings
from penia_proxy.watch.shapes import BudgetStates
from penia_proxy.watch.standing import Turns, open_alerts
from penia_proxy.wire.dialects import DIALECTS

log = logging.getLogger(__name__)

GC_THRESHOLD = 20_000
"""New objects between two looks for cycles, of which a call makes few: at Python's own 700 they took 7 % of a call."""

PAST_RECORDS = 10_000
"""Read at start: 256 outputs for about forty (component, model), 128 estimates for about eighty (provider, model)."""

FAREWELL_S = 1.0
"""How long live clients and the API's requests may take to end, once no call is under way."""

FORMS_MAX = 128
"""Bodies that the API reads at a time, of a megabyte at most."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a running gateway is told."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """Do not wait for what is in flight."""
    reload: asyncio.Event = field(default_factory=asyncio.Event)
    """Read the configuration again."""


class Gateway:
    """A gateway that runs."""

    def __init__(self, config: Config, clock: Clock, reread: Callable[[], Config] | None = None) -> None:
        """``reread`` returns the configuration as it is now; without one it never changes."""
        self.config = config
        self.clock = clock
        self._reread = reread or (lambda: config)
        self._reloading = asyncio.Lock()
        self._forms = 0
        self.book = BudgetBook()
        self.counters = MemoryCounters()
        self.engine = Engine(self.book, self.counters)
        self.habit = OutputHabit()
        self.calibration = Calibration()
        self.attempts = AllAttempts(clock)
        self.ledger: Ledger
        self.prices: PriceBook
        self.hub: LiveHub
        self.notifier: Notifier
        self.projections: Projections
        self.alerts: Alerts
        self.announcer: Announcer
        self._runner: web.ServerRunner
        self._control: web.AppRunner
        self._started_monotonic = clock.monotonic()

    async def start(self) -> Self:
        """
        Open the ledger, end what a crash left open, and listen.

        Raises ConfigError, or OSError where the port is taken.
        """
        load_vocabulary()
        self.prices = PriceBook.configured(self.config.pricing)
        self.ledger = await Ledger.open(self.config.ledger, self.clock)
        try:
            await self._load_books()
            states = BudgetStates(self.book, self.counters, self.clock)
            live = LiveLimits(clients_max=self.config.server.max_live_clients)
            self.hub = LiveHub(states.of, states.ids, open_alerts(self.ledger, self.clock), self.clock, limits=live)
            await self._watch_over()
            self._client = LeanClient() if self.config.server.upstream_client == "lean" else SessionClient()
            try:
                await self._listen()
            except BaseException:
                await self._client.close()
                await self.alerts.stop()
                await self.notifier.stop()
                raise
        except BaseException:
            await self.ledger.close()
            raise
        return self

    @property
    def url(self) -> str:
        """Where it listens, with the port that was given or chosen."""
        return self._listener.url

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """
        Take no more calls, let those in flight end within ``drain_seconds``, and close the ledger.

        Until then the port answers, so that callers and load balancers are told. What is still running then, or when
        ``hurry`` is set, is settled as far as it came.
        """
        self._services.draining = True
        for watching in self._watching:
            watching.cancel()
        await self._proxy.finish(self.config.server.drain_seconds, hurry or asyncio.Event())
        await self.ledger.caught_up()  # live clients hear of a record once it is durable
        self._listener.close()
        await self.hub.close()  # its clients would stay for as long as anybody may
        await self._runner.cleanup()
        self._listener.hang_up()
        await self._control.cleanup()
        await self._services.finished()
        await self._client.close()
        self.refusing.stop()
        await self.alerts.stop()
        await self.notifier.stop()
        await self.ledger.close()

    async def reload(self) -> tuple[str, ...]:
        """
        Take the configuration and the prices as they are now; return the names of what changed.

        Raises ConfigError, having changed nothing.
        """
        return await self._take_anew(self._reread)

    async def refresh(self) -> None:
        """Take the prices as they are now, and nothing else. Raises ConfigError, having changed nothing."""
        await self._take_anew(lambda: self.config)

    async def _take_anew(self, read: Callable[[], Config]) -> tuple[str, ...]:
        async with self._reloading:
            try:
                config = await asyncio.to_thread(read)
                changed = changes(self.config, config)
                prices = await asyncio.to_thread(PriceBook.configured, config.pricing)
                upstreams = self._upstreams(config.providers)
                alerts = await alert_settings(self.ledger, config.alerts)
            except ConfigError as error:
                self._services.config_error = problem = "; ".join(str(error).splitlines())
                log.error("the configuration stays as it was: %s", problem)  # noqa: TRY400 - the operator's, not ours
                raise
            self._take(config, prices, upstreams)
            self.alerts.take(alerts)
            self.notifier.take(alerts)
        log.info("the configuration was read again; changed: %s", ", ".join(changed) or "nothing")
        return changed

    def _take(self, config: Config, prices: PriceBook, upstreams: Mapping[str, Upstream]) -> None:
        """Swap everything in one step: nobody sees one part of it without the other."""
        self._proxy.take(upstreams, prices, config.server)
        self._listener.take(config.server)
        self.hub.limits = replace(self.hub.limits, clients_max=config.server.max_live_clients)
        self.config = self._services.config = config
        self._daily.config = config.export
        self.prices = self._services.prices = prices
        self._services.config_loaded_at, self._services.config_error = self.clock.now(), None
        logging.getLogger("penia_proxy").setLevel(config.server.log_level.upper())

    def _upstreams(self, providers: Mapping[str, ProviderConfig]) -> dict[str, Upstream]:
        found = {}
        for name, provider in providers.items():
            dialect = DIALECTS[provider.format]
            routes = RouteTable(dialect.routes, provider.free_routes)
            found[name] = Upstream(Provider(name, provider, self._client, self.attempts.at(name)), dialect, routes)
        return found

    async def _load_books(self) -> None:
        expired = await self.ledger.recover()
        if expired:
            log.warning("%d calls were in flight when the last process ended; booked as unconfirmed", len(expired))
        known = await self.ledger.budgets()
        if not known:
            now = self.clock.now()
            for spec in self.config.budgets:
                budget = budget_of(spec, budget_id=new_id("b"), created_at=now, updated_at=now)
                await self.ledger.save_budget(budget)
                known.append(budget)
        rulings = await self.ledger.rulings.in_force(self.clock.now())
        for budget in known:
            grants, denials = rulings.get(budget.budget_id, ((), ()))
            self.book.put(replace(budget, grants=tuple(grants), denials=tuple(denials)))
        for name in {spec.name for spec in self.config.budgets} - {budget.name for budget in known}:
            log.warning("budget %r of the configuration is not in the database; only a first start creates it", name)
        newest = await self.ledger.reconciliations.newest()
        self._captured = {provider: one.captured for provider, one in newest.items()}
        self.counters.load(await self.ledger.tallies(self.clock.now()))
        for past in reversed(await self.ledger.recent_calls(PAST_RECORDS)):
            self.habit.observe(past.component, past.model, past.output_tokens)
            if past.outcome is not None:
                self.calibration.observe(past.provider, past.model, past.outcome)

    async def _watch_over(self) -> None:
        """Begin to raise alerts and to send what there is to be sent."""
        settings = await alert_settings(self.ledger, self.config.alerts)
        self.notifier = Notifier(self.ledger, self.clock, settings)
        self.projections = Projections(self.ledger)
        book, counters, projections = self.book, self.counters, self.projections
        self.alerts = Alerts(book, counters, self.ledger, self.hub, self.clock, settings, self.notifier, projections)
        self.announcer = Announcer(self.hub, self.alerts)
        self.refusing = Refusing(self.ledger, self.clock, self.announcer.asked, self.announcer.totals)
        await self.refusing.start()
        await self.alerts.start()
        self.notifier.start()

    async def _listen(self) -> None:
        app = web.Application()
        app.on_response_prepare.append(_signed)
        self._services = self._control_plane()
        add_routes(app, self._services)
        self._proxy = self._data_plane()
        self._services.underway = self._proxy.underway
        self._control = web.AppRunner(app)
        await self._control.setup()
        control = self._control.server
        if control is None:
            raise InvariantError("aiohttp has made no server of the application")
        self._to_control = control.request_handler
        # Below the application, as sessions are none of its routes. A caller that leaves one is known at once.
        server = web.Server(self._planes, request_factory=control.request_factory, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=FAREWELL_S)
        await self._runner.setup()
        self._listener = Listener(server, self.config.server, self.clock, self._proxy.handle)
        await self._listener.open()
        ledger = self.ledger
        watching = (_watch(self._services), self._daily.run(), ledger.keep_folding(), ledger.keep_looking())
        self._watching = [asyncio.create_task(one) for one in watching]

    def _control_plane(self) -> Services:
        self._daily = DailyFiles(self.ledger, self.config.ledger.url, self.clock, self.config.export)
        return Services(
            config=self.config,
            clock=self.clock,
            ledger=self.ledger,
            counters=self.counters,
            engine=self.engine,
            book=self.book,
            prices=self.prices,
            hub=self.hub,
            alerts=self.alerts,
            notifier=self.notifier,
            projections=self.projections,
            announcer=self.announcer,
            started_monotonic=self._started_monotonic,
            jumps=Jumps(self.clock),
            config_loaded_at=self.clock.now(),
            reload=self.reload,
            refresh=self.refresh,
            habit=self.habit,
            calibration=self.calibration,
            refusing=self.refusing,
            holds=OpenHolds(self.engine, self.counters, self.ledger, self.clock, self.refusing, self.announcer),
            daily=self._daily,
            captured=self._captured,
            attempts=self.attempts,
        )

    def _data_plane(self) -> Proxy:
        books = Books(
            engine=self.engine,
            counters=self.counters,
            ledger=self.ledger,
            clock=self.clock,
            habit=self.habit,
            config=self.config.ledger,
            published=self.announcer.published,
            touched=self.announcer.touched,
            judged=self.announcer.judged,
            calibration=self.calibration,
            refusing=self.refusing,
        )
        return Proxy(self._upstreams(self.config.providers), self.prices, books, self.config.server)

    async def _planes(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer for the control plane, or open a session."""
        if is_call(request.raw_path):
            return await self._proxy.open(cast("web.Request", request))  # as the application's factory makes them
        if not HttpVersion10 <= request.version <= HttpVersion11:
            return error_response(UnsupportedVersion("Penia speaks HTTP/1.1."))
        response = await self._answer(request)
        if is_last(request):
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer for the control plane; of requests with a body only so many at a time."""
        if not request.body_exists:
            return await self._to_control(request)
        if self._forms >= FORMS_MAX:
            return error_response(Overloaded("Too many requests are being read; send this again in a moment."))
        self._forms += 1
        try:
            return await self._to_control(request)
        finally:
            self._forms -= 1


async def _watch(services: Services) -> None:
    turns = Turns(services.book, services.clock, services.announcer.touched)
    while True:
        await asyncio.sleep(LOOK_S)
        await turns.look()
        await services.unbroken(services.holds.sweep())
        services.jumps.tell()
        services.attempts.look()


async def _signed(_request: web.Request, response: web.StreamResponse) -> None:
    """Say who serves: aiohttp has named itself and Python's version by now."""
    response.headers["Server"] = SERVER


async def serve(
    config: Config,
    *,
    clock: Clock | None = None,
    on_ready: Callable[[str], None] | None = None,
    told: Told | None = None,
    reread: Callable[[], Config] | None = None,
) -> None:
    """Run a gateway until it is ``told`` to stop; ``on_ready`` is told its URL. Raises as `Gateway.start`."""
    told = told or Told()
    gateway = await Gateway(config, clock or SystemClock(), reread).start()
    # Prices and vocabulary are a million objects that live as long as the process: without this each full collection
    # walks them all, and holds up every call for a tenth of a second.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    try:
        if on_ready is not None:
            on_ready(gateway.url)
        reloads = asyncio.create_task(_reloads(gateway, told.reload))
        await told.stop.wait()
        reloads.cancel()
    finally:
        await gateway.stop(told.hurry)


async def _reloads(gateway: Gateway, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        try:
            await gateway.reload()
        except ConfigError:
            pass  # said in the log, and in /health
        except Exception as error:  # noqa: BLE001 - whatever it is, the next signal must find somebody
            log.error("the configuration could not be read again: %s", type(error).__name__)  # noqa: TRY400
