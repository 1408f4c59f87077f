"""
Price what was used.

Its one job: the usage of one answer, per answering model, as one cost with its basis.
Rules: each part is rounded once. A part whose model has no price makes the whole `unpriced`: a known half would look
like a whole. The model that answered is priced; the one asked for only where the answering one has no price.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from penia_proxy.budget.prices import RateCard
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.usage import CostBasis, Usage
from penia_proxy.values import quick

PARTS = "usage_parts"
"""In a record's metadata: the sum cannot be priced again as if it were one answer."""

CardOf = Callable[[str], RateCard | None]


@quick
@dataclass(frozen=True, slots=True)
class Bill:
    """What one call cost. ``cost_nanos`` is None exactly when the basis is ``unpriced``."""

    model: str
    usage: Usage
    basis: CostBasis
    cost_nanos: int | None
    input_cost_nanos: int | None
    clamped: bool = False
    """Whether counts contradicted each other and were clamped to be priced."""
    unrated: tuple[str, ...] = ()
    """Names of counts that no price is known for; the cost is then a lower bound."""
    parts: int = 1
    """More than one where the usage is a sum whose parts were priced each by itself."""

    @property
    def remarks(self) -> dict[str, Any]:
        """What a record's metadata says of the bill."""
        said: dict[str, Any] = {"usage_clamped": True} if self.clamped else {}
        if self.parts > 1:
            said[PARTS] = self.parts
        return {**said, "usage_unrated": list(self.unrated)} if self.unrated else said


def bill_of(parts: Sequence[tuple[str | None, Usage]], asked: str, basis: CostBasis, card_of: CardOf) -> Bill:
    """Price the parts; at least one. ``basis`` says how the counts were obtained."""
    cost = input_cost = 0
    clamped = False
    free = priced = True
    unrated: set[str] = set()
    usage: Usage | None = None
    for model, part in parts:
        usage = part if usage is None else usage.plus(part)
        card = (card_of(model) if model else None) or card_of(asked)
        if card is None:
            priced = False
            continue
        price = card.price(part)
        cost += price.total_nanos
        input_cost += price.input_nanos
        clamped = clamped or price.clamped
        unrated.update(price.unrated)
        free = free and card.is_free
    model = parts[0][0] or asked
    if not priced or usage is None:
        return Bill(model, usage or Usage(), "unpriced", None, None, clamped, parts=len(parts))
    rated = tuple(sorted(unrated))
    return Bill(model, usage, "free" if free else basis, cost, input_cost, clamped, rated, len(parts))


def correction_of(guess: UsageRecord, bill: Bill, record_id: str) -> UsageRecord:
    """Return the record of the difference between a guess and the bill; without a price, the guess stays."""
    is_first_price = guess.cost_basis == "unpriced" and bill.cost_nanos is not None
    input_cost = None
    if bill.input_cost_nanos is not None:
        input_cost = bill.input_cost_nanos - (guess.input_cost_nanos or 0)
    return replace(
        guess,
        record_id=record_id,
        usage=bill.usage.minus(guess.usage),
        cost_basis="repriced" if is_first_price else bill.basis,
        cost_nanos=None if bill.cost_nanos is None else bill.cost_nanos - (guess.cost_nanos or 0),
        input_cost_nanos=input_cost,
        status="ok",
        latency_ms=None,
        ttft_ms=None,
        corrects=guess.record_id,
        once_key=None,
        words=None,
        metadata=bill.remarks,
    )
