"""
What is written down about one call.

Its one job: the values that cross between the gateway, the counters and the ledger.
Rule: immutable. A correction is another record whose ``corrects`` names the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from penia_proxy.budget.usage import UNPRICED_COUNTS, CostBasis, Usage
from penia_proxy.values import quick

REGION = "region"
"""In a record's metadata: where the request's path asked to be processed."""

REASON = "reason"
"""In a correction's metadata: why, in words."""

ADJUSTED_AT = "adjusted_at"
"""In a correction's metadata: when it was made. Its timestamp is its call's."""

GUESSED = frozenset({"unconfirmed", "estimated", "partial"})
"""The bases that an exact bill corrects."""

PRICELESS = frozenset({"free", "unpriced"})
"""The bases that say what a model costs, and not how its usage is known."""


@quick
@dataclass(frozen=True, slots=True)
class Hold:
    """An open hold as the ledger keeps it: enough to turn it into an `unconfirmed` record after a crash."""

    hold_id: str
    """Also the request's id, and the id of the record to come."""
    admitted_at: datetime
    """UTC. The instant that decides the windows in which the call counts."""
    amount_nanos: int
    """The largest amount held in any window; what is charged if the process dies."""
    budget_ids: tuple[str, ...]
    """Every budget that applied, most specific first."""
    component: str
    provider: str
    model: str
    task_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    streamed: bool = False
    input_tokens_estimated: int = 0
    output_tokens_estimated: int = 0
    pricing_version: str | None = None
    once_key: str | None = None
    """Set where the bill comes after the answer: see `UsageRecord.once_key`."""
    fingerprint: str | None = None
    """Of what was asked, where the caller chose the id: tells a repetition from another request of the same id."""
    words: str | None = None
    """What the verdict was made of: see `penia_proxy.budget.words`."""


class Amounts(NamedTuple):
    """What one record adds to each window it counts in."""

    spent_nanos: int
    input_tokens: int
    output_tokens: int
    request_count: int
    """0 for a correction, which adjusts money and tokens but is not another request."""
    unpriced_count: int
    """−1 for the correction that prices what had no price."""


@quick
@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One settled call. Money in nano-dollars; ``cost_nanos`` is None exactly when the basis is ``unpriced``."""

    record_id: str
    timestamp: datetime
    """UTC, the instant of admission: decides the windows."""
    component: str
    provider: str
    model: str
    usage: Usage
    cost_basis: CostBasis
    cost_nanos: int | None
    input_cost_nanos: int | None
    budget_ids: tuple[str, ...] = ()
    """Every budget charged, most specific first; the first is the record's documented ``budget_id``."""
    task_type: str | None = None
    request_id: str | None = None
    pricing_version: str | None = None
    estimated_nanos: int | None = None
    """What was held."""
    streamed: bool = False
    status: str = "ok"
    """``ok``, ``cut`` (the provider's stream broke), ``disconnected`` (the client left), ``error`` (the provider
    sent an error after output began), ``timeout``, ``crashed`` (expired at a start), ``expired`` (its
    holder did not say in time), ``pending`` (its bill did not come in time), ``truncated`` (ended where a budget had no
    room for more)."""
    latency_ms: float | None = None
    ttft_ms: float | None = None
    """Time to the first byte of the answer's body."""
    tags: Mapping[str, str] = field(default_factory=dict)
    corrects: str | None = None
    once_key: str | None = None
    """
    Where more than one answer can state this bill: the provider as configured, a colon, and its own name of the work
    (``openai:resp_…``). No two records have the same.
    """
    words: str | None = None
    """What the verdict was made of, where there was one: see `penia_proxy.budget.words`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_guess(self) -> bool:
        """Whether an exact bill corrects the record: its own was not stated."""
        return self.cost_basis in GUESSED or (self.cost_basis in PRICELESS and self.status != "ok")

    def amounts(self) -> Amounts:
        """Return what the record adds to the windows it counts in."""
        return Amounts(
            self.cost_nanos or 0,
            self.usage.input_total,
            self.usage.output_total,
            int(self.corrects is None),
            UNPRICED_COUNTS.get(self.cost_basis, 0),
        )


@dataclass(slots=True)
class Tally:
    """
    What one budget's window has seen.

    ``held_nanos`` lives in the counters only; the ledger has the open holds themselves.
    """

    spent_nanos: int = 0
    held_nanos: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    request_count: int = 0
    unpriced_count: int = 0

    def add(self, amounts: Amounts) -> None:
        """Count what a record adds."""
        self.spent_nanos += amounts.spent_nanos
        self.input_tokens += amounts.input_tokens
        self.output_tokens += amounts.output_tokens
        self.request_count += amounts.request_count
        self.unpriced_count += amounts.unpriced_count
