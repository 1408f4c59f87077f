"""
Price again what was priced wrongly.

Its one job: from a record, its corrections and the prices in force, the adjustment that makes its cost what it should
be; or why its cost is not a matter of prices.
Rules: what a provider or a client has stated in money, what was booked at its hold, what somebody has corrected, and
what was added up from several answers stays as it is. An adjustment is money only: it has no tokens. Its id follows
from its record and its number, so that two runs, or one that was broken off, cannot make the same one twice.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from penia_proxy.budget.bill import PARTS, CardOf
from penia_proxy.budget.prices import RateCard
from penia_proxy.budget.record import ADJUSTED_AT, REASON, UsageRecord
from penia_proxy.budget.usage import CostBasis, Usage

Fixed = Literal["stated", "held", "bill_to_come", "corrected", "several_answers"]
"""
Why prices do not decide a cost: the provider or the client has stated it; it is what was held, and nobody knows what
was used; a later answer may still state it; it was corrected by something else; it is a sum over several answers.
"""


WHY = "Other prices than it was booked at."


def fixed_because(record: UsageRecord, corrections: Sequence[UsageRecord]) -> Fixed | None:
    """Return why a record keeps its cost whatever the prices say; None where they decide it."""
    if record.cost_basis == "provider_cost" or (record.cost_basis == "client" and record.pricing_version is None):
        return "stated"
    if record.once_key is not None and (record.is_guess or record.status == "pending"):
        return "bill_to_come"
    if record.cost_basis == "unconfirmed" or record.status == "crashed":
        return "held"
    if any(one.record_id != adjustment_id(record, number) for number, one in enumerate(corrections)):
        return "corrected"
    return "several_answers" if record.metadata.get(PARTS) else None


def adjustment_id(record: UsageRecord, number: int) -> str:
    """Return the id of a record's adjustment, of which ``number`` came before it."""
    return "p_" + hashlib.sha256(f"{record.record_id}/{number}".encode()).hexdigest()[:32]


def card_for(record: UsageRecord, card_of: CardOf) -> RateCard | None:
    """Return what prices a record: the model that answered, or the one asked for where that has no price."""
    asked = record.metadata.get("model_requested")
    return card_of(record.model) or (card_of(asked) if isinstance(asked, str) else None)


def adjustment(
    record: UsageRecord, corrections: Sequence[UsageRecord], card: RateCard, version: str, at: str
) -> UsageRecord | None:
    """Return the record of the difference to what the card says; None where there is none."""
    price = card.price(record.usage)
    was_priced = record.cost_nanos is not None or bool(corrections)
    before = sum(one.cost_nanos or 0 for one in (record, *corrections))
    if was_priced and before == price.total_nanos:
        return None
    input_before = sum(one.input_cost_nanos or 0 for one in (record, *corrections))
    remarks = {"usage_unrated": list(price.unrated)} if price.unrated else {}
    latest = corrections[-1] if corrections else record
    return replace(
        record,
        record_id=adjustment_id(record, len(corrections)),
        usage=Usage(),
        cost_basis=_basis(record, was_priced=was_priced),
        cost_nanos=price.total_nanos - before,
        input_cost_nanos=price.input_nanos - input_before,
        pricing_version=version,
        estimated_nanos=None,
        latency_ms=None,
        ttft_ms=None,
        corrects=record.record_id,
        once_key=None,
        words=None,
        metadata={REASON: WHY, ADJUSTED_AT: at, "priced_before": latest.pricing_version, **remarks},
    )


def _basis(record: UsageRecord, *, was_priced: bool) -> CostBasis:
    """Return the adjustment's basis: how the counts were obtained, which a new price does not change."""
    if not was_priced:
        return "repriced"
    # That a price was 0 is no longer so. A second adjustment must not take the record out of those without price again.
    return "reported" if record.cost_basis in {"free", "unpriced"} else record.cost_basis
