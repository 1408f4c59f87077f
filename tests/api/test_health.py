"""Health and readiness over HTTP."""

from datetime import timedelta

import pytest

from penia_proxy import __version__
from penia_proxy.api.services import Services
from penia_proxy.config import Config
from penia_proxy.ledger.ledger import Ledger
from tests.api.client import Api, MovedClock


async def test_health_says_how_it_is(api: Api, clock: MovedClock) -> None:
    """All is well: 200, with counts of clients, budgets, holds and queued writes."""
    await api.budget()
    inactive = await api.budget(name="old")
    await api.delete(f"/budgets/{inactive}")
    await api.listen()
    clock.move(timedelta(hours=1))

    answer = await api.get("/health")

    assert answer.status == 200
    assert answer.body == {
        "status": "healthy",
        "database": "connected",
        "websocket_clients": 1,
        "active_budgets": 1,
        "uptime_seconds": 3600.0,
        "version": __version__,
        "holds_open": 0,
        "ledger_queue": 0,
        "ledger_error": None,
        "clock_jumps": 0,
        "clock_jump_seconds": None,
        "config_loaded_at": "2026-11-23T12:00:00.000000Z",
        "config_error": None,
        "export_day": None,
        "export_error": None,
        "archives": 0,
        "archive_error": None,
        "capture_rates": {},
    }
    assert (await api.get("/ready")).body == {"ready": True, "component": "penia", "version": __version__}


@pytest.mark.parametrize(
    ("on_failure", "enforcement", "status", "code"),
    [
        ("block", "warn", "unhealthy", 503),
        ("allow", "block", "unhealthy", 503),
        ("allow", "warn", "degraded", 200),
    ],
)
async def test_a_ledger_that_cannot_write(
    api: Api,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    on_failure: str,
    enforcement: str,
    status: str,
    code: int,
) -> None:
    """Unhealthy where calls are refused for it, degraded where they pass; readiness follows."""
    await api.budget(enforcement=enforcement)
    services.config = Config.model_validate(
        {**services.config.model_dump(), "ledger": {"on_store_failure": on_failure}, "providers": {}}
    )
    monkeypatch.setattr(Ledger, "healthy", property(lambda _: False))

    health, ready = await api.get("/health"), await api.get("/ready")

    assert (health.body["status"], health.body["database"], health.status) == (status, "unavailable", code)
    assert (ready.body["ready"], ready.status) == (code == 200, code)
