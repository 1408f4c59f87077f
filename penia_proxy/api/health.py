"""
Say how Penia is.

Its one job: `/health` for people and supervisors, `/ready` for load balancers.
Rules: cheap, and never waits for the ledger, so that it answers when nothing else does.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field

from penia_proxy import __version__
from penia_proxy.api.endpoint import Call, Endpoint, Reply
from penia_proxy.api.fields import Nothing, Shown
from penia_proxy.api.services import Services
from penia_proxy.clock import iso

Status = Literal["healthy", "degraded", "unhealthy", "draining"]

_TAKES_CALLS: frozenset[Status] = frozenset({"healthy", "degraded"})


class Health(Shown):
    """
    How it is.

    `draining`: it ends, and waits for calls in flight. `degraded`: the ledger cannot write, and calls pass because the
    configuration says so. `unhealthy`: it cannot, and calls are refused.
    """

    status: Status
    database: Literal["connected", "unavailable"]
    websocket_clients: int
    active_budgets: int
    uptime_seconds: float
    version: str
    holds_open: int
    ledger_queue: int
    ledger_error: Annotated[
        str | None,
        Field(description="What is damaged in the ledger's file; null: nothing, as far as it was looked at."),
    ]
    clock_jumps: Annotated[int, Field(description="How often the wall clock has jumped since the start.")]
    clock_jump_seconds: Annotated[float | None, Field(description="The last jump; negative: back.")]
    config_loaded_at: str
    config_error: Annotated[str | None, Field(description="Why the last reload changed nothing; null if it did.")]
    capture_rates: Annotated[
        dict[str, float | None], Field(description="By provider, of its newest reconciliation: captured ÷ billed.")
    ]
    export_day: Annotated[date | None, Field(description="The newest day that has its daily file.")]
    export_error: Annotated[str | None, Field(description="Why the last daily file was not written; null: it was.")]
    archives: Annotated[int, Field(description="Months whose records are in files of their own.")]
    archive_error: Annotated[
        str | None, Field(description="Which month's archive cannot be read or made, and why; null: none is known of.")
    ]


class Ready(Shown):
    """Whether calls can be taken."""

    ready: bool
    component: str
    version: str


async def health(call: Call[Nothing, Nothing]) -> Reply:
    """Say how Penia is."""
    services = call.services
    status = _status(services)
    answer: dict[str, Any] = {
        "status": status,
        "database": "connected" if services.ledger.healthy else "unavailable",
        "websocket_clients": services.hub.client_count,
        "active_budgets": len(services.book.active),
        "uptime_seconds": round(services.clock.monotonic() - services.started_monotonic, 3),
        "version": __version__,
        "holds_open": services.ledger.holds_open,
        "ledger_queue": services.ledger.queue_depth,
        "ledger_error": services.ledger.damage,
        "clock_jumps": services.jumps.count,
        "clock_jump_seconds": services.jumps.last_s,
        "config_loaded_at": iso(services.config_loaded_at),
        "config_error": services.config_error,
        "capture_rates": {provider: one.rate for provider, one in services.captured.items()},
        "export_day": None if services.daily is None else services.daily.last_day,
        "export_error": None if services.daily is None else services.daily.error,
        "archives": services.ledger.archives,
        "archive_error": services.ledger.archive_problem,
    }
    return Reply(answer, 200 if status in _TAKES_CALLS else 503)


async def ready(call: Call[Nothing, Nothing]) -> Reply:
    """Say whether calls can be taken."""
    is_ready = _status(call.services) in _TAKES_CALLS
    return Reply({"ready": is_ready, "component": "penia", "version": __version__}, 200 if is_ready else 503)


def _status(services: Services) -> Status:
    if services.draining:
        return "draining"
    if services.ledger.healthy:
        return "healthy"
    refuses = services.config.ledger.on_store_failure == "block"
    if refuses or any(budget.blocks for budget in services.book.active):
        return "unhealthy"
    return "degraded"


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/health",
        handler=health,
        tag="health",
        response=Health,
        also=(503,),
    ),
    Endpoint(
        method="GET",
        path="/ready",
        handler=ready,
        tag="health",
        response=Ready,
        also=(503,),
    ),
)
