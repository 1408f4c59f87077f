"""
Know which models could do the same work, and what it would cost there.

Its one job: what is stated about models against what calls need, and calls that were made against other rate cards.
Rules: a model about which a needed fact is not stated is not proposed, and is counted as unknown: what is stated about
another name of its family is not stated about it. How well a model does
the work, and how its tokenizer would count, nobody here knows. Prices are compared call by call, never by averages: a
tier begins at a call's own input.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache
from typing import Literal, NamedTuple

from penia_proxy.budget.bill import PARTS
from penia_proxy.budget.models import ModelFacts
from penia_proxy.budget.prices import PriceBook, RateCard
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.usage import BATCH_TIER, Usage

ALTERNATIVES_KEPT = 512
"""Models whose alternatives are remembered."""

CHAT = frozenset({"chat", "responses"})
"""The kinds of model (`ModelFacts.mode`) that do each other's work; no other kind's output replaces another's."""

OF_THE_PRICE = frozenset({"prompt_caching"})
"""Capabilities that change what a call costs, and not what it can do."""

SOUND = frozenset({"audio_input", "audio_output"})

Lack = Literal["facts_unknown", "no_price", "another_kind", "retired", "incapable", "too_small", "usage_not_priced"]
"""
Why a model is not proposed: a needed fact is not stated; no price is known; it does not chat, or is made for sound that
nobody needs; its provider has ended
it; a capability that is asked for is not stated for it; its window or output is smaller than the calls; it has no price
for something they used (searches, sound).
"""


class Needs(NamedTuple):
    """What a model must be able to do."""

    capabilities: frozenset[str] = frozenset()
    input_tokens: int = 0
    output_tokens: int = 0


def lack_of(facts: ModelFacts | None, needs: Needs, today: date) -> Lack | None:
    """Return what a model lacks; None where it can do the work."""
    if facts is None or facts.mode is None or facts.context_window is None or facts.output_tokens_max is None:
        return "facts_unknown" if facts is None or facts.mode in {None, *CHAT} else "another_kind"
    if facts.mode not in CHAT or (is_for_sound(facts) and not needs.capabilities & SOUND):
        return "another_kind"
    if facts.deprecated is not None and facts.deprecated <= today:
        return "retired"
    if not needs.capabilities <= facts.capabilities:
        return "incapable"
    if needs.input_tokens > facts.context_window or needs.output_tokens > facts.output_tokens_max:
        return "too_small"
    return None


def is_for_sound(facts: ModelFacts) -> bool:
    """Whether a model is one for sound: those that hear among all else see as well."""
    return bool(facts.capabilities & SOUND) and "vision" not in facts.capabilities


class Alternatives:
    """Models of the same provider that can do whatever a model can, as far as is stated. One for each price book."""

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices
        self._of = lru_cache(maxsize=ALTERNATIVES_KEPT)(self._find)

    def of(self, provider: str, model: str, today: date) -> tuple[tuple[str, ModelFacts], ...]:
        """Return their names and facts; none where nothing is stated about the model. ``provider``: the catalogue's."""
        return self._of(provider, model, today)

    def _find(self, provider: str, model: str, today: date) -> tuple[tuple[str, ModelFacts], ...]:
        present = self._prices.facts(provider, model)
        if present is None or present.mode not in CHAT:
            return ()
        needs = Needs(present.capabilities - OF_THE_PRICE)
        found = ((name, self._prices.stated(provider, name)) for name in self._prices.names(provider) if name != model)
        return tuple((name, facts) for name, facts in found if facts and lack_of(facts, needs, today) is None)


def is_evidence(record: UsageRecord) -> bool:
    """Whether a record says what one call used: not a guess, a sum, a batch's, or nothing at all."""
    return (
        record.cost_basis not in {"unconfirmed", "estimated"}
        and record.status != "crashed"
        and record.usage.service_tier != BATCH_TIER
        and not record.metadata.get(PARTS)
        and record.usage.total > 0
    )


def elsewhere(usage: Usage) -> Usage:
    """Return a usage as another provider would bill it: tiers, speeds and places are the first one's own."""
    return replace(usage, service_tier=None, speed=None, inference_geo=None, search_size=None)


def cost_of(card: RateCard, usages: Iterable[Usage]) -> int | None:
    """Return what calls come to, each by its own; None where something they used has no price there."""
    total = 0
    for usage in usages:
        price = card.price(usage)
        if price.unrated:
            return None
        total += price.total_nanos
    return total


def average(usages: Sequence[Usage]) -> Usage:
    """Return a call of average size."""
    total = usages[0]
    for usage in usages[1:]:
        total = total.plus(usage)
    names = ("input", "cache_read", "cache_write", "output", "reasoning")
    return Usage(**{name: getattr(total, name) // len(usages) for name in names})


class Offer(NamedTuple):
    """A model that can do the work, and what the calls come to there."""

    provider: str
    """As named in the configuration."""
    model: str
    facts: ModelFacts
    cost_nanos: int


class Candidate(NamedTuple):
    """A model to look at."""

    provider: str
    model: str
    card: RateCard | None
    facts: ModelFacts | None
    usage: Callable[[Usage], Usage]
    """How its provider would bill a call's usage."""


EXACT_MAX = 60
"""Offers priced call by call; beyond, those that are dearest for an average call are left out."""


def rank(
    candidates: Iterable[Candidate], usages: Sequence[Usage], needs: Needs, today: date
) -> tuple[list[Offer], dict[Lack, int]]:
    """Return what the calls come to at each model that can do them, cheapest first, and why others cannot."""
    lacking: dict[Lack, int] = {}
    able: list[tuple[int, str, Candidate, RateCard, ModelFacts]] = []
    typical = average(usages)
    for one in candidates:
        lack = "no_price" if one.card is None else lack_of(one.facts, needs, today)
        if lack is None and one.card is not None and one.facts is not None:
            able.append((one.card.price(typical).total_nanos, one.model, one, one.card, one.facts))
        elif lack is not None:
            lacking[lack] = lacking.get(lack, 0) + 1
    able.sort(key=lambda line: line[:2])
    offers = []
    for _, _, one, card, facts in able[:EXACT_MAX]:
        cost = cost_of(card, map(one.usage, usages))
        if cost is None:
            lacking["usage_not_priced"] = lacking.get("usage_not_priced", 0) + 1
        else:
            offers.append(Offer(one.provider, one.model, facts, cost))
    return sorted(offers, key=lambda offer: (offer.cost_nanos, offer.provider, offer.model)), lacking
