"""
Say what a call is held for.

Its one job: a call, who makes it and whom it is for → its prices at this instant and its estimate.
Rule: made anew with each configuration, so that a call keeps the prices it began with.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from penia_proxy.budget.advice import Alternatives
from penia_proxy.budget.bill import CardOf
from penia_proxy.budget.engine import Ask
from penia_proxy.budget.estimate import Estimate, Known, cheaper_asks, estimate, output_within, plain_cost
from penia_proxy.budget.prices import PriceBook, RateCard
from penia_proxy.gateway.caller import Caller
from penia_proxy.gateway.charging import Payer
from penia_proxy.gateway.counting import tokens_of
from penia_proxy.gateway.holding import Books, Held
from penia_proxy.gateway.providers import Upstream
from penia_proxy.wire.call import Call
from penia_proxy.wire.regions import region_of


class Pricing:
    """The prices of one configuration, and what has been learned of estimates."""

    def __init__(self, books: Books, prices: PriceBook) -> None:
        self._books = books
        self._prices = prices
        self._alternatives = Alternatives(prices)

    def payer(self, caller: Caller, upstream: Upstream) -> Payer:
        """Return whom a bill is for, and at what prices."""
        cards = self._cards(upstream, self._books.clock.now())
        return Payer(caller, upstream.provider.name, cards, self._prices.version)

    def held(
        self, call: Call, payer: Payer, upstream: Upstream, started: float, fingerprint: str | None = None
    ) -> Held:
        """Return what a call is held for; ``started`` is the monotonic instant at which it came."""
        card_of = payer.card_of
        if call.region is not None:
            card_of = self._cards(upstream, self._books.clock.now(), call.region)
        card = card_of(call.model)
        known = self._known(call, payer.caller, upstream)

        async def recount() -> Estimate:
            tokens = await tokens_of(call.text(), upstream.provider.config.priced_as(call.model))
            # What has been learned since counts as well.
            return estimate(call.size, card, self._known(call, payer.caller, upstream), text_tokens=tokens)

        return Held(
            started=started,
            caller=payer.caller,
            provider=upstream.provider.name,
            model=call.model,
            streamed=call.stream,
            pricing_version=self._prices.version,
            card_of=card_of,
            plain_of=partial(plain_cost, call.size, card),
            estimate=estimate(call.size, card, known),
            cap_for=lambda amount: output_within(call.size, card, known, amount) if card is not None else 1,
            fingerprint=fingerprint,
            recount=recount,
            place=call.region,
            cheaper=partial(self._cheaper, call, upstream, card_of),
        )

    def _cards(self, upstream: Upstream, at: datetime, place: str | None = None) -> CardOf:
        """Return how a provider's models are priced at an instant; ``place`` is what the request's path says of it."""
        config, catalogue, prices = upstream.provider.config, upstream.catalogue, self._prices
        region = region_of(config.base_url, config.region, place)
        found: dict[str, RateCard | None] = {}

        def card_of(model: str) -> RateCard | None:
            if model not in found:
                found[model] = prices.card(catalogue, config.priced_as(model), at, region=region)
            return found[model]

        return card_of

    def _cheaper(self, call: Call, upstream: Upstream, card_of: CardOf, like: Estimate) -> Mapping[str, Ask]:
        config, today = upstream.provider.config, self._books.clock.now().date()
        others = self._alternatives.of(upstream.catalogue, config.priced_as(call.model), today)
        return cheaper_asks(call.size, card_of(call.model), others, card_of, like)

    def _known(self, call: Call, caller: Caller, upstream: Upstream) -> Known:
        factors = self._books.calibration.factors(upstream.provider.name, call.model)
        return Known(
            habit=self._books.habit.p95(caller.component, call.model),
            facts=self._prices.facts(upstream.catalogue, upstream.provider.config.priced_as(call.model)),
            bytes_factor=factors.by_bytes,
            counted_factor=factors.by_count,
            grows=call.cuttable,
            cappable=call.capped is not None,
            cost_factor=factors.cost,
        )
