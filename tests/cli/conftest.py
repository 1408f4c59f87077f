"""
Fixtures for the command line's tests.

Its one job: a command's outcome (`run`), and a gateway that answers as api.md §2 says (`gateway`).
Rule: real HTTP on loopback; the commands do not know that they are tested.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from penia_proxy.cli import main

BUDGET: dict[str, Any] = {
    "budget_id": "b_1",
    "name": "Default",
    "description": None,
    "owner": None,
    "hourly_limit": None,
    "daily_limit": 5.0,
    "weekly_limit": None,
    "monthly_limit": 100.0,
    "total_limit": None,
    "scope": {"components": [], "providers": [], "models": [], "tags": {}},
    "enforcement": "warn",
    "overrun": "finish",
    "unpriced": "warn",
    "shadow": False,
    "warn_at": 0.8,
    "timezone": "UTC",
    "week_start": "monday",
    "month_start_day": 1,
    "is_active": True,
}


@dataclass
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass
class Gateway:
    """A gateway of figures: what it answers can be set, what it was asked can be read."""

    url: str = ""
    health: dict[str, Any] = field(
        default_factory=lambda: {
            "status": "healthy",
            "database": "connected",
            "websocket_clients": 2,
            "active_budgets": 1,
            "uptime_seconds": 7300,
            "version": "0.1.0",
            "holds_open": 3,
            "ledger_queue": 0,
            "ledger_error": None,
            "archives": 0,
            "archive_error": None,
        }
    )
    budgets: list[dict[str, Any]] = field(default_factory=lambda: [dict(BUDGET)])
    summary: dict[str, Any] = field(default_factory=dict)
    estimates: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(default_factory=list)
    refusal: tuple[int, dict[str, Any]] | None = None
    asked: list[tuple[str, str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer as the API does."""
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, request.path_qs, body))
        if self.refusal:
            return web.json_response(self.refusal[1], status=self.refusal[0])
        match request.method, request.path.removeprefix("/api/v1"):
            case "GET", "/health":
                return web.json_response(self.health, status=503 if self.health["status"] == "unhealthy" else 200)
            case "GET", "/budgets":
                page, limit = int(request.query["page"]), int(request.query["limit"])
                items = self.budgets[(page - 1) * limit : page * limit]
                return web.json_response({"items": items, "total": len(self.budgets), "page": page, "limit": limit})
            case "POST", "/budgets":
                scope = {**BUDGET["scope"], **body.get("scope", {})}
                made = {**BUDGET, **body, "scope": scope, "budget_id": "b_new", "warnings": self.warnings}
                return web.json_response(made, status=201)
            case "PUT", _:
                return web.json_response({**BUDGET, **body, "warnings": self.warnings})
            case "GET", path if path.endswith("/summary"):
                return web.json_response(
                    [
                        {
                            "period": "daily",
                            "spent": 4.2,
                            "held": 0.000012,
                            "limit": 5.0,
                            "remaining": 0.8,
                            "usage_percent": 84.0,
                        },
                    ]
                )
            case "GET", "/estimates":
                total = len(self.estimates)
                return web.json_response({"items": self.estimates, "total": total, "page": 1, "limit": 100})
            case "POST", "/usage/summary":
                return web.json_response(self.summary)
        return web.json_response({"error": "There is nothing here.", "code": "not_found", "detail": None}, status=404)


@pytest.fixture
async def gateway(aiohttp_server: Callable[[web.Application], Awaitable[TestServer]]) -> Gateway:
    """Return a gateway that answers what it is told."""
    made = Gateway()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    made.url = str((await aiohttp_server(app)).make_url("")).rstrip("/")
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Awaitable[Outcome]]:
    """Run a command in a thread, as the event loop is needed to answer it."""

    def leave(arguments: tuple[str, ...]) -> int:
        try:
            main(arguments)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        return 0

    async def command(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = await asyncio.to_thread(leave, arguments)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return command
