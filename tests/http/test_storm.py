"""A blocking budget that must never be overrun is not, whatever arrives at once."""

import asyncio
from decimal import Decimal

import pytest

from penia_proxy.budget.money import nanos_of
from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import SystemClock
from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import Running, Start

CALLS = 200


def billed_nanos(penia: Running) -> int:
    """Return what the provider's own count comes to at the catalogue's prices."""
    book = PriceBook.load()
    total = 0
    for call in penia.sandbox.calls:
        card = book.card(call.provider, call.served_model or "", SystemClock().now())
        assert card is not None
        usage = Usage(
            input=call.input_tokens,
            cache_read=call.cache_read_tokens,
            cache_write=call.cache_write_5m_tokens,
            cache_write_1h=call.cache_write_1h_tokens,
            output=call.output_tokens,
            reasoning=call.reasoning_tokens,
        )
        total += card.price(usage).total_nanos
    return total


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_exactly_the_calls_whose_holds_fit_get_through(start: Start, dialect: str, *, stream: bool) -> None:
    """
    Two hundred at once against room for about ten.

    The sum of the holds that passed is within the limit, one more would not have been, and the provider's own bill is
    what the books say, to the nano-dollar.
    """
    probe = await start(budgets=({"name": "Wide", "daily_limit": 100, "enforcement": "block", "overrun": "never"},))
    one = Decimal((await getattr(probe, dialect)(stream=stream)).headers["X-Penia-Estimated-Cost"])
    limit = one * Decimal("10.5")
    penia = await start(
        budgets=({"name": "Ten", "daily_limit": float(limit), "enforcement": "block", "overrun": "never"},),
        # Nobody is answered before all have been judged, so no hold makes room for another.
        script=Behaviour(first_byte_delay_s=1.5),
    )

    answers = await asyncio.gather(*(getattr(penia, dialect)(stream=stream) for _ in range(CALLS)))

    holds = [Decimal(answer.headers["X-Penia-Estimated-Cost"]) for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert len(holds) + len(refused) == CALLS
    assert len(penia.sandbox.calls) == len(holds) == 10
    assert sum(holds) <= limit < sum(holds) + min(holds)
    assert {answer.status for answer in refused} == {429}
    for answer in refused:
        assert answer.headers["Retry-After"] == "1"
    (record, *_) = records = await penia.records()
    assert sum(nanos_of(Decimal(repr(record["cost"]))) for record in records) == billed_nanos(penia)
    _, summary = await penia.api("GET", f"/api/v1/budgets/{record['budget_id']}/summary")
    assert nanos_of(Decimal(repr(summary[0]["spent"]))) == billed_nanos(penia)
    assert summary[0]["held"] == 0
    assert summary[0]["request_count"] == len(holds)
