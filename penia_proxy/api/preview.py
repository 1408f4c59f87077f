"""
Say which calls a scope would have covered.

Its one job: `/api/v1/budgets/preview`: how many of the last week's calls a scope matches, for whoever is writing it.
Rules: the scope is matched as a verdict matches it, against the model asked for. What it costs has an end: of a busy
week the newest calls are looked at, and the answer says so.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field

from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Nothing, Sent, Shown
from penia_proxy.budget.money import usd
from penia_proxy.budget.scope import Facts, Scope
from penia_proxy.clock import iso
from penia_proxy.config import ScopeSpec
from penia_proxy.ledger.history import Kind

WEEK = timedelta(days=7)
CALLS_MAX = 20_000
"""Looked at: a tenth of a second."""
NAMES_MAX = 5
"""Named of each kind: the most frequent."""


class PreviewBody(Sent):
    """A scope, as a budget has it."""

    scope: ScopeSpec = ScopeSpec()


class Matched(Shown):
    """How many of the matching calls have a name."""

    name: str
    calls: int


class Preview(Shown):
    """What a scope matches of the calls of the last week."""

    calls: int
    cost: Annotated[float, Field(description="USD, as first booked; calls without a price add nothing.")]
    looked_at: int
    is_whole: Annotated[bool, Field(description="False: there may be more calls; the newest were looked at.")]
    start_time: datetime
    end_time: datetime
    components: Annotated[list[Matched], Field(description="The most frequent.")]
    providers: list[Matched]
    models: Annotated[list[Matched], Field(description="As asked for.")]


async def preview_scope(call: Call[Nothing, PreviewBody]) -> dict[str, Any]:
    """Say which calls of the last week a scope covers."""
    services = call.services
    now = services.clock.now()
    scope = Scope.of(call.body.scope)
    await services.ledger.caught_up()
    kinds = await services.ledger.history.kinds(now - WEEK, CALLS_MAX)
    matching = [kind for kind in kinds if scope.covers(Facts(kind.component, kind.provider, kind.model, kind.tags))]
    looked_at = sum(kind.calls for kind in kinds)
    return {
        "calls": sum(kind.calls for kind in matching),
        "cost": usd(sum(kind.cost_nanos for kind in matching)),
        "looked_at": looked_at,
        "is_whole": looked_at < CALLS_MAX,
        "start_time": iso(now - WEEK),
        "end_time": iso(now),
        "components": _frequent((kind.component, kind) for kind in matching),
        "providers": _frequent((kind.provider, kind) for kind in matching),
        "models": _frequent((kind.model, kind) for kind in matching),
    }


def _frequent(named: Iterable[tuple[str, Kind]]) -> list[dict[str, Any]]:
    found: Counter[str] = Counter()
    for name, kind in named:
        found[name] += kind.calls
    return [{"name": name, "calls": calls} for name, calls in found.most_common(NAMES_MAX)]


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/budgets/preview",
        handler=preview_scope,
        tag="budgets",
        body=PreviewBody,
        response=Preview,
    ),
)
