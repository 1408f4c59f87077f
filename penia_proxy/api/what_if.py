"""
Price what really happened at another model.

Its one job: `/api/v1/prices/what_if`: each record's own usage at the prices of its own day.
Rules: exact, so never from sums or samples: what is too much for one answer is refused. Records are read and priced in
pieces, and the event loop is free in between. What cannot be compared is counted, and is in neither cost.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Name, Nothing, Sent, Shown, Since, Until
from penia_proxy.api.recommend import is_named
from penia_proxy.api.services import Services
from penia_proxy.budget.advice import elsewhere
from penia_proxy.budget.bill import PARTS
from penia_proxy.budget.money import usd
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import iso
from penia_proxy.errors import ArchiveUnavailable, InvalidRequest
from penia_proxy.ledger.history import Happened
from penia_proxy.ledger.queries import RecordFilter

RECORDS_MAX = 100_000
"""Priced for one answer: about fifteen seconds of a core that others use meanwhile."""
PIECE = 200

Left = Literal["unpriced", "several_answers", "no_price", "usage_not_priced"]
"""
Why a record is not compared: it has no cost; it is a sum of answers; the other model had no price that day, or none for
something that was used.
"""


class WhatIfBody(Sent):
    """Which calls, and at what model they are to be priced. A model's name without a date means every date of it."""

    component: Name | None = None
    from_model: Name
    to_model: Name
    from_provider: Name | None = None
    to_provider: Annotated[Name | None, Field(description="As configured; default: the record's own.")] = None
    start_date: Since
    end_date: Until

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.start_date >= self.end_date:
            raise ValueError("start_date must be before end_date")
        return self


class WhatIf(Shown):
    """What calls came to, and would have come to. USD."""

    from_model: str
    to_model: str
    start_time: str
    end_time: str
    models: Annotated[list[str], Field(description="The recorded models that `from_model` means.")]
    records: Annotated[int, Field(description="All that match.")]
    compared: Annotated[int, Field(description="Of them, those in both costs.")]
    actual_cost: Annotated[float, Field(description="As recorded, corrections included.")]
    what_if_cost: float
    savings: float
    savings_percent: float | None
    not_compared: Annotated[
        dict[str, int],
        Field(description="By why: `unpriced`, `several_answers`, `no_price`, `usage_not_priced`."),
    ]


@dataclass(slots=True)
class _Sums:
    records: int = 0
    compared: int = 0
    actual_nanos: int = 0
    other_nanos: int = 0
    left: Counter[Left] = field(default_factory=Counter)


async def what_if(call: Call[Nothing, WhatIfBody]) -> dict[str, Any]:
    """Price what really happened at another model."""
    services, body = call.services, call.body
    await services.ledger.caught_up()
    asked = RecordFilter(
        components=(body.component,) if body.component else (),
        providers=(body.from_provider,) if body.from_provider else (),
        start=body.start_date,
        end=body.end_date,
    )
    models = await _models(services, asked, body.from_model)
    sums = _Sums()
    cursor = None
    while models:
        piece = await services.ledger.history.piece(_of(asked, models), limit=PIECE, cursor=cursor)
        for one in piece.calls:
            _compare(services, body, one, sums)
        cursor = piece.next_cursor
        if cursor is None:
            break
    savings = sums.actual_nanos - sums.other_nanos
    return {
        "from_model": body.from_model,
        "to_model": body.to_model,
        "start_time": iso(body.start_date),
        "end_time": iso(body.end_date),
        "models": models,
        "records": sums.records,
        "compared": sums.compared,
        "actual_cost": usd(sums.actual_nanos),
        "what_if_cost": usd(sums.other_nanos),
        "savings": usd(savings),
        "savings_percent": round(100 * savings / sums.actual_nanos, 1) if sums.actual_nanos else None,
        "not_compared": dict(sorted(sums.left.items())),
    }


async def _models(services: Services, asked: RecordFilter, wanted: str) -> list[str]:
    """Return the recorded models that are meant. Raises InvalidRequest where they have too many records."""
    summary = await services.ledger.summaries.summary(asked)
    meant = {name: sums for name, sums in summary.groups["model"].items() if is_named(name, wanted)}
    number = sum(sums.request_count for sums in meant.values())
    if number > RECORDS_MAX:
        raise InvalidRequest(f"{number:,} records match, and {RECORDS_MAX:,} can be priced at a time: name fewer days.")
    return sorted(meant)


def _of(asked: RecordFilter, models: list[str]) -> RecordFilter:
    return RecordFilter(
        components=asked.components, providers=asked.providers, models=tuple(models), start=asked.start, end=asked.end
    )


def _compare(services: Services, body: WhatIfBody, one: Happened, sums: _Sums) -> None:
    sums.records += 1
    record, actual = one.record, one.cost_nanos
    if actual is None:
        sums.left["unpriced"] += 1
        return
    if any(part.metadata.get(PARTS) for part in (record, *one.corrections)):
        sums.left["several_answers"] += 1
        return
    provider = body.to_provider or record.provider
    card = services.card(provider, body.to_model, record.timestamp)
    if card is None:
        sums.left["no_price"] += 1
        return
    usage = _used(one)
    price = card.price(usage if provider == record.provider else elsewhere(usage))
    if price.unrated:
        sums.left["usage_not_priced"] += 1
        return
    sums.compared += 1
    sums.actual_nanos += actual
    sums.other_nanos += price.total_nanos


def _used(one: Happened) -> Usage:
    """Return what a call used, as its corrections have it: those with tokens say at what tier."""
    usage = one.record.usage
    for correction in one.corrections:
        if correction.usage.total or correction.usage.units:
            usage = correction.usage.plus(usage)
    return usage


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/prices/what_if",
        handler=what_if,
        tag="prices",
        body=WhatIfBody,
        response=WhatIf,
        errors=(InvalidRequest, ArchiveUnavailable),
    ),
)
