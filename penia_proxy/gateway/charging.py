"""
Book what was billed without a hold.

Its one job: a bill that an answer states and no open hold waits for → one record, or the correction of an earlier one.
Rules: counters move only for what the ledger has acknowledged as new. A correction counts in the windows of the record
that it corrects, and replaces whatever that was adjusted to meanwhile. What was already stated exactly is never booked
again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from penia_proxy.budget.bill import Bill, CardOf, bill_of, correction_of
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.scope import Facts
from penia_proxy.budget.usage import CostBasis, Usage
from penia_proxy.clock import iso
from penia_proxy.errors import Conflict
from penia_proxy.gateway.caller import Caller
from penia_proxy.gateway.holding import Books
from penia_proxy.ids import new_id
from penia_proxy.values import quick

BILLED_AS = "billed_as"
"""In a correction's metadata: the record that has the bill of what was guessed."""

Parts = tuple[tuple[str | None, Usage], ...]


@quick
@dataclass(frozen=True, slots=True)
class Payer:
    """Whom a bill without a hold is for, and at what prices."""

    caller: Caller
    provider: str
    """As named in the configuration."""
    card_of: CardOf
    pricing_version: str

    def bill(self, parts: Parts, asked: str = "", basis: CostBasis = "reported") -> Bill:
        """Price what was used; ``asked`` is the model of parts that name none."""
        return bill_of(parts, asked, basis, self.card_of)


async def charge(
    books: Books, payer: Payer, bill: Bill, *, once_key: str | None = None, metadata: Mapping[str, Any] | None = None
) -> UsageRecord | None:
    """Book a bill as a record of its own; return the record that has its key already. Raises StoreUnavailable."""
    caller = payer.caller
    covering = books.engine.covering(Facts(caller.component, payer.provider, bill.model, caller.tags))
    record = UsageRecord(
        record_id=caller.request_id,
        timestamp=books.clock.now(),
        component=caller.component,
        provider=payer.provider,
        model=bill.model,
        usage=bill.usage,
        cost_basis=bill.basis,
        cost_nanos=bill.cost_nanos,
        input_cost_nanos=bill.input_cost_nanos,
        budget_ids=tuple(budget.budget_id for budget in covering),
        task_type=caller.task_type,
        request_id=caller.request_id,
        pricing_version=payer.pricing_version,
        tags=caller.tags,
        once_key=once_key,
        metadata={**(metadata or {}), **bill.remarks},
    )
    try:
        return await _append(books, record, once_key or record.record_id)
    except Conflict:  # the caller gave its request the id of an earlier one
        record = replace(record, record_id=new_id("r"))
        return await _append(books, record, once_key or record.record_id)


async def correct(books: Books, guess: UsageRecord, bill: Bill, once_key: str) -> None:
    """
    Append the difference between what was guessed and the bill; twice is once, under whichever key it is stated.

    Raises StoreUnavailable.
    """
    if bill.cost_nanos is None:
        return
    # The work's own key is the guess's; a key of its results' is ours.
    its_key = once_key if once_key != guess.once_key else None
    await _correct(books, guess, bill, guess.once_key or once_key, once_key=its_key)


async def give_way(books: Books, guess: UsageRecord, billed: UsageRecord) -> None:
    """Take back what was guessed of work whose bill is another record already. Raises StoreUnavailable."""
    nothing = Bill(guess.model, Usage(), "reported", 0, 0)
    await _correct(books, guess, nothing, guess.once_key or billed.record_id, **{BILLED_AS: billed.record_id})


async def _correct(
    books: Books, guess: UsageRecord, bill: Bill, key: str, *, once_key: str | None = None, **remarks: str
) -> None:
    record_id = "a_" + hashlib.sha256(key.encode()).hexdigest()[:32]
    async with books.ledger.correcting:
        before = await books.ledger.corrections(guess.record_id)
        if any(one.record_id == record_id for one in before):
            return
        correction = correction_of(guess, before, bill, record_id=record_id, at=iso(books.clock.now()))
        correction = replace(correction, once_key=once_key, metadata={**correction.metadata, **remarks})
        await _append(books, correction, record_id)


async def _append(books: Books, record: UsageRecord, fingerprint: str) -> UsageRecord | None:
    """Append a record, or return the one that is there."""
    kept, created = await books.ledger.append(record, fingerprint)
    if not created:
        return kept
    await books.counters.charge(kept, books.engine.named(kept.budget_ids))
    books.published(kept)
    books.touched(kept.budget_ids)
    return None
