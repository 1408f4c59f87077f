"""
A control plane over real HTTP.

Its one job: the API on a loopback port, with a real ledger file, real counters and the real price book, and a clock
that tests move.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from penia_proxy.api.open_holds import OpenHolds
from penia_proxy.api.routes import add_routes
from penia_proxy.api.services import Services
from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.engine import Engine
from penia_proxy.budget.prices import PriceBook
from penia_proxy.config import Config
from penia_proxy.counters.memory import MemoryCounters
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.watch.alerts import Alerts
from penia_proxy.watch.announcer import Announcer
from penia_proxy.watch.attempts import AllAttempts
from penia_proxy.watch.jumps import Jumps
from penia_proxy.watch.live import LiveHub
from penia_proxy.watch.notify import Notifier
from penia_proxy.watch.projections import Projections
from penia_proxy.watch.refusing import Refusing
from penia_proxy.watch.shapes import BudgetStates
from penia_proxy.watch.standing import open_alerts
from tests.api.client import Api, MovedClock


@pytest.fixture
def clock() -> MovedClock:
    """Monday noon."""
    return MovedClock()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Give each test a ledger of its own, bound to loopback."""
    return Config.model_validate(
        {
            "ledger": {"url": f"sqlite:///{tmp_path / 'penia.db'}", "durability": "normal"},
            "providers": {
                "house": {
                    "base_url": "http://127.0.0.1:9",
                    "format": "openai",
                    "prices": "openai",
                    "models": {"our-deployment": "gpt-4o"},
                }
            },
        }
    )


@pytest.fixture(scope="session")
def prices() -> PriceBook:
    """Read the project's own price book once."""
    return PriceBook.load()


async def unchanged() -> tuple[str, ...]:
    """Read nothing again."""
    return ()


async def same_prices() -> None:
    """Read nothing again."""


@pytest.fixture
async def services(config: Config, clock: MovedClock, prices: PriceBook) -> AsyncIterator[Services]:
    """Everything the API needs, without a gateway."""
    ledger = await Ledger.open(config.ledger, clock)
    await ledger.recover()
    book = BudgetBook(await ledger.budgets())
    counters = MemoryCounters()
    counters.load(await ledger.tallies(clock.now()))
    states = BudgetStates(book, counters, clock)
    hub = LiveHub(states.of, states.ids, open_alerts(ledger, clock), clock)
    notifier = Notifier(ledger, clock, config.alerts)
    projections = Projections(ledger)
    alerts = Alerts(book, counters, ledger, hub, clock, config.alerts, notifier, projections)
    await alerts.start()
    notifier.start()
    announcer = Announcer(hub, alerts)
    refusing = Refusing(ledger, clock, announcer.asked, announcer.totals)
    engine = Engine(book, counters)
    yield Services(
        config=config,
        clock=clock,
        ledger=ledger,
        counters=counters,
        engine=engine,
        book=book,
        prices=prices,
        hub=hub,
        alerts=alerts,
        notifier=notifier,
        projections=projections,
        announcer=announcer,
        started_monotonic=clock.monotonic(),
        jumps=Jumps(clock),
        attempts=AllAttempts(clock),
        config_loaded_at=clock.now(),
        refusing=refusing,
        holds=OpenHolds(engine, counters, ledger, clock, refusing, announcer),
        reload=unchanged,
        refresh=same_prices,
    )
    await hub.close()
    await alerts.stop()
    await notifier.stop()
    await ledger.close()


@pytest.fixture
async def api(services: Services, clock: MovedClock) -> AsyncIterator[Api]:
    """Serve the API on a loopback port."""
    app = web.Application()
    add_routes(app, services)
    async with TestServer(app) as server, ClientSession() as session:
        asked = Api(session, str(server.make_url("/")).rstrip("/"), services, clock)
        yield asked
        await asked.close()
