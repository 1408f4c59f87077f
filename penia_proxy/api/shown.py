"""
Describe what records look like.

Its one job: the record's answer model, which several resources show. The JSON itself is made by `watch.shapes`, because
the live feed shows it, too.
"""

from datetime import datetime
from typing import Any

from penia_proxy.api.fields import Shown
from penia_proxy.budget.usage import CostBasis


class RecordShown(Shown):
    """One settled call. Costs are USD; null where no price is known, or where the parts are not."""

    record_id: str
    budget_id: str | None
    component: str
    provider: str
    model: str
    task_type: str | None
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int
    input_cost: float | None
    output_cost: float | None
    cost: float | None
    total_cost: float | None
    cost_basis: CostBasis
    pricing_version: str | None
    estimated_cost: float | None
    streamed: bool
    status: str
    latency_ms: float | None
    ttft_ms: float | None
    timestamp: datetime
    request_id: str | None
    tags: dict[str, str]
    corrects: str | None
    metadata: dict[str, Any]
