"""
Price what was used.

Its one job: the usage of one answer, per answering model, as one cost with its basis.
Rules: each part is rounded once. No call is billed more than CALL_NANOS_MAX: counts that come to more are nonsense. A
part whose model has no price makes the whole `unpriced`: a known half would look like a whole. The model that answered
is priced; the one asked for only where the answering one has no price.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from penia_proxy.budget.money import CALL_NANOS_MAX
from penia_proxy.budget.prices import RateCard
from penia_proxy.budget.record import ADJUSTED_AT, REASON, UsageRecord
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
    if cost > CALL_NANOS_MAX:
        cost, input_cost, clamped = CALL_NANOS_MAX, min(input_cost, CALL_NANOS_MAX), True
    rated = tuple(sorted(unrated))
    return Bill(model, usage, "free" if free else basis, cost, input_cost, clamped, rated, len(parts))


def is_unpriced(record: UsageRecord, corrections: Sequence[UsageRecord]) -> bool:
    """Whether nobody has said yet what a call cost: whoever does takes it out of those without a price."""
    return record.cost_basis == "unpriced" and all(one.cost_basis != "repriced" for one in corrections)


def correction_of(
    guess: UsageRecord, corrections: Sequence[UsageRecord], bill: Bill, *, record_id: str, at: str
) -> UsageRecord:
    """
    Return the record of the difference between what a call has come to so far and its bill.

    The bill has the last word: what a guess was adjusted to is replaced like the guess. Without a price, both stay.
    """
    so_far = (guess, *corrections)
    usage = bill.usage
    for one in so_far:
        usage = usage.minus(one.usage)
    cost = input_cost = None
    if bill.cost_nanos is not None:
        cost = bill.cost_nanos - sum(one.cost_nanos or 0 for one in so_far)
    if bill.input_cost_nanos is not None:
        input_cost = bill.input_cost_nanos - sum(one.input_cost_nanos or 0 for one in so_far)
    is_first_price = cost is not None and is_unpriced(guess, corrections)
    return replace(
        guess,
        record_id=record_id,
        usage=usage,
        cost_basis="repriced" if is_first_price else bill.basis,
        cost_nanos=cost,
        input_cost_nanos=input_cost,
        status="ok",
        latency_ms=None,
        ttft_ms=None,
        corrects=guess.record_id,
        once_key=None,
        words=None,
        metadata={REASON: _why(corrections), ADJUSTED_AT: at, **bill.remarks},
    )


def _why(corrections: Sequence[UsageRecord]) -> str:
    if not corrections:
        return "The bill, in place of what was booked before it came."
    ids = ", ".join(one.record_id for one in corrections)
    return f"The bill, in place of what was booked before it came and of what that was adjusted to ({ids})."
