"""
Price the past again.

Its one job: `POST /api/v1/prices/reprice`: where the price book in force gives another cost than records have, append
the difference.
Rules: which records, and at what cost, is `budget.repricing`'s. One request looks at so many records at most and
answers with a cursor for the rest, so that nobody waits for a whole ledger. An adjustment counts in the windows of its
record, and counters move only for what the ledger has acknowledged as new. A second run changes nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Filter, Name, Nothing, Sent, Shown, Since, Until
from penia_proxy.api.services import card_at
from penia_proxy.budget.money import usd
from penia_proxy.budget.prices import PriceBook, RateCard
from penia_proxy.budget.record import REGION, UsageRecord
from penia_proxy.budget.repricing import adjustment, card_for, fixed_because
from penia_proxy.clock import Clock, iso
from penia_proxy.config import Config
from penia_proxy.errors import ArchiveUnavailable, Conflict, InvalidRequest, StoreUnavailable
from penia_proxy.ledger.history import Happened
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.queries import RecordFilter

RECORDS_MAX = 2_000
"""Looked at by one request: about a third of a second."""
PIECE = 200
"""Read and priced in one step of the event loop, some five milliseconds."""


class RepriceBody(Sent):
    """Which records, by the instant at which they count. Without `until`: to this moment."""

    since: Since
    until: Until | None = None
    provider: Annotated[Name | None, Field(description="As named in the configuration.")] = None
    model: Annotated[Name | None, Field(description="As recorded: the model that answered.")] = None
    dry_run: Annotated[bool, Field(description="Say what would change, and change nothing.")] = False
    cursor: Annotated[Filter | None, Field(description="`next_cursor` of an answer to the same question.")] = None

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        return self

    @property
    def asked(self) -> RecordFilter:
        """Return the ledger's filter."""
        providers, models = ((name,) if name else () for name in (self.provider, self.model))
        return RecordFilter(providers=providers, models=models, start=self.since, end=self.until)


class RepricedModel(Shown):
    """The records of one model whose cost is, or would be, another. USD."""

    provider: str
    model: str
    records: int
    newly_priced: Annotated[int, Field(description="Of the records, those that had no price.")]
    old_cost: float
    new_cost: float
    difference: float


class Repriced(Shown):
    """What a piece of the ledger came to."""

    dry_run: bool
    items: list[RepricedModel]
    examined: Annotated[int, Field(description="Records looked at; corrections belong to their records.")]
    unchanged: Annotated[int, Field(description="Records whose cost is what the prices say.")]
    kept: Annotated[
        dict[str, int],
        Field(
            description="Records that keep their cost, by why: `stated`, `held`, `bill_to_come`, `corrected`,"
            " `several_answers`, `no_price`, or `changed_meanwhile`."
        ),
    ]
    pricing_version: str
    next_cursor: Annotated[
        str | None, Field(description="Ask with it for the records after these; null: there are none.")
    ]


@dataclass(slots=True)
class _Line:
    """What changes for one model."""

    records: int = 0
    newly_priced: int = 0
    old_nanos: int = 0
    difference_nanos: int = 0


@dataclass(slots=True)
class Repricing:
    """One request's work; also the command's, where no gateway runs."""

    config: Config
    prices: PriceBook
    ledger: Ledger
    clock: Clock
    counted: Callable[[UsageRecord], Awaitable[None]]
    """Called with each adjustment that is new in the ledger."""
    lines: dict[tuple[str, str], _Line] = field(default_factory=dict)
    kept: Counter[str] = field(default_factory=Counter)
    examined: int = 0
    unchanged: int = 0

    async def run(self, body: RepriceBody) -> dict[str, Any]:
        """Go through RECORDS_MAX records; return the answer."""
        await self.ledger.caught_up()
        cursor = body.cursor
        while True:
            piece = await self.ledger.history.piece(body.asked, limit=PIECE, cursor=cursor)
            changes = [(call, change) for call in piece.calls if (change := self._change(call)) is not None]
            done = [True] * len(changes) if body.dry_run else await self._append(change for _, change in changes)
            for (call, change), is_new in zip(changes, done, strict=True):
                if is_new:
                    self._note(call, change)
            cursor = piece.next_cursor
            if cursor is None or self.examined >= RECORDS_MAX:
                return self._answer(body, cursor)

    def _change(self, call: Happened) -> UsageRecord | None:
        self.examined += 1
        record, corrections = call
        if (why := fixed_because(record, corrections)) is not None:
            self.kept[why] += 1
            return None
        place = record.metadata.get(REGION)
        cards = partial(self._card, record, place if isinstance(place, str) else None)
        card = card_for(record, cards)
        if card is None:
            self.kept["no_price"] += 1
            return None
        change = adjustment(record, corrections, card, self.prices.version, iso(self.clock.now()))
        self.unchanged += change is None
        return change

    def _card(self, record: UsageRecord, place: str | None, model: str) -> RateCard | None:
        return card_at(self.config, self.prices, record.provider, model, record.timestamp, place)

    async def _append(self, changes: Iterable[UsageRecord]) -> list[bool]:
        """Append adjustments, in as few commits as they take; return which are new. Raises StoreUnavailable."""
        done = await asyncio.gather(*map(self._append_one, changes), return_exceptions=True)
        for failed in done:  # only now: what was acknowledged has been counted
            if isinstance(failed, BaseException):
                raise failed
        return [is_new is True for is_new in done]

    async def _append_one(self, change: UsageRecord) -> bool:
        try:
            kept, created = await self.ledger.append(change, f"{change.cost_nanos} {change.cost_basis}")
        except Conflict:  # another run has priced it by other prices since it was read
            self.kept["changed_meanwhile"] += 1
            return False
        if created:
            await self.counted(kept)
        return created

    def _note(self, call: Happened, change: UsageRecord) -> None:
        line = self.lines.setdefault((call.record.provider, call.record.model), _Line())
        line.records += 1
        line.newly_priced += change.cost_basis == "repriced"
        line.old_nanos += call.cost_nanos or 0
        line.difference_nanos += change.cost_nanos or 0

    def _answer(self, body: RepriceBody, cursor: str | None) -> dict[str, Any]:
        return {
            "dry_run": body.dry_run,
            "items": [
                {
                    "provider": provider,
                    "model": model,
                    "records": line.records,
                    "newly_priced": line.newly_priced,
                    "old_cost": usd(line.old_nanos),
                    "new_cost": usd(line.old_nanos + line.difference_nanos),
                    "difference": usd(line.difference_nanos),
                }
                for (provider, model), line in sorted(self.lines.items())
            ],
            "examined": self.examined,
            "unchanged": self.unchanged,
            "kept": dict(sorted(self.kept.items())),
            "pricing_version": self.prices.version,
            "next_cursor": cursor,
        }


async def reprice(call: Call[Nothing, RepriceBody]) -> dict[str, Any]:
    """Append adjustments where the prices in force give records another cost."""
    services = call.services

    async def counted(record: UsageRecord) -> None:
        await services.counters.charge(record, services.engine.named(record.budget_ids))
        services.announcer.published(record)
        services.announcer.touched(record.budget_ids)

    async def one_by_one() -> dict[str, Any]:
        async with services.ledger.correcting:
            again = Repricing(services.config, services.prices, services.ledger, services.clock, counted)
            return await again.run(call.body)

    return await services.unbroken(one_by_one())


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/prices/reprice",
        handler=reprice,
        tag="prices",
        body=RepriceBody,
        response=Repriced,
        errors=(InvalidRequest, StoreUnavailable, ArchiveUnavailable),
    ),
)
