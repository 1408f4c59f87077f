"""
A gateway's process without its sockets.

Its one job: the real parts (budgets, counters, engine, ledger file, holds, works, the API's handlers), put together by
`app.Gateway` itself, that start, stop and die. Rule: what dies leaves what a `kill -9` leaves: the file and its log as
they were at that moment, and nothing of the memory.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from penia_proxy.api.endpoint import Call as ApiCall
from penia_proxy.api.fields import Nothing
from penia_proxy.app import Gateway
from penia_proxy.budget.compiling import compile_card
from penia_proxy.budget.engine import Ask
from penia_proxy.budget.estimate import Estimate, Size
from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.ratecard import Context, Rate, RateCard
from penia_proxy.config import Config, LedgerConfig
from penia_proxy.gateway.answer import Booked
from penia_proxy.gateway.booking import End
from penia_proxy.gateway.caller import Caller
from penia_proxy.gateway.charging import Payer
from penia_proxy.gateway.holding import Held, Holding
from penia_proxy.gateway.stamp import Stamp
from penia_proxy.gateway.works import CallWorks
from penia_proxy.ledger import file, verify
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.watch.live import LiveHub
from penia_proxy.watch.standing import open_alerts
from penia_proxy.wire.call import Call, Reading

T = TypeVar("T")

PROVIDER = "openai"
PRICED, FREE, UNPRICED = "gpt-priced", "gpt-free", "gpt-unpriced"


def _card(usd_per_million: str) -> RateCard:
    rate = Rate(Decimal(usd_per_million))
    prices = {"input_mtok": rate, "output_mtok": rate}
    return compile_card(
        provider=PROVIDER,
        model="made up",
        context_window=None,
        source="override",
        contexts={Context(): prices},
        at_least={},
    )


CARDS = {PRICED: _card("0.001"), FREE: _card("0")}
"""A token costs a nano-dollar, or nothing, so that costs can be reckoned in the head."""
PRICES = PriceBook.load()

_file: ContextVar[Path] = ContextVar("file")
_reader = create_engine("sqlite://", creator=lambda: file._reader(_file.get()), poolclass=NullPool)
"""One for all files: the engine that `penia verify` makes for itself compiles each statement anew, some 30 ms."""


@dataclass
class Clock:
    """A clock that is set. Like the machine's own, its monotonic side never goes back."""

    instant: datetime
    seconds: float = 0.0

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.seconds

    def move(self, by: timedelta) -> None:
        """Set the wall clock; some time has passed even where it is set back."""
        self.instant += by
        self.seconds += max(by / timedelta(seconds=1), 1.0)


@dataclass
class Meter:
    """A meter that has read what it is told."""

    said: Reading
    streams: bool = True

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""

    def reading(self) -> Reading:
        return self.said


def caller(name: str, component: str, tags: dict[str, str] | None = None) -> Caller:
    """Return a caller that chose its request's id."""
    return Caller(component, None, tags or {}, name, chose_id=True)


def payer(who: Caller) -> Payer:
    return Payer(who, PROVIDER, CARDS.get, "p1")


def estimate(ask: Ask) -> Estimate:
    """Return an estimate whose tokens are its nano-dollars, half in, half out."""
    tokens = ask.expected_nanos or 0
    return Estimate(ask, tokens - tokens // 2, tokens // 2)


class Process:
    """One life of a gateway, from the opening of the file to its close."""

    def __init__(self, file: Path, clock: Clock) -> None:
        self.file = file
        self.clock = clock
        self.started = False

    async def start(self) -> None:
        """Do what `Gateway.start` does, but listen."""
        config = Config(ledger=LedgerConfig(url=f"sqlite:///{self.file}", durability="normal"))
        gateway = Gateway(config, self.clock)
        gateway.prices = PRICES
        gateway.ledger = self.ledger = await Ledger.open(config.ledger, self.clock)
        try:
            await gateway._load_books()
        except BaseException:
            await self.ledger.close()
            raise
        gateway.hub = LiveHub(_unseen, tuple, open_alerts(self.ledger, self.clock), self.clock)
        await gateway._watch_over()
        self.alerts, self.notifier = gateway.alerts, gateway.notifier
        self.services = gateway._control_plane()
        self.proxy = gateway._data_plane()
        self.books, self.works = self.proxy._books, self.proxy._works
        self.counters, self.book = gateway.counters, gateway.book
        self.beside = sqlite3.connect(self.file, isolation_level=None)
        """The file as another program sees it."""
        self.started = True

    async def stop(self) -> None:
        """Do what `Gateway.stop` does once its connections are drained."""
        if not self.started:
            return
        await self.services.finished()
        await self.proxy.finish(0, asyncio.Event())
        await self.alerts.stop()
        await self.notifier.stop()
        await self.ledger.close()
        self.beside.close()

    async def die(self) -> None:
        """Take a dead process's threads away; what they still write is in a file that nobody looks at any more."""
        for waiting in self.works._waiting.values():
            waiting.stop()
        await self.notifier.stop()
        await self.alerts.stop()
        await self.ledger.close()
        self.beside.close()

    def left_in(self, folder: Path) -> Path:
        """Copy what a death at this moment leaves: the file and its log. The writer must be idle."""
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{self.file}{suffix}", folder / f"{self.file.name}{suffix}")
        return folder / self.file.name

    def differences(self) -> list[verify.Difference]:
        """Return what `penia verify` finds."""
        _file.set(self.file)
        with _reader.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            return list(verify._differences(verify.Everywhere(connection, verify.Files(self.file))))

    def holding(self, who: Caller, model: str, first: Ask, counted: Ask) -> Holding:
        """Return the hold of a call, as `Proxy` makes it; ``counted`` is what it may cost by its counted text."""

        async def recount() -> Estimate:
            return estimate(counted)

        held = Held(
            started=self.clock.monotonic(),
            caller=who,
            provider=PROVIDER,
            model=model,
            streamed=True,
            pricing_version="p1",
            card_of=CARDS.get,
            plain_of=lambda _: None,
            estimate=estimate(first),
            cap_for=lambda _: 1,
            fingerprint=None,
            recount=recount,
            place=None,
            cheaper=lambda _: {},
        )
        return Holding(self.books, held)

    async def answered(self, hold: Holding, reading: Reading, end: End = "ok") -> None:
        """End a hold, or keep it for a later bill, by what its answer said."""
        held = hold._held
        works = CallWorks(self.works, payer(held.caller), _unasked)
        call = Call("chat", held.model, stream=True, size=Size(0), body=b"", text=str)
        await Booked(works, Stamp(self.clock, held.caller.request_id), hold, call, Meter(reading)).at(end)

    async def api(self, handler: Callable[[Any], Coroutine[Any, Any, T]], path: str = "", body: Any = None) -> T:
        """Ask the control plane, past its HTTP."""
        return await handler(
            ApiCall(
                self.services,
                Nothing(),
                body or Nothing(),
                {"budget_id": path, "approval_id": path, "record_id": path},
            )
        )


async def _unseen(_budget_id: str) -> None:
    """Nobody listens to the live feed."""


def _unasked(_path: str) -> Any:
    raise AssertionError("no work of these tests can be polled")
