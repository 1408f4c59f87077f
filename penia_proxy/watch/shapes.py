"""
Say what happened as JSON.

Its one job: the shapes of api.md §2–§3 that the API and the live feed share: a record, a budget's state.
Rules: USD as JSON numbers; instants as text with ``Z``. It reads counters and never the ledger, so that what is shown
is what verdicts are made of.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from penia_proxy.budget.alert import Alert
from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.engine import Cheaper, Counters, LegVerdict
from penia_proxy.budget.money import usd
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.windows import WindowKey
from penia_proxy.clock import Clock, iso
from penia_proxy.watch.refusing import Refused

Json = dict[str, Any]


def usd_or_none(nanos: int | None) -> float | None:
    """Return USD, or None for an amount that is not known."""
    return None if nanos is None else usd(nanos)


def record_json(record: UsageRecord) -> Json:
    """Return a usage record as api.md §2 shows it."""
    usage = record.usage
    cost, input_cost = record.cost_nanos, record.input_cost_nanos
    output_cost = None if cost is None or input_cost is None else cost - input_cost
    return {
        "record_id": record.record_id,
        "budget_id": record.budget_ids[0] if record.budget_ids else None,
        "component": record.component,
        "provider": record.provider,
        "model": record.model,
        "task_type": record.task_type,
        "input_tokens": usage.input_total,
        "cache_read_tokens": usage.cache_read_total,
        "cache_write_tokens": usage.cache_write_total,
        "output_tokens": usage.output_total,
        "reasoning_tokens": usage.reasoning,
        "total_tokens": usage.total,
        "input_cost": usd_or_none(input_cost),
        "output_cost": usd_or_none(output_cost),
        "cost": usd_or_none(cost),
        "total_cost": usd_or_none(cost),
        "cost_basis": record.cost_basis,
        "pricing_version": record.pricing_version,
        "estimated_cost": usd_or_none(record.estimated_nanos),
        "streamed": record.streamed,
        "status": record.status,
        "latency_ms": record.latency_ms,
        "ttft_ms": record.ttft_ms,
        "timestamp": iso(record.timestamp),
        "request_id": record.request_id,
        "tags": dict(record.tags),
        "corrects": record.corrects,
        "metadata": dict(record.metadata),
    }


def alert_json(alert: Alert) -> Json:
    """Return an alert as api.md §2 shows it."""
    return {
        "alert_id": alert.alert_id,
        "budget_id": alert.budget_id,
        "alert_type": alert.alert_type,
        "threshold_percent": alert.threshold_percent,
        "period": alert.period,
        "severity": alert.severity,
        "title": alert.title,
        "message": alert.message,
        "is_dismissed": alert.is_dismissed,
        "acknowledged": alert.acknowledged,
        "created_at": iso(alert.created_at),
        "resolved_at": alert.resolved_at and iso(alert.resolved_at),
        "window_start": alert.window_start and iso(alert.window_start),
        "window_end": alert.window_end and iso(alert.window_end),
        "details": dict(alert.details),
    }


class BudgetStates:
    """Where each budget stands at this moment, as ``budget_update`` shows it."""

    def __init__(self, book: BudgetBook, counters: Counters, clock: Clock) -> None:
        self._book = book
        self._counters = counters
        self._clock = clock

    def ids(self) -> Iterable[str]:
        """Return the active budgets' ids."""
        return [budget.budget_id for budget in self._book.active]

    async def of(self, budget_id: str) -> Json | None:
        """Return the state of a budget: a member per limited period (daily where none is); None: no such budget."""
        return await self.at(budget_id, self._clock.now())

    async def at(self, budget_id: str, instant: datetime) -> Json | None:
        """Return the state in the windows that contain the instant."""
        budget = self._book.get(budget_id)
        if budget is None:
            return None
        windows = [budget.calendar.window(period, instant) for period in list(budget.limits) or ["daily"]]
        limits = budget.limits_at(instant)
        tallies = await self._counters.read([WindowKey(budget_id, window.period, window.start) for window in windows])
        state: Json = {"budget_id": budget_id, "name": budget.name, "is_active": budget.is_active}
        for window, tally in zip(windows, tallies, strict=True):
            state[window.period] = {
                "spent": usd(tally.spent_nanos),
                "held": usd(tally.held_nanos),
                "limit": usd_or_none(limits.get(window.period)),
                "window_end": None if window.end is None else iso(window.end),
            }
        return state


def word_json(word: LegVerdict) -> Json:
    """Return one budget's part in a verdict, as refusals and checks show it (api.md §1)."""
    return {
        "budget_id": word.budget.budget_id,
        "name": word.budget.name,
        "period": word.window.period,
        "limit": usd_or_none(word.limit_nanos),
        "spent": usd(word.spent_nanos),
        "held": usd(word.held_nanos),
        "remaining": usd_or_none(word.remaining_nanos),
        "window_end": None if word.window.end is None else iso(word.window.end),
        "verdict": word.kind,
    }


def refused_json(refused: Refused) -> Json:
    """Return what a refusal by a budget says beyond its sentence (api.md §1)."""
    verdict = refused.verdict
    approval = {} if refused.approval_id is None else {"approval_id": refused.approval_id}
    return {
        "estimated_cost": usd(verdict.amount_nanos),
        "budgets": [word_json(word) for word in verdict.words],
        "cheaper": cheaper_json(verdict.cheaper),
        **approval,
    }


def cheaper_json(cheaper: Cheaper | None) -> Json | None:
    """Return the model that would fit instead, as refusals and checks show it (api.md §1)."""
    return None if cheaper is None else {"model": cheaper.model, "estimated_cost": usd(cheaper.amount_nanos)}
