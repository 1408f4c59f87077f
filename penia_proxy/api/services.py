"""
Name what the API works with.

Its one job: the parts that app.py wires together, under one typed key.
Rule: the API takes nothing from anywhere else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from aiohttp import web

from penia_proxy.api.open_holds import OpenHolds
from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.calibration import Calibration
from penia_proxy.budget.engine import Counters, Engine
from penia_proxy.budget.estimate import OutputHabit
from penia_proxy.budget.models import ModelFacts
from penia_proxy.budget.prices import PriceBook, RateCard
from penia_proxy.budget.record import Tally
from penia_proxy.budget.windows import WindowKey
from penia_proxy.clock import Clock
from penia_proxy.config import Config
from penia_proxy.export.daily import DailyFiles
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.reconciliations import Captured
from penia_proxy.watch.alerts import Alerts
from penia_proxy.watch.announcer import Announcer
from penia_proxy.watch.attempts import AllAttempts
from penia_proxy.watch.jumps import Jumps
from penia_proxy.watch.live import LiveHub
from penia_proxy.watch.notify import Notifier
from penia_proxy.watch.projections import Projections
from penia_proxy.watch.refusing import Refusing
from penia_proxy.watch.totals import Underway
from penia_proxy.wire.regions import region_of

T = TypeVar("T")


class LoadedCounters(Counters, Protocol):
    """Counters that can take figures anew."""

    def load(self, tallies: Mapping[WindowKey, Tally]) -> None:
        """Take the ledger's figures for these windows; what is held in them stays held."""
        ...


def catalogue_of(config: Config, provider: str) -> str:
    """Return a provider's name in the price book, which config.yaml may say."""
    configured = config.providers.get(provider)
    return (configured.prices if configured else None) or provider


def card_at(
    config: Config, prices: PriceBook, provider: str, model: str, at: datetime, place: str | None = None
) -> RateCard | None:
    """
    Return what a model costs at a configured provider, or at one of the catalogue; None: no price is known.

    ``place`` is where a call's path asked to be processed.
    """
    configured = config.providers.get(provider)
    if configured is None:
        return prices.card(provider, model, at)
    region = region_of(configured.base_url, configured.region, place)
    return prices.card(catalogue_of(config, provider), configured.priced_as(model), at, region=region)


@dataclass(slots=True)
class Services:
    """The parts of a running Penia that the API shows and moves."""

    config: Config
    clock: Clock
    ledger: Ledger
    counters: LoadedCounters
    engine: Engine
    book: BudgetBook
    prices: PriceBook
    hub: LiveHub
    alerts: Alerts
    notifier: Notifier
    projections: Projections
    announcer: Announcer
    started_monotonic: float
    jumps: Jumps
    config_loaded_at: datetime
    refusing: Refusing
    """What every refusal goes through, and has asked for; the gateway's."""
    holds: OpenHolds
    """Of calls that components make without the gateway."""
    attempts: AllAttempts
    """At providers; the gateway's."""
    reload: Callable[[], Awaitable[tuple[str, ...]]]
    """Read the configuration again; return the names of what changed. Raises ConfigError, having changed nothing."""
    refresh: Callable[[], Awaitable[None]]
    """Read the prices again. Raises ConfigError, having changed nothing."""
    config_error: str | None = None
    """Why the last reload changed nothing."""
    habit: OutputHabit = field(default_factory=OutputHabit)
    """The gateway's, so that a check expects the output that a call would."""
    calibration: Calibration = field(default_factory=Calibration)
    """The gateway's."""
    budget_edits: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from reading a budget to the acknowledged write, so that of two edits none is lost."""
    draining: bool = False
    """Whether calls are refused because the process ends."""
    captured: dict[str, Captured] = field(default_factory=dict)
    """By provider, of its newest reconciliation."""
    underway: Callable[[], Underway] = Underway
    """Say what runs in the data plane."""
    daily: DailyFiles | None = None
    """What writes daily files."""
    large_body: bool = False
    """Whether a body that is larger than usual is being read, or worked on."""
    streams: int = 0
    """Files that are being sent."""
    _unbroken: set[asyncio.Task[Any]] = field(default_factory=set)

    def catalogue_of(self, provider: str) -> str:
        """Return the provider's name in the price book, which config.yaml may say."""
        return catalogue_of(self.config, provider)

    def card(self, provider: str, model: str, at: datetime) -> RateCard | None:
        """Return what a model costs at a configured provider, or at one of the catalogue; None: no price is known."""
        return card_at(self.config, self.prices, provider, model, at)

    def facts(self, provider: str, model: str) -> ModelFacts | None:
        """Return what is stated about such a model; None: nothing is."""
        configured = self.config.providers.get(provider)
        return self.prices.facts(self.catalogue_of(provider), configured.priced_as(model) if configured else model)

    def stated(self, provider: str, model: str) -> ModelFacts | None:
        """Return what may be said of such a model: see `PriceBook.stated`."""
        configured = self.config.providers.get(provider)
        return self.prices.stated(self.catalogue_of(provider), configured.priced_as(model) if configured else model)

    async def unbroken(self, steps: Coroutine[Any, Any, T]) -> T:
        """Run steps that belong together to their end, even if the request that asked for them is cancelled."""
        task = asyncio.create_task(steps)
        self._unbroken.add(task)
        task.add_done_callback(self._unbroken.discard)
        return await asyncio.shield(task)

    async def finished(self) -> None:
        """Wait for what `unbroken` still runs: before the ledger is closed."""
        if self._unbroken:
            await asyncio.wait(self._unbroken)


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)
