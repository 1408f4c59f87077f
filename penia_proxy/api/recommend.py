"""
Recommend models from evidence.

Its one job: `/api/v1/prices/recommend`: what recorded calls would come to at every model that can do them.
Rules: what calls used is read from the ledger, and only so much of it; what a model can do is what is stated about it,
and what is not known is said, not guessed. Whether another model's answers are as good, nobody here can say. The
arithmetic is `budget.advice`'s, and runs in a thread.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field

from penia_proxy.api.endpoint import Call, Endpoint, wrong_field
from penia_proxy.api.fields import Name, Nothing, Sent, Shown, Tokens
from penia_proxy.api.services import Services
from penia_proxy.budget.advice import (
    Candidate,
    Needs,
    Offer,
    cost_of,
    elsewhere,
    is_evidence,
    rank,
)
from penia_proxy.budget.models import stem
from penia_proxy.budget.money import nanos_of_usd, usd
from penia_proxy.budget.prices import RateCard
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.tips import tips
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import iso
from penia_proxy.config import Limit
from penia_proxy.errors import ArchiveUnavailable
from penia_proxy.ledger.history import NEWEST_READ_MAX
from penia_proxy.ledger.queries import RecordFilter

EVIDENCE_MAX = 500
"""Calls that a recommendation rests on, at most: the newest."""

Need = Literal["vision", "tools", "json", "reasoning", "audio_input", "audio_output"]


class RecommendBody(Sent):
    """
    Which calls, and what they need.

    With `input_tokens` the call is this one; without, it is what the newest recorded calls that match used.
    """

    component: Name | None = None
    provider: Annotated[Name | None, Field(description="The present one, as configured.")] = None
    model: Annotated[Name | None, Field(description="The present one; default: what the calls cost most at.")] = None
    task_type: Name | None = None
    input_tokens: Annotated[Tokens | None, Field(description="All input.")] = None
    output_tokens: Tokens = 0
    max_cost: Annotated[Limit | None, Field(description="USD that a call may cost.")] = None
    needs: Annotated[tuple[Need, ...], Field(max_length=6, description="A record does not say these of its call.")] = ()
    min_context: Tokens = 0
    limit: Annotated[int, Field(ge=1, le=100)] = 10


class Evidence(Shown):
    """What was priced again, and an average call of it."""

    calls: int
    start_time: str
    end_time: str
    input_tokens: float
    cache_read_tokens: float
    cache_write_tokens: float
    output_tokens: float


class Recommended(Shown):
    """A model that can do the work. Costs are USD for a call."""

    provider: str
    model: str
    estimated_cost: float
    savings: float | None
    savings_percent: float | None
    context_window: int | None
    max_output_tokens: int | None
    reason: str
    evidence: Evidence | None


class Recommendations(Shown):
    """Models, cheapest first."""

    items: list[Recommended]
    current_provider: str | None
    current_model: str | None
    current_cost: Annotated[float | None, Field(description="Of a call, at today's prices; null: no price is known.")]
    best_match: Annotated[Recommended | None, Field(description="The cheapest, if it costs less than the present one.")]
    optimization_tips: list[str]
    evidence: Evidence | None
    left_out: Annotated[
        dict[str, int],
        Field(
            description="Models that are not proposed, by why: `facts_unknown`, `no_price`, `another_kind`, `retired`,"
            " `incapable`, `too_small`, `usage_not_priced`, `too_dear`."
        ),
    ]


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done elsewhere."""

    provider: str | None
    model: str | None
    usages: Sequence[Usage]
    records: Sequence[UsageRecord] = ()

    @property
    def evidence(self) -> dict[str, Any] | None:
        """What it rests on."""
        if not self.records:
            return None
        calls = len(self.records)
        totals = {
            "input_tokens": sum(usage.input_total for usage in self.usages),
            "cache_read_tokens": sum(usage.cache_read_total for usage in self.usages),
            "cache_write_tokens": sum(usage.cache_write_total for usage in self.usages),
            "output_tokens": sum(usage.output_total for usage in self.usages),
        }
        times = [record.timestamp for record in self.records]
        return {
            "calls": calls,
            "start_time": iso(min(times)),
            "end_time": iso(max(times)),
            **{name: round(total / calls, 1) for name, total in totals.items()},
        }


async def recommend(call: Call[Nothing, RecommendBody]) -> dict[str, Any]:
    """Recommend models for what a component's calls used, or for a call of a given size."""
    services, body = call.services, call.body
    if body.input_tokens is None and body.output_tokens:
        raise wrong_field("output_tokens", "needs input_tokens beside it")
    work = await _work(services, body)
    return await asyncio.to_thread(_advise, services, body, work, services.clock.now())


async def _work(services: Services, body: RecommendBody) -> Work:
    if body.input_tokens is not None:
        usage = Usage(input=body.input_tokens, output=body.output_tokens)
        return Work(_provider_of(services, body), body.model, [usage])
    await services.ledger.caught_up()
    one = RecordFilter(
        components=(body.component,) if body.component else (),
        providers=(body.provider,) if body.provider else (),
        task_types=(body.task_type,) if body.task_type else (),
    )
    newest = await services.ledger.history.newest(one, NEWEST_READ_MAX if body.model else 2 * EVIDENCE_MAX)
    found = [record for record in newest if is_evidence(record) and is_named(record.model, body.model)]
    if not found:
        return Work(_provider_of(services, body), body.model, [])
    spent: Counter[tuple[str, str]] = Counter()
    for record in found:
        spent[record.provider, record.model] += (record.cost_nanos or 0) + 1  # of equals, what is called most
    provider, model = spent.most_common(1)[0][0]
    chosen = [record for record in found if (record.provider, record.model) == (provider, model)][:EVIDENCE_MAX]
    return Work(provider, model, [record.usage for record in chosen], chosen)


def is_named(model: str, wanted: str | None) -> bool:
    """Whether a recorded model is the one that is meant: by its name, or its name without a date."""
    return wanted is None or model == wanted or stem(model) == wanted


def _provider_of(services: Services, body: RecommendBody) -> str | None:
    """Return whose the present model is, where only one configured provider has a price for it."""
    if body.provider is not None or body.model is None:
        return body.provider
    now = services.clock.now()
    having = [name for name in _providers(services) if services.card(name, body.model, now) is not None]
    return having[0] if len(having) == 1 else None


def _providers(services: Services) -> list[str]:
    """Return whose models can be had: of the configured providers; of all, where none is configured."""
    return sorted(services.config.providers or services.prices.providers)


def _advise(services: Services, body: RecommendBody, work: Work, now: datetime) -> dict[str, Any]:
    """Price the work everywhere; return the answer."""
    card = services.card(work.provider, work.model, now) if work.provider and work.model else None
    current = cost_of(card, work.usages) if card is not None and work.usages else None
    offers: list[Offer] = []
    left_out: dict[str, int] = {}
    if work.usages:
        needs = _needs(body, work.usages)
        offers, lacking = rank(_candidates(services, work, card, now), work.usages, needs, now.date())
        left_out.update(lacking.items())
    if body.max_cost is not None:
        most = nanos_of_usd(body.max_cost) * len(work.usages)
        affordable = [offer for offer in offers if offer.cost_nanos <= most]
        left_out["too_dear"] = len(offers) - len(affordable)
        offers = affordable
    shown = [_offer_json(offer, work, current) for offer in offers[: body.limit]]
    calls = len(work.usages)
    facts = services.facts(work.provider, work.model) if work.provider and work.model else None
    return {
        "items": shown,
        "current_provider": work.provider,
        "current_model": work.model,
        "current_cost": None if current is None else usd(_each(current, calls)),
        "best_match": shown[0] if shown and current is not None and offers[0].cost_nanos < current else None,
        "optimization_tips": tips(work.records, card, facts, now.date()),
        "evidence": work.evidence,
        "left_out": {why: number for why, number in sorted(left_out.items()) if number},
    }


def _needs(body: RecommendBody, usages: Sequence[Usage]) -> Needs:
    """Return what was asked for, and what the calls show that they need."""
    shown = {
        "reasoning": any(usage.reasoning for usage in usages),
        "vision": any(usage.input_image or usage.cache_read_image for usage in usages),
        "audio_input": any(usage.input_audio or usage.cache_read_audio for usage in usages),
        "audio_output": any(usage.output_audio for usage in usages),
    }
    return Needs(
        frozenset(body.needs) | {name for name, is_needed in shown.items() if is_needed},
        max(body.min_context, *(usage.input_total for usage in usages)),
        max(usage.output_total for usage in usages),
    )


def _candidates(services: Services, work: Work, card: RateCard | None, now: datetime) -> Iterator[Candidate]:
    for provider in _providers(services):
        is_same = provider == work.provider
        for name in services.prices.names(services.catalogue_of(provider)):
            its = services.card(provider, name, now)
            if is_same and (name == work.model or (card is not None and its is card)):
                continue
            usage: Callable[[Usage], Usage] = _as_it_is if is_same else elsewhere
            yield Candidate(provider, name, its, services.stated(provider, name), usage)


def _as_it_is(usage: Usage) -> Usage:
    return usage


def _offer_json(offer: Offer, work: Work, current: int | None) -> dict[str, Any]:
    calls = len(work.usages)
    savings = None if current is None else current - offer.cost_nanos
    percent = round(100 * savings / current, 1) if savings is not None and current else None
    return {
        "provider": offer.provider,
        "model": offer.model,
        "estimated_cost": usd(_each(offer.cost_nanos, calls)),
        "savings": None if savings is None else usd(_each(savings, calls)),
        "savings_percent": percent,
        "context_window": offer.facts.context_window,
        "max_output_tokens": offer.facts.output_tokens_max,
        "reason": _reason(offer, work, percent),
        "evidence": work.evidence,
    }


def _each(nanos: int, calls: int) -> int:
    """Return what one call comes to, rounded half-even."""
    return round(Fraction(nanos, calls))


def _reason(offer: Offer, work: Work, percent: float | None) -> str:
    calls = f"the last {len(work.records)} calls" if work.records else "this call"
    able = ", ".join(sorted(offer.facts.capabilities)) or "no more than text"
    if percent is None:
        return f"Takes {calls}; stated: {able}."
    how = f"{percent:g} % less" if percent > 0 else "as much" if not percent else f"{-percent:g} % more"
    return f"The tokens of {calls} cost {how} here; stated: {able}."


ENDPOINTS = tuple(
    Endpoint(
        method="POST",
        path=path,
        handler=recommend,
        tag="prices",
        body=RecommendBody,
        response=Recommendations,
        errors=(ArchiveUnavailable,),
    )
    for path in ("/api/v1/prices/recommend", "/api/v1/prices/recommendations")
)
