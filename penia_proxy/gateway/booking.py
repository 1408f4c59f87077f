"""
Decide what an answer cost by how it ended.

Its one job: a meter's reading and the way the exchange ended → one ending of the hold, with its basis (DESIGN.md §6).
Rules: unknown is never zero and never a full refund; an error before any output bills nothing; what was not made is
not billed.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from penia_proxy.budget.bill import Bill
from penia_proxy.budget.money import nanos_of
from penia_proxy.budget.usage import CostBasis, Usage
from penia_proxy.gateway.counting import tokens_of
from penia_proxy.gateway.holding import Holding
from penia_proxy.wire.call import Call, Reading

CUT_OUTPUT_FACTOR = 1.1
"""Headroom on the counted output of a cut stream: tokens made but not passed (wire_formats.md §1.7)."""

End = Literal["ok", "cut", "timeout", "disconnected", "truncated"]
"""How the exchange ended: whole, broken off, stalled, left by the caller, or ended by a budget without room."""


class Claim(NamedTuple):
    """How a bill that more than one answer can state is to be booked."""

    key: str | None = None
    """The once-key of the record to be."""
    is_booked: bool = False
    """Whether it has been, by what another answer stated while the call ran: then the hold is given back."""


async def unclaimed(_bill: Bill) -> Claim:
    """Return the claim of a bill that no other answer can state."""
    return Claim()


async def book(
    hold: Holding,
    call: Call,
    reading: Reading,
    end: End,
    *,
    is_stream: bool,
    ttft_ms: float | None = None,
    metadata: dict[str, Any] | None = None,
    claim: Callable[[Bill], Awaitable[Claim]] = unclaimed,
) -> Bill | None:
    """
    End the hold by what is known; return the bill, or None if this call was billed nothing.

    ``claim`` is asked when all else is known, for the bill, which is booked in the same step: counting takes a moment,
    in which another answer may state it.
    """
    if reading.failed and not reading.wrote and not reading.complete:
        await hold.release()
        return None
    if is_stream and end == "ok" and not reading.finished:
        # It ended in good order, and its own last word never came.
        end = "cut"
    if reading.complete:
        bill = stated(hold.bill(reading.parts, "reported"), reading.cost_usd)
    else:
        basis: CostBasis = "partial" if is_stream and (end != "ok" or reading.failed) else "estimated"
        parts = await _counted(hold, call, reading, whole=basis == "estimated", is_stream=is_stream)
        bill = hold.bill(parts, basis)
    claimed = await claim(bill)
    if claimed.is_booked:
        await hold.release()
        return None
    status = "error" if reading.failed else end
    await hold.settle(bill, status=status, ttft_ms=ttft_ms, metadata=metadata, once_key=claimed.key)
    return bill


def stated(bill: Bill, cost_usd: Decimal | None) -> Bill:
    """
    Return the bill at what the provider says it cost, where it says so.

    An explicit 0 from a model that has a price is not believed (DESIGN.md §6): xAI's models on Azure state it.
    """
    if cost_usd is None or cost_usd < 0 or (cost_usd == 0 and bill.cost_nanos != 0):
        return bill
    return replace(bill, basis="provider_cost", cost_nanos=nanos_of(cost_usd), input_cost_nanos=None, unrated=())


async def _counted(
    hold: Holding, call: Call, reading: Reading, *, whole: bool, is_stream: bool
) -> tuple[tuple[str | None, Usage], ...]:
    """Return usage with what the provider did not say counted or estimated."""
    if call.size.presumed is not None and not (reading.parts and reading.passed_text):
        return reading.parts or ((reading.model, call.size.presumed),)
    if reading.parts:
        model, usage = reading.parts[0]
    else:
        model, usage = reading.model, Usage(input=(await hold.recounted()).input_tokens)
    if call.size.no_output:
        output = 0
    elif reading.wrote:
        output = await passed_tokens(call, reading, model or call.model, whole=whole)
    elif is_stream and not reading.finished:
        output = 0
    else:
        # An answer was made, and nothing of it could be read.
        output = hold.estimate.output_tokens
    # Sound and images have prices of their own, and no text to be counted by: what is known of them stays.
    output = max(output, usage.output + usage.reasoning)
    return ((model, replace(usage, output=output, reasoning=0)), *reading.parts[1:])


async def passed_tokens(call: Call, reading: Reading, model: str, *, whole: bool) -> int:
    """Return the tokens of the text that passed; of an answer that is not ``whole``, with headroom."""
    factor = 1 if whole else CUT_OUTPUT_FACTOR
    text = reading.passed_text
    tokens = await tokens_of(text, model)
    kept = len(text.encode("utf-8", "surrogatepass"))
    if kept < reading.passed_bytes:
        tokens = math.ceil(tokens * reading.passed_bytes / max(kept, 1))
    tokens = math.ceil(tokens * factor)
    cap = call.size.output_cap
    return tokens if cap is None else min(tokens, cap * call.size.choices)
